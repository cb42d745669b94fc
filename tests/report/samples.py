"""Reviews made by hand: a fine-tune of a small transformer, and one whose names try to be markup."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from git_lepton.report.review import GateRow, ModelReview, ReviewReport
from git_lepton.values import Hash

ROLES = (
    "attention.query.weight",
    "attention.query.bias",
    "attention.key.weight",
    "attention.value.weight",
    "attention.output.weight",
    "attention.norm.weight",
    "intermediate.weight",
    "output.weight",
    "output.norm.weight",
)

HOSTILE = (
    "<script>alert(1)</script>",
    "a | b | c",
    "`rm -rf`",
    "``` x",
    "line\nbreak\n# heading",
    "\u202etxt.exe\u200b",
    "</details><img src=x onerror=alert(1)>",
    "![x](http://evil.example/p.png)",
    "[x](javascript:alert(1))",
    "@octocat #1 www.evil.example https://evil.example me@evil.example",
    "a\\|b\\",
    "\udcff",
    "--><b>x</b><!--",
    "**bold** _em_ ~~x~~ $x$",
    "&lt;b&gt; &#60;",
    "",
    "x" * 10_000,
    '" onmouseover="alert(1)',
    "'><svg onload=alert(1)>",
)


def moments(nans: int = 0, zeros: int = 0) -> Moments:
    return Moments(0.0, 0.02, zeros, nans, 0)


def numbers(relative: float, *, nans: int = 0, bins: int = 41) -> Numbers:
    middle = bins // 2
    counts = tuple(round(1000 * math.exp(-(((n - middle) / 6) ** 2))) for n in range(bins))
    return Numbers(
        elements=147456,
        compared=147456,
        sampled=False,
        changed=147000,
        l2=relative * 7.7,
        relative_l2=relative,
        cosine=1 - relative**2 / 2,
        max_abs=relative / 9,
        before=moments(),
        after=moments(nans),
        histogram=counts,
    )


def ref(name: str, file: str = "m.safetensors", dtype: str = "F32", shape: tuple[int, ...] = (384, 384)) -> TensorRef:
    return TensorRef(file, name, dtype, shape, Hash("0" * 64))


def changed(name: str, relative: float = 0.01, *, kind: TensorKind = "changed", nans: int = 0) -> TensorChange:
    return TensorChange(kind, ref(name), ref(name), numbers(relative, nans=nans))


def review(
    tensors: Sequence[TensorChange],
    *,
    names: Sequence[str] = (),
    facts: Sequence[FactChange] = (),
    gates: Sequence[GateRow] = (),
    path: str = "models/m.safetensors",
    summary: str = "Layers 4-5 fine-tuned, the rest unchanged.",
    link: str = "",
) -> ReviewReport:
    file = FileChange(
        "changed", path, path, "safetensors", "safetensors", 90868376, 90868376, tuple(tensors), 10, tuple(facts)
    )
    comparison = Comparison("main", "feature", (file,), 2, True, False, summary)
    return ReviewReport(comparison, (ModelReview(file, 10_616_832, tuple(names)),), tuple(gates), "", link)


def fine_tune() -> ReviewReport:
    """Layers 4 and 5 of 6 have new values, a row of the vocabulary was added, a head replaced."""
    names = ["embeddings.word.weight"]
    names += [f"encoder.layer.{layer}.{role}" for layer in range(6) for role in ROLES]
    names += ["pooler.dense.weight", "classifier.weight"]
    tensors = [
        changed(f"encoder.layer.{layer}.{role}", 0.002 * 3**layer / (1 + number))
        for layer in (4, 5)
        for number, role in enumerate(ROLES)
    ]
    word = "embeddings.word.weight"
    tensors.append(
        TensorChange("reshaped", ref(word, shape=(30522, 384)), ref(word, shape=(30586, 384)), numbers(1e-6))
    )
    tensors.append(TensorChange("added", None, ref("classifier.weight", shape=(7, 384))))
    gates = (
        GateRow("minilm", "", "accuracy", "pass", 0.9531, 0.9544, 0.0013, (-0.001, 0.0035), 2000, ""),
        GateRow("minilm", "int8", "accuracy", "fail", 0.91, 0.9544, 0.0444, (0.03, 0.06), 2000, "drop above 0.01"),
    )
    facts = (FactChange("metadata", "step", "1000", "1120"),)
    return review(tensors, names=names, facts=facts, gates=gates)


def hostile() -> ReviewReport:
    """Every name, fact, reason and summary tries to be something else."""
    tensors = [changed(name, 0.5, nans=1) for name in HOSTILE]
    facts = [FactChange(name, name, name, name) for name in HOSTILE]
    gates = [GateRow(name, name, name, name, 1.0, None, None, None, None, name) for name in HOSTILE]
    return review(
        tensors,
        names=HOSTILE,
        facts=facts,
        gates=gates,
        path="<b>/`x`|@octocat.safetensors",
        summary=" ".join(HOSTILE[:15]),
    )
