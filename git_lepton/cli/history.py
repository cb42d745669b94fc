"""Commits and what each did to weight files, for the verbs that tell of history.

git names the blobs that a commit changed; those that are manifests are read here and compared, so that nothing but
their text is needed, and a long history without weights costs little more than `git log` itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from git_lepton.cli.comparing import Wish, compared
from git_lepton.cli.context import note
from git_lepton.compare.sides import FileSide, Side, StoredFile
from git_lepton.compare.summary import summarise
from git_lepton.compare.values import Comparison
from git_lepton.errors import ManifestError
from git_lepton.git.log import SHORT, Commit, log
from git_lepton.git.lstree import rev_parse
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.store.tracked import manifest_text
from git_lepton.values import Oid

_REMEMBERED: Final = 256
"""Manifests kept while history is read."""
_MOST_LINES: Final = 8
"""Files of one commit that get a line each."""


@dataclass(frozen=True, slots=True)
class Version:
    """A commit that changed models, all of what it changed, and a sentence for each file or for all of them."""

    commit: Commit
    comparison: Comparison
    told: tuple[str, ...]


def history(
    store: Store, revs: Sequence[str], paths: Sequence[str], wish: Wish, *, limit: int | None = None
) -> Iterator[Version]:
    """The commits that changed weight files, each with what it changed.

    Args:
        store: of the repository.
        revs: revisions and ranges; empty for HEAD.
        paths: only these files and folders, from the top; empty for all.
        wish: what to tell of each.
        limit: at most so many commits that changed weight files.

    Raises:
        GitError: a revision is unknown.
        MissingError: a manifest is not here (partial clone).
    """
    specs = [b":(top,literal)" + os.fsencode(path) for path in paths if path != "."]
    reader = _Manifests(store)
    left = limit
    for commit in log(store.repo, revs, specs):
        if left == 0:
            return
        before, after = reader.sides(commit)
        if not before.files and not after.files:
            continue
        comparison = compared(store, before, after, wish, store.progress)
        if comparison.files:
            yield Version(commit, comparison, _told(comparison, before, after))
            left = left if left is None else left - 1


def one_commit(store: Store, rev: str, paths: Sequence[str], wish: Wish) -> tuple[Commit, Comparison]:
    """One commit, a merge against its first parent, and what it changed. The arguments and errors are `history`'s.

    Raises:
        UsageError: `rev` leads to no commit.
    """
    oid = rev_parse(store.repo, rev, kind="commit")
    (commit,) = log(store.repo, [oid], walk=False)
    if paths and "." not in paths:
        wanted = [os.fsencode(path) for path in paths]
        chosen = (c for c in commit.changes if any(c.path == path or c.path.startswith(path + b"/") for path in wanted))
        commit = replace(commit, changes=tuple(chosen))
    return commit, compared(store, *_Manifests(store).sides(commit), wish, store.progress)


def _told(comparison: Comparison, before: Side, after: Side) -> tuple[str, ...]:
    """A line a file; one line for all of them where they are one model that was cut up anew, or too many."""
    files = comparison.files
    moved = any(change.kind == "moved" for file in files for change in file.tensors)
    if moved or len(files) > _MOST_LINES:
        return (comparison.summary,)
    lines = ((file.path, summarise(replace(comparison, files=(file,)), before, after)) for file in files)
    return tuple(line if line.startswith(path) else f"{path}: {line}" for path, line in lines)


class _Manifests:
    """Reads manifests of history. Most blobs are met twice, as the newer and then as the older side."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Oid, Manifest | None] = {}

    def sides(self, commit: Commit) -> tuple[Side, Side]:
        """The weight files that a commit changed, as they were before and after it."""
        before: dict[str, FileSide] = {}
        after: dict[str, FileSide] = {}
        for change in commit.changes:
            path = os.fsdecode(change.path)
            for files, blob in ((before, change.before), (after, change.after)):
                text = None if blob is None else self._read(blob, f"{commit.short}:{path}")
                if text is not None:
                    files[path] = StoredFile(self._store, text, path)
        parent = commit.parents[0][:SHORT] if commit.parents else "nothing"
        return Side(parent, before), Side(commit.short, after)

    def _read(self, blob: Oid, where: str) -> Manifest | None:
        if blob not in self._known:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            objects = self._store.objects
            data = manifest_text(self._store.repo, objects, blob, objects.size(blob))
            try:
                self._known[blob] = None if data is None else manifest.parse(data)
            except ManifestError as error:
                note(f"{where}: {error.message}")
                self._known[blob] = None
        return self._known[blob]
