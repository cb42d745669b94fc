"""Facts: what is told beside the tensors, and that no bytes, however hostile, get further than an error of ours."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from git_lepton.compare.facts import MAX_ROWS, differences, image
from git_lepton.compare.facttext import brief, listed
from git_lepton.compare.sides import FileSide, Piece, of_path
from git_lepton.compare.structure import compare
from git_lepton.compare.values import FactChange
from git_lepton.errors import LeptonError
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import Hash
from tests.compare.models import archive, compared, gguf_file, onnx_model, saved, side, tensor

WEIGHTS = {"w": tensor(1, 4, 4)}


class Bytes:
    """A file of which somebody says that its other bytes are these."""

    path = "m"

    def __init__(self, fmt: str, data: bytes, size: int | None = None) -> None:
        digest = Hash(blake3(data).hexdigest())
        self._data = data
        self.manifest = Manifest(fmt, len(data) if size is None else size, digest, digest, len(data), ())

    def other(self) -> bytes:
        return self._data

    def extents(self) -> Sequence[tuple[int, int]]:
        return [(0, len(self._data))]

    def pieces(self, line: TensorLine) -> Sequence[Piece]:
        raise NotImplementedError

    def read(self, line: TensorLine, piece: Piece) -> bytes:
        raise NotImplementedError


def facts(
    tmp_path: Path, name: str, before: bytes, after: bytes
) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    found = compared(tmp_path, {name: before}, {name: after})
    return {(f.topic, f.key): (f.before, f.after) for file in found.files for f in file.facts}


def test_safetensors_metadata(tmp_path: Path) -> None:
    before = saved(WEIGHTS, format="pt", epoch="1", gone="x")
    after = saved(WEIGHTS, format="pt", epoch="2", long="y" * 500)
    found = facts(tmp_path, "m.safetensors", before, after)
    assert found.keys() == {("metadata", "epoch"), ("metadata", "gone"), ("metadata", "long")}
    assert found["metadata", "epoch"] == ("1", "2")
    assert found["metadata", "gone"] == ("x", None)
    long = found["metadata", "long"][1]
    assert long is not None
    assert long.startswith("y" * 80 + "… (500 characters, #")


def test_metadata_that_does_not_come_first(tmp_path: Path) -> None:
    def model(epoch: str) -> bytes:
        head = f'{{"w":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}, "__metadata__" : {{"epoch":"{epoch}"}}}}'
        return struct.pack("<Q", len(head)) + head.encode() + bytes(8)

    assert facts(tmp_path, "m.safetensors", model("1"), model("2")) == {("metadata", "epoch"): ("1", "2")}


def test_a_tensor_whose_name_mentions_metadata(tmp_path: Path) -> None:
    before = {'a"__metadata__"': tensor(1, 4)}
    found = facts(tmp_path, "m.safetensors", saved(before), saved(before, epoch="1"))
    assert found == {("metadata", "format"): ("pt", None), ("metadata", "epoch"): (None, "1")}


def test_onnx_says_what_changed(tmp_path: Path) -> None:
    found = facts(tmp_path, "m.onnx", onnx_model(), onnx_model(relus=2, opset=18, alpha=0.5, scalar=3, batch="n"))
    assert found == {
        ("opset", "ai.onnx"): ("17", "18"),
        ("inputs", "x"): ("F32[batch, 8]", "F32[n, 8]"),
        ("outputs", "y"): ("F32[batch, 8]", "F32[n, 8]"),
        ("nodes", "Relu"): ("1", "2"),
        ("node", "leaky"): ("LeakyRelu alpha=0.1", "LeakyRelu alpha=0.5"),
        ("node", "relu1"): (None, "Relu"),
        ("constants", "scale"): ("F32[1] [2]", "F32[1] [3]"),
    }


def test_onnx_looks_into_branches(tmp_path: Path) -> None:
    found = facts(tmp_path, "m.onnx", onnx_model(), onnx_model(branch="Sub"))
    assert found == {
        ("nodes", "Add"): ("1", None),
        ("nodes", "Sub"): (None, "1"),
        ("node", "y.then_branch/inner"): ("Add", "Sub"),
    }


def test_onnx_weights_alone_are_no_fact(tmp_path: Path) -> None:
    (file,) = compared(tmp_path, {"m.onnx": onnx_model()}, {"m.onnx": onnx_model(seed=5)}).files
    assert (file.facts, file.opaque) == ((), False)


def test_onnx_weights_in_another_file(tmp_path: Path) -> None:
    inside = onnx_model()
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
    (tmp_path / "before" / "m.onnx").write_bytes(inside)
    onnx.save_model(
        onnx.load_from_string(inside),
        tmp_path / "after" / "m.onnx",
        save_as_external_data=True,
        location="m.onnx_data",
        size_threshold=100,
    )
    found = compare(of_path(tmp_path / "before"), of_path(tmp_path / "after"))
    assert found.summary == "m.onnx: weights now in m.onnx_data; m.onnx_data added"
    (fact,) = next(file for file in found.files if file.path == "m.onnx").facts
    assert (fact.topic, fact.key, fact.before) == ("external", "m.onnx_data", None)


def test_many_rows_are_counted(tmp_path: Path) -> None:
    found = facts(tmp_path, "m.onnx", onnx_model(), onnx_model(relus=MAX_ROWS + 40))
    rows = [key for topic, key in found if topic == "node"]
    assert len(rows) == MAX_ROWS + 1
    assert "39 more" in rows


def gguf_value(kind: int, value: bytes) -> bytes:
    return gguf_file([("key", kind, value)], [("w", 0, 8, bytes(32))])


TEXT = struct.pack("<Q", 3) + b"abc"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (4, struct.pack("<I", 7), "7"),
        (5, struct.pack("<i", -7), "-7"),
        (6, struct.pack("<f", 0.1), "0.1"),
        (7, b"\1", "true"),
        (8, TEXT, "abc"),
        (10, struct.pack("<Q", 1 << 40), str(1 << 40)),
        (12, struct.pack("<d", 0.5), "0.5"),
        (9, struct.pack("<IQ", 5, 3) + struct.pack("<iii", 1, -2, 3), "[1, -2, 3]"),
        (9, struct.pack("<IQ", 8, 2) + TEXT + TEXT, "[abc, abc]"),
        (9, struct.pack("<IQ", 5, 0), "[]"),
        (9, struct.pack("<IQ", 8, 9) + TEXT * 9, f"[9 strings, #{blake3(TEXT * 9).hexdigest()[:8]}]"),
        (9, struct.pack("<IQ", 0, 100) + bytes(100), f"[100 elements, #{blake3(bytes(100)).hexdigest()[:8]}]"),
    ],
)
def test_gguf_values(tmp_path: Path, kind: int, value: bytes, text: str) -> None:
    before = gguf_file([], [("w", 0, 8, bytes(32))])
    assert facts(tmp_path, "m.gguf", before, gguf_value(kind, value)) == {("metadata", "key"): (None, text)}


def test_pytorch_members(tmp_path: Path) -> None:
    base = {"data.pkl": b"\x80\x02}q\x00.", "data/0": bytes(64), "code/a/___torch_mangle_3.py": b"x.torch_mangle_3\n"}
    numbered = base | {"code/a/___torch_mangle_4.py": b"x.torch_mangle_4\n", ".data/serialization_id": b"1"}
    del numbered["code/a/___torch_mangle_3.py"]
    (file,) = compared(tmp_path / "1", {"m.pt": archive(base)}, {"m.pt": archive(numbered)}).files
    assert (file.facts, file.opaque) == ((), True)
    other = base | {"code/a/___torch_mangle_3.py": b"y\n", "data.pkl": b"\x80\x02}q\x01."}
    found = facts(tmp_path / "2", "m.pt", archive(base), archive(other))
    assert found.keys() == {("code", "code/a/___torch_mangle_3.py"), ("archive", "data.pkl")}
    weights = base | {"data/0": bytes(range(64))}
    (file,) = compared(tmp_path / "3", {"m.pt": archive(base)}, {"m.pt": archive(weights)}).files
    assert (file.facts, file.opaque, len(file.tensors)) == ((), False, 1)


def test_another_format_is_the_only_fact(tmp_path: Path) -> None:
    found = facts(tmp_path, "model", saved(WEIGHTS), gguf_value(8, TEXT))
    assert found == {("format", ""): ("safetensors", "gguf")}


def test_an_image_has_zeros_for_tensors(tmp_path: Path) -> None:
    data = onnx_model()
    file = side(tmp_path, {"m.onnx": data}).files["m.onnx"]
    view = image(file)
    assert len(view) == len(data)
    assert bytes(view).count(0) >= 512
    for offset, length in file.extents():
        assert view[offset : offset + length] == data[offset : offset + length]


def test_an_image_that_does_not_fit_is_refused() -> None:
    for size in (0, 3, 1 << 62):
        with pytest.raises(LeptonError):
            image(Bytes("onnx", b"12345", size))


def test_texts() -> None:
    assert brief("one") == "one"
    assert brief("a\nb").startswith("a b (3 characters, #")
    assert brief("a\nb") != brief("a  b") != brief("a b")
    assert brief("x" * 200) != brief("x" * 199 + "y")
    assert brief("\ud800" + "x" * 200)
    assert listed([1, 2], b"") == "[1, 2]"
    assert listed(list(range(9)), b"a") != listed(list(range(9)), b"b")


VALID: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: saved(WEIGHTS, epoch="1"),
    "onnx": lambda: onnx_model(metadata={"a": "b"}),
    "gguf": lambda: gguf_value(9, struct.pack("<IQ", 8, 2) + TEXT + TEXT),
    "pytorch": lambda: archive({"data.pkl": b"\x80\x02}q\x00.", "code/m.py": b"pass\n"}),
}


@given(st.sampled_from(sorted(VALID)), st.data())
@settings(max_examples=50, deadline=None)
def test_damaged_bytes_are_no_fact_and_no_crash(fmt: str, data: st.DataObject) -> None:
    whole = bytearray(VALID[fmt]())
    before = Bytes(fmt, bytes(whole))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    told(before, Bytes(fmt, bytes(whole)))


@given(st.sampled_from(sorted(VALID)), st.binary(max_size=200))
@example("safetensors", b'12345678{"__metadata__"' + b"[" * 100_000)
@example("safetensors", b'12345678{"__metadata__":' + b"[" * 100_000)
@example("safetensors", b'12345678{"__metadata__":3}')
@example("safetensors", b'12345678{"a":{},"__metadata__":')
@example("safetensors", b'12345678["__metadata__"]')
@example("gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + b"\1\0\0\0\0\0\0\0k" + struct.pack("<IIQ", 9, 9, 1 << 60))
@example("onnx", b"\x3a\x02\x0a\x00")
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_no_crash(fmt: str, data: bytes) -> None:
    told(Bytes(fmt, VALID[fmt]()), Bytes(fmt, data))


def told(before: FileSide, after: FileSide) -> None:
    for sides in ((before, after), (after, before)):
        found = differences(*sides)
        assert found is None or all(isinstance(fact, FactChange) for fact in found)
    assert differences(after, after) == ()
