"""From chunks to an index: rows laid out by stream, and the bases that only deltas need after them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from git_lepton.store.index import BaseOnly, Chunk, Segment, Stream, VersionIndex
from git_lepton.values import Hash, Oid


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that is in the object database, with the chain of bases that reading it needs."""

    raw_hash: Hash
    raw_length: int
    oid: Oid
    stored_length: int
    codec: int
    base: PlacedChunk | None

    @property
    def depth(self) -> int:
        """Deltas to undo before this chunk can be read."""
        return 0 if self.base is None else 1 + self.base.chunk.depth

    @property
    def root(self) -> PlacedChunk | None:
        """The chunk at the end of the chain, which is stored whole; None when this one is."""
        if self.base is None:
            return None
        return self.base.chunk.root or self.base


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk and where it belongs: chunk `number` of the stream with this hash."""

    stream_hash: Hash
    number: int
    chunk: StoredChunk


@dataclass(frozen=True, slots=True)
class StoredStream:
    """All chunks of one stream, in order."""

    hash: Hash
    length: int
    chunks: tuple[StoredChunk, ...]


def stored_chunk(index: VersionIndex, row: int) -> StoredChunk:
    """Chunk `row` of an index, with its chain."""
    chunk = index.chunks[row]
    base = None
    if chunk.base is not None:
        place = _place(index, chunk.base)
        base = PlacedChunk(place.stream_hash, place.number, stored_chunk(index, chunk.base))
    return StoredChunk(chunk.raw_hash, chunk.raw_length, chunk.oid, chunk.stored_length, chunk.codec, base)


def stored_stream(index: VersionIndex, stream: Stream) -> StoredStream:
    """A whole stream of an index."""
    rows = range(stream.first, stream.first + stream.count)
    return StoredStream(stream.hash, stream.length, tuple(stored_chunk(index, row) for row in rows))


def _place(index: VersionIndex, row: int) -> BaseOnly:
    first_base = len(index.chunks) - len(index.bases)
    if row >= first_base:
        return index.bases[row - first_base]
    # Empty streams share their `first` with the next one; the last of equals is the one that has the row.
    number = bisect_right([s.first for s in index.streams], row) - 1
    return BaseOnly(index.streams[number].hash, row - index.streams[number].first)


def assemble(
    file_hash: Hash,
    size: int,
    segments: Sequence[Segment],
    streams: Sequence[StoredStream],
    parents: Sequence[Oid],
) -> VersionIndex:
    """Lay out the rows of a version.

    A base that the version has itself, at the same place, is not listed twice.
    """
    rows: list[StoredChunk] = []
    table: list[Stream] = []
    places: dict[tuple[Hash, int], int] = {}
    for stream in streams:
        table.append(Stream(stream.hash, stream.length, len(rows), len(stream.chunks)))
        places.update({(stream.hash, n): len(rows) + n for n in range(len(stream.chunks))})
        rows += stream.chunks
    own = len(rows)
    bases: list[BaseOnly] = []
    pointers: list[int | None] = []
    at = 0
    while at < len(rows):
        base = rows[at].base
        if base is None:
            pointers.append(None)
        else:
            key = (base.stream_hash, base.number)
            if key not in places:
                places[key] = len(rows)
                rows.append(base.chunk)
                bases.append(BaseOnly(*key))
            pointers.append(places[key])
        at += 1
    assert len(rows) == own + len(bases)
    chunks = tuple(
        Chunk(c.raw_hash, c.raw_length, c.oid, c.stored_length, c.codec, pointer)
        for c, pointer in zip(rows, pointers, strict=True)
    )
    return VersionIndex(file_hash, size, tuple(parents), tuple(segments), tuple(table), chunks, tuple(bases))
