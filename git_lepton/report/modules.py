"""The tensors that differ as a tree of modules, laid out in rows: what a terminal shows of one file.

What stayed the same is not there at all. Of the rest, a layer (see `layers`) is one row, its tensors are rows below it
while they are few, and what is above a layer is a heading that only stands where it joins several rows. Everywhere the
most changed comes first, and a long list ends in one row that counts what it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from git_lepton.compare.values import FileChange, TensorChange
from git_lepton.report.layers import Layer, has_new_values, layers, relative_l2
from git_lepton.report.review_words import by_importance, visible

FEW_TENSORS: Final = 16
"""Up to so many tensors of a file all have a row; of more, only those that are alone in their layer."""
LONGEST_LIST: Final = 24
"""Rows below one heading; a deep network has more layers than anybody reads."""
_DEEPEST: Final = 32
"""Modules in modules; what is deeper counts as one name."""
_PART: Final = re.compile(r"[^./]*[./]?")
_SEPARATORS: Final = "./"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tree.

    Attributes:
        depth: 0 for the top.
        label: the part of the name that the rows above do not have.
        changes: what it stands for; one for a tensor.
        tensor: it is one tensor, not a layer.
        relative: norm of the difference by the norm before, over all of `changes`; None for a heading and without
            numbers.
    """

    depth: int
    label: str
    changes: tuple[TensorChange, ...]
    tensor: bool = False
    relative: float | None = None


@dataclass(slots=True)
class _Node:
    """A part of a name: the layer that ends here, if one does, and what goes on below."""

    layer: Layer | None = None
    below: dict[str, _Node] = field(default_factory=dict)
    weight: tuple[float, bool] = (-2.0, False)


def rows(file: FileChange, *, everything: bool = False) -> list[Row]:
    """The tree of one file.

    Args:
        file: what became of it.
        everything: a row for each tensor, however many there are.
    """
    top = _Node()
    for layer in layers(file):
        node = top
        weight = _weight(layer)
        for part in _parts(layer.name):
            node.weight = max(node.weight, weight)
            node = node.below.setdefault(part, _Node())
        node.layer, node.weight = layer, max(node.weight, weight)
    return list(_below(top, 0, everything, everything or len(file.tensors) <= FEW_TENSORS))


def _weight(layer: Layer) -> tuple[float, bool]:
    """What orders layers: size of the change, then whether there are other values at all; the rest is file order."""
    relative = layer.relative_l2
    return (-1.0 if relative is None else relative, any(map(has_new_values, layer.changes)))


def _parts(name: str) -> list[str]:
    parts = [part for part in _PART.findall(name) if part]
    return [*parts[:_DEEPEST], *filter(None, ["".join(parts[_DEEPEST:])])] or [name]


def _below(node: _Node, depth: int, everything: bool, open_layers: bool) -> Iterator[Row]:
    """The rows under a node, the most changed first."""
    children = sorted(node.below.items(), key=lambda item: item[1].weight, reverse=True)
    shown = len(children) if everything or len(children) <= LONGEST_LIST else LONGEST_LIST - 1
    for part, child in children[:shown]:
        label, inner = _joined(part, child)
        if inner.layer is not None:
            yield from _layer_rows(inner.layer, label, depth, open_layers)
            yield from _below(inner, depth + 1, everything, open_layers)
        else:
            yield Row(depth, _label(label), ())
            yield from _below(inner, depth + 1, everything, open_layers)
    if rest := children[shown:]:
        changes = tuple(change for _, child in rest for change in _changes(child))
        yield Row(depth, f"{len(rest):,} more", changes, relative=relative_l2(changes))


def _joined(part: str, node: _Node) -> tuple[str, _Node]:
    """A node with those below it that are alone in theirs: `encoder.layer.` is one heading."""
    while node.layer is None and len(node.below) == 1:
        ((name, node),) = node.below.items()
        part += name
    return part, node


def _layer_rows(layer: Layer, label: str, depth: int, open_layers: bool) -> Iterator[Row]:
    changes = layer.changes
    if len(changes) == 1:
        (change,) = changes
        yield _tensor_row(depth, label + change.name.removeprefix(layer.name), change)
        return
    yield Row(depth, _label(label), changes, relative=relative_l2(changes))
    if open_layers:
        for change in by_importance(changes):
            yield _tensor_row(depth + 1, change.name.removeprefix(layer.name).lstrip(_SEPARATORS), change)


def _tensor_row(depth: int, label: str, change: TensorChange) -> Row:
    return Row(depth, visible(label), (change,), tensor=True, relative=relative_l2((change,)))


def _label(text: str) -> str:
    return visible(text.rstrip(_SEPARATORS) or text)


def _changes(node: _Node) -> Iterable[TensorChange]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.layer is not None:
            yield from one.layer.changes
        waiting += one.below.values()
