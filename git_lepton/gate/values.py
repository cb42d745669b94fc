"""What the gate is asked and what it says, as plain values: numbers and texts that fit into JSON and TOML.

A value that could not be computed is None, never NaN; the reason stands in the outcome. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from git_lepton.config.values import ModelSettings, When
from git_lepton.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_NOT_MEASURED, EXIT_OK
from git_lepton.record.values import Confusion, Likeness, Verdict
from git_lepton.values import Hash

BudgetKind = Literal["size_bytes", "latency_p50_ratio", "peak_memory_bytes"]

ORIGINAL: Final = ""
"""The variant's name of the model itself."""

_WORST_FIRST: Final[tuple[Verdict, ...]] = ("fail", "not-measured", "inconclusive", "pending", "pass", "recorded")


@dataclass(frozen=True, slots=True)
class Folder:
    """A model on disk.

    Attributes:
        path: the folder of the bundle's files.
        main: path under it of what a loader opens, or "." for the folder itself.
        bundle: hash of all its files; equal bundles are measured once.
    """

    path: Path
    main: str
    bundle: Hash


@dataclass(frozen=True, slots=True)
class Skipped:
    """A variant that could not be built or does not pay: no failure unless a budget names it."""

    reason: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """Examples on disk: .npz or .safetensors, and the hash of the file."""

    path: Path
    blake3: Hash


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One model with everything that its gates need.

    Attributes:
        settings: the policy to judge by.
        candidate: what would be committed.
        top: folder in which commands and functions run, and from which functions are imported.
        baseline: the anchor, or None when there is none yet.
        baseline_label: how a person calls it ("digits@prod", "main").
        previous: the version at HEAD, for the figure beside; never judged.
        variants: for each recipe its bundle, or why there is none.
        data: for each gate that names data its file; a gate that is missing here is not measured.
        missing: for such a gate, why, and the command that brings the data.
        calibration: the examples that static quantization saw; a gate whose data is the same fails.
        teacher: the model that this one was distilled from.
        sizes: bytes of the bundle of the original (key "") and of each variant.
        code: hash of all that commands and functions read besides model and data; None: their results are not cached.
        stage: gates left to "ci" are pending at "commit"; "ci" judges all.
    """

    settings: ModelSettings
    candidate: Folder
    top: Path
    baseline: Folder | None = None
    baseline_label: str = "baseline"
    previous: Folder | None = None
    variants: Mapping[str, Folder | Skipped] = field(default_factory=dict)
    data: Mapping[str, DataFile] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    calibration: DataFile | None = None
    teacher: Folder | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    code: str | None = None
    stage: When = "commit"


@dataclass(frozen=True, slots=True)
class Interval:
    """One-sided bounds: each of them holds with probability `level` by itself."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one model, beside the model that it is compared with.

    Attributes:
        metric: as the rule names it.
        value: of the model that is judged; None when undefined.
        n: examples, 0 when the evaluator does not tell.
        against: what the baseline is called; empty for none.
        baseline: the same metric of that model on the same examples.
        drop: how much worse than the baseline, in the metric's unit: positive is worse, whichever way is better.
        interval: of the drop; None when there are no values for each example.
        needed_n: examples that would decide if nothing else changed; only beside an undecided verdict.
        limits: what was asked, as text ("min 0.95, max_drop 0.005"); empty when nothing was.
    """

    metric: str
    value: float | None
    n: int = 0
    against: str = ""
    baseline: float | None = None
    drop: float | None = None
    interval: Interval | None = None
    needed_n: int | None = None
    limits: str = ""


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The gate's metric over the examples of one slice."""

    name: str
    verdict: Verdict
    reason: str
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How well one class is recognised; `support` is the number of examples that are of it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class, now and in the model that this one is compared with (None without)."""

    label: str
    after: ClassScore
    before: ClassScore | None = None


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """One gate on the original (variant "") or on one variant.

    Attributes:
        gate: its name.
        variant: recipe, or "".
        verdict: of all that the gate asks.
        reason: one sentence in plain words; of a failure, the first thing that failed.
        hint: what to do next, or empty.
        measurement: the metric; None when nothing was measured. Of a variant, against the original.
        slices: every slice, in the order of their names.
        classes: every class (the fifty that changed most when there are more).
        confusions: the pairs of classes that are confused more often than before, worst first, at most five.
        calibration_error: expected calibration error, 0 to 1, where outputs are probabilities.
        calibration_error_before: of the compared model.
        likeness: to the baseline, or of a variant to the original.
        teacher: to the teacher, where the rule has one.
        head: the metric against the version at HEAD, never judged.
        stops: whether this outcome stops a commit, by verdict and `on_inconclusive`.
        seconds: that evaluating took, 0 for cached outputs.
    """

    gate: str
    variant: str
    verdict: Verdict
    reason: str
    hint: str = ""
    measurement: Measurement | None = None
    slices: tuple[SliceResult, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    calibration_error: float | None = None
    calibration_error_before: float | None = None
    likeness: Likeness | None = None
    teacher: Likeness | None = None
    head: Measurement | None = None
    stops: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BudgetOutcome:
    """One limit of `[model.NAME.budget]`.

    Attributes:
        kind: which limit.
        variant: recipe, or "".
        verdict: "pass", "fail", "inconclusive", "recorded" (nothing to compare with) or "not-measured".
        reason: one sentence.
        limit: what the rule allows, in bytes or as a ratio.
        value: what was measured; None when it was not.
        interval: of a latency ratio.
        n: timed pairs of calls, for latency.
        stops: whether this outcome stops a commit.
    """

    kind: BudgetKind
    variant: str
    verdict: Verdict
    reason: str
    limit: float
    value: float | None = None
    interval: Interval | None = None
    n: int = 0
    stops: bool = False


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """Everything that the gate says about one model.

    Attributes:
        model: its name.
        gates: in the order of lepton.toml, each with the original first and then the variants.
        budgets: in the order of size, latency, memory.
        host: what figures depend on: machine, cpu, threads, python, numpy, onnxruntime.
        seconds: the whole, on the clock.
    """

    model: str
    gates: tuple[GateOutcome, ...] = ()
    budgets: tuple[BudgetOutcome, ...] = ()
    host: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def outcomes(self) -> tuple[GateOutcome | BudgetOutcome, ...]:
        """Gates, then budgets."""
        return *self.gates, *self.budgets

    @property
    def verdict(self) -> Verdict:
        """The worst of all; "recorded" when nothing was asked."""
        return worst(outcome.verdict for outcome in self.outcomes)

    @property
    def stops(self) -> bool:
        """Whether a commit of this model must not happen."""
        return any(outcome.stops for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0, or of what stops the commit: 1 for a failure, 6 for something not measured, 3 for an undecided verdict."""
        if not self.stops:
            return EXIT_OK
        codes: Mapping[Verdict, int] = {"fail": EXIT_GATE_FAILED, "not-measured": EXIT_NOT_MEASURED}
        return codes.get(worst(outcome.verdict for outcome in self.outcomes if outcome.stops), EXIT_INCONCLUSIVE)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that decides over several: a pass beside something merely recorded is a pass."""
    found = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "recorded")
