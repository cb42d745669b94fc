"""The frame's header: frozen bytes, and a refusal for each field."""

from __future__ import annotations

import pytest

from git_lepton.codec import DELTA, MAX_RAW, OPAQUE, PLANES, STORED, ZSTD, read_header
from git_lepton.codec.frame import DTYPE_CODES, build_header
from git_lepton.errors import FrameError
from git_lepton.values import DTYPES

RAW = bytes(range(32))
BASE = bytes(range(32, 64))

GOLDEN = {
    (STORED, "OPAQUE", None): "4c4550540100ff0078563402" + RAW.hex(),
    (ZSTD, "I8", None): "4c455054010103007856340" + "2" + RAW.hex(),
    (PLANES, "BF16", None): "4c45505401020b0078563402" + RAW.hex(),
    (DELTA, "BF16", "F32"): "4c45505401030b0c78563402" + RAW.hex() + BASE.hex(),
}


@pytest.mark.parametrize("fields", GOLDEN)
def test_golden(fields: tuple[int, str, str | None]) -> None:
    codec, dtype, base = fields
    header = build_header(codec, dtype, 0x02345678, RAW, (base, BASE) if base else None)
    assert header.hex() == GOLDEN[fields]
    read = read_header(header + b"payload")
    assert (read.codec, read.dtype, read.raw_length, read.raw_hash) == (codec, dtype, 0x02345678, RAW.hex())
    assert (read.base_dtype, read.base_hash) == (base, BASE.hex() if base else None)
    assert read.size == len(header)


def test_dtype_codes_are_frozen() -> None:
    assert list(DTYPE_CODES) == [
        *("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64", "C64", "C128"),
        *("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4", "I4", "U4"),
        *("I2", "U2", OPAQUE),
    ]
    assert list(DTYPE_CODES.values()) == [*range(1, 28), 255]


def test_every_known_dtype_has_a_code() -> None:
    assert set(DTYPES) <= set(DTYPE_CODES)


def test_an_unknown_dtype_is_opaque() -> None:
    assert read_header(build_header(STORED, "Q4_K", 0, RAW)).dtype == OPAQUE


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"LAPT", "begin with LEPT"),
        (4, b"\x02", "version 2"),
        (4, b"\x00", "version 0"),
        (5, b"\x04", "unknown codec 4"),
        (6, b"\x00", "unknown dtype code 0"),
        (6, b"\x1c", "unknown dtype code 28"),
        (7, b"\x1c", "unknown dtype code 28"),
        (7, b"\x00", "codec 3 and base dtype code 0"),
        (5, b"\x02", "codec 2 and base dtype code 12"),
        (8, (MAX_RAW + 1).to_bytes(4, "little"), "at most"),
    ],
)
def test_a_refusal_for_each_field(offset: int, value: bytes, reason: str) -> None:
    header = bytearray(build_header(DELTA, "BF16", 8, RAW, ("F32", BASE)))
    header[offset : offset + len(value)] = value
    with pytest.raises(FrameError, match=reason):
        read_header(header)


@pytest.mark.parametrize("base", [None, ("F32", BASE)])
def test_a_header_cut_anywhere_is_refused(base: tuple[str, bytes] | None) -> None:
    header = build_header(DELTA if base else PLANES, "BF16", 8, RAW, base)
    read_header(header)
    for length in range(len(header)):
        with pytest.raises(FrameError):
            read_header(header[:length])
