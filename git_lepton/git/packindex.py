r"""The pack index of version 2 (gitformat-pack(5)), written and looked up.

    \377tOc, version 2
    256 x u32    fanout: how many names begin with a byte up to this one
    n x oid      names, sorted
    n x u32      CRC-32 of each packed object
    n x u32      offsets; with the top bit set, a row of the next table
    m x u64      offsets of 2 GiB and above
    hash of the pack, hash of all above

All numbers are big-endian. `encode_index` writes the same bytes as `git index-pack`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from git_lepton.errors import FrameError
from git_lepton.git.objectid import Buffer
from git_lepton.git.repo import ObjectFormat

_MAGIC: Final = b"\377tOc\0\0\0\2"
_TABLES: Final = len(_MAGIC) + 256 * 4
_LARGE: Final = 1 << 31


class PackedObject(NamedTuple):
    """Where an object lies in a pack: binary object id, CRC-32 of its packed bytes, offset of the first."""

    oid: bytes
    crc: int
    offset: int


def encode_index(objects: Sequence[PackedObject], pack_hash: bytes, algo: ObjectFormat) -> bytes:
    """The index of a pack that ends in `pack_hash`; `objects` in any order, without repetition."""
    ordered = sorted(objects)
    counts = [0] * 256
    for item in ordered:
        counts[item.oid[0]] += 1
    fanout, total = [], 0
    for count in counts:
        total += count
        fanout.append(total)
    offsets: list[int] = []
    large: list[int] = []
    for item in ordered:
        if item.offset < _LARGE:
            offsets.append(item.offset)
        else:
            offsets.append(_LARGE | len(large))
            large.append(item.offset)
    number = len(ordered)
    body = b"".join(
        (
            _MAGIC,
            struct.pack(">256I", *fanout),
            b"".join(item.oid for item in ordered),
            struct.pack(f">{number}I", *(item.crc for item in ordered)),
            struct.pack(f">{number}I", *offsets),
            struct.pack(f">{len(large)}Q", *large),
            pack_hash,
        )
    )
    return body + hashlib.new(algo, body, usedforsecurity=False).digest()


class PackIndex:
    """Looks names up in the bytes of an index; nothing is copied, so that a memory map will do."""

    def __init__(self, data: Buffer, oid_size: int) -> None:
        """Check the frame of `data`; its checksum is not computed, as git does not either.

        Raises:
            FrameError: it is no index of version 2, or its size does not fit its counts.
        """
        self._data = data
        self._width = oid_size
        if len(data) < _TABLES + 2 * oid_size or bytes(data[: len(_MAGIC)]) != _MAGIC:
            raise FrameError("not a pack index of version 2")
        self._fanout: tuple[int, ...] = struct.unpack_from(">256I", data, len(_MAGIC))
        self.count = self._fanout[-1]
        self._crcs = _TABLES + self.count * oid_size
        self._offsets = self._crcs + 4 * self.count
        self._large = self._offsets + 4 * self.count
        spare = len(data) - self._large - 2 * oid_size
        if any(a > b for a, b in zip(self._fanout, self._fanout[1:], strict=False)):
            raise FrameError("pack index: fanout table goes down")
        if spare < 0 or spare % 8 or spare // 8 > self.count:
            raise FrameError("pack index: size does not fit the number of objects")
        self._large_count = spare // 8

    def row(self, oid: bytes) -> int | None:
        """The row of the object named by the binary `oid`, or None."""
        data, width = self._data, self._width
        low = self._fanout[oid[0] - 1] if oid[0] else 0
        stop = high = self._fanout[oid[0]]
        while low < high:
            middle = (low + high) // 2
            start = _TABLES + middle * width
            if bytes(data[start : start + width]) < oid:
                low = middle + 1
            else:
                high = middle
        start = _TABLES + low * width
        return low if low < stop and bytes(data[start : start + width]) == oid else None

    def find(self, oid: bytes) -> int | None:
        """Offset in the pack of the object named by the binary `oid`, or None.

        Raises:
            FrameError: the offset points outside the table of large offsets.
        """
        row = self.row(oid)
        if row is None:
            return None
        offset = self._number(self._offsets, row, 4)
        if offset < _LARGE:
            return offset
        if offset - _LARGE >= self._large_count:
            raise FrameError("pack index: large offset out of its table")
        return self._number(self._large, offset - _LARGE, 8)

    def _number(self, table: int, row: int, width: int) -> int:
        start = table + width * row
        return int.from_bytes(self._data[start : start + width])
