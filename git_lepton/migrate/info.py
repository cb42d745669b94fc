"""A survey of a repository before anything is moved: which kinds of files hold how many bytes, and what to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from git_lepton.git.lstree import blobs_in_history, ls_tree
from git_lepton.git.repo import Repo
from git_lepton.migrate import pointer as lfs_pointer
from git_lepton.migrate.engine import Workshop, group_name, workshop
from git_lepton.migrate.plan import Request
from git_lepton.migrate.rules import matches
from git_lepton.migrate.scope import resolve
from git_lepton.migrate.selection import patterns_of
from git_lepton.values import Oid

_WEIGHTS: Final = re.compile(
    r"bin|ckpt|gguf|h5|hdf5|keras|mlmodel|msgpack|np[yz]|onnx|onnx_data|pb|pdparams|pth?|safetensors|tflite"
)
_WORTH: Final = 100_000
"""Bytes of its largest version from which a kind of file with a suffix of weights is worth importing."""


@dataclass(frozen=True, slots=True)
class SurveyGroup:
    """Files with one suffix.

    Attributes:
        pattern: `*.suffix`, or the whole name of files without one.
        paths: distinct paths in history.
        versions: distinct contents in history.
        bytes: bytes of all versions, those of git-lfs counted at their true size.
        largest: bytes of the largest one.
        pointers: how many of the versions are git-lfs pointers.
        head_paths: paths in the commit that is checked out.
        head_bytes: their bytes, those of git-lfs counted at their true size.
    """

    pattern: str
    paths: int
    versions: int
    bytes: int
    largest: int
    pointers: int
    head_paths: int
    head_bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The answer of `survey`.

    Attributes:
        commits: how many were looked at.
        groups: largest first.
        suggestion: patterns of weights that an import would take: known suffixes, and what git-lfs holds.
    """

    commits: int
    groups: tuple[SurveyGroup, ...]
    suggestion: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all groups."""
        return sum(group.bytes for group in self.groups)


@dataclass(slots=True)
class _Count:
    paths: set[bytes] = field(default_factory=set)
    sizes: dict[Oid, int] = field(default_factory=dict)
    pointers: set[Oid] = field(default_factory=set)
    head_paths: int = 0
    head_bytes: int = 0


def survey(
    repo: Repo,
    *,
    refs: Sequence[str] = (),
    everything: bool = False,
    above: int = 0,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Survey:
    """Count the files of a repository's history.

    Args:
        repo: where.
        refs: branches and tags; none means the branch that is checked out.
        everything: all branches and tags.
        above: only contents of at least this many bytes.
        include: only paths that match one of these gitattributes patterns.
        exclude: no paths that match one of these.

    Raises:
        UsageError: unknown refs, a pattern that is none, a shallow clone.
    """
    included, excluded = patterns_of(tuple(include)), patterns_of(tuple(exclude))

    def meant(path: bytes) -> bool:
        wanted = not included or any(matches(pattern, path) for pattern in included)
        return wanted and not any(matches(pattern, path) for pattern in excluded)

    counts: dict[str, _Count] = {}
    with workshop(repo) as shop:
        scope = resolve(shop.repo, Request(refs=tuple(refs), everything=everything))
        sizes = _Sizes(shop)
        for oid, path in blobs_in_history(shop.repo, [move.old for move in scope.moves]):
            if meant(path) and sizes.of(oid) >= above:
                count = counts.setdefault(group_name(path), _Count())
                count.paths.add(path)
                count.sizes[oid] = sizes.of(oid)
                if oid in sizes.pointers:
                    count.pointers.add(oid)
        _count_head(shop, sizes, counts)
    groups = [_group(name, count) for name, count in counts.items()]
    groups.sort(key=lambda group: (-group.bytes, group.pattern))
    return Survey(len(scope.commits), tuple(groups), tuple(g.pattern for g in groups if _is_weights(g)))


class _Sizes:
    """True sizes of blobs, and which of them are pointers."""

    def __init__(self, shop: Workshop) -> None:
        self._reader = shop.reader
        self._known: dict[Oid, int] = {}
        self.pointers: set[Oid] = set()

    def of(self, oid: Oid) -> int:
        if oid not in self._known:
            size = self._reader.objects.size(oid)
            if lfs_pointer.MIN_BYTES <= size < lfs_pointer.MAX_BYTES:
                found = lfs_pointer.parse(self._reader.content(oid, "blob"))
                if found is not None:
                    self.pointers.add(oid)
                    size = found.size
            self._known[oid] = size
        return self._known[oid]


def _count_head(shop: Workshop, sizes: _Sizes, counts: dict[str, _Count]) -> None:
    if shop.repo.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).status != 0:
        return
    for item in ls_tree(shop.repo, "HEAD"):
        count = counts.get(group_name(item.path))
        if count is not None and item.path in count.paths and item.oid in count.sizes:
            count.head_paths += 1
            count.head_bytes += sizes.of(item.oid)


def _group(name: str, count: _Count) -> SurveyGroup:
    return SurveyGroup(
        pattern=name,
        paths=len(count.paths),
        versions=len(count.sizes),
        bytes=sum(count.sizes.values()),
        largest=max(count.sizes.values()),
        pointers=len(count.pointers),
        head_paths=count.head_paths,
        head_bytes=count.head_bytes,
    )


def _is_weights(group: SurveyGroup) -> bool:
    suffix = group.pattern.rpartition(".")[2].lower()
    return bool(group.pointers or (_WEIGHTS.fullmatch(suffix) and group.largest >= _WORTH))
