"""What a comparison of models says, as plain values: no text, no I/O, nothing heavier than the standard library.

`before` is always the older or left side, `after` the newer or right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from git_lepton.values import Hash

TensorKind = Literal["same", "changed", "added", "removed", "renamed", "moved", "reshaped", "retyped"]
"""What became of a tensor.

same: name, dtype, shape and bytes. changed: other bytes, all else the same. added, removed: on one side only.
renamed: the same bytes under another name of the same file. moved: the same bytes in another file (or a tensor of the
same name in another file: resharded). reshaped: another shape (vocabulary growth too). retyped: another dtype.
A tensor that is two of these is the last that fits, in this order.
"""

FileKind = Literal["same", "changed", "added", "removed", "renamed"]


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One tensor of one side.

    Attributes:
        file: path of its file, from the top of the work tree (or as the caller named it).
        name: as the manifest has it.
        dtype: a key of `git_lepton.values.DTYPES`, or a name that only its own format knows.
        shape: dimensions, outermost first.
        hash: BLAKE3 of its bytes.
    """

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    hash: Hash

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one side's values, NaN and infinities aside: mean, standard deviation (population), and counts."""

    mean: float
    deviation: float
    zeros: int
    nans: int
    infinities: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """How far two tensors of one shape lie apart, in float64, over the elements that were compared.

    Chunks whose bytes are equal are never decoded: they count in `elements`, and in no figure that needs their values.

    Attributes:
        elements: of the whole tensor.
        compared: elements in the chunks that differ (fewer still under `sampled`); all other figures are over these.
        sampled: only an evenly spaced part of the chunks that differ was read; figures are estimates.
        changed: of those compared, elements whose value differs (bit patterns, for equal dtypes: -0.0 and NaN payloads
            count).
        l2: Euclidean norm of after - before, NaN and infinities aside; under `sampled` scaled up to all chunks that
            differ, as if the others had changed as much as those that were read.
        relative_l2: `l2` by the norm of before; infinite when before is all zeros and l2 is not.
        cosine: cosine of the angle between the two; NaN when either is all zeros.
        max_abs: the largest |after - before|.
        before, after: moments of each side.
        rank: effective rank of the change of a matrix when it was worth asking, else None.
        histogram: counts of after - before in equal bins over [-max_abs, max_abs]; empty unless asked for.
        differing: elements in all chunks that differ, read or not; None when all of them were compared.
    """

    elements: int
    compared: int
    sampled: bool
    changed: int
    l2: float
    relative_l2: float
    cosine: float
    max_abs: float
    before: Moments
    after: Moments
    rank: int | None = None
    histogram: tuple[int, ...] = ()
    differing: int | None = None

    @property
    def share(self) -> float:
        """Share of the tensor's values that changed, 0 to 1; an estimate under `sampled`."""
        if not self.elements or not self.compared:
            return 0.0
        differing = self.compared if self.differing is None else self.differing
        return self.changed / self.compared * differing / self.elements


@dataclass(frozen=True, slots=True)
class TensorChange:
    """What became of one tensor.

    Attributes:
        kind: see `TensorKind`.
        before: None for an added one.
        after: None for a removed one.
        numbers: how far they lie apart; None when not asked for, equal, or not comparable.
        note: why there are no numbers, or what they are over ("rows 0-30521 of 30586"), or empty.
    """

    kind: TensorKind
    before: TensorRef | None
    after: TensorRef | None
    numbers: Numbers | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The newer name."""
        ref = self.after or self.before
        return ref.name if ref else ""

    @property
    def file(self) -> str:
        """The newer file."""
        ref = self.after or self.before
        return ref.file if ref else ""


@dataclass(frozen=True, slots=True)
class FactChange:
    """A fact beside the tensors that differs: metadata, a graph's nodes, inputs, outputs, opset, GGUF keys.

    Attributes:
        topic: "metadata", "inputs", "outputs", "nodes", "opset", "producer", "format" …
        key: which of them.
        before, after: as short text; None where that side has none.
    """

    topic: str
    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class FileChange:
    """One weight file on both sides.

    Attributes:
        kind: "renamed" when the whole content is at another path.
        before, after: its path on each side; None where it is not there.
        format_before, format_after: what the manifests say, "" where there is none.
        size_before, size_after: bytes of the file, 0 where there is none.
        tensors: changes of its tensors; those that stayed the same are only counted.
        same: how many tensors stayed the same.
        facts: what differs beside the tensors.
        opaque: the format names no tensors, or other bytes differ in a way that no fact tells.
    """

    kind: FileKind
    before: str | None
    after: str | None
    format_before: str
    format_after: str
    size_before: int
    size_after: int
    tensors: tuple[TensorChange, ...] = ()
    same: int = 0
    facts: tuple[FactChange, ...] = ()
    opaque: bool = False

    @property
    def path(self) -> str:
        """The newer path."""
        return self.after or self.before or ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides compared.

    Attributes:
        before, after: how the caller names the sides ("main", "index", "old.safetensors").
        files: files that differ, sorted by path.
        same_files: how many weight files are equal.
        numbers: whether numbers were asked for.
        sampled: whether some are estimates.
        summary: one sentence, as a person would say it, for all of it.
        damaged: paths of the newer side whose manifest is broken, with what is wrong; they are not among `files`.
    """

    before: str
    after: str
    files: tuple[FileChange, ...]
    same_files: int
    numbers: bool
    sampled: bool
    summary: str
    damaged: Mapping[str, str] = field(default_factory=dict)
