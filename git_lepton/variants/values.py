"""What a build takes and gives, as plain values; they travel between the two processes of a build as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

from git_lepton.errors import LeptonError

RECIPE_VERSION: Final = 1
"""Counts up whenever the same recipe, with the same tools, would give other bytes than before."""

Change = Literal["replaced", "added", "dropped"]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The files of a model as they lie in a folder.

    Attributes:
        path: the folder; nothing in it is ever written.
        main: relative path of what a loader opens, or "." for the folder itself.
        files: relative paths of the model's files, with "/" between folders; nothing else is looked at.
    """

    path: Path
    main: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorError:
    """How far a tensor of the variant lies from the original's, once both are read as numbers.

    Attributes:
        name: of the original's tensor.
        relative_l2: Euclidean norm of the difference by that of the original; infinite when only the latter is 0.
        max_abs: the largest absolute difference.
    """

    name: str
    relative_l2: float
    max_abs: float


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file in which a variant differs from the original; `size` in bytes, 0 for one that is dropped."""

    path: str
    change: Change
    size: int


@dataclass(frozen=True, slots=True)
class Built:
    """A variant that was built; the files that it replaces or adds lie in the output folder.

    Attributes:
        recipe: as it was asked for.
        files: what differs, sorted by path. Every other file is shared with the original.
        recipe_version: `RECIPE_VERSION` at the time.
        tools: versions of the packages that decide the bytes.
        tensor_errors: of every tensor whose numbers or number format changed, in file order.
        size_before, size_after: bytes of all files of the original and of the variant.
        unmatched: globs of names to be left alone that match no tensor and no node.
    """

    recipe: str
    files: tuple[FileChange, ...]
    recipe_version: int
    tools: Mapping[str, str]
    tensor_errors: tuple[TensorError, ...]
    size_before: int
    size_after: int
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A variant that cannot be had of this model with these tools, and the reason in one sentence.

    Attributes:
        recipe: as it was asked for.
        reason: to be shown to people; no paths of ours in it.
        passing: another try may succeed (the time was up, memory ran out), so that it should not be remembered.
    """

    recipe: str
    reason: str
    passing: bool = False


class Unsuitable(LeptonError):  # noqa: N818 - a verdict on the model, which becomes `Skipped`, not a failure
    """This model has no variant by this recipe; raised within a build, where it becomes `Skipped`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. `stage` is the worker's own folder, with `new` for the result and `tmp` for anything else."""

    recipe: str
    path: str
    main: str
    files: tuple[str, ...]
    exclude: tuple[str, ...]
    calibration: str | None
    stage: str
    parent: int
    memory: int | None

    def encoded(self) -> bytes:
        """The request as the worker reads it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Self:
        """What `encoded` encoded."""
        value = json.loads(data)
        value.update(files=tuple(value["files"]), exclude=tuple(value["exclude"]))
        return cls(**value)


@dataclass(slots=True)
class Outcome:
    """What the steps of a recipe leave behind for the final checks.

    Attributes:
        written: relative paths of the files that now lie in the output folder.
        dropped: relative paths of the original's files that the variant does not have.
        errors: see `Built.tensor_errors`.
        unmatched: globs of names to be left alone that match none.
    """

    written: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    errors: list[TensorError] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON values. Infinite and NaN errors are strings, which every JSON parser reads."""
    errors = [[e.name, repr(e.relative_l2), repr(e.max_abs)] for e in outcome.errors]
    return {"written": outcome.written, "dropped": outcome.dropped, "errors": errors, "unmatched": outcome.unmatched}


def from_json(value: Mapping[str, Any]) -> Outcome:
    """The outcome of `to_json`'s values."""
    errors = [TensorError(name, float(l2), float(most)) for name, l2, most in value["errors"]]
    return Outcome(list(value["written"]), list(value["dropped"]), errors, list(value["unmatched"]))
