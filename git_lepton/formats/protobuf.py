"""The wire format of protocol buffers: fields of a message as byte ranges, without a schema.

Nothing is decoded until asked for and nothing is copied, so that a weight of a gigabyte costs as much as its tag.
See https://protobuf.dev/programming-guides/encoding/. Groups, which the formats that we read do not use, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from git_lepton.errors import FormatError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

MAX_FIELDS: Final = 3_000_000
"""Fields that one reader steps over before it gives up; real graphs have a few hundred thousand."""

_FIXED_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT: Final = 10  # bytes
_MAX_NUMBER: Final = (1 << 29) - 1


class Field(NamedTuple):
    """One field: its number, wire type, and where its payload lies in the file."""

    number: int
    wire: int
    start: int
    stop: int


class Reader:
    """Reads messages out of one file; `fmt` names the format in errors."""

    def __init__(self, data: memoryview, fmt: str) -> None:
        self._data = data
        self._fmt = fmt
        self._fields_left = MAX_FIELDS

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message at `start` to `stop`, in file order; they fill it exactly.

        Raises:
            FormatError: a field that is malformed or ends after the message, or too many fields.
        """
        data = self._data
        at = start
        while at < stop:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise FormatError(self._fmt, f"more than {MAX_FIELDS} fields", offset=at)
            tag, begin = data[at], at + 1
            if tag >= 0x80:  # a shortcut: nearly all tags have one byte
                tag, begin = self._varint(at, stop)
            number, wire = tag >> 3, tag & 7
            if not 0 < number <= _MAX_NUMBER:
                raise FormatError(self._fmt, f"field number {number} is impossible", offset=at)
            if wire == BYTES:
                length, begin = self._varint(begin, stop)
                end = begin + length
            elif wire == VARINT:
                _, end = self._varint(begin, stop)
            elif wire in _FIXED_SIZES:
                end = begin + _FIXED_SIZES[wire]
            else:
                raise FormatError(self._fmt, f"field {number} has the unknown wire type {wire}", offset=at)
            if end > stop:
                raise FormatError(self._fmt, f"field {number} ends after the message that holds it", offset=at)
            yield Field(number, wire, begin, end)
            at = end

    def int64(self, field: Field) -> int:
        """The value of a varint field as a signed 64-bit integer."""
        value, _ = self._varint(field.start, field.stop)
        return value - (1 << 64) if value >> 63 else value

    def int64s(self, field: Field) -> Iterator[int]:
        """The values of one occurrence of a repeated integer, packed or not."""
        at = field.start
        while at < field.stop:
            value, at = self._varint(at, field.stop)
            yield value - (1 << 64) if value >> 63 else value

    def text(self, field: Field, limit: int) -> str:
        """The value of a string field; bytes that are not UTF-8 become lone surrogates.

        Raises:
            FormatError: it is longer than `limit` bytes.
        """
        if field.stop - field.start > limit:
            raise FormatError(self._fmt, f"a text is longer than {limit} bytes", offset=field.start)
        return bytes(self._data[field.start : field.stop]).decode("utf-8", "surrogateescape")

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """The varint at `at`, modulo 2**64, and the offset after it."""
        data = self._data
        value = 0
        for index in range(min(_MAX_VARINT, stop - at)):
            byte = data[at + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
        raise FormatError(self._fmt, "a varint does not end", offset=at)
