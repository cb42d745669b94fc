"""Metrics by name: which way is better, what kind of answers they judge, and how they are computed.

Ours are listed; "top3", "ndcg@10" and the like carry a number. "package.module:function" is a function of the
repository, called with labels and outputs as they are, and any other name one of `sklearn.metrics` ("cohen_kappa" or
"cohen_kappa_score"), called with labels and predictions; of these, names with "loss" or "error" are better when lower.
Either may return one number, or one for each example, which makes a verdict sharper and faster.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from git_lepton.config.values import Direction, GateRule, Task
from git_lepton.errors import UsageError
from git_lepton.gate import scores
from git_lepton.gate.outputs import Examples

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

LIKENESS: Final[Mapping[str, Direction]] = {"agreement": "higher", "kl": "lower", "output_error": "lower"}
"""Metrics that need no labels: how alike a model is to the one it is compared with."""

_NUMBERED: Final = re.compile(r"(top|ndcg@)([1-9][0-9]{0,5})")
_WORSE: Final = re.compile(r"loss|error|deviance|distance")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: `each` gives a value for each example, whose mean it is; or `whole` gives one number."""

    task: Task
    direction: Direction
    each: Callable[[Examples], Array] | None = None
    whole: Callable[[Examples], float] | None = None

    def value(self, examples: Examples) -> float:
        """The metric over all examples; NaN when undefined."""
        if not len(examples):
            return float("nan")
        if self.each is not None:
            return float(self.each(examples).mean())
        assert self.whole is not None
        return self.whole(examples)


_AVERAGES: Final[tuple[scores.Average, ...]] = ("binary", "macro", "micro", "weighted")
_PARTS: Final[tuple[scores.Part, ...]] = ("precision", "recall", "f1")

METRICS: Final[Mapping[str, Metric]] = {
    "accuracy": Metric("classification", "higher", each=scores.hits),
    "balanced_accuracy": Metric("classification", "higher", whole=scores.balanced_accuracy),
    "auc": Metric("classification", "higher", whole=scores.auc),
    "roc_auc": Metric("classification", "higher", whole=scores.auc),
    "log_loss": Metric("classification", "lower", each=scores.surprise),
    "brier": Metric("classification", "lower", each=scores.brier),
    "ece": Metric("classification", "lower", whole=scores.ece),
    "mae": Metric("regression", "lower", each=scores.absolute_errors),
    "mse": Metric("regression", "lower", each=scores.squared_errors),
    "rmse": Metric("regression", "lower", whole=scores.rmse),
    "r2": Metric("regression", "higher", whole=scores.r2),
    "pearson": Metric("regression", "higher", whole=scores.pearson),
    "spearman": Metric("regression", "higher", whole=scores.spearman),
    "ndcg": Metric("ranking", "higher", each=scores.ndcg),
    "mrr": Metric("ranking", "higher", each=scores.reciprocal_ranks),
    **{
        name: Metric("classification", "higher", whole=partial(scores.part, which=name, average="auto"))
        for name in _PARTS
    },
    **{
        f"{name}_{average}": Metric("classification", "higher", whole=partial(scores.part, which=name, average=average))
        for name in _PARTS
        for average in _AVERAGES
    },
}


def find(name: str) -> Metric | None:
    """The metric of ours with this name, or None."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return METRICS.get(name)
    count = int(numbered[2])
    if numbered[1] == "top":
        return Metric("classification", "higher", each=partial(scores.top_hits, k=count))
    return Metric("ranking", "higher", each=partial(scores.ndcg, k=count))


def is_function(name: str) -> bool:
    """Whether `name` is spelled "package.module:function"."""
    return ":" in name


def direction(rule: GateRule) -> Direction:
    """Which way is better: what the rule says, else what its metric means."""
    if rule.direction is not None:
        return rule.direction
    metric = find(rule.metric)
    if metric is not None:
        return metric.direction
    if rule.metric in LIKENESS:
        return LIKENESS[rule.metric]
    return "lower" if _WORSE.search(rule.metric) and not is_function(rule.metric) else "higher"


def load_function(name: str) -> Callable[..., Any]:
    """Import "package.module:function".

    Raises:
        UsageError: there is no such module or function.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {name}: {error}") from error
    if not callable(found):
        raise UsageError(f"{name} is no function")
    return found  # type: ignore[no-any-return]


def from_sklearn(name: str) -> Callable[..., Any]:
    """A function of `sklearn.metrics` by its name, with or without "_score".

    Raises:
        UsageError: scikit-learn is not installed or has no such metric.
    """
    try:
        module = importlib.import_module("sklearn.metrics")
    except ImportError as error:
        raise UsageError(
            f"{name} is no metric of git-lepton's own, and scikit-learn is not installed", hint=_suggestion(name)
        ) from error
    found = getattr(module, name, None) or getattr(module, f"{name}_score", None)
    if not callable(found) or name.startswith("_"):
        raise UsageError(f"there is no metric {name!r}, in scikit-learn neither", hint=_suggestion(name, dir(module)))
    return found  # type: ignore[no-any-return]


def _suggestion(name: str, more: Iterable[str] = ()) -> str:
    """The metric that was meant, or all of ours; `more` are other names that would do."""
    ours = (*METRICS, *LIKENESS, "topN", "ndcg@N")
    theirs = (other for other in more if other.endswith(("_score", "_error", "_loss")))
    close = difflib.get_close_matches(name, dict.fromkeys((*ours, *theirs)), n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(ours)
