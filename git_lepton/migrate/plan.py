"""What a migration will do, and what it did: values only.

Moving weights in or out rewrites content that other people have, so nothing happens without a plan. `plan_import` and
`plan_export` walk the very trees that will be rewritten and return a frozen `Plan`, which can be printed, counted and
kept; `execute_import` and `execute_export` carry it out, or refuse when a ref has moved since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from git_lepton.values import Oid

Direction = Literal["import", "export"]
"""Into lepton, or back to raw blobs."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        include: gitattributes patterns (as `git lepton track` takes them); none means all that git-lfs tracks for an
            import, all that lepton tracks for an export.
        exclude: gitattributes patterns of paths to leave alone.
        above: only paths of which some version has at least this many bytes; 0 for any size.
        refs: branches and tags to rewrite, short or full names; none means the branch that is checked out.
        everything: rewrite all branches and tags.
        no_rewrite: leave history alone; make one new commit on the branch that is checked out.
        message: of that new commit; None takes a standard one.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    above: int = 0
    refs: tuple[str, ...] = ()
    everything: bool = False
    no_rewrite: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class RefMove:
    """One ref that moves. `old` is what it points to now: a commit, or the tag object of an annotated tag."""

    ref: str
    old: Oid


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files with one suffix: `pattern` is `*.suffix`, or the whole name of files without one.

    Attributes:
        paths: distinct paths.
        versions: distinct contents.
        bytes: bytes of all versions, those of git-lfs counted at their true size.
        pointers: how many of the versions are git-lfs pointers.
    """

    pattern: str
    paths: int
    versions: int
    bytes: int
    pointers: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Content that is not in this repository: `digest` is git-lfs's SHA-256, or the BLAKE3 of a stored version."""

    path: str
    digest: str
    size: int


def some(names: Sequence[str]) -> str:
    """The first three of a list, for a message."""
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a migration will do.

    Attributes:
        direction: "import" or "export".
        request: what was asked for.
        patterns: patterns that git-lepton will track from now on, or no longer; empty when lines of git-lfs are
            replaced (import), or all of our lines are removed (export).
        moves: refs that will move, all in one transaction; empty when nothing has to change.
        commits: commits that were looked at.
        rewritten: commits that get a new id (with `no_rewrite`: 1 new commit, or 0).
        groups: what will be converted, largest first.
        missing: content that is needed and is not here. An import asks git-lfs for it first.
        signed: commits and tags whose signature a rewrite drops.
        left_behind: refs that keep pointing into the old history.
        warnings: sentences for a person.
        unfinished: an earlier migration was killed after its refs had moved and before the work tree was settled;
            executing any plan settles it.
    """

    direction: Direction
    request: Request
    patterns: tuple[str, ...]
    moves: tuple[RefMove, ...]
    commits: int
    rewritten: int
    groups: tuple[FileGroup, ...]
    missing: tuple[Missing, ...]
    signed: int
    left_behind: tuple[str, ...]
    warnings: tuple[str, ...]
    unfinished: bool

    @property
    def versions(self) -> int:
        """Distinct contents that will be converted."""
        return sum(group.versions for group in self.groups)

    @property
    def bytes(self) -> int:
        """Their bytes."""
        return sum(group.bytes for group in self.groups)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to execute."""
        return not self.moves and not self.unfinished


@dataclass(frozen=True, slots=True)
class Report:
    """What was done.

    Attributes:
        direction: "import" or "export".
        moves: full ref names with their old and new object.
        rewritten: commits that got a new id.
        versions: distinct contents that were converted.
        bytes: their bytes.
        skipped: pointers that were left as they are, because their content was not to be had.
        backup: the prefix under which the old refs are kept ("refs/original/lepton/<time>/"), or None.
        settled: work trees whose index was brought up to date.
    """

    direction: Direction
    moves: tuple[tuple[str, Oid, Oid], ...]
    rewritten: int
    versions: int
    bytes: int
    skipped: tuple[Missing, ...]
    backup: str | None
    settled: tuple[str, ...]
