"""The bytes of a tensor that is on no side: values by a strategy, or rows of two sides.

A tensor is read in spans of as many elements as a stored chunk has, on a few threads, and leaves in the same spans,
rounded once to its dtype. A strategy that looks more than once reads the spans again, unless the tensor is small enough
to be kept; memory does not depend on its size.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from git_lepton.codec.chunking import CHUNK_ELEMENTS
from git_lepton.codec.workspace import WORKSPACE
from git_lepton.compare.decoding import Decoder
from git_lepton.compare.mergevalues import SIDES, Decision, Whose
from git_lepton.compare.rounding import round_to
from git_lepton.compare.sides import FileSide
from git_lepton.compare.strategies import Block, TensorBlocks, needs_double, prepare
from git_lepton.config.strategies import STRATEGIES
from git_lepton.store.manifest import TensorLine
from git_lepton.store.reading import in_order
from git_lepton.values import DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Files = Mapping[Whose, FileSide]
"""The sides that are there."""

BLOCK: Final = 1 << 16
"""Elements computed at once by dare-ties; what it keeps depends on it, so it never changes."""
_CACHED: Final = 1 << 15
"""Elements computed at once by the others: all that is made on the way fits a processor's cache."""
_KEPT: Final = 96 << 20
"""Raw bytes of one tensor, all sides together, that are kept for a second look."""


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

    def read(self, start: int, stop: int) -> memoryview | bytes:
        """Bytes `start` to `stop`. Raises as `FileSide.read`."""
        found = list(self._overlapping(start, stop))
        return found[0] if len(found) == 1 else b"".join(found)

    def _overlapping(self, start: int, stop: int) -> Iterator[memoryview | bytes]:
        at = max(bisect_right(self._starts, start) - 1, 0)
        while start < stop:
            piece = self.pieces[at]
            data = self._file.read(self._line, piece)
            yield memoryview(data)[start - piece.start : min(stop, piece.stop) - piece.start]
            start, at = piece.stop, at + 1


def made(decision: Decision, files: Files, pool: ThreadPoolExecutor) -> Iterator[memoryview | bytes]:
    """The bytes of a tensor whose decision is "computed" or "rows", in order, made on the threads of `pool`.

    Raises:
        MissingError, CorruptError, ChangedError: of the sides.
    """
    if decision.outcome == "computed":
        yield from _computed(decision, files, pool)
        return
    assert decision.base is not None
    assert decision.grown
    trained: Whose = "theirs" if decision.grown == "ours" else "ours"
    grown = _bytes_of(decision, files, decision.grown)
    common = _bytes_of(decision, files, trained).size
    first = SIDES.get(decision.strategy, trained)
    if decision.strategy and decision.strategy not in SIDES:
        yield from _computed(decision, files, pool)
    else:
        yield from _copied(_bytes_of(decision, files, first), 0, common, pool)
    yield from _copied(grown, common, grown.size, pool)


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


def _copied(tensor: TensorBytes, start: int, stop: int, pool: ThreadPoolExecutor) -> Iterator[memoryview | bytes]:
    cuts = [start, *(p.start for p in tensor.pieces if start < p.start < stop), stop]
    ranges = [pair for pair in pairwise(cuts) if pair[0] < pair[1]]
    return in_order(lambda at: tensor.read(*ranges[at]), range(len(ranges)), pool)


def _computed(decision: Decision, files: Files, pool: ThreadPoolExecutor) -> Iterator[memoryview | bytes]:
    reader = _Reader(decision, files)
    combine = prepare(decision.strategy, decision.options, reader.blocks(pool))
    dtype = reader.decoder.dtype

    def one(span: int) -> bytes:
        return b"".join(round_to(dtype, combine(block)) for block in reader.load(span))

    return in_order(one, range(reader.spans), pool)


class _Reader:
    """Numbers of one tensor of all sides, span by span."""

    def __init__(self, decision: Decision, files: Files) -> None:
        sides: list[Whose] = ["ours", "theirs"]
        if STRATEGIES[decision.strategy].needs_base:
            sides.insert(0, "base")
        self._name = decision.name
        self._tensors = {whose: _bytes_of(decision, files, whose) for whose in sides}
        assert decision.ours is not None
        self.decoder: Final = Decoder(decision.ours.dtype, DTYPES[decision.ours.dtype].bits)
        self._width = self.decoder.bits // 8
        self._block = BLOCK if decision.strategy == "dare-ties" else _CACHED
        self._kind = "<f8" if self._width > 2 or needs_double(decision.strategy, decision.options) else "<f4"
        # Of a side that appended rows, those that all sides have.
        self._elements = min(tensor.size for tensor in self._tensors.values()) // self._width
        self.spans: Final = -(-self._elements // CHUNK_ELEMENTS)
        self._keeps = len(sides) * self._elements * self._width <= _KEPT
        self._kept: dict[int, dict[Whose, NDArray[np.unsignedinteger]]] = {}

    def blocks(self, pool: ThreadPoolExecutor) -> TensorBlocks:
        """What strategies work on."""
        return TensorBlocks(self._name, self._elements, self.spans, self.load, pool)

    def load(self, span: int) -> Iterator[Block]:
        """The blocks of one span; the numbers of one last until the next is asked for."""
        codes = self._codes(span)
        count = min(CHUNK_ELEMENTS, self._elements - span * CHUNK_ELEMENTS)
        for at in range(0, count, self._block):
            values = {}
            for whose, found in codes.items():
                part = found[at : at + self._block]
                values[whose] = WORKSPACE.array(f"merge {whose}", self._kind, part.size)
                self.decoder.values(part, values[whose])
            number = (span * CHUNK_ELEMENTS + at) // self._block
            yield Block(number, values.get("base"), values["ours"], values["theirs"])

    def _codes(self, span: int) -> dict[Whose, NDArray[np.unsignedinteger]]:
        if span in self._kept:
            return self._kept[span]
        start = span * CHUNK_ELEMENTS
        stop = min(start + CHUNK_ELEMENTS, self._elements)
        found = {
            whose: self.decoder.codes(tensor.read(start * self._width, stop * self._width), stop - start)
            for whose, tensor in self._tensors.items()
        }
        if self._keeps:
            self._kept[span] = found
        return found
