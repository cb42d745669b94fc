"""The metrics themselves, in numpy alone: scikit-learn takes seconds to import and gives the same numbers.

Those that are a mean over examples return a value for each, so that a change can be told from chance example by
example; the others return one number, NaN where it is undefined. Classes are numbers into `Examples.names`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from git_lepton.errors import UsageError
from git_lepton.gate.outputs import Examples

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

Average = Literal["auto", "binary", "macro", "micro", "weighted"]
Part = Literal["precision", "recall", "f1"]

_BINS: Final = 15


def hits(examples: Examples) -> Array:
    """1 for each example whose class is right, else 0."""
    right: Array = (examples.truth == examples.answer).astype("float64")
    return right


def top_hits(examples: Examples, k: int) -> Array:
    """1 where the right class is among the `k` with the largest scores (of equal ones the later counts more)."""
    import numpy as np

    order = np.argsort(scores_of(examples), axis=1, kind="mergesort")[:, ::-1][:, :k]
    right: Array = (order == examples.truth[:, None]).any(axis=1).astype("float64")
    return right


def surprise(examples: Examples) -> Array:
    """Minus the logarithm of the right class's probability, in nats, cut off at the precision of float64."""
    import numpy as np

    scores = scores_of(examples)
    epsilon = np.finfo("float64").eps
    right = scores[np.arange(len(scores)), examples.truth]
    surprise: Array = -np.log(np.clip(right, epsilon, 1 - epsilon))
    return surprise


def brier(examples: Examples) -> Array:
    """Squared distance of the probabilities from the right answer; halved for two classes, as is usual."""
    import numpy as np

    scores = scores_of(examples)
    target = np.zeros_like(scores)
    target[np.arange(len(scores)), examples.truth] = 1
    squares: Array = ((scores - target) ** 2).sum(axis=1)
    return squares / 2 if scores.shape[1] == 2 else squares


def absolute_errors(examples: Examples) -> Array:
    """|error| of each example, averaged over its outputs."""
    return _flat(abs(examples.answer - examples.truth)).mean(axis=1)  # type: ignore[no-any-return]


def squared_errors(examples: Examples) -> Array:
    """Squared error of each example, averaged over its outputs."""
    return _flat((examples.answer - examples.truth) ** 2).mean(axis=1)  # type: ignore[no-any-return]


def rmse(examples: Examples) -> float:
    """Root of the mean squared error of each output, averaged over outputs."""
    return float((_flat((examples.answer - examples.truth) ** 2).mean(axis=0) ** 0.5).mean())


def r2(examples: Examples) -> float:
    """Coefficient of determination, averaged over outputs; NaN when the truth of an output is constant."""
    truth, answer = _flat(examples.truth), _flat(examples.answer)
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    if len(truth) < 2 or not spread.all():
        return float("nan")
    return float((1 - ((truth - answer) ** 2).sum(axis=0) / spread).mean())


def pearson(examples: Examples) -> float:
    """Correlation; NaN when either side is constant."""
    import numpy as np

    if examples.truth.ndim != 1:
        raise UsageError("a correlation needs one output for each example")
    x, y = examples.truth, examples.answer
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def spearman(examples: Examples) -> float:
    """Correlation of ranks, equal values sharing their middle rank."""
    if examples.truth.ndim != 1:
        raise UsageError("a correlation needs one output for each example")
    return pearson(Examples(ranks(examples.truth), ranks(examples.answer)))


def auc(examples: Examples) -> float:
    """Area under the ROC curve; of more than two classes the mean of each against the rest."""
    import numpy as np

    scores = scores_of(examples)
    kinds = range(1, 2) if scores.shape[1] == 2 else range(scores.shape[1])
    areas = []
    for kind in kinds:
        positive = examples.truth == kind
        count, others = int(positive.sum()), int((~positive).sum())
        if not count or not others:
            return float("nan")
        areas.append((ranks(scores[:, kind])[positive].sum() - count * (count + 1) / 2) / (count * others))
    return float(np.mean(areas))


def ece(examples: Examples) -> float:
    """Expected calibration error of the predicted class's probability, in 15 bins of equal width (Guo et al. 2017)."""
    import numpy as np

    scores = scores_of(examples)
    if not len(scores) or np.isnan(scores).any():
        return float("nan")
    confidence, right = scores.max(axis=1), hits(examples)
    bins = np.clip(np.ceil(confidence * _BINS).astype("int64") - 1, 0, _BINS - 1)
    gaps = np.bincount(bins, right - confidence, _BINS)
    return float(np.abs(gaps).sum() / len(scores))


def counts(examples: Examples) -> tuple[Array, Array, Array]:
    """For each class: how often it is right, how often predicted, how often true; [k] each."""
    import numpy as np

    size = len(examples.names)
    right = np.bincount(examples.truth[examples.truth == examples.answer], minlength=size)
    return right, np.bincount(examples.answer, minlength=size), np.bincount(examples.truth, minlength=size)


def class_parts(examples: Examples) -> dict[Part, Array]:
    """Precision, recall and F1 of each class [k]; 0 where they are undefined."""
    right, predicted, true = counts(examples)
    return {
        "precision": _share(right, predicted),
        "recall": _share(right, true),
        "f1": _share(2 * right, predicted + true),
    }


def part(examples: Examples, which: Part, average: Average) -> float:
    """Precision, recall or F1 over classes: of the second of two ("binary"), or averaged over those that occur.

    "auto" is binary for two classes, else macro.
    """
    right, predicted, true = counts(examples)
    if average == "auto":
        average = "binary" if len(right) <= 2 else "macro"
    if average == "micro":
        return float(right.sum() / true.sum()) if true.sum() else float("nan")
    values = class_parts(examples)[which]
    if average == "binary":
        if len(values) != 2:
            raise UsageError(f"{len(values)} classes are not two", hint=f'use "{which}_macro" or "{which}_micro"')
        return float(values[1])
    occurs = predicted + true > 0
    if not occurs.any():
        return float("nan")
    weights = true if average == "weighted" else occurs
    return float((values * weights).sum() / weights.sum())


def balanced_accuracy(examples: Examples) -> float:
    """Mean recall of the classes that occur."""
    right, _, true = counts(examples)
    occurs = true > 0
    return float((right[occurs] / true[occurs]).mean()) if occurs.any() else float("nan")


def ndcg(examples: Examples, k: int | None = None) -> Array:
    """Normalised discounted cumulative gain of each query over its first `k` items; ties share their gains."""
    import numpy as np

    truth, answer = _queries(examples)
    discounts = 1 / np.log2(np.arange(truth.shape[1]) + 2)
    if k is not None:
        discounts[k:] = 0
    ideal = -np.sort(-truth, axis=1) @ discounts
    gains = np.array([_tied_gain(t, a, discounts) for t, a in zip(truth, answer, strict=True)])
    return np.where(ideal > 0, gains / np.where(ideal > 0, ideal, 1), 0.0)


def reciprocal_ranks(examples: Examples) -> Array:
    """1 / the rank of each query's best relevant item (relevance above 0), 0 without any; ties count against it."""
    import numpy as np

    truth, answer = _queries(examples)
    best = np.where(truth > 0, answer, -np.inf).max(axis=1, keepdims=True)
    rank = (answer > best).sum(axis=1) + ((answer == best) & (truth <= 0)).sum(axis=1) + 1
    return np.where((truth > 0).any(axis=1), 1 / rank, 0.0)


def ranks(values: Array) -> Array:
    """Ranks from 1 [n]; equal values share their middle rank."""
    import numpy as np

    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    middle: Array = (last - (count - 1) / 2)[place]
    return middle


def scores_of(examples: Examples) -> Array:
    """The probabilities. Raises UsageError when the model gives none."""
    if examples.scores is None:
        raise UsageError(
            "this metric needs a score for each class, and the judged output holds predictions",
            hint='name the output with the probabilities: output = "…"',
        )
    return examples.scores


def _tied_gain(truth: Array, answer: Array, discounts: Array) -> float:
    """Gain of one query when items of equal score share the mean of their gains (McSherry & Najork 2008)."""
    import numpy as np

    _, place, count = np.unique(-answer, return_inverse=True, return_counts=True)
    means = np.bincount(place, truth) / count
    totals = np.add.reduceat(discounts, np.concatenate([[0], np.cumsum(count)[:-1]]))
    return float(means @ totals)


def _queries(examples: Examples) -> tuple[Array, Array]:
    if examples.truth.ndim != 2:
        raise UsageError("ranking needs one row of relevances for each query", hint="labels of shape [queries, items]")
    return examples.truth, examples.answer


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _share(part_of: Array, whole: Array) -> Array:
    import numpy as np

    shares: Array = np.where(whole > 0, part_of / np.where(whole > 0, whole, 1), 0.0)
    return shares
