"""Sixteen messages at once by the kernel of sha1.c: the digests that hashlib has."""

from __future__ import annotations

import ctypes
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.native import building
from git_lepton.native.library import load
from git_lepton.native.sha1 import LANES, Sha1Kernels

SIZES = st.integers(0, 200) | st.sampled_from([55, 56, 63, 64, 65, 119, 120, 127, 128]) | st.integers(0, 5000)


@pytest.fixture(scope="module")
def native(compiled: ctypes.CDLL) -> Sha1Kernels:
    found = Sha1Kernels(compiled)
    if found.hash([[b""]]) is None:
        pytest.skip("this processor has no AVX-512")
    return found


@given(st.lists(st.lists(SIZES, max_size=4), min_size=1, max_size=LANES), st.integers(0, 63), st.randoms())
@settings(deadline=None, max_examples=300)
def test_digests_are_those_of_hashlib(
    native: Sha1Kernels, sizes: list[list[int]], shift: int, chance: random.Random
) -> None:
    """Any number of messages, of any sizes, in any parts, at any alignment."""
    messages = [[memoryview(bytes(shift) + chance.randbytes(size))[shift:] for size in parts] for parts in sizes]
    assert native.hash(messages) == [hashlib.sha1(b"".join(parts)).digest() for parts in messages]


def test_large_messages_of_like_size(native: Sha1Kernels) -> None:
    messages = [[b"head", random.randbytes(300_000 + 17 * n)] for n in range(LANES)]
    assert native.hash(messages) == [hashlib.sha1(b"".join(parts)).digest() for parts in messages]


def test_a_processor_without_it_says_so(compiled: ctypes.CDLL, tmp_path: Path) -> None:
    assert compiled is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "FLAGS", (*building.FLAGS, "-O1", "-DLEPTON_PORTABLE"))
        building.compile_kernels(tmp_path / building.FILE)
    assert Sha1Kernels(load(tmp_path / building.FILE)).hash([[b"x"]]) is None
