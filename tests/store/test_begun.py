"""Chunks that are encoded by whoever makes them: the version relies on what they descend from, and is stored once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from git_lepton.codec import DELTA
from git_lepton.errors import ChangedError, RaceLostError
from git_lepton.git.packfile import PackWriter
from git_lepton.git.refs import Transaction
from git_lepton.git.repo import Repo
from git_lepton.progress import Silent
from git_lepton.store import adding
from git_lepton.store.begun import BegunPack
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.store.survey import survey
from git_lepton.values import Hash
from tests.support import as_dtype, safetensors_bytes, weights

COUNT = 700_000
CHUNK = 1 << 20
"""Bytes of a chunk of BF16."""


def model(step: float = 0, other: int = 2) -> bytes:
    base = np.frombuffer(weights(1, COUNT), np.float32)
    tuned = as_dtype(base * np.float32(1 + step), "BF16")
    return safetensors_bytes({"a": ("BF16", [COUNT], tuned), "b": ("BF16", [64, 64], weights(other, 4096, "BF16"))})


@pytest.fixture
def store(repo: Repo) -> Iterator[Store]:
    with Store(repo) as opened:
        yield opened


class Watched(BytesSource):
    """Remembers how much of the tensors was read."""

    read = 0

    def read_into(self, offset: int, out: memoryview) -> None:
        self.read += len(out) if len(out) > 4096 else 0
        super().read_into(offset, out)


def add(
    store: Store, data: bytes, relatives: list[Manifest], kin: Mapping[Hash, memoryview], source: Watched
) -> Manifest:
    """Store it as a maker would, whose chunks are those of the first tensor."""
    layout = adding.lay_out(store, source, "m.safetensors", ())
    surveyed = survey(BytesSource(data), layout, Silent())
    with BegunPack(store, source, layout, [0], relatives) as begun:
        start = layout.tensors[0].start
        for number, (length, digest) in enumerate(
            zip(surveyed.tensors[0].chunk_lengths, surveyed.tensors[0].chunk_hashes, strict=True)
        ):
            begun.add(0, number, digest, memoryview(data)[start : start + length], kin)
            start += length
        return store.add(source, "m.safetensors", candidates=relatives, surveyed=surveyed, begun=begun)


def restored(store: Store, digest: Hash) -> bytes:
    with store.restore_temporary(digest) as file:
        return file.read()


def left_behind(store: Store) -> list[Path]:
    return sorted((store.repo.lepton_dir / "tmp").iterdir())


@pytest.mark.parametrize("known", [False, True], ids=["base is read", "base is at hand"])
def test_what_was_begun_is_taken_over(store: Store, known: bool) -> None:
    before, after = model(), model(step=0.001)
    base = store.add(BytesSource(before), "m.safetensors")
    kin = {}
    if known:
        start = len(before) - 2 * (COUNT + 4096)
        kin = {Hash(blake3(part).hexdigest()): memoryview(part) for part in [before[start : start + CHUNK]]}
    source = Watched(after)
    found = add(store, after, [base], kin, source)
    assert restored(store, found.blake3) == after
    assert source.read == 0
    index = store.index(found.blake3)
    (stream,) = (s for s in index.streams if s.hash == found.tensors[0].hash)
    assert [chunk.codec for chunk in index.stream_chunks(stream)] == [DELTA, DELTA]
    assert len(index.parents) == 1
    assert not left_behind(store)


def test_the_promised_number_of_objects_is_right_as_a_rule(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = store.add(BytesSource(model()), "m.safetensors")
    counted = []
    finish = PackWriter.finish

    def counting(pack: PackWriter) -> object:
        counted.append((pack._promised, len(pack._entries)))
        return finish(pack)

    monkeypatch.setattr(PackWriter, "finish", counting)
    add(store, model(step=0.001), [base], {}, Watched(model(step=0.001)))
    ((promised, got),) = counted
    assert promised == got


def test_what_is_stored_is_not_encoded_again(store: Store) -> None:
    data = model()
    store.add(BytesSource(data), "m.safetensors")
    changed = model(other=3)
    found = add(store, changed, [], {}, Watched(changed))
    assert restored(store, found.blake3) == changed
    own = {chunk.oid for chunk in store.index(found.blake3).chunks}
    assert len(own - {chunk.oid for chunk in store.index(store_hash(data)).chunks}) == 1


def store_hash(data: bytes) -> Hash:
    return Hash(blake3(data).hexdigest())


def test_a_lost_race_is_run_again_without_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = store.add(BytesSource(model()), "m.safetensors")
    commit = Transaction.commit
    lost: list[bool] = []

    def lose_once(transaction: Transaction) -> None:
        if not lost:
            lost.append(True)
            raise RaceLostError("somebody was faster")
        commit(transaction)

    monkeypatch.setattr(Transaction, "commit", lose_once)
    after = model(step=0.001)
    source = Watched(after)
    found = add(store, after, [base], {}, source)
    assert restored(store, found.blake3) == after
    assert source.read >= 2 * COUNT
    assert not left_behind(store)


def test_what_nobody_takes_goes(store: Store) -> None:
    data = model()
    source = BytesSource(data)
    layout = adding.lay_out(store, source, "m.safetensors", ())

    def abandoned() -> None:
        with BegunPack(store, source, layout, [0], []) as begun:
            raw = memoryview(data)[-CHUNK:]
            begun.add(0, 0, Hash(blake3(raw).hexdigest()), raw, {})
            assert begun.size == CHUNK
            assert left_behind(store)
            raise ChangedError("a side changed")

    with pytest.raises(ChangedError, match="a side"):
        abandoned()
    assert not left_behind(store)
    assert not store.versions()


def test_nothing_begun_is_nothing_taken(store: Store) -> None:
    source = BytesSource(model())
    with BegunPack(store, source, adding.lay_out(store, source, "m.safetensors", ()), [], []) as begun:
        assert begun.take() == (None, {})
        assert begun.size == 0
