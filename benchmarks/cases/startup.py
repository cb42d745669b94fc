"""Start-up of the command, and whether a commit that touches no weights starts Python at all.

Python interpreters report themselves: a `sitecustomize` on PYTHONPATH writes a line for each that starts, however it is
found; and programs named `git-lepton`, `python` and `python3` in front of PATH do the same. `git lepton --version` must
be seen by both, or the answer would mean nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, PLAIN, Kind, Repository
from benchmarks.table import Row, clock, not_slower
from benchmarks.timing import FailedError, Sample, interleave, run

TIMES = 4
"""A start takes milliseconds, so it is measured so many times more often than an add."""
SHIM = """#!/bin/sh
echo "$0" >> "$PYTHON_LOG"
exec {program} "$@"
"""
SITE = """import os, sys
with open(os.environ["PYTHON_LOG"], "a") as log:
    print(sys.executable, file=log)
"""


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the three rows."""
    work, runs = ground.work, TIMES * ground.runs
    timings = interleave(
        runs,
        ours=partial(run, ["git", "lepton", "--version"], cwd=work, env=ground.env),
        peer=partial(run, [sys.executable, "-c", "import click"], cwd=work, env=ground.env),
    )
    yield not_slower("git lepton --version", timings["ours"], "import click", timings["peer"], at_most=1.5)
    yield _pythons(ground)
    ours, plain = (Committer(ground, kind) for kind in (LEPTON, PLAIN))
    commits = interleave(runs, ours=ours.once, peer=plain.once)
    yield Row(
        "time of that commit",
        clock(commits["ours"]),
        f"git without hooks {clock(commits['peer'])}",
        f"{commits['ours'].wall / commits['peer'].wall:.2f} x the time",
        values={"ours_wall_s": commits["ours"].wall, "peer_wall_s": commits["peer"].wall},
    )
    for repository in (ours.repository, plain.repository):
        repository.remove()


def _pythons(ground: Ground) -> Row:
    """Count the interpreters that a commit of a text file starts."""
    spy = ground.folder("spy")
    env = _spied(ground, spy)
    log = spy / "log"
    committer = Committer(ground, LEPTON)
    committer.repository.git("lepton", "--version", env=env)
    if len(log.read_text().splitlines()) < 2:
        raise FailedError("the spy does not see git lepton --version")
    log.unlink()
    committer.once(env)
    started = log.read_text().splitlines() if log.exists() else []
    committer.repository.remove()
    shutil.rmtree(spy)
    return Row(
        "Pythons started by a commit that touches no tracked weights",
        str(len(started)),
        required="0",
        met=not started,
        values={"started": len(started)},
    )


def _spied(ground: Ground, spy: Path) -> Mapping[str, str]:
    """An environment in which every Python leaves a line in the log."""
    (spy / "bin").mkdir()
    for name in ("git-lepton", "python", "python3"):
        program = shutil.which(name, path=ground.env["PATH"])
        if program:
            shim = spy / "bin" / name
            shim.write_text(SHIM.format(program=program))
            shim.chmod(0o755)
    (spy / "sitecustomize.py").write_text(SITE)
    path = f"{spy / 'bin'}:{ground.env['PATH']}"
    return {**ground.env, "PATH": path, "PYTHONPATH": str(spy), "PYTHON_LOG": str(spy / "log")}


class Committer:
    """A repository with weights, in which a text file is changed and committed again and again."""

    def __init__(self, ground: Ground, kind: Kind) -> None:
        self._ground = ground
        self._count = 0
        self.repository = Repository.new(ground, kind)
        self.repository.commit(ground.data.small())

    def once(self, env: Mapping[str, str] | None = None) -> Sample:
        """Change the text, stage it, and measure the commit."""
        self._count += 1
        (self.repository.path / "notes.txt").write_text(f"{self._count}\n")
        self.repository.git("add", "notes.txt")
        command = ["git", "commit", "-q", "-m", "notes"]
        return run(command, cwd=self.repository.path, env=env or self._ground.env)
