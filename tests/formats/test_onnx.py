from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from git_lepton.errors import FormatError
from git_lepton.formats.onnx import MAX_GRAPH_DEPTH, External, external_references, looks_like, parse
from git_lepton.values import DTYPES, Tensor
from tests.formats.samples import FLOATS, INTS, onnx_file, onnx_model


def tensors_of(model: onnx.ModelProto | bytes) -> tuple[bytes, dict[str, Tensor]]:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return data, {t.name: t for t in parse(memoryview(data)).tensors}


def test_initializers_and_constants_in_nested_branches() -> None:
    data, found = tensors_of(onnx_file())
    assert set(found) == {
        "raw",
        "floats",
        "ints",
        "z.then_branch/weight",
        "z.then_branch/y.then_branch/weight",
        "z.then_branch/y.else_branch/weight",
        "z.else_branch/weight",
    }
    for name, value in (("raw", FLOATS), ("floats", FLOATS), ("z.else_branch/weight", FLOATS + 4)):
        t = found[name]
        assert (t.dtype, t.shape) == ("F32", FLOATS.shape)
        assert data[t.start : t.stop] == value.tobytes()
    assert (found["ints"].dtype, found["ints"].shape) == ("I64_VARINT", INTS.shape)


def test_every_tensor_of_the_library_is_found() -> None:
    """The oracle: the library's own reading of every raw tensor of 64 bytes or more."""
    rng = np.random.default_rng(1)
    arrays = {f"t{n}": rng.integers(0, 100, size=n * 3 + 1).astype(np.float32) for n in range(40)}
    model = onnx_model([numpy_helper.from_array(a, n) for n, a in arrays.items()])
    data, found = tensors_of(model)
    assert {n: data[t.start : t.stop] for n, t in found.items()} == {
        n: a.tobytes() for n, a in arrays.items() if a.nbytes >= 64
    }


@pytest.mark.parametrize("kind", [k for k in TensorProto.DataType.values() if k not in (0, 8)])
def test_every_data_type(kind: int) -> None:
    """Of all widths, exactly that of the dtype is taken for 512 elements; the rest are bytes of unknown type."""
    taken = {}
    for bits in {d.bits for d in DTYPES.values()}:
        raw = TensorProto(data_type=kind, dims=[512], name="t", raw_data=bytes(64 * bits))
        t = tensors_of(onnx_model([raw]))[1]["t"]
        if t.dtype == "BYTES":
            assert t.shape == (64 * bits,)
        else:
            taken[t.dtype] = bits
    assert [DTYPES[dtype].bits for dtype in taken] == list(taken.values())
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("kind", "field", "value", "dtype"),
    [
        (TensorProto.DOUBLE, "double_data", 0.5, "F64"),
        (TensorProto.COMPLEX64, "float_data", 0.5, "C64"),
        (TensorProto.COMPLEX128, "double_data", 0.5, "C128"),
        (TensorProto.UINT64, "uint64_data", 7, "U64_VARINT"),
        (TensorProto.UINT32, "uint64_data", 7, "U32_VARINT"),
        (TensorProto.FLOAT16, "int32_data", 7, "F16_VARINT"),
        (TensorProto.BOOL, "int32_data", 1, "BOOL_VARINT"),
        (TensorProto.INT32, "float_data", 7.0, "I32_LIST"),
    ],
)
def test_typed_lists(kind: int, field: str, value: float, dtype: str) -> None:
    count = 200 if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 100
    proto = TensorProto(data_type=kind, dims=[100], name="t")
    getattr(proto, field).extend([value] * count)
    found = tensors_of(onnx_model([proto]))[1]
    assert found["t"].dtype == dtype
    assert found["t"].shape == (100,)


def test_small_tensors_strings_and_scattered_lists_stay_other() -> None:
    def tag(number: int, wire: int) -> bytes:
        return bytes([number << 3 | wire])

    def message(number: int, body: bytes) -> bytes:
        size = len(body)
        return tag(number, 2) + bytes([size & 0x7F | 0x80, size >> 7]) + body

    unpacked = message(5, tag(2, 0) + b"\1" + (tag(4, 5) + b"\0\0\x80\x3f") * 30)
    pieces = message(5, tag(2, 0) + b"\1" + message(4, bytes(80)) + message(4, bytes(80)))
    untyped = message(5, message(9, bytes(80)))
    strings = TensorProto(data_type=TensorProto.STRING, dims=[2], name="s", string_data=[b"x" * 99, b"y"])
    small = numpy_helper.from_array(np.zeros(15, np.float32), "small")
    graph = onnx_model([strings, small]).graph.SerializeToString() + unpacked + pieces + untyped
    assert onnx.load_from_string(b"\x08\x07" + message(7, graph)).graph.initializer[2].float_data[29] == 1.0
    assert tensors_of(b"\x08\x07" + message(7, graph))[1] == {}


def test_other_attributes_functions_sparse_and_training_tensors() -> None:
    value = numpy_helper.from_array(FLOATS, "v")
    node = helper.make_node("Custom", [], ["out"], name="n", one=value, many=[value, value])
    unnamed = helper.make_node("Custom", [], [], one=value)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(FLOATS.ravel(), "sparse"), numpy_helper.from_array(np.arange(96), "i"), [1000]
    )
    model = onnx_model([], [node, unnamed])
    model.graph.sparse_initializer.append(sparse)
    model.graph.node.append(helper.make_node("Constant", [], ["sc"], sparse_value=sparse))
    function = helper.make_function("d", "fun", [], ["y"], [helper.make_node("Constant", [], ["y"], value=value)], [])
    model.functions.append(function)
    training = model.training_info.add()
    training.algorithm.name = "a"
    training.algorithm.initializer.append(numpy_helper.from_array(FLOATS, "step"))
    assert set(tensors_of(model)[1]) == {
        "out.one",
        "out.many.0",
        "out.many.1",
        "Custom_1.one",
        "sparse",
        "sparse.indices",
        "sc",
        "sc.indices",
        "fun/y",
        "training_0.algorithm/step",
    }


def test_names_that_come_again() -> None:
    value = numpy_helper.from_array(FLOATS, "w")
    model = onnx_model([value, value], [helper.make_node("Constant", [], ["w"], value=value)])
    model.graph.initializer.append(numpy_helper.from_array(FLOATS, ""))
    assert sorted(tensors_of(model)[1]) == ["", "w", "w#2", "w#3"]


def test_external_tensors_have_no_bytes_here(tmp_path: Path) -> None:
    model = onnx_model([numpy_helper.from_array(FLOATS, "a"), numpy_helper.from_array(FLOATS * 2, "b")])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    data, found = tensors_of((tmp_path / "m.onnx").read_bytes())
    assert found == {}
    references = external_references(memoryview(data))
    assert [(r.name, r.dtype, r.shape, r.location) for r in references] == [
        (n, "F32", FLOATS.shape, "m.data") for n in "ab"
    ]
    content = (tmp_path / "m.data").read_bytes()
    for reference, value in zip(references, (FLOATS, FLOATS * 2), strict=True):
        assert reference.length == FLOATS.nbytes
        assert content[reference.offset : reference.offset + reference.length] == value.tobytes()


def external(**entries: str) -> bytes:
    proto = TensorProto(data_type=1, dims=[4], name="t", data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        proto.external_data.add(key=key, value=value)
    return bytes(onnx_model([proto]).SerializeToString())


def test_external_references_with_defaults_and_bad_numbers() -> None:
    assert external_references(memoryview(external(location="f"))) == (External("t", "F32", (4,), "f", 0, None),)
    assert external_references(memoryview(external(offset="1"))) == ()
    for bad in ("-1", "1e3", "٣", "9" * 30, ""):
        with pytest.raises(FormatError, match="not a number"):
            external_references(memoryview(external(location="f", offset=bad)))


def test_detection_by_content() -> None:
    data = onnx_file()
    assert looks_like(memoryview(data))
    assert not looks_like(memoryview(data[:-1]))
    assert not looks_like(memoryview(data + b"\xff"))
    assert not looks_like(memoryview(b"\x08\x07"))
    assert not looks_like(memoryview(numpy_helper.from_array(FLOATS).SerializeToString()))
    assert not looks_like(memoryview(b"\x08\x00" + data[2:]))


def test_graphs_that_nest_too_deeply_or_are_not_there() -> None:
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(MAX_GRAPH_DEPTH + 1):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    with pytest.raises(FormatError, match="nest deeper"):
        tensors_of(helper.make_model(graph))
    with pytest.raises(FormatError, match="no graph"):
        tensors_of(b"\x08\x07")
