"""Byte planes and differences from a prediction in one pass: the kernels of planes.c, called with numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes

    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Elements = NDArray[np.unsignedinteger[Any]]


class PlaneKernels:
    """The functions of planes.c. Arrays are contiguous; nothing is checked that the caller knows."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        size, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
        planes, width = ctypes.POINTER(pointer), ctypes.c_uint
        self._split = declared(library.lepton_split, None, pointer, pointer, size, width, number, planes)
        self._join = declared(library.lepton_join, None, planes, pointer, size, width, number, pointer)
        self._holds = declared(library.lepton_holds, number, planes, pointer, size, width, number, pointer)
        byte = ctypes.c_uint8
        self._sparse_split = declared(library.lepton_sparse_split, size, pointer, size, byte, pointer, pointer)
        self._ones = declared(library.lepton_ones, size, pointer, size)
        self._sparse_join = declared(library.lepton_sparse_join, None, pointer, pointer, byte, size, pointer)
        self._pointers = [pointer * count for count in range(9)]

    def split(self, elements: Elements, predicted: Elements | None, planes: Sequence[Bytes], *, floats: bool) -> None:
        """Fill as many `planes` as an element has bytes, from the elements or their differences from `predicted`."""
        self._split(
            address(elements), address(predicted), elements.size, elements.itemsize, floats, self._table(planes)
        )

    def join(self, planes: Sequence[Bytes], predicted: Elements | None, out: Elements, *, floats: bool) -> None:
        """Undo `split`."""
        self._join(self._table(planes), address(predicted), out.size, out.itemsize, floats, address(out))

    def holds(self, planes: Sequence[Bytes], predicted: Elements | None, elements: Elements, *, floats: bool) -> bool:
        """Whether `join` would give these elements."""
        table = self._table(planes)
        return bool(self._holds(table, address(predicted), elements.size, elements.itemsize, floats, address(elements)))

    def sparse_split(self, plane: Bytes, common: int, bitmap: Bytes, rest: Bytes) -> int:
        """Where `plane` has other bytes than `common`, and which, into arrays of its size / 8 and its size; a count."""
        found: int = self._sparse_split(address(plane), plane.size, common, address(bitmap), address(rest))
        return found

    def ones(self, bitmap: Bytes) -> int:
        """How many bits are 1."""
        found: int = self._ones(address(bitmap), bitmap.size)
        return found

    def sparse_join(self, bitmap: Bytes, rest: Bytes, common: int, plane: Bytes) -> None:
        """Undo `sparse_split`; `bitmap` has as many ones as `rest` bytes, and none behind the end of `plane`."""
        self._sparse_join(address(bitmap), address(rest), common, plane.size, address(plane))

    def _table(self, planes: Sequence[Bytes]) -> ctypes.Array[ctypes.c_void_p]:
        return self._pointers[len(planes)](*map(address, planes))


@cache
def kernels() -> PlaneKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else PlaneKernels(found)
