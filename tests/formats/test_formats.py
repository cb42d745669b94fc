"""Detection, and the law that every parser obeys: any bytes give a valid layout or a FormatError."""

from __future__ import annotations

import contextlib
import mmap
import zipfile
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FormatError
from git_lepton.formats import PARSERS, detect, external_references, parse
from git_lepton.formats.base import validate_layout
from git_lepton.values import Layout
from tests.formats.samples import FLOATS, all_files, npz_file, onnx_model, safetensors_bytes, torch_pickle


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return all_files(tmp_path_factory.mktemp("samples"))


def test_content_decides_whatever_the_suffix(files: dict[str, bytes]) -> None:
    for fmt, data in files.items():
        for path in ("model", "model.onnx", "model.npz", "a/b.safetensors", "x.data"):
            layout, warning = parse(memoryview(data), path)
            assert (layout.format, warning) == (fmt, None)
            assert layout.tensors


@pytest.mark.parametrize(
    ("path", "fmt"),
    [
        ("m.onnx.data", "data"),
        ("m.data", "data"),
        ("M.ONNX_DATA", "data"),
        ("m.onnx_data_12", "data"),
        ("m.onnx_data_", "raw"),
        ("m.npy", "raw"),
        ("m.bin", "raw"),
        ("data", "raw"),
    ],
)
def test_files_without_a_mark(path: str, fmt: str) -> None:
    assert parse(memoryview(b"\x01\x02\x03"), path) == (Layout(fmt, 3), None)
    assert parse(memoryview(b""), path) == (Layout("raw", 0), None)


@pytest.mark.parametrize("path", ["m.safetensors", "m.onnx", "m.gguf", "m.pt", "m.pth", "m.npz"])
def test_a_refused_file_is_raw_with_a_reason(path: str) -> None:
    layout, warning = parse(memoryview(b"something else"), path)
    assert layout == Layout("raw", 14)
    assert warning is not None
    assert warning.startswith("not a valid ")
    assert "\n" not in warning


def test_other_archives_are_raw(tmp_path: Path) -> None:
    path = tmp_path / "notes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("w.npy", b"")
    data = memoryview(path.read_bytes())
    assert parse(data, "notes.zip") == (Layout("raw", len(data)), None)
    assert detect(data[:-1], "notes.zip") == "raw"
    assert detect(data[:-1], "w.npz") == "npz"
    legacy = memoryview(torch_pickle({"a": 1}))
    assert parse(legacy, "old.bin") == (Layout("raw", len(legacy)), None)


def test_maps_and_wide_views_are_read_in_place(tmp_path: Path, files: dict[str, bytes]) -> None:
    for fmt, data in files.items():
        path = tmp_path / fmt
        path.write_bytes(data)
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        assert parse(view, fmt) == parse(memoryview(data), fmt)
    words = memoryview(safetensors_bytes("{}" + " " * 6)).cast("I")
    assert parse(words, "x")[0] == Layout("safetensors", 16)


def test_the_registry_names_the_formats_that_its_parsers_give(files: dict[str, bytes]) -> None:
    for fmt, parser in PARSERS.items():
        assert parser(memoryview(files.get(fmt, b"abc"))).format == fmt


def test_a_model_of_onnx_itself() -> None:
    node = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(FLOATS))
    data = onnx_model([], [node]).SerializeToString()
    layout, warning = parse(memoryview(data), "model")
    assert (layout.format, warning, [t.name for t in layout.tensors]) == ("onnx", None, ["c"])


def check_law(data: bytes, path: str) -> None:
    view = memoryview(data)
    for fmt, parser in PARSERS.items():
        try:
            layout = parser(view)
        except FormatError as error:
            assert error.message
        else:
            validate_layout(layout)
            assert (layout.format, layout.size) == (fmt, len(data))
            assert parser(view) == layout
    with contextlib.suppress(FormatError):
        external_references(view)
    layout, warning = parse(view, path)
    validate_layout(layout)
    assert warning is None or layout == Layout("raw", len(data))


PATHS = st.sampled_from(["m", "m.onnx", "m.npz", "m.safetensors", "m.pt", "m.gguf", "m.onnx_data"])


@given(st.binary(max_size=300), PATHS)
@settings(deadline=None, max_examples=50)
def test_law_on_random_bytes(data: bytes, path: str) -> None:
    check_law(data, path)


@given(
    st.sampled_from([b"GGUF\3\0\0\0", b"PK\3\4", b"PK\5\6", b"\x08\x07\x3a\x10", b"\x10\0\0\0\0\0\0\0{"]), st.binary()
)
@settings(deadline=None, max_examples=50)
def test_law_behind_a_good_beginning(magic: bytes, rest: bytes) -> None:
    check_law(magic + rest, "m")


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_law_on_damaged_files(files: dict[str, bytes], data: st.DataObject) -> None:
    """Real files, cut short, with bytes changed near both ends, or with a piece repeated."""
    good = files[data.draw(st.sampled_from(sorted(files)))]
    damaged = bytearray(good)
    near = st.one_of(st.integers(0, min(600, len(good) - 1)), st.integers(max(0, len(good) - 600), len(good) - 1))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(near)
        damaged[at] = data.draw(st.one_of(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(0, 255)))
    if data.draw(st.booleans()):
        del damaged[data.draw(near) :]
    if data.draw(st.integers(0, 3)) == 0:
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at:at] = damaged[at : at + data.draw(st.integers(0, 64))]
    check_law(bytes(damaged), data.draw(PATHS))


def test_every_prefix_of_an_archive_is_refused_or_read() -> None:
    data = npz_file()
    for stop in range(0, len(data), 7):
        check_law(data[:stop], "m.npz")
