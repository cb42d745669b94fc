"""A small world for whole stories: people with homes, repositories and remotes, and real git with the real filter."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import clean_environment, without_program

PROGRAM = Path(sys.executable).with_name("git-lepton")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Person:
    """Somebody with a home folder; `installed` people have run `git lepton install`."""

    home: Path
    installed: bool = True
    program: Path = PROGRAM

    @property
    def env(self) -> dict[str, str]:
        """The environment of this person's shell."""
        env = clean_environment(self.home)
        if self.installed:
            env["PATH"] = f"{self.program.parent}:{env['PATH']}"
        else:
            env["PATH"] = without_program(env["PATH"])
        return env

    def run(self, folder: Path, *argv: str, check: bool = True, env: dict[str, str] | None = None) -> Done:
        """Run a command in `folder`."""
        done = subprocess.run(argv, cwd=folder, env=self.env | (env or {}), capture_output=True, check=False)
        result = Done(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)} -> {done.returncode}\n{result.out}{result.err}")
        return result

    def git(self, folder: Path, *args: str, check: bool = True, env: dict[str, str] | None = None) -> str:
        """Run git; its standard output without the last line end."""
        return self.run(folder, "git", *args, check=check, env=env).out.removesuffix("\n")

    def lepton(self, folder: Path, *args: str, check: bool = True) -> Done:
        """Run git-lepton."""
        return self.run(folder, str(self.program), *args, check=check)


def person(root: Path, name: str, program: Path = PROGRAM, *, installed: bool = True) -> Person:
    """A new person; git-lepton is set up for those who have it."""
    home = root / name
    home.mkdir(parents=True)
    made = Person(home, installed, program)
    if installed:
        made.lepton(home, "install")
    return made


def new_repository(who: Person, folder: Path, *init: str) -> Path:
    """A repository in which safetensors files are tracked, with one commit."""
    who.git(folder.parent, "init", "-q", "-b", "main", *init, str(folder))
    who.lepton(folder, "init")
    who.lepton(folder, "track", "*.safetensors")
    who.git(folder, "add", "-A")
    who.git(folder, "commit", "-q", "-m", "set up")
    return folder


def bare(who: Person, folder: Path, *init: str) -> Path:
    """A bare repository to push to."""
    who.git(folder.parent, "init", "-q", "--bare", "-b", "main", *init, str(folder))
    return folder
