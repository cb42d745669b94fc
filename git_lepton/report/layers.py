"""Changes of tensors gathered by layer: what a heat map and a list of the layers that changed most are made from.

A layer is named by the path to the first number in a tensor's name (`encoder.layer.4` of
`encoder.layer.4.attention.self.query.weight`), and by the path to the last part where there is no number. Names come
from files that nobody vouches for; here they are only cut, never interpreted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.compare.values import FileChange, TensorChange

_PARTS: Final = re.compile(r"[^./]+")
_STRUCTURAL: Final = frozenset({"added", "removed", "reshaped", "retyped"})


@dataclass(frozen=True, slots=True)
class Layer:
    """The tensors of one layer of one file.

    Attributes:
        file: path of the file.
        name: the part of the name that its tensors share.
        changes: what became of those that did not stay the same, in the order of the file.
        members: names of all its tensors that are in the newer file or were removed, in this order; those that stayed
            the same are known only when the caller gave the names.
    """

    file: str
    name: str
    changes: tuple[TensorChange, ...]
    members: tuple[str, ...]

    @property
    def relative_l2(self) -> float | None:
        """Relative size of the change over all its tensors with numbers: norm of the difference by norm of before."""
        return relative_l2(self.changes)

    @property
    def weight(self) -> tuple[float, int, int]:
        """What orders layers, the most changed the last: size of the change, then how many tensors, then elements."""
        structural = sum(change.kind in _STRUCTURAL for change in self.changes)
        relative = self.relative_l2
        return (-1.0 if relative is None else relative, structural, sum(map(elements, self.changes)))


def layer_of(name: str) -> str:
    """The layer that a tensor of this name belongs to; the name itself when it has one part."""
    parts = list(_PARTS.finditer(name))
    for part in parts:
        if part.group().isdecimal():
            return name[: part.end()]
    return name[: parts[-2].end()] if len(parts) > 1 else name


def layers(file: FileChange, names: Sequence[str] = ()) -> tuple[Layer, ...]:
    """The layers of one file, in the order in which its tensors first name them.

    Args:
        file: what became of it.
        names: of all tensors of the newer file; without them only tensors that changed are known.
    """
    changes: dict[str, list[TensorChange]] = {name: [] for name in names}
    for change in file.tensors:
        changes.setdefault(change.name, []).append(change)
    found: dict[str, tuple[list[TensorChange], list[str]]] = {}
    for name, of_name in changes.items():
        changed, members = found.setdefault(layer_of(name), ([], []))
        members.append(name)
        changed += of_name
    return tuple(Layer(file.path, name, tuple(changed), tuple(members)) for name, (changed, members) in found.items())


def most_changed(found: Iterable[Layer]) -> list[Layer]:
    """Layers with other values than before, the most changed first."""
    return sorted(
        (layer for layer in found if any(map(has_new_values, layer.changes))),
        key=lambda layer: layer.weight,
        reverse=True,
    )


def has_two_sides(file: FileChange) -> bool:
    """Whether there is something to compare: not all of the file is new, or gone."""
    return file.kind not in {"added", "removed"} or any(change.kind != file.kind for change in file.tensors)


def relative_l2(changes: Iterable[TensorChange]) -> float | None:
    """Norm of all differences by the norm of all values before; None without any numbers."""
    found = [change.numbers for change in changes if change.numbers is not None]
    if not found:
        return None
    difference = math.hypot(*(numbers.l2 for numbers in found))
    before = math.hypot(*(n.l2 / n.relative_l2 for n in found if 0 < n.relative_l2 < math.inf))
    if before == 0:
        return math.inf if difference else 0.0
    return difference / before


def has_new_values(change: TensorChange) -> bool:
    """Whether somebody who loads the model gets other numbers, not the same under another name or in another file."""
    return change.kind not in {"same", "renamed", "moved"} or change.numbers is not None


def elements(change: TensorChange) -> int:
    """How many numbers the tensor has, the larger side."""
    return max(ref.elements if ref else 0 for ref in (change.before, change.after))
