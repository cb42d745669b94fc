"""The growing end of a pack, to which several threads append: hashed in order, written by one thread at a time.

A file system lets one thread at a time write to a file, and the kernel has others spin meanwhile. So nobody waits here:
whoever appends while another thread writes leaves it to that thread, and goes on. What waits to be written lies in
memory of a fixed number of objects, and only who needs more of it is held up.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from git_lepton.git.objectid import Buffer

if TYPE_CHECKING:
    from hashlib import _Hash

_ROOMS: Final = 4 + (os.cpu_count() or 2)
"""Objects that are laid out or wait to be written at the same time."""
_KEPT: Final = 4 << 20
"""Largest piece of memory that is used again: several chunks of weights."""
_FLUSH_EVERY: Final = 64 << 20


def pwrite_all(fd: int, data: Buffer, offset: int) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written


class PackTail:
    """Where a pack ends.

    Attributes:
        size: bytes of the pack, those that wait to be written among them.
        is_torn: whether something could not be written; the pack is worth nothing then.
    """

    def __init__(self, fd: int, header: bytes, hasher: _Hash | None) -> None:
        """Write `header` at the beginning; `hasher`, if given, takes all bytes in order from the first one on."""
        pwrite_all(fd, header, 0)
        self.size = len(header)
        self.is_torn = False
        self._fd, self._hasher = fd, hasher
        if hasher is not None:
            hasher.update(header)
        self._lock = threading.Lock()
        self._due: deque[tuple[int, memoryview]] = deque()
        self._writing = False
        self._rooms = threading.BoundedSemaphore(_ROOMS)
        self._spare: list[bytearray] = []
        self._early = _EarlyFlush(fd)

    def room(self, size: int) -> memoryview:
        """Memory for an object of `size` bytes, to be given to `append` or `give_back`; waits until there is some."""
        self._rooms.acquire()
        with self._lock:
            fits = [held for held in self._spare if len(held) >= size]
            if fits:
                self._spare.remove(fits[-1])
                return memoryview(fits[-1])[:size]
        # The next one is mostly of about the same size.
        return memoryview(bytearray(size if size > _KEPT else min(size + size // 4, _KEPT)))[:size]

    def give_back(self, room: memoryview) -> None:
        """Memory of `room` that is not needed any more."""
        held = room.obj
        with self._lock:
            if isinstance(held, bytearray) and len(held) <= _KEPT:
                self._spare.append(held)
                del self._spare[:-_ROOMS]
        self._rooms.release()

    def append(self, room: memoryview) -> int:
        """Its place in the file for an object in memory of `room`; `write` must follow."""
        with self._lock:
            offset, self.size = self.size, self.size + len(room)
            self._due.append((offset, room))
            self._early.grown(offset)
        return offset

    def write(self) -> None:
        """Write what was appended, unless another thread is at it: that one writes this, too.

        Raises:
            OSError: the disk is full. What others appended is lost, too; `is_torn` tells them.
        """
        with self._lock:
            if self._writing:
                return
            self._writing = True
        try:
            while (due := self._next()) is not None:
                self._write(*due)
        except BaseException:
            with self._lock:
                self.is_torn, self._writing = True, False
                lost, self._due = self._due, deque()
            for _, room in lost:
                self.give_back(room)
            raise

    def join(self) -> None:
        """Wait for a flush that is under way."""
        self._early.join()

    def _next(self) -> tuple[int, memoryview] | None:
        with self._lock:
            self._writing = bool(self._due)
            return self._due.popleft() if self._due else None

    def _write(self, offset: int, room: memoryview) -> None:
        try:
            if self._hasher is not None:
                self._hasher.update(room)
            pwrite_all(self._fd, room, offset)
        finally:
            self.give_back(room)


class _EarlyFlush:
    """Sends a growing file to the disk from time to time, so that the flush at its end has little to wait for."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._due = _FLUSH_EVERY
        self._thread: threading.Thread | None = None

    def grown(self, size: int) -> None:
        """The file has `size` bytes now; called with a lock held."""
        if size >= self._due and (self._thread is None or not self._thread.is_alive()):
            self._due = size + _FLUSH_EVERY
            self._thread = threading.Thread(target=self._flush, name="pack-flush", daemon=True)
            self._thread.start()

    def _flush(self) -> None:
        with suppress(OSError):  # the flush at the end meets the same error, and tells it
            getattr(os, "fdatasync", os.fsync)(self._fd)

    def join(self) -> None:
        """Wait for a flush that is under way."""
        if self._thread is not None:
            self._thread.join()
