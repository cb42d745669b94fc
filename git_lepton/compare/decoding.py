"""Raw bytes of a tensor to numbers, for every dtype of `git_lepton.values.DTYPES`.

Decoding has two steps. `codes` turns bytes into one bit pattern an element: a view where an element has whole bytes,
one byte each where it has fewer. `values` turns bit patterns into float64 (complex128 for complex dtypes): every dtype
fits without rounding but the 64-bit integers, whose difference `split` keeps exact. Floats of 16 bits and fewer fit a
float32 as well.

Elements of less than a byte lie as ONNX and PyTorch pack them: the first in the lowest bits, and on across bytes for
the six-bit floats. Floats of eight bits and fewer are looked up in tables of the OCP specifications ("8-bit Floating
Point", "Microscaling Formats (MX)" 1.0) and, for the FNUZ kinds, of Noune et al. 2022.

Every step is a numpy call that releases the interpreter lock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from git_lepton.codec.workspace import WORKSPACE
from git_lepton.values import DTYPES, NUMPY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes: TypeAlias = NDArray[np.unsignedinteger[Any]]
    Values: TypeAlias = NDArray[Any]
    """Float64 or complex128."""

Raw: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class _Tiny:
    """A float of at most eight bits: sign, exponent, mantissa.

    `specials`: "ieee" has infinities and NaNs in the highest exponent, "fn" one NaN a sign and no infinity, "fnuz" a
    single NaN where -0 would be, "finite" none.
    """

    exponent: int
    mantissa: int
    bias: int
    specials: Literal["ieee", "fn", "fnuz", "finite"]

    def value(self, code: int) -> float:
        """What the bit pattern `code` means."""
        magnitude = code & ((1 << self.exponent + self.mantissa) - 1)
        sign = -1.0 if code >> self.exponent + self.mantissa else 1.0
        exponent, mantissa = magnitude >> self.mantissa, magnitude & ((1 << self.mantissa) - 1)
        highest = exponent == (1 << self.exponent) - 1
        if self.specials == "ieee" and highest:
            return math.nan if mantissa else sign * math.inf
        if self.specials == "fn" and highest and mantissa == (1 << self.mantissa) - 1:
            return math.nan
        if self.specials == "fnuz" and sign < 0 and not magnitude:
            return math.nan
        if exponent:
            return math.ldexp(sign * (mantissa + (1 << self.mantissa)), exponent - self.bias - self.mantissa)
        return math.ldexp(sign * mantissa, 1 - self.bias - self.mantissa)


_TINY: Final = {
    "F8_E4M3": _Tiny(4, 3, 7, "fn"),
    "F8_E5M2": _Tiny(5, 2, 15, "ieee"),
    "F8_E4M3FNUZ": _Tiny(4, 3, 8, "fnuz"),
    "F8_E5M2FNUZ": _Tiny(5, 2, 16, "fnuz"),
    "F6_E2M3": _Tiny(2, 3, 1, "finite"),
    "F6_E3M2": _Tiny(3, 2, 3, "finite"),
    "F4": _Tiny(2, 1, 1, "finite"),
}
_INTEGERS: Final = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "I4", "U4", "I2", "U2"})
_MANTISSA: Final = {"F16": 10, "BF16": 7, "F32": 23, "F64": 52}


@dataclass(frozen=True, slots=True)
class Decoder:
    """How elements of one dtype are read. Get one from `decoder`; safe to share between threads."""

    dtype: str
    bits: int

    @property
    def group(self) -> tuple[int, int]:
        """The least number of elements that fills whole bytes, and how many bytes those are."""
        size = math.lcm(self.bits, 8)
        return size // self.bits, size // 8

    @property
    def is_complex(self) -> bool:
        """Whether values have two parts."""
        return self.dtype in {"C64", "C128"}

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers (BOOL too)."""
        return self.dtype in _INTEGERS

    @property
    def is_wide(self) -> bool:
        """Whether some values do not fit a float64."""
        return self.dtype in {"U64", "I64"}

    @property
    def step(self) -> float:
        """An upper bound of the gap between neighbouring values: relative to them for floats, else absolute."""
        if self.is_integer:
            return 1.0
        tiny = _TINY.get(self.dtype)
        return 2.0 ** -(tiny.mantissa if tiny else _MANTISSA.get(self.dtype, 0))

    @property
    def listed(self) -> NDArray[np.float64] | None:
        """The value of each bit pattern, for dtypes of at most eight bits that numpy does not have."""
        return _table(self.dtype) if self.bits <= 8 and self.dtype not in NUMPY else None

    def codes(self, raw: Raw, count: int) -> Codes:
        """Bit patterns of the first `count` elements of `raw`, which begins at a byte where one begins.

        Returns:
            Shape [count]; [count, 2] for C128. A view of `raw` wherever that can be.
        """
        import numpy as np

        if self.bits < 8:
            return _unpacked(np.frombuffer(raw, np.uint8), self.bits)[:count]
        width = min(self.bits // 8, 8)
        found = np.frombuffer(raw, f"<u{width}")
        if not found.flags.aligned:
            found = found.copy()
        return found.reshape(-1, 2)[:count] if self.bits == 128 else found[:count]

    def values(self, codes: Codes, out: Values) -> None:
        """Numbers of `codes`, into `out` of as many float64 or complex128, or float32 if that holds the dtype."""
        import numpy as np

        if self.dtype in NUMPY:
            np.copyto(out, codes.reshape(-1).view(NUMPY[self.dtype]))
        elif self.dtype == "BF16":
            is_single = out.dtype == np.float32
            wide = out.view("<u4") if is_single else WORKSPACE.array("wide", "<u4", codes.size)
            np.left_shift(codes, 16, out=wide, dtype="<u4")
            if not is_single:
                np.copyto(out, wide.view("<f4"))
        elif out.dtype == np.float32:
            np.copyto(out, _table(self.dtype)[codes], casting="same_kind")
        else:
            _table(self.dtype).take(codes, out=out, mode="clip")

    def split(self, codes: Codes) -> tuple[Values, Values]:
        """High and low halves of 64-bit integers, each exact in float64: value = high * 2**32 + low."""
        import numpy as np

        whole = codes.view(NUMPY[self.dtype])
        return (whole >> 32).astype(np.float64), (codes & 0xFFFFFFFF).astype(np.float64)


def decoder(dtype: str) -> Decoder | None:
    """The decoder of `dtype`, or None when its elements cannot be told apart (GGUF's blocks, varints)."""
    known = DTYPES.get(dtype)
    return None if known is None else Decoder(dtype, known.bits)


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """One byte for each `bits` bits, lowest first; bits beyond the last whole element are dropped."""
    import numpy as np

    if bits == 6:
        singles = np.unpackbits(packed, bitorder="little")
        whole = singles[: singles.size // 6 * 6].reshape(-1, 6)
        return np.packbits(whole, axis=1, bitorder="little").reshape(-1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)


@cache
def _table(dtype: str) -> NDArray[np.float64]:
    """The value of each bit pattern of a dtype of at most eight bits."""
    import numpy as np

    bits = DTYPES[dtype].bits
    codes = range(1 << bits)
    if dtype == "F8_E8M0":  # a power of two without sign; the last one is NaN
        return np.array([*(math.ldexp(1.0, code - 127) for code in codes[:-1]), math.nan])
    if dtype in _TINY:
        return np.array([_TINY[dtype].value(code) for code in codes])
    signed = dtype in {"I4", "I2"}
    return np.array([code - (1 << bits) if signed and code >> bits - 1 else code for code in codes], np.float64)
