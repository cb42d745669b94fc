"""Models without their large weights: every number is found where it lies, and tools make the same bytes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from git_lepton.variants import quantizers
from git_lepton.variants.hollow import Hollow
from git_lepton.variants.values import Unsuitable
from tests.variants.kit import random


def encoder(path: Path) -> Path:
    """An embedding, a sum that keeps its large weight, a product, and a Gemm whose weight is transposed."""
    initializers = [
        numpy_helper.from_array(random(1, 300, 96), "words"),
        numpy_helper.from_array(random(2, 200, 96), "positions"),
        numpy_helper.from_array(random(3, 96, 256), "wide"),
        numpy_helper.from_array(random(4, 128, 256), "turned"),
        numpy_helper.from_array(random(5, 128), "bias"),
        numpy_helper.from_array(random(6, 128, 400).astype(np.float16), "half"),
        numpy_helper.from_array(np.array([-1, 256]), "flat"),
        helper.make_tensor("listed", TensorProto.FLOAT, [400, 64], random(7, 400, 64).ravel().tolist()),
    ]
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["embedded"], name="gather"),
        helper.make_node("Add", ["embedded", "positions"], ["placed"], name="add"),
        helper.make_node("MatMul", ["placed", "wide"], ["product"], name="product"),
        helper.make_node("Reshape", ["product", "flat"], ["rows"], name="reshape"),
        helper.make_node("Gemm", ["rows", "turned", "bias"], ["dense"], name="gemm", transB=1),
        helper.make_node("Cast", ["half"], ["cast"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["dense", "cast"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "listed"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 200])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
        doc_string="text",
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def weights(model: Any) -> dict[str, Any]:
    return {proto.name: proto for proto in model.graph.initializer}


def test_large_weights_are_left_out_and_found_where_they_lie(tmp_path: Path) -> None:
    path = encoder(tmp_path / "m.onnx")
    hollow = Hollow(path)
    model, whole = hollow.model(), onnx.load(str(path))
    left_out = [proto.name for proto in model.graph.initializer if hollow.is_hollow(proto)]
    assert left_out == ["words", "positions", "wide", "turned", "half"]
    assert len(hollow.encoded) < path.stat().st_size / 3
    for name, proto in weights(whole).items():
        array, expected = hollow.array(weights(model)[name]), numpy_helper.to_array(proto)
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    hollow.fill(model)
    for proto in model.graph.initializer:
        proto.ClearField("data_location")
    assert model == whole


def test_int8_of_a_skeleton_has_the_bytes_that_the_tool_makes_of_the_whole(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    source = encoder(tmp_path / "m.onnx")
    for excluded in ([], ["product", "gemm_MatMul"]):
        quantizers.hollow_int8(source, tmp_path / "ours.onnx", excluded)
        quantize_dynamic(source, tmp_path / "theirs.onnx", nodes_to_exclude=excluded)
        assert (tmp_path / "ours.onnx").read_bytes() == (tmp_path / "theirs.onnx").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "ours.onnx", "theirs.onnx"}


def test_a_weight_may_be_transposed_without_being_read(tmp_path: Path) -> None:
    hollow = Hollow(encoder(tmp_path / "m.onnx"))
    found = weights(hollow.model())
    for name in ("turned", "half"):
        values = hollow.array(found[name])
        proto = hollow.transposed(values.T)
        assert proto is not None
        assert not proto.HasField("raw_data")
        assert np.array_equal(hollow.array(proto), values.T)
    for other in (values, values[1:].T, values.T.copy(), values.T[:, :5], np.float32(1)):
        assert hollow.transposed(other) is None


def test_a_weight_that_a_tool_lost_is_noticed(tmp_path: Path) -> None:
    hollow = Hollow(encoder(tmp_path / "m.onnx"))
    model = hollow.model()
    del weights(model)["wide"].external_data[:]
    with pytest.raises(ValueError, match="wide lost its numbers"):
        hollow.fill(model)


def test_a_tensor_that_pretends_to_be_hollow_is_read_as_it_is(tmp_path: Path) -> None:
    model = onnx.load(str(encoder(tmp_path / "m.onnx")))
    marked = weights(Hollow(tmp_path / "m.onnx").model())["wide"]
    weights(model)["wide"].CopyFrom(marked)
    weights(model)["words"].raw_data += b"more"
    onnx.save(model, str(tmp_path / "pretends.onnx"))
    hollow = Hollow(tmp_path / "pretends.onnx")
    found = weights(hollow.model())
    assert not hollow.is_hollow(found["wide"])
    assert not hollow.is_hollow(found["words"])


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"\x3a\x05a", "ends after the message")])
def test_what_is_no_model_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(Unsuitable, match=reason):
        Hollow(tmp_path / "m.onnx")
