"""Small real weight files, made by the libraries that own the formats (and PyTorch archives by hand)."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

FLOATS = np.arange(96, dtype=np.float32).reshape(8, 12) / 7
INTS = np.arange(64, dtype=np.int64) * 1000


def safetensors_file() -> bytes:
    return bytes(
        safetensors.numpy.save(
            {"w": FLOATS, "b": INTS, "h": FLOATS.astype(np.float16), "none": np.zeros((0, 3), np.float32)},
            metadata={"format": "np"},
        )
    )


def onnx_model(initializers: Iterable[TensorProto] = (), nodes: Iterable[Any] = (), **extra: Any) -> Any:
    graph = helper.make_graph(list(nodes), "g", [], [], initializer=list(initializers))
    return helper.make_model(graph, **extra)


def onnx_file() -> bytes:
    """Raw, float and integer lists as initializers, and Constants in both branches of an If inside an If."""

    def branch(name: str, inner: Iterable[Any] = ()) -> Any:
        constant = helper.make_node("Constant", [], ["weight"], value=numpy_helper.from_array(FLOATS + len(name)))
        return helper.make_graph([constant, *inner], name, [], [])

    nested = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("bb"))
    outer = helper.make_node("If", ["c"], ["z"], then_branch=branch("ccc", [nested]), else_branch=branch("dddd"))
    initializers = [
        numpy_helper.from_array(FLOATS, "raw"),
        helper.make_tensor("floats", TensorProto.FLOAT, FLOATS.shape, FLOATS.ravel().tolist()),
        helper.make_tensor("ints", TensorProto.INT64, INTS.shape, INTS.tolist()),
        numpy_helper.from_array(np.array([1, -1], np.int64), "shape"),
    ]
    return bytes(onnx_model(initializers, [outer]).SerializeToString())


def gguf_file(directory: Path) -> bytes:
    import gguf

    path = directory / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.name", "tiny")
    writer.add_array("tokens", ["a", "bb", "ccc"])
    writer.add_array("scores", [0.5, 1.5])
    writer.add_tensor("f32", FLOATS)
    writer.add_tensor("f16", FLOATS.astype(np.float16))
    q8 = gguf.quants.quantize(np.arange(64, dtype=np.float32).reshape(2, 32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q8", q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def npz_file() -> bytes:
    out = io.BytesIO()
    np.savez(out, w=FLOATS, b=INTS, scalar=np.float64(3.5))
    return out.getvalue()


class _Pickler(pickle._Pickler):
    """Writes stand-ins of torch's classes as torch does: tensors as calls, storages as persistent ids."""

    write: Callable[[bytes], int]  # of the pure Python pickler, which the type stubs leave out

    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, Storage):
            return ("storage", _Named(f"torch {obj.type}"), obj.key, "cpu", obj.count)
        return None

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(b"c" + obj.text.replace(" ", "\n").encode() + b"\n")
        elif isinstance(obj, TensorStub):
            size, stride = tuple(obj.shape), tuple(obj.strides)
            self.save(_Named(obj.function))
            self.save((obj.storage, obj.offset, size, stride, False, _Ordered({}), *obj.extra))
            self.write(b"R")
        elif isinstance(obj, _Ordered):
            self.save(_Named("collections OrderedDict"))
            self.write(b")R(")
            for key, value in obj.items():
                self.save(key)
                self.save(value)
            self.write(b"u")
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]


class _Named:
    def __init__(self, text: str) -> None:
        self.text = text


class _Ordered(dict[str, object]):
    pass


class Storage:
    def __init__(self, type_: str, key: str, count: int) -> None:
        self.type, self.key, self.count = type_, key, count


class TensorStub:
    def __init__(
        self,
        storage: Storage,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        *,
        offset: int = 0,
        function: str = "torch._utils _rebuild_tensor_v2",
        dtype: str | None = None,
    ) -> None:
        if strides is None:
            strides = tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
        self.storage, self.shape, self.strides, self.offset, self.function = storage, shape, strides, offset, function
        self.extra = () if dtype is None else (_Named(f"torch {dtype}"),)


def torch_pickle(state: object, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol).dump(_Ordered(state) if isinstance(state, dict) else state)
    return out.getvalue()


def torch_archive(
    state: object,
    storages: Mapping[str, bytes],
    *,
    root: str = "archive/",
    pickled: bytes | None = None,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """A checkpoint as `torch.save` writes it; `more` are further members under the root."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{root}data.pkl", torch_pickle(state) if pickled is None else pickled)
        for key, content in storages.items():
            archive.writestr(f"{root}data/{key}", content)
        for name, content in {"version": b"3\n", **(more or {})}.items():
            archive.writestr(f"{root}{name}", content)
    return out.getvalue()


def torch_file() -> bytes:
    weight, bias = Storage("FloatStorage", "0", 96), Storage("LongStorage", "1", 64)
    state = {"layer.weight": TensorStub(weight, (8, 12)), "layer.bias": TensorStub(bias, (64,))}
    return torch_archive(state, {"0": FLOATS.tobytes(), "1": INTS.tobytes()})


def safetensors_bytes(header: str | bytes, payload: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(raw)) + raw + payload


def all_files(directory: Path) -> dict[str, bytes]:
    """A real file of every format, by the format's name."""
    return {
        "safetensors": safetensors_file(),
        "onnx": onnx_file(),
        "gguf": gguf_file(directory),
        "pytorch": torch_file(),
        "npz": npz_file(),
    }
