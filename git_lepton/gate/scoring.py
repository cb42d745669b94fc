"""One model's answers as a number with what its uncertainty needs, and the difference of two such.

Whatever the metric, `Scored` knows its value, and either a value for each example or how to compute it again over
other rows: enough for slices and for a paired interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from git_lepton.config.values import Direction, GateRule
from git_lepton.errors import UsageError
from git_lepton.gate import metrics, outputs, statistics
from git_lepton.gate.data import Data
from git_lepton.gate.evaluators import Outputs
from git_lepton.gate.outputs import Examples
from git_lepton.gate.values import Interval

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """A metric of one model.

    Attributes:
        value: NaN when undefined.
        rows: examples; 0 when the evaluator tells one number only.
        each: a value for each example, whose mean `value` is.
        again: the metric over these rows.
        examples: truth and answers side by side, where they are known.
        raw: the answers as they were.
    """

    value: float
    rows: int = 0
    each: Array | None = None
    again: Callable[[Array], float] | None = None
    examples: Examples | None = None
    raw: Array | None = None

    def part(self, chosen: Array) -> Scored:
        """The same metric over `chosen` rows (numbers).

        Raises:
            UsageError: there is only one number for all.
        """
        if self.each is not None:
            each = self.each[chosen]
            return Scored(float(each.mean()) if len(each) else math.nan, len(each), each)
        if self.again is None:
            raise UsageError("slices need a value for each example, and the evaluator tells one number")
        again = self.again
        return Scored(again(chosen), len(chosen), again=lambda rows: again(chosen[rows]))


def score(rule: GateRule, answers: Outputs, data: Data | None) -> Scored:
    """The metric of a rule over what a model answered.

    Raises:
        UsageError: the answers do not fit the labels or the metric, or there are no labels.
    """
    if answers.value is not None:
        return Scored(answers.value)
    if answers.each is not None:
        return Scored(float(answers.each.mean()), len(answers.each), answers.each)
    assert answers.raw is not None
    if data is None or data.labels is None:
        raise UsageError(
            f"{rule.metric} needs labels, and the data has none",
            hint='name their array: labels = "…"; or judge likeness: metric = "agreement"',
        )
    metric = metrics.find(rule.metric)
    if metric is None:
        return _score_by_function(rule, answers, data)
    classes = data.classes or answers.classes
    if (rule.task or metric.task) == "classification":
        examples = outputs.classified(answers.raw, data.labels, classes)
    else:
        examples = outputs.measured(answers.raw, data.labels)
    if metric.each is not None:
        each = metric.each(examples)
        return Scored(float(each.mean()), len(each), each, None, examples, answers.raw)
    return Scored(metric.value(examples), len(examples), None, lambda rows: metric.value(examples.take(rows)), examples)


def drop(new: Scored, old: Scored, way: Direction) -> tuple[float, Interval | None]:
    """How much worse `new` is than `old` (positive is worse), and the paired interval where there can be one.

    Raises:
        UsageError: they are over different examples.
    """
    import numpy as np

    if new.rows != old.rows:
        raise UsageError(f"{new.rows} values cannot be paired with the {old.rows} of the other model")
    sign = 1.0 if way == "higher" else -1.0
    loss = sign * (old.value - new.value)
    if new.each is not None and old.each is not None:
        losses = sign * (old.each - new.each)
        return float(losses.mean()), statistics.paired(losses)
    before, after = old.again, new.again
    if before is None or after is None or not math.isfinite(loss):
        return loss, None
    if new.raw is not None and old.raw is not None and np.array_equal(new.raw, old.raw):
        return 0.0, Interval(0.0, 0.0, statistics.LEVEL)
    return loss, statistics.bootstrap(new.rows, lambda rows: sign * (before(rows) - after(rows)))


def _score_by_function(rule: GateRule, answers: Outputs, data: Data) -> Scored:
    """A function of the repository (labels, outputs), or one of scikit-learn (labels, predictions)."""
    import numpy as np

    assert answers.raw is not None
    assert data.labels is not None
    truth, given = data.labels, answers.raw
    examples = None
    if metrics.is_function(rule.metric):
        function = metrics.load_function(rule.metric)
    else:
        function = metrics.from_sklearn(rule.metric)
        if rule.task == "regression" or (rule.task is None and truth.dtype.kind == "f"):
            examples = outputs.measured(given, truth)
        else:
            examples = outputs.classified(given, truth, data.classes or answers.classes)
        truth, given = examples.truth, examples.answer
    value = np.asarray(function(truth, given), dtype="float64")
    if value.shape == (len(truth),):
        return Scored(float(value.mean()), len(value), value, None, examples)
    if value.ndim:
        raise UsageError(f"{rule.metric} gave shape {list(value.shape)}, and must give one number, or one an example")
    return Scored(float(value), len(truth), None, lambda rows: float(function(truth[rows], given[rows])), examples)
