"""Content of packet lines from a pipe, and comparing it, without the interpreter lock: the kernels of pipe.c."""

from __future__ import annotations

import os
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from git_lepton.native.library import declared, library

if TYPE_CHECKING:
    import ctypes


class Stopped(IntEnum):
    """Why reading stopped: no room, a flush packet, the end of the pipe, a head that no packet has, a signal."""

    FULL = 0
    FLUSHED = 1
    CLOSED = 2
    MALFORMED = 3
    INTERRUPTED = 4


class PipeKernels:
    """The functions of pipe.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare the functions of a library that was loaded."""
        import ctypes

        class Packets(ctypes.Structure):
            _fields_ = (("left", ctypes.c_uint32), ("heads", ctypes.c_uint32), ("head", ctypes.c_uint8 * 4))

        number, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
        packets, reason = ctypes.POINTER(Packets), ctypes.POINTER(number)
        self._read = declared(library.lepton_read_content, ctypes.c_int64, number, packets, pointer, size, reason)
        self._equal = declared(library.lepton_equal, number, pointer, pointer, size)
        self._packets, self._reason, self._byte = Packets, number, ctypes.c_char
        self._addressof = ctypes.addressof

    def read_content(self, fd: int, left: int, head: bytes, out: bytearray) -> tuple[int, int, bytes, Stopped]:
        """Fill `out` with what the packets in a pipe contain.

        Args:
            fd: the pipe, which blocks.
            left: bytes still due in the packet that is being read.
            head: what has come of the next packet's head.
            out: memory to fill, at least a byte.

        Returns:
            How many bytes came, `left` and `head` as they are now, and why it stopped.

        Raises:
            OSError: of the pipe.
        """
        packets = self._packets(left, len(head), (*head, *bytes(4 - len(head))))
        why = self._reason(0)
        count = self._read(fd, packets, self._address(out, 0), len(out), why)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return count, packets.left, bytes(packets.head)[: packets.heads], Stopped(why.value)

    def equal(self, one: bytearray, start: int, other: memoryview) -> bool:
        """Whether `one` has the bytes of `other`, which is writable and lies inside, from `start` on."""
        if start + len(other) > len(one):
            return False
        return not len(other) or bool(self._equal(self._address(one, start), self._address(other, 0), len(other)))

    def _address(self, memory: bytearray | memoryview, at: int) -> Any:
        return self._addressof(self._byte.from_buffer(memory, at))


@cache
def kernels() -> PipeKernels | None:
    """These functions, or None where nothing was compiled."""
    found = library()
    return None if found is None else PipeKernels(found)
