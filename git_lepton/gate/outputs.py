"""What a model's outputs mean: predictions and probabilities, labels matched to classes, likeness of two models.

Classification outputs are read like this. Floats [n, k] with k > 1: one score a class, the largest predicts. Floats
[n] or [n, 1]: the score of the second of two classes; it predicts from 0.5 on when all outputs lie in 0..1, else from
0 on (a logit). Anything else [n]: predictions themselves. Scores that are no distribution already (not negative, sums
of 1) become one by softmax or the logistic function, where a metric needs probabilities.

Labels are positions of classes 0..k-1, names of them where the data or the model tells the names, or rows with a
single 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from git_lepton.errors import UsageError
from git_lepton.record.values import Likeness

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

_SUM_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled examples with one model's answers, ready for a metric.

    Attributes:
        truth: class numbers [n], values [n] or [n, d], or relevances [n, items].
        answer: the model's, in the same shape.
        scores: probabilities [n, k] of the classes; None where the model gives none.
        names: of the classes; empty for regression and ranking.
    """

    truth: Array
    answer: Array
    scores: Array | None = None
    names: tuple[str, ...] = ()

    def take(self, rows: Array) -> Examples:
        """The examples at these rows (numbers or a mask)."""
        return Examples(
            self.truth[rows], self.answer[rows], None if self.scores is None else self.scores[rows], self.names
        )

    def __len__(self) -> int:
        return len(self.truth)


def classified(raw: Array, labels: Array, classes: tuple[str, ...] = ()) -> Examples:
    """Outputs [n, …] and labels [n] of classification.

    Raises:
        UsageError: they do not fit each other.
    """
    import numpy as np

    raw = _column(raw)
    if len(raw) != len(labels):
        raise UsageError(f"{len(raw)} outputs do not fit {len(labels)} labels")
    if raw.ndim == 1 and not _is_float(raw):
        return _predicted(raw, _one_hot(labels, None))
    if raw.ndim > 2:
        raise UsageError(
            f"outputs of shape {list(raw.shape)} are no scores of classes",
            hint="name another output, or judge them by a function: metric = 'package.module:function'",
        )
    probabilities = distribution(raw)
    count = probabilities.shape[1]
    names = classes or tuple(str(number) for number in range(count))
    if len(names) != count:
        raise UsageError(f"{len(names)} names of classes do not fit {count} outputs")
    truth = _numbers(_one_hot(labels, count), names, numbered=not classes)
    return Examples(truth, np.asarray(predictions(raw)), probabilities, names)


def measured(raw: Array, labels: Array) -> Examples:
    """Outputs and labels of regression or ranking, as float64 of one shape.

    Raises:
        UsageError: they do not fit each other.
    """
    raw, labels = _column(raw), _column(labels)
    if raw.shape != labels.shape or raw.dtype.kind not in "fiub" or labels.dtype.kind not in "fiub":
        raise UsageError(f"outputs {signature(raw)} do not fit labels {signature(labels)}")
    return Examples(labels.astype("float64"), raw.astype("float64"))


def predictions(raw: Array) -> Array:
    """The predicted class of each example [n]: the largest output, or what the model says itself."""
    raw = _column(raw)
    if not _is_float(raw):
        return raw
    if raw.ndim == 1:
        inside = bool(((raw >= 0) & (raw <= 1)).all())
        return (raw >= (0.5 if inside else 0.0)).astype("int64")
    answer: Array = raw.reshape(len(raw), -1).argmax(axis=1)
    return answer


def distribution(raw: Array) -> Array:
    """Probabilities [n, k] in float64 from scores [n, k] or, of the second of two classes, [n]."""
    import numpy as np

    scores = raw.astype("float64")
    if scores.ndim == 1:
        if not ((scores >= 0) & (scores <= 1)).all():
            scores = 1 / (1 + np.exp(-np.clip(scores, -700, 700)))
        return np.stack([1 - scores, scores], axis=1)
    if (scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) <= _SUM_TOLERANCE).all():
        return scores
    with np.errstate(invalid="ignore"):  # infinities give NaN, which no rule passes
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        answer: Array = scores / scores.sum(axis=1, keepdims=True)
    return answer


def likeness(raw: Array, other: Array) -> Likeness:
    """How alike `raw` is to the outputs of another model on the same examples.

    Raises:
        UsageError: they have different shapes.
    """
    import numpy as np

    raw, other = _column(raw), _column(other)
    if raw.shape != other.shape:
        raise UsageError(f"outputs {signature(raw)} and {signature(other)} cannot be compared")
    if not _is_float(raw) or not _is_float(other):
        return Likeness(agreement=float((raw == other).mean()), n=len(raw))
    error = float(np.abs(raw.astype("float64") - other).max()) if raw.size else 0.0
    agreement = float((predictions(raw) == predictions(other)).mean())
    kl = None
    if raw.ndim <= 2 and raw.size:
        mean = float(_divergence(distribution(other), distribution(raw)).mean())
        kl = mean if np.isfinite(mean) else None
    finite = bool(np.isfinite(error))
    return Likeness(agreement if finite else None, error if finite else None, kl, len(raw))


def _divergence(target: Array, answer: Array) -> Array:
    """Kullback-Leibler divergence [n] of `answer` from `target`, in nats; what `target` excludes does not count."""
    import numpy as np

    tiny = float(np.finfo("float64").tiny)
    logs = np.log(np.maximum(target, tiny)) - np.log(np.maximum(answer, tiny))
    divergence: Array = np.maximum(np.where(target > 0, target * logs, 0.0).sum(axis=1), 0.0)
    return divergence


def signature(array: Array) -> str:
    """Type and shape as people write them: `float32[2000, 64]`."""
    kind = "string" if array.dtype.kind in "OUS" else str(array.dtype)
    return f"{kind}{list(array.shape)}"


def _is_float(raw: Array) -> bool:
    return bool(raw.dtype.kind == "f")


def _column(raw: Array) -> Array:
    """[n, 1] as [n]."""
    return raw[:, 0] if raw.ndim == 2 and raw.shape[1] == 1 else raw


def _one_hot(labels: Array, count: int | None) -> Array:
    """Labels [n], also from rows with a single 1."""
    labels = _column(labels)
    numeric = labels.ndim == 2 and labels.dtype.kind in "iubf" and count in {None, labels.shape[1]}
    if numeric and ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all():
        places: Array = labels.argmax(axis=1)
        return places
    if labels.ndim != 1:
        raise UsageError(f"labels {signature(labels)} are no classes", hint="give one label for each example")
    return labels


def _numbers(labels: Array, names: tuple[str, ...], *, numbered: bool) -> Array:
    """Labels as positions in `names`."""
    import numpy as np

    if labels.dtype.kind in "OUS":
        texts = _texts(labels)
        if numbered:
            raise UsageError(
                "the labels are names, and nothing tells which output belongs to which",
                hint='add an array "classes" with the names in the order of the outputs to the data',
            )
    elif numbered or not {str(label) for label in np.unique(labels)} <= set(names):
        return _positions(labels, len(names))
    else:
        texts = [str(label) for label in labels.tolist()]
    places = {name: place for place, name in enumerate(names)}
    unknown = next((text for text in texts if text not in places), None)
    if unknown is not None:
        raise UsageError(f"the label {unknown!r:.80} is none of the {len(names)} classes")
    return np.array([places[text] for text in texts], dtype="int64")


def _positions(labels: Array, count: int) -> Array:
    whole = labels.astype("int64")
    if labels.dtype.kind == "f" and not (whole == labels).all():
        raise UsageError("the labels are fractions, not classes", hint='set task = "regression", or another metric')
    if len(whole) and (whole.min() < 0 or whole.max() >= count):
        raise UsageError(f"the labels reach from {whole.min()} to {whole.max()}, but the model has {count} outputs")
    return whole


def _predicted(raw: Array, labels: Array) -> Examples:
    """A model that says classes itself: names or numbers."""
    import numpy as np

    said, expected = _texts(raw), _texts(labels)
    numeric = raw.dtype.kind in "iub" and labels.dtype.kind in "iubf"
    names = sorted({*said, *expected}, key=(lambda text: (float(text), text)) if numeric else None)
    places = {name: place for place, name in enumerate(names)}
    truth, answer = ([places[text] for text in texts] for texts in (expected, said))
    return Examples(np.array(truth, dtype="int64"), np.array(answer, dtype="int64"), None, tuple(names))


def _texts(labels: Array) -> list[str]:
    whole = labels.astype("int64") if labels.dtype.kind in "fb" else labels
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in whole.tolist()]
