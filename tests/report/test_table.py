from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.report.document import document
from git_lepton.report.table import safe, table, width


def test_columns_are_aligned_without_trailing_spaces() -> None:
    text = table([("a", "1"), ("long name", "20")], right="lr", header=("name", "n"), indent=2)
    assert text == "  name        n\n  a           1\n  long name  20"


def test_no_rows_no_text() -> None:
    assert table([], header=("name",)) == ""


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("モデル", 6), ("e\u0301", 1)])
def test_width_counts_columns_of_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


def test_safe_escapes_what_a_terminal_would_obey() -> None:
    assert safe("model\x1b[2J\n\u202egpj.\udcff") == "model\\x1b[2J\\n\\u202egpj.\\udcff"
    assert safe("weights/größe モデル.onnx") == "weights/größe モデル.onnx"


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_safe_text_is_always_one_printable_line(text: str) -> None:
    assert len(safe(text).splitlines()) <= 1
    safe(text).encode()


def test_document_begins_with_its_schema_and_survives_any_name() -> None:
    text = document("status", {"path": "bad\udcff"})
    assert list(json.loads(text)) == ["schema", "path"]
    assert json.loads(text)["schema"] == "git-lepton.status/1"
    assert text.isascii()
