"""Examples to judge by: inputs, labels and slices out of one file, and the rows that a rule samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from git_lepton.config.values import GateRule
from git_lepton.errors import UsageError
from git_lepton.gate import arrays
from git_lepton.gate.outputs import signature

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

LABEL_NAMES: Final = ("labels", "label", "y", "target", "targets")
CLASS_NAMES: Final = "classes"
"""An array of this name holds the names of the classes, in the order of the model's outputs."""

_MIX: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Data:
    """One file of examples, sampled.

    Attributes:
        name: of the file, for messages.
        arrays: by name; those that have a row for each example hold the sampled ones only.
        rows: how many examples there are.
        labels: expected answers, or None.
        slices: the slice of each example as text, or None when the rule asks for none.
        classes: names of the classes; empty when the data does not tell.
        beside: names of arrays that are no inputs.
    """

    name: str
    arrays: Mapping[str, Array]
    rows: int
    labels: Array | None
    slices: Array | None
    classes: tuple[str, ...]
    beside: frozenset[str]

    @property
    def signature(self) -> str:
        """All arrays with type and shape."""
        return ", ".join(f"{name} {signature(array)}" for name, array in self.arrays.items()) or "nothing"


def load(path: Path, rule: GateRule) -> Data:
    """Read the examples of a gate.

    Raises:
        UsageError: an array that the rule names is missing, or has another number of rows than the labels.
        FormatError: the file is damaged.
    """
    found = arrays.read(path)
    name = rule.data or path.name
    label = _label_name(found, rule, name)
    rows = _count(found, label or rule.slices, name)
    beside = {key for key in (label, rule.slices, CLASS_NAMES) if key}
    if rule.slices is not None:
        if rule.slices not in found:
            raise UsageError(f"{name} has no array {rule.slices!r}, which slices the examples")
        if found[rule.slices].shape != (rows,):
            raise UsageError(f"slices {signature(found[rule.slices])} do not fit {rows} examples")
    classes = tuple(map(str, found[CLASS_NAMES].ravel().tolist())) if CLASS_NAMES in found else ()
    if rule.sample is not None and rule.sample < rows:
        chosen = sample(rows, rule.sample)
        found = {
            key: array[chosen] if array.ndim and len(array) == rows and key != CLASS_NAMES else array
            for key, array in found.items()
        }
        rows = len(chosen)
    labels = found[label] if label else None
    slices = found[rule.slices].astype(str) if rule.slices is not None else None
    return Data(name, found, rows, labels, slices, classes, frozenset(beside))


def sample(rows: int, count: int) -> Array:
    """`count` of the row numbers 0..rows-1, ascending: those whose splitmix64 hash is smallest.

    A row stays chosen when rows are added behind it, unless a new one takes its place.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        mixed = (np.arange(rows, dtype="uint64") + np.uint64(1)) * np.uint64(_MIX[2])
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX[0])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX[1])
        mixed ^= mixed >> np.uint64(31)
    chosen: Array = np.sort(np.argsort(mixed, kind="stable")[:count])
    return chosen


def _label_name(found: Mapping[str, Array], rule: GateRule, name: str) -> str | None:
    if rule.labels is not None:
        if rule.labels not in found:
            raise UsageError(f"{name} has no array {rule.labels!r} with labels", hint="it has " + ", ".join(found))
        return rule.labels
    taken = set(rule.inputs.values())
    return next((label for label in LABEL_NAMES if label in found and label not in taken), None)


def _count(found: Mapping[str, Array], decisive: str | None, name: str) -> int:
    """Examples in the file: as many as labels or slices, else as the longest array has rows."""
    if decisive is not None and decisive in found:
        sized = [found[decisive]]
    else:
        sized = [array for key, array in found.items() if key != CLASS_NAMES]
    rows = max((len(array) for array in sized if array.ndim), default=0)
    if not rows:
        raise UsageError(f"{name} holds no examples")
    return rows
