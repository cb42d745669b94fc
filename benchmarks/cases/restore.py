"""Weights back into the work tree: by the tool's own checkout, and by plain `git checkout` through the filter."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, LFS, Repository
from benchmarks.table import Row, faster
from benchmarks.timing import FailedError, Sample, interleave, run

FILE = "model.safetensors"
PLAIN = ("git", "checkout", "--", FILE)


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the two rows."""
    file = ground.data.bf16()
    ours, peer = (Repository.new(ground, kind) for kind in (LEPTON, LFS))
    for repository in (ours, peer):
        repository.commit(file, name=FILE)
    for what, least, commands in (
        ("restore: git lepton checkout, git lfs checkout", 2.0, (ours.kind.checkout, peer.kind.checkout)),
        ("restore: git checkout through the filter", 1.2, (PLAIN, PLAIN)),
    ):
        timings = interleave(
            ground.runs,
            ours=_restoring(ground, ours, file, commands[0]),
            peer=_restoring(ground, peer, file, commands[1]),
        )
        raw = file.stat().st_size
        yield faster(what, timings["ours"], LFS.name, timings["peer"], raw=raw, at_least=least)
    for repository in (ours, peer):
        repository.remove()


def _restoring(ground: Ground, repository: Repository, file: Path, command: Sequence[str]) -> Callable[[], Sample]:
    def once() -> Sample:
        there = repository.path / FILE
        if command == PLAIN:
            there.unlink()
        else:
            repository.points(FILE)
        sample = run(command, cwd=repository.path, env=ground.env)
        if not filecmp.cmp(there, file, shallow=False):
            raise FailedError(f"{' '.join(command)} did not restore the bytes")
        return sample

    return once
