"""The bytes of a tensor that is on no side: values by a strategy, or rows of two sides.

A tensor is made chunk by chunk, each as the store would cut it, on whatever thread asks for it. Before the first one
its strategy may have to look at the whole tensor; it reads the spans again for that, unless the tensor is small enough
to be kept. Memory does not depend on its size, and a chunk can be made again at any time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Final

from git_lepton.codec.chunking import CHUNK_ELEMENTS, chunk_lengths
from git_lepton.compare.arithmetic import Block
from git_lepton.compare.decoding import Decoder
from git_lepton.compare.mergevalues import SIDES, Decision, Whose
from git_lepton.compare.sides import FileSide
from git_lepton.compare.strategies import Combine, TensorBlocks, prepare
from git_lepton.config.strategies import STRATEGIES
from git_lepton.store.manifest import TensorLine
from git_lepton.values import DTYPES, Hash

if TYPE_CHECKING:
    from git_lepton.compare.arithmetic import Codes

Files = Mapping[Whose, FileSide]
"""The sides that are there."""

_KEPT: Final = 96 << 20
"""Raw bytes of one tensor, all sides together, that are kept for a second look; of two tensors at once."""


class TensorBytes:
    """The bytes of one tensor of one side, by range."""

    def __init__(self, file: FileSide, line: TensorLine) -> None:
        self._file, self._line = file, line
        self.pieces: Final = file.pieces(line)
        self._starts = [piece.start for piece in self.pieces]

    @property
    def size(self) -> int:
        """Bytes in the tensor."""
        return self.pieces[-1].stop if self.pieces else 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Bytes of each piece."""
        return tuple(piece.stop - piece.start for piece in self.pieces)

    def read(self, start: int, stop: int) -> memoryview | bytes:
        """Bytes `start` to `stop`. Raises as `FileSide.read`."""
        found = list(self._overlapping(start, stop))
        return found[0] if len(found) == 1 else b"".join(found)

    def hash(self, start: int, stop: int) -> Hash | None:
        """BLAKE3 of these bytes, if they are a piece whose hash is known."""
        at = bisect_right(self._starts, start) - 1
        piece = self.pieces[at] if at >= 0 else None
        return piece.hash if piece is not None and (piece.start, piece.stop) == (start, stop) else None

    def _overlapping(self, start: int, stop: int) -> Iterator[memoryview | bytes]:
        at = max(bisect_right(self._starts, start) - 1, 0)
        while start < stop:
            piece = self.pieces[at]
            data = self._file.read(self._line, piece)
            yield memoryview(data)[start - piece.start : min(stop, piece.stop) - piece.start]
            start, at = piece.stop, at + 1


@dataclass(frozen=True, slots=True)
class Made:
    """A chunk that was made.

    Attributes:
        raw: its bytes, which nobody writes to.
        kin: the same chunk of the closest relative, by its hash, if it was looked at.
    """

    raw: memoryview
    kin: Mapping[Hash, memoryview]


class MadeTensor:
    """A tensor whose decision is "computed" or "rows". Threads may share it.

    Attributes:
        size: bytes.
        lengths: bytes of each chunk.
    """

    def __init__(self, decision: Decision, files: Files) -> None:
        """Decide how it is made; reads nothing. Raises MissingError without the index of a side."""
        assert decision.line is not None
        dtype = decision.line.dtype
        self._first = self._grown = None
        if decision.outcome == "rows":
            assert decision.grown
            trained: Whose = "theirs" if decision.grown == "ours" else "ours"
            self._grown = _bytes_of(decision, files, decision.grown)
            self._common = _bytes_of(decision, files, trained).size
            self.size = self._grown.size
            if not decision.strategy or decision.strategy in SIDES:
                self._first = _bytes_of(decision, files, SIDES.get(decision.strategy, trained))
        self._reader = None if self._first else _Reader(decision, files)
        if self._reader and not self._grown:
            self.size = self._common = self._reader.size
        self.lengths: Final = chunk_lengths(dtype, self.size)
        self._starts = list(accumulate(self.lengths, initial=0))
        self._decision = decision
        self._combine: Combine | None = None
        self._lock = Lock()

    def look(self, pool: ThreadPoolExecutor | None = None) -> None:
        """Look at the whole tensor, once, on the threads of `pool`.

        Raises:
            MissingError, CorruptError, ChangedError: of the sides.
        """
        with self._lock:
            if self._combine is None and self._reader is not None:
                blocks = self._reader.blocks(pool)
                self._combine = prepare(self._decision.strategy, self._decision.options, blocks)

    def chunk(self, number: int) -> Made:
        """Make one chunk; raises as `look`."""
        start, stop = self._starts[number : number + 2]
        if stop <= self._common and self._reader is not None:
            return self._computed(number)
        parts: list[memoryview | bytes] = []
        if start < self._common:
            computed = self._reader is not None
            parts.append(self._computed(number).raw if computed else self._copied(start, min(stop, self._common)))
        if stop > self._common:
            assert self._grown is not None
            parts.append(self._grown.read(max(start, self._common), stop))
        return Made(memoryview(parts[0] if len(parts) == 1 else b"".join(parts)), {})

    def read(self, start: int, stop: int) -> memoryview | bytes:
        """Make bytes `start` to `stop`; raises as `look`."""
        parts = []
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            begin, end = self._starts[at : at + 2]
            parts.append(self.chunk(at).raw[start - begin : min(stop, end) - begin])
            start, at = end, at + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _computed(self, span: int) -> Made:
        self.look()
        assert self._combine is not None
        assert self._reader is not None
        block, kin = self._reader.last(span)
        return Made(self._combine(block), kin)

    def _copied(self, start: int, stop: int) -> memoryview | bytes:
        assert self._first is not None
        return self._first.read(start, stop)


def keeps_rows(decision: Decision, files: Files) -> bool:
    """Whether the side that appended rows left those that were there as they were; `decision` is one of `growths`.

    Raises:
        MissingError, CorruptError, ChangedError: of the sides.
    """
    assert decision.grown
    before, after = (_bytes_of(decision, files, whose) for whose in ("base", decision.grown))
    known = {(piece.start, piece.stop): piece.hash for piece in after.pieces}
    for piece in before.pieces:
        if piece.hash is not None and known.get((piece.start, piece.stop)) == piece.hash:
            continue
        if bytes(before.read(piece.start, piece.stop)) != bytes(after.read(piece.start, piece.stop)):
            return False
    return True


def _bytes_of(decision: Decision, files: Files, whose: Whose) -> TensorBytes:
    line = {"base": decision.base, "ours": decision.ours, "theirs": decision.theirs}[whose]
    assert line is not None
    return TensorBytes(files[whose], line)


class _Reader:
    """Bit patterns of one tensor of all sides, span by span."""

    def __init__(self, decision: Decision, files: Files) -> None:
        base, ours = decision.base, decision.ours
        assert ours is not None
        # The base comes last: to read a delta of it leaves it at hand. What is made will be stored as a delta of it.
        sides: list[Whose] = ["ours", "theirs"]
        if STRATEGIES[decision.strategy].needs_base or (base and (base.dtype, base.shape) == (ours.dtype, ours.shape)):
            sides.append("base")
        self._name = decision.name
        self._tensors = {whose: _bytes_of(decision, files, whose) for whose in sides}
        self._decoder = Decoder(ours.dtype, DTYPES[ours.dtype].bits)
        self._width = self._decoder.bits // 8
        # Of a side that appended rows, those that all sides have.
        self._elements = min(tensor.size for tensor in self._tensors.values()) // self._width
        self._keeps = len(sides) * self._elements * self._width <= _KEPT
        self._kept: dict[int, dict[Whose, Codes]] = {}

    @property
    def size(self) -> int:
        """Bytes that all sides have."""
        return self._elements * self._width

    def blocks(self, pool: ThreadPoolExecutor | None) -> TensorBlocks:
        """What strategies look at."""
        spans = -(-self._elements // CHUNK_ELEMENTS)
        dtype, based = self._decoder.dtype, "base" in self._tensors
        return TensorBlocks(self._name, dtype, self._elements, spans, self._load, based, self._keeps, pool)

    def last(self, span: int) -> tuple[Block, Mapping[Hash, memoryview]]:
        """A span and what is in it of the closest relative; it need not be kept any longer."""
        codes = self._kept.pop(span, None) or self._read(span)
        kin = self._tensors["base" if "base" in codes else "ours"]
        near = codes.get("base", codes["ours"])
        start = span * CHUNK_ELEMENTS * self._width
        digest = kin.hash(start, start + near.nbytes)
        return _block(span, codes), {digest: near.view("<u1").data} if digest else {}

    def _load(self, span: int) -> Block:
        codes = self._kept.get(span) or self._read(span)
        if self._keeps:
            self._kept[span] = codes
        return _block(span, codes)

    def _read(self, span: int) -> dict[Whose, Codes]:
        start = span * CHUNK_ELEMENTS
        stop = min(start + CHUNK_ELEMENTS, self._elements)
        return {
            whose: self._decoder.codes(tensor.read(start * self._width, stop * self._width), stop - start)
            for whose, tensor in self._tensors.items()
        }


def _block(span: int, codes: Mapping[Whose, Codes]) -> Block:
    return Block(span * CHUNK_ELEMENTS, codes.get("base"), codes["ours"], codes["theirs"])
