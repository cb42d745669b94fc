"""From what the gate found to what the record says: figures that a reviewer reads, rounded so that they diff well."""

from __future__ import annotations

from git_lepton.gate.values import (
    BudgetOutcome,
    ClassRow,
    GateOutcome,
    Interval,
    Measurement,
    ModelOutcome,
    SliceResult,
)
from git_lepton.record.values import (
    Budgeted,
    ClassFigures,
    Figure,
    Likeness,
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
        likeness=_likeness(found.likeness),
        teacher=_likeness(found.teacher),
        calibration_error=_round(found.calibration_error),
        calibration_error_before=_round(found.calibration_error_before),
        slices=tuple(map(_slice, found.slices[:MAX_SLICES])),
        classes=tuple(map(_classes, found.classes)),
        confusions=found.confusions,
    )


def _figure(found: Measurement | None) -> Figure | None:
    if found is None:
        return None
    low, high = _bounds(found.interval)
    return Figure(
        metric=found.metric,
        value=_round(found.value),
        n=found.n,
        against=found.against,
        baseline=_round(found.baseline),
        drop=_round(found.drop),
        low=low,
        high=high,
        needed=found.needed_n,
        limits=found.limits,
    )


def _slice(found: SliceResult) -> Slice:
    figure = found.measurement
    low, high = _bounds(figure.interval)
    return Slice(
        name=found.name,
        verdict=found.verdict,
        value=_round(figure.value),
        baseline=_round(figure.baseline),
        low=low,
        high=high,
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


def _likeness(found: Likeness | None) -> Likeness | None:
    if found is None:
        return None
    return Likeness(_round(found.agreement), _round(found.output_error), _round(found.kl), found.n)


def _budget(found: BudgetOutcome) -> Budgeted:
    low, high = _bounds(found.interval)
    return Budgeted(
        kind=found.kind,
        variant=found.variant,
        verdict=found.verdict,
        limit=float(found.limit),
        value=_round(found.value),
        low=low,
        high=high,
        n=found.n,
        reason=found.reason,
    )


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (_rounded(interval.low), _rounded(interval.high))


def _round(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    # Whole numbers (bytes) keep all their digits.
    return float(value) if float(value).is_integer() else float(f"{value:.{DIGITS}g}")
