"""The first pass over a weight file: every hash that storing it needs, from one reading of its bytes.

The file's hash, the hash of each stream and the hash of each chunk come from the same buffers, so they agree with one
another even if the file changes meanwhile; a later reading of a chunk is checked against the hash from here. One
thread reads, a second hashes. Blocks end where chunks end, so that a chunk lies whole in one buffer and can be encoded
from there while the rest of the file still comes (`early`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from blake3 import blake3

from git_lepton.codec import chunk_lengths, content_cuts
from git_lepton.progress import Progress
from git_lepton.store.early import EarlyEncoder, Passing
from git_lepton.store.source import Source
from git_lepton.values import Hash, Layout

OTHER_DTYPE: Final = "OPAQUE"
BLOCK: Final = 4 << 20
"""Bytes taken at once."""
_IN_FLIGHT: Final = 7
"""Blocks being read, hashed and encoded: a thread that stores a group of frames still has one."""
_WINDOW: Final = 32 << 20
"""Other bytes are cut by content in windows of this size; the chunk at the end of a window is cut again with the next,
so that the cuts are those of one pass over the whole stream."""


@dataclass(frozen=True, slots=True)
class SurveyedStream:
    """One stream of the file: where it lies and what it and its chunks hash to.

    Attributes:
        dtype: element type, for the codec.
        hash: BLAKE3 of the stream.
        length: bytes.
        starts: offsets in the stream at which its extents begin.
        extents: (file offset, length) of its parts; a tensor has one, the other bytes have one a gap.
        chunk_lengths: bytes of each chunk.
        chunk_hashes: BLAKE3 of each chunk.
    """

    dtype: str
    hash: Hash
    length: int
    starts: tuple[int, ...]
    extents: tuple[tuple[int, int], ...]
    chunk_lengths: tuple[int, ...]
    chunk_hashes: tuple[Hash, ...]

    def read_into(self, source: Source, offset: int, out: memoryview) -> None:
        """Fill `out` with this stream's bytes from `offset` on."""
        at = bisect_right(self.starts, offset) - 1
        done = 0
        while done < len(out):
            begin, length = self.extents[at]
            skip = offset + done - self.starts[at]
            count = min(length - skip, len(out) - done)
            source.read_into(begin + skip, out[done : done + count])
            done += count
            at += 1


@dataclass(frozen=True, slots=True)
class Survey:
    """What one reading of the file tells: `other` is stream 0, `tensors` are those of `layout`, in order.

    `early` has the chunks that were encoded during that reading, if any were.
    """

    file_hash: Hash
    layout: Layout
    other: SurveyedStream
    tensors: tuple[SurveyedStream, ...]
    early: EarlyEncoder | None = field(default=None, compare=False)


Offer = Callable[[Passing], None]
"""Told of a chunk that came in one piece."""


class TensorHasher:
    """Takes a tensor's bytes in order; knows its chunk boundaries beforehand.

    Attributes:
        left: bytes up to the end of the chunk.
    """

    def __init__(self, dtype: str, start: int, length: int, offer: Offer | None = None) -> None:
        self.dtype, self.start, self.length = dtype, start, length
        self.lengths = chunk_lengths(dtype, length)
        self._offer = offer
        self._whole = blake3()
        self._chunk = self._whole if len(self.lengths) == 1 else blake3()
        self._hashes: list[Hash] = []
        self.left = self.lengths[0] if self.lengths else 0

    def update(self, data: memoryview) -> None:
        """The bytes that come next."""
        if self._chunk is not self._whole:
            self._whole.update(data)
        while len(data):
            piece = data[: self.left]
            self._chunk.update(piece)
            self.left -= len(piece)
            data = data[len(piece) :]
            if not self.left:
                digest = Hash(self._chunk.hexdigest())
                if self._offer is not None and len(piece) == self.lengths[len(self._hashes)]:
                    self._offer(Passing(self.dtype, digest, piece))
                self._hashes.append(digest)
                if len(self._hashes) < len(self.lengths):
                    self._chunk = blake3()
                    self.left = self.lengths[len(self._hashes)]

    def result(self) -> SurveyedStream:
        """All bytes have come."""
        return SurveyedStream(
            self.dtype,
            Hash(self._whole.hexdigest()),
            self.length,
            (0,),
            ((self.start, self.length),),
            self.lengths,
            tuple(self._hashes),
        )


@dataclass(slots=True)
class OtherHasher:
    """Takes the other bytes in order and cuts them by content as they come.

    Attributes:
        cuts: offsets at which a chunk is to end in any case.
        left: bytes that may well be given at once.
    """

    cuts: Sequence[int]
    left: int = BLOCK
    _whole: blake3 = field(default_factory=blake3)
    _window: bytearray = field(default_factory=bytearray)
    _taken: int = 0
    _lengths: list[int] = field(default_factory=list)
    _hashes: list[Hash] = field(default_factory=list)

    def update(self, data: memoryview) -> None:
        """The bytes that come next."""
        self._whole.update(data)
        self._window += data
        if len(self._window) >= _WINDOW:
            self._cut(last=False)

    def _cut(self, *, last: bool) -> None:
        forced = [c - self._taken for c in self.cuts if self._taken < c < self._taken + len(self._window)]
        with memoryview(self._window) as window:
            lengths = content_cuts(window, forced)
            kept = lengths if last else lengths[:-1]
            at = 0
            for length in kept:
                self._hashes.append(Hash(blake3(window[at : at + length]).hexdigest()))
                at += length
        self._lengths += kept
        self._taken += at
        del self._window[:at]

    def result(self, gaps: Sequence[tuple[int, int]]) -> SurveyedStream:
        """All bytes have come; `gaps` tells where in the file they lie."""
        if self._window:
            self._cut(last=True)
        starts = tuple(accumulate((length for _, length in gaps), initial=0))[:-1]
        return SurveyedStream(
            OTHER_DTYPE,
            Hash(self._whole.hexdigest()),
            sum(self._lengths),
            starts,
            tuple(gaps),
            tuple(self._lengths),
            tuple(self._hashes),
        )


def gaps(layout: Layout) -> Iterator[tuple[int, int]]:
    """The (offset, length) of every run of bytes that belongs to no tensor, in file order."""
    at = 0
    for tensor in layout.tensors:
        if tensor.start > at:
            yield at, tensor.start - at
        at = max(at, tensor.stop)
    if at < layout.size:
        yield at, layout.size - at


class Surveyor:
    """Takes a file in blocks, in order, and hashes it as a whole, by stream and by chunk.

    The caller fills what `buffer` gives with the bytes that are `due` and hands it back with `take`; meanwhile a second
    thread still reads the blocks before. To be closed, also when the survey is given up.

    Attributes:
        layout: how the file divides.
        whole: hasher of all that was taken; complete when this is closed.
        size: bytes taken.
        settled: from this offset on, storing the file will not read again what was taken, as a rule.
    """

    def __init__(self, layout: Layout, early: EarlyEncoder | None = None) -> None:
        """Begin with a file that divides as `layout`; `early` is offered its chunks."""
        self.layout = layout
        self.whole = blake3()
        self.size = 0
        self._early = early
        self._offered: list[Passing] = []
        self._starts = [t.start for t in layout.tensors]
        self._hashers = [
            TensorHasher(t.dtype, t.start, t.stop - t.start, self._offered.append if early and early.wants(n) else None)
            for n, t in enumerate(layout.tensors)
        ]
        self._gaps = list(gaps(layout))
        at_once = early is not None and all(
            early.wants(n) and max(hasher.lengths, default=0) <= BLOCK for n, hasher in enumerate(self._hashers)
        )
        self.settled = max((at + n for at, n in self._gaps), default=0) if at_once else layout.size
        # Cuts are offsets in the file, and other bytes are cut in their stream: the same where there are no tensors.
        self._other = OtherHasher(layout.cuts if not layout.tensors else ())
        runs: list[tuple[int, TensorHasher | OtherHasher]] = [(at + n, self._other) for at, n in self._gaps]
        runs += [(h.start + h.length, h) for h in self._hashers if h.length]
        self._runs = deque(sorted(runs, key=lambda run: run[0]))
        self._free = [bytearray(min(BLOCK, max(layout.size, 1))) for _ in range(_IN_FLIGHT)]
        self._running: deque[tuple[bytearray, Future[list[Future[None]]]]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="survey")

    @property
    def due(self) -> int:
        """How many bytes the next block had better have: at most `BLOCK`, and to the end of a chunk where one ends."""
        end = min(self.size + BLOCK, self.layout.size)
        number = bisect_right(self._starts, end) - 1
        if number >= 0 and end < self.layout.tensors[number].stop:
            hasher = self._hashers[number]
            cut = end - (end - hasher.start) % hasher.lengths[0]
            if cut > self.size:
                end = cut
        return end - self.size

    def buffer(self) -> bytearray:
        """A buffer to fill, of `BLOCK` bytes, or of the file's size if that is less."""
        if not self._free:
            buffer, future = self._running.popleft()
            wait(future.result())
            self._free.append(buffer)
        return self._free.pop()

    def take(self, buffer: bytearray, length: int) -> None:
        """The first `length` bytes of `buffer` come next; it may not be touched until it is given again."""
        block = memoryview(buffer)[:length]
        self._running.append((buffer, self._pool.submit(self._distribute, block, self.size)))
        self.size += length

    def finish(self) -> Survey:
        """All was taken."""
        for _, future in self._running:
            future.result()
        self._pool.shutdown()
        tensors = tuple(hasher.result() for hasher in self._hashers)
        other = self._other.result(self._gaps)
        return Survey(Hash(self.whole.hexdigest()), self.layout, other, tensors, self._early)

    def close(self) -> None:
        """End the threads, and drop what was encoded early and not taken."""
        if self._early is not None:
            self._early.stop()
        self._pool.shutdown()  # it may be offering chunks just now, for which a pack is begun
        if self._early is not None:
            self._early.abandon()

    def _distribute(self, block: memoryview, offset: int) -> list[Future[None]]:
        """Hash a block; the tasks that still read it."""
        at = 0
        while at < len(block):
            end, hasher = self._runs[0]
            stop = min(len(block), end - offset, at + hasher.left)  # what was just hashed is in the cache
            self.whole.update(block[at:stop])
            hasher.update(block[at:stop])
            at = stop
            if offset + at == end:
                self._runs.popleft()
        tasks = self._early.offer(self._offered) if self._early is not None else []
        self._offered.clear()
        return tasks


def survey(source: Source, layout: Layout, progress: Progress) -> Survey:
    """Read the file once and hash it as a whole, by stream and by chunk.

    Raises:
        ChangedError: the file became shorter.
    """
    surveyor = Surveyor(layout)
    try:
        while length := surveyor.due:
            buffer = surveyor.buffer()
            source.read_into(surveyor.size, memoryview(buffer)[:length])
            surveyor.take(buffer, length)
            progress.advance(length)
        return surveyor.finish()
    finally:
        surveyor.close()
