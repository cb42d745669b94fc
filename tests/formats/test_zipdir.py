from __future__ import annotations

import io
import struct
import zipfile

import pytest

from git_lepton.errors import FormatError
from git_lepton.formats.zipdir import Member, read_directory

FILES = {"a/data.pkl": b"pickle", "a/data/0": bytes(100), "é.txt": b"", "deep/b": b"x" * 50}


def archive(*, force_zip64: bool = False, method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as zipped:
        zipped.comment = comment
        for name, content in FILES.items():
            with zipped.open(name, "w", force_zip64=force_zip64) as member:
                member.write(content)
    return out.getvalue()


def members(data: bytes) -> tuple[Member, ...]:
    return read_directory(memoryview(data))


def widened(data: bytes) -> bytes:
    """The same archive with a zip64 end record and every size and offset in zip64 fields."""
    end = data.rindex(b"PK\5\6")
    _, _, _, _, count, _, begin, _ = struct.unpack("<4sHHHHIIH", data[end:])
    directory, at = b"", begin
    while at < end:
        head = list(struct.unpack("<4sHHHHHHIIIHHHHHII", data[at : at + 46]))
        name = data[at + 46 : at + 46 + head[10]]
        extra = struct.pack("<HHB", 0x7777, 1, 0) + struct.pack("<HHQQQ", 1, 24, head[9], head[8], head[16])
        at += 46 + head[10] + head[11] + head[12]
        head[8] = head[9] = head[16] = 0xFFFFFFFF
        head[11] = len(extra)
        directory += struct.pack("<4sHHHHHHIIIHHHHHII", *head) + name + extra
    record_at = begin + len(directory)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), begin)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, record_at, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:begin] + directory + record + locator + last


@pytest.mark.parametrize(
    "data",
    [archive(), archive(force_zip64=True), archive(comment=b"PK\5\6" + bytes(30)), widened(archive())],
    ids=["plain", "zip64 members", "a comment like an end record", "all zip64"],
)
def test_stored_members(data: bytes) -> None:
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    assert {m.name: data[m.start : m.stop] for m in members(data)} == FILES
    assert all(m.stored for m in members(data))


def test_compressed_and_encrypted_members_are_not_stored() -> None:
    assert not any(m.stored for m in members(archive(method=zipfile.ZIP_DEFLATED)) if m.stop > m.start)
    data = bytearray(archive())
    directory = data.index(b"PK\1\2")
    data[6] |= 1
    data[directory + 8] |= 1
    assert not members(bytes(data))[0].stored


def test_an_empty_archive() -> None:
    assert members(b"PK\5\6" + bytes(18)) == ()


GOOD = archive()
CENTRAL = GOOD.index(b"PK\1\2")
END = GOOD.index(b"PK\5\6")
WIDE = widened(GOOD)
END64 = WIDE.index(b"PK\6\6")


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no end record"),
        (GOOD[:-1], "no end record"),
        (GOOD + b"\0", "no end record"),
        (b"\0" + GOOD, "does not end at its end record"),
        (patched(GOOD, END + 4, b"\1"), "several parts"),
        (patched(GOOD, END + 8, b"\3"), "several parts"),
        (patched(GOOD, END + 8, b"\5\0\5\0"), "cut short"),
        (patched(GOOD, END + 8, b"\3\0\3\0"), "longer than its entries"),
        (patched(GOOD, END + 12, b"\0"), "does not end at its end record"),
        (patched(GOOD, CENTRAL, b"XX"), "malformed"),
        (patched(GOOD, CENTRAL + 28, b"\xff\xff"), "malformed"),
        (patched(GOOD, CENTRAL + 34, b"\1"), "several parts"),
        (patched(GOOD, CENTRAL + 20, b"\xff\xff\xff\xff"), "missing from the zip64"),
        (patched(GOOD, CENTRAL + 20, b"\x07"), "two sizes"),
        (patched(GOOD, CENTRAL + 20, b"\xff\xff\xff\x7f"), "not in the archive"),
        (patched(GOOD, CENTRAL + 42, b"\xff\xff\xff\x7f"), "not in the archive"),
        (patched(GOOD, CENTRAL + 42, b"\2"), "not in the archive"),
        (patched(GOOD, CENTRAL + 10, b"\x08"), "differs between"),
        (patched(GOOD, 30, b"b"), "differs between"),
        (patched(GOOD, 28, b"\xff\xff"), "not in the archive"),
        (patched(WIDE, END64 + 4, b"\2"), "zip64 end record"),
        (patched(WIDE, END64, b"X"), "zip64 end record"),
        (patched(WIDE, END64 + 56 + 8, b"\0"), "zip64 locator"),
        (patched(WIDE, END64 + 24, b"\xff" * 16), "more than"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        members(data)


def test_members_that_overlap_or_repeat() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("a", b"1")
        zipped.writestr("a", b"2")
    with pytest.raises(FormatError, match="are named 'a'"):
        members(out.getvalue())

    inner = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, 1, 1, 1, 0) + b"b" + b"!"
    outer = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(inner), len(inner), 1, 0) + b"a" + inner

    def central(name: bytes, size: int, at: int) -> bytes:
        return (
            struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, size, size, 1, 0, 0, 0, 0, 0, at)
            + name
        )

    directory = central(b"a", len(inner), 0) + central(b"b", 1, 31)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(outer), 0)
    with pytest.raises(FormatError, match="overlap"):
        members(outer + directory + end)
