"""Which paths a glob takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import LeptonError
from git_lepton.record.globs import matcher


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.onnx", ["a.onnx", ".onnx"], ["b/a.onnx", "a.onnxx"]),
        ("**/*.onnx", ["a.onnx", "x/y/a.onnx"], ["a.bin"]),
        ("**", ["a", "a/b"], []),
        ("sub/**", ["sub/a", "sub/b/c"], ["sub", "a"]),
        ("model-?.bin", ["model-1.bin"], ["model-12.bin", "model-/.bin"]),
        ("a[0-2].bin", ["a1.bin"], ["a3.bin", "a[0-2].bin"]),
        ("a[!0-2].bin", ["a3.bin"], ["a1.bin", "a/.bin"]),
        ("a[", ["a["], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    matches = matcher([glob])
    assert [p for p in yes if not matches(p)] == []
    assert [p for p in no if matches(p)] == []


@settings(deadline=None, max_examples=50)
@given(st.text("*?[]!-az/\\^.", max_size=12), st.text("az/", max_size=6))
def test_any_text_is_a_glob_or_refused(glob: str, path: str) -> None:
    try:
        matcher([glob])(path)
    except LeptonError:
        return
