"""Memory as C sees it: where bytes lie, and bytes that nobody filled yet. Nothing here needs to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from git_lepton.native.library import declared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Memory: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]


def address(memory: Memory | None) -> int | None:
    """Where contiguous bytes lie, an array's or any other buffer's; None for none."""
    return None if memory is None else _finder()(memory)


@cache
def _finder() -> Callable[[Memory], int]:
    """The buffer protocol of Python by hand: ctypes itself takes writable memory only."""
    import ctypes

    class View(ctypes.Structure):
        """Py_buffer, as the stable ABI has it since Python 3.11."""

        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.c_void_p),
            *((name, ctypes.c_ssize_t) for name in ("len", "itemsize")),
            *((name, ctypes.c_int) for name in ("readonly", "ndim")),
            *((name, ctypes.c_void_p) for name in ("format", "shape", "strides", "suboffsets", "internal")),
        )

    view = ctypes.POINTER(View)
    get = declared(ctypes.pythonapi.PyObject_GetBuffer, ctypes.c_int, ctypes.py_object, view, ctypes.c_int)
    release = declared(ctypes.pythonapi.PyBuffer_Release, None, view)

    def find(memory: Memory) -> int:
        found = View()
        get(memory, found, 0)  # PyBUF_SIMPLE: contiguous bytes
        where: int = found.buf
        release(found)
        return where

    return find


def blank(length: int) -> bytearray:
    """Bytes to be filled, with anything in them: zeroing takes a twentieth of the time of decoding, under the lock."""
    return _maker()(None, length)


@cache
def _maker() -> Callable[[None, int], bytearray]:
    import ctypes

    make = ctypes.pythonapi.PyByteArray_FromStringAndSize
    found: Callable[[None, int], bytearray] = declared(make, ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)
    return found
