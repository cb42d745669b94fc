"""Everything that `lepton.toml` can say, as plain values (docs/lepton-toml.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from git_lepton.config.store import StoreSettings
from git_lepton.values import Hash

Direction = Literal["higher", "lower"]
When = Literal["commit", "ci"]
OnInconclusive = Literal["warn", "fail"]
First = Literal["record", "fail"]
Task = Literal["classification", "regression", "ranking"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse a metric may get: `0.005` in its own unit, or `"2%"` of the baseline's value."""

    value: float
    relative: bool = False


@dataclass(frozen=True, slots=True)
class VariantRule:
    """What a gate asks of one variant, against the original model; None asks nothing.

    Attributes:
        max_drop: of the gate's metric.
        min_agreement: least share of examples with the same prediction (the largest output), 0 to 1.
        max_output_error: largest |output difference| allowed over all examples.
        min, max: bounds of the variant's own metric.
    """

    max_drop: Tolerance | None = None
    min_agreement: float | None = None
    max_output_error: float | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class TeacherRule:
    """What a gate asks of a student against its teacher; None asks nothing."""

    min_agreement: float | None = None
    max_kl: float | None = None


@dataclass(frozen=True, slots=True)
class GateRule:
    """One `[[model.NAME.gate]]`.

    Attributes:
        name: unique within the model.
        data: path of the examples from the top of the repository (.npz or .safetensors), or None for a command alone.
        blake3: their expected hash when they lie outside git.
        metric: name of a metric, or "pkg.module:function".
        command: instead of our own evaluator: a shell command that prints JSON; `{model}` and `{main}` are filled in.
        task: how outputs are read; None lets the metric tell.
        inputs: the model's input name to the array's name in the data; empty matches equal names.
        labels: name of the array with the expected answers; None tries "labels", "label", "y", "target", "targets".
        output: name of the output that is judged; None is the first.
        direction: which way is better; None lets the metric tell.
        min, max: bounds of the value itself.
        max_drop: how much worse than the baseline it may be.
        slices: name of an array in the data; every distinct value is judged by itself as well.
        slice_max_drop: for slices, `max_drop` when None.
        on_inconclusive: whether an undecided verdict stops a commit.
        when: judged at commit, or left to CI ("pending" in the record).
        sample: rows to use, chosen by hash of their index; None for all.
        batch: rows a call of the model; None lets the evaluator choose.
        timeout: seconds for one evaluation.
        first: what to do without a baseline: record the value, or fail.
        variants: what is asked of each variant; a variant without a rule is measured where it can be, not judged.
        teacher: what is asked against the model's teacher.
    """

    name: str
    data: str | None = None
    blake3: Hash | None = None
    metric: str = "accuracy"
    command: str | None = None
    task: Task | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    labels: str | None = None
    output: str | None = None
    direction: Direction | None = None
    min: float | None = None
    max: float | None = None
    max_drop: Tolerance | None = None
    slices: str | None = None
    slice_max_drop: Tolerance | None = None
    on_inconclusive: OnInconclusive = "warn"
    when: When = "commit"
    sample: int | None = None
    batch: int | None = None
    timeout: float = 300.0
    first: First = "record"
    variants: Mapping[str, VariantRule] = field(default_factory=dict)
    teacher: TeacherRule | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """`[model.NAME.budget]`: limits that need no examples' labels. The key "" stands for the original model.

    Attributes:
        size_bytes: bytes of the whole bundle.
        latency_p50_ratio: median time of a call by the baseline's, on this host in the same run.
        peak_memory_bytes: most memory resident while it runs, beyond the runtime's own.
    """

    size_bytes: Mapping[str, int] = field(default_factory=dict)
    latency_p50_ratio: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Golden:
    """`golden = {...}`: examples with their outputs that an agent warms up with."""

    gate: str
    rows: int = 8
    rtol: float = 1e-3
    atol: float = 1e-4


@dataclass(frozen=True, slots=True)
class ProvenanceSettings:
    """`provenance = {...}`: paths and globs from the top of what made the model."""

    data: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """`[model.NAME]`.

    Attributes:
        name: of the grammar of model names.
        root: folder, from the top of the repository; "" for the top itself.
        files: globs under `root`; what matches is the model's bundle.
        main: path under `root` of what a loader opens, or "." for the folder.
        variants: recipes, e.g. "int8", "fp16", "prune50+int8".
        exclude: for each recipe ("" for all): globs of tensor or node names that quantizers leave alone.
        calibration: path of the examples that static quantization sees; never a gate's data.
        provenance: what made the model.
        baseline: a channel, tag or revision to be judged against; None for the design's own choice.
        teacher: name of the model that this one was distilled from.
        golden: examples for the agent.
        gates: in the order of the file.
        budget: limits.
    """

    name: str
    root: str
    files: tuple[str, ...]
    main: str
    variants: tuple[str, ...] = ()
    exclude: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calibration: str | None = None
    provenance: ProvenanceSettings = ProvenanceSettings()
    baseline: str | None = None
    teacher: str | None = None
    golden: Golden | None = None
    gates: tuple[GateRule, ...] = ()
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """`[channel.NAME]`: the policy of one channel, for every model that is promoted to it.

    Attributes:
        name: of the grammar of channel names.
        critical: promotion needs a passed gate, and a commit's inconclusive verdict fails.
        after: the channel that a version must have been on first, or None.
        soak: seconds that it must have been there.
        variant: which variant the channel serves; "" for the original.
        promoters: principals of the allowed-signers file who may move it; empty for everybody.
        needs_ci: a verdict of CI must exist.
        expires: seconds after which a move is no longer to be followed; None for never.
    """

    name: str
    critical: bool = False
    after: str | None = None
    soak: float = 0.0
    variant: str = ""
    promoters: tuple[str, ...] = ()
    needs_ci: bool = False
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class MergeRule:
    """One entry of `[merge]`: how tensors whose names match `tensors` are merged when both sides changed them.

    Attributes:
        tensors: a glob over tensor names.
        strategy: "ours", "theirs", "average", "task-arithmetic", "ties", "dare-ties", "slerp" or "conflict".
        options: the strategy's own numbers, such as weight, scale, density, seed.
    """

    tensors: str
    strategy: str
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that `lepton.toml` says."""

    store: StoreSettings = field(default_factory=StoreSettings)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    merge: tuple[MergeRule, ...] = ()
