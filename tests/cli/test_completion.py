"""The completion scripts, run by the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from git_lepton.cli.boundary import run
from git_lepton.cli.completion import SCRIPTS
from git_lepton.cli.main import cli


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "git-lepton"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m git_lepton "$@"\n')
    program.chmod(0o755)
    root = Path(__file__).parents[2]
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(root)}


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_scripts_are_printed_and_parse(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["completion", shell]) == 0
    script = capsys.readouterr().out
    assert script == SCRIPTS[shell]
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "setup", "function"),
    [
        ("git-lepton ls-", "", "_git_lepton_alone"),
        ("git lepton ls-", "words=(git lepton ls-) cword=2 __git_cmd_idx=1", "_git_lepton"),
        ("git -C x lepton ls-", "words=(git -C x lepton ls-) cword=4 __git_cmd_idx=3", "_git_lepton"),
    ],
)
def test_bash_completes_verbs(words: str, setup: str, function: str, environment: dict[str, str]) -> None:
    count = len(words.split()) - 1
    script = (
        f"{SCRIPTS['bash']}\nCOMP_WORDS=({words}); COMP_CWORD={count}\n{setup}\n{function}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ls-files"]
