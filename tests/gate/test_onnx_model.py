"""Models that are not the textbook's: several inputs, fixed sizes, states, strings, trees, unknown operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from git_lepton.config.values import GateRule
from git_lepton.errors import FormatError, LeptonError, UsageError
from git_lepton.gate import onnx_model
from git_lepton.gate.data import load
from git_lepton.gate.evaluators import Outputs, onnx_outputs
from git_lepton.gate.values import Folder
from tests.gate.models import data, linear, save

info = helper.make_tensor_value_info
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(3, 4)).astype("float32")
X = RANDOM.normal(size=(50, 3)).astype("float32")


def answers(folder: Folder, tmp_path: Path, rule: GateRule | None = None, **arrays: Any) -> Outputs:
    found = load(data(tmp_path / "d.npz", **arrays).path, rule or GateRule("g"))
    path = onnx_model.find(folder.path, folder.main)
    assert path is not None
    return onnx_outputs(rule or GateRule("g"), onnx_model.Model(path), found)


@pytest.mark.parametrize("batch", ["n", 1, 7, 64])
@pytest.mark.parametrize("asked", [None, 1, 13])
def test_batches_of_any_size_give_the_same(tmp_path: Path, batch: int | str, asked: int | None) -> None:
    found = answers(linear(tmp_path / "m", WEIGHT, batch=batch), tmp_path, GateRule("g", batch=asked), x=X)
    assert found.raw is not None
    assert np.allclose(found.raw, X @ WEIGHT, atol=1e-5)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_numbers_are_converted_within_their_kind(tmp_path: Path, dtype: int) -> None:
    found = answers(linear(tmp_path / "m", WEIGHT, dtype=dtype), tmp_path, x=X.astype("float64"))
    assert found.raw is not None
    assert np.allclose(found.raw, X @ WEIGHT, atol=1e-2)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.ones((50, 5), "float32")},
        {"x": np.ones((50, 3), "int64")},
        {"x": np.ones((49, 3), "float32")},
        {"x": np.ones((50, 3, 1), "float32")},
        {"a": X, "b": X},
    ],
)
def test_a_misfit_shows_both_signatures(tmp_path: Path, arrays: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        answers(linear(tmp_path / "m", WEIGHT), tmp_path, labels=np.zeros(50, int), **arrays)
    assert "x float32[n, 3]" in caught.value.message
    assert "labels int64[50]" in caught.value.message
    assert "inputs" in (caught.value.hint or "")


def test_a_lone_array_needs_no_name_and_others_are_mapped(tmp_path: Path) -> None:
    model = linear(tmp_path / "m", WEIGHT)
    lone = answers(model, tmp_path, features=X, labels=np.zeros(50, int)).raw
    mapped = answers(model, tmp_path, GateRule("g", inputs={"x": "b"}), a=X[::-1], b=X).raw
    assert lone is not None
    assert mapped is not None
    assert np.array_equal(lone, mapped)
    with pytest.raises(UsageError, match="no input 'z'"):
        answers(model, tmp_path, GateRule("g", inputs={"z": "b"}), b=X)


def test_a_state_and_a_rate_go_with_every_call(tmp_path: Path) -> None:
    """As of a voice detector: a state whose batch is its second dimension, and a scalar."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["state"], ["total"], keepdims=0),
            helper.make_node("Mul", ["x", "rate"], ["scaled"]),
            helper.make_node("Add", ["scaled", "total"], ["y"]),
        ],
        "voice",
        [
            info("x", TensorProto.FLOAT, [None, None]),
            info("state", TensorProto.FLOAT, [2, None, 3]),
            info("rate", TensorProto.FLOAT, []),
        ],
        [info("y", TensorProto.FLOAT, [None, None])],
    )
    model = save(tmp_path / "m", graph)
    for rate in (np.float32(2), np.array([2], "float32")):
        found = answers(model, tmp_path, x=X, state=np.ones((2, 1, 3), "float32"), rate=rate)
        assert found.raw is not None
        assert np.allclose(found.raw, X * 2 + 6)


def test_a_state_for_one_example_means_one_example_a_call(tmp_path: Path) -> None:
    """As of an LSTM: the state's second dimension must be the rows of x. The innermost of nested errors is told."""
    inner = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["x", "first"], ["alone"]),
            helper.make_node("Concat", ["alone", "state"], ["both"], axis=0, name="joined"),
            helper.make_node("ReduceSum", ["both", "first"], ["inside"], keepdims=0),
        ],
        "branch",
        [],
        [info("inside", TensorProto.FLOAT, [None, None])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner, name="outer")],
        "state",
        [
            info("x", TensorProto.FLOAT, [None, 3]),
            info("state", TensorProto.FLOAT, [2, None, 3]),
            info("yes", TensorProto.BOOL, []),
        ],
        [info("y", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(np.array([0]), "first")],
    )
    model = save(tmp_path / "m", graph)
    state: dict[str, Any] = {"state": np.ones((2, 1, 3), "float32"), "yes": np.array(True)}
    found = answers(model, tmp_path, x=X, **state)
    assert found.raw is not None
    assert np.allclose(found.raw, X + 2)
    with pytest.raises(UsageError) as caught:
        answers(model, tmp_path, GateRule("g", batch=7), x=X, **state)
    assert "node 'joined': " in caught.value.message
    assert "'outer'" not in caught.value.message
    assert "batch = 1" in (caught.value.hint or "")


def test_a_model_of_one_example_is_called_for_each(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        "one",
        [info("x", TensorProto.FLOAT, [3])],
        [info("y", TensorProto.FLOAT, [])],
    )
    found = answers(save(tmp_path / "m", graph), tmp_path, x=X)
    assert found.raw is not None
    assert np.allclose(found.raw, X.sum(axis=1), atol=1e-6)


def test_several_outputs_and_one_that_is_not_there(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0)],
        "two",
        [info("x", TensorProto.FLOAT, ["n", 3])],
        [info("minus", TensorProto.FLOAT, ["n", 3]), info("sum", TensorProto.FLOAT, [])],
    )
    model = save(tmp_path / "m", graph)
    found = answers(model, tmp_path, x=X)
    assert found.raw is not None
    assert np.array_equal(found.raw, -X)
    with pytest.raises(UsageError, match="shape"):
        answers(model, tmp_path, GateRule("g", output="sum"), x=X)
    with pytest.raises(UsageError, match="no output 'other'") as caught:
        answers(model, tmp_path, GateRule("g", output="other"), x=X)
    assert "minus, sum" in (caught.value.hint or "")


def test_strings_in_and_out(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "texts",
        [info("x", TensorProto.STRING, ["n"])],
        [info("y", TensorProto.STRING, ["n"])],
    )
    found = answers(save(tmp_path / "m", graph), tmp_path, x=np.array(["a", "über"] * 20))
    assert found.raw is not None
    assert found.raw.tolist() == ["a", "über"] * 20


def test_maps_of_scores_become_a_table_with_names(tmp_path: Path) -> None:
    """As converted trees give them: a sequence of {class: score}."""
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["no", "so", "yes"])],
        "tree",
        [info("x", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_value_info(
                "y",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
                ),
            )
        ],
    )
    found = answers(save(tmp_path / "m", graph, domains=["ai.onnx.ml"]), tmp_path, x=X)
    assert found.raw is not None
    assert found.classes == ("no", "so", "yes")
    assert np.allclose(found.raw, X)


def test_external_data_is_found_beside_the_graph(tmp_path: Path) -> None:
    plain = linear(tmp_path / "plain", WEIGHT)
    proto = onnx.load(plain.path / plain.main)
    (tmp_path / "m").mkdir()
    onnx.save_model(
        proto, tmp_path / "m/model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    folder = Folder(tmp_path / "m", "model.onnx", plain.bundle)
    found = answers(folder, tmp_path, x=X)
    assert found.raw is not None
    assert np.allclose(found.raw, X @ WEIGHT, atol=1e-5)
    (tmp_path / "m/weights.bin").unlink()
    with pytest.raises(FormatError, match=r"cannot load model\.onnx"):
        answers(folder, tmp_path, x=X)


def test_an_operator_of_a_library_is_named(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Whirl", ["x"], ["y"], domain="com.example")],
        "custom",
        [info("x", TensorProto.FLOAT, ["n", 3])],
        [info("y", TensorProto.FLOAT, ["n", 3])],
    )
    with pytest.raises(UsageError, match="Whirl") as caught:
        answers(save(tmp_path / "m", graph, domains=["com.example"]), tmp_path, x=X)
    assert "command" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [b"", b"junk", bytes(range(256)) * 9])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(LeptonError):
        onnx_model.Model(tmp_path / "m.onnx")


def test_a_model_that_fails_while_it_runs(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "gather",
        [info("x", TensorProto.INT64, ["n"])],
        [info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.ones(3, "float32"), "table")],
    )
    with pytest.raises(UsageError, match=r"cannot run model\.onnx"):
        answers(save(tmp_path / "m", graph), tmp_path, x=np.array([0, 1, 77]))


def test_the_main_file(tmp_path: Path) -> None:
    linear(tmp_path / "m", WEIGHT)
    assert onnx_model.find(tmp_path / "m", ".") == tmp_path / "m/model.onnx"
    assert onnx_model.find(tmp_path / "m", "model.safetensors") is None
    (tmp_path / "m/more.onnx").write_bytes(b"")
    assert onnx_model.find(tmp_path / "m", ".") is None


def test_a_large_model_is_mapped_and_answers_the_same(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gather", ["words", "x"], ["found"]), helper.make_node("MatMul", ["found", "w"], ["y"])],
        "words",
        [info("x", TensorProto.INT64, ["n"])],
        [info("y", TensorProto.FLOAT, ["n", 300])],
        [
            numpy_helper.from_array(RANDOM.normal(size=shape).astype("float32"), name)
            for name, shape in (("words", (10_000, 250)), ("w", (250, 300)))
        ],
    )
    path = save(tmp_path / "m", graph).path / "model.onnx"
    x = RANDOM.integers(0, 10_000, 40)
    whole, frugal = onnx_model.Model(path), onnx_model.Model(path, frugal=True)
    assert np.array_equal(whole.call({"x": x}, "y"), frugal.call({"x": x}, "y"))
    assert [entry.name for entry in path.parent.iterdir()] == ["model.onnx"]
    if (maps := Path("/proc/self/maps")).exists():
        assert str(path) in maps.read_text()


def test_a_large_model_that_is_broken_says_what_any_other_says(tmp_path: Path) -> None:
    folder = linear(tmp_path / "m", np.zeros((1500, 1500), "float32"))
    path = folder.path / folder.main
    model = onnx.load(str(path))
    model.graph.node[0].op_type = "Unheard"
    for content in (path.read_bytes()[:-5], model.SerializeToString()):
        path.write_bytes(content)
        told = []
        for frugal in (False, True):
            with pytest.raises(LeptonError) as caught:
                onnx_model.Model(path, frugal=frugal)
            told.append(str(caught.value))
        assert told[0] == told[1]
