from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_lepton.errors import FormatError
from git_lepton.formats.pytorch import parse
from git_lepton.formats.torchpickle import MAX_DEPTH, read_views
from git_lepton.values import Tensor
from tests.formats.samples import FLOATS, INTS, Storage, TensorStub, torch_archive, torch_file, torch_pickle


def tensors(data: bytes) -> dict[str, Tensor]:
    return {t.name: t for t in parse(memoryview(data)).tensors}


def float_storage(key: str = "0", count: int = 96) -> Storage:
    return Storage("FloatStorage", key, count)


def kind(t: Tensor) -> tuple[str, tuple[int, ...]]:
    return t.dtype, t.shape


def test_a_checkpoint() -> None:
    data = torch_file()
    found = tensors(data)
    assert {n: kind(t) for n, t in found.items()} == {"layer.weight": ("F32", (8, 12)), "layer.bias": ("I64", (64,))}
    assert data[found["layer.weight"].start : found["layer.weight"].stop] == FLOATS.tobytes()
    assert data[found["layer.bias"].start : found["layer.bias"].stop] == INTS.tobytes()


@pytest.mark.parametrize("root", ["", "archive/", "deep/model/"])
def test_any_root(root: str) -> None:
    found = tensors(torch_archive({"w": TensorStub(float_storage(), (96,))}, {"0": bytes(384)}, root=root))
    assert {n: kind(t) for n, t in found.items()} == {"w": ("F32", (96,))}


def test_nested_containers_give_paths() -> None:
    stub = [TensorStub(float_storage(str(n), 4), (4,)) for n in range(5)]
    state: dict[str, Any] = {
        "model": {"w": stub[0]},
        "optimizer": {"state": {0: {"exp_avg": stub[1]}}, "list": [1, stub[2], (stub[3], None)]},
        "skipped": {(1, 2): stub[4], 3.5: "x", b"k": {"a": 1}},
    }
    state["again"] = state["model"]
    found = tensors(torch_archive(state, {str(n): bytes(16) for n in range(5)}))
    assert set(found) == {
        "model.w",
        "optimizer.state.0.exp_avg",
        "optimizer.list.1",
        "optimizer.list.2.0",
        "data/4",
    }


@pytest.mark.parametrize(
    ("stubs", "expected"),
    [
        ([TensorStub(float_storage(), (12, 8), (1, 12))], ("w0", "F32", (96,))),  # transposed
        ([TensorStub(float_storage(), (1, 96, 1), (7, 1, 3))], ("w0", "F32", (1, 96, 1))),  # strides of size one
        ([TensorStub(float_storage(), (48,)), TensorStub(float_storage(), (48,), offset=48)], ("data/0", "F32", (96,))),
        ([TensorStub(float_storage(), (48,)), TensorStub(float_storage(), (2, 48))], ("w1", "F32", (2, 48))),
        ([TensorStub(Storage("FooStorage", "0", 96), (96,))], ("data/0", "BYTES", (384,))),
        ([TensorStub(float_storage(), (96,)), TensorStub(Storage("IntStorage", "0", 96), (96,))],
         ("data/0", "BYTES", (384,))),
        ([TensorStub(float_storage(), (97,))], ("data/0", "F32", (96,))),
        ([TensorStub(float_storage(), (-96,))], ("data/0", "BYTES", (384,))),
        ([TensorStub(float_storage(), (96,), (1, 1))], ("w0", "F32", (96,))),
        ([TensorStub(float_storage(), (96,), function="evil _rebuild_tensor_v2")], ("data/0", "BYTES", (384,))),
        ([TensorStub(Storage("UntypedStorage", "0", 384), (96, 4), function="torch._utils _rebuild_tensor_v3",
                     dtype="float8_e4m3fn")], ("w0", "F8_E4M3", (96, 4))),
        ([TensorStub(Storage("UntypedStorage", "0", 384), (96, 4), function="torch._utils _rebuild_tensor_v3",
                     dtype="uint1")], ("data/0", "BYTES", (384,))),
        ([], ("data/0", "BYTES", (384,))),
    ],
)  # fmt: skip
def test_how_a_storage_is_told(stubs: list[TensorStub], expected: tuple[str, str, tuple[int, ...]]) -> None:
    data = torch_archive({f"w{n}": stub for n, stub in enumerate(stubs)}, {"0": bytes(384)})
    assert [(t.name, t.dtype, t.shape) for t in parse(memoryview(data)).tensors] == [expected]


def test_a_storage_that_does_not_divide() -> None:
    assert kind(tensors(torch_archive({"w": TensorStub(float_storage(), (96,))}, {"0": bytes(383)}))["data/0"]) == (
        "BYTES",
        (383,),
    )


def test_big_endian_and_torchscript_constants() -> None:
    constants = torch_pickle((TensorStub(float_storage(), (4,)),))
    state = {"w": TensorStub(float_storage(), (96,)), "b": TensorStub(Storage("ByteStorage", "1", 3), (3,))}
    data = torch_archive(
        state,
        {"0": bytes(384), "1": bytes(3)},
        more={"byteorder": b"big", "constants.pkl": constants, "constants/0": bytes(16)},
    )
    assert {n: kind(t) for n, t in tensors(data).items()} == {
        "w": ("F32_BE", (96,)),
        "b": ("U8", (3,)),
        "0": ("F32_BE", (4,)),
    }


def test_compressed_members_stay_other(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", torch_pickle({"w": TensorStub(float_storage(), (96,))}))
        archive.writestr("m/data/0", bytes(384))
        archive.writestr("m/data/1", bytes(8), zipfile.ZIP_STORED)
        archive.writestr("m/data/folder/", b"")
    assert {n: kind(t) for n, t in tensors(path.read_bytes()).items()} == {"data/1": ("BYTES", (8,))}


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    for protocol in range(6):
        pickled = pickle.dumps({"w": Bomb(marker)}, protocol)
        tensors(torch_archive(None, {"0": bytes(8)}, pickled=pickled))
    assert not marker.exists()
    pickle.loads(pickled)["w"]
    assert marker.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02}q",
        b"(.",
        b"t.",
        b"\x86.",
        b"R.",
        b"h\x05.",
        b"g999999\n.",
        b"0.",
        b"q\x00.",
        b"Q.",
        b"]s.",
        b"I" + b"9" * 5000 + b"\n.",
        b"Ix\n.",
        b"\x82\x01.",
        b"Ppid\n.",
        b"cos\nsystem\n(S'x'\no.",
        b"X\xff\xff\xff\x7fabc.",
        b"\xff.",
        b"\x8a\xff" + bytes(255) + b".",
    ],
)
def test_pickles_that_we_cannot_follow_give_no_names(pickled: bytes) -> None:
    assert set(tensors(torch_archive(None, {"0": bytes(8)}, pickled=pickled))) == {"data/0"}


def test_hostile_graphs_end() -> None:
    cyclic = b"\x80\x02]q\x00h\x00a."
    assert read_views(cyclic) == ()
    shared = b"\x80\x02]q\x00" + b"".join(b"]q" + bytes([n + 1]) + b"h" + bytes([n]) * 2 + b"0" for n in range(2))
    for deep in (b"\x80\x02" + b"\x85" * 5, b"\x80\x02)" + b"\x85" * (MAX_DEPTH + 2) + b".", shared):
        with pytest.raises(FormatError):
            read_views(deep)
    assert read_views(b"\x80\x02)" + b"\x85" * (MAX_DEPTH - 2) + b".") == ()
    assert read_views(b"}(\x8b" + (2000).to_bytes(4, "little") + b"\x11" * 2000 + b"]u.") == ()  # a key of 4,800 digits
    doubled = b"\x80\x02]q\x00" + b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(40)) + b"."
    assert read_views(doubled) == ()


def test_one_large_tuple_for_many_calls_is_visited_once() -> None:
    width, calls = 20_000, 20_000  # four hundred million visits otherwise
    large = b"(" + b"]" * width + b"tq\x01"
    pickled = b"\x80\x02ca\nb\nq\x00" + large + b"]q\x02(" + b"h\x00h\x01Rh\x01b" * calls + b"e."
    assert read_views(pickled) == ()


def test_paths_too_long_together_give_no_names() -> None:
    nested = b"\x80\x02" + b"".join(b"}X\xff\x3f\0\0" + b"k" * 0x3FFF for _ in range(50)) + b"]" + b"s" * 50 + b"."
    assert read_views(nested) == ()


def test_refusals() -> None:
    with pytest.raises(FormatError, match="perhaps a pickle"):
        tensors(pickle.dumps({"a": 1}))
    with pytest.raises(FormatError, match=r"no data\.pkl"):
        tensors(torch_archive(None, {}, root="").replace(b"data.pkl", b"data.pkk"))
    with pytest.raises(FormatError, match="no end record"):
        tensors(torch_file()[:-1])


def test_names_that_come_again() -> None:
    state = {"a": {"b": TensorStub(float_storage("0", 4), (4,))}, "a.b": TensorStub(float_storage("1", 4), (4,))}
    data = torch_archive(state, {"0": np.zeros(4, "f4").tobytes(), "1": np.ones(4, "f4").tobytes()})
    assert set(tensors(data)) == {"a.b", "a.b#2"}
