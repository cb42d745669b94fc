"""From what the gate found to what the record says: figures that a reviewer reads, rounded so that they diff well."""

from __future__ import annotations

from git_lepton.gate.values import (
    BudgetOutcome,
    ClassRow,
    GateOutcome,
    Likeness,
    Measurement,
    ModelOutcome,
    SliceResult,
)
from git_lepton.record.values import (
    Alike,
    Budgeted,
    ClassFigures,
    Confused,
    Figure,
    Outcome,
    Slice,
)

DIGITS = 6
"""Significant digits of a figure: what is beyond them changes from host to host."""
MAX_SLICES = 200


def outcomes(found: ModelOutcome) -> tuple[Outcome, ...]:
    """Every gate on the model and its variants."""
    return tuple(_outcome(outcome) for outcome in found.gates)


def budgets(found: ModelOutcome) -> tuple[Budgeted, ...]:
    """Every limit of size, time and memory."""
    return tuple(_budget(outcome) for outcome in found.budgets)


def _outcome(found: GateOutcome) -> Outcome:
    return Outcome(
        gate=found.gate,
        variant=found.variant,
        verdict=found.verdict,
        reason=found.reason,
        figure=_figure(found.measurement),
        head=_figure(found.head),
        likeness=_alike(found.likeness),
        teacher=_alike(found.teacher),
        calibration_error=_round(found.calibration_error),
        calibration_error_before=_round(found.calibration_error_before),
        slices=tuple(map(_slice, found.slices[:MAX_SLICES])),
        classes=tuple(map(_classes, found.classes)),
        confusions=tuple(Confused(c.expected, c.predicted, c.after, c.before) for c in found.confusions),
    )


def _figure(found: Measurement | None) -> Figure | None:
    if found is None:
        return None
    return Figure(
        metric=found.metric,
        value=_round(found.value),
        n=found.n,
        against=found.against,
        baseline=_round(found.baseline),
        drop=_round(found.drop),
        low=_round(found.interval.low) if found.interval else None,
        high=_round(found.interval.high) if found.interval else None,
        needed=found.needed_n,
        limits=found.limits,
    )


def _slice(found: SliceResult) -> Slice:
    figure = found.measurement
    return Slice(
        name=found.name,
        verdict=found.verdict,
        value=_round(figure.value),
        baseline=_round(figure.baseline),
        low=_round(figure.interval.low) if figure.interval else None,
        high=_round(figure.interval.high) if figure.interval else None,
        n=figure.n,
        reason=found.reason,
    )


def _classes(found: ClassRow) -> ClassFigures:
    after, before = found.after, found.before
    return ClassFigures(
        label=found.label,
        support=after.support,
        precision=_rounded(after.precision),
        recall=_rounded(after.recall),
        f1=_rounded(after.f1),
        before_precision=_round(before.precision) if before else None,
        before_recall=_round(before.recall) if before else None,
        before_f1=_round(before.f1) if before else None,
    )


def _alike(found: Likeness | None) -> Alike | None:
    if found is None:
        return None
    return Alike(_round(found.agreement), _round(found.output_error), _round(found.kl), found.n)


def _budget(found: BudgetOutcome) -> Budgeted:
    return Budgeted(
        kind=found.kind,
        variant=found.variant,
        verdict=found.verdict,
        limit=float(found.limit),
        value=_round(found.value),
        low=_round(found.interval.low) if found.interval else None,
        high=_round(found.interval.high) if found.interval else None,
        n=found.n,
        reason=found.reason,
    )


def _round(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    # Whole numbers (bytes) keep all their digits.
    return float(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")
