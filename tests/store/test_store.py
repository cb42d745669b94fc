"""The store on real git repositories: what goes in comes out, once, and survives gc, races and damage."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given
from hypothesis import settings as configure
from hypothesis import strategies as st

from git_lepton.codec import DELTA
from git_lepton.errors import ChangedError, CorruptError, FrameError, MissingError
from git_lepton.git.repo import Repo, discover
from git_lepton.store.lookup import Lookup
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.source import BytesSource, FileSource
from git_lepton.store.store import Store
from git_lepton.store.trees import build
from git_lepton.values import Hash
from tests.support import as_dtype, git, model_bytes, safetensors_bytes, weights


def top(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def add(store: Store, data: bytes, path: str = "m.safetensors", *bases: Manifest) -> Manifest:
    return store.add(BytesSource(data), path, candidates=bases)


def restored(store: Store, digest: Hash) -> bytes:
    with store.restore_temporary(digest) as file:
        return file.read()


def stored(store: Store, manifest: Manifest) -> int:
    return store.index(manifest.blake3).stored_bytes


@pytest.fixture
def store(repo: Repo) -> Store:
    return Store(repo)


def test_a_model_comes_back_byte_for_byte_and_is_smaller(store: Store) -> None:
    data = model_bytes(rows=512, dtype="BF16")
    manifest = add(store, data)
    assert manifest.blake3 == blake3(data).hexdigest()
    assert [t.name for t in manifest.tensors] == ["layer_0.weight", "layer_1.weight", "layer_2.weight"]
    assert restored(store, manifest.blake3) == data
    assert stored(store, manifest) < 0.7 * len(data)
    assert store.agrees(manifest)
    assert not list(store.verify(manifest.blake3))
    git(top(store.repo), "fsck", "--strict")


FILES = {
    "empty.bin": b"",
    "one.bin": b"x",
    "text.bin": b"hello world\n" * 1000,
    "noise.bin": random.Random(1).randbytes(3 << 20),
    "short.safetensors": b"\x10\x00\x00\x00\x00\x00\x00\x00{}",
    "no-tensors.safetensors": safetensors_bytes({}),
    "zero-size.safetensors": safetensors_bytes({"a": ("F32", [0, 4], b""), "b": ("F32", [], b"\0\0\x80\x3f")}),
    "twins.safetensors": safetensors_bytes({n: ("F32", [1024], weights(1, 1024)) for n in "abc"}),
    "nan.safetensors": safetensors_bytes({"a": ("F32", [4], bytes.fromhex("010080ff0100c07f000080ff00000080"))}),
}


@pytest.mark.parametrize("name", FILES)
def test_odd_files_come_back_too(store: Store, name: str) -> None:
    manifest = add(store, FILES[name], name)
    assert restored(store, manifest.blake3) == FILES[name]
    assert add(store, FILES[name], name) == manifest
    assert store.agrees(manifest)


def test_many_tensors(store: Store) -> None:
    data = safetensors_bytes({f"t{n}": ("F32", [2], weights(n, 2)) for n in range(2000)})
    manifest = add(store, data)
    assert len(manifest.tensors) == 2000
    assert restored(store, manifest.blake3) == data


def test_adding_again_writes_nothing(store: Store) -> None:
    data = model_bytes()
    first = add(store, data)
    packs = sorted((store.repo.common_dir / "objects/pack").iterdir())
    assert store.add(BytesSource(data), "other.safetensors", file_hash=first.blake3) == first
    assert add(store, data) == first
    assert sorted((store.repo.common_dir / "objects/pack").iterdir()) == packs


def new_bytes(repo: Repo, before: set[Path]) -> int:
    return sum(p.stat().st_size for p in set((repo.common_dir / "objects/pack").glob("*.pack")) - before)


def test_a_next_version_stores_only_what_changed(store: Store) -> None:
    data = model_bytes(layers=8, rows=2048)
    manifest = add(store, data)
    for name, changed in {
        "one layer": model_bytes(layers=8, rows=2048, layer_3=99),
        "another order": reorder(data),
        "a longer header": rewrite_metadata(data),
    }.items():
        before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
        version = add(store, changed, "m.safetensors", manifest)
        assert restored(store, version.blake3) == changed
        limit = 0.9 / 8 * len(data) + 8000 if name == "one layer" else 8000
        assert new_bytes(store.repo, before) < limit, name


def tensors_of(data: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    import json
    import struct

    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    body = data[8 + size :]
    return {n: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for n, t in header.items()}


def reorder(data: bytes) -> bytes:
    return safetensors_bytes(dict(reversed(tensors_of(data).items())))


def rewrite_metadata(data: bytes, note: str = "x") -> bytes:
    return safetensors_bytes(tensors_of(data), {"note": note * 1000})


def test_resharding_stores_almost_nothing(store: Store) -> None:
    data = model_bytes(layers=8, rows=2048)
    add(store, data)
    before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
    items = list(tensors_of(data).items())
    for number, shard in enumerate(
        itertools.batched(items, 3) if hasattr(itertools, "batched") else [items[:3], items[3:]]
    ):
        part = safetensors_bytes(dict(shard))
        assert restored(store, add(store, part, f"shard-{number}.safetensors").blake3) == part
    assert new_bytes(store.repo, before) < 16_000


def fine_tuned(data: bytes, seed: int, names: tuple[str, ...] | None = None) -> bytes:
    import numpy as np

    tensors = tensors_of(data)
    rng = np.random.default_rng(seed)
    for name, (dtype, shape, raw) in tensors.items():
        if names is None or name in names:
            values = np.frombuffer(raw, np.float32)
            tensors[name] = (dtype, shape, (values + rng.normal(0, 1e-5, values.shape).astype(np.float32)).tobytes())
    return safetensors_bytes(tensors)


def test_a_fine_tune_is_stored_as_deltas_and_chains_stay_short(store: Store) -> None:
    data = model_bytes(layers=2, rows=2048)
    versions = [(data, add(store, data))]
    for step in range(7):
        data = fine_tuned(data, step)
        versions.append((data, add(store, data, "m.safetensors", versions[-1][1])))
        index = store.index(versions[-1][1].blake3)
        assert {c.codec for c in index.chunks[1:3]} == {DELTA}
        assert index.stored_bytes  # bases travel with the version that needs them
        assert max(index.depth(row) for row in range(len(index.chunks))) <= 4
    for data, manifest in versions:
        assert restored(store, manifest.blake3) == data
    git(top(store.repo), "gc", "--prune=now", "-q")
    store.close()
    for data, manifest in versions:
        assert restored(store, manifest.blake3) == data


def test_each_version_lives_without_the_others(store: Store) -> None:
    data = model_bytes(layers=2, rows=1024)
    manifests = [add(store, data)]
    for step in range(3):
        data = fine_tuned(data, step)
        manifests.append(add(store, data, "m.safetensors", manifests[-1]))
    for manifest in manifests[:-1]:
        git(top(store.repo), "update-ref", "-d", model_ref(manifest.blake3))
        git(top(store.repo), "update-ref", "-d", index_ref(manifest.blake3))
    git(top(store.repo), "gc", "--prune=now", "-q")
    store.close()
    assert restored(store, manifests[-1].blake3) == data
    assert not store.has(manifests[0].blake3)
    assert "missing" not in git(top(store.repo), "fsck")


def test_going_back_to_an_old_version_after_deltas(store: Store) -> None:
    """The old bytes are the base of what came after: storing them again must not make a circle."""
    data = model_bytes(layers=1, rows=1024)
    first = add(store, data)
    tuned = fine_tuned(data, 1)
    second = add(store, tuned, "m.safetensors", first)
    renamed = rewrite_metadata(data)
    (store.repo.lepton_dir / "lookup.sqlite").unlink()
    store.close()
    third = add(store, renamed, "m.safetensors", second, first)
    for manifest, expected in ((first, data), (second, tuned), (third, renamed)):
        assert restored(store, manifest.blake3) == expected


def test_a_cast_copy_costs_almost_nothing(store: Store) -> None:
    import numpy as np

    values = np.random.default_rng(5).standard_normal(1 << 20, dtype=np.float32)
    full = safetensors_bytes({"w": ("F32", [1 << 20], values.tobytes())})
    half = safetensors_bytes({"w": ("F16", [1 << 20], as_dtype(values, "F16"))})
    manifest = add(store, full)
    before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
    cast = add(store, half, "half.safetensors", manifest)
    assert restored(store, cast.blake3) == half
    assert new_bytes(store.repo, before) < 0.01 * len(half)


def test_a_grown_vocabulary_stores_the_new_rows(store: Store) -> None:
    rows = weights(1, 30_000 * 64)
    data = safetensors_bytes({"emb": ("F32", [30_000, 64], rows)})
    grown = safetensors_bytes({"emb": ("F32", [30_064, 64], rows + weights(2, 64 * 64))})
    manifest = add(store, data)
    before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
    assert restored(store, add(store, grown, "m.safetensors", manifest).blake3) == grown
    assert new_bytes(store.repo, before) < 0.02 * len(data)


def test_an_insertion_into_a_raw_file_is_found(store: Store) -> None:
    data = random.Random(3).randbytes(12 << 20)
    add(store, data, "m.bin")
    before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
    changed = data[: 5 << 20] + b"inserted" + data[5 << 20 :]
    assert restored(store, add(store, changed, "m.bin").blake3) == changed
    assert new_bytes(store.repo, before) < 5 << 20


def test_tensors_are_read_alone(store: Store) -> None:
    data = model_bytes(layers=3, rows=16_384)
    manifest = add(store, data)
    raw = tensors_of(data)["layer_1.weight"][2]
    line = manifest.tensors[1]
    assert store.read_stream(manifest.blake3, line.hash) == raw
    assert store.read_stream(manifest.blake3, line.hash, 100, 2_100_000) == raw[100:2_100_000]
    assert store.read_stream(manifest.blake3, line.hash, 5, 5) == b""
    with pytest.raises(MissingError):
        store.read_stream(manifest.blake3, Hash("0" * 64))


@configure(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200), max_size=5), st.binary(max_size=500))
def test_any_bytes_round_trip(store: Store, tensors: list[bytes], raw: bytes) -> None:
    data = safetensors_bytes({f"t{n}": ("U8", [len(t)], t) for n, t in enumerate(tensors)})
    for content, name in ((data, "x.safetensors"), (raw, "x.bin")):
        assert restored(store, add(store, content, name).blake3) == content


def test_a_file_that_changes_is_not_stored(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(model_bytes())
    with FileSource(path) as source:
        path.write_bytes(model_bytes(seed=1))
        with pytest.raises(ChangedError):
            store.add(source, "m.safetensors", file_hash=Hash(blake3(model_bytes()).hexdigest()))
    with FileSource(path) as source:
        os.truncate(path, 100)
        with pytest.raises(ChangedError):
            store.add(source, "m.safetensors")
    assert not store.versions()


def test_a_flipped_bit_is_found_and_named(store: Store) -> None:
    data = model_bytes(rows=1024)
    manifest = add(store, data)
    (pack,) = (store.repo.common_dir / "objects/pack").glob("*.pack")
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    pack.chmod(0o644)
    pack.write_bytes(damaged)
    store.close()
    problems = list(store.verify(manifest.blake3))
    assert len(problems) == 1
    assert problems[0].stream in {t.hash for t in manifest.tensors}
    with pytest.raises(CorruptError):
        restored(store, manifest.blake3)
    with pytest.raises(CorruptError):
        store.restore_file(manifest.blake3, top(store.repo) / "out.bin")
    assert not (top(store.repo) / "out.bin").exists()


def test_missing_weights_are_named(store: Store) -> None:
    with pytest.raises(MissingError):
        restored(store, Hash("ab" * 32))
    assert not store.has(Hash("ab" * 32))


def test_the_cache_can_be_deleted_or_damaged(store: Store) -> None:
    data = model_bytes(layers=4, rows=512)
    manifest = add(store, data)
    store.close()
    cache = store.repo.lepton_dir / "lookup.sqlite"
    for damage in (b"", b"not a database at all" * 1000):
        cache.write_bytes(damage) if damage else cache.unlink()
        for extra in store.repo.lepton_dir.glob("lookup.sqlite-*"):
            extra.unlink()
        before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
        add(store, rewrite_metadata(data, "y" if damage else "x"), "m.safetensors", manifest)
        assert new_bytes(store.repo, before) < 40_000
        store.close()


def test_chunks_of_a_version_that_went_are_not_trusted(store: Store) -> None:
    """The cache still names the version, its objects may still exist: neither is a reason to reuse them."""
    data = model_bytes(layers=4, rows=512)
    manifest = add(store, data)
    git(top(store.repo), "update-ref", "-d", model_ref(manifest.blake3))
    again = rewrite_metadata(data)
    second = add(store, again)
    git(top(store.repo), "gc", "--prune=now", "-q")
    store.close()
    assert restored(store, second.blake3) == again


def test_a_version_is_anchored_from_its_index_and_its_chunks(store: Store, tmp_path: Path, env: dict[str, str]) -> None:
    first = add(store, model_bytes(rows=512))
    manifest = add(store, fine_tuned(model_bytes(rows=512), 1), "m.safetensors", first)
    index = store.index(manifest.blake3)
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "--bare", str(other))
    there = Store(discover(other))
    data = store.index_bytes(manifest.blake3)
    with pytest.raises(MissingError):
        there.anchor(data)
    for chunk in index.chunks:
        git(other, "hash-object", "-w", "--stdin", data=bytes(store.chunks.frame(chunk.oid)))
    there.anchor(data)
    there.anchor(data)
    git(other, "gc", "--prune=now", "-q")
    there.close()
    assert restored(there, manifest.blake3) == restored(store, manifest.blake3)
    objects = build(index, "sha1")
    assert git(other, "rev-parse", f"{model_ref(manifest.blake3)}^1") == objects.own.oid
    assert git(top(store.repo), "rev-parse", model_ref(manifest.blake3)) == objects.wrap.oid
    assert git(top(store.repo), "rev-parse", f"{model_ref(manifest.blake3)}^2") == git(
        top(store.repo), "rev-parse", f"{model_ref(first.blake3)}^1"
    )
    git(other, "fsck", "--strict")
    with pytest.raises(FrameError):
        there.anchor(data[:-1])


def test_two_writers_and_a_collector_at_once(repo: Repo) -> None:
    """Several adders and gc at full speed: everything added is whole in the end."""
    base = model_bytes(layers=4, rows=256)
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            git(top(repo), "gc", "--prune=now", "-q", check=False)

    def write(worker: int) -> list[tuple[Hash, bytes]]:
        out = []
        with Store(repo) as mine:
            previous = None
            for step in range(4):
                data = model_bytes(layers=4, rows=256, layer_2=worker * 10 + step)
                manifest = add(mine, data, "m.safetensors", *([previous] if previous else []))
                previous = manifest
                out.append((manifest.blake3, data))
        return out

    with Store(repo) as first:
        add(first, base)
    collector = threading.Thread(target=collect)
    collector.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            results = [*itertools.chain.from_iterable(pool.map(write, range(2)))]
    finally:
        stop.set()
        collector.join()
    git(top(repo), "gc", "--prune=now", "-q")
    with Store(repo) as store:
        for digest, data in results:
            assert restored(store, digest) == data
    assert "missing" not in git(top(repo), "fsck")
    assert not list((repo.common_dir / "objects/pack").glob("*.keep"))


def test_a_sha256_repository(tmp_path: Path, env: dict[str, str]) -> None:
    folder = tmp_path / "sha256"
    git(tmp_path, "init", "-q", "--object-format=sha256", str(folder))
    with Store(discover(folder)) as store:
        data = model_bytes()
        manifest = add(store, data)
        tuned = add(store, fine_tuned(data, 1), "m.safetensors", manifest)
        git(folder, "gc", "--prune=now", "-q")
        store.close()
        assert restored(store, manifest.blake3) == data
        assert restored(store, tuned.blake3) == fine_tuned(data, 1)
    git(folder, "fsck", "--strict")


def test_a_full_disk_leaves_the_repository_sound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            add(store, model_bytes(rows=2048))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert not store.versions()
    git(top(store.repo), "fsck", "--strict")
    assert not list((store.repo.lepton_dir / "tmp").iterdir())
    data = model_bytes(rows=2048)
    assert restored(store, add(store, data).blake3) == data


def test_a_cache_that_cannot_be_written_is_held_in_memory(store: Store) -> None:
    data = model_bytes(layers=4, rows=512)
    manifest = add(store, data)
    store.close()
    cache = store.repo.lepton_dir / "lookup.sqlite"
    for file in store.repo.lepton_dir.glob("lookup.sqlite*"):
        file.unlink()
    cache.mkdir()
    before = set((store.repo.common_dir / "objects/pack").glob("*.pack"))
    add(store, rewrite_metadata(data, "x"), "m.safetensors", manifest)
    assert new_bytes(store.repo, before) < 40_000


def test_the_cache_forgets(tmp_path: Path, store: Store) -> None:
    manifest = add(store, model_bytes())
    index = store.index(manifest.blake3)
    lookup = Lookup(tmp_path / "cache.sqlite")
    wrap = store.versions()[manifest.blake3]
    lookup.add(index, wrap)
    stream = index.streams[1].hash
    assert lookup.streams([stream, Hash("0" * 64)]) == {stream: manifest.blake3}
    assert lookup.synchronise({manifest.blake3: wrap}) == []
    assert lookup.synchronise({}) == []
    assert lookup.streams([stream]) == {}
    assert lookup.synchronise({manifest.blake3: wrap}) == [manifest.blake3]
    lookup.close()
    shutil.rmtree(tmp_path / "cache.sqlite", ignore_errors=True)
