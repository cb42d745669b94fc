"""The payload of the planes and delta codecs in one call: the kernels of payload.c, called with numpy arrays."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from git_lepton.native.library import address, declared, library

if TYPE_CHECKING:
    import ctypes

    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Elements = NDArray[np.unsignedinteger[Any]]


class PayloadKernels:
    """The functions of payload.c. Arrays are contiguous; nothing is checked that the caller knows."""

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

    def pack(self, elements: Elements, predicted: Elements | None, scratch: Bytes, out: Bytes, *, floats: bool) -> int:
        """Write elements, or their differences from `predicted`; how many bytes, or 0 where zstd had better do it."""
        found: int = self._pack(
            address(elements),
            address(predicted),
            elements.size,
            elements.itemsize,
            floats,
            address(scratch),
            address(out),
        )
        return found

    def unpack(
        self, payload: Bytes, predicted: Elements | None, scratch: Bytes, out: Elements, *, floats: bool
    ) -> bool:
        """Undo `pack`; False for what has to be looked at by others, since zstd wrote it or it is damaged."""
        return bool(self._unpack(*self._reading(payload, predicted, scratch, out, floats=floats)))

    def unpacks_to(
        self, payload: Bytes, predicted: Elements | None, scratch: Bytes, elements: Elements, *, floats: bool
    ) -> bool:
        """Whether `unpack` would give these elements."""
        return bool(self._unpacks_to(*self._reading(payload, predicted, scratch, elements, floats=floats)))

    @staticmethod
    def _reading(
        payload: Bytes, predicted: Elements | None, scratch: Bytes, elements: Elements, *, floats: bool
    ) -> tuple[int | None, ...]:
        return (
            address(payload),
            payload.size,
            address(predicted),
            elements.size,
            elements.itemsize,
            floats,
            address(scratch),
            address(elements),
        )


@cache
def kernels() -> PayloadKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else PayloadKernels(found)
