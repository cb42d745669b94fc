"""Where the demo plays: a folder with a remote and clones, and commands that really run, shown before they do.

The user's git configuration and hooks stay out: a configuration of the demo's own is put in their place, and
`git-lepton` is this very one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import git_lepton
from git_lepton import proc

Say = Callable[[str], None]
"""Prints a line."""

_CONFIG: Final = """[user]
    name = Demo
    email = demo@example.org
[init]
    defaultBranch = main
[advice]
    detachedHead = false
"""
_INDENT: Final = "   "


@dataclass(slots=True)
class Stage:
    """The folder of the demo, and what was checked so far.

    Attributes:
        root: folder of the remote, the clones, and the files that isolate the demo.
        say: prints a line.
        holds: whether every check has held.
    """

    root: Path
    say: Say
    holds: bool = True

    @property
    def remote(self) -> Path:
        """The bare repository."""
        return self.root / "remote.git"

    @property
    def work(self) -> Path:
        """The first clone, in which the models are made."""
        return self.root / "work"

    @property
    def clone(self) -> Path:
        """The second clone, a colleague's."""
        return self.root / "clone"

    def prepare(self) -> None:
        """Make the remote and the first clone, and what keeps the user's own settings out."""
        (self.root / "gitconfig").write_text(_CONFIG, encoding="utf-8")
        folder = self.root / "bin"
        folder.mkdir()
        program = folder / "git-lepton"
        package = Path(git_lepton.__file__).parent.parent
        program.write_text(
            f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(package))}${{PYTHONPATH:+:$PYTHONPATH}}\nexport PYTHONPATH\n"
            f'exec {shlex.quote(sys.executable)} -m git_lepton "$@"\n',
            encoding="utf-8",
        )
        program.chmod(0o755)
        exports = "".join(
            f"unset {name}\n" if value is None else f"export {name}={shlex.quote(value)}\n"
            for name, value in self.environment().items()
        )
        (self.root / "environment").write_text(exports, encoding="utf-8")
        self.quietly("git", "init", "-q", "--bare", str(self.remote), cwd=self.root)
        self.quietly("git", "clone", "-q", str(self.remote), str(self.work), cwd=self.root)
        # What `git lepton install` would write for the user, for this demo alone.
        self.quietly("git", "lepton", "install", cwd=self.root)

    def environment(self) -> dict[str, str | None]:
        """What is laid over our environment for every command."""
        ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("GIT_")}
        return {
            **ours,
            "GIT_CONFIG_GLOBAL": str(self.root / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def quietly(self, *argv: str, cwd: Path | None = None) -> bytes:
        """Run a command that is not part of the story; returns what it printed. Raises CommandError."""
        return proc.run(argv, cwd=cwd or self.work, env=self.environment()).stdout

    def run(self, line: str, *, cwd: Path | None = None) -> None:
        """Show a command line, and run it. Raises CommandError when it fails."""
        self.say(f"{_INDENT}$ {line}")
        proc.run(shlex.split(line), cwd=cwd or self.work, env=self.environment())

    def show(self, line: str, *, cwd: Path | None = None, status: int = 0, only: int | None = None) -> str:
        """Show a command line, run it, and show what it says, or its first `only` lines; checks its exit status."""
        self.say(f"{_INDENT}$ {line}")
        done = proc.run(shlex.split(line), cwd=cwd or self.work, env=self.environment(), check=False)
        text = (done.stdout + done.stderr).decode(errors="replace")
        lines = text.rstrip().splitlines()
        self.tell(lines if only is None else lines[:only])
        if done.status != status:
            self.check(f"`{line}` exits with {status}", ok=False)
        return text

    def tell(self, lines: Iterable[str]) -> None:
        """Print lines as a command's output."""
        for line in lines:
            self.say(f"{_INDENT}{line}".rstrip())

    def check(self, claim: str, *, ok: bool) -> None:
        """Print whether a claim holds."""
        self.holds = self.holds and ok
        self.say(f"{_INDENT}{'yes' if ok else 'NO '}  {claim}")
