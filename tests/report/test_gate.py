"""What a person reads about a verdict: figures, reasons told once, options that a shell reads as they are meant."""

from __future__ import annotations

import shlex

import pytest

from git_lepton.gate.explain import Explanation, Suspect, Trial
from git_lepton.gate.values import BudgetOutcome, GateOutcome, ModelOutcome
from git_lepton.record.values import Record, TensorLoss, Variant
from git_lepton.report.gate import explanation_text, number, reasons, refusal_text
from git_lepton.values import Hash

HASH = Hash("0" * 64)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.98765, "0.9877"),
        (-0.00001, "0.0000"),
        (-0.5, "-0.5000"),
        (999.5, "999.5000"),
        (88_991_300.4, "88,991,300"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
    ],
)
def test_figures(value: float | None, text: str) -> None:
    assert number(value) == text


def stopped(gate: str, variant: str, reason: str, hint: str = "") -> GateOutcome:
    return GateOutcome(gate, variant, "fail", reason, hint, stops=True)


def test_a_reason_is_told_once_with_all_that_it_stops() -> None:
    outcome = ModelOutcome(
        "m",
        (
            stopped("acc", "", "it cannot be run", "say batch = 1"),
            stopped("acc", "int8", "it cannot be run", "say batch = 1"),
            GateOutcome("mae", "", "pass", "fine"),
            stopped("mae", "int8", "too far"),
        ),
        (BudgetOutcome("size_bytes", "int8", "fail", "too large", 1.0, stops=True),),
    )
    assert reasons(outcome) == [
        "  acc, acc of int8: it cannot be run",
        "    say batch = 1",
        "  mae of int8: too far",
        "  size_bytes of int8: too large",
    ]


def test_the_suggested_option_names_one_tensor_whatever_it_is_called() -> None:
    name = "it's [a] * \x1b b"
    variant = Variant("int8", 1, losses=(TensorLoss(name, 0.5, 1.0),))
    record = Record("m", "", "m.onnx", HASH, HASH, (), variant=(variant,))
    outcome = ModelOutcome("m", (stopped("acc", "int8", "too far"), stopped("mae", "int8", "too far")))
    text = refusal_text(outcome, record, unstaged=True)
    (command,) = (line.strip() for line in text.splitlines() if "--exclude" in line)
    assert shlex.split(command)[:4] == ["git", "lepton", "gate", "m"]
    assert shlex.split(command)[-1].startswith("int8=it's [[]a] [*] ")
    assert "\x1b" not in text
    assert text.index("git add -u") < text.index("--explain")


def test_an_explanation_without_a_suggestion_says_so() -> None:
    found = Explanation("fp8", (Suspect("a", 0.1),), (Trial(("a",), (stopped("acc", "fp8", "too far"),)),))
    assert "none of these is to blame alone" in explanation_text("m", found)
