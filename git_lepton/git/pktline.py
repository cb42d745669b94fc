"""git's packet lines (gitprotocol-common(5)), without I/O: bytes in, pieces out.

A packet is four hexadecimal digits, the length of the packet with these four, and the payload; `0000` is a flush
packet, which ends a list or a file. `Splitter` never copies or joins a payload: of a packet that arrives in parts it
gives the parts, and says which is the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from git_lepton.errors import FrameError

FLUSH: Final = b"0000"
MAX_PAYLOAD: Final = 65516
"""Most bytes in one packet: `LARGE_PACKET_DATA_MAX` of git."""

_HEAD: Final = 4
_LENGTH = re.compile(rb"[0-9a-f]{4}", re.IGNORECASE)


Piece = tuple[memoryview | None, bool]
"""A part of a packet's payload, a slice of what was given, and whether it ends the packet; None is a flush."""


class Splitter:
    """Cuts a stream of packets into pieces, wherever the stream was cut before.

    Attributes:
        left: bytes still due in the packet that is being read.
        head: what has come of the next packet's head, fewer than four bytes.
    """

    def __init__(self) -> None:
        self.head = b""
        self.left = 0

    @property
    def between(self) -> bool:
        """Whether the stream may end here."""
        return not self.left and not self.head

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[Piece]:
        """The pieces in `data`, valid as long as `data` is; consume all before the next call.

        Raises:
            FrameError: a length that no packet has.
        """
        view = memoryview(data)
        position, stop = 0, view.nbytes
        while position < stop:
            if self.left:
                end = min(position + self.left, stop)
                self.left -= end - position
                yield view[position:end], self.left == 0
                position = end
                continue
            end = min(position + _HEAD - len(self.head), stop)
            head = self.head + view[position:end].tobytes()
            position = end
            if len(head) < _HEAD:
                self.head = head
                return
            self.head = b""
            length = parse_length(head)
            if length > _HEAD:
                self.left = length - _HEAD
            else:
                yield view[:0] if length else None, True


def parse_length(head: bytes) -> int:
    """The length in a packet's head: 0 for a flush, else 4 and above."""
    length = int(head, 16) if _LENGTH.fullmatch(head) else -1
    if length != 0 and not _HEAD <= length <= MAX_PAYLOAD + _HEAD:
        raise FrameError(f"not a packet line: length {head!r}")
    return length


def packet(payload: bytes) -> bytes:
    """One packet with at most `MAX_PAYLOAD` bytes."""
    assert len(payload) <= MAX_PAYLOAD
    return b"%04x" % (len(payload) + _HEAD) + payload


def packets(data: bytes | bytearray | memoryview) -> Iterator[bytes | memoryview]:
    """`data` as packets, for `writelines` or `writev`: heads and slices by turns, nothing copied."""
    view = memoryview(data).cast("B")
    for start in range(0, view.nbytes, MAX_PAYLOAD):
        part = view[start : start + MAX_PAYLOAD]
        yield b"%04x" % (part.nbytes + _HEAD)
        yield part
