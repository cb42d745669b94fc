"""Variants of safetensors models: layouts that common loaders read, errors that are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from git_lepton.variants.values import Outcome
from tests.support import safetensors_bytes
from tests.variants.kit import LINEAR, Array, folder_of, inline, layers, random, read, safetensors_folder


def built(recipe: str, tmp_path: Path, **options: Any) -> tuple[dict[str, Array], Outcome]:
    model = safetensors_folder(tmp_path / "model", options.pop("tensors", None), options.pop("config", None))
    outcome = inline(recipe, model, tmp_path / "out", **options)
    assert isinstance(outcome, Outcome), outcome
    tensors, metadata, _ = read(tmp_path / "out" / "new" / "model.safetensors")
    assert metadata == {"format": "pt", "by": "test"}
    return tensors, outcome


def original(name: str) -> Array:
    _, shape, data = layers()[name]
    return np.frombuffer(data, np.float32).reshape(shape)


def unpacked(words: Array, bits: int, columns: int) -> Array:
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = (words.view(np.uint32)[..., None] >> shifts) & ((1 << bits) - 1)
    whole: Array = codes.reshape(words.shape[0], -1)[:, :columns].astype(int) - (1 << (bits - 1))
    return whole


@pytest.mark.parametrize(("recipe", "dtype"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_casts_round_every_float_tensor_and_leave_the_rest(tmp_path: Path, recipe: str, dtype: Any) -> None:
    config = {"model_type": "llama", "torch_dtype": "float32", "vocab_size": 10}
    tensors, outcome = built(recipe, tmp_path, config=config)
    for name in layers():
        if name == "steps":
            assert tensors[name].tolist() == [3, 4]
        else:
            assert np.array_equal(tensors[name], original(name).astype(dtype)), name
    assert [error.name for error in outcome.errors] == [name for name in layers() if name != "steps"]
    assert outcome.written == ["model.safetensors", "config.json"]
    name = {"fp16": "float16", "bf16": "bfloat16"}[recipe]
    assert json.loads((tmp_path / "out/new/config.json").read_text()) == config | {"torch_dtype": name}
    if recipe == "fp16":
        assert load_file(tmp_path / "out" / "new" / "model.safetensors").keys() == layers().keys()


def test_errors_are_norms_of_the_difference(tmp_path: Path) -> None:
    tensors, outcome = built("bf16", tmp_path)
    error = outcome.errors[0]
    before = original(error.name).astype(np.float64)
    difference = tensors[error.name].astype(np.float64) - before
    assert error.max_abs == np.abs(difference).max()
    assert error.relative_l2 == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(before))


def test_fp8_has_a_scale_for_each_row(tmp_path: Path) -> None:
    tensors, outcome = built("fp8", tmp_path)
    for name in LINEAR:
        scale = tensors[f"{name}_scale"]
        assert scale.shape == (original(name).shape[0], 1)
        assert np.allclose(np.abs(original(name)).max(axis=1), scale[:, 0] * 448)
        restored = tensors[name].astype(np.float32) * scale
        assert np.array_equal(tensors[name], (original(name) / scale).astype(ml_dtypes.float8_e4m3fn))
        error = next(e for e in outcome.errors if e.name == name)
        assert error.max_abs == pytest.approx(np.abs(restored - original(name)).max(), rel=1e-6)
    config = json.loads((tmp_path / "out/new/config.json").read_text())["quantization_config"]
    assert config["format"] == "float-quantized"
    assert config["ignore"] == ["lm_head", "model.embed_tokens"]
    assert np.array_equal(tensors["lm_head.weight"], original("lm_head.weight"))


@pytest.mark.parametrize(("recipe", "bits"), [("int8", 8), ("int4", 4)])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_integers_are_packed_and_read_back(tmp_path: Path, recipe: str, bits: int, dtype: str) -> None:
    tensors, outcome = built(recipe, tmp_path, tensors=layers(dtype), config={"model_type": "llama"})
    assert [error.name for error in outcome.errors] == list(LINEAR)
    for error in outcome.errors:
        stem = error.name
        before = np.frombuffer(layers(dtype)[stem][2], ml_dtypes.bfloat16 if dtype == "BF16" else np.float32)
        rows, columns = tensors[f"{stem}_shape"].tolist()
        before = before.reshape(rows, columns).astype(np.float32)
        codes = unpacked(tensors[f"{stem}_packed"], bits, columns)
        scale = tensors[f"{stem}_scale"].astype(np.float32)
        assert scale.shape == (rows, columns // 64 if bits == 4 else 1)
        restored = codes * np.repeat(scale, columns // scale.shape[1], axis=1)
        assert error.max_abs == pytest.approx(np.abs(restored - before).max(), rel=1e-5)
        assert error.relative_l2 < (0.15 if bits == 4 else 0.01)
    weights = json.loads((tmp_path / "out/new/config.json").read_text())["quantization_config"]["config_groups"]
    assert weights["group_0"]["weights"]["num_bits"] == bits
    assert weights["group_0"]["weights"]["group_size"] == (64 if bits == 4 else None)


def test_pruning_zeroes_the_smallest_and_touches_nothing_else(tmp_path: Path) -> None:
    tensors, outcome = built("prune50", tmp_path, exclude=["*q_proj*"])
    assert [error.name for error in outcome.errors] == [LINEAR[1]]
    before, after = original(LINEAR[1]), tensors[LINEAR[1]]
    zero = after == 0
    assert zero.sum() == after.size // 2
    assert np.array_equal(after[~zero], before[~zero])
    assert np.abs(before[zero]).max() <= np.abs(before[~zero]).min()
    assert np.array_equal(tensors[LINEAR[0]], original(LINEAR[0]))


def test_a_chain_prunes_before_it_quantizes(tmp_path: Path) -> None:
    tensors, outcome = built("prune2:4+int8", tmp_path)
    codes = unpacked(tensors[f"{LINEAR[0]}_packed"], 8, 64).reshape(-1, 4)
    assert ((codes == 0).sum(axis=1) >= 2).all()
    assert outcome.errors[0].relative_l2 > 0.1


def test_excluded_tensors_stay_and_loaders_are_told(tmp_path: Path) -> None:
    tensors, _ = built("int8", tmp_path, exclude=["*.mlp.*"])
    assert np.array_equal(tensors[LINEAR[1]], original(LINEAR[1]))
    config = json.loads((tmp_path / "out/new/config.json").read_text())
    assert "model.layers.0.mlp.up_proj" in config["quantization_config"]["ignore"]


def test_columns_that_no_group_divides_are_left_alone(tmp_path: Path) -> None:
    tensors = layers() | {"odd.weight": ("F32", (4, 33), random(9, 4, 33).tobytes())}
    found, outcome = built("int4", tmp_path, tensors=tensors)
    assert "odd.weight" in found
    assert [error.name for error in outcome.errors] == list(LINEAR)


def test_shards_keep_their_files_and_get_a_new_index(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    names = {"model-00001-of-00002.safetensors": list(layers())[:3], "model-00002-of-00002.safetensors": []}
    names["model-00002-of-00002.safetensors"] = [name for name in layers() if name not in list(layers())[:3]]
    for shard, inside in names.items():
        (folder / shard).write_bytes(safetensors_bytes({name: layers()[name] for name in inside}))
    index = {
        "metadata": {"total_size": 1, "by": "x"},
        "weight_map": {n: s for s, inside in names.items() for n in inside},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    outcome = inline("int8", folder_of(folder), tmp_path / "out")
    assert isinstance(outcome, Outcome)
    assert outcome.written == [*names, "model.safetensors.index.json", "config.json"]
    new = tmp_path / "out" / "new"
    made = json.loads((new / "model.safetensors.index.json").read_text())
    held = {name: shard for shard in names for name in read(new / shard)[0]}
    assert made["weight_map"] == held
    assert f"{LINEAR[0]}_packed" in held
    total = sum(tensor.nbytes for shard in names for tensor in read(new / shard)[0].values())
    assert made["metadata"] == {"total_size": total, "by": "x"}


def test_a_shard_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    model = safetensors_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "other.safetensors"}}')
    reason = inline("bf16", folder_of(model.path), tmp_path / "out")
    assert isinstance(reason, str)
    assert "names other.safetensors, which is not among the model's files" in reason


@pytest.mark.parametrize(
    ("recipe", "tensors", "config", "words"),
    [
        ("ort", None, None, "ort needs an ONNX model"),
        ("int8-static", None, None, "int8-static needs an ONNX model"),
        ("fp16", layers("BF16"), None, "no float tensor of more than 16 bits"),
        ("int8", None, {"quantization_config": {}}, "quantized already"),
        ("int8", None, {"model_type": "gpt2"}, "layers of gpt2 are not linear"),
        ("int4", {"a.weight": ("F32", (2, 4), b"\0" * 32)}, None, "no weight of a linear layer"),
        ("int8", {"a.weight": ("F32", (1, 2), np.array([1, np.nan], "f").tobytes())}, None, "a.weight holds NaN"),
        ("fp16", {"a": ("F32", (2,), np.array([1, 1e6], "f").tobytes())}, None, "a holds numbers beyond"),
        (
            "int8",
            {"a.weight": ("F32", (1, 1), b"\0" * 4), "a.weight_scale": ("F32", (1,), b"\0" * 4)},
            None,
            "two tensors would be named a.weight_scale",
        ),
    ],
)
def test_what_cannot_be_built_says_why(tmp_path: Path, recipe: str, tensors: Any, config: Any, words: str) -> None:
    model = safetensors_folder(tmp_path / "model", tensors, config)
    reason = inline(recipe, model, tmp_path / "out")
    assert isinstance(reason, str)
    assert words in reason


def test_odd_shapes_pass_through(tmp_path: Path) -> None:
    tensors = layers() | {
        "none": ("F32", (0, 3), b""),
        "one": ("F32", (), b"\0\0\x80?"),
        "c": ("F32", (2, 4, 1, 1), b"\1" * 32),
    }
    found, _ = built("prune2:4+fp16", tmp_path, tensors=tensors)
    assert found["none"].shape == (0, 3)
    assert found["one"] == 1
    assert found["c"].dtype == np.float16


def test_a_large_tensor_is_worked_on_in_parts(tmp_path: Path) -> None:
    big = random(1, 700, 4096)
    found, outcome = built("prune30+bf16", tmp_path, tensors={"big.weight": ("F32", big.shape, big.tobytes())})
    zero = found["big.weight"] == 0
    assert zero.sum() == big.size * 30 // 100
    assert np.array_equal(found["big.weight"][~zero], big.astype(ml_dtypes.bfloat16)[~zero])
    assert outcome.errors[0].max_abs >= np.abs(big[zero]).max()
