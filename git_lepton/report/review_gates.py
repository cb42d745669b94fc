"""What the record of a model says of its gates and limits, as rows of a review.

A record is a claim that was committed with the model; `git lepton gate --range` in CI measures it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from git_lepton.record.values import Budgeted, Outcome, Record
from git_lepton.report.review import GateRow


def gate_rows(record: Record) -> Iterator[GateRow]:
    """One row for every gate and every limit, of the model and of its variants."""
    for outcome in record.outcome:
        yield _outcome_row(record.model, outcome)
    for limit in record.budget:
        yield _limit_row(record.model, limit)


def unreadable(model: str, reason: str) -> GateRow:
    """The row of a model whose record says nothing that holds."""
    return GateRow(model, "", "record", "not-measured", None, None, None, None, None, reason)


def _outcome_row(model: str, outcome: Outcome) -> GateRow:
    figure = outcome.figure
    if figure is None:
        return GateRow(
            model, outcome.variant, outcome.gate, outcome.verdict, None, None, None, None, None, outcome.reason
        )
    bounds = None if figure.low is None or figure.high is None else (figure.low, figure.high)
    return GateRow(
        model=model,
        variant=outcome.variant,
        gate=outcome.gate,
        verdict=outcome.verdict,
        value=figure.value,
        baseline=figure.baseline,
        drop=figure.drop,
        interval=bounds,
        n=figure.n or None,
        reason=outcome.reason,
    )


def _limit_row(model: str, limit: Budgeted) -> GateRow:
    reason = limit.reason or f"at most {limit.limit:g}"
    return GateRow(
        model, limit.variant, limit.kind, limit.verdict, limit.value, None, None, None, limit.n or None, reason
    )
