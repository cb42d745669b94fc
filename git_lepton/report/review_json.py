"""A review as JSON: what `report --json` prints, field by field in docs/reference.md."""

from __future__ import annotations

from typing import Any

from git_lepton.report.diff_json import comparison_fields, finite
from git_lepton.report.review import GateRow, ReviewReport
from git_lepton.report.review_words import alarms


def review_fields(report: ReviewReport) -> dict[str, Any]:
    """The whole review: the comparison's own fields, then what each file costs, the gates, and what to look at."""
    return {
        **comparison_fields(report.comparison),
        "missing": report.missing,
        "warnings": alarms(report),
        "models": [
            {
                "path": model.change.path,
                "size_before": model.change.size_before,
                "size_after": model.change.size_after,
                "added": model.added,
            }
            for model in report.models
        ],
        "added": report.added,
        "gates": [_gate_fields(row) for row in report.gates],
    }


def _gate_fields(row: GateRow) -> dict[str, Any]:
    value, baseline, drop = (None if x is None else finite(x) for x in (row.value, row.baseline, row.drop))
    return {
        "model": row.model,
        "variant": row.variant,
        "gate": row.gate,
        "verdict": row.verdict,
        "value": value,
        "baseline": baseline,
        "drop": drop,
        "interval": None if row.interval is None else [finite(end) for end in row.interval],
        "n": row.n,
        "reason": row.reason,
    }
