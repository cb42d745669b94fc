"""Packed planes: each method there and back, frozen bytes, and a refusal for each way to be malformed."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

from git_lepton.codec.payload import (
    CONSTANT,
    SPARSE,
    STORED,
    ZSTD,
    PackedPlane,
    build_table,
    inflate,
    pack_plane,
    parse_payload,
    unpack_plane,
)
from git_lepton.errors import FrameError

RNG = np.random.default_rng(3)
COUNT = 100_001


def noise() -> NDArray[np.uint8]:
    return RNG.integers(0, 256, COUNT, dtype=np.uint8)


def skewed() -> NDArray[np.uint8]:
    return (120 + 2 * RNG.standard_normal(COUNT)).astype(np.uint8)


def half_empty() -> NDArray[np.uint8]:
    return np.where(RNG.random(COUNT) < 0.7, 128, noise()).astype(np.uint8)


def constant() -> NDArray[np.uint8]:
    return np.full(COUNT, 9, np.uint8)


def constant_but_one() -> NDArray[np.uint8]:
    plane = constant()
    plane[COUNT - 1] = 8
    return plane


def padded() -> NDArray[np.uint8]:
    plane = noise()
    plane[-COUNT // 6 :] = 0
    return plane


@pytest.mark.parametrize(
    ("make", "method", "share"),
    [
        (noise, STORED, 1.0),
        (skewed, ZSTD, 0.42),
        (half_empty, SPARSE, 0.44),
        (constant, CONSTANT, 0.0001),
        (constant_but_one, ZSTD, 0.001),
        (padded, ZSTD, 0.85),
    ],
)
@pytest.mark.parametrize("count", [COUNT, 777])
def test_each_method(make, method: int, share: float, count: int) -> None:  # type: ignore[no-untyped-def]
    plane = make()[-count:]
    packed = pack_plane(plane)
    assert np.array_equal(unpack_plane(packed, count), plane)
    if count == COUNT:
        assert packed.method == method
        assert len(packed.data) <= share * count


def test_no_elements() -> None:
    packed = pack_plane(np.empty(0, np.uint8))
    assert packed == PackedPlane(STORED, b"")
    assert unpack_plane(packed, 0).size == 0


def test_packing_keeps_nothing_of_the_plane() -> None:
    plane = noise()
    packed, before = pack_plane(plane), plane.copy()
    plane[:] = 0
    assert np.array_equal(unpack_plane(packed, COUNT), before)


def test_golden_table() -> None:
    planes = (PackedPlane(STORED, b"abc"), PackedPlane(CONSTANT, b"z"))
    table = build_table(planes)
    assert table.hex() == "02" + "0003000000" + "0201000000"
    parsed = parse_payload(memoryview(table + b"abcz"), 2)
    assert [(p.method, bytes(p.data)) for p in parsed] == [(STORED, b"abc"), (CONSTANT, b"z")]


def test_golden_sparse() -> None:
    # 10 elements, 7 of them 0x80; bits 1, 4 and 9 say where 5, 6 and 7 stand.
    data = b"\x80" + build_table((PackedPlane(STORED, b"\x12\x02"), PackedPlane(STORED, b"\5\6\7"))) + b"\x12\2\5\6\7"
    plane = unpack_plane(PackedPlane(SPARSE, data), 10)
    assert plane.tobytes() == b"\x80\5\x80\x80\6\x80\x80\x80\x80\7"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", "inside its table"),
        ("02" + "0003000000", "inside its table"),
        ("01" + "0003000000" * 2 + "616263", "1 planes where 2"),
        ("02" + "0403000000" + "0200000000", "unknown method 4"),
        ("02" + "0003000000" + "0001000000" + "616263", "inside a plane"),
        ("02" + "00ffffffff" + "0001000000" + "616263", "inside a plane"),
        ("02" + "0002000000" + "0001000000" + "61626364", "1 bytes left over"),
    ],
)
def test_malformed_payloads(payload: str, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        parse_payload(memoryview(bytes.fromhex(payload)), 2)


def frame_of(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw)


@pytest.mark.parametrize(
    ("method", "data", "reason"),
    [
        (STORED, b"123", "3 bytes where 4 belong"),
        (CONSTANT, b"", "has one byte"),
        (CONSTANT, b"12", "has one byte"),
        (ZSTD, b"", "zstd"),
        (ZSTD, b"not zstd at all", "damaged"),
        (ZSTD, frame_of(b"12345"), "declare 5 bytes"),
        (ZSTD, frame_of(b"1234")[:-1], "zstd"),
        (ZSTD, frame_of(b"1234") + b"x", "damaged"),
        (SPARSE, b"", "no common byte"),
        (SPARSE, b"\x80", "inside its table"),
        (SPARSE, b"\x80" + bytes.fromhex("02" + "0301000000" + "0000000000") + b"x", "sparse plane inside"),
        (SPARSE, b"\x80" + bytes.fromhex("02" + "0001000000" + "0001000000") + b"\x10\1", "behind its end"),
        (SPARSE, b"\x80" + bytes.fromhex("02" + "0001000000" + "0001000000") + b"\x03\1", "1 bytes where 2"),
        (SPARSE, b"\x80" + bytes.fromhex("02" + "0002000000" + "0000000000") + b"\x00\0", "2 bytes where 1"),
    ],
)
def test_malformed_planes(method: int, data: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        unpack_plane(PackedPlane(method, data), 4)


def test_zstd_of_undeclared_length_is_refused() -> None:
    data = zstandard.ZstdCompressor(write_content_size=False).compress(b"1234")
    with pytest.raises(FrameError, match="where 4 belong"):
        inflate(data, 4)


def test_a_bomb_is_refused_by_its_declaration() -> None:
    with pytest.raises(FrameError, match="declare 67108864 bytes where 4 belong"):
        inflate(frame_of(bytes(64 << 20)), 4)
