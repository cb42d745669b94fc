"""Where the bytes of a weight file come from while it is stored.

Bytes are read with `pread` into the caller's buffers, not through a memory map: a file that is cut short while it is
read then raises `ChangedError`, where a map would kill the process with SIGBUS, and resident memory stays that of the
buffers. Parsers, which look at headers and directories only, get a map.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Protocol

from git_lepton.closing import Closing
from git_lepton.errors import ChangedError


class Source(Protocol):
    """Random access to `size` bytes; `read_into` may be called from several threads."""

    @property
    def size(self) -> int:
        """Bytes in the source."""

    def read_into(self, offset: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `offset` on. Raises ChangedError when they are no longer there."""

    def view(self) -> memoryview:
        """All bytes as one buffer, for parsers."""


def _shorter() -> ChangedError:
    return ChangedError("the file became shorter while it was read", hint="add it again when it is complete")


class FileSource(Closing):
    """A file on disk, held open; its size is taken once."""

    def __init__(self, file: Path | int) -> None:
        """Open `file`; a descriptor is duplicated, so that closing this source leaves the caller's open."""
        self._fd = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._map: mmap.mmap | None = None

    def read_into(self, offset: int, out: memoryview) -> None:
        """See `Source.read_into`."""
        done = 0
        while done < len(out):
            count = os.preadv(self._fd, [out[done:]], offset + done)
            if count == 0:
                raise _shorter()
            done += count

    def view(self) -> memoryview:
        """See `Source.view`."""
        if self.size == 0:
            return memoryview(b"")
        if self._map is None:
            try:
                self._map = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)
            except ValueError as error:
                raise _shorter() from error
        return memoryview(self._map)

    def close(self) -> None:
        """Release the descriptor; a map lives until its last view is gone."""
        self._map = None
        os.close(self._fd)


class BytesSource:
    """Bytes that are already in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read_into(self, offset: int, out: memoryview) -> None:
        """See `Source.read_into`."""
        out[:] = self._data[offset : offset + len(out)]

    def view(self) -> memoryview:
        """See `Source.view`."""
        return self._data

    def close(self) -> None:
        """Nothing to release."""
