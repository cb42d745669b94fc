"""Where chunks end: by elements inside a tensor, by content elsewhere.

A tensor is cut after every `CHUNK_ELEMENTS` elements, whatever its dtype, so that chunk *i* of a tensor covers the
same elements in float32 and in its bfloat16 cast and can be predicted from it. Bytes without elements of a known
width are cut where their own content says so (FastCDC): an insertion then moves two cuts instead of all that follow.

Cuts decide what is shared between versions and nothing else; a reader takes the lengths from the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from git_lepton.values import DTYPES

CHUNK_ELEMENTS: Final = 524_288
"""Elements of a known dtype in one chunk: 512 KiB of FP8, 1 MiB of BF16, 2 MiB of F32, 4 MiB of F64."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes in one chunk of a tensor whose elements are opaque."""

CONTENT_MIN: Final = 256 << 10
CONTENT_TARGET: Final = 1 << 20
CONTENT_MAX: Final = 4 << 20
"""Least, intended and greatest bytes between two content-defined cuts."""

CONTENT_NORMALIZATION: Final = 1
"""FastCDC's normalisation level: how strongly lengths are drawn to the target."""


def chunk_lengths(dtype: str, length: int) -> tuple[int, ...]:
    """Cut a tensor of `length` bytes after every `CHUNK_ELEMENTS` elements, or every `CHUNK_BYTES` if it is opaque.

    Returns:
        The chunks' lengths in bytes, all positive, their sum `length`; `()` for a tensor of no bytes.
    """
    known = DTYPES.get(dtype)
    step = CHUNK_BYTES if known is None or known.kind == "opaque" else CHUNK_ELEMENTS * known.bits // 8
    whole, rest = divmod(length, step)
    return (step,) * whole + ((rest,) if rest else ())


def content_cuts(data: memoryview, forced: Sequence[int] = ()) -> tuple[int, ...]:
    """Cut `data` where its content says so (FastCDC 2020, Xia et al.), and at every offset in `forced`.

    Cutting starts afresh at each forced offset, so what lies between two of them is cut alike wherever it lies.
    Offsets outside the data are ignored; their order and repetition do not matter.

    Returns:
        The chunks' lengths in bytes, all positive, their sum `len(data)`; `()` for no data.
    """
    inner = sorted({cut for cut in forced if 0 < cut < len(data)})
    return tuple(length for start, stop in pairwise((0, *inner, len(data))) for length in _fastcdc(data[start:stop]))


def _fastcdc(data: memoryview) -> Iterator[int]:
    if len(data) <= CONTENT_MIN:
        return iter((len(data),) if len(data) else ())
    from pyfastcdc import FastCDC

    cutter = FastCDC(
        CONTENT_TARGET,
        min_size=CONTENT_MIN,
        max_size=CONTENT_MAX,
        normalized_chunking=CONTENT_NORMALIZATION,
        seed=0,
    )
    return (chunk.length for chunk in cutter.cut_buf(data))
