"""Elements as differences from a prediction: what an earlier version of the tensor leads one to expect.

    residual = ordered(element) - ordered(predicted) + 0x8080…80     modulo 2^bits

`ordered` maps a float's bits to an integer so that neighbouring floats become neighbouring integers (sign and magnitude
become two's complement); integers stay as they are. A small change of a weight is then a small integer, and adding
0x80 to each byte makes its bytes digits from -128 to 127 that count from the middle: a small difference of either sign
leaves the high bytes at 0x80, as zigzag coding would leave them at 0, in one addition instead of three operations.
Only bits are computed with, so NaN payloads, infinities and both zeros return exactly, whatever the prediction was.

The prediction is the base's element at the same place, converted if the base has another float dtype, or zero bits
behind the base's end. Conversions round to nearest, ties to even, and pass through float32, whose casts are what
training code does. What a decoder predicts must be what the encoder predicted, on any machine: NaNs are made one
constant wherever hardware may differ in their payload, and float64 is narrowed by integer arithmetic, since threads
that flush denormals would round it differently. A wrong guess costs space, never exactness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from git_lepton.codec.planes import UNSIGNED, width_of
from git_lepton.codec.workspace import WORKSPACE

if TYPE_CHECKING:
    from git_lepton.codec.planes import Elements

_SIGNED: Final = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}
_CENTRE: Final = {width: int.from_bytes(b"\x80" * width, "little") for width in _SIGNED}


def predictable(dtype: str, base_dtype: str) -> bool:
    """Tell whether elements of `dtype` can be predicted from elements of `base_dtype`."""
    if dtype == base_dtype:
        return width_of(dtype) > 0
    return dtype in _FROM_FLOAT32 and base_dtype in _TO_FLOAT32


def predict(base: Elements, base_dtype: str, dtype: str, count: int) -> Elements:
    """The predicted bits of `count` elements of `dtype`; scratch, or `base` itself.

    Args:
        base: the bits of the base's elements at the same places; fewer than `count` at its end.
        base_dtype: their dtype; `predictable(dtype, base_dtype)` holds.
        dtype: the dtype to predict.
        count: how many elements; at most a block if the dtypes differ.
    """
    known = base[:count]
    if dtype != base_dtype:
        known = _FROM_FLOAT32[dtype](_TO_FLOAT32[base_dtype](known))
    if known.size == count:
        return known
    whole = WORKSPACE.array("predicted", UNSIGNED[width_of(dtype)], count)
    whole[: known.size] = known
    whole[known.size :] = 0
    return whole


def residual(elements: Elements, predicted: Elements, *, floats: bool) -> Elements:
    """The centred differences of `elements` from `predicted`; scratch."""
    import numpy as np

    out = _scratch("residual", elements)
    if floats:
        expected = _scratch("expected", elements)
        _ordered(elements, out=out)
        _ordered(predicted, out=expected)
        np.subtract(out, expected, out=out)
    else:
        np.subtract(elements, predicted, out=out)
    np.add(out, _CENTRE[out.itemsize], out=out)
    return out


def restore(residuals: Elements, predicted: Elements, *, floats: bool, out: Elements) -> None:
    """Undo `residual`: fill `out` from the differences and the same prediction. `residuals` is overwritten."""
    import numpy as np

    np.subtract(residuals, _CENTRE[out.itemsize], out=residuals)
    if floats:
        expected = _scratch("expected", out)
        _ordered(predicted, out=expected)
        np.add(residuals, expected, out=residuals)
        _ordered(residuals, out=out)
    else:
        np.add(residuals, predicted, out=out)


def _scratch(name: str, like: Elements) -> Elements:
    return WORKSPACE.array(name, UNSIGNED[like.itemsize], like.size)


def _ordered(bits: Elements, out: Elements) -> None:
    """Map float bits to two's complement integers in the floats' order, or back: it is its own inverse."""
    import numpy as np

    signed = _SIGNED[bits.itemsize]
    np.right_shift(bits.view(signed), 8 * bits.itemsize - 1, out=out.view(signed))
    np.right_shift(out, 1, out=out)
    np.bitwise_xor(out, bits, out=out)


def _float32_from_bfloat16(bits: Elements) -> Elements:
    import numpy as np

    out: Elements = WORKSPACE.array("float32", "<u4", bits.size)
    np.multiply(bits, 1 << 16, out=out, dtype=out.dtype)
    return out


def _float32_from_float16(bits: Elements) -> Elements:
    import numpy as np

    out: Elements = WORKSPACE.array("float32", "<u4", bits.size)
    halves, floats = bits.view("<f2"), out.view("<f4")
    np.copyto(floats, halves)
    np.copyto(out, 0x7FC00000, where=np.isnan(floats), casting="unsafe")
    return out


def _float32_from_float64(bits: Elements) -> Elements:
    import numpy as np

    magnitude = bits & 0x7FFF_FFFF_FFFF_FFFF
    rounded = magnitude + 0x0FFF_FFFF + ((magnitude >> 29) & 1)
    rebiased = (rounded >> 29).view("<i8") - (896 << 23)
    out: Elements = np.clip(rebiased, 0, 0x7F800000).astype("<u4")
    out |= ((bits >> 63) << 31).astype("<u4")
    return out


def _bfloat16_from_float32(bits: Elements) -> Elements:
    import numpy as np

    wide = WORKSPACE.array("wide", "<u4", bits.size)
    out: Elements = WORKSPACE.array("cast", "<u2", bits.size)
    np.right_shift(bits, 16, out=wide)
    np.bitwise_and(wide, 1, out=wide)
    np.add(wide, 0x7FFF, out=wide)
    np.add(wide, bits, out=wide)
    np.right_shift(wide, 16, out=out, casting="unsafe")
    return out


def _float16_from_float32(bits: Elements) -> Elements:
    import numpy as np

    out: Elements = WORKSPACE.array("cast", "<u2", bits.size)
    floats, halves = bits.view("<f4"), out.view("<f2")
    with np.errstate(all="ignore"):
        np.copyto(halves, floats, casting="same_kind")
    np.copyto(out, 0x7E00, where=np.isnan(floats), casting="unsafe")
    return out


def _float64_from_float32(bits: Elements) -> Elements:
    import numpy as np

    magnitude = (bits & 0x7FFFFFFF).astype("<u8")
    normal = (magnitude << 29) + (896 << 52)
    out: Elements = np.where(magnitude < 0x00800000, np.uint64(0), normal)
    out |= (bits >> 31).astype("<u8") << 63
    return out


def _same(bits: Elements) -> Elements:
    return bits


_TO_FLOAT32: Final[dict[str, Callable[[Elements], Elements]]] = {
    "F32": _same,
    "BF16": _float32_from_bfloat16,
    "F16": _float32_from_float16,
    "F64": _float32_from_float64,
}
"""How the bits of each float dtype become those of float32."""

_FROM_FLOAT32: Final[dict[str, Callable[[Elements], Elements]]] = {
    "F32": _same,
    "BF16": _bfloat16_from_float32,
    "F16": _float16_from_float32,
    "F64": _float64_from_float32,
}
"""How the bits of float32 become those of each float dtype."""
