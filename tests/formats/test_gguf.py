from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from git_lepton.errors import FormatError
from git_lepton.formats.gguf import BLOCKS, MAX_ELEMENTS, parse
from git_lepton.values import Tensor
from tests.formats.samples import FLOATS, gguf_file


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def info(name: bytes, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def made(
    keys: list[bytes] | None = None,
    infos: list[bytes] | None = None,
    payload: int = 0,
    *,
    version: int = 3,
    align: int = 32,
    counts: tuple[int, int] | None = None,
) -> bytes:
    keys, infos = keys or [], infos or []
    tensor_count, key_count = counts or (len(infos), len(keys))
    head = struct.pack("<4sIQQ", b"GGUF", version, tensor_count, key_count) + b"".join(keys + infos)
    return head + bytes(-len(head) % align + payload)


def tensors(data: bytes) -> tuple[Tensor, ...]:
    return parse(memoryview(data)).tensors


def test_against_the_library(tmp_path: Path) -> None:
    import gguf

    data = gguf_file(tmp_path)
    found = {t.name: t for t in tensors(data)}
    truth = gguf.GGUFReader(tmp_path / "model.gguf")
    assert set(found) == {t.name for t in truth.tensors}
    for expected in truth.tensors:
        t = found[expected.name]
        assert t.dtype == expected.tensor_type.name
        assert t.start == expected.data_offset
        assert t.shape == tuple(reversed([int(d) for d in expected.shape]))
        assert data[t.start : t.stop] == expected.data.tobytes()
    assert found["f32"].shape == FLOATS.shape
    assert found["f16"].dtype == "F16"
    assert found["q8"].stop - found["q8"].start == 2 * 34


def test_the_table_is_that_of_the_library() -> None:
    from gguf.constants import GGML_QUANT_SIZES

    known = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {kind: row for kind, row in BLOCKS.items() if kind in known} == known


def test_empty_version_two_and_alignment() -> None:
    assert tensors(made(version=2)) == ()
    wide = [key(b"general.alignment", 4, struct.pack("<I", 256))]
    infos = [info(b"b", (4,), 0, 256), info(b"a", (2, 3), 24, 0), info(b"none", (0,), 0, 0)]
    found = tensors(made(wide, infos, 256 + 16, align=256))
    assert [(t.name, t.shape, t.start % 256) for t in found] == [("none", (0,), 0), ("a", (3, 2), 0), ("b", (4,), 0)]


def test_every_value_type_is_stepped_over() -> None:
    scalars = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    keys = [key(b"k%d" % kind, kind, struct.pack("<" + code, 1)) for kind, code in scalars.items()]
    keys.append(key(b"s", 8, text(b"value")))
    keys.append(key(b"as", 9, struct.pack("<IQ", 8, 2) + text(b"x") + text(b"")))
    keys.append(key(b"aa", 9, struct.pack("<IQ", 9, 2) + struct.pack("<IQHH", 2, 2, 1, 1) + struct.pack("<IQ", 12, 0)))
    assert len(tensors(made(keys, [info(b"t", (8,), 1, 0)], 16))) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file ends"),
        (b"GGUX" + bytes(20), "magic"),
        (b"GGUF", "the file ends"),
        (made(version=1), "version 1"),
        (made(version=4), "version 4"),
        (made(version=3 << 24), "big-endian"),
        (made(counts=(1_000_001, 0)), "too many"),
        (made(counts=(0, 1 << 40)), "too many"),
        (made(counts=(1, 0)), "the file ends"),
        (made([key(b"k", 4, bytes(4))] * 2), "twice"),
        (made([key(b"k", 13, bytes(4))]), "value type 13"),
        (made([key(b"k", 8, struct.pack("<Q", 1 << 63))]), "the file ends"),
        (made([key(b"k", 9, struct.pack("<IQ", 0, 1 << 63))]), "the file ends"),
        (made([key(b"k", 9, struct.pack("<IQ", 8, MAX_ELEMENTS + 1))]), "too large"),
        (made([key(b"k", 9, struct.pack("<IQ", 9, 1) * 12)]), "too deep"),
        (made([struct.pack("<Q", 1 << 40)], counts=(0, 1)), "longer than"),
        (made([key(b"general.alignment", 10, struct.pack("<Q", 32))]), "not a uint32"),
        (made([key(b"general.alignment", 4, struct.pack("<I", 0))]), "power of two"),
        (made([key(b"general.alignment", 4, struct.pack("<I", 48))]), "power of two"),
        (made([], [info(b"t", (1,) * 9, 0, 0)], 4), "9 dimensions"),
        (made([], [info(b"t", (1,), 99, 0)], 4), "unknown type 99"),
        (made([], [info(b"t", (33,), 8, 0)], 99), "blocks of 32"),
        (made([], [info(b"t", (), 8, 0)], 99), "blocks of 32"),
        (made([], [info(b"t", (1 << 40, 1 << 40), 0, 0)], 99), "impossible size"),
        (made([], [info(b"t", (1,), 0, 1 << 63)], 99), "impossible size"),
        (made([], [info(b"t", (1,), 0, 4)], 99), "not aligned"),
        (made([], [info(b"t", (8,), 0, 0)], 31), "ends after the file"),
        (made([], [info(b"t", (8,), 0, 32)], 32), "ends after the file"),
        (made([], [info(b"t", (16,), 0, 0), info(b"u", (8,), 0, 32)], 64), "overlaps"),
        (made([], [info(b"t", (8,), 0, 0), info(b"t", (8,), 0, 32)], 64), "are named 't'"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        tensors(data)


def test_a_name_that_is_not_utf8() -> None:
    data = made([], [info(b"\xff", (8,), 0, 0)], 32)
    assert tensors(data)[0].name.encode("utf-8", "surrogateescape") == b"\xff"
    assert np.frombuffer(data, "<f4", 8, tensors(data)[0].start).tolist() == [0.0] * 8
