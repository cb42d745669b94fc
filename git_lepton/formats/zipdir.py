"""The directory of a zip archive: where each stored member lies, without reading any member.

Strict on purpose, since two readers of one archive may see different files in it: the archive is the whole file,
the central directory ends where the end record begins, local headers agree with it, and members do not overlap.
See APPNOTE.TXT (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3 and 4.5.3 (zip64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import MAX_TENSORS, quoted

FORMAT: Final = "zip"
MAX_MEMBERS: Final = MAX_TENSORS + 100_000

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_END64: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64: Final = struct.Struct("<4sIQI")
_EXTRA: Final = struct.Struct("<HH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"
_END64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR64_MAGIC: Final = b"PK\x06\x07"

_FULL16: Final = 0xFFFF
_FULL32: Final = 0xFFFF_FFFF
_ENCRYPTED: Final = 1 << 0
_UTF8: Final = 1 << 11
_STORED: Final = 0
_ZIP64_EXTRA: Final = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive.

    Attributes:
        name: as the directory spells it; not safe as a path.
        start, stop: where its bytes lie, compressed or not.
        stored: they are the member's own bytes, neither compressed nor encrypted.
    """

    name: str
    start: int
    stop: int
    stored: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as the central directory tells it."""

    raw_name: bytes
    flags: int
    method: int
    packed: int
    size: int
    header: int


def looks_like(data: memoryview) -> bool:
    """Whether the file begins with a member, or is the end record of an empty archive."""
    return bytes(data[:4]) in (_LOCAL_MAGIC, _END_MAGIC)


def read_directory(data: memoryview) -> tuple[Member, ...]:
    """All members, in the order of the central directory.

    Raises:
        FormatError: the archive is malformed, ambiguous, or in several parts.
    """
    begin, stop, count = _directory_bounds(data)
    members = []
    spans = []
    names: set[str] = set()
    at = begin
    for _ in range(count):
        entry, at = _central_entry(data, at, stop)
        member = _locate(data, entry, begin)
        if member.name in names:
            raise FormatError(FORMAT, f"two members are named {quoted(member.name)}", offset=entry.header)
        names.add(member.name)
        members.append(member)
        spans.append((entry.header, member.stop))
    if at != stop:
        raise FormatError(FORMAT, "the central directory is longer than its entries", offset=at)
    end = 0
    for start, after in sorted(spans):
        if start < end:
            raise FormatError(FORMAT, "two members overlap", offset=start)
        end = after
    return tuple(members)


def _directory_bounds(data: memoryview) -> tuple[int, int, int]:
    """Where the central directory begins and ends, and how many entries it has."""
    end_at = _find_end(data)
    _, disk, first_disk, here, count, size, begin, _ = _END.unpack_from(data, end_at)
    stop = end_at
    locator_at = end_at - _LOCATOR64.size
    if locator_at >= 0 and bytes(data[locator_at : locator_at + 4]) == _LOCATOR64_MAGIC:
        _, _, stop, disks = _LOCATOR64.unpack_from(data, locator_at)
        if disks > 1 or stop + _END64.size != locator_at:
            raise FormatError(FORMAT, "the zip64 locator does not point at the record before it", offset=locator_at)
        magic, length, _, _, disk, first_disk, here, count, size, begin = _END64.unpack_from(data, stop)
        if magic != _END64_MAGIC or length != _END64.size - 12:
            raise FormatError(FORMAT, "the zip64 end record is malformed", offset=stop)
    if disk or first_disk or here != count:
        raise FormatError(FORMAT, "the archive is in several parts", offset=end_at)
    if count > MAX_MEMBERS:
        raise FormatError(FORMAT, f"{count} members are more than {MAX_MEMBERS}", offset=end_at)
    if begin + size != stop:
        raise FormatError(FORMAT, "the central directory does not end at its end record", offset=end_at)
    return begin, stop, count


def _find_end(data: memoryview) -> int:
    """Offset of the end record: the last one whose comment ends with the file."""
    tail_at = max(0, len(data) - _END.size - _FULL16)
    tail = bytes(data[tail_at:])
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return tail_at + at
        at = tail.rfind(_END_MAGIC, 0, at)
    raise FormatError(FORMAT, "there is no end record")


def _central_entry(data: memoryview, at: int, stop: int) -> tuple[_Entry, int]:
    """The entry at `at` and the offset after it."""
    if _CENTRAL.size > stop - at:
        raise FormatError(FORMAT, "the central directory is cut short", offset=at)
    magic, _, _, flags, method, _, _, _, packed, size, *lengths, disk, _, _, header = _CENTRAL.unpack_from(data, at)
    name_at = at + _CENTRAL.size
    extra_at = name_at + lengths[0]
    after = name_at + sum(lengths)
    if magic != _CENTRAL_MAGIC or after > stop:
        raise FormatError(FORMAT, "an entry of the central directory is malformed", offset=at)
    name = bytes(data[name_at:extra_at])
    extra = data[extra_at : extra_at + lengths[1]]
    size, packed, header, disk = _widen(extra, (size, packed, header, disk), extra_at)
    if disk:
        raise FormatError(FORMAT, "the archive is in several parts", offset=at)
    return _Entry(name, flags, method, packed, size, header), after


def _widen(extra: memoryview, values: tuple[int, int, int, int], at: int) -> list[int]:
    """Replace each value that is full (all ones) by that of the zip64 extra field, which lists only those."""
    widths = (_FULL32, _FULL32, _FULL32, _FULL16)
    if not any(v == full for v, full in zip(values, widths, strict=True)):
        return list(values)
    block = b""
    where = 0
    while where + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, where)
        where += _EXTRA.size
        if kind == _ZIP64_EXTRA:
            block = bytes(extra[where : where + length])
            break
        where += length
    widened = []
    for value, full in zip(values, widths, strict=True):
        width = 0 if value != full else 8 if full == _FULL32 else 4
        if width > len(block):
            raise FormatError(FORMAT, "a size is missing from the zip64 field", offset=at)
        widened.append(int.from_bytes(block[:width], "little") if width else value)
        block = block[width:]
    return widened


def _locate(data: memoryview, entry: _Entry, limit: int) -> Member:
    """Find the bytes of a member behind its local header; all of it lies before `limit`."""
    name = entry.raw_name.decode("utf-8" if entry.flags & _UTF8 else "cp437", "surrogateescape")
    at = entry.header
    if at + _LOCAL.size > limit:
        raise FormatError(FORMAT, f"the header of member {quoted(name)} is not in the archive", offset=at)
    magic, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack_from(data, at)
    name_at = at + _LOCAL.size
    start = name_at + name_length + extra_length
    stop = start + entry.packed
    if magic != _LOCAL_MAGIC or stop > limit:
        raise FormatError(FORMAT, f"member {quoted(name)} is not in the archive", offset=at)
    if (
        method != entry.method
        or (flags ^ entry.flags) & _ENCRYPTED
        or data[name_at : name_at + name_length] != entry.raw_name
    ):
        raise FormatError(FORMAT, f"member {quoted(name)} differs between its header and the directory", offset=at)
    stored = method == _STORED and not flags & _ENCRYPTED
    if stored and entry.packed != entry.size:
        raise FormatError(FORMAT, f"stored member {quoted(name)} has two sizes", offset=at)
    return Member(name, start, stop, stored)
