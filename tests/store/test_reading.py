"""Chunks read back: deltas undone, and whatever is damaged named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from git_lepton.codec import DELTA
from git_lepton.errors import CorruptError
from git_lepton.git.objectid import Buffer
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.reading import ChunkReader
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import Oid
from tests.support import safetensors_bytes, weights


@pytest.fixture
def store(repo: Repo) -> Store:
    return Store(repo)


def add(store: Store, tensor: bytearray, *bases: Manifest) -> Manifest:
    data = safetensors_bytes({"a": ("F32", [1 << 15], bytes(tensor))})
    return store.add(BytesSource(data), "m.safetensors", candidates=bases)


class Flipped:
    """The objects of a store, but for a bit in one of them."""

    def __init__(self, objects: ObjectReader, oid: Oid) -> None:
        self._objects, self._oid = objects, oid

    def __getattr__(self, name: str) -> object:
        return getattr(self._objects, name)

    def read(self, oid: Oid) -> tuple[str, Buffer]:
        kind, data = self._objects.read(oid)
        if oid == self._oid:
            data = bytearray(data)
            data[len(data) // 2] ^= 4
        return kind, data


@pytest.mark.parametrize("damaged", ["base", "delta"])
def test_a_damaged_base_is_noticed_in_what_is_decoded_with_it(store: Store, damaged: str) -> None:
    """A base is not checked by itself where its bytes count in a checked result; still the damaged one is named."""
    base = bytearray(weights(1, 1 << 15))
    first = add(store, base)
    base[::400] = bytes(len(base[::400]))
    second = add(store, base, first)
    index = store.index(second.blake3)
    (row,) = (row for row, chunk in enumerate(index.chunks) if chunk.codec == DELTA)
    assert store.chunks.chunk(index, row) == base
    below = index.chunks[row].base
    assert below is not None
    bad = index.chunks[row if damaged == "delta" else below]

    def read() -> None:
        """On a thread of its own, which has no base at hand."""
        with pytest.raises(CorruptError, match=f"object {bad.oid}"):
            ChunkReader(cast(ObjectReader, Flipped(store.objects, bad.oid))).chunk(index, row)
        assert store.chunks.chunk(index, row) == base  # and none that is damaged

    with ThreadPoolExecutor(1) as pool:
        pool.submit(read).result()
