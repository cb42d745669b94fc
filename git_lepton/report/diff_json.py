"""A comparison as JSON: what `diff --json`, `show --json` and `log --json` print, field by field in docs/reference.md.

JSON knows no NaN and no infinity: a figure that is one of them is null.
"""

from __future__ import annotations

import math
from typing import Any

from git_lepton.compare.values import Comparison, FactChange, FileChange, Moments, Numbers, TensorChange, TensorRef
from git_lepton.git.log import Commit


def comparison_fields(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison."""
    return {
        "before": comparison.before,
        "after": comparison.after,
        "summary": comparison.summary,
        "numbers": comparison.numbers,
        "sampled": comparison.sampled,
        "same_files": comparison.same_files,
        "files": [_file_fields(file) for file in comparison.files],
        "damaged": [{"path": path, "message": message} for path, message in comparison.damaged.items()],
    }


def commit_fields(commit: Commit) -> dict[str, Any]:
    """Who committed what, and when."""
    return {
        "commit": commit.oid,
        "parents": list(commit.parents),
        "author": commit.author,
        "email": commit.email,
        "date": commit.date,
        "subject": commit.subject,
        "body": commit.body,
    }


def _file_fields(file: FileChange) -> dict[str, Any]:
    return {
        "kind": file.kind,
        "before": file.before,
        "after": file.after,
        "format_before": file.format_before or None,
        "format_after": file.format_after or None,
        "size_before": file.size_before,
        "size_after": file.size_after,
        "same_tensors": file.same,
        "opaque": file.opaque,
        "facts": [_fact_fields(fact) for fact in file.facts],
        "tensors": [_tensor_fields(change) for change in file.tensors],
    }


def _fact_fields(fact: FactChange) -> dict[str, Any]:
    return {"topic": fact.topic, "key": fact.key, "before": fact.before, "after": fact.after}


def _tensor_fields(change: TensorChange) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "before": _ref_fields(change.before),
        "after": _ref_fields(change.after),
        "numbers": _numbers_fields(change.numbers),
        "note": change.note,
    }


def _ref_fields(ref: TensorRef | None) -> dict[str, Any] | None:
    if ref is None:
        return None
    return {"file": ref.file, "name": ref.name, "dtype": ref.dtype, "shape": list(ref.shape), "blake3": ref.hash}


def _numbers_fields(numbers: Numbers | None) -> dict[str, Any] | None:
    if numbers is None:
        return None
    return {
        "elements": numbers.elements,
        "compared": numbers.compared,
        "sampled": numbers.sampled,
        "changed": numbers.changed,
        "share": finite(numbers.share),
        "l2": finite(numbers.l2),
        "relative_l2": finite(numbers.relative_l2),
        "cosine": finite(numbers.cosine),
        "max_abs": finite(numbers.max_abs),
        "rank": numbers.rank,
        "before": _moment_fields(numbers.before),
        "after": _moment_fields(numbers.after),
    }


def _moment_fields(moments: Moments) -> dict[str, Any]:
    return {
        "mean": finite(moments.mean),
        "deviation": finite(moments.deviation),
        "zeros": moments.zeros,
        "nans": moments.nans,
        "infinities": moments.infinities,
    }


def finite(value: float) -> float | None:
    """A figure as JSON can say it."""
    return value if math.isfinite(value) else None
