"""The index blob: how a stored file version is rebuilt from chunks (docs/formats.md, "Index").

It lists the segments of the file, the streams that they read (stream 0 is all *other* bytes, every further stream
is one distinct tensor) and, for each chunk of each stream, its hash, lengths, git object, codec and base. A client
with the index knows exactly which objects it lacks. The bytes are neither compressed nor reordered, so that git's
own delta compression makes the index of a next version cost only its changed rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from git_lepton.errors import FrameError
from git_lepton.values import Hash, Oid

MAGIC: Final = b"LPIX"
VERSION: Final = 1
MAX_BYTES: Final = 1 << 30
MAX_CHUNK: Final = 16 << 20
"""Longest chunk, raw or stored, that a reader accepts; writers stay at 4 MiB."""
MAX_DEPTH: Final = 4
"""Longest chain of deltas below a chunk."""
MAX_PARENTS: Final = 8

_HEAD: Final = struct.Struct("<4sBBH32sQIIIII")
_SEGMENT: Final = struct.Struct("<IQ")
_STREAM: Final = struct.Struct("<32sQI")
_BASE: Final = struct.Struct("<32sI")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stored chunk. `base` is the row number of the chunk that it is a delta of, or None."""

    raw_hash: Hash
    raw_length: int
    oid: Oid
    stored_length: int
    codec: int
    base: int | None


@dataclass(frozen=True, slots=True)
class Stream:
    """A run of bytes that is stored as chunks `first` to `first + count - 1` of the index."""

    hash: Hash
    length: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The next `length` bytes of the file come from `stream`: all of it for a tensor, the next bytes for stream 0."""

    stream: int
    length: int


@dataclass(frozen=True, slots=True)
class BaseOnly:
    """A chunk that only deltas need: chunk `number` of the stream with this hash in an earlier version."""

    stream_hash: Hash
    number: int


@dataclass(frozen=True, slots=True)
class VersionIndex:
    """Everything needed to rebuild one file.

    Attributes:
        file_hash: BLAKE3 of the whole file.
        size: bytes of the file.
        parents: commits O(B) of the versions whose chunks this one reuses, so that anyone can remake its commit.
        segments: in file order.
        streams: stream 0 holds the other bytes and may be empty; tensors follow, each hash once.
        chunks: rows of all streams in stream order, then one row for each of `bases`.
        bases: what the last rows are.
    """

    file_hash: Hash
    size: int
    parents: tuple[Oid, ...]
    segments: tuple[Segment, ...]
    streams: tuple[Stream, ...]
    chunks: tuple[Chunk, ...]
    bases: tuple[BaseOnly, ...]

    def stream_chunks(self, stream: Stream) -> tuple[Chunk, ...]:
        """The chunks of `stream`, in order."""
        return self.chunks[stream.first : stream.first + stream.count]

    def depth(self, row: int) -> int:
        """How many deltas must be undone to read chunk `row`."""
        depth = 0
        base = self.chunks[row].base
        while base is not None:
            depth += 1
            base = self.chunks[base].base
        return depth

    def chain(self, row: int) -> Iterator[int]:
        """The rows below chunk `row`: its base, the base of that, and so on."""
        base = self.chunks[row].base
        while base is not None:
            yield base
            base = self.chunks[base].base

    @property
    def stored_bytes(self) -> int:
        """Bytes of the distinct chunk blobs."""
        return sum({c.oid: c.stored_length for c in self.chunks}.values())

    def to_bytes(self) -> bytes:
        """Serialise as version 1."""
        oid_size = len(self.chunks[0].oid) // 2 if self.chunks else (len(self.parents[0]) // 2 if self.parents else 20)
        row = _row(oid_size)
        head = _HEAD.pack(
            MAGIC,
            VERSION,
            oid_size,
            0,
            bytes.fromhex(self.file_hash),
            self.size,
            len(self.parents),
            len(self.segments),
            len(self.streams),
            len(self.chunks),
            len(self.bases),
        )
        parts = [head]
        parts += [bytes.fromhex(p) for p in self.parents]
        parts += [_SEGMENT.pack(s.stream, s.length) for s in self.segments]
        parts += [_STREAM.pack(bytes.fromhex(s.hash), s.length, s.count) for s in self.streams]
        parts += [
            row.pack(
                bytes.fromhex(c.raw_hash),
                c.raw_length,
                bytes.fromhex(c.oid),
                c.stored_length,
                c.codec,
                0 if c.base is None else c.base + 1,
            )
            for c in self.chunks
        ]
        parts += [_BASE.pack(bytes.fromhex(b.stream_hash), b.number) for b in self.bases]
        return b"".join(parts)


def _row(oid_size: int) -> struct.Struct:
    return struct.Struct(f"<32sI{oid_size}sIBI")


@dataclass(frozen=True, slots=True)
class _Tables:
    """An index whose head was read: where its tables begin, and the struct of a chunk's row."""

    view: memoryview
    oid_size: int
    file_hash: Hash
    size: int
    starts: tuple[int, ...]
    row: struct.Struct

    def table(self, number: int) -> memoryview:
        return self.view[self.starts[number] : self.starts[number + 1]]

    def chunks(self, rows: memoryview) -> tuple[Chunk, ...]:
        return tuple(
            Chunk(Hash(h.hex()), n, Oid(o.hex()), stored, codec, base - 1 if base else None)
            for h, n, o, stored, codec, base in self.row.iter_unpack(rows)
        )


def parse(data: bytes | memoryview) -> VersionIndex:
    """Read an index blob.

    Raises:
        FrameError: for any input that is not a complete, consistent index of a version that we know.
    """
    tables = _open(data)
    parents = tuple(Oid(p.hex()) for (p,) in struct.iter_unpack(f"{tables.oid_size}s", tables.table(0)))
    segments = tuple(Segment(s, n) for s, n in _SEGMENT.iter_unpack(tables.table(1)))
    streams = []
    first = 0
    for digest, length, count in _STREAM.iter_unpack(tables.table(2)):
        streams.append(Stream(Hash(digest.hex()), length, first, count))
        first += count
    chunks = tables.chunks(tables.table(3))
    bases = tuple(BaseOnly(Hash(h.hex()), number) for h, number in _BASE.iter_unpack(tables.table(4)))
    if first + len(bases) != len(chunks):
        raise FrameError("the index has chunks that belong to no stream")
    index = VersionIndex(tables.file_hash, tables.size, parents, segments, tuple(streams), chunks, bases)
    _validate(index)
    return index


def parse_other(data: bytes | memoryview) -> VersionIndex | None:
    """Of an index blob only the stream of other bytes: an index without segments and tensors, quick to read.

    Returns:
        None when a chunk of that stream is a delta, for which the rest of the index is needed.

    Raises:
        FrameError: as `parse`, for what was read.
    """
    tables = _open(data)
    digest, length, count = _STREAM.unpack_from(tables.table(2))
    chunks = tables.chunks(tables.table(3)[: count * tables.row.size])
    if any(chunk.base is not None for chunk in chunks):
        return None
    stream = Stream(Hash(digest.hex()), length, 0, count)
    index = VersionIndex(tables.file_hash, length, (), (Segment(0, length),) if length else (), (stream,), chunks, ())
    _validate(index)
    return index


def _open(data: bytes | memoryview) -> _Tables:
    if len(data) > MAX_BYTES or len(data) < _HEAD.size:
        raise FrameError(f"an index of {len(data)} bytes cannot be one")
    magic, version, oid_size, zero, file_hash, size, *counts = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise FrameError("not an index: it does not begin with LPIX")
    if version != VERSION:
        raise FrameError(f"index version {version} is newer than this git-lepton", hint="pip install -U git-lepton")
    n_parents, _, n_streams, n_chunks, n_bases = counts
    if oid_size not in (20, 32) or zero or n_parents > MAX_PARENTS or n_streams < 1 or n_bases > n_chunks:
        raise FrameError("the index head has values that no writer makes")
    row = _row(oid_size)
    widths = (oid_size, _SEGMENT.size, _STREAM.size, row.size, _BASE.size)
    starts = tuple(accumulate((w * n for w, n in zip(widths, counts, strict=True)), initial=_HEAD.size))
    if starts[-1] != len(data):
        raise FrameError("the index is not as long as its tables say")
    return _Tables(memoryview(data), oid_size, Hash(file_hash.hex()), size, starts, row)


def _validate(index: VersionIndex) -> None:
    if len({s.hash for s in index.streams[1:]}) != len(index.streams) - 1:
        raise FrameError("the index lists a stream twice")
    if len(set(index.bases)) != len(index.bases):
        raise FrameError("the index lists a base twice")
    for number, stream in enumerate(index.streams):
        if sum(c.raw_length for c in index.stream_chunks(stream)) != stream.length:
            raise FrameError(f"the chunks of stream {number} do not add up to its length")
    for number, chunk in enumerate(index.chunks):
        if not 0 < chunk.raw_length <= MAX_CHUNK or not 0 < chunk.stored_length <= MAX_CHUNK:
            raise FrameError(f"chunk {number} has an impossible length")
        if chunk.base is not None and chunk.base >= len(index.chunks):
            raise FrameError(f"chunk {number} is a delta of a chunk that the index does not list")
    for number, chunk in enumerate(index.chunks):
        steps = 0
        base = chunk.base
        while base is not None:
            steps += 1
            if steps > MAX_DEPTH:
                raise FrameError(f"chunk {number} has more than {MAX_DEPTH} deltas below it")
            base = index.chunks[base].base
    other = 0
    used = set()
    for number, segment in enumerate(index.segments):
        if segment.stream >= len(index.streams):
            raise FrameError(f"segment {number} reads a stream that the index does not list")
        if segment.stream == 0:
            other += segment.length
        elif segment.length != index.streams[segment.stream].length:
            raise FrameError(f"segment {number} does not read the whole of its tensor")
        used.add(segment.stream)
    if other != index.streams[0].length or len(used | {0}) != len(index.streams):
        raise FrameError("the segments do not use every stream whole")
    if sum(s.length for s in index.segments) != index.size:
        raise FrameError("the segments do not add up to the size of the file")
