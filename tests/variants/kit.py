"""Small models of every kind, and a build in this process, which spares a test the start of another."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from git_lepton.variants.values import ModelFolder, Outcome, Request, from_json
from git_lepton.variants.worker import answer
from tests.support import safetensors_bytes

Array = NDArray[Any]

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "I32": np.int32,
    "I64": np.int64,
}


def inline(recipe: str, model: ModelFolder, out: Path, **options: Any) -> Outcome | str:
    """What the worker would answer: the outcome with its files in `out/new`, or the reason to skip."""
    for part in ("new", "tmp"):
        (out / part).mkdir(parents=True)
    calibration = options.pop("calibration", None)
    request = Request(
        recipe,
        str(model.path),
        model.main,
        tuple(model.files),
        tuple(options.pop("exclude", ())),
        None if calibration is None else str(calibration),
        str(out),
        os.getpid(),
        None,
    )
    value = answer(request)
    return from_json(value["outcome"]) if "outcome" in value else next(iter(value.values()))


def random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) * np.float32(0.05)


def folder_of(path: Path, main: str = ".") -> ModelFolder:
    files = tuple(sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()))
    return ModelFolder(path, main, files)


# ONNX


def mlp(sizes: Sequence[int] = (64, 128, 64), *, named: bool = True, constants: bool = False) -> Any:
    """Matrix products with Relu between them; weights as initializers, or as values of Constant nodes."""
    nodes, initializers = [], []
    value = "x"
    for i, (rows, columns) in enumerate(pairwise(sizes)):
        weight = numpy_helper.from_array(random(i, rows, columns), f"w{i}")
        if constants:
            nodes.append(helper.make_node("Constant", [], [f"w{i}"], name=f"const_{i}", value=weight))
        else:
            initializers.append(weight)
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"], name=f"matmul_{i}" if named else ""))
        nodes.append(helper.make_node("Relu", [f"m{i}"], [f"r{i}"], name=f"relu_{i}" if named else ""))
        value = f"r{i}"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", sizes[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", sizes[-1]])],
        initializer=initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def onnx_folder(path: Path, model: Any, **save: Any) -> ModelFolder:
    path.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(path / "model.onnx"), **save)
    return folder_of(path, "model.onnx")


def run_onnx(path: Path, **inputs: Array) -> Array:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


# safetensors


def layers(dtype: str = "F32", *, columns: int = 64) -> dict[str, tuple[str, Sequence[int], bytes]]:
    """A little transformer by its names: an embedding, a norm, two linear layers, a head and a counter."""

    def tensor(seed: int, *shape: int) -> tuple[str, Sequence[int], bytes]:
        return dtype, shape, random(seed, *shape).astype(DTYPES[dtype]).tobytes()

    return {
        "model.embed_tokens.weight": tensor(1, 10, columns),
        "model.layers.0.input_layernorm.weight": tensor(2, columns),
        "model.layers.0.self_attn.q_proj.weight": tensor(3, 32, columns),
        "model.layers.0.self_attn.q_proj.bias": tensor(4, 32),
        "model.layers.0.mlp.up_proj.weight": tensor(5, 48, columns),
        "lm_head.weight": tensor(6, 10, columns),
        "steps": ("I64", (2,), np.array([3, 4]).tobytes()),
    }


LINEAR = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight")


def safetensors_folder(
    path: Path,
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]] | None = None,
    config: Mapping[str, Any] | None = None,
) -> ModelFolder:
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.safetensors").write_bytes(safetensors_bytes(tensors or layers(), {"format": "pt", "by": "test"}))
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return folder_of(path)


def read(path: Path) -> tuple[dict[str, Array], dict[str, str], list[str]]:
    """Tensors, metadata and order of names of a safetensors file, read by hand; offsets are checked for alignment."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    found = {}
    for name, entry in header.items():
        dtype = np.dtype(DTYPES[entry["dtype"]])
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        assert start % dtype.itemsize == 0
        found[name] = np.frombuffer(data[start:stop], dtype).reshape(entry["shape"])
    return found, metadata, list(header)
