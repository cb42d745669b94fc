"""The ground on which contenders meet: input, folders, and an environment that is the same for all.

A home of its own keeps this machine's configuration out. Automatic gc is off for every git: it would run in the
background of the next measurement. Everything lies on one file system, so that input files enter work trees as hard
links, which no program here writes into: git, git-lfs and git-lepton replace files, and tests of restoring remove them
first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.data import Data, UnavailableError
from benchmarks.timing import FailedError

CONFIG = """
[user]
    name = A U Thor
    email = author@example.com
[init]
    defaultBranch = main
[gc]
    auto = 0
[maintenance]
    auto = false
[protocol "file"]
    allow = always
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where and how often to measure."""

    data: Data
    work: Path
    env: Mapping[str, str]
    runs: int

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.work))

    def call(self, *argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
        """Run a command that is not measured; returns what it printed.

        Raises:
            FailedError: it did not exit with 0.
        """
        done = subprocess.run(argv, check=False, cwd=cwd, env={**self.env, **(env or {})}, capture_output=True)
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise FailedError(f"{' '.join(map(str, argv))} -> {done.returncode}: {said[-2000:]}")
        return done.stdout.decode(errors="replace").strip()

    def git(self, folder: Path, *args: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run git in a folder, unmeasured."""
        return self.call("git", *args, cwd=folder, env=env)

    def has(self, program: str) -> bool:
        """Whether a program is on the PATH of the measured commands."""
        return shutil.which(program, path=self.env["PATH"]) is not None

    def repeated(self, at_most: int) -> Ground:
        """The same ground with fewer runs, for what takes minutes."""
        return replace(self, runs=min(self.runs, at_most))


@contextmanager
def prepared(data: Data, runs: int) -> Iterator[Ground]:
    """A ground whose folder is deleted when the block ends.

    Raises:
        UnavailableError: git-lepton, or git-lfs with which most rows compare, is not installed.
    """
    data.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=data.folder) as name:
        work = Path(name)
        home = work / "home"
        home.mkdir()
        (home / ".gitconfig").write_text(CONFIG)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "LEPTON_", "BORG_", "RESTIC_", "BUP_"))}
        env |= {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
        }
        ground = Ground(data, work, env, runs)
        for program, remedy in (("git-lepton", "pip install ."), ("git-lfs", "apt install git-lfs")):
            if not ground.has(program):
                raise UnavailableError(f"{program} is not installed: {remedy}")
        ground.git(work, "lepton", "install")
        ground.git(work, "lfs", "install", "--skip-repo")
        yield ground
