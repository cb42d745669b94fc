"""What the gate's child process is asked to do and what it answers: messages, no work (see `worker` and `child`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from git_lepton.config.values import GateRule, Tolerance
from git_lepton.gate.values import Folder, GateOutcome, Interval


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Run one model on the examples of one gate and save its answers to `target`, unless they are there already."""

    label: str
    rule: GateRule
    model: Folder
    data: Path | None
    target: Path
    timeout: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What one assessment asks; None asks nothing."""

    max_drop: Tolerance | None = None
    slice_max_drop: Tolerance | None = None
    min: float | None = None
    max: float | None = None
    min_agreement: float | None = None
    max_output_error: float | None = None


@dataclass(frozen=True, slots=True)
class Assess:
    """Judge saved answers.

    Attributes:
        rule: the gate.
        variant: recipe, or "".
        limits: of this model or variant.
        data: its examples.
        own: answers of the model that is judged.
        other, other_label: answers of the model to compare with, and what it is called; None without one.
        head: answers of the version at HEAD.
        teacher: answers of the teacher.
    """

    label: str
    rule: GateRule
    variant: str
    limits: Limits
    data: Path | None
    own: Path
    other: Path | None
    other_label: str
    head: Path | None
    teacher: Path | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Clock:
    """Time calls of two models in turns."""

    label: str
    rule: GateRule
    data: Path
    model: Folder
    other: Folder
    timeout: float


@dataclass(frozen=True, slots=True)
class Weigh:
    """Measure the most memory that one model needs, in a process that did nothing before."""

    label: str
    rule: GateRule
    data: Path
    weighed: Folder
    timeout: float


@dataclass(frozen=True, slots=True)
class Shine:
    """Write a golden file: `count` examples with the answers of each of `models`, which are these `variants`."""

    label: str
    rule: GateRule
    data: Path
    variants: tuple[str, ...]
    models: tuple[Folder, ...]
    count: int
    golden: Path
    timeout: float


@dataclass(frozen=True, slots=True)
class Dissect:
    """Compare what the nodes of a graph compute in the original and in a variant."""

    label: str
    rule: GateRule
    data: Path
    original: Folder
    variant: Folder
    timeout: float


Task = Evaluate | Assess | Clock | Weigh | Shine | Dissect


@dataclass(frozen=True, slots=True)
class Job:
    """Everything for one child: `top` is where commands run and functions are imported from."""

    top: Path
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The answers are saved; `seconds` is 0 when they were there already."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Clocked:
    """Median time of a call by the other model's."""

    ratio: float
    interval: Interval
    pairs: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """Most bytes resident beyond what the runtime and the examples need."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Shone:
    """How many examples the golden file holds."""

    rows: int


@dataclass(frozen=True, slots=True)
class NodeNoise:
    """How far a node's result is from the original's: signal to noise in decibels (less is worse)."""

    node: str
    decibels: float


@dataclass(frozen=True, slots=True)
class Dissected:
    """Noise of each node with weights, in the order of the graph."""

    nodes: tuple[NodeNoise, ...]


Result = Evaluated | GateOutcome | Clocked | Weighed | Shone | Dissected


@dataclass(frozen=True, slots=True)
class Failed:
    """A task that gave no result: why, and what to do next."""

    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A line that the child prints: task `number` begins (nothing else is set), ends or fails."""

    number: int
    result: Result | None = None
    failed: Failed | None = None
