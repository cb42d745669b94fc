"""Encoding a file while it is surveyed: new chunks go into a pack straight from the survey's buffers.

A chunk that no stored version lists, of a tensor that has nothing to descend from, will be stored whole whatever the
rest of the file holds. It is encoded as soon as it passed, so that its bytes are read once only, and hashing and
encoding overlap. Everything else is left to `encoding`, which gets this pack and what is in it: tensors that may be
deltas, the bytes that belong to no tensor, chunks that did not come in one piece. What was encoded goes into the pack
some frames at a time, since the ids of many are found faster (`hash_objects`).

The pack is opened for the first new chunk. If the file turns out to be another one than was laid out, or its survey is
given up, the pack is abandoned; nothing refers to it. An error is kept until the chunks are asked for, since git sends
the whole file before it listens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import Final

from git_lepton.codec import STORED, Frame, encode
from git_lepton.git.objectid import SIDE_BY_SIDE
from git_lepton.git.packfile import PackWriter
from git_lepton.git.repo import Repo
from git_lepton.progress import Progress
from git_lepton.store.assemble import StoredChunk
from git_lepton.store.lookup import Lookup
from git_lepton.store.reading import chunk_pool
from git_lepton.values import Hash

_GATHERED: Final = 24 << 20
"""Bytes of frames that wait to be stored together, at most, but for the last."""


@dataclass(frozen=True, slots=True)
class Passing:
    """A chunk that is in memory for the moment.

    Attributes:
        dtype: element type, for the codec.
        hash: its BLAKE3.
        raw: its bytes.
    """

    dtype: str
    hash: Hash
    raw: memoryview


class EarlyEncoder:
    """Takes chunks from the one thread that surveys; what it made goes to one caller of `take`, or is abandoned."""

    def __init__(
        self, repo: Repo, lookup: Lookup, progress: Progress, *, waiting: Collection[int], objects: int | None
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            repo: where the pack will be.
            lookup: what is stored; nobody else may use it until the survey is over.
            progress: is told of every chunk.
            waiting: numbers of the tensors that are not to be encoded early.
            objects: how many objects the pack will have, if that is known (see `PackWriter`).
        """
        self._repo, self._lookup, self._progress = repo, lookup, progress
        self._waiting, self._objects = frozenset(waiting), objects
        self._pack: PackWriter | None = None
        self._seen: set[Hash] = set()
        self._chunks: dict[Hash, StoredChunk] = {}
        self._ready: list[Frame] = []
        self._lock = Lock()
        self._error: Exception | None = None
        self._open = True
        self._pool = chunk_pool("early")

    @property
    def size(self) -> int:
        """Raw bytes of the chunks that are encoded; to be asked when the survey is over."""
        return sum(c.raw_length for c in self._chunks.values()) + sum(frame.raw_length for frame in self._ready)

    def wants(self, number: int) -> bool:
        """Whether the chunks of this tensor of the file are to be offered."""
        return number not in self._waiting

    def offer(self, chunks: Iterable[Passing]) -> list[Future[None]]:
        """Take what is wanted of these chunks; all of their memory must stay until these futures are done."""
        if not self._open or self._error is not None:
            return []
        fresh = {chunk.hash: chunk for chunk in chunks if chunk.hash not in self._seen}
        self._seen.update(fresh)
        tasks = []
        try:
            known = self._lookup.chunks(fresh)
            for digest, chunk in fresh.items():
                if digest not in known:
                    if self._pack is None:
                        self._pack = PackWriter(self._repo, objects=self._objects)
                    tasks.append(self._pool.submit(self._encode, self._pack, chunk))
        except Exception as error:  # whatever it is, it is told when the chunks are asked for
            self._error = error
        return tasks

    def _encode(self, pack: PackWriter, chunk: Passing) -> None:
        if not self._open or self._error is not None:
            return
        try:
            frame = encode(chunk.raw, chunk.dtype, raw_hash=bytes.fromhex(chunk.hash), hashed=True)
            # A stored frame is the chunk itself, whose memory is ours until this returns.
            self._add(pack, [frame] if frame.codec == STORED else self._group(frame))
        except Exception as error:  # likewise
            self._error = error

    def _group(self, frame: Frame) -> list[Frame]:
        """The frames that are to be stored now: those that waited, when they are enough with this one."""
        with self._lock:
            self._ready.append(frame)
            if len(self._ready) < SIDE_BY_SIDE and sum(waiting.length for waiting in self._ready) < _GATHERED:
                return []
            frames, self._ready = self._ready, []
        return frames

    def _add(self, pack: PackWriter, frames: Sequence[Frame]) -> None:
        oids = pack.add_all("blob", [frame.parts for frame in frames])
        for frame, oid in zip(frames, oids, strict=True):
            digest, size = frame.raw_hash, frame.raw_length
            self._chunks[digest] = StoredChunk(digest, size, oid, frame.length, frame.codec, None)
            self._progress.advance(size)

    def take(self) -> tuple[PackWriter | None, dict[Hash, StoredChunk]]:
        """The pack, which is the caller's from now on, and its chunks; nothing when there is none, or the second time.

        Raises:
            OSError: the disk is full.
            LeptonError: a chunk could not be encoded.
        """
        self._pool.shutdown()
        if self._error is not None:
            raise self._error
        if self._pack is not None:
            frames, self._ready = self._ready, []
            self._add(self._pack, frames)
        pack, chunks, self._pack, self._chunks = self._pack, self._chunks, None, {}
        return pack, chunks

    def stop(self) -> None:
        """Encode nothing that is offered from now on."""
        self._open = False

    def abandon(self) -> None:
        """Give up what was not taken, after `stop`; chunks in work are finished, since their buffers are not ours.

        Nobody may be offering any more.
        """
        self._pool.shutdown()
        if self._pack is not None:
            self._pack.abandon()
            self._pack = None
            self._progress.finish()
