"""The compiled kernels, if there are any.

They are found beside this module, checked for their version, and called without the interpreter lock.
`GIT_LEPTON_NATIVE=0` in the environment leaves them alone, to compare or to rule them out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import ctypes

    from numpy.typing import NDArray

    Memory: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

VERSION: Final = 2
"""`LEPTON_VERSION` of kernels.h."""
FILE: Final = "_kernels.so"
SWITCH: Final = "GIT_LEPTON_NATIVE"


def load(path: Path) -> ctypes.CDLL:
    """The library at `path`. Raises OSError when it cannot be loaded or is of another version."""
    import ctypes

    found = ctypes.CDLL(str(path))
    if found.lepton_version() != VERSION:
        raise OSError(f"{path} was compiled from other sources")
    return found


@cache
def library() -> ctypes.CDLL | None:
    """What was compiled, or None when there is nothing that can be used."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return load(Path(__file__).with_name(FILE))
    except (OSError, AttributeError):
        return None


def declared(function: Any, result: Any, *arguments: Any) -> Any:
    """A function of the library, told its types: None for no result."""
    function.restype, function.argtypes = result, arguments
    return function


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
