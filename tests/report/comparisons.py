"""Comparisons made by hand, for tests of what shows them."""

from __future__ import annotations

import math

from git_lepton.compare.values import (
    Comparison,
    FactChange,
    FileChange,
    Moments,
    Numbers,
    TensorChange,
    TensorKind,
    TensorRef,
)
from git_lepton.values import Hash

PATH = "models/bert.safetensors"


def ref(
    name: str, shape: tuple[int, ...] = (4, 4), *, dtype: str = "F32", file: str = PATH, seed: int = 0
) -> TensorRef:
    return TensorRef(PATH, name, dtype, shape, Hash(f"{seed:064x}"))


def numbers(relative: float, *, share: float = 1.0, elements: int = 16, rank: int | None = None) -> Numbers:
    norm = 1.0 if math.isinf(relative) else relative
    moments = Moments(0.0, 0.5, 0, 0, 0)
    return Numbers(
        elements=elements,
        compared=elements,
        sampled=False,
        changed=round(share * elements),
        l2=norm,
        relative_l2=relative,
        cosine=0.99,
        max_abs=norm / 2,
        before=moments,
        after=moments,
        rank=rank,
    )


def tensor(
    name: str,
    relative: float | None = None,
    *,
    kind: TensorKind = "changed",
    old: TensorRef | None = None,
    shape: tuple[int, ...] = (4, 4),
    dtype: str = "F32",
    rank: int | None = None,
    note: str = "",
) -> TensorChange:
    before = None if kind == "added" else old or ref(name, shape, dtype=dtype)
    after = None if kind == "removed" else ref(name, shape, dtype=dtype, seed=1)
    return TensorChange(kind, before, after, None if relative is None else numbers(relative, rank=rank), note)


def file(*tensors: TensorChange, same: int = 0, facts: tuple[FactChange, ...] = (), path: str = PATH) -> FileChange:
    return FileChange(
        "changed", path, path, "safetensors", "safetensors", 3 << 20, 4 << 20, tensors, same=same, facts=facts
    )


def comparison(*files: FileChange, summary: str = "layers 1-2 fine-tuned", sampled: bool = False) -> Comparison:
    measured = any(change.numbers for one in files for change in one.tensors)
    return Comparison("main", "work tree", files, 2, measured, sampled, summary)


PARTS = ("query.bias", "query.weight", "key.weight", "value.weight", "dense.weight", "norm.weight")


def fine_tuned() -> Comparison:
    """Two layers of a transformer with other values, the second more than the first; a larger vocabulary."""
    tensors = [
        tensor(f"encoder.layer.{layer}.attention.{part}", 0.01 * layer + 0.001 * at)
        for layer in (1, 2, 11)
        for at, part in enumerate(PARTS)
    ]
    grown = tensor(
        "embeddings.word.weight", 0.0, kind="reshaped", old=ref("embeddings.word.weight", (4, 4)), shape=(6, 4)
    )
    return comparison(
        file(
            *tensors,
            grown,
            tensor("classifier.weight", kind="added"),
            tensor("pooler.dense.weight", math.inf),
            tensor("pooler.dense.bias", kind="renamed", old=ref("pool.bias")),
            same=70,
            facts=(FactChange("metadata", "epoch", "3", "4"), FactChange("metadata", "by", None, "me")),
        )
    )
