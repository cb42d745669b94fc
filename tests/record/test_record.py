"""The record's text: golden bytes, one spelling, and what is refused."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.record import toml
from git_lepton.record.bundle import BundleFile, make
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.record import parse, path_of, to_text
from git_lepton.record.values import (
    Anchor,
    Budgeted,
    ClassFigures,
    Confusion,
    Figure,
    Likeness,
    Origins,
    Outcome,
    Record,
    Slice,
    TensorLoss,
    Variant,
)
from git_lepton.values import Hash

GOLDEN = Path(__file__).parents[1] / "golden/record-1.toml"


def file(path: str, digit: str, size: int = 100) -> BundleFile:
    return BundleFile(path, 0o100644, size, Hash(digit * 64))


def sample() -> Record:
    files = (file("digits.onnx", "a", 671_234), file("labels.json", "b", 45))
    int8 = Variant(
        "int8",
        1,
        bundle=make([file("digits.int8.onnx", "c", 170_000), files[1]]).hash,
        main="digits.int8.onnx",
        size=170_045,
        files=(file("digits.int8.onnx", "c", 170_000),),
        drop=("digits.onnx",),
        tools={"onnxruntime": "1.23.0", "onnx": "1.21.0"},
        losses=(TensorLoss("layer1.weight", 0.0123, 0.004),),
    )
    figure = Figure("accuracy", 0.986, 500, "digits@v1.0.0", 0.984, -0.002, -0.0107, 0.0067, limits="max_drop 0.005")
    return Record(
        model="digits",
        root="models/digits",
        main="digits.onnx",
        bundle=make(files).hash,
        rules=Hash("d" * 64),
        files=files,
        golden=file("golden.npz", "e"),
        data={"eval/test.npz": Hash("1" * 64)},
        origins=Origins({"data/train.csv": Hash("2" * 64)}, {"train.py": Hash("3" * 64)}),
        variant=(int8, Variant("fp16", 1, skipped="not smaller than the original")),
        anchor=Anchor("digits@v1.0.0", Hash("f" * 64)),
        outcome=(
            Outcome(
                "accuracy",
                "",
                "inconclusive",
                'too few "examples"',
                figure,
                calibration_error=0.01,
                slices=(Slice("day", "pass", 0.9, 0.9, -0.1, 0.0, 30),),
                classes=(
                    ClassFigures("0", 50, 0.98, 0.96, 0.97, 0.98, 0.94, 0.96),
                    ClassFigures("1", 48, 1.0, 1.0, 1.0),
                ),
                confusions=(Confusion("8", "1", 3, 1),),
            ),
            Outcome("accuracy", "int8", "pass", likeness=Likeness(0.996, 0.12, None, 500)),
        ),
        budget=(Budgeted("size_bytes", "int8", "pass", 200_000.0, 170_045.0),),
        host={"cpu": "x86_64", "onnxruntime": "1.23.0"},
    )


def test_the_text_is_the_golden_one() -> None:
    assert to_text(sample()).decode() == GOLDEN.read_text(encoding="utf-8")
    assert parse(GOLDEN.read_bytes()) == sample()
    assert path_of("digits") == ".lepton/records/digits.toml"
    assert sample().version_hashes() == {Hash("c" * 64): "digits.int8.onnx", Hash("e" * 64): "golden.npz"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "newer git-lepton"),
        ("format = 1", "format = true", "format is not 1"),
        ('model = "digits"\n', "", "model is missing"),
        ('model = "digits"', 'model = "digits"\nmodle = "x"', "unknown key modle"),
        ("100644 671234", "100644 671235", "its bundle is not that of the files"),
        ("100644 170000", "100644 170001", "bundle of variant int8"),
        ("n = 500", "n = 500.0", "not a whole number"),
        ('verdict = "pass"', 'verdict = "passed"', "is none of"),
        ('model = "digits"', 'model =  "digits"', "not spelled"),
        ("size = 170045", "size = 1_70045", "not spelled"),
        ("# Written", "# written", "not spelled"),
        ('main = "digits.onnx"', "main = 7", "main is not a text"),
        ("[data]", "<<<<<<< HEAD\n[data]", "not TOML"),
        ('rules = "dddd', 'rules = "Dddd', "rules is no BLAKE3 hash"),
        ('main = "digits.onnx"', 'main = "../digits.onnx"', "no file of the bundle"),
        ('root = "models/digits"', 'root = "../digits"', "not a path inside"),
        ("c digits.int8.onnx", "c ../digits.int8.onnx", "not a path inside"),
    ],
)
def test_an_edited_record_is_refused(old: str, new: str, message: str) -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(FrameError, match=message):
        parse(text.replace(old, new, 1).encode())


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=64), st.integers(0, 4000), st.integers(0, 40))
def test_damaged_records_raise_nothing_else(noise: bytes, at: int, cut: int) -> None:
    text = GOLDEN.read_bytes()
    damaged = text[:at] + noise + text[at + cut :]
    try:
        assert to_text(parse(damaged)) == damaged
    except FrameError:
        return


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab." é', max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text('ab." é\n', max_size=4), values, max_size=4))
def test_toml_that_we_write_is_read_as_it_was(table: dict[str, Any]) -> None:
    assert _same(tomllib.loads(toml.dumps(_uniform(table))), _uniform(table))


def _uniform(value: Any) -> Any:
    """What our records can hold: a list is of tables alone, or has none."""
    if isinstance(value, dict):
        return {key: _uniform(item) for key, item in value.items()}
    if isinstance(value, list):
        tables = [_uniform(item) for item in value if isinstance(item, dict)]
        return tables or [_uniform(item) for item in value]
    return value


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    return type(one) is type(two) and bool(one == two)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["metric", "value", "n", "against", "limits", "x"]), values))
def test_tables_of_another_shape_are_refused(table: dict[str, Any]) -> None:
    try:
        figure = from_plain(Figure, table)
    except FrameError:
        return
    assert from_plain(Figure, to_plain(figure)) == figure or figure.value != figure.value
