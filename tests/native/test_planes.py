"""Each kernel of planes.c against its twin in numpy, for any bits, lengths and alignments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.codec import delta, planes
from git_lepton.codec.planes import UNSIGNED
from git_lepton.native.planes import PlaneKernels

WIDTHS = (1, 2, 4, 8)


def unaligned(data: bytes, name: str, count: int) -> NDArray[np.unsignedinteger]:
    """The elements in memory that begins at an odd address."""
    memory = np.empty(len(data) + 2, np.uint8)
    start = 1 - memory.__array_interface__["data"][0] % 2
    memory[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return memory[start : start + len(data)].view(name)[:count]


@given(st.binary(max_size=700), st.binary(max_size=700), st.sampled_from(WIDTHS), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=100)
def test_split_join_and_holds(
    native: PlaneKernels, data: bytes, guess: bytes, width: int, floats: bool, with_base: bool
) -> None:
    count = (min(len(data), len(guess)) if with_base else len(data)) // width
    elements = np.frombuffer(data, UNSIGNED[width], count)
    predicted = np.frombuffer(guess, UNSIGNED[width], count) if with_base else None
    found = [np.full(count, 0xAA, np.uint8) for _ in range(width)]
    native.split(elements, predicted, found, floats=floats)
    expected = [np.empty(count, np.uint8) for _ in range(width)]
    if predicted is None:
        planes.split(elements, expected, floats=floats)
    else:
        planes.split(delta.residual(elements, predicted, floats=floats), expected, floats=False)
    assert [plane.tolist() for plane in found] == [plane.tolist() for plane in expected]
    out = np.empty(count, UNSIGNED[width])
    native.join(found, predicted, out, floats=floats)
    assert out.tolist() == elements.tolist()
    assert native.holds(found, predicted, elements, floats=floats)
    if count:
        found[-1][count // 2] ^= 1
        assert not native.holds(found, predicted, elements, floats=floats)


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 31, 64, 4095, 4097, 20_000])
def test_lengths_around_blocks(native: PlaneKernels, width: int, count: int, floats: bool) -> None:
    data = np.random.default_rng(count).bytes(width * count)
    elements = unaligned(data, UNSIGNED[width], count)
    found = [np.full(count + 1, 0xAA, np.uint8) for _ in range(width)]
    native.split(elements, None, [plane[:count] for plane in found], floats=floats)
    assert all(plane[count] == 0xAA for plane in found)
    assert native.holds([plane[:count] for plane in found], None, elements, floats=floats)
    if count:
        for plane in found:
            plane[count - 1] ^= 0x80
            assert not native.holds([plane[:count] for plane in found], None, elements, floats=floats)
            plane[count - 1] ^= 0x80
