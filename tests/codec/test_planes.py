"""Byte planes: every 16-bit pattern there and back, and where each bit of wider floats goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.codec.planes import BLOCK_BYTES, UNSIGNED, blocks, has_planes, is_float, merge, split, width_of


def through(elements: NDArray[np.unsignedinteger], *, floats: bool) -> list[NDArray[np.uint8]]:
    planes = [np.empty(elements.size, np.uint8) for _ in range(elements.itemsize)]
    split(elements, planes, floats=floats)
    out = np.empty_like(elements)
    merge(planes, out, floats=floats)
    assert np.array_equal(out, elements)
    return planes


@pytest.mark.parametrize("floats", [True, False])
def test_every_16_bit_pattern_returns(floats: bool) -> None:
    planes = through(np.arange(1 << 16, dtype=np.uint16), floats=floats)
    assert len({*zip(*(plane.tolist() for plane in planes), strict=True)}) == 1 << 16


def test_bfloat16_sign_and_exponent() -> None:
    (low, high) = through(np.array([0b1_10000001_0101010, 0b0_01111110_1000001], np.uint16), floats=True)
    assert high.tolist() == [0b10000001, 0b01111110]
    assert low.tolist() == [0b1_0101010, 0b0_1000001]


def test_float32_planes() -> None:
    planes = through(np.array([0b1_10000001_0101010 << 16 | 0xABCD], np.uint32), floats=True)
    assert [plane[0] for plane in planes] == [0xCD, 0xAB, 0b1_0101010, 0b10000001]


def test_plain_planes_are_the_bytes() -> None:
    for width, name in UNSIGNED.items():
        elements = np.frombuffer(bytes(range(3 * width)), name)
        assert [plane.tolist() for plane in through(elements, floats=False)] == [
            list(range(k, 3 * width, width)) for k in range(width)
        ]


@given(st.binary(max_size=400), st.sampled_from([2, 4, 8]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_any_bits_return(data: bytes, width: int, floats: bool) -> None:
    through(np.frombuffer(data, UNSIGNED[width], len(data) // width), floats=floats)


def test_unaligned_elements_return() -> None:
    data = np.arange(1001, dtype=np.uint8)
    for width in (2, 4, 8):
        through(np.frombuffer(data, UNSIGNED[width], 1000 // width, offset=1), floats=True)


@pytest.mark.parametrize("count", [0, 1, BLOCK_BYTES // 4, BLOCK_BYTES // 4 + 1])
def test_blocks_cover(count: int) -> None:
    covered = [k for part in blocks(count, 4) for k in range(part.start, part.stop)]
    assert covered == list(range(count))


def test_dtypes() -> None:
    assert [width_of(name) for name in ("F8_E4M3", "BF16", "I64", "C64", "F4", "Q4_0")] == [1, 2, 8, 0, 0, 0]
    assert [is_float(name) for name in ("F8_E4M3", "BF16", "I64", "Q4_0")] == [True, True, False, False]
    assert [has_planes(name) for name in ("F8_E4M3", "BF16", "I64", "Q4_0")] == [False, True, False, False]
