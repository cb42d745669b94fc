"""What git's index has of weight files in conflict, and one of their sides to be compared.

Apart from `conflicts`, which ends a conflict and needs all that merging needs, since `diff` starts far more often.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.compare.mergevalues import Three, Whose
from git_lepton.compare.sides import Side, StoredFile, in_work_tree
from git_lepton.drivers.statcache import StatCache
from git_lepton.errors import LeptonError, UsageError
from git_lepton.git.indexfile import IndexEntry, ls_files
from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest, parse
from git_lepton.store.store import Store
from git_lepton.store.tracked import manifest_text
from git_lepton.values import Oid

KEEP_OR_REMOVE: Final = "git add PATH keeps the file that is there, git rm PATH removes it"
"""What is left to do where one side has no tensors that could be merged."""

_STAGES: Final[Mapping[int, Whose]] = {1: "base", 2: "ours", 3: "theirs"}


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A weight file in conflict.

    Attributes:
        path: from the top of the work tree.
        entries: what the index has, by side.
        manifests: those of them that are manifests.
    """

    path: str
    entries: Mapping[Whose, IndexEntry]
    manifests: Mapping[Whose, Manifest]

    @property
    def three(self) -> Three | None:
        """The versions, if both sides have the file and all are manifests."""
        if not {"ours", "theirs"} <= self.manifests.keys() or len(self.manifests) < len(self.entries):
            return None
        return Three(self.manifests.get("base"), self.manifests["ours"], self.manifests["theirs"])

    @property
    def blobs(self) -> list[Oid | None]:
        """The objects of the three stages."""
        return [self.entries[whose].oid if whose in self.entries else None for whose in _STAGES.values()]


def unmerged(repo: Repo, store: Store, paths: Sequence[str] = ()) -> list[Unmerged]:
    """Weight files in conflict, or those of `paths` (from the top), sorted by path."""
    specs = [b":(top,literal)" + os.fsencode(path) for path in paths if path != "."]
    found: dict[bytes, dict[Whose, IndexEntry]] = {}
    for entry in ls_files(repo, specs):
        if entry.stage:
            found.setdefault(entry.path, {})[_STAGES[entry.stage]] = entry
    files = []
    for path, entries in found.items():
        manifests = {whose: m for whose, entry in entries.items() if (m := _manifest(repo, store, entry)) is not None}
        if manifests:
            files.append(Unmerged(os.fsdecode(path), entries, manifests))
    return files


def compared_sides(repo: Repo, store: Store, whose: Whose, paths: Sequence[str]) -> tuple[Side, Side]:
    """Of files in conflict: one side, and what the work tree has of them, to be compared.

    Raises:
        UsageError: no weight file there is in conflict.
        ChangedError: a file changed while it was read.
    """
    found = unmerged(repo, store, paths)
    files = [file for file in found if whose in file.manifests]
    if found and not files:
        names = ", ".join(file.path for file in found)
        raise UsageError(f"of files in conflict, {whose} has no weights: {names}", hint=KEEP_OR_REMOVE)
    if not files:
        raise UsageError("no weight file is in conflict there", hint="git lepton status lists conflicts")
    before = {file.path: StoredFile(store, file.manifests[whose], file.path) for file in files}
    with StatCache(repo) as cache:
        after = in_work_tree(repo, store, [*before], hash_of=cache.hash_of)
    return Side(whose, before), after


def is_rebasing(repo: Repo) -> bool:
    """Whether a rebase goes on, which turns around what people think ours and theirs are."""
    return any((repo.git_dir / name).is_dir() for name in ("rebase-merge", "rebase-apply"))


def _manifest(repo: Repo, store: Store, entry: IndexEntry) -> Manifest | None:
    try:
        text = manifest_text(repo, store.objects, entry.oid, store.objects.size(entry.oid))
        return None if text is None else parse(text)
    except LeptonError:
        return None
