"""`git status` when a weight file has a new time but the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, LFS, Kind, Repository
from benchmarks.table import Row, faster
from benchmarks.timing import FailedError, Sample, interleave, run

FILE = "model.safetensors"


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the row."""
    file = ground.data.bf16()
    repositories = {kind: Repository.new(ground, kind) for kind in (LEPTON, LFS)}
    for repository in repositories.values():
        repository.commit(file, name=FILE)
    timings = interleave(
        ground.runs, ours=_status(ground, repositories, LEPTON), peer=_status(ground, repositories, LFS)
    )
    for repository in repositories.values():
        repository.remove()
    raw = file.stat().st_size
    yield faster("git status after touch", timings["ours"], LFS.name, timings["peer"], raw=raw, at_least=5)


def _status(ground: Ground, repositories: dict[Kind, Repository], kind: Kind) -> Callable[[], Sample]:
    repository = repositories[kind]

    def once() -> Sample:
        (repository.path / FILE).touch()
        sample = run(["git", "status"], cwd=repository.path, env=ground.env)
        if changed := repository.git("status", "--porcelain"):
            raise FailedError(f"{kind.name}: a touched file is not clean: {changed}")
        return sample

    return once
