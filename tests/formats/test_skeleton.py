"""Skeletons of ONNX models: what is left out, and that runtimes find it again; damage is told or harmless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from git_lepton.errors import FormatError
from git_lepton.formats.skeleton import MIN_CUT, cut


def model(*tensors: Any, **options: Any) -> bytes:
    graph = helper.make_graph([], "g", [], [], list(tensors), doc_string="text")
    encoded: bytes = helper.make_model(graph, ir_version=9, **options).SerializeToString()
    return encoded


def tensor(name: str, size: int, dtype: Any = np.float32) -> Any:
    return numpy_helper.from_array((np.arange(size) % 100).astype(dtype), name)


def test_only_large_float_and_byte_initializers_are_cut() -> None:
    kept = [tensor("small", MIN_CUT // 4 - 1), tensor("shape", MIN_CUT, np.int64)]
    listed = helper.make_tensor("listed", TensorProto.FLOAT, [MIN_CUT], np.zeros(MIN_CUT, np.float32))
    wrong = tensor("wrong", MIN_CUT)
    wrong.dims[0] += 1
    large = [tensor(dtype, MIN_CUT, dtype) for dtype in ("f4", "f2", "f8", "i1", "u1")]
    data = model(*kept, listed, wrong, *large, producer_name="p")
    made = cut(memoryview(data))
    assert [data[offset : offset + 8] for offset in made.payloads] == [t.raw_data[:8] for t in large]
    left = onnx.ModelProto.FromString(made.encoded)
    assert [t.name for t in left.graph.initializer if not t.external_data] == ["small", "shape", "listed", "wrong"]
    for proto, offset in zip(left.graph.initializer[4:], made.payloads, strict=True):
        assert not proto.HasField("raw_data")
        assert proto.data_location == TensorProto.DEFAULT
        assert [(entry.key, entry.value) for entry in proto.external_data] == [("lepton-offset", str(offset))]
    assert (left.producer_name, left.graph.doc_string) == ("p", "text")


def test_a_model_without_large_weights_is_its_own_skeleton() -> None:
    data = model(tensor("w", 100))
    assert cut(memoryview(data)).encoded == data


def test_references_lead_back_into_the_file(tmp_path: Path) -> None:
    data = model(tensor("small", 3), tensor("w", MIN_CUT), tensor("v", MIN_CUT, np.float16))
    (tmp_path / "m.onnx").write_bytes(data)
    (tmp_path / "skeleton.onnx").write_bytes(cut(memoryview(data), "m.onnx").encoded)
    found = onnx.load(str(tmp_path / "skeleton.onnx"))
    for proto in found.graph.initializer:
        proto.ClearField("data_location")
    assert found == onnx.ModelProto.FromString(data)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damage_is_told_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(model(tensor("w", MIN_CUT // 4)))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))
    damaged = memoryview(bytes(whole[: data.draw(st.sampled_from([len(whole), 40, 1000]))]))
    try:
        made = cut(damaged)
    except FormatError:
        return
    assert len(made.encoded) <= len(whole) + 100
    assert all(offset + size <= len(damaged) for offset, size in made.payloads.items())


def test_a_message_that_ends_early_is_refused() -> None:
    with pytest.raises(FormatError, match="ends after the message"):
        cut(memoryview(b"\x3a\x05a"))
