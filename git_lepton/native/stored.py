"""Objects of a pack in stored blocks, laid out without the interpreter lock: the kernel of stored.c."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes


class StoredKernels:
    """The function of stored.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        pointers, sizes = ctypes.POINTER(pointer), ctypes.POINTER(size)
        self._store = declared(library.lepton_store, None, pointers, sizes, size, pointer)
        self._pointer, self._size = pointer, size

    def store(self, parts: Sequence[memoryview], out: memoryview) -> None:
        """Fill `out` with stored blocks of the bytes of `parts`; it has exactly the room that they need."""
        filled = [part for part in parts if part]
        pointers = (self._pointer * len(filled))(*map(address, filled))
        sizes = (self._size * len(filled))(*map(len, filled))
        self._store(pointers, sizes, len(filled), address(out))


@cache
def kernels() -> StoredKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else StoredKernels(found)
