"""The sums over two tensors in one pass: the kernel of tally.c, called with arrays of bit patterns."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes

    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.unsignedinteger[Any]]

KINDS: Final = {
    name: kind
    for kind, name in enumerate(("BF16", "F16", "F32", "F64", "I8", "U8", "I16", "U16", "I32", "U32", "LISTED"))
}
"""What the kernel calls the dtypes that it knows; LISTED are those of a byte or less, whose values are looked up."""

_SUMS: Final = 18


@dataclass(frozen=True, slots=True)
class Reading:
    """How the kernel reads elements: the `dtype`, one of `KINDS`, and for LISTED the value of each bit pattern."""

    dtype: str
    values: NDArray[np.float64] | None = None

    def packed(self) -> bytes:
        """The structure of elements.h."""
        return struct.pack("<QI4x", address(self.values) or 0, KINDS[self.dtype])


class TallyKernels:
    """The function of tally.c. Arrays are contiguous; nothing is checked that the caller knows."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
        self._tally = declared(library.lepton_tally, None, pointer, number, pointer, pointer, size, pointer, pointer)
        self._sums = ctypes.c_double * _SUMS

    def tally(
        self,
        readings: tuple[Reading, Reading],
        before: Codes,
        after: Codes,
        change: NDArray[np.float32] | None,
        *,
        alike: bool,
    ) -> tuple[list[float], list[float], list[float]]:
        """All sums over as many elements on either side.

        Args:
            readings: how to read before, and after.
            before: bit patterns.
            after: likewise.
            change: gets after - before, if any, 0 where either is not finite.
            alike: both are of one dtype, so that their bits tell which elements changed.

        Returns:
            Of both: elements that changed, sums of squares of the difference, of before, and of after, their product,
            the largest difference. Of before, and of after: count, mean, squared distances from it, zeros, NaN,
            infinities.
        """
        sums = self._sums()
        how = b"".join(reading.packed() for reading in readings)
        self._tally(how, alike, address(before), address(after), len(before), address(change), sums)
        return sums[:6], sums[6:12], sums[12:]


@cache
def kernels() -> TallyKernels | None:
    """This function, or None where nothing was compiled."""
    found = library()
    return None if found is None else TallyKernels(found)
