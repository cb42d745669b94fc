"""Files of examples: what is read, what is refused, which rows are sampled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from git_lepton.config.values import GateRule
from git_lepton.errors import FormatError, LeptonError, UsageError
from git_lepton.gate import arrays
from git_lepton.gate.data import load, sample
from tests.gate.models import data

FEW = settings(deadline=None, max_examples=40)


def test_both_formats_read_the_same(tmp_path: Path) -> None:
    found = {"x": np.arange(6, dtype="float32").reshape(3, 2), "labels": np.array([1, 0, 1]), "e": np.zeros((0, 4))}
    save_file(found, tmp_path / "d.safetensors")
    data(tmp_path / "d.npz", **found)
    for name in ("d.safetensors", "d.npz"):
        read = arrays.read(tmp_path / name)
        assert {key: (array.dtype, array.tolist()) for key, array in read.items()} == {
            key: (array.dtype, array.tolist()) for key, array in found.items()
        }


def test_written_bytes_depend_on_the_arrays_only(tmp_path: Path) -> None:
    for name, order in (("a", "xy"), ("b", "yx")):
        with (tmp_path / name).open("wb") as stream:
            arrays.write(stream, {key: np.arange(4) for key in order})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    (tmp_path / "a").rename(tmp_path / "a.npz")
    assert sorted(arrays.read(tmp_path / "a.npz")) == ["x", "y"]


@FEW
@given(st.binary(max_size=300), st.integers(0, 400), st.sampled_from([".npz", ".safetensors"]))
def test_damaged_files_are_told_as_such(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int, kind: str
) -> None:
    path = tmp_path_factory.mktemp("d") / f"d{kind}"
    data(path.with_suffix(".npz"), x=np.arange(8.0), labels=np.arange(8))
    content = path.with_suffix(".npz").read_bytes() if kind == ".npz" else junk
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    with suppress(LeptonError):
        arrays.read(path)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{}, 1], dtype=object))
    with pytest.raises(FormatError, match="Python objects"):
        arrays.read(tmp_path / "d.npz")
    with pytest.raises(UsageError, match="must be"):
        arrays.read(tmp_path / "d.pkl")


def test_labels_slices_and_classes_are_found(tmp_path: Path) -> None:
    found = data(
        tmp_path / "d.npz", x=np.ones((4, 2)), y=[0, 1, 1, 0], region=["a", "b", "a", "b"], classes=["no", "yes"]
    )
    read = load(found.path, GateRule("g", slices="region"))
    assert read.labels is not None
    assert read.slices is not None
    assert (read.rows, read.labels.tolist(), read.slices.tolist()) == (4, [0, 1, 1, 0], ["a", "b", "a", "b"])
    assert read.classes == ("no", "yes")
    assert read.beside == {"y", "region", "classes"}
    assert load(found.path, GateRule("g", labels="region")).beside == {"region", "classes"}
    assert load(found.path, GateRule("g", inputs={"in": "y"})).labels is None
    for rule, message in (
        (GateRule("g", labels="z"), "no array 'z'"),
        (GateRule("g", slices="z"), "no array 'z'"),
        (GateRule("g", slices="x"), "do not fit"),
    ):
        with pytest.raises(UsageError, match=message):
            load(found.path, rule)
    with pytest.raises(UsageError, match="no examples"):
        load(data(tmp_path / "e.npz", x=np.zeros((0, 3))).path, GateRule("g"))


@FEW
@given(st.integers(1, 500), st.integers(1, 500))
def test_the_sample_is_the_same_rows_always(rows: int, count: int) -> None:
    chosen = sample(rows, count).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(rows, count)
    grown = set(sample(rows + 10, count).tolist())
    assert {row for row in grown if row < rows} <= set(chosen)


def test_known_rows() -> None:
    """Golden: records that were sampled would not hold any more if this changed."""
    assert sample(20, 5).tolist() == [2, 4, 6, 8, 18]


def test_sampling_takes_the_same_rows_of_all_arrays(tmp_path: Path) -> None:
    found = data(tmp_path / "d.npz", x=np.arange(50.0), labels=np.arange(50), state=np.zeros((2, 3)))
    read = load(found.path, GateRule("g", sample=7))
    assert read.labels is not None
    assert (read.rows, read.arrays["x"].tolist()) == (7, read.labels.tolist())
    assert read.arrays["state"].shape == (2, 3)
