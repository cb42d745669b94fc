"""Stored sizes, in parts of the raw file: new files, and what people do to a model next.

A size is the growth of everything that a contender keeps on disk (`.git`, or the repository of a backup program), so
it holds chunks, trees, indexes and what else is written. Each next version starts from the base alone. Only ours is
judged; peers are in the row as information, and the ratio is the best of them against us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import Data, UnavailableError
from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, stores
from benchmarks.table import Row, missing

FINETUNED = "stored, MiniLM fp32, real fine-tune on its base"
Sizes = Mapping[str, float]
"""Contender to stored bytes by raw bytes."""


@dataclass(frozen=True, slots=True)
class Version:
    """A file, or shards, stored in one step."""

    what: str
    files: Sequence[Path]
    at_most: float

    @property
    def raw(self) -> int:
        """Bytes of the files."""
        return sum(f.stat().st_size for f in self.files)


def rows(ground: Ground) -> Iterator[Row]:
    """Yield a row for each new file and each next version."""
    yield from _measure(ground, Version("stored, new, bf16", [ground.data.bf16()], 0.67), [])
    try:
        base = Version("stored, new, MiniLM fp32", [ground.data.minilm().weights], 0.825)
    except UnavailableError as error:
        yield missing("stored, MiniLM", str(error))
        return
    nexts = _edited(ground.data)
    try:
        nexts = _finetuned(ground.data) + nexts
    except UnavailableError as error:
        yield missing(FINETUNED, str(error))
    yield from _measure(ground, base, nexts)


def _finetuned(data: Data) -> list[Version]:
    tuned = data.finetunes()
    versions = [
        Version(f"{FINETUNED}, {name.removeprefix('all-')} steps", [path], 0.45)
        for name, path in tuned.items()
        if name.startswith("all-")
    ]
    return [*versions, Version(f"{FINETUNED}, two of six layers tuned", [tuned["top-60"]], 0.12)]


def _edited(data: Data) -> list[Version]:
    return [
        Version("stored, MiniLM with 64 rows more of vocabulary", [data.more_vocabulary()], 0.01),
        Version("stored, MiniLM with another header", [data.other_header()], 0.001),
        Version("stored, MiniLM in another order", [data.other_order()], 0.001),
        Version("stored, MiniLM in two shards", data.resharded(), 0.001),
    ]


def _measure(ground: Ground, base: Version, nexts: Sequence[Version]) -> Iterator[Row]:
    """Store the base in each contender, then each next version on a copy of that."""
    found: dict[str, dict[str, float]] = {version.what: {} for version in (base, *nexts)}
    for name, store in stores(ground):
        before = store.size()
        store.save(base.files)
        with_base = store.size()
        found[base.what][name] = (with_base - before) / base.raw
        if nexts:
            store.snapshot()
        for version in nexts:
            store.restore()
            store.save(version.files)
            found[version.what][name] = (store.size() - with_base) / version.raw
        store.remove()
    for version in (base, *nexts):
        yield _row(version, found[version.what])


def _row(version: Version, sizes: Sizes) -> Row:
    ours = sizes[LEPTON.name]
    peers = {name: size for name, size in sizes.items() if name != LEPTON.name}
    best = min(peers, key=peers.__getitem__, default="")
    return Row(
        version.what,
        f"{ours:.4f}",
        ", ".join(f"{name} {size:.4f}" for name, size in peers.items()),
        f"{ours / peers[best]:.2f} x {best}" if best else "",
        f"≤ {version.at_most:g} of raw",
        ours <= version.at_most,
        {**sizes, "raw_bytes": version.raw},
    )
