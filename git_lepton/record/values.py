"""What a record says, as plain values: facts, which are the same for everybody, and measurements, which are not.

A *fact* is computed again from the commit by anybody and compared byte for byte. A *measurement* is made again in CI
and must give the same verdict; figures of time and memory belong to the host that is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from git_lepton.record.bundle import Bundle, BundleFile, make
from git_lepton.values import Hash

Verdict = Literal["pass", "fail", "inconclusive", "pending", "recorded", "not-measured"]
"""What came of one rule.

pass, fail: judged. inconclusive: too few examples to tell. pending: left to CI. recorded: measured, nothing asked (or
nothing to compare with yet). not-measured: the evaluator, the data or the model failed us; never good enough.
"""


@dataclass(frozen=True, slots=True)
class Merged:
    """How a file of the model came out of a merge: the three versions, and what became of its tensors.

    Attributes:
        blake3: of the merged file.
        ours, theirs, base: of the versions; there is no base where both sides added the file.
        tensors: what became of them, such as "theirs" or "ties density=0.2 …" -> how many.
        path: of the file under the model's root.
    """

    blake3: Hash
    ours: Hash
    theirs: Hash
    base: Hash | None = None
    tensors: Mapping[str, int] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True, slots=True)
class Origins:
    """What made the model: path from the top of the repository -> hash of the file's content then; merges of it."""

    data: Mapping[str, Hash] = field(default_factory=dict)
    code: Mapping[str, Hash] = field(default_factory=dict)
    params: Mapping[str, Hash] = field(default_factory=dict)
    packages: Mapping[str, Hash] = field(default_factory=dict)
    merged: tuple[Merged, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorLoss:
    """How far a tensor of a variant lies from the original's: norm of the difference by the norm, and the largest."""

    name: str
    relative_l2: float
    max_abs: float


@dataclass(frozen=True, slots=True)
class Variant:
    """A bundle derived from the model's own by a recipe, or why there is none.

    Attributes:
        recipe: as lepton.toml names it.
        version: of the recipe's implementation.
        skipped: why there is no such variant; then nothing below is set.
        bundle: hash of all its files.
        main: path of what a loader opens.
        size: bytes of all its files.
        files: those that the original does not have, or has otherwise; each is a stored version.
        drop: paths of the original that it does not have.
        tools: packages that made it, with their versions.
        losses: the tensors that lost most, worst first, at most five.
    """

    recipe: str
    version: int
    skipped: str = ""
    bundle: Hash | None = None
    main: str = ""
    size: int = 0
    files: tuple[BundleFile, ...] = ()
    drop: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[TensorLoss, ...] = ()

    def all_files(self, original: Bundle) -> Bundle:
        """The whole bundle. Raises FrameError when it has a path twice."""
        gone = {*self.drop, *(file.path for file in self.files)}
        return make([*(file for file in original.files if file.path not in gone), *self.files])


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric, beside the model that it was compared with.

    Attributes:
        metric: as the rule names it.
        value: None when undefined.
        n: examples, 0 when unknown.
        against: what the other model is called.
        baseline: its value.
        drop: how much worse than that, positive is worse.
        low, high: one-sided bounds of the drop, each with probability 0.95.
        needed: examples that would decide.
        limits: what was asked.
    """

    metric: str
    value: float | None = None
    n: int = 0
    against: str = ""
    baseline: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    needed: int | None = None
    limits: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """A gate over the examples of one slice."""

    name: str
    verdict: Verdict
    value: float | None = None
    baseline: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How well one class is recognised, now and (`before_…`) by the compared model; support counts its examples."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    before_precision: float | None = None
    before_recall: float | None = None
    before_f1: float | None = None


@dataclass(frozen=True, slots=True)
class Confusion:
    """Examples of class `expected` that are taken for `predicted`: how many now, how many in the compared model."""

    expected: str
    predicted: str
    after: int
    before: int = 0


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike the outputs of two models are on the same examples; None where that has no meaning for the outputs.

    Attributes:
        agreement: share of examples with the same prediction.
        output_error: the largest |difference| of outputs.
        kl: mean Kullback-Leibler divergence of the distribution from the other model's, in nats.
        n: examples.
    """

    agreement: float | None = None
    output_error: float | None = None
    kl: float | None = None
    n: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One gate on the model (variant "") or on a variant of it."""

    gate: str
    variant: str
    verdict: Verdict
    reason: str = ""
    figure: Figure | None = None
    head: Figure | None = None
    likeness: Likeness | None = None
    teacher: Likeness | None = None
    calibration_error: float | None = None
    calibration_error_before: float | None = None
    slices: tuple[Slice, ...] = ()
    classes: tuple[ClassFigures, ...] = ()
    confusions: tuple[Confusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Budgeted:
    """One limit of size, time or memory."""

    kind: str
    variant: str
    verdict: Verdict
    limit: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the model was judged against: how a person calls it, and the hash of its bundle (None: the model is new)."""

    name: str
    bundle: Hash | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one model.

    Attributes:
        model: its name.
        root: its folder from the top of the repository.
        main: path under it of what a loader opens.
        bundle: its identity.
        rules: hash of the canonical text of its settings.
        files: the bundle's files.
        data: gates' examples and calibration data: path -> hash.
        golden: the examples for the agent, a stored version.
        origins: what made it.
        variant: its variants, in the order of lepton.toml.
        anchor: what it was judged against.
        outcome, budget: what was measured.
        host: where.
    """

    model: str
    root: str
    main: str
    bundle: Hash
    rules: Hash
    files: tuple[BundleFile, ...]
    golden: BundleFile | None = None
    data: Mapping[str, Hash] = field(default_factory=dict)
    origins: Origins = Origins()
    variant: tuple[Variant, ...] = ()
    anchor: Anchor | None = None
    outcome: tuple[Outcome, ...] = ()
    budget: tuple[Budgeted, ...] = ()
    host: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of everything that was judged."""
        return (*(item.verdict for item in self.outcome), *(item.verdict for item in self.budget))

    def version_hashes(self) -> dict[Hash, str]:
        """The stored versions that only this record names (variants, golden examples), each with a path."""
        files = [file for variant in self.variant for file in variant.files]
        return {file.blake3: file.path for file in (*files, *([self.golden] if self.golden else []))}
