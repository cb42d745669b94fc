"""The Python API on real repositories: the same verbs and the same answers as safetensors' own reader."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import git_lepton
from git_lepton.errors import CorruptError, LeptonError, MissingError, UsageError
from git_lepton.git.objectid import Buffer
from git_lepton.git.repo import Repo, discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import Oid
from tests.support import git, model_bytes, safetensors_bytes, weights

PATH = "models/m.safetensors"


@pytest.fixture
def top(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def commit(repo: Repo, data: bytes, path: str = PATH) -> Manifest:
    """Store `data` and commit its manifest, as git add does with the filter."""
    assert repo.work_tree is not None
    with Store(repo) as store:
        manifest = store.add(BytesSource(data), path)
    (repo.work_tree / path).parent.mkdir(exist_ok=True)
    (repo.work_tree / path).write_bytes(manifest.to_bytes())
    git(repo.work_tree, "add", path)
    git(repo.work_tree, "commit", "-q", "-m", "weights")
    return manifest


def test_reads_any_revision_as_safetensors_does(repo: Repo, top: Path, tmp_path: Path) -> None:
    first, second = model_bytes(seed=1), model_bytes(seed=2)
    commit(repo, first)
    commit(repo, second)
    with git_lepton.open(top) as repository:
        assert repository.models() == [PATH]
        for rev, data in (("HEAD~1", first), ("HEAD", second), ("main", second), ("", second)):
            (tmp_path / "plain").write_bytes(data)
            with safetensors.safe_open(tmp_path / "plain", "np") as plain, repository.model(PATH, rev) as model:
                assert model.keys() == list(plain.keys())
                assert model.offset_keys() == list(plain.offset_keys())
                assert model.metadata() == plain.metadata()
                assert len(model) == 3
                assert "layer_0.weight" in model
                for name in model:
                    expected = plain.get_tensor(name)
                    found = model.get_tensor(name)
                    assert found.dtype == expected.dtype
                    assert np.array_equal(found, expected)
                    assert found.flags.writeable
                    theirs, ours = plain.get_slice(name), model.get_slice(name)
                    assert (ours.get_shape(), ours.get_dtype()) == (theirs.get_shape(), theirs.get_dtype())
                    assert np.array_equal(ours[3:9, 5], theirs[3:9, 5])


def indices(count: int) -> st.SearchStrategy[Any]:
    one = st.integers(-count, count - 1)
    bound = st.none() | st.integers(-count - 2, count + 2)
    piece = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 5, -1, -3]))
    return one | piece


@settings(deadline=None, max_examples=50)
@given(st.lists(indices(8), min_size=1, max_size=2))
def test_slices_are_those_of_numpy(sliced: git_lepton.Model, keys: list[Any]) -> None:
    whole = sliced.get_tensor("t")
    key = tuple(keys) if len(keys) > 1 else keys[0]
    assert np.array_equal(sliced.get_slice("t")[key], whole[key])
    assert np.array_equal(sliced.get_slice("t")[..., 1], whole[..., 1])
    assert np.array_equal(sliced.get_slice("t")[[0, 3]], whole[[0, 3]])


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> git_lepton.Model:
    folder = tmp_path_factory.mktemp("sliced")
    git(folder, "init", "-q")
    git(folder, "config", "user.name", "A")
    git(folder, "config", "user.email", "a@example.com")
    repo = discover(folder)
    commit(repo, safetensors_bytes({"t": ("F32", (8, 8, 2), weights(3, 128)), "z": ("F32", (0, 4), b"")}))
    return git_lepton.open(folder).model(PATH)


def test_slices_out_of_range_and_of_empty_tensors(sliced: git_lepton.Model) -> None:
    with pytest.raises(IndexError):
        sliced.get_slice("t")[8]
    assert sliced.get_tensor("z").shape == (0, 4)
    assert sliced.get_slice("z")[0:3].shape == (0, 4)


def test_only_the_chunks_of_the_rows_are_read(repo: Repo, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = commit(repo, safetensors_bytes({"big": ("F32", (4096, 512), weights(1, 4096 * 512))}))
    with git_lepton.open(top) as repository:
        model = repository.model(PATH)
        with Store(repo) as store:
            index = store.index(manifest.blake3)
        assert len(index.chunks) > 4
        read: list[str] = []
        objects = repository._store.objects
        original = objects.read

        def counting(oid: Oid) -> tuple[str, Buffer]:
            read.append(oid)
            return original(oid)

        monkeypatch.setattr(objects, "read", counting)
        assert model.get_slice("big")[10:12].shape == (2, 512)
        assert len(set(read) & {chunk.oid for chunk in index.chunks}) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_types_that_numpy_lacks(repo: Repo, top: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(1, 33, dtype=np.float32).reshape(4, 8).astype(getattr(ml_dtypes, dtype))
    with git_lepton.open(top) as repository:
        data = repository.save("out.safetensors", {"t": array}).read_bytes()
        commit(repo, data)
        model = repository.model(PATH)
        assert model.get_tensor("t").dtype == array.dtype
        assert model.get_tensor("t").tobytes() == array.tobytes()
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        plain = model.get_tensor("t")
        assert plain.dtype == np.dtype(f"u{array.dtype.itemsize}")
        assert plain.tobytes() == array.tobytes()


def test_packed_types_come_as_bytes(repo: Repo, top: Path) -> None:
    commit(repo, safetensors_bytes({"t": ("F4", (4, 8), bytes(range(16)))}))
    with git_lepton.open(top) as repository:
        model = repository.model(PATH)
        assert model.get_tensor("t").tolist() == list(range(16))
        with pytest.raises(UsageError, match="no elements that numpy could index"):
            model.get_slice("t")[0]


def test_save_is_what_safetensors_reads(repo: Repo, top: Path) -> None:
    tensors: dict[str, Any] = {
        "scalar": np.float64(1.5),
        "empty": np.zeros((0, 3), np.float32),
        "strided": np.arange(24, dtype=np.int32).reshape(4, 6)[:, ::2],
        "big-endian": np.arange(4, dtype=">f4"),
        "flags": np.array([True, False]),
        "complex": np.array([1 + 2j], np.complex64),
        "größe/☃": np.arange(3, dtype=np.uint16),
    }
    with git_lepton.open(top) as repository:
        path = repository.save("new/out.safetensors", tensors, {"made": "by a test"})
        assert path == top / "new" / "out.safetensors"
        loaded = safetensors.numpy.load_file(path)
        for name, array in tensors.items():
            assert np.array_equal(loaded[name], array), name
            assert loaded[name].shape == np.shape(array)
        with safetensors.safe_open(path, "np") as plain:
            assert plain.metadata() == {"made": "by a test"}
        for bad in ({"t": np.array(["text"])}, {"__metadata__": np.zeros(1)}):
            with pytest.raises(UsageError):
                repository.save("out.safetensors", bad)
        with pytest.raises(UsageError, match="outside"):
            repository.save("../out.safetensors", tensors)
    assert not (top / "out.safetensors").exists()


def test_saving_a_model_elsewhere(repo: Repo, top: Path, tmp_path: Path) -> None:
    data = model_bytes()
    commit(repo, data)
    with git_lepton.open(top) as repository:
        model = repository.model(PATH)
        assert model.save(tmp_path / "whole").read_bytes() == data
        model.save(tmp_path / "some", ["layer_2.weight", "layer_0.weight"])
        loaded = safetensors.numpy.load_file(tmp_path / "some")
        assert set(loaded) == {"layer_0.weight", "layer_2.weight"}
        assert np.array_equal(loaded["layer_2.weight"], model.get_tensor("layer_2.weight"))
        with safetensors.safe_open(tmp_path / "some", "np") as plain:
            assert plain.metadata() == {"format": "pt"}


def test_one_tensor_is_fetched_alone(repo: Repo, top: Path, tmp_path: Path) -> None:
    manifest = commit(repo, model_bytes(rows=4096))
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(top, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(top, "push", "-q", "origin", "main", "refs/lepton/*:refs/lepton/*")
    with Store(repo) as store:
        expected = store.index(manifest.blake3)
    git(tmp_path, "clone", "-q", "-b", "main", f"file://{tmp_path}/remote.git", "clone")
    with git_lepton.open(tmp_path / "clone") as repository:
        model = repository.model(PATH)
        tensor = model.get_tensor("layer_1.weight")
        assert tensor.shape == (4096, 64)
        assert model.metadata() == {"format": "pt"}
        with Store(discover(tmp_path / "clone")) as store:
            assert not store.has(manifest.blake3)
            assert 0 < len(store.missing(expected)) < len(expected.chunks)
        assert model.save(tmp_path / "whole").read_bytes() == model_bytes(rows=4096)
    git(tmp_path / "clone", "gc", "-q", "--prune=now")
    git(tmp_path / "clone", "fsck", "--strict")


def test_what_is_nowhere_is_missing(repo: Repo, top: Path) -> None:
    manifest = commit(repo, model_bytes())
    for kind in ("models", "index"):
        git(top, "update-ref", "-d", f"refs/lepton/{kind}/{manifest.blake3}")
    with git_lepton.open(top) as repository:
        model = repository.model(PATH)
        assert len(model.keys()) == 3
        with pytest.raises(MissingError):
            model.get_tensor("layer_0.weight")


def test_errors_name_what_to_do(repo: Repo, top: Path, tmp_path: Path) -> None:
    commit(repo, model_bytes())
    with git_lepton.open(top) as repository:
        with pytest.raises(UsageError, match="not in HEAD"):
            repository.model("absent.safetensors")
        with pytest.raises(UsageError, match="unknown revision"):
            repository.model(PATH, "v99")
        with pytest.raises(UsageError, match="no tensor 'absent'"):
            repository.model(PATH).get_tensor("absent")
        with pytest.raises(UsageError, match="framework"):
            repository.model(PATH, framework="tf")
    with pytest.raises(UsageError, match="not in a git repository"):
        git_lepton.open(tmp_path)
    git(tmp_path, "clone", "-q", "--bare", str(top), "bare.git")
    with git_lepton.open(tmp_path / "bare.git") as bare, pytest.raises(UsageError, match="bare"):
        bare.save("m.safetensors", {})


def test_a_manifest_that_lies_about_a_shape_is_refused(repo: Repo, top: Path) -> None:
    true = commit(repo, model_bytes())
    text = true.to_bytes()
    lie = json.loads(json.dumps([list(line.shape) for line in true.tensors]))
    assert lie[0] == [64, 64]
    wrong = type(true)(
        true.format,
        true.size,
        true.blake3,
        true.other_hash,
        true.other_size,
        tuple(type(t)(t.dtype, (64, 65), t.hash, t.name) for t in true.tensors),
    )
    assert wrong.to_bytes() != text
    (top / PATH).write_bytes(wrong.to_bytes())
    git(top, "commit", "-qam", "lie")
    with git_lepton.open(top) as repository, pytest.raises(CorruptError):
        repository.model(PATH).get_tensor("layer_0.weight")


def test_torch_where_it_is_installed(repo: Repo, top: Path) -> None:
    torch = pytest.importorskip("torch")
    commit(repo, model_bytes(dtype="BF16"))
    with git_lepton.open(top) as repository:
        tensor = repository.model(PATH, framework="pt").get_tensor("layer_0.weight")
        assert tensor.dtype == torch.bfloat16
        repository.save("out.safetensors", {"t": tensor})
        plain: Any = safetensors.safe_open(top / "out.safetensors", "np")
        assert plain.get_slice("t").get_dtype() == "BF16"


def test_torch_that_is_not_installed(repo: Repo, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(repo, model_bytes())
    monkeypatch.setitem(sys.modules, "torch", None)
    with git_lepton.open(top) as repository, pytest.raises(UsageError, match="needs torch"):
        repository.model(PATH, framework="pt").get_tensor("layer_0.weight")


def test_the_example_runs(
    repo: Repo, top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = model_bytes(), model_bytes(layer_1=7)
    commit(repo, first)
    commit(repo, second)
    script = Path(__file__).parents[1] / "examples" / "average_revisions.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(top), PATH, "mean.safetensors", "HEAD", "HEAD~1"])
    runpy.run_path(str(script), run_name="__main__")
    assert "3 tensors, mean of 2 revisions" in capsys.readouterr().out
    mean, old, new = (safetensors.numpy.load(data) for data in ((top / "mean.safetensors").read_bytes(), first, second))
    assert np.array_equal(mean["layer_0.weight"], old["layer_0.weight"])
    expected = (old["layer_1.weight"].astype(np.float64) + new["layer_1.weight"]) / 2
    assert np.array_equal(mean["layer_1.weight"], expected.astype(np.float32))


def test_all_errors_are_lepton_errors(repo: Repo, top: Path) -> None:
    assert issubclass(UsageError, LeptonError)
    with pytest.raises(AttributeError):
        _ = git_lepton.nothing
    assert dir(git_lepton) == ["Model", "Repository", "__version__", "open"]
