"""Which tensor of which stored version a changed tensor most likely descends from.

Names come first. Exporters renumber names from one release to the next, so what is left over corresponds by order
among tensors of the same type and shape, where both files have equally many. A wrong guess costs only size: the
encoder takes a delta when it is smaller, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import DTYPES, Hash, Tensor

MAX_OPTIONS: Final = 3
"""Bases tried for one tensor."""


@dataclass(frozen=True, slots=True)
class BaseStream:
    """A tensor of a stored version: its element type and the hashes of the version and of its bytes."""

    version: Hash
    stream: Hash
    dtype: str


def find_bases(
    tensors: Sequence[TensorLine | Tensor], wanted: Iterable[int], candidates: Sequence[Manifest]
) -> dict[int, tuple[BaseStream, ...]]:
    """For each tensor number in `wanted`, the tensors worth subtracting, the most promising first.

    Args:
        tensors: those of the new file, in order.
        wanted: numbers of the tensors that are not stored yet.
        candidates: manifests of stored versions, the closest relative first.
    """
    options: dict[int, list[BaseStream]] = {number: [] for number in wanted}
    for manifest in candidates:
        by_name = {t.name: t for t in manifest.tensors}
        unmatched = []
        for number, found in options.items():
            tensor = tensors[number]
            base = by_name.get(tensor.name)
            if base is not None and _comparable(tensor, base):
                found.append(BaseStream(manifest.blake3, base.hash, base.dtype))
            elif base is None:
                unmatched.append(number)
        for number, base in _by_order(tensors, unmatched, manifest).items():
            options[number].append(BaseStream(manifest.blake3, base.hash, base.dtype))
    return {number: tuple(dict.fromkeys(found))[:MAX_OPTIONS] for number, found in options.items() if found}


def _comparable(tensor: TensorLine | Tensor, base: TensorLine) -> bool:
    """Same elements in the same places: only the first dimension may have grown or shrunk."""
    known = tensor.dtype in DTYPES and base.dtype in DTYPES
    same_type = tensor.dtype == base.dtype or (
        known and DTYPES[tensor.dtype].kind == "float" and DTYPES[base.dtype].kind == "float"
    )
    return same_type and len(tensor.shape) == len(base.shape) and tensor.shape[1:] == base.shape[1:]


def _by_order(
    tensors: Sequence[TensorLine | Tensor], unmatched: Sequence[int], manifest: Manifest
) -> dict[int, TensorLine]:
    """Pair what has no namesake on either side, k-th with k-th of the same type and shape, where counts agree."""
    names = {t.name for t in tensors}
    theirs: dict[tuple[str, tuple[int, ...]], list[TensorLine]] = {}
    for line in manifest.tensors:
        if line.name not in names:
            theirs.setdefault((line.dtype, line.shape), []).append(line)
    their_names = {t.name for t in manifest.tensors}
    ours: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for number, tensor in enumerate(tensors):
        if tensor.name not in their_names:
            ours.setdefault((tensor.dtype, tensor.shape), []).append(number)
    wanted = set(unmatched)
    return {
        number: base
        for key, numbers in ours.items()
        if len(numbers) == len(theirs.get(key, ()))
        for number, base in zip(numbers, theirs[key], strict=True)
        if number in wanted
    }
