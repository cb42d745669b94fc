"""A 90 MB encoder as ONNX: MiniLM's six layers and weights, written as exporters do, with ten classes on top."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import weights

TOKENS: Final = 128
_HIDDEN: Final = 384
_HEADS: Final = 12
_LAYERS: Final = 6
_CLASSES: Final = 10
_OPSET: Final = 17
_IR_VERSION: Final = 8

Array = NDArray[Any]


def write(source: Path, target: Path, *, noise: float = 0.0, seed: int = 0) -> None:
    """Write the encoder: token ids and mask [n, 128] in, scores [n, 10] out.

    Args:
        source: MiniLM's safetensors file.
        target: the ONNX file.
        noise: standard deviation of a change of every weight, in parts of the weight: another epoch of training.
        seed: of the noise.
    """
    from onnx import TensorProto, helper

    graph = _Graph(_tensors(source), noise, np.random.default_rng(seed))
    scores = _encoder(graph)
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [info(name, TensorProto.INT64, ["n", TOKENS]) for name in ("input_ids", "attention_mask")],
        [info(scores, TensorProto.FLOAT, ["n", _CLASSES])],
        graph.initializers,
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    target.write_bytes(proto.SerializeToString(deterministic=True))


def examples(rows: int) -> dict[str, Array]:
    """Sentences of random word pieces, half of them shorter than the model takes."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(TOKENS // 2, 2 * TOKENS, rows).clip(max=TOKENS)
    mask = (np.arange(TOKENS) < lengths[:, None]).astype(np.int64)
    return {"input_ids": generator.integers(1000, 30_000, (rows, TOKENS)) * mask, "attention_mask": mask}


def answers(path: Path, given: dict[str, Array]) -> Array:
    """The class that the model finds for each example."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = len(given["input_ids"])
    parts = [session.run(None, {name: array[i : i + 8] for name, array in given.items()}) for i in range(0, rows, 8)]
    found: Array = np.concatenate([scores for (scores,) in parts]).argmax(axis=1)
    return found


@dataclass(slots=True)
class _Graph:
    """Nodes and weights as they are added; a node has the name of its output."""

    tensors: dict[str, Array]
    noise: float
    generator: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def weight(self, name: str, *, turned: bool = False) -> str:
        """A tensor of the source, changed by noise."""
        values = self.tensors[name].T if turned else self.tensors[name]
        drawn = self.generator.standard_normal(values.shape, dtype=np.float32)
        return self.constant(name, values * (1 + np.float32(self.noise) * drawn))

    def constant(self, name: str, values: Any) -> str:
        """Any other numbers."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node with one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def linear(self, value: str, name: str, output: str) -> str:
        """A product with a weight, and its bias."""
        product = self.node("MatMul", [value, self.weight(f"{name}.weight", turned=True)], f"{output}_product")
        return self.node("Add", [product, self.weight(f"{name}.bias")], output)

    def norm(self, value: str, name: str, output: str) -> str:
        """Layer normalisation."""
        scales = [self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", [value, *scales], output, axis=-1)


def _encoder(graph: _Graph) -> str:
    """All nodes, from the ids to the scores."""
    for name, values in (
        ("heads", [0, TOKENS, _HEADS, -1]),
        ("joined", [0, TOKENS, _HIDDEN]),
        ("scale", np.float32((_HIDDEN / _HEADS) ** -0.5)),
        ("root", np.float32(2**0.5)),
        ("one", np.float32(1)),
        ("half", np.float32(0.5)),
        ("never", np.float32(-1e4)),
        ("inner", np.array([1, 2])),
    ):
        graph.constant(name, np.asarray(values))
    table = graph.weight("embeddings.word_embeddings.weight")
    value = graph.node("Gather", [table, "input_ids"], "words")
    for kind, rows in (("position", TOKENS), ("token_type", 1)):
        name = f"embeddings.{kind}_embeddings.weight"
        graph.tensors[name] = graph.tensors[name][:rows]
        value = graph.node("Add", [value, graph.weight(name)], f"with_{kind}")
    value = graph.norm(value, "embeddings.LayerNorm", "embedded")
    kept = graph.node("Cast", ["attention_mask"], "kept", to=1)
    absent = graph.node("Mul", [graph.node("Sub", ["one", kept], "absent"), "never"], "minus")
    mask = graph.node("Unsqueeze", [absent, "inner"], "mask")
    for number in range(_LAYERS):
        value = _layer(graph, value, mask, number)
    pooled = graph.node("ReduceMean", [value], "pooled", axes=[1], keepdims=0)
    head = np.random.default_rng(0).standard_normal((_HIDDEN, _CLASSES), dtype=np.float32)
    return graph.node("MatMul", [pooled, graph.constant("head", head)], "scores")


def _layer(graph: _Graph, value: str, mask: str, number: int) -> str:
    """Attention and the two products behind it."""
    name, at = f"encoder.layer.{number}", f"layer{number}_"

    def heads(part: str, order: list[int]) -> str:
        made = graph.linear(value, f"{name}.attention.self.{part}", at + part)
        return graph.node(
            "Transpose", [graph.node("Reshape", [made, "heads"], f"{made}_apart")], f"{made}_t", perm=order
        )

    scores = graph.node("MatMul", [heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])], at + "scores")
    scaled = graph.node("Add", [graph.node("Mul", [scores, "scale"], at + "scaled"), mask], at + "masked")
    shares = graph.node("Softmax", [scaled], at + "shares", axis=-1)
    mixed = graph.node("MatMul", [shares, heads("value", [0, 2, 1, 3])], at + "mixed")
    turned = graph.node("Transpose", [mixed], at + "turned", perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", [turned, "joined"], at + "joined")
    attended = graph.linear(joined, f"{name}.attention.output.dense", at + "attended")
    value = graph.norm(
        graph.node("Add", [attended, value], at + "middle"), f"{name}.attention.output.LayerNorm", at + "normed"
    )
    wide = graph.linear(value, f"{name}.intermediate.dense", at + "wide")
    bent = graph.node("Erf", [graph.node("Div", [wide, "root"], at + "divided")], at + "bent")
    gated = graph.node("Mul", [wide, graph.node("Add", [bent, "one"], at + "raised")], at + "gated")
    back = graph.linear(graph.node("Mul", [gated, "half"], at + "gelu"), f"{name}.output.dense", at + "back")
    return graph.norm(graph.node("Add", [back, value], at + "both"), f"{name}.output.LayerNorm", at + "out")


def _tensors(path: Path) -> dict[str, Array]:
    """All float32 tensors, by name."""
    layout = weights.read_layout(path)
    data = np.memmap(path, np.uint8, "r", offset=layout.body)
    return {t.name: data[t.start : t.end].view("<f4").reshape(t.shape) for t in layout.tensors if t.dtype == "F32"}
