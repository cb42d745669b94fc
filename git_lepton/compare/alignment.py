"""Which elements of two tensors belong together, and which of them must be read at all.

Work is cut into *spans* of elements, one for each pair of chunks that differ. Chunks of a known dtype hold the same
number of elements on both sides, so a span is a chunk and nothing is copied; where cuts differ (opaque dtypes, another
dtype, a tensor that grew) a span's bytes are joined from the chunks that hold them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from git_lepton.compare.decoding import Decoder, Raw, decoder
from git_lepton.compare.sides import FileSide, Piece
from git_lepton.errors import CorruptError
from git_lepton.store.manifest import TensorLine

SPAN: Final = 524_288
"""Elements in a span where chunks do not say: as many as a chunk of a known dtype has."""


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a pair of tensors: its file, its line there, its chunks, and how to decode them."""

    file: FileSide
    line: TensorLine
    pieces: Sequence[Piece]
    decode: Decoder

    def raw(self, first: int, stop: int) -> Raw:
        """The bytes of elements `first` to `stop`, which lie on whole bytes (the last may end within one)."""
        begin, end = _offset(self.decode, first), -(-stop * self.decode.bits // 8)
        number = bisect_right(self.pieces, begin, key=lambda piece: piece.start) - 1
        parts = []
        while begin < end:
            piece = self.pieces[number]
            data = memoryview(self.file.read(self.line, piece))
            parts.append(data[begin - piece.start : end - piece.start])
            begin, number = piece.stop, number + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class Span:
    """Elements `first` to `stop` of both sides; `certain` when hashes prove that they differ."""

    first: int
    stop: int
    certain: bool


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two tensors side by side.

    Attributes:
        before, after: the two.
        elements: how many both have in common, from the first on.
        shape: their common shape.
        spans: those that differ or may differ, in order.
        note: what they are over, if not all of both.
    """

    before: Half
    after: Half
    elements: int
    shape: tuple[int, ...]
    spans: tuple[Span, ...]
    note: str


def align(
    before: FileSide, line_before: TensorLine, after: FileSide, line_after: TensorLine
) -> tuple[Alignment | None, str]:
    """Lay two tensors side by side: None, and why, when their elements do not correspond.

    Raises:
        CorruptError: a tensor has fewer bytes than its shape asks for.
    """
    decoders = decoder(line_before.dtype), decoder(line_after.dtype)
    for found, line in zip(decoders, (line_before, line_after), strict=True):
        if found is None:
            return None, f"elements of {line.dtype} cannot be told apart"
    decode_before, decode_after = decoders
    assert decode_before is not None
    assert decode_after is not None
    shape, note = common(line_before.shape, line_after.shape)
    if shape is None:
        return None, note
    elements = math.prod(shape)
    if not elements:
        return None, "no elements to compare"
    half_before = _half(before, line_before, decode_before)
    half_after = _half(after, line_after, decode_after)
    if decode_before == decode_after:
        spans = tuple(_differing(half_before, half_after, elements))
    else:
        spans = tuple(Span(at, min(at + SPAN, elements), certain=True) for at in range(0, elements, SPAN))
    return Alignment(half_before, half_after, elements, shape, spans, note), note


def _half(file: FileSide, line: TensorLine, decode: Decoder) -> Half:
    pieces = file.pieces(line)
    wanted, found = -(-math.prod(line.shape) * decode.bits // 8), pieces[-1].stop if pieces else 0
    if found < wanted:
        raise CorruptError(f"{file.path}: tensor {line.name} has {found} bytes, and its shape asks for {wanted}")
    return Half(file, line, pieces, decode)


def common(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[tuple[int, ...] | None, str]:
    """The shape in which two tensors can be compared, and what to say of it; None when there is none."""
    if before == after:
        return after, ""
    if len(before) == len(after) and before[1:] == after[1:]:
        rows, most = sorted((before[0], after[0]))
        return (rows, *after[1:]), f"rows 0-{rows - 1} of {most}"
    if math.prod(before) == math.prod(after):
        return (math.prod(after),), "in file order: the shapes differ"
    return None, f"shapes {_spelled(before)} and {_spelled(after)} do not correspond"


def sample(spans: Sequence[Span], limit: int, decode: Decoder) -> tuple[Span, ...]:
    """At least one of the spans, evenly spaced, of about `limit` bytes in all; all of them when they are no more."""
    size = sum(span.stop - span.first for span in spans) * decode.bits // 8
    if size <= limit:
        return tuple(spans)
    count = max(1, len(spans) * limit // size)
    return tuple(spans[(2 * number + 1) * len(spans) // (2 * count)] for number in range(count))


def _differing(before: Half, after: Half, elements: int) -> Iterator[Span]:
    """Spans of two tensors of one dtype: where both have the same chunk, as their hashes tell, there is none."""
    per_group, group = before.decode.group
    size = -(-elements * before.decode.bits // 8)
    cuts = sorted({0, size, *(p.stop for half in (before, after) for p in half.pieces if p.stop < size)})
    done = 0
    at_before = at_after = 0
    for start, stop in pairwise(cuts):
        while before.pieces[at_before].stop <= start:
            at_before += 1
        while after.pieces[at_after].stop <= start:
            at_after += 1
        left, right = before.pieces[at_before], after.pieces[at_after]
        twins = (left.start, left.stop) == (right.start, right.stop) and left.hash is not None
        if twins and left.hash == right.hash:
            continue
        first = max(done, start // group * per_group)
        done = min(-(-stop // group) * per_group, elements)
        if first < done:
            yield Span(first, done, certain=twins and right.hash is not None)


def _offset(decode: Decoder, element: int) -> int:
    return element * decode.bits // 8


def _spelled(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
