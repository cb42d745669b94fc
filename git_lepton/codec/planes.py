"""Byte planes: element arrays turned into one array for each byte of an element, and back.

Neighbouring weights have like exponents and unlike mantissas. Once byte *k* of all elements lies together, an entropy
coder has one skewed plane to shrink and the noise beside it costs nothing.

A float's exponent straddles two bytes. The highest plane therefore takes the eight bits that follow the sign, and the
sign goes into the gap that they leave in the byte below (a bfloat16 with sign s, exponent e, mantissa m):

    s eeeeeee | e mmmmmmm    becomes    eeeeeeee | s mmmmmmm

Lower bytes stay as they are, so those of a float32 that was once a bfloat16 are all zero and cost nothing.

Every step is one numpy call on a block that fits the L2 cache with its results; the narrowing happens inside the call
(`casting="unsafe"` drops the high bits), which measures three times faster than strided byte copies. All the calls
release the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.values import DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Elements: TypeAlias = NDArray[np.unsignedinteger[Any]]
    Plane: TypeAlias = NDArray[np.uint8]

BLOCK_BYTES: Final = 256 << 10
"""Bytes of elements worked on at a time."""

UNSIGNED: Final = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
"""numpy's name of the unsigned integer with this many bytes."""


def width_of(dtype: str) -> int:
    """Bytes of one element, or 0 if elements of this dtype are opaque to the codec."""
    known = DTYPES.get(dtype)
    return 0 if known is None or known.kind == "opaque" else known.bits // 8


def is_float(dtype: str) -> bool:
    """Tell whether elements have a sign, an exponent and a mantissa, in this order from the top bit."""
    known = DTYPES.get(dtype)
    return known is not None and known.kind == "float"


def has_planes(dtype: str) -> bool:
    """Tell whether the planes codec is for this dtype: floats of more than one byte."""
    return is_float(dtype) and width_of(dtype) > 1


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices that cover `count` elements of `width` bytes, `BLOCK_BYTES` each."""
    step = BLOCK_BYTES // width
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def split(elements: Elements, planes: Sequence[Plane], *, floats: bool) -> None:
    """Fill `planes`, lowest byte first, from as many unsigned `elements`; `floats` moves the sign as shown above."""
    import numpy as np

    width = elements.itemsize
    if width == 1:
        np.copyto(planes[0], elements)
    elif width > 2:
        half = width // 2
        low = WORKSPACE.array(f"low{half}", UNSIGNED[half], elements.size)
        high = WORKSPACE.array(f"high{half}", UNSIGNED[half], elements.size)
        np.copyto(low, elements, casting="unsafe")
        np.right_shift(elements, 8 * half, out=high, casting="unsafe")
        split(low, planes[:half], floats=False)
        split(high, planes[half:], floats=floats)
    elif floats:
        np.right_shift(elements, 7, out=planes[1], casting="unsafe")
        rest = WORKSPACE.array("rest", "<u2", elements.size)
        np.bitwise_and(elements, 0x807F, out=rest)
        np.multiply(rest, 0x0101, out=rest)
        np.right_shift(rest, 8, out=planes[0], casting="unsafe")
    else:
        np.copyto(planes[0], elements, casting="unsafe")
        np.right_shift(elements, 8, out=planes[1], casting="unsafe")


def merge(planes: Sequence[Plane], out: Elements, *, floats: bool) -> None:
    """Undo `split`: fill `out` from its planes."""
    import numpy as np

    width = out.itemsize
    if width == 1:
        np.copyto(out, planes[0])
    elif width > 2:
        half = width // 2
        low = WORKSPACE.array(f"low{half}", UNSIGNED[half], out.size)
        high = WORKSPACE.array(f"high{half}", UNSIGNED[half], out.size)
        merge(planes[:half], low, floats=False)
        merge(planes[half:], high, floats=floats)
        np.multiply(high, 1 << 8 * half, out=out, dtype=out.dtype)
        np.bitwise_or(out, low, out=out)
    elif floats:
        rest = WORKSPACE.array("rest", "<u2", out.size)
        np.multiply(planes[0], 0x0101, out=rest, dtype=rest.dtype)
        np.bitwise_and(rest, 0x807F, out=rest)
        np.multiply(planes[1], 1 << 7, out=out, dtype=out.dtype)
        np.bitwise_or(out, rest, out=out)
    else:
        np.multiply(planes[1], 1 << 8, out=out, dtype=out.dtype)
        np.bitwise_or(out, planes[0], out=out)
