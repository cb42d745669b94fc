"""The payload of the planes and delta codecs in one call: the kernels of payload.c.

They are called with memory of any kind: numpy takes longer to import than most files take to be stored.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes


class PayloadKernels:
    """The functions of payload.c. Elements are `width` bytes each; nothing is checked that the caller knows."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        size, pointer, number, width = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
        elements = (pointer, size, width, number, pointer)
        self._scratch = declared(library.lepton_payload_scratch, size, size, width)
        self._room = declared(library.lepton_payload_room, size, size, width)
        self._pack = declared(library.lepton_pack, size, pointer, *elements, pointer)
        self._unpack = declared(library.lepton_unpack, number, pointer, size, *elements, pointer)
        self._unpacks_to = declared(library.lepton_unpacks_to, number, pointer, size, *elements, pointer)

    def scratch(self, count: int, width: int) -> int:
        """Bytes of scratch that the other functions need for so many elements of so many bytes."""
        found: int = self._scratch(count, width)
        return found

    def room(self, count: int, width: int) -> int:
        """Bytes that must be free for a payload."""
        found: int = self._room(count, width)
        return found

    def pack(
        self,
        elements: memoryview,
        predicted: memoryview | None,
        scratch: memoryview,
        out: memoryview,
        *,
        width: int,
        floats: bool,
    ) -> int:
        """Write elements, or their differences from `predicted`; how many bytes, or 0 where zstd had better do it."""
        how = self._how(elements, predicted, scratch, width=width, floats=floats)
        found: int = self._pack(address(elements), *how, address(out))
        return found

    def unpack(
        self,
        payload: memoryview,
        predicted: memoryview | None,
        scratch: memoryview,
        out: memoryview,
        *,
        width: int,
        floats: bool,
    ) -> bool:
        """Undo `pack`; False for what has to be looked at by others, since zstd wrote it or it is damaged."""
        how = self._how(out, predicted, scratch, width=width, floats=floats)
        return bool(self._unpack(address(payload), len(payload), *how, address(out)))

    def unpacks_to(
        self,
        payload: memoryview,
        predicted: memoryview | None,
        scratch: memoryview,
        elements: memoryview,
        *,
        width: int,
        floats: bool,
    ) -> bool:
        """Whether `unpack` would give these elements."""
        how = self._how(elements, predicted, scratch, width=width, floats=floats)
        return bool(self._unpacks_to(address(payload), len(payload), *how, address(elements)))

    @staticmethod
    def _how(
        elements: memoryview, predicted: memoryview | None, scratch: memoryview, *, width: int, floats: bool
    ) -> tuple[int | None, ...]:
        return address(predicted), len(elements) // width, width, floats, address(scratch)


@cache
def kernels() -> PayloadKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else PayloadKernels(found)
