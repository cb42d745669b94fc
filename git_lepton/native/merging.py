"""Merged elements in one pass: the kernels of merging.c, called with arrays of bit patterns."""

from __future__ import annotations

import struct
from collections.abc import Sequence
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

KINDS: Final = {"BF16": 0, "F16": 1, "F32": 2, "F64": 3}
"""What the kernels call the dtypes that they know."""
ALL: Final = 1 << 63
"""More than any tensor has."""
LANES: Final = 8
"""Sums that a product of two tensors is added up in."""
STREAMS: Final = 8
"""Of random numbers, each for one element in so many."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How the change of one side is thinned out and weighed.

    Attributes:
        factor: by which what stays is multiplied.
        least: the smallest magnitude that stays, as the bits of a double without its sign; 0 keeps everything.
        equal: how many of exactly that magnitude stay: the first ones, or `ALL`.
    """

    factor: float
    least: int = 0
    equal: int = ALL


@dataclass(frozen=True, slots=True)
class Chance:
    """Thinning out at random instead: each element has one number of an SFC64 stream, half of it for either side.

    Attributes:
        state: of the `STREAMS` streams: the first word of each, then the second, the third, and the counter.
        stays: of 2**32 numbers, those that keep an element.
        rescale: by which what stays is multiplied.
    """

    state: bytes
    stays: int
    rescale: float


@dataclass(frozen=True, slots=True)
class Election:
    """How two changes become one.

    Attributes:
        ours, theirs: what is left of them before.
        mean: by what the winner is multiplied: ours, theirs, or the sum where both have the sign that won.
        scale: by what the result is multiplied before it is added to the base.
        chance: what thins out instead of magnitude.
    """

    ours: Choice
    theirs: Choice
    mean: tuple[float, float, float]
    scale: float
    chance: Chance | None = None


class MergeKernels:
    """The functions of merging.c. Arrays are contiguous; nothing is checked that the caller knows.

    `dtype` is one of `KINDS`; all sides have as many elements as `out`, which must not be one of them.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        size, pointer, number, real = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint, ctypes.c_double
        self._weighted = declared(library.lepton_merge_weighted, None, number, pointer, pointer, size, pointer, pointer)
        self._added = declared(
            library.lepton_merge_added, None, number, pointer, pointer, pointer, size, pointer, real, pointer
        )
        self._products = declared(library.lepton_merge_products, None, number, pointer, pointer, size, pointer)
        self._window = declared(library.lepton_merge_window, None, number, *[pointer] * 3, size, *[pointer] * 4)
        self._elected = declared(
            library.lepton_merge_elected, None, number, pointer, pointer, pointer, size, pointer, pointer, pointer
        )

    def weighted(self, dtype: str, ours: Codes, theirs: Codes, factors: Sequence[float], out: Codes) -> None:
        """Both sides, each with its factor."""
        self._weighted(KINDS[dtype], address(ours), address(theirs), out.size, _reals(*factors), address(out))

    def added(
        self, dtype: str, base: Codes, ours: Codes, theirs: Codes, factors: Sequence[float], scale: float, out: Codes
    ) -> None:
        """The base and `scale` times the sum of both changes, each with its factor."""
        sides = (address(base), address(ours), address(theirs))
        self._added(KINDS[dtype], *sides, out.size, _reals(*factors), scale, address(out))

    def products(self, dtype: str, ours: Codes, theirs: Codes) -> list[float]:
        """The sums, in `LANES` each, of ours times theirs, ours squared, and theirs squared."""
        sums = _reals(*([0.0] * 3 * LANES))
        self._products(KINDS[dtype], address(ours), address(theirs), ours.size, sums)
        return list(sums)

    def window(
        self,
        dtype: str,
        sides: tuple[Codes, Codes, Codes],
        windows: Sequence[tuple[int, int]],
        found: Sequence[NDArray[np.int64]],
    ) -> list[tuple[int, int]]:
        """Of ours, then of theirs: how many changes are above the window (least, most), and how many are in `found`.

        Magnitudes are the bits of doubles without their sign; each of `found` has room for all.

        Args:
            dtype: of the elements.
            sides: base, ours and theirs.
            windows: of each change.
            found: gets what is inside.
        """
        import ctypes

        least, most = ((ctypes.c_int64 * 2)(*limits) for limits in zip(*windows, strict=True))
        counts, rooms = (ctypes.c_uint64 * 4)(), (ctypes.c_void_p * 2)(*map(address, found))
        self._window(KINDS[dtype], *map(address, sides), sides[0].size, least, most, counts, rooms)
        return [(counts[0], counts[1]), (counts[2], counts[3])]

    def elected(self, dtype: str, base: Codes, ours: Codes, theirs: Codes, how: Election, out: Codes) -> None:
        """The base and what an election leaves of both changes."""
        sides = (address(base), address(ours), address(theirs))
        self._elected(KINDS[dtype], *sides, out.size, *_packed(how), address(out))


def _reals(*values: float) -> ctypes.Array[ctypes.c_double]:
    import ctypes

    return (ctypes.c_double * len(values))(*values)


def _packed(how: Election) -> tuple[bytes, bytes]:
    """The structures of merging.c."""
    choices = b"".join(struct.pack("<dqQ", side.factor, side.least, side.equal) for side in (how.ours, how.theirs))
    chance = how.chance or Chance(bytes(32 * STREAMS), 0, 0.0)
    numbers = *how.mean, how.scale, how.chance is not None, chance.rescale, chance.stays
    election = struct.pack("<4di4xdQ", *numbers) + chance.state
    return choices, election


@cache
def kernels() -> MergeKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else MergeKernels(found)
