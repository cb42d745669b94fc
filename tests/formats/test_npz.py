from __future__ import annotations

import io
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from git_lepton.errors import FormatError
from git_lepton.formats.npz import parse
from git_lepton.values import Tensor
from tests.formats.samples import FLOATS, INTS, npz_file


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(f"{name}.npy", content)
    return out.getvalue()


def npy(header: str, payload: bytes = bytes(8), version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + length + header.encode("latin-1") + payload


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def tensors(data: bytes) -> dict[str, Tensor]:
    return {t.name: t for t in parse(memoryview(data)).tensors}


def test_against_numpy() -> None:
    data = npz_file()
    found = tensors(data)
    truth = np.load(io.BytesIO(data))
    assert set(found) == set(truth.files)
    for name, t in found.items():
        assert t.shape == truth[name].shape
        assert data[t.start : t.stop] == truth[name].tobytes()
    assert {t.dtype for t in found.values()} == {"F32", "I64", "F64"}


def test_types_and_orders() -> None:
    arrays = {
        "fortran": np.asfortranarray(FLOATS),
        "big": INTS.astype(">i8"),
        "bool": INTS > 3,
        "byte": INTS.astype(np.uint8),
        "complex": FLOATS.astype(np.complex64),
        "half": FLOATS.astype(np.float16),
        "bf16": FLOATS.astype(ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.int16),
    }
    found = tensors(archive(**{name: saved(array) for name, array in arrays.items()}))
    assert {name: t.dtype for name, t in found.items()} == {
        "fortran": "F32",
        "big": "I64_BE",
        "bool": "BOOL",
        "byte": "U8",
        "complex": "C64",
        "half": "F16",
        "bf16": "V2",
        "empty": "I16",
    }
    assert all(t.shape == arrays[name].shape for name, t in found.items())


def test_what_is_no_plain_array_stays_other() -> None:
    arrays = {
        "object": np.array([{}, []], dtype=object),
        "structured": np.zeros(3, dtype=[("a", "<f4"), ("b", "<i4")]),
        "text": np.array(["a", "bb"]),
        "bytes": np.array([b"a"]),
        "date": np.array(["2020-01-01"], "datetime64[D]"),
    }
    assert tensors(archive(**{name: saved(array) for name, array in arrays.items()})) == {}
    compressed = io.BytesIO()
    np.savez_compressed(compressed, w=FLOATS)
    assert tensors(compressed.getvalue()) == {}


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }   \n",
        "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr":"<f4","fortran_order":True,"shape":(2)}',
        "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_other_writers(header: str, version: tuple[int, int]) -> None:
    assert len(tensors(archive(a=npy(header, version=version)))) == 1


@pytest.mark.parametrize(
    "header",
    [
        "",
        "__import__('os').abort()",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }",
        "{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }",
        "{'descr': True, 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '=f4', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
    ],
)
def test_headers_that_we_do_not_understand_stay_other(header: str) -> None:
    assert tensors(archive(a=npy(header))) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not an .npy file"),
        (b"\x93NUMPX" + bytes(20), "is not an .npy file"),
        (npy("{}", version=(4, 0)), "version 4.0"),
        (npy("{}", version=(1, 1)), "version 1.1"),
        (npy("{}")[:8] + b"\xff\xff" + bytes(20), "header of 65535"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"), "its header tells 12"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"), "its header tells 4"),
    ],
)
def test_refusals(content: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        tensors(archive(a=content))
