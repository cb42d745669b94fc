"""Two policies compared: what counts as looser, and which rules hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.values import Budget, GateRule, ModelSettings, TeacherRule, Tolerance, VariantRule
from git_lepton.gate.policy import binding, compare

RULE = GateRule("accuracy", data="t.npz", min=0.9, max_drop=Tolerance(0.01))
MODEL = ModelSettings("m", "m", ("*.onnx",), "m.onnx", gates=(RULE,), budget=Budget(size_bytes={"int8": 100}))


def with_rule(**changed: object) -> ModelSettings:
    return replace(MODEL, gates=(replace(RULE, **changed),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "loosened"),
    [
        ({"min": 0.8}, True),
        ({"min": 0.95}, False),
        ({"min": None}, True),
        ({"max": 3.0}, False),
        ({"max_drop": Tolerance(0.02)}, True),
        ({"max_drop": Tolerance(0.005)}, False),
        ({"max_drop": None}, True),
        ({"max_drop": Tolerance(0.01, relative=True)}, True),
        ({"metric": "f1"}, True),
        ({"data": "easy.npz"}, True),
        ({"sample": 10}, True),
        ({"when": "ci"}, True),
        ({"first": "fail"}, False),
        ({"on_inconclusive": "fail"}, False),
        ({"timeout": 5.0}, False),
        ({"slices": "country"}, True),
        ({"variants": {"int8": VariantRule(min_agreement=0.9)}}, False),
        ({"teacher": TeacherRule(min_agreement=0.9)}, True),
    ],
)
def test_a_change_of_a_rule(changed: dict[str, object], loosened: bool) -> None:
    after = with_rule(**changed)
    found = compare(MODEL, after)
    assert [change.loosened for change in found] == [loosened]
    assert binding(MODEL, after).gates == (MODEL if loosened else after).gates
    if "when" not in changed and "first" not in changed and "on_inconclusive" not in changed:
        assert compare(after, after) == []


def test_words_of_a_policy_are_looser_in_one_direction() -> None:
    for field, strict, loose in (
        ("when", "commit", "ci"),
        ("first", "fail", "record"),
        ("on_inconclusive", "fail", "warn"),
    ):
        one, two = with_rule(**{field: strict}), with_rule(**{field: loose})
        assert [c.loosened for c in compare(one, two)] == [True]
        assert [c.loosened for c in compare(two, one)] == [False]


def test_rules_of_variants_and_of_the_teacher() -> None:
    before = with_rule(variants={"int8": VariantRule(min_agreement=0.99)}, teacher=TeacherRule(max_kl=0.1))
    after = with_rule(variants={"int8": VariantRule(min_agreement=0.9)}, teacher=TeacherRule(max_kl=0.2))
    assert {(c.key, c.loosened) for c in compare(before, after)} == {
        ("gate.accuracy.variants.int8.min_agreement", True),
        ("gate.accuracy.teacher.max_kl", True),
    }
    assert [c.loosened for c in compare(before, with_rule(teacher=before.gates[0].teacher))] == [True]


def test_gates_budgets_anchor_and_whole_models() -> None:
    second = GateRule("f1", data="t.npz", metric="f1")
    assert [(c.key, c.loosened) for c in compare(MODEL, replace(MODEL, gates=(RULE, second)))] == [("gate.f1", False)]
    assert [(c.key, c.loosened) for c in compare(MODEL, replace(MODEL, gates=()))] == [("gate.accuracy", True)]
    assert binding(MODEL, replace(MODEL, gates=(second,))).gates == (second, RULE)
    loose = replace(MODEL, budget=Budget(size_bytes={"int8": 200}), baseline="HEAD", files=("*",))
    assert {(c.key, c.loosened) for c in compare(MODEL, loose)} == {
        ("budget.size_bytes.int8", True),
        ("baseline", True),
        ("files", False),
    }
    held = binding(MODEL, loose)
    assert (held.budget.size_bytes, held.baseline, held.files) == ({"int8": 100}, None, ("*",))
    assert [(c.after, c.loosened) for c in compare(MODEL, None)] == [("gone", True)]
    assert compare(None, MODEL) == []
    assert binding(None, MODEL) is MODEL


limits = st.none() | st.floats(0, 1)


@settings(deadline=None, max_examples=50)
@given(limits, limits)
def test_of_two_limits_the_stricter_holds(one: float | None, two: float | None) -> None:
    before, after = with_rule(min=one), with_rule(min=two)
    held = binding(before, after).gates[0].min
    known = [value for value in (one, two) if value is not None]
    assert held == (max(known) if known else None)
