"""Chunks that are encoded while their file is surveyed: the same version comes out, and nothing is read twice."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from git_lepton.codec import DELTA
from git_lepton.drivers.intake import Intake
from git_lepton.errors import ChangedError, RaceLostError
from git_lepton.git.refs import Transaction
from git_lepton.git.repo import Repo, discover
from git_lepton.store import early, survey
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.store.survey import Survey
from git_lepton.values import Hash
from tests.support import git, model_bytes, safetensors_bytes, weights


class Spent(BytesSource):
    """Bytes of which only the first `readable` can be read again."""

    readable = 0

    def read_into(self, offset: int, out: memoryview) -> None:
        if offset + len(out) > self.readable:
            raise ChangedError("read twice")
        super().read_into(offset, out)


@pytest.fixture
def store(repo: Repo) -> Iterator[Store]:
    with Store(repo) as opened:
        yield opened


@contextmanager
def surveyed(store: Store, data: bytes, candidates: Sequence[Manifest] = ()) -> Iterator[Survey]:
    surveyor = store.surveyor(BytesSource(data), "m.safetensors", candidates=candidates)
    try:
        while length := surveyor.due:
            buffer = surveyor.buffer()
            buffer[:length] = data[surveyor.size : surveyor.size + length]
            surveyor.take(buffer, length)
        yield surveyor.finish()
    finally:
        surveyor.close()


def add(store: Store, data: bytes, candidates: Sequence[Manifest] = (), *, readable: int | None = None) -> Manifest:
    source = Spent(data)
    source.readable = len(data) if readable is None else readable
    with surveyed(store, data, candidates) as found:
        return store.add(source, "m.safetensors", candidates=candidates, surveyed=found)


def restored(store: Store, digest: Hash) -> bytes:
    with store.restore_temporary(digest) as file:
        return file.read()


def left_behind(store: Store) -> list[Path]:
    folder = store.repo.lepton_dir / "tmp"
    return sorted(folder.iterdir()) if folder.is_dir() else []


FILES = {
    "model": model_bytes(rows=512, dtype="BF16"),
    "many chunks": safetensors_bytes(
        {"a": ("BF16", [3 << 20], weights(1, 3 << 20, "BF16")), "b": ("U8", [5], b"12345")}
    ),
    "chunks of 4 MiB": safetensors_bytes({"a": ("U8", [1], b"x"), "b": ("F64", [600_000], weights(2, 1_200_000))}),
    "twins": safetensors_bytes({n: ("F32", [1024], weights(1, 1024)) for n in "abc"}),
    "zeros": safetensors_bytes({"a": ("F32", [0, 4], b""), "b": ("BF16", [2 << 20], bytes(4 << 20))}),
    "no tensors": safetensors_bytes({}),
}


@pytest.mark.parametrize("name", FILES)
def test_the_version_is_the_one_that_two_readings_give(tmp_path: Path, store: Store, name: str) -> None:
    data = FILES[name]
    git(tmp_path, "init", "-q", "other")
    with Store(discover(tmp_path / "other")) as other:
        expected = other.add(BytesSource(data), "m.safetensors")
        assert add(store, data) == expected
        assert store.wrap_of(expected.blake3) == other.wrap_of(expected.blake3)
    assert restored(store, expected.blake3) == data
    assert left_behind(store) == []
    assert store.repo.work_tree is not None
    git(store.repo.work_tree, "fsck", "--strict")


def test_tensors_are_not_read_again(store: Store) -> None:
    data = FILES["many chunks"]
    header = 8 + int.from_bytes(data[:8], "little")
    manifest = add(store, data, readable=header)
    assert restored(store, manifest.blake3) == data


def test_a_chunk_that_comes_in_parts_is_left_for_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "BLOCK", 300_000)
    data = FILES["many chunks"]
    with pytest.raises(ChangedError, match="read twice"):
        add(store, data, readable=1000)
    assert restored(store, add(store, data).blake3) == data


def test_what_is_stored_is_not_encoded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = model_bytes(rows=512)
    first = add(store, data)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(early, "encode", refuse)
    assert add(store, data) == first
    with pytest.raises(AssertionError, match="encoded again"):
        add(store, model_bytes(rows=512, layer_1=99))
    monkeypatch.undo()
    second = add(store, model_bytes(rows=512, layer_1=99))
    ours, theirs = (({c.oid for c in store.index(m.blake3).chunks}) for m in (first, second))
    assert len(ours & theirs) == 3  # the header and two layers


def test_a_tensor_that_may_descend_from_another_waits(store: Store) -> None:
    base = {n: weights(seed, 1 << 15) for seed, n in enumerate("ab")}
    first = add(store, safetensors_bytes({n: ("F32", [1 << 15], data) for n, data in base.items()}))
    tuned = bytearray(base["a"])
    tuned[::400] = bytes(len(tuned[::400]))
    data = safetensors_bytes(
        {"a": ("F32", [1 << 15], bytes(tuned)), "b": ("F32", [1 << 15], base["b"]), "c": ("U8", [4096], bytes(4096))}
    )
    manifest = add(store, data, [first])
    index = store.index(manifest.blake3)
    stream = next(s for s in index.streams if s.hash == manifest.tensors[0].hash)
    assert [c.codec for c in index.stream_chunks(stream)] == [DELTA]
    assert restored(store, manifest.blake3) == data


def test_a_survey_given_up_leaves_nothing(store: Store) -> None:
    with surveyed(store, FILES["many chunks"]):
        assert len(left_behind(store)) == 1
    assert left_behind(store) == []
    assert not store.versions()


@contextmanager
def poured(tmp_path: Path, store: Store, held: bytes, data: bytes) -> Iterator[Intake]:
    """`data` has come, where the work tree has `held`."""
    (tmp_path / "twin").write_bytes(held)
    content = Intake(
        tmp_path / "twin", tmp_path / "spool", lambda source: store.surveyor(source, "m.safetensors", candidates=())
    )
    try:
        for at in range(0, len(data), 65_516):
            content.feed(data[at : at + 65_516])
        yield content
    finally:
        content.close()


def test_content_that_is_not_the_files_is_stored_in_two_readings(tmp_path: Path, store: Store) -> None:
    held = FILES["many chunks"] + bytes(4 << 20)  # large enough to be surveyed; not what its header says
    data = FILES["many chunks"][:-5] + b"54321" + bytes(4 << 20)
    with poured(tmp_path, store, held, data) as content:
        content.finish()
        assert content.surveyed is None
        assert content.hash == blake3(data).hexdigest()
        with content.source() as source:
            manifest = store.add(source, "m.safetensors", file_hash=content.hash)
    assert restored(store, manifest.blake3) == data
    assert left_behind(store) == []


LARGE = safetensors_bytes({n: ("BF16", [5 << 20], weights(at, 5 << 20, "BF16")) for at, n in enumerate("ab")})


def test_other_values_than_the_files_are_taken_as_they_come(tmp_path: Path, store: Store) -> None:
    """Nothing is read again, so nothing need be compared or written down but the header."""
    data = LARGE[: 9 << 20] + b"other values" + LARGE[(9 << 20) + 12 :]
    with poured(tmp_path, store, LARGE, data) as content:
        content.finish()
        assert content.surveyed is not None
        assert content.hash == blake3(data).hexdigest()
        with content.source() as source:
            manifest = store.add(
                source, "m.safetensors", file_hash=content.hash, surveyed=content.surveyed, candidates=()
            )
    assert restored(store, manifest.blake3) == data
    assert left_behind(store) == []
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("at", [4 << 20, (9 << 20) + 1])
def test_another_header_is_noticed_before_anything_is_taken(tmp_path: Path, store: Store, at: int) -> None:
    held = bytearray(LARGE)
    held[100] ^= 1
    with poured(tmp_path, store, bytes(held), LARGE[:at]) as content:
        content.finish()
        assert content.surveyed is None
        with content.source() as source:
            out = bytearray(source.size)
            source.read_into(0, memoryview(out))
        assert out == LARGE[:at]


@pytest.mark.parametrize("size", [len(LARGE) - 1, 9 << 20, len(LARGE) + 1, len(LARGE) + (1 << 20)])
def test_a_file_that_grows_or_shrinks_meanwhile_is_refused(tmp_path: Path, store: Store, size: int) -> None:
    data = LARGE[:size].ljust(size, b"x")
    with (
        poured(tmp_path, store, LARGE, data) as content,
        pytest.raises(ChangedError, match="changed while it was read"),
    ):
        content.finish()
    assert left_behind(store) == []
    assert not store.versions()


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_chunks_wait_for_one_another(store: Store, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """However many make a group, all are stored: whole groups, what is left over, and noise, which never waits."""
    for turn, limit in enumerate((1, 1 << 20, 1 << 30)):
        monkeypatch.setattr(early, "_GATHERED", limit)
        tensors = {f"t{n}": (dtype, [1 << 17], weights(100 * turn + n, 1 << 17, dtype)) for n in range(37)}
        tensors["noise"] = ("U8", [1 << 16], random.Random(turn).randbytes(1 << 16))
        data = safetensors_bytes(tensors)
        manifest = add(store, data, readable=8 + int.from_bytes(data[:8], "little"))
        assert restored(store, manifest.blake3) == data
    git(store.repo.cwd, "fsck", "--strict")


def test_an_error_is_told_when_the_chunks_are_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(early, "encode", full)
    with pytest.raises(OSError, match="No space left"):
        add(store, FILES["model"])
    monkeypatch.undo()
    assert left_behind(store) == []
    assert restored(store, add(store, FILES["model"]).blake3) == FILES["model"]


def test_a_lost_race_is_run_again_from_the_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Transaction.commit
    lost: list[int] = []

    def lose_once(transaction: Transaction) -> None:
        if not lost:
            lost.append(1)
            raise RaceLostError("a version relied upon went")
        commit(transaction)

    monkeypatch.setattr(Transaction, "commit", lose_once)
    manifest = add(store, FILES["many chunks"])
    assert lost
    assert restored(store, manifest.blake3) == FILES["many chunks"]
