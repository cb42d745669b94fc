"""Number formats in numpy: weights read as float32, rounded to smaller formats, and measured against what they were.

Every rounding is to nearest, ties to even, and a pure function of its input: no random numbers, no order of threads.
NaN stays NaN; infinities stay in formats that have them. Layouts of quantized weights are those of compressed-tensors
(https://github.com/vllm-project/compressed-tensors, `compressed_tensors/quantization/utils/helpers.py` for scales,
`compressors/quantized_compressors/pack_quantized.py` for packing).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from git_lepton.values import NUMPY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

FLOAT_DTYPES: Final = frozenset({"F64", "F32", "F16", "BF16"})
"""Dtypes that recipes reduce; anything else is kept as it is."""

E4M3_MAX: Final = 448.0

_IN_CACHE: Final = 1 << 15  # elements
_STORED: Final = {**NUMPY, "BF16": "<u2", "F8_E4M3": "u1"}


def as_stored(data: memoryview, dtype: str) -> Array:
    """View bytes as an array of the dtype's own numpy type (bfloat16 and float8 as unsigned bits) without a copy."""
    import numpy as np

    return np.frombuffer(data, dtype=_STORED[dtype])


def to_float(stored: Array, dtype: str) -> Array:
    """Read stored numbers exactly: float64 for F64, float32 for every other float dtype."""
    import numpy as np

    if dtype == "F64":
        return stored
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F8_E4M3":
        return np.take(_e4m3_table(), stored)
    return stored.astype(np.float32, copy=False)


def from_float(values: Array, dtype: str) -> Array:
    """Round numbers to a float dtype and return what is stored. float64 goes to BF16 and F8_E4M3 by way of float32."""
    import numpy as np

    if dtype == "BF16":
        return _to_bf16(values.astype(np.float32, copy=False))
    if dtype == "F8_E4M3":
        return _to_e4m3(values.astype(np.float32, copy=False))
    with np.errstate(over="ignore"):
        return values.astype(_STORED[dtype])


def _to_bf16(values: Array) -> Array:
    import numpy as np

    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40  # a NaN whose payload lies in the lower half alone must not become an infinity
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)


def _to_e4m3(values: Array) -> Array:
    """E4M3 without infinities (OCP 8-bit floating point, 2023): beyond 448 the largest number, NaN is 0x7f."""
    import numpy as np

    bits = np.minimum(np.abs(values), np.float32(E4M3_MAX)).view(np.uint32)
    bits = bits + np.uint32(0x7FFFF) + ((bits >> 20) & 1)  # 23 bits of mantissa to 3
    normal = (bits >> 20).astype(np.int64) - ((127 - 7) << 3)
    magnitude = np.abs(values)
    small = magnitude < np.float32(2.0**-6)
    subnormal = np.rint(np.where(small, magnitude, 0) * np.float32(2.0**9))
    code = np.where(small, subnormal.astype(np.int64), normal)
    code = np.where(np.isnan(values), 0x7F, code)
    signed: Array = (code | (np.signbit(values).astype(np.int64) << 7)).astype(np.uint8)
    return signed


def _e4m3_table() -> Array:
    import numpy as np

    code = np.arange(128)
    exponent, mantissa = code >> 3, (code & 7).astype(np.float64)
    value = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    value[127] = math.nan
    return np.concatenate([value, -value]).astype(np.float32)


def scales(values: Array, bits: int, group: int | None, dtype: str) -> Array:
    """The symmetric scale of each row, or of each group of columns of each row, as it will read back from `dtype`.

    Args:
        values: two dimensions, finite.
        bits: 8 or 4 for integers; 0 for E4M3.
        group: columns a scale, a divisor of the columns; None for a scale a row.
        dtype: in which the scales are stored.

    Returns:
        Float32 of shape (rows, groups); never 0, so that a row of zeros divides to zeros.
    """
    import numpy as np

    rows, columns = values.shape
    largest = np.abs(values).reshape(rows, -1, group or max(columns, 1)).max(axis=2, initial=0.0)
    step = largest.astype(np.float32) / np.float32(E4M3_MAX if bits == 0 else ((1 << bits) - 1) / 2)
    step = to_float(from_float(step, dtype), dtype).astype(np.float32)
    return np.where(step == 0, np.float32(1.0), step)


def quantize(values: Array, scale: Array, bits: int) -> Array:
    """Divide by the scales (shape rows x groups) and round: int8 values for 8 and 4 bits, E4M3 codes for 0."""
    import numpy as np

    ratio = values / _spread(scale, values.shape[1])
    if bits == 0:
        return from_float(ratio, "F8_E4M3")
    half = 1 << (bits - 1)
    return np.clip(np.rint(ratio), -half, half - 1).astype(np.int8)


def dequantize(codes: Array, scale: Array, bits: int) -> Array:
    """What a loader makes of `quantize`'s codes."""
    numbers = to_float(codes, "F8_E4M3") if bits == 0 else codes.astype("<f4")
    restored: Array = numbers * _spread(scale, codes.shape[1])
    return restored


def _spread(scale: Array, columns: int) -> Array:
    import numpy as np

    return np.repeat(scale, columns // scale.shape[1], axis=1) if scale.shape[1] > 1 else scale


def packed(codes: Array, bits: int) -> Array:
    """Integers of `bits` bits, offset to unsigned, in int32 words along the columns, the first in the lowest bits."""
    import numpy as np

    per_word = 32 // bits
    rows, columns = codes.shape
    words = -(-columns // per_word)
    unsigned = np.zeros((rows, words * per_word), np.uint32)
    unsigned[:, :columns] = codes.astype(np.int16) + (1 << (bits - 1))
    shifted = unsigned.reshape(rows, words, per_word) << (np.arange(per_word, dtype=np.uint32) * bits)
    joined: Array = np.bitwise_or.reduce(shifted, axis=2).view(np.int32)
    return joined


def smallest(values: Array, percent: int) -> Array:
    """Where the `percent` of the elements with the smallest magnitude lie; of equal ones, the first in memory order.

    NaN counts as infinite. Exactly floor(size * percent / 100) elements are marked.
    """
    import numpy as np

    magnitude = np.abs(values).ravel()
    magnitude[np.isnan(magnitude)] = np.inf
    count = magnitude.size * percent // 100
    if count == 0:
        return np.zeros(values.shape, bool)
    limit = np.partition(magnitude, count - 1)[count - 1]
    mask = magnitude < limit
    equal = np.flatnonzero(magnitude == limit)
    mask[equal[: count - int(mask.sum())]] = True
    whole: Array = mask.reshape(values.shape)
    return whole


def two_of_four(values: Array, axis: int) -> Array:
    """Where the two smallest of every four neighbours along an axis lie; a last group of fewer is kept whole.

    The axis is the one that products add up along, which is what processors with sparse units ask for: inputs of a
    linear layer, input channels of a convolution.
    """
    import numpy as np

    turned = np.abs(values).swapaxes(axis, -1)
    columns = turned.shape[-1] // 4 * 4
    groups = turned[..., :columns].reshape(*turned.shape[:-1], -1, 4)
    order = np.argsort(groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[..., :2], True, axis=-1)
    whole = np.zeros(turned.shape, bool)
    whole[..., :columns] = mask.reshape(*turned.shape[:-1], columns)
    result: Array = whole.swapaxes(axis, -1)
    return result


class Distance:
    """Adds up how far two tensors lie apart, a slab at a time."""

    def __init__(self) -> None:
        self._squares = self._reference = self.max_abs = 0.0

    def add(self, before: Array, after: Array) -> None:
        """Take in the same part of both; pairs where either is no finite number are left out."""
        import numpy as np

        first, second = before.ravel(), after.ravel()
        for start in range(0, first.size, _IN_CACHE):
            reference = first[start : start + _IN_CACHE].astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                difference = second[start : start + _IN_CACHE] - reference
            finite = np.isfinite(difference)
            if not finite.all():
                difference, reference = difference[finite], reference[finite]
            if difference.size:
                # Not `@`: a product of vectors wakes BLAS's threads, and its sum depends on how many there are.
                self._squares += float(np.einsum("i,i->", difference, difference))
                self._reference += float(np.einsum("i,i->", reference, reference))
                self.max_abs = max(self.max_abs, float(np.abs(difference).max()))

    @property
    def relative_l2(self) -> float:
        """Norm of the difference by the norm of `before`; infinite when only the latter is 0."""
        if self._reference == 0:
            return 0.0 if self._squares == 0 else math.inf
        return math.sqrt(self._squares / self._reference)
