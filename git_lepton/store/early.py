"""Encoding a file while it is surveyed: new chunks go into a pack straight from the survey's buffers.

A chunk that no stored version lists, of a tensor that has nothing to descend from, will be stored whole whatever the
rest of the file holds. It is encoded as soon as it passed, so that its bytes are read once only, and hashing and
encoding overlap. Everything else is left to `encoding`, which gets this pack and what is in it: tensors that may be
deltas, the bytes that belong to no tensor, chunks that did not come in one piece.

The pack is opened for the first new chunk. If the file turns out to be another one than was laid out, or its survey is
given up, the pack is abandoned; nothing refers to it. An error is kept until the chunks are asked for, since git sends
the whole file before it listens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from git_lepton.codec import encode
from git_lepton.git.packfile import PackWriter
from git_lepton.git.repo import Repo
from git_lepton.progress import Progress
from git_lepton.store.assemble import StoredChunk
from git_lepton.store.lookup import Lookup
from git_lepton.store.reading import THREADS
from git_lepton.values import Hash


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
        self._error: Exception | None = None
        self._open = True
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="early")

    @property
    def size(self) -> int:
        """Raw bytes of the chunks that are encoded; to be asked when the survey is over."""
        return sum(chunk.raw_length for chunk in self._chunks.values())

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
            oid = pack.add("blob", frame.parts)
        except Exception as error:  # likewise
            self._error = error
            return
        size = len(chunk.raw)
        self._chunks[chunk.hash] = StoredChunk(chunk.hash, size, oid, frame.length, frame.codec, None)
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
        pack, chunks, self._pack, self._chunks = self._pack, self._chunks, None, {}
        return pack, chunks

    def abandon(self) -> None:
        """Give up what was not taken; chunks in work are finished, since their buffers are not ours."""
        self._open = False
        self._pool.shutdown()
        if self._pack is not None:
            self._pack.abandon()
            self._pack = None
            self._progress.finish()
