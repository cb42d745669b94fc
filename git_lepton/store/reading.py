"""From an index back to bytes: chunks read, deltas undone, everything checked.

Chunks are decoded by a few threads, a bounded number ahead of the consumer, and handed out in file order. A whole
file is hashed by whoever takes it, so its chunks are not hashed as well: only when the file's hash is wrong are they
looked at one by one, to name the one that is damaged.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, TypeVar

from git_lepton.codec import decode, read_header
from git_lepton.errors import CorruptError, FrameError, LeptonError, MissingError
from git_lepton.git.objectid import Buffer
from git_lepton.git.objects import ObjectReader
from git_lepton.store.index import Chunk, Stream, VersionIndex
from git_lepton.values import Hash, Oid

Result = TypeVar("Result")

THREADS: Final = max(2, min(8, os.cpu_count() or 2))
_AHEAD: Final = 4
"""Chunks decoded ahead of the consumer for each thread: at most 4 MiB each."""


class _LatestBase(threading.local):
    """The chunk that this thread last subtracted from, if it was checked: versions compared side by side share it."""

    digest = Hash("")
    raw = memoryview(b"")


_LATEST: Final = _LatestBase()


@dataclass(frozen=True, slots=True)
class ChunkReader:
    """Reads chunks of stored versions from one repository. Safe to use from several threads."""

    objects: ObjectReader

    def frame(self, oid: Oid) -> Buffer:
        """The stored bytes of a chunk.

        Raises:
            MissingError: the object is not here.
            CorruptError: git could not read it.
        """
        kind, data = self.objects.read(oid)
        if kind != "blob":
            raise CorruptError(f"object {oid} should be a chunk and is a {kind}")
        return data

    def chunk(self, index: VersionIndex, row: int, *, check: bool = True) -> memoryview:
        """The raw bytes of chunk `row`; with `check` they are compared with their hash.

        Raises:
            MissingError: it, or a base of it, is not here.
            CorruptError: what is stored does not decode to the hash that the index has.
        """
        chunk = index.chunks[row]
        if check and _LATEST.digest == chunk.raw_hash:
            return _LATEST.raw
        frame = self.frame(chunk.oid)
        try:
            try:
                return self._decoded(index, chunk, frame, check=check, each=False)
            except CorruptError:
                if not check:
                    raise
                # It, or what it was subtracted from: look at each by itself.
                return self._decoded(index, chunk, frame, check=True, each=True)
        except (FrameError, CorruptError) as error:
            raise CorruptError(
                f"chunk {chunk.raw_hash[:12]} (object {chunk.oid}) is damaged: {error.message}"
            ) from error

    def _decoded(self, index: VersionIndex, chunk: Chunk, frame: Buffer, *, check: bool, each: bool) -> memoryview:
        """A chunk from its frame; each base is checked by itself only if `each` is to be.

        Of a base that is as long and of the same dtype every byte counts in the result: if that has its hash, so has
        the base.
        """
        header = read_header(frame)
        if header.raw_hash != chunk.raw_hash or header.raw_length != chunk.raw_length:
            raise FrameError("it is the frame of another chunk")
        found: list[memoryview] = []

        def base(wanted: Hash) -> memoryview:
            if chunk.base is None or index.chunks[chunk.base].raw_hash != wanted:
                raise FrameError("the frame is a delta of a chunk that the index does not name")
            if _LATEST.digest == wanted:
                return _LATEST.raw
            told = (header.base_dtype, index.chunks[chunk.base].raw_length) == (header.dtype, header.raw_length)
            found.append(self.chunk(index, chunk.base, check=check and (each or not told)))
            return found[0]

        raw = decode(frame, base, check=check)
        if check and found and header.base_hash:
            _LATEST.digest, _LATEST.raw = header.base_hash, found[0]
        return raw


def chunk_pool(name: str = "decode") -> ThreadPoolExecutor:
    """As many threads as work on chunks at the same time; to be closed."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix=name)


def in_order(
    task: Callable[[int], Result], rows: Iterable[int], pool: ThreadPoolExecutor | None = None
) -> Iterator[Result]:
    """Run `task` on every row in a few threads, those of `pool` if given; yield the results in the order of `rows`."""
    with nullcontext(pool) if pool else chunk_pool() as threads:
        running: deque[Future[Result]] = deque()
        try:
            for row in rows:
                running.append(threads.submit(task, row))
                if len(running) >= THREADS * _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def file_bytes(reader: ChunkReader, index: VersionIndex) -> Iterator[memoryview]:
    """The whole file in order; its hash is the caller's to compare.

    Raises:
        MissingError: a chunk is not here, when its turn comes.
        CorruptError: a chunk is malformed, likewise.
    """
    other = index.streams[0]

    def rows() -> Iterator[int]:
        other_row, ready = other.first, 0
        for segment in index.segments:
            if segment.stream:
                stream = index.streams[segment.stream]
                yield from range(stream.first, stream.first + stream.count)
            else:
                ready -= segment.length
                while ready < 0:
                    yield other_row
                    ready += index.chunks[other_row].raw_length
                    other_row += 1

    chunks = in_order(lambda row: reader.chunk(index, row, check=False), rows())
    rest = memoryview(b"")
    for segment in index.segments:
        left = segment.length
        if segment.stream:
            while left:
                chunk = next(chunks)
                left -= len(chunk)
                yield chunk
        while left:
            if not rest:
                rest = next(chunks)
            piece, rest = rest[:left], rest[left:]
            left -= len(piece)
            yield piece


def stream_bytes(reader: ChunkReader, index: VersionIndex, stream: Stream, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of one stream, reading only the chunks that hold them."""
    rows = []
    at = 0
    first = None
    for row in range(stream.first, stream.first + stream.count):
        length = index.chunks[row].raw_length
        if at < stop and at + length > start:
            first = at if first is None else first
            rows.append(row)
        at += length
    joined = b"".join(in_order(lambda row: reader.chunk(index, row), rows))
    return joined[start - (first or 0) : stop - (first or 0)]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `verify` found: the stream it is in (None for the file as a whole), which chunk, and what."""

    stream: Hash | None
    number: int | None
    error: LeptonError


def check_chunks(reader: ChunkReader, index: VersionIndex, advance: Callable[[int], None]) -> Iterator[Problem]:
    """Decode every chunk of every stream; yield what is missing or damaged."""

    def one(row: int) -> LeptonError | None:
        try:
            reader.chunk(index, row)
        except (MissingError, CorruptError) as error:
            return error
        return None

    with chunk_pool("verify") as pool:
        for stream in index.streams:
            rows = range(stream.first, stream.first + stream.count)
            for number, error in enumerate(pool.map(one, rows)):
                if error is not None:
                    yield Problem(stream.hash, number, error)
            advance(stream.length)
