"""The `git-lepton` of the tests is like the installed one: what it is given, what it returns, how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo

INSTALLED = [sys.executable, "-m", "git_lepton"]


@pytest.fixture(params=["quick", "installed"])
def program(
    request: pytest.FixtureRequest, quick_program: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The command, and a repository as the folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(repo.cwd)
    return [str(quick_program)] if request.param == "quick" else INSTALLED


def hanging(program: list[str]) -> subprocess.Popen[bytes]:
    """A filter that has answered, and waits for more."""
    hello = b"0016git-filter-client\n000eversion=2\n0000"
    process = subprocess.Popen([*program, "filter-process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(hello)
    process.stdin.flush()
    assert process.stdout.read(4) == b"0016"
    return process


def test_arguments_folder_environment_and_status(program: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([*program, "status", "--no-such option"], capture_output=True, text=True, check=False)
    assert (done.returncode, "--no-such option" in done.stderr) == (2, True)
    done = subprocess.run([*program, "status"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    here = str(Path.cwd())
    monkeypatch.chdir("/")
    done = subprocess.run([*program, "status"], capture_output=True, text=True, check=False)
    assert (done.returncode, "not in a git repository" in done.stderr) == (2, True)
    monkeypatch.setenv("GIT_DIR", f"{here}/.git")
    monkeypatch.setenv("GIT_WORK_TREE", here)
    done = subprocess.run([*program, "status"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_end_of_input_ends_the_filter(program: list[str]) -> None:
    process = hanging(program)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_it(program: list[str], number: signal.Signals) -> None:
    process = hanging(program)
    process.send_signal(number)
    assert process.stdout is not None
    process.stdout.read()  # to its end: nobody holds the other one any more
    assert process.wait(30) != 0
