"""The pipes of the filter protocol: bytes in and out around `FilterServer`, which does no I/O itself.

git writes files of any size through a pipe of 64 KiB; a larger pipe and larger reads save most of the context
switches. What the work tree has already is compared where it is read, a block of many packets at a time, and does not
become an event. On the way out, the packet heads and the slices of a large buffer go to the kernel in one `writev`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from git_lepton.errors import FrameError
from git_lepton.git.filterproto import Content, FilterServer, Reading, Received, Sent
from git_lepton.git.pktline import parse_length
from git_lepton.native.pipe import PipeKernels, Stopped, Twin, kernels

PIPE_BYTES: Final = 1 << 20
"""What a process may ask for without privileges on Linux (fs.pipe-max-size)."""
_READ: Final = 256 << 10
"""Bytes taken at once: they are to be in the cache when they are compared."""
_SLICES_AT_ONCE: Final = 512  # below IOV_MAX, which is 1024 where it matters


class GitWentAwayError(Exception):
    """git ended, or stopped listening, in the middle of a request. It says so itself, so nobody need be told."""


class Expecting(Protocol):
    """Who knows what content may come."""

    def expected(self) -> Twin | None:
        """What the bytes that come next may equal; None where nothing is known."""

    def agreed(self, count: int) -> None:
        """So many bytes came, and are in the block of the twin that was asked for last."""


class FilterPipe:
    """Our end of the conversation with git, as events."""

    def __init__(self, stdin_fd: int, stdout_fd: int) -> None:
        self._in, self._out = stdin_fd, stdout_fd
        self._server = FilterServer()
        self._buffer = bytearray(_READ)
        self._expecting: Expecting | None = None
        for fd in (stdin_fd, stdout_fd):
            with suppress(OSError, AttributeError):  # not a pipe, or not Linux
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def expect(self, expecting: Expecting | None) -> None:
        """From now on, tell this one of content that it expects, where that can be told; all else becomes events."""
        self._expecting = expecting

    def events(self) -> Iterator[Received]:
        """What git says, until it closes the pipe; a `Content` is valid until the next event is asked for.

        Raises:
            FrameError: git would not write this.
            GitWentAwayError: the pipe ended in the middle of a request.
        """
        view = memoryview(self._buffer)
        while count := os.readv(self._in, [self._buffer]):
            yield from self._server.receive(view[:count])
            # Much at once is the beginning of a large file. A small one is not worth loading the kernels for.
            if count == _READ and (native := kernels()) is not None:
                yield from self._content(native, view)
        try:
            self._server.end()
        except FrameError as error:
            raise GitWentAwayError from error

    def _content(self, native: PipeKernels, view: memoryview) -> Iterator[Received]:
        """The rest of a file's content, without a turn of the interpreter for each packet."""
        splitter = self._server.splitter
        while self._server.reading is Reading.CONTENT:
            twin = None if self._expecting is None else self._expecting.expected()
            agreed, count, splitter.left, splitter.head, why = native.read_content(
                self._in, splitter.left, splitter.head, self._buffer, twin
            )
            if self._expecting is not None and agreed:
                self._expecting.agreed(agreed)
            if count:
                yield Content(view[:count])
            if why is Stopped.FLUSHED:
                yield self._server.content_end()
            elif why is Stopped.MALFORMED:
                parse_length(splitter.head)
            elif why is Stopped.CLOSED:
                return

    def send(self, *events: Sent) -> None:
        """Tell git. Raises GitWentAwayError when it no longer listens."""
        self._write([memoryview(piece) for event in events for piece in self._server.send(event)])

    def send_blocks(self, blocks: Iterable[bytes]) -> None:
        """Send a file's content; raises as `send`, and whatever `blocks` raises."""
        for block in blocks:
            self.send(Content(block))

    def _write(self, pieces: list[memoryview]) -> None:
        at = 0
        while at < len(pieces):
            try:
                count = os.writev(self._out, pieces[at : at + _SLICES_AT_ONCE])
            except BrokenPipeError as error:
                raise GitWentAwayError from error
            while at < len(pieces) and count >= len(pieces[at]):
                count -= len(pieces[at])
                at += 1
            if count:
                pieces[at] = pieces[at][count:]
