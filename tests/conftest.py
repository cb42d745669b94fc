"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo, discover
from tests.support import clean_environment, git

ROOT = Path(__file__).resolve().parents[1]

# Thousands of programs start here: without its cache each would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts a job in the background has it ignore ^C, and so would every program that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def quick_program() -> Iterator[Path]:
    """A `git-lepton` that starts fast, to be copied to a folder of PATH; see tests/quick/server.py."""
    # The path of a socket has room for about 100 characters only.
    with tempfile.TemporaryDirectory(prefix="lepton-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        path, program = Path(folder, "socket"), Path(folder, "git-lepton")
        client = shlex.join([sys.executable, "-I", "-S", str(ROOT / "tests/quick/client.py"), str(path)])
        program.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
        program.chmod(0o755)
        listener.bind(str(path))
        listener.listen(64)
        number = listener.fileno()
        command = [sys.executable, "-m", "tests.quick.server", str(number)]
        # It ends when its standard input does: here, or when this process is killed.
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, pass_fds=[number], start_new_session=True):
            listener.close()
            yield program


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A clean environment for git, in this process too."""
    home = tmp_path / "home"
    home.mkdir()
    clean = clean_environment(home)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in clean.items():
        monkeypatch.setenv(name, value)
    return clean


@pytest.fixture
def repo(tmp_path: Path, env: dict[str, str]) -> Repo:
    """An empty repository with a work tree."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return discover(folder)
