"""Merged files byte for byte: against the papers' formulas in numpy's float64, and against files made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from git_lepton.compare.decoding import Decoder
from git_lepton.compare.merge import merge
from git_lepton.compare.merged import MergedFile, facts_of
from git_lepton.compare.mergevalues import Three, Whose
from git_lepton.compare.sides import FileOnDisk, FileSide, StoredFile
from git_lepton.config.values import MergeRule
from git_lepton.git.repo import Repo
from git_lepton.progress import Silent
from git_lepton.store.begun import BegunPack
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import DTYPES
from tests.compare.models import Tensors, onnx_model, saved, tensor
from tests.support import as_dtype, weights

COUNT = 524_288 + 70_001
"""Elements of a tensor of two chunks, whose last block is not whole."""


def merged(
    folder: Path, base: bytes | None, ours: bytes, theirs: bytes, *rules: MergeRule, name: str = "m.safetensors"
) -> bytes:
    """The merged file, from files on disk; checked with its own survey and as a source."""
    files: dict[Whose, FileSide] = {}
    data: dict[Whose, bytes | None] = {"base": base, "ours": ours, "theirs": theirs}
    for whose, content in data.items():
        if content is not None:
            path = folder / whose / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            files[whose] = FileOnDisk(path)
    three = Three(files["base"].manifest if "base" in files else None, files["ours"].manifest, files["theirs"].manifest)
    plan = merge(three, rules, facts_of(three, files))
    assert not plan.conflicts
    assert plan.whole(three) is None
    with MergedFile(plan, files, name, folder / "tmp", Silent()) as found:
        whole = b"".join(found.blocks())
        survey = found.survey()
        part = bytearray(len(whole) // 2)
        found.read_into(len(whole) // 3, memoryview(part))
    assert part == whole[len(whole) // 3 :][: len(part)]
    assert survey.file_hash == blake3(whole).hexdigest()
    for stream in survey.tensors:
        (extent,) = stream.extents
        assert stream.hash == blake3(whole[extent[0] : sum(extent)]).hexdigest()
    return whole


def tensors_of(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """A safetensors file, read by hand."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    return {
        name: (info["dtype"], tuple(info["shape"]), body[slice(*info["data_offsets"])])
        for name, info in header.items()
        if name != "__metadata__"
    }


def values(dtype: str, data: bytes) -> np.ndarray:
    decoder = Decoder(dtype, DTYPES[dtype].bits)
    out = np.empty(len(data) * 8 // decoder.bits)
    decoder.values(decoder.codes(data, out.size), out)
    return out


def trained(dtype: str, seed: int, count: int = COUNT) -> bytes:
    base = np.frombuffer(weights(1, count), np.float32)
    step = np.frombuffer(weights(seed, count, scale=0.002), np.float32)
    return as_dtype(base + step, dtype)


def ladder(dtype: str, data: bytes) -> np.ndarray:
    """Bit patterns as integers in the order of the values: neighbours differ by one."""
    codes = np.frombuffer(data, {2: "<i2", 4: "<i4"}[DTYPES[dtype].bits // 8]).astype(np.int64)
    return np.where(codes < 0, -(codes & ((1 << DTYPES[dtype].bits - 1) - 1)), codes)


def nearest(dtype: str, exact: np.ndarray) -> bytes:
    """Float64 to a float type by numpy itself, or for bfloat16 by way of integers."""
    if dtype != "BF16":
        return exact.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    import ml_dtypes

    return bytes(exact.astype(ml_dtypes.bfloat16).tobytes())


def ties(base: np.ndarray, ours: np.ndarray, theirs: np.ndarray, density: float) -> np.ndarray:
    """TIES-Merging (arXiv:2306.01708), as mergekit has it."""
    changes = []
    for side in (ours, theirs):
        change = side - base
        keep = np.argsort(-np.abs(change), kind="stable")[: int(density * change.size)]
        trimmed = np.zeros_like(change)
        trimmed[keep] = change[keep]
        changes.append(trimmed)
    stack = np.stack(changes)
    elected = np.where(stack.sum(axis=0) >= 0, 1.0, -1.0)
    agree = np.sign(stack) == elected
    return np.asarray(base + (stack * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1))


def slerp(ours: np.ndarray, theirs: np.ndarray, weight: float) -> np.ndarray:
    cosine = float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    if abs(cosine) > 0.9995:
        return (1 - weight) * ours + weight * theirs
    angle = np.arccos(cosine)
    return np.asarray((np.sin((1 - weight) * angle) * ours + np.sin(weight * angle) * theirs) / np.sin(angle))


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_values_are_those_of_the_papers_within_one_unit_in_the_last_place(tmp_path: Path, dtype: str) -> None:
    sides = [trained(dtype, seed) for seed in (1, 2, 3)]
    models = [
        saved({"w": (dtype, (COUNT,), data), "x": tensor(n, 4)}) for n, data in zip((0, 0, 1), sides, strict=True)
    ]
    base, ours, theirs = (values(dtype, data) for data in sides)
    expected = {
        "average": ({"weight": 0.25}, 0.75 * ours + 0.25 * theirs),
        "slerp": ({"weight": 0.4}, slerp(ours, theirs, 0.4)),
        "task-arithmetic": ({"theirs": 0.5, "scale": 0.9}, base + 0.9 * ((ours - base) + 0.5 * (theirs - base))),
        "ties": ({"density": 0.3}, ties(base, ours, theirs, 0.3)),
    }
    for strategy, (options, exact) in expected.items():
        rule = MergeRule("*", strategy, options)
        found = tensors_of(merged(tmp_path / strategy, models[0], models[1], models[2], rule))["w"]
        assert found[:2] == (dtype, (COUNT,))
        apart = np.abs(ladder(dtype, found[2]) - ladder(dtype, nearest(dtype, exact)))
        assert apart.max() <= 1, strategy
        assert np.count_nonzero(apart) < COUNT / 1000


def test_dare_ties_is_the_same_every_time_and_depends_on_its_seed(tmp_path: Path) -> None:
    sides = [trained("F32", seed) for seed in (1, 2, 3)]
    models = [saved({"w": ("F32", (COUNT,), data)}, n=str(n)) for n, data in zip((0, 0, 1), sides, strict=True)]
    rule = MergeRule("*", "dare-ties", {"seed": 7, "density": 0.5})
    first = merged(tmp_path / "a", models[0], models[1], models[2], rule)
    assert first == merged(tmp_path / "b", models[0], models[1], models[2], rule)
    another = MergeRule("*", "dare-ties", {"seed": 8, "density": 0.5})
    other = merged(tmp_path / "c", models[0], models[1], models[2], another)
    assert first != other


def test_tensors_of_both_sides_in_one_file(tmp_path: Path) -> None:
    base: Tensors = {"a": tensor(1, 8, 8), "b": tensor(2, 8), "gone": tensor(3, 4), "c": tensor(4, 2, 2, dtype="BF16")}
    ours = {name: base[name] for name in ("a", "b", "c")} | {"b": tensor(20, 8), "new": tensor(5, 3)}
    theirs = base | {"a": tensor(10, 8, 8), "c": tensor(40, 2, 2, dtype="BF16"), "bits": ("U8", (3,), b"abc")}
    data = merged(tmp_path, saved(base), saved(ours), saved(theirs))
    assert tensors_of(data) == {
        "a": theirs["a"],
        "b": ours["b"],
        "c": theirs["c"],
        "bits": theirs["bits"],
        "new": ours["new"],
    }
    assert b'"__metadata__":{"format":"pt"}' in data[:60]
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_a_header_that_fits_is_kept_as_it_was_written(tmp_path: Path) -> None:
    base: Tensors = {"a": tensor(1, 8), "b": tensor(2, 8)}
    ours, theirs = base | {"a": tensor(3, 8)}, base | {"b": tensor(4, 8)}
    data = merged(tmp_path, saved(base), saved(ours, by="us", format="pt"), saved(theirs, format="pt"))
    assert data == saved(base | {"a": tensor(3, 8), "b": tensor(4, 8)}, by="us", format="pt")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("count", [7, COUNT // 64])
def test_a_vocabulary_that_grew_and_was_trained(tmp_path: Path, swapped: bool, count: int) -> None:
    old, more = np.frombuffer(weights(1, count * 64), "<f4"), weights(2, 3 * 64)
    trained_rows = (old + np.float32(0.01)).tobytes()
    base = saved({"emb": ("F32", (count, 64), old.tobytes()), "x": tensor(1, 4)})
    grown = saved({"emb": ("F32", (count + 3, 64), old.tobytes() + more), "x": tensor(1, 4)})
    other = saved({"emb": ("F32", (count, 64), trained_rows), "x": tensor(2, 4)})
    sides = (other, grown) if swapped else (grown, other)
    found = tensors_of(merged(tmp_path, base, *sides))
    assert found["emb"] == ("F32", (count + 3, 64), trained_rows + more)
    assert found["x"] == tensor(2, 4)
    both = saved({"emb": ("F32", (count + 3, 64), (old - np.float32(0.01)).tobytes() + more), "x": tensor(1, 4)})
    sides = (other, both) if swapped else (both, other)
    found = tensors_of(merged(tmp_path, base, *sides, MergeRule("*", "average", {"weight": 0.5})))
    np.testing.assert_allclose(np.frombuffer(found["emb"][2], "<f4")[: old.size], old, atol=1e-7)
    assert found["emb"][2].endswith(more)


def test_an_onnx_graph_of_one_side_with_weights_of_the_other(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    base, wired = onnx_model(seed=1), onnx_model(seed=1, relus=3)
    model = onnx.load_from_string(base)
    for n, initializer in enumerate(model.graph.initializer[:2]):
        model.graph.initializer[n].CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(initializer) * np.float32(1 + n), initializer.name)
        )
    tuned = model.SerializeToString(deterministic=True)
    for at, sides in enumerate(((wired, tuned), (tuned, wired))):
        found = onnx.load_from_string(merged(tmp_path / str(at), base, *sides, name="m.onnx"))
        assert [node.op_type for node in found.graph.node] == [
            node.op_type for node in onnx.load_from_string(wired).graph.node
        ]
        for n, initializer in enumerate(found.graph.initializer[:2]):
            np.testing.assert_array_equal(
                numpy_helper.to_array(initializer), numpy_helper.to_array(model.graph.initializer[n])
            )


def test_a_stored_merge_reuses_what_is_stored_and_restores(repo: Repo, tmp_path: Path) -> None:
    base: Tensors = {f"t{n}": tensor(n, 64, 64) for n in range(6)}
    models = [saved(base), saved(base | {"t1": tensor(91, 64, 64)}), saved(base | {"t4": tensor(94, 64, 64)})]
    with Store(repo) as store:
        three = Three(*(store.add(BytesSource(data), "m.safetensors") for data in models))
        files: dict[Whose, FileSide] = {
            "base": StoredFile(store, store.add(BytesSource(models[0]), "m.safetensors"), "b"),
            "ours": StoredFile(store, three.ours, "o"),
            "theirs": StoredFile(store, three.theirs, "t"),
        }
        plan = merge(three, (), facts_of(three, files))
        with MergedFile(plan, files, "m.safetensors", tmp_path / "tmp", Silent()) as file:
            survey = file.survey()
            found = store.add(file, "m.safetensors", file_hash=survey.file_hash, surveyed=survey)
        expected = saved(base | {"t1": tensor(91, 64, 64), "t4": tensor(94, 64, 64)})
        assert found == store.add(BytesSource(expected), "m.safetensors")
        restored = bytearray()
        store.restore_to(found.blake3, restored.extend)
        assert restored == expected
        sides = {chunk.oid for side in (three.ours, three.theirs) for chunk in store.index(side.blake3).chunks}
        assert {chunk.oid for chunk in store.index(found.blake3).chunks} <= sides


@pytest.mark.parametrize("strategy", ["average", "ties"])
def test_a_merge_is_encoded_while_it_is_made(repo: Repo, tmp_path: Path, strategy: str) -> None:
    def model(seed: int) -> bytes:
        tensors: Tensors = {"a": ("BF16", (COUNT,), trained("BF16", seed)), "b": tensor(3, 64)}
        return saved(tensors | {"c": ("F32", (COUNT // 2,), trained("F32", seed, COUNT // 2))})

    with Store(repo) as store:
        base = store.add(BytesSource(model(11)), "m.safetensors")
        three = Three(
            base, *(store.add(BytesSource(model(seed)), "m.safetensors", candidates=[base]) for seed in (12, 13))
        )
        files: dict[Whose, FileSide] = {
            "base": StoredFile(store, base, "b"),
            "ours": StoredFile(store, three.ours, "o"),
            "theirs": StoredFile(store, three.theirs, "t"),
        }
        plan = merge(three, [MergeRule("*", strategy)], facts_of(three, files))
        with (
            MergedFile(plan, files, "m.safetensors", tmp_path / "tmp", Silent()) as file,
            BegunPack(store, file, file.layout, file.made, [base]) as begun,
        ):
            assert file.made == [0, 2]
            survey = file.survey(begun)
            assert begun.size == 2 * COUNT + 4 * (COUNT // 2)
            found = store.add(file, "m.safetensors", candidates=[base], surveyed=survey, begun=begun)
            expected = b"".join(file.blocks())
        restored = bytearray()
        store.restore_to(found.blake3, restored.extend)
        assert restored == expected
        assert base.tensors[0].hash in {chunk.stream_hash for chunk in store.index(found.blake3).bases}
