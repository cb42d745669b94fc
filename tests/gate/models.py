"""Tiny ONNX models and data files for the gate's tests, and requests about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from blake3 import blake3
from onnx import TensorProto, helper, numpy_helper

from git_lepton.config.values import Budget, GateRule, ModelSettings
from git_lepton.gate.cache import FolderCache
from git_lepton.gate.judge import judge
from git_lepton.gate.values import DataFile, Folder, JudgeRequest, ModelOutcome
from git_lepton.progress import Silent
from git_lepton.values import Hash

Array = np.ndarray[Any, Any]


def save(folder: Path, graph: onnx.GraphProto, *, domains: Sequence[str] = ()) -> Folder:
    """Write a graph as `model.onnx` in a new folder."""
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    folder.mkdir(parents=True)
    return write(folder, proto.SerializeToString())


def write(folder: Path, content: bytes, name: str = "model.onnx") -> Folder:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return Folder(folder, name, Hash(blake3(content).hexdigest()))


def linear(folder: Path, weight: Array, *, batch: int | str = "n", dtype: int = TensorProto.FLOAT) -> Folder:
    """`scores = x @ weight`: x [n, features] -> scores [n, classes]."""
    rows, columns = weight.shape
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["scores"], name="matmul")],
        "linear",
        [helper.make_tensor_value_info("x", dtype, [batch, rows])],
        [helper.make_tensor_value_info("scores", dtype, [batch, columns])],
        [numpy_helper.from_array(weight.astype(kind), "weight")],
    )
    return save(folder, graph)


def data(path: Path, **arrays: Any) -> DataFile:
    """Write a .npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return DataFile(path, Hash(blake3(path.read_bytes()).hexdigest()))


def one_hot(labels: Sequence[int] | Array, classes: int) -> Array:
    rows: Array = np.eye(classes, dtype="float32")[np.asarray(labels)]
    return rows


def flipping(folder: Path, wrong: Sequence[int], rows: int, classes: int = 2) -> Folder:
    """A model over one-hot row numbers [rows, rows], right but for those in `wrong`; labels are row % classes."""
    labels = np.arange(rows) % classes
    labels[list(wrong)] = (labels[list(wrong)] + 1) % classes
    return linear(folder, one_hot(labels, classes) * 4)


def rows_data(path: Path, rows: int, classes: int = 2, **more: Any) -> DataFile:
    """The data that `flipping` is about."""
    return data(path, x=np.eye(rows, dtype="float32"), labels=np.arange(rows) % classes, **more)


def request(top: Path, candidate: Folder, *rules: GateRule, **more: Any) -> JudgeRequest:
    budget = more.pop("budget", Budget())
    settings = ModelSettings("tiny", "", ("*",), candidate.main, gates=rules, budget=budget)
    return JudgeRequest(settings, candidate, top, **more)


def run(asked: JudgeRequest, cache: Path | None = None) -> ModelOutcome:
    return judge(asked, cache=FolderCache(cache or asked.top / "cache"), progress=Silent())


def only(outcome: ModelOutcome, variant: str = "") -> Any:
    """The outcome of the only gate."""
    (gate,) = (gate for gate in outcome.gates if gate.variant == variant)
    return gate
