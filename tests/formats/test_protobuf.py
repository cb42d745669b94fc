from __future__ import annotations

import pytest

from git_lepton.errors import FormatError
from git_lepton.formats import protobuf
from git_lepton.formats.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, Reader


def fields(data: bytes) -> list[Field]:
    return list(Reader(memoryview(data), "x").fields(0, len(data)))


def test_every_wire_type() -> None:
    data = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\0\0\0\0" + b"\x21" + bytes(8) + b"\xfa\xff\xff\xff\x0f\x00"
    assert fields(data) == [
        Field(1, VARINT, 1, 3),
        Field(2, BYTES, 5, 7),
        Field(3, FIXED32, 8, 12),
        Field(4, FIXED64, 13, 21),
        Field((1 << 29) - 1, BYTES, 27, 27),
    ]
    reader = Reader(memoryview(data), "x")
    assert reader.int64(Field(1, VARINT, 1, 3)) == 150
    assert reader.text(Field(2, BYTES, 5, 7), 2) == "hi"


def test_integers_are_signed_packed_or_not() -> None:
    minus_one = b"\xff" * 9 + b"\x01"
    reader = Reader(memoryview(minus_one + b"\x05"), "x")
    assert list(reader.int64s(Field(1, BYTES, 0, 11))) == [-1, 5]
    assert list(reader.int64s(Field(1, VARINT, 10, 11))) == [5]
    assert reader.int64(Field(1, VARINT, 0, 10)) == -1


def test_bytes_that_are_not_utf8_survive() -> None:
    assert (
        Reader(memoryview(b"a\xff"), "x").text(Field(1, BYTES, 0, 2), 2).encode("utf-8", "surrogateescape") == b"a\xff"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "varint does not end"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "varint does not end"),
        (b"\x80", "varint does not end"),
        (b"\x00\x01", "field number 0"),
        (b"\xf8\xff\xff\xff\x1f\x00", "field number"),
        (b"\x12\x02h", "ends after the message"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "ends after the message"),
        (b"\x1d\0\0\0", "ends after the message"),
        (b"\x21\0\0\0\0\0\0\0", "ends after the message"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0f", "wire type 7"),
    ],
)
def test_malformed_messages(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        fields(data)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 3)
    assert len(fields(b"\x08\x01" * 3)) == 3
    with pytest.raises(FormatError, match="more than 3 fields"):
        fields(b"\x08\x01" * 4)
    with pytest.raises(FormatError, match="longer than 1"):
        Reader(memoryview(b"ab"), "x").text(Field(1, BYTES, 0, 2), 1)
