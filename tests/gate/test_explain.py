"""Which node to leave alone: a network in which the noise of one layer is to blame."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from git_lepton.config.values import GateRule, VariantRule
from git_lepton.gate.cache import FolderCache
from git_lepton.gate.explain import Explanation, explain
from git_lepton.gate.values import Folder, JudgeRequest, Skipped
from git_lepton.progress import Silent
from tests.gate.models import data, request, save, write

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(3)
WEIGHTS = [RANDOM.normal(size=shape).astype("float32") for shape in ((8, 16), (16, 16), (16, 4))]
NOISE = (0.01, 1.5, 0.02)


def network(folder: Path, weights: list[Array]) -> Folder:
    nodes, value = [], "x"
    for number, _ in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [value, f"w{number}"], [f"m{number}"], name=f"layer[{number}]"))
        nodes.append(helper.make_node("Tanh", [f"m{number}"], [f"t{number}"]))
        value = f"t{number}"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights)],
    )
    return save(folder, graph)


class Builder:
    """Builds the noisy variant, leaving alone what it is told to."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, exclude: tuple[str, ...]) -> Folder | Skipped:
        random = np.random.default_rng(0)
        weights = []
        for number, (weight, noise) in enumerate(zip(WEIGHTS, NOISE, strict=True)):
            added = (noise * random.normal(size=weight.shape)).astype("float32")
            kept = any(fnmatch.fnmatchcase(f"layer[{number}]", pattern) for pattern in exclude)
            weights.append(weight if kept else weight + added)
        self.asked.append(exclude)
        return network(self.top / f"variant{len(self.asked)}", weights)


@pytest.fixture
def asked(tmp_path: Path) -> JudgeRequest:
    original = network(tmp_path / "original", WEIGHTS)
    found = data(tmp_path / "d.npz", x=RANDOM.normal(size=(300, 8)).astype("float32"))
    rule = GateRule("g", data="d.npz", metric="agreement", variants={"noisy": VariantRule(min_agreement=0.95)})
    return request(tmp_path, original, rule, data={"g": found})


def find(asked: JudgeRequest, builder: Any, **more: Any) -> Explanation:
    return explain(asked, "noisy", builder, cache=FolderCache(asked.top / "cache"), progress=Silent(), **more)


def test_the_noisy_layer_is_found_and_leaving_it_alone_passes(tmp_path: Path, asked: JudgeRequest) -> None:
    builder = Builder(tmp_path)
    failing = replace(asked, variants={"noisy": builder(())})
    found = find(failing, builder)
    assert found.suspects[0].name == "layer[[]1]"
    assert (found.suggestion, found.passes) == (("layer[[]1]",), True)
    assert builder.asked == [(), ("layer[[]1]",)]
    assert [trial.passes for trial in found.trials] == [True]


def test_comparisons_have_no_noise(tmp_path: Path, asked: JudgeRequest) -> None:
    """A node of positions that a constant table is compared with is no suspect, though its answers differ."""

    def odd(folder: Path, weight: Array) -> Folder:
        graph = helper.make_graph(
            [
                helper.make_node("Less", ["x", "table"], ["low"], name="less"),
                helper.make_node("Cast", ["low"], ["number"], to=TensorProto.FLOAT),
                helper.make_node("MatMul", ["number", "w"], ["y"], name="product"),
            ],
            "odd",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight.T[:1] * 0, "table")],
        )
        return save(folder, graph)

    first, second = RANDOM.normal(size=(8, 4)).astype("float32"), RANDOM.normal(size=(8, 4)).astype("float32")
    variant = odd(tmp_path / "other", second)
    graph = onnx.load(variant.path / "model.onnx")
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(second.T[:1], "table"))
    failing = replace(asked, candidate=odd(tmp_path / "odd", first))
    failing = replace(failing, variants={"noisy": write(variant.path, graph.SerializeToString())})
    found = find(failing, lambda exclude: Skipped("not built"))
    assert [suspect.name for suspect in found.suspects] == ["product"]


def test_the_module_around_a_node_is_tried_too(tmp_path: Path, asked: JudgeRequest) -> None:
    """The quantizer keeps the loss inside a module, at a node without weights that no suspect names."""
    paths = {f"layer[{number}]": name for number, name in enumerate(["net/norm/scale", "net/dense", "net/head/out"])}
    builder, tried = Builder(tmp_path), []

    def renamed(folder: Folder | Skipped) -> Folder:
        assert isinstance(folder, Folder)
        proto = onnx.load(folder.path / "model.onnx")
        for node in proto.graph.node:
            node.name = paths.get(node.name, node.name)
        return write(folder.path, proto.SerializeToString())

    def build(exclude: tuple[str, ...]) -> Folder | Skipped:
        tried.append(exclude)
        return renamed(builder(("layer[[]1]",) if any(e.startswith("net/norm/*") for e in exclude) else ()))

    failing = replace(asked, candidate=renamed(asked.candidate), variants={"noisy": renamed(builder(()))})
    found = find(failing, build)
    assert found.passes
    assert found.suggestion == ("net/norm/*",), tried


def test_time_runs_out(tmp_path: Path, asked: JudgeRequest) -> None:
    builder = Builder(tmp_path)
    found = find(replace(asked, variants={"noisy": builder(())}), builder, seconds=-1.0)
    assert (found.trials, found.suggestion, found.passes) == ((), (), False)
    assert "stopped" in found.note


def test_what_cannot_be_built_is_told(tmp_path: Path, asked: JudgeRequest) -> None:
    failing = replace(asked, variants={"noisy": Builder(tmp_path)(())})
    found = find(failing, lambda exclude: Skipped("the quantizer broke"))
    assert {trial.skipped for trial in found.trials} == {"the quantizer broke"}
    assert (found.suggestion, found.passes) == ((), False)


def test_without_a_graph_the_errors_of_tensors_are_the_guess(tmp_path: Path) -> None:
    original, variant, better = (write(tmp_path / name, name.encode(), "m.safetensors") for name in ("a", "b", "c"))
    text = """test "$(cat {main})" = b && echo '{"value": 0.5}' || echo '{"value": 0.9}'"""
    rule = GateRule("g", command=text, variants={"noisy": VariantRule(min=0.8)})
    asked = request(tmp_path, original, rule, variants={"noisy": variant})
    found = find(asked, lambda exclude: better, errors={"fine": 0.0, "small": 0.1, "large": 0.7})
    assert [suspect.name for suspect in found.suspects] == ["large", "small"]
    assert (found.suggestion, found.passes) == (("large",), True)
    assert find(asked, lambda exclude: better).note == "no gate has examples here to run the graph on"


def test_graphs_with_nothing_in_common(tmp_path: Path, asked: JudgeRequest) -> None:
    other = network(tmp_path / "other", [RANDOM.normal(size=(8, 4)).astype("float32")])
    proto = onnx.load(other.path / "model.onnx")
    for node in proto.graph.node:
        node.input[:] = [name if name in "xw0" else f"_{name}" for name in node.input]
        node.output[:] = [f"_{name}" for name in node.output]
    proto.graph.output[0].name = "_t0"
    renamed = write(other.path, proto.SerializeToString())
    assert "no node in common" in find(replace(asked, variants={"noisy": renamed}), Builder(tmp_path)).note
