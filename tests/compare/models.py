"""Small models of every format that has facts, and the sides of a comparison made of them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from git_lepton.compare.sides import Side, of_path
from git_lepton.compare.structure import compare
from git_lepton.compare.values import Comparison
from tests.support import as_dtype, safetensors_bytes

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def side(folder: Path, files: Mapping[str, bytes]) -> Side:
    """A folder with these files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    folder.mkdir(parents=True, exist_ok=True)
    return of_path(folder)


def compared(tmp_path: Path, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Comparison:
    """The comparison of two folders."""
    return compare(side(tmp_path / "before", before), side(tmp_path / "after", after))


def tensor(seed: int, *shape: int, dtype: str = "F32") -> tuple[str, tuple[int, ...], bytes]:
    """Gaussian values; those of one seed agree but for rounding."""
    values = np.random.default_rng(seed).standard_normal(int(np.prod(shape)), dtype=np.float32)
    return dtype, shape, as_dtype(values, dtype)


def transformer(layers: int = 6, dtype: str = "F32", vocabulary: int = 50, **seeds: int) -> Tensors:
    """Tensors of a small encoder; `layer_4=7` gives the weights of that layer another seed, `head=7` the pooler's."""
    made = {
        "embeddings.word_embeddings.weight": tensor(1, vocabulary, 8, dtype=dtype),
        "embeddings.position_embeddings.weight": tensor(2, 16, 8, dtype=dtype),
    }
    for layer in range(layers):
        seed = seeds.get(f"layer_{layer}", 100) * 100 + layer
        for number, part in enumerate(("attention.query", "attention.key", "output.dense")):
            made[f"encoder.layer.{layer}.{part}.weight"] = tensor(seed * 10 + number, 8, 8, dtype=dtype)
            made[f"encoder.layer.{layer}.{part}.bias"] = tensor(seed * 10 + number + 5, 8, dtype=dtype)
    made["pooler.dense.weight"] = tensor(seeds.get("head", 3), 8, 8, dtype=dtype)
    made["pooler.dense.bias"] = tensor(seeds.get("head", 3) + 1, 8, dtype=dtype)
    return made


def saved(tensors: Tensors, **metadata: str) -> bytes:
    """A safetensors file."""
    return safetensors_bytes(tensors, metadata or {"format": "pt"})


def onnx_model(
    *,
    seed: int = 0,
    relus: int = 1,
    opset: int = 17,
    alpha: float = 0.1,
    names: str = "w",
    batch: str = "batch",
    scalar: float = 2.0,
    swapped: bool = False,
    branch: str = "Add",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A graph with two weights, a small constant, an If with a branch, and `relus` activations."""
    values = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(values.standard_normal((8, 8), dtype=np.float32), f"{names}.{n}.weight")
        for n in range(2)
    ]
    small = numpy_helper.from_array(np.array([scalar], np.float32), "scale")
    order = (weights[1].name, weights[0].name) if swapped else (weights[0].name, weights[1].name)
    nodes = [
        helper.make_node("MatMul", ["x", order[0]], ["h0"], name="mm0"),
        helper.make_node("LeakyRelu", ["h0"], ["h1"], name="leaky", alpha=alpha),
        helper.make_node("MatMul", ["h1", order[1]], ["r0"], name="mm1"),
    ]
    nodes += [helper.make_node("Relu", [f"r{n}"], [f"r{n + 1}"], name=f"relu{n}") for n in range(relus)]
    then = helper.make_graph(
        [helper.make_node(branch, [f"r{relus}", "scale"], ["t"], name="inner")],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", [f"r{relus}"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)],
    )
    nodes.append(helper.make_node("If", ["flag"], ["y"], name="choice", then_branch=then, else_branch=other))
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8])],
        [*weights, small],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="test", ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def gguf_file(keys: Sequence[tuple[str, int, bytes]], tensors: Sequence[tuple[str, int, int, bytes]]) -> bytes:
    """A GGUF file of keys (name, type, value) and one-dimensional tensors (name, ggml type, elements, bytes)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, value in keys:
        head += text(name) + struct.pack("<I", kind) + value
    body = b""
    for name, kind, elements, data in tensors:
        body += b"\0" * (-len(body) % 32)
        head += text(name) + struct.pack("<IQIQ", 1, elements, kind, len(body))
        body += data
    return head + b"\0" * (-len(head) % 32) + body


def archive(members: Mapping[str, bytes]) -> bytes:
    """A PyTorch archive of stored members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return out.getvalue()
