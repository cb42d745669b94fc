"""From the bytes of a file to stored chunks: reuse what live versions list, encode the rest.

What a version lists may be reused only while its ref stands; every version relied upon is noted, so that the ref
transaction that publishes the new version can verify it. That an object *exists* is never a reason to reuse it: it
may be unreachable, and the next gc takes it (docs/git-protocol.md, "Writing").
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from git_lepton.codec import DELTA, Base, delta_limit, encode
from git_lepton.errors import ChangedError, CorruptError
from git_lepton.git.packfile import PackWriter
from git_lepton.progress import Progress
from git_lepton.store.assemble import PlacedChunk, StoredChunk, StoredStream, stored_chunk, stored_stream
from git_lepton.store.bases import BaseStream
from git_lepton.store.index import MAX_DEPTH, Stream, VersionIndex
from git_lepton.store.reading import THREADS, ChunkReader, chunk_pool
from git_lepton.store.source import Source
from git_lepton.store.survey import SurveyedStream
from git_lepton.values import Hash, Oid

_IN_FLIGHT: Final = 3
"""Chunks in work for each thread; each holds its raw bytes and its encoded form."""

_SMALL: Final = 16 << 10
"""Chunks of fewer bytes are encoded at once: threads would fight for the interpreter longer than they work."""


@dataclass(slots=True)
class Shelf:
    """Live versions whose chunks may be reused: their indexes, and the refs that must still stand at the end.

    `load` returns a version's index and its W, or None when it is not stored any more. `relied` counts the bytes
    taken from each version.
    """

    load: Callable[[Hash], tuple[VersionIndex, Oid] | None]
    relied: Counter[Hash] = field(default_factory=Counter)
    wraps: dict[Hash, Oid] = field(default_factory=dict)
    _indexes: dict[Hash, VersionIndex | None] = field(default_factory=dict)
    _streams: dict[Hash, dict[Hash, Stream]] = field(default_factory=dict)
    _rows: dict[Hash, dict[Hash, int]] = field(default_factory=dict)

    def index(self, version: Hash) -> VersionIndex | None:
        """The index of a live version, read once."""
        if version not in self._indexes:
            loaded = self.load(version)
            self._indexes[version] = loaded[0] if loaded else None
            if loaded:
                self.wraps[version] = loaded[1]
        return self._indexes[version]

    def find_stream(self, version: Hash, digest: Hash) -> tuple[VersionIndex, Stream] | None:
        """Where a live version lists a stream that is not empty, if it does."""
        index = self.index(version)
        if index is None:
            return None
        if version not in self._streams:
            self._streams[version] = {s.hash: s for s in reversed(index.streams) if s.count}
        stream = self._streams[version].get(digest)
        return (index, stream) if stream else None

    def stream(self, version: Hash, digest: Hash) -> StoredStream | None:
        """A whole stream of a live version, if it has it."""
        found = self.find_stream(version, digest)
        if found is None:
            return None
        self.relied[version] += found[1].length
        return stored_stream(*found)

    def chunk(self, version: Hash, digest: Hash) -> StoredChunk | None:
        """A chunk of a live version, if it has it."""
        index = self.index(version)
        if index is None:
            return None
        if version not in self._rows:
            self._rows[version] = {c.raw_hash: row for row, c in enumerate(index.chunks)}
        row = self._rows[version].get(digest)
        if row is None:
            return None
        self.relied[version] += index.chunks[row].raw_length
        return stored_chunk(index, row)


_Trial = tuple[BaseStream, PlacedChunk, Base]
"""A base, where it stands, and its bytes."""


@dataclass(slots=True)
class Choice:
    """What a chunk decides about all of its stream: the base to subtract, or None for none.

    `limit` is the share of its size that a delta of a chunk may have.
    """

    base: BaseStream | None = None
    limit: float | None = None

    @property
    def options(self) -> tuple[BaseStream, ...]:
        """What is tried for the other chunks."""
        return () if self.base is None else (self.base,)


class ChunkEncoder:
    """Encodes chunks into one pack, each distinct chunk once, on a few threads."""

    def __init__(self, source: Source, pack: PackWriter, shelf: Shelf, reader: ChunkReader, progress: Progress) -> None:
        self._source, self._pack, self._shelf, self._reader = source, pack, shelf, reader
        self._progress = progress
        self._scratch = threading.local()
        self._lock = threading.Lock()

    def encode_streams(
        self,
        streams: Sequence[SurveyedStream],
        known: Mapping[Hash, StoredChunk],
        options: Mapping[Hash, tuple[BaseStream, ...]],
    ) -> dict[Hash, StoredChunk]:
        """Encode every chunk of `streams` that is not in `known`; return all chunks by their hash.

        The first chunk of a tensor that has possible bases is encoded against each of them, and the best decides for
        the whole tensor; so a tensor that was trained from scratch costs one wasted trial, not one a chunk.
        """
        done: dict[Hash, StoredChunk] = dict(known)
        choices: dict[Hash, Choice] = {}
        with chunk_pool("encode") as pool:
            trials = [s for s in streams if s.hash in options]
            self._drain(pool, self._fresh(trials, done, first=True), done, options, choices)
            self._drain(pool, self._fresh(streams, done, first=False), done, options, choices)
        return done

    def _fresh(
        self, streams: Sequence[SurveyedStream], done: Mapping[Hash, StoredChunk], *, first: bool
    ) -> Iterator[tuple[SurveyedStream, int, int]]:
        """(stream, chunk number, offset) of chunks still to encode: only the first ones, or all."""
        planned: set[Hash] = set()
        for stream in streams:
            offset = 0
            for number, (length, digest) in enumerate(zip(stream.chunk_lengths, stream.chunk_hashes, strict=True)):
                if digest not in done and digest not in planned:
                    planned.add(digest)
                    yield stream, number, offset
                offset += length
                if first:
                    break

    def _drain(
        self,
        pool: ThreadPoolExecutor,
        work: Iterator[tuple[SurveyedStream, int, int]],
        done: dict[Hash, StoredChunk],
        options: Mapping[Hash, tuple[BaseStream, ...]],
        choices: dict[Hash, Choice],
    ) -> None:
        running: deque[Future[StoredChunk]] = deque()

        def collect(chunk: StoredChunk) -> None:
            done[chunk.raw_hash] = chunk
            self._progress.advance(chunk.raw_length)

        for stream, number, offset in work:
            choice = choices.get(stream.hash)
            bases = options.get(stream.hash, ()) if choice is None else choice.options
            if choice is None:
                choice = choices.setdefault(stream.hash, Choice())
            if stream.chunk_lengths[number] < _SMALL:
                collect(self._encode(stream, number, offset, bases, choice))
                continue
            running.append(pool.submit(self._encode, stream, number, offset, bases, choice))
            if len(running) >= THREADS * _IN_FLIGHT:
                collect(running.popleft().result())
        while running:
            collect(running.popleft().result())

    def encode_chunk(
        self,
        raw: memoryview,
        dtype: str,
        raw_hash: bytes,
        number: int,
        bases: Sequence[BaseStream],
        kin: Mapping[Hash, memoryview],
        choice: Choice,
    ) -> StoredChunk:
        """Encode one chunk from memory that nobody writes to; safe to call from several threads.

        Args:
            raw: its bytes.
            dtype: their element type.
            raw_hash: their BLAKE3 digest.
            number: which chunk of its tensor.
            bases: what its tensor may descend from.
            kin: chunks that need not be read, by their hash.
            choice: of another chunk of its tensor, or new; it gets what this one decides.
        """
        best = self._best(raw, dtype, raw_hash, self._bases(bases, number, kin))
        return self._write(raw, dtype, raw_hash, best, choice, hashed=True)

    def _encode(
        self, stream: SurveyedStream, number: int, offset: int, bases: Sequence[BaseStream], choice: Choice
    ) -> StoredChunk:
        length, digest = stream.chunk_lengths[number], stream.chunk_hashes[number]
        raw = self._buffer(length)
        stream.read_into(self._source, offset, raw)
        raw_hash = bytes.fromhex(digest)
        found = self._bases(bases, number, {})
        try:
            best = self._best(raw, stream.dtype, raw_hash, found)
            return self._write(raw, stream.dtype, raw_hash, best, choice)
        except CorruptError:
            if blake3(raw).digest() == raw_hash:
                raise
            raise ChangedError(
                "the file changed while it was read", hint="add it again when nothing writes to it"
            ) from None

    def _bases(self, options: Sequence[BaseStream], number: int, kin: Mapping[Hash, memoryview]) -> list[_Trial]:
        placed = [(option, *found) for option in options if (found := self._base(option, number, kin)) is not None]
        return [(option, chunk, Base(chunk.chunk.raw_hash, option.dtype, data)) for option, chunk, data in placed]

    @staticmethod
    def _best(raw: memoryview, dtype: str, raw_hash: bytes, trials: list[_Trial]) -> _Trial | None:
        """The base that leaves least."""
        if len(trials) > 1:
            trials.sort(key=lambda trial: encode(raw, dtype, raw_hash=raw_hash, base=trial[2]).length)
        return trials[0] if trials else None

    def _write(
        self,
        raw: memoryview,
        dtype: str,
        raw_hash: bytes,
        best: _Trial | None,
        choice: Choice,
        *,
        hashed: bool = False,
    ) -> StoredChunk:
        base = best[2] if best else None
        limit = choice.limit
        if base is not None and limit is None:
            limit = choice.limit = delta_limit(raw, dtype, base)
        frame = encode(raw, dtype, raw_hash=raw_hash, hashed=hashed, base=None if limit is None else base, limit=limit)
        placed = None
        if best and frame.codec == DELTA:
            choice.base, placed = best[0], best[1]
            with self._lock:
                self._shelf.relied[best[0].version] += len(raw)
        else:
            choice.base = None
        oid = self._pack.add("blob", frame.parts)
        return StoredChunk(frame.raw_hash, len(raw), oid, frame.length, frame.codec, placed)

    def _base(
        self, option: BaseStream, number: int, kin: Mapping[Hash, memoryview]
    ) -> tuple[PlacedChunk, memoryview] | None:
        """Chunk `number` of a base tensor with its raw bytes; the root of its chain when the chain is full."""
        with self._lock:
            found = self._shelf.find_stream(option.version, option.stream)
        if found is None or number >= found[1].count:
            return None
        index, stream = found
        chunk = stored_chunk(index, stream.first + number)
        placed = PlacedChunk(stream.hash, number, chunk)
        row = stream.first + number
        if chunk.depth >= MAX_DEPTH and chunk.root is not None:
            placed = chunk.root
            *_, row = index.chain(row)
        known = kin.get(placed.chunk.raw_hash)
        return placed, self._reader.chunk(index, row) if known is None else known

    def _buffer(self, length: int) -> memoryview:
        buffer: bytearray | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < length:
            buffer = self._scratch.buffer = bytearray(max(length, 4 << 20))
        return memoryview(buffer)[:length]
