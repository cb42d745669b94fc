"""`git add` of a new weight file, and of its next version in which a tenth of the tensors changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, LFS, Kind, Repository
from benchmarks.table import Row, faster
from benchmarks.timing import Sample, interleave, run

FILE = "model.safetensors"


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the two rows."""
    first, second = ground.data.bf16(), ground.data.bf16_next()
    raw = first.stat().st_size
    yield _row(ground, f"git add, new, {raw >> 20} MiB bf16", raw, [], first, at_least=2.5)
    yield _row(ground, "git add, a tenth of the tensors changed", raw, [first], second, at_least=5)


def _row(ground: Ground, what: str, raw: int, before: list[Path], file: Path, *, at_least: float) -> Row:
    timings = interleave(
        ground.runs, ours=_adding(ground, LEPTON, before, file), peer=_adding(ground, LFS, before, file)
    )
    return faster(what, timings["ours"], LFS.name, timings["peer"], raw=raw, at_least=at_least)


def _adding(ground: Ground, kind: Kind, before: list[Path], file: Path) -> Callable[[], Sample]:
    """Add `file` to a new repository in which the files `before` are committed."""

    def once() -> Sample:
        repository = Repository.new(ground, kind)
        for earlier in before:
            repository.commit(earlier, name=FILE)
        repository.put(file, name=FILE)
        sample = run(["git", "add", FILE], cwd=repository.path, env=ground.env)
        repository.remove()
        return sample

    return once
