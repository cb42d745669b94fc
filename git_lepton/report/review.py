"""A review of a range of commits as plain values: what the comment of a pull request and the page are written from.

`review_words` has the words that both use, `review_md` writes the comment, `html` the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from git_lepton.compare.values import Comparison, FileChange


@dataclass(frozen=True, slots=True)
class GateRow:
    """The result of one gate for one model or variant.

    Attributes:
        model: its name in lepton.toml.
        variant: name of the variant, "" for the original.
        gate: name of the gate.
        verdict: "pass", "fail", "inconclusive", "pending", "recorded", "not-measured" or "skipped".
        value: of the metric, now.
        baseline: of the metric, for the model that it is judged against.
        drop: how much worse than the baseline, negative when it is better.
        interval: of the drop, lower and upper end.
        n: examples.
        reason: in words, or "".
    """

    model: str
    variant: str
    gate: str
    verdict: str
    value: float | None
    baseline: float | None
    drop: float | None
    interval: tuple[float, float] | None
    n: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ModelReview:
    """One weight file that differs.

    Attributes:
        change: what became of it.
        added: bytes that the newer version adds to what is stored, beside all versions of the older side; None when
            its index is nowhere to be had.
        names: of all tensors of the newer file, in file order.
    """

    change: FileChange
    added: int | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """Everything that a reviewer is told.

    Attributes:
        comparison: of the two revisions.
        models: one for each of `comparison.files`, in this order.
        gates: results of gates; empty where none ran.
        missing: why numbers are absent that were asked for, or "".
        link: address of the full report, or "".
    """

    comparison: Comparison
    models: tuple[ModelReview, ...]
    gates: tuple[GateRow, ...] = ()
    missing: str = ""
    link: str = ""

    @property
    def added(self) -> int | None:
        """Sum of what is known of the added bytes; None when nothing is."""
        known = [model.added for model in self.models if model.added is not None]
        return sum(known) if known or not self.models else None
