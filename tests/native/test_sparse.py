"""Each kernel of sparse.c against its twin in numpy: the loops for this processor, and those for any."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from git_lepton.native import building
from git_lepton.native.library import load
from git_lepton.native.planes import PlaneKernels

GUARD = 0xAA


@pytest.fixture(scope="module", params=["processor", "portable"])
def native(
    request: pytest.FixtureRequest, compiled: ctypes.CDLL, tmp_path_factory: pytest.TempPathFactory
) -> PlaneKernels:
    if request.param == "processor":
        return PlaneKernels(compiled)
    path: Path = tmp_path_factory.mktemp("portable") / building.FILE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "FLAGS", (*building.FLAGS, "-O1", "-DLEPTON_PORTABLE"))
        building.compile_kernels(path)
    return PlaneKernels(load(path))


def guarded(size: int) -> NDArray[np.uint8]:
    """Memory of that size, and a little behind it that nobody may write to."""
    return np.full(size + 64, GUARD, np.uint8)


def check(native: PlaneKernels, plane: NDArray[np.uint8], common: int) -> None:
    bitmap, rest, out = guarded(-(-plane.size // 8)), guarded(plane.size), guarded(plane.size)
    count = native.sparse_split(plane, common, bitmap[:-64], rest[:-64])
    assert bitmap[:-64].tolist() == np.packbits(plane != common, bitorder="little").tolist()
    assert rest[:count].tolist() == plane[plane != common].tolist()
    assert native.ones(bitmap[:-64]) == count
    native.sparse_join(bitmap[:-64], rest[:count].copy(), common, out[:-64])
    assert out[:-64].tolist() == plane.tolist()
    assert all((memory[-64:] == GUARD).all() for memory in (bitmap, rest, out))


@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 300))
@settings(deadline=None, max_examples=50)
def test_any_bytes(native: PlaneKernels, data: bytes, common: int, runs: int) -> None:
    check(native, np.frombuffer(data + bytes([common]) * runs + data[:40], np.uint8), common)


@pytest.mark.parametrize("share", [0, 0.5, 0.97, 1])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 65, 127, 128, 4095, 4096, 4097])
def test_lengths_around_blocks(native: PlaneKernels, size: int, share: float) -> None:
    random = np.random.default_rng(size)
    check(native, np.where(random.random(size) < share, 7, random.integers(0, 256, size)).astype(np.uint8), 7)
