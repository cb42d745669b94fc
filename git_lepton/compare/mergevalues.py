"""What a merge of models says, as plain values: no text, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from git_lepton.store.manifest import Manifest, TensorLine

Outcome = Literal["same", "both", "ours", "theirs", "base", "added", "removed", "rows", "computed", "conflict"]
Whose = Literal["base", "ours", "theirs"]

SIDES: Final[Mapping[str, Whose]] = {"base": "base", "ours": "ours", "theirs": "theirs"}
"""Strategies that take a side, and which."""

BASE: Final = "base"
"""What a caller may ask for besides the strategies of lepton.toml: the ancestor's tensor."""

FRAME: Final = "__frame__"
METADATA: Final = "__metadata__"
"""Names by which rules are asked about the bytes outside tensors, and about metadata that both sides changed."""

Metadata = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Three:
    """The three versions of a file; `base` is None when both sides added it."""

    base: Manifest | None
    ours: Manifest
    theirs: Manifest

    def side(self, whose: Whose) -> Manifest | None:
        """One of them by its name."""
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[whose]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one tensor.

    Attributes:
        name: in the merged file; of one that goes, its last name.
        outcome: see the module's text.
        base, ours, theirs: the tensor on each side; None where it is not.
        strategy: how values are made where both sides changed them; of `rows`, for the rows that both have.
        options: all numbers of that strategy.
        grown: of `rows`, the side that appended.
        reason: of a conflict.
    """

    name: str
    outcome: Outcome
    base: TensorLine | None
    ours: TensorLine | None
    theirs: TensorLine | None
    strategy: str = ""
    options: Mapping[str, float] = field(default_factory=dict)
    grown: Literal["", "ours", "theirs"] = ""
    reason: str = ""

    @property
    def line(self) -> TensorLine | None:
        """The tensor whose dtype and shape the merged one has, and its bytes unless they are made; None: it goes."""
        if self.outcome == "removed":
            return None
        if self.outcome == "rows":
            return self.ours if self.grown == "ours" else self.theirs
        if self.outcome == "base":
            return self.base
        return self.theirs if self.outcome == "theirs" else self.ours or self.theirs

    @property
    def whose(self) -> Whose:
        """The side that `line` belongs to."""
        if self.outcome == "base":
            return "base"
        return "ours" if self.line is self.ours else "theirs"

    @property
    def is_made(self) -> bool:
        """Whether no side has its bytes."""
        return self.outcome in {"computed", "rows"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What becomes of the bytes outside tensors.

    Attributes:
        outcome: the side that they come from, "new" for a header made anew, or "conflict".
        metadata: of a new header.
        reason: of a conflict.
    """

    outcome: Literal["ours", "theirs", "base", "new", "conflict"]
    metadata: Metadata = field(default_factory=dict)
    reason: str = ""

    @property
    def side(self) -> Whose | None:
        """The side that they come from, if it is one."""
        return SIDES.get(self.outcome)


@dataclass(frozen=True, slots=True)
class Merge:
    """The merge of one file.

    Attributes:
        decisions: one a tensor, in the order of the merged file, then those that go; none for a file taken whole.
        frame: of the bytes outside tensors, or of the whole file.
        metadata_conflicts: keys of metadata that both sides changed, with what they say.
    """

    decisions: tuple[Decision, ...]
    frame: Frame
    metadata_conflicts: Mapping[str, str] = field(default_factory=dict)

    @property
    def conflicts(self) -> dict[str, str]:
        """What is left to a person: name of the tensor, or of the part of the frame -> why."""
        found = {d.name: d.reason for d in self.decisions if d.outcome == "conflict"}
        found |= {f"{METADATA}.{key}": reason for key, reason in self.metadata_conflicts.items()}
        return found | ({FRAME: self.frame.reason} if self.frame.outcome == "conflict" else {})

    @property
    def kept(self) -> tuple[Decision, ...]:
        """The tensors of the merged file, in order."""
        return tuple(d for d in self.decisions if d.outcome != "removed")

    def whole(self, three: Three) -> Whose | None:
        """The side that the merged file is, byte for byte, if it is one; only for a merge without conflicts."""
        side = self.frame.side
        manifest = three.side(side) if side else None
        lines = [None if d.is_made or d.line is None else replace(d.line, name=d.name) for d in self.kept]
        return side if not self.decisions or (manifest and lines == list(manifest.tensors)) else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifests do not tell.

    Attributes:
        base, ours, theirs: metadata of safetensors files; asked for where `wants_metadata` says so.
        kept_rows: of `growths`, those whose grown side left the rows that were there as they were.
    """

    base: Metadata = field(default_factory=dict)
    ours: Metadata = field(default_factory=dict)
    theirs: Metadata = field(default_factory=dict)
    kept_rows: Collection[str] = ()
