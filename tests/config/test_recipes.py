"""The grammar of recipes: one spelling for each chain, and a suggestion for every other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.recipes import FORMATS, PREPARING, Step, parse_recipe
from git_lepton.errors import UsageError


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("int8", (Step("int8"),)),
        ("prune50+int8", (Step("prune", 50), Step("int8"))),
        ("ort+prune2:4+fp16", (Step("ort"), Step("prune2:4"), Step("fp16"))),
        ("gguf-q8_0", (Step("gguf-q8_0"),)),
        ("prune7", (Step("prune", 7),)),
    ],
)
def test_recipes_are_steps(text: str, steps: tuple[Step, ...]) -> None:
    assert parse_recipe(text) == steps
    assert "+".join(map(str, steps)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "int", "INT8", " int8", "int8+", "+int8", "int8 + fp16", "prune", "prune0", "prune100", "prune050"),
        *("int8+int8", "fp16+int8", "int8+prune50", "prune50+prune60", "prune50+prune2:4", "x" * 65, "int8\n"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_recipe(text)


def test_a_refusal_names_the_nearest_step() -> None:
    with pytest.raises(UsageError, match=r"'int9' in the recipe 'prune50\+int9'") as caught:
        parse_recipe("prune50+int9")
    assert caught.value.hint == "did you mean int8?"


@given(st.lists(st.sampled_from(sorted(PREPARING | FORMATS | {"prune50"})), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_what_is_accepted_is_spelled_in_one_way(words: list[str]) -> None:
    text = "+".join(words)
    try:
        steps = parse_recipe(text)
    except UsageError:
        return
    assert "+".join(map(str, steps)) == text
    assert sum(step.kind in FORMATS for step in steps) <= 1
