"""What a terminal shows of a comparison: trees, bars, widths, colour, and names that mean harm."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.compare.values import FactChange
from git_lepton.git.log import Commit
from git_lepton.report.diff import Look, diff_text, for_reading, stat_text
from git_lepton.report.diff_json import commit_fields, comparison_fields
from git_lepton.report.document import document
from git_lepton.report.modules import LONGEST_LIST, rows
from git_lepton.report.table import width
from git_lepton.values import Oid
from tests.report.comparisons import comparison, file, fine_tuned, ref, tensor

ROOT = Path(__file__).resolve().parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_a_fine_tuned_model() -> None:
    lines = diff_text(fine_tuned(), Look()).split("\n")
    assert lines[:3] == ["main → work tree: layers 1-2 fine-tuned", "", "models/bert.safetensors"]
    assert lines[3].startswith("  4.00 MiB (+1.00 MiB), 19 changed, 1 added, 1 renamed, 1 reshaped, 70 the same")
    assert lines[5:] == [
        "  metadata epoch: 3 → 4",
        "  metadata by: me added",
        "  pooler.dense            ██████████     from 0  1 changed, 1 renamed",
        "  encoder.layer",
        "    11                    █████████▊       11 %  6 tensors",
        "    2                     ██              2.3 %  6 tensors",
        "    1                     █▏              1.3 %  6 tensors",
        "  embeddings.word.weight                    0 %  F32 [4,4] → [6,4]",
        "  classifier.weight                              added, F32 [4,4]",
    ]


def test_few_tensors_have_a_row_each() -> None:
    few = comparison(
        file(
            tensor("encoder.layer.4.query.weight", 0.02, rank=8),
            tensor("encoder.layer.4.query.bias", 0.0001),
            tensor("head", 0.5),
        )
    )
    assert diff_text(few, Look()).split("\n")[4:] == [
        "  head             ██████████       50 %  F32 [4,4]",
        "  encoder.layer.4  ▎               1.4 %  2 tensors",
        "    query.weight   ▍               2.0 %  F32 [4,4], rank 8",
        "    query.bias     ▏             0.010 %  F32 [4,4]",
    ]


def test_details_tell_all_figures() -> None:
    text = diff_text(comparison(file(tensor("a.0.w", 0.5))), Look(details=True))
    assert "cosine 0.99, L2 0.5, max |Δ| 0.25, mean 0 → 0, deviation 0.5 → 0.5" in text
    assert "over 16" in text


def test_without_numbers_there_are_no_bars() -> None:
    text = diff_text(comparison(file(tensor("a.0.w"), tensor("b", kind="removed"))), Look())
    assert "█" not in text
    assert "%" not in text
    assert "  b      removed, F32 [4,4]" in text.split("\n")


def test_a_wide_terminal_has_longer_bars_and_more_figures() -> None:
    small = comparison(file(tensor("a.0.w", 0.5)))
    assert "█" * 20 in diff_text(small, Look(columns=130))
    assert "cosine" in diff_text(small, Look(columns=130))
    assert "cosine" not in diff_text(small, Look())


def test_bars_without_block_elements() -> None:
    assert "  head  ##########" in diff_text(comparison(file(tensor("head", 0.5))), Look(blocks=False))


def test_long_lists_end_in_a_count() -> None:
    many = [tensor(f"layer.{n}.{part}", 0.01 * n) for n in range(100) for part in "ab"]
    found = rows(file(*many))
    assert len(found) == 1 + LONGEST_LIST
    assert found[1].label == "99"
    assert (found[-1].label, len(found[-1].changes)) == ("77 more", 154)
    assert len(rows(file(*many), everything=True)) == 1 + 100 + 200


def test_a_tensor_named_like_a_module() -> None:
    found = rows(file(tensor("a"), tensor("a.b"), tensor("a.b.0.c"), tensor("")))
    assert sorted(change.name for row in found for change in row.changes if row.tensor) == ["", "a", "a.b", "a.b.0.c"]


def test_names_of_absurd_depth() -> None:
    deep = [tensor(".".join("x" * n)) for n in range(1, 400)]
    assert sum(len(row.changes) for row in rows(file(*deep)) if row.tensor or row.label.endswith(" more")) <= len(deep)


def test_a_new_file_is_one_line() -> None:
    added = file(tensor("a", kind="added"))
    text = diff_text(comparison(type(added)("added", None, "n.st", "", "raw", 0, 5, added.tensors)), Look())
    assert text.split("\n")[2:] == ["n.st", "  5 B, new, 1 tensor"]


def test_stat_is_one_line_a_file() -> None:
    text = stat_text(comparison(file(tensor("a", 0.1), same=4), file(tensor("b"), path="z.gguf")), Look(columns=200))
    assert text.split("\n") == [
        " models/bert.safetensors  |  4.00 MiB (+1.00 MiB)  1 changed, 4 the same  largest change 10 %",
        " z.gguf                   |  4.00 MiB (+1.00 MiB)  1 changed",
        "main → work tree: layers 1-2 fine-tuned",
    ]


def test_where_tensors_moved_from_is_said_once() -> None:
    moved = [tensor(f"layer.{n}.w", kind="moved", old=replace(ref(f"layer.{n}.w"), file="old.st")) for n in range(3)]
    text = diff_text(comparison(file(*moved)), Look())
    assert text.count("old.st") == 1
    assert "3 moved from old.st" in text
    other = tensor("b", kind="moved", old=replace(ref("b"), file="b.st"))
    assert diff_text(comparison(file(*moved, other)), Look()).count("old.st") == 3
    changed = tensor("a", 0.1, old=replace(ref("a"), file="old.st"))
    assert "old.st" not in diff_text(comparison(file(changed)), Look())


def test_two_paths_are_told_apart_by_what_differs() -> None:
    def shown(before: str, after: str) -> tuple[str, str, str]:
        one = replace(file(tensor("a")), before=before, after=after)
        found = for_reading(replace(comparison(one), before=before, after=after))
        text = diff_text(found, Look())
        assert "renamed" not in text
        return found.before, found.after, text.split("\n")[2]

    assert shown("/m/a/x.st", "/m/a/y.st") == ("x.st", "y.st", "y.st")
    assert shown("/m/a/x.st", "/m/b/x.st") == ("a/x.st", "b/x.st", "b/x.st")
    assert shown("a/x.st", "b/x.st") == ("a/x.st", "b/x.st", "b/x.st")
    branches = replace(comparison(file(tensor("a"))), before="feature/a", after="feature/b")
    assert for_reading(branches) == branches


def test_facts_keep_their_values_whatever_their_names() -> None:
    fact = FactChange("code", f"code/{'deep/' * 40}x.py", "1 byte", "2 bytes")
    (line,) = (line for line in diff_text(comparison(file(facts=(fact,))), Look()).split("\n") if "byte" in line)
    assert line.startswith("  code deep/")
    assert line.endswith("x.py: 1 byte → 2 bytes")


def test_many_facts_are_counted() -> None:
    facts = tuple(FactChange("nodes", f"op{n}", None, "x" * 200) for n in range(30))
    text = diff_text(comparison(file(facts=facts)), Look())
    assert text.count("nodes op") == 12
    assert "and 18 more facts" in text
    assert "…" in text


def test_hostile_names_cannot_disturb_a_terminal() -> None:
    evil = "a.\x1b[2J\r\n\u202e.weight"
    facts = (FactChange("metadata", "k\x1b", "\x1b]0;x\x07", None),)
    text = diff_text(comparison(file(tensor(evil, 0.1), facts=facts), summary="x\x1b[2Jy"), Look(colour=True))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", COLOUR.sub("", text))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.text("ab.0/é漢\n", max_size=90), st.none() | st.floats(0, 1e150)),
        max_size=30,
        unique_by=lambda n: n[0],
    ),
    st.integers(10, 200),
    st.booleans(),
)
def test_lines_fit(names: list[tuple[str, float | None]], columns: int, details: bool) -> None:
    """Whatever the names: no line of the tree is wider than the terminal, and colour changes no character."""
    one = comparison(file(*(tensor(name, value, old=ref(name)) for name, value in names)))
    text = diff_text(one, Look(columns, details=details))
    assert all(width(line) <= max(40, columns) for line in text.split("\n"))
    assert COLOUR.sub("", diff_text(one, Look(columns, colour=True, details=details))) == text


def test_every_field_of_the_json_is_documented() -> None:
    def keys(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield from value
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from keys(inner)

    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/reference.md").read_text(encoding="utf-8")))
    commit = Commit(Oid("1"), (), "a", "e", "d", "s", "b", ())
    assert set(keys(comparison_fields(fine_tuned()) | commit_fields(commit))) <= documented


@pytest.mark.parametrize("value", [0.5, math.inf, math.nan])
def test_json_is_as_its_schema_says(value: float) -> None:
    schema = json.loads((ROOT / "docs/diff.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(document("diff", comparison_fields(comparison(*fine_tuned().files, file(tensor("a", value))))))
    jsonschema.validate(found, schema)

    def definition(at: dict[str, Any]) -> dict[str, Any]:
        at = at.get("items") or at
        at = at["anyOf"][0] if "anyOf" in at else at
        return schema["$defs"][at["$ref"].rpartition("/")[2]] if "$ref" in at else at

    def fields(part: dict[str, Any], at: dict[str, Any]) -> None:
        """Nothing is printed that the schema does not know."""
        assert part.keys() == at["properties"].keys()
        for key, inner in part.items():
            for one in inner if isinstance(inner, list) else [inner]:
                if isinstance(one, dict):
                    fields(one, definition(at["properties"][key]))

    fields(found, schema)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_json_knows_no_infinity(value: float) -> None:
    text = document("diff", comparison_fields(comparison(file(tensor("a", value)))))
    assert "Infinity" not in text
    assert "NaN" not in text
    assert '"relative_l2": null' in text
