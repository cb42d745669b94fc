"""Models for tests of the gate: linear classifiers in ONNX, their examples, and repositories that judge them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from git_lepton.drivers import install
from git_lepton.drivers.gatecommit import unjudged
from git_lepton.record.record import parse
from git_lepton.record.values import Record
from git_lepton.store.store import Store
from tests.drivers.conftest import Work

CLASSES, PIXELS = 4, 256
ATTRIBUTES = b"*.onnx filter=lepton diff=lepton -text\n*.npz filter=lepton -text\n"
RECORD = ".lepton/records/m.toml"

SIZE_ONLY = b"""
[model.m]
root = "models/m"
files = ["*.onnx", "labels.json"]
main = "m.onnx"
[model.m.budget]
size_bytes = { original = 8000 }
"""
"""Rules that need no evaluation, so that hooks are tried without starting a runtime."""

ACCURACY = b"""
[model.m]
root = "models/m"
files = ["*.onnx", "labels.json"]
main = "m.onnx"

[[model.m.gate]]
name = "accuracy"
data = "eval/test.npz"
metric = "accuracy"
min = 0.5
max_drop = 0.02
"""


def onnx_bytes(seed: int = 0, *, noise: float = 0.0, padding: int = 0) -> bytes:
    """A linear classifier that is right on `examples`, up to `noise` on its weights; `padding` makes it larger."""
    from onnx import TensorProto, helper, numpy_helper

    kernel = _kernel() + np.random.default_rng(seed).normal(0, noise, (PIXELS, CLASSES)).astype(np.float32)
    weights = [
        numpy_helper.from_array(kernel.astype(np.float32), "weight"),
        numpy_helper.from_array(np.full(CLASSES, seed * 1e-6, np.float32), "bias"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["scores"])],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", PIXELS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        weights,
        doc_string="x" * padding,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return proto.SerializeToString(deterministic=True)


def examples(rows: int = 400, seed: int = 1) -> bytes:
    """Examples with labels, as .npz."""
    x = np.random.default_rng(seed).normal(size=(rows, PIXELS)).astype(np.float32)
    stream = BytesIO()
    np.savez(stream, x=x, labels=(x @ _kernel()).argmax(axis=1))
    return stream.getvalue()


def _kernel() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(7).normal(size=(PIXELS, CLASSES)).astype(np.float32)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where repositories are kept that many tests begin with, so that each is made once."""
    return tmp_path_factory.mktemp("templates")


def begin(templates: Path, work: Work, rules: bytes = SIZE_ONLY, *, model: bytes | None = None) -> Work:
    """The same as `start`, with a commit of `model` on top, from a copy where there is one."""
    kept = templates / hashlib.sha256(rules + (model or b"")).hexdigest()
    if kept.exists():
        shutil.rmtree(work.folder)
        shutil.copytree(kept, work.folder, symlinks=True)
        return work
    start(work, rules)
    if model is not None:
        work.write("models/m/m.onnx", model)
        work.git("commit", "-qam", "good")
    shutil.copytree(work.folder, kept, symlinks=True)
    return work


def start(work: Work, rules: bytes = SIZE_ONLY) -> Work:
    """A repository with hooks, a model that is judged, and one commit of it."""
    install.init(work.repo)
    files = {"models/m/m.onnx": onnx_bytes(), "models/m/labels.json": b"[]\n", "code.py": b"\n", "lepton.toml": rules}
    if b"[[model.m.gate]]" in rules:
        files["eval/test.npz"] = examples()
    work.commit("one", {".gitattributes": ATTRIBUTES, **files})
    return work


@dataclass(frozen=True)
class Seen:
    """What a repository shows after a commit: the record of HEAD, and whether index and work tree agree with it."""

    record: Record
    clean: bool
    in_index: bool
    in_tree: bool


def seen(work: Work) -> Seen:
    text = work.blob(RECORD, "HEAD")
    path = work.folder / RECORD
    return Seen(
        parse(text),
        work.git("status", "--porcelain", "--untracked-files=no") == "",
        work.blob(RECORD) == text,
        path.exists() and path.read_bytes() == text,
    )


def holds(work: Work) -> bool:
    """Whether the record of HEAD is that of its files."""
    with Store(work.repo) as store:
        return not unjudged(work.repo, store)
