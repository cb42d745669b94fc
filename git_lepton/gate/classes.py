"""What a classifier does class by class: precision and recall, confusions gained, calibration."""

from __future__ import annotations

import math
from typing import Final

from git_lepton.gate import scores
from git_lepton.gate.outputs import Examples
from git_lepton.gate.values import ClassRow, ClassScore
from git_lepton.record.values import Confusion

MAX_CLASSES: Final = 50
MAX_CONFUSIONS: Final = 5
_MAX_MATRIX: Final = 2000


def class_rows(after: Examples | None, before: Examples | None, *, changed: bool = False) -> tuple[ClassRow, ...]:
    """Every class that the examples have, in its order; of more than fifty those whose F1 changed most, else the worst.

    With `changed`, only those in which the two models differ: of a variant, the rest is the original's.
    """
    if after is None or not after.names:
        return ()
    now, then = _class_scores(after), _class_scores(before) if before is not None else {}
    rows = [ClassRow(name, score, then.get(name)) for name, score in now.items()]
    rows = [row for row in rows if not changed or row.after != row.before]
    if len(rows) > MAX_CLASSES:
        told = sorted(rows, key=lambda row: abs(row.after.f1 - (row.before.f1 if row.before else 1.0)), reverse=True)
        kept = {row.label for row in told[:MAX_CLASSES]}
        rows = [row for row in rows if row.label in kept]
    return tuple(rows)


def confusions(after: Examples | None, before: Examples | None) -> tuple[Confusion, ...]:
    """The pairs confused more often than before, by how much more; without a model before, the most frequent."""
    if after is None or not after.names or len(after.names) > _MAX_MATRIX:
        return ()
    now = _confused(after)
    then = _confused(before) if before is not None else {}
    gained = sorted(now, key=lambda pair: (then.get(pair, 0) - now[pair], pair))[:MAX_CONFUSIONS]
    return tuple(Confusion(*pair, now[pair], then.get(pair, 0)) for pair in gained if now[pair] > then.get(pair, 0))


def calibration(examples: Examples | None) -> float | None:
    """Expected calibration error, where there are probabilities."""
    if examples is None or examples.scores is None:
        return None
    error = scores.ece(examples)
    return error if math.isfinite(error) else None


def _class_scores(examples: Examples) -> dict[str, ClassScore]:
    parts = scores.class_parts(examples)
    _, _, true = scores.counts(examples)
    return {
        name: ClassScore(
            float(parts["precision"][number]),
            float(parts["recall"][number]),
            float(parts["f1"][number]),
            int(true[number]),
        )
        for number, name in enumerate(examples.names)
        if true[number]
    }


def _confused(examples: Examples) -> dict[tuple[str, str], int]:
    import numpy as np

    size = len(examples.names)
    wrong = examples.truth != examples.answer
    pairs = np.bincount(examples.truth[wrong] * size + examples.answer[wrong], minlength=0)
    return {
        (examples.names[int(pair) // size], examples.names[int(pair) % size]): int(pairs[pair])
        for pair in np.flatnonzero(pairs)
    }
