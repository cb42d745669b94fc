"""Stored blocks laid out by the kernel of stored.c: those that the interpreter lays out."""

from __future__ import annotations

import ctypes
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.git import packfile
from git_lepton.git.packfile import store_zlib, stored_length
from git_lepton.native.stored import StoredKernels


@pytest.fixture(scope="module")
def native(compiled: ctypes.CDLL) -> StoredKernels:
    return StoredKernels(compiled)


@given(st.lists(st.integers(0, 70000) | st.sampled_from([0, 65534, 65535, 65536, 131070]), max_size=5))
@settings(deadline=None, max_examples=50)
def test_the_same_blocks_however_they_are_laid_out(native: StoredKernels, sizes: list[int]) -> None:
    parts = [memoryview(os.urandom(size)) for size in sizes]
    found = []
    for kernels in (native, None):
        out = bytearray(b"\xaa") * (stored_length(sum(sizes)) + 64)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packfile, "kernels", lambda kernels=kernels: kernels)
            patch.setattr(packfile, "_LARGE", 0)
            store_zlib(parts, memoryview(out)[:-64])
        assert out.endswith(b"\xaa" * 64)
        found.append(out)
    assert found[0] == found[1]
