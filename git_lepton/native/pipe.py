"""Content of packet lines from a pipe, and whether a file goes on like it: the kernels of pipe.c."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING

from git_lepton.native.library import declared, library
from git_lepton.native.memory import address

if TYPE_CHECKING:
    import ctypes


class Stopped(IntEnum):
    """Why reading stopped: no room, a flush packet, the end of the pipe, a head that no packet has, a signal."""

    FULL = 0
    FLUSHED = 1
    CLOSED = 2
    MALFORMED = 3
    INTERRUPTED = 4


@dataclass(frozen=True, slots=True)
class Twin:
    """A file that content may equal.

    Attributes:
        fd: the file; None if whatever comes is right.
        offset: from where in the file on.
        block: memory for what is compared, at least a byte.
    """

    fd: int | None
    offset: int
    block: memoryview


class PipeKernels:
    """The functions of pipe.c; they run without the interpreter lock."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        class Packets(ctypes.Structure):
            _fields_ = (("left", ctypes.c_uint32), ("heads", ctypes.c_uint32), ("head", ctypes.c_uint8 * 4))

        number, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
        reading = (number, ctypes.POINTER(Packets), pointer, size, ctypes.POINTER(number))
        comparing = (number, ctypes.c_uint64, pointer, size, ctypes.POINTER(size))
        self._read = declared(library.lepton_read_content, ctypes.c_int64, *reading)
        self._read_twin = declared(library.lepton_read_twin, ctypes.c_int64, *reading, *comparing)
        self._packets, self._reason, self._size = Packets, number, size

    def read_content(
        self, fd: int, left: int, head: bytes, out: bytearray, twin: Twin | None = None
    ) -> tuple[int, int, int, bytes, Stopped]:
        """Fill `out` with what the packets in a pipe contain, but first the twin's block with what both contain.

        Args:
            fd: the pipe, which blocks.
            left: bytes still due in the packet that is being read.
            head: what has come of the next packet's head.
            out: memory to fill, at least a byte.
            twin: what the content may equal: nothing is left in `out` until it does not.

        Returns:
            How many bytes came that are those of the twin, how many came after these into `out`, `left` and `head` as
            they are now, and why it stopped.

        Raises:
            OSError: of the pipe.
        """
        packets = self._packets(left, len(head), (*head, *bytes(4 - len(head))))
        why, agreed = self._reason(0), self._size(0)
        into = twin.block if twin is not None and twin.fd is None else out
        reading = (fd, packets, address(into), len(into), why)
        if twin is None or twin.fd is None:
            count = self._read(*reading)
        else:
            block = address(twin.block)
            count = self._read_twin(*reading, twin.fd, twin.offset, block, len(twin.block), agreed)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        if into is not out:
            agreed, count = self._size(count), 0
        return agreed.value, count, packets.left, bytes(packets.head)[: packets.heads], Stopped(why.value)


@cache
def kernels() -> PipeKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else PipeKernels(found)
