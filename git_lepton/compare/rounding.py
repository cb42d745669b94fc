"""Numbers back to the bit patterns of a dtype, rounded once: to nearest, ties to even (IEEE 754-2019, 4.3.1).

Dtypes without infinities take their largest value for what is beyond it, as the OCP specification's saturating mode
says; the others overflow to infinity. NaN becomes the dtype's NaN where it has one, else zero.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.compare.decoding import Decoder
from git_lepton.values import DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_DIRECT: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
"""Dtypes to which numpy itself rounds in one step."""

_TABLED: Final = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})

ROUNDED: Final = frozenset({*_DIRECT, "BF16", *_TABLED})
"""Dtypes that values can be rounded to."""


def round_to(dtype: str, values: Floats) -> bytes:
    """Elements of `dtype` nearest to `values` (shape [n]), as little-endian bytes. `dtype` is in `ROUNDED`."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        if dtype in _DIRECT:
            result = values.astype(_DIRECT[dtype])
            # Which NaN an operation gives depends on the machine.
            np.copyto(result, np.nan, where=np.isnan(result))
            return result.tobytes()
        return _to_bf16(values).tobytes() if dtype == "BF16" else _to_tabled(dtype, values).tobytes()


def _to_bf16(values: Floats) -> NDArray[np.uint16]:
    """By way of float32; a value that the first rounding brought to the midpoint is moved off it again. Scratch."""
    import numpy as np

    single = WORKSPACE.array("single", "<f4", values.size)
    np.copyto(single, values, casting="same_kind")
    bits = single.view("<u4")
    doubtful = np.equal(bits.view("<u2")[::2], 0x8000, out=WORKSPACE.array("doubtful", "?", values.size))
    if doubtful.any():
        doubtful &= single.astype("<f8") != values  # most midpoints are exact
        middle = np.flatnonzero(doubtful)
        exact, near = np.abs(values[middle]), np.abs(single[middle].astype(np.float64))
        bits[middle] += (exact > near).astype("<u4")
        bits[middle] -= (exact < near).astype("<u4")
    rounded = np.right_shift(bits, 16, out=WORKSPACE.array("rounded", "<u4", values.size))
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    result: NDArray[np.uint16] = WORKSPACE.array("result", "<u2", values.size)
    np.right_shift(rounded, 16, out=result, casting="unsafe")
    np.copyto(result, 0x7FC0, where=np.isnan(single, out=doubtful))
    return result


@cache
def _table(dtype: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8], float, int]:
    """Values from 0 up, the midpoints between them, their codes, the greatest one, and the code of NaN."""
    import numpy as np

    codes = np.arange(256, dtype=np.uint8)
    values = np.empty(256, np.float64)
    Decoder(dtype, DTYPES[dtype].bits).values(codes, values)
    magnitudes = codes[:128][~np.isnan(values[:128])]
    ladder = values[magnitudes]
    finite = ladder[np.isfinite(ladder)]
    if finite.size < ladder.size:
        # Infinity stands where the next value would be, so that half-way to it rounds to it.
        ladder = np.append(finite, 2 * finite[-1] - finite[-2])
    nan = int(codes[np.isnan(values)][0])
    return ladder, (ladder[1:] + ladder[:-1]) / 2, magnitudes, float(finite[-1]), nan


def _to_tabled(dtype: str, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    import numpy as np

    ladder, middles, codes, greatest, nan = _table(dtype)
    sizes = np.abs(values)
    if len(ladder) == len(codes) and ladder[-1] == greatest:
        sizes = np.minimum(sizes, greatest)
    at = np.searchsorted(middles, sizes, side="left")
    tie = np.flatnonzero((at < len(middles)) & (sizes == middles[np.minimum(at, len(middles) - 1)]))
    at[tie] += at[tie] & 1  # the upper neighbour is even where the lower is odd: codes count up with the values
    result = codes[np.minimum(at, len(codes) - 1)]
    negative = np.signbit(values)
    if nan == 0x80:  # the FNUZ kinds have no negative zero: its code is their NaN
        negative &= result != 0
    result |= negative.astype(np.uint8) << np.uint8(7)
    result[np.isnan(values)] = nan
    return result
