"""`.gitattributes`: which files git-lepton keeps.

A pattern that is tracked changes nothing that is committed: files that were added before stay raw in the index until
they are added again, which `renormalise` does. Paths that differ in case or in Unicode's normal form alone are one file
on some systems, where a checkout would then write one model over the other.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton import atomic
from git_lepton.git import attributes
from git_lepton.git.indexfile import ls_files
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at

ATTRIBUTES: Final = attributes.OURS
FILE_NAME: Final = ".gitattributes"
_FILE_MODES: Final = frozenset({0o100644, 0o100755})


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What `track` or `untrack` changed.

    Attributes:
        changed: patterns whose line is new, changed or gone.
        unchanged: patterns for which nothing had to be done.
        to_convert: staged paths that are not yet what the attributes say (see `renormalise`).
        collisions: groups of staged weight paths that are one file where case or normal form is not told apart.
    """

    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    to_convert: tuple[str, ...]
    collisions: tuple[tuple[str, ...], ...]


def track(repo: Repo, store: Store, patterns: Iterable[str], folder: Path) -> TrackReport:
    """Let git-lepton keep what matches `patterns` below `folder`, by a line each in its `.gitattributes`.

    Raises:
        UsageError: git would not take such a pattern; nothing is written.
    """
    wanted = list(patterns)
    path = folder / FILE_NAME
    before = content = _read(path)
    changed: list[str] = []
    unchanged: list[str] = []
    for pattern in wanted:
        after = attributes.track(content, os.fsencode(pattern), ATTRIBUTES)
        (unchanged if after == content else changed).append(pattern)
        content = after
    if content != before:
        _write(repo, path, content)
    return TrackReport(tuple(changed), tuple(unchanged), raw_paths(repo, store), collisions(repo))


def untrack(repo: Repo, store: Store, patterns: Iterable[str], folder: Path) -> TrackReport:
    """Give what matches `patterns` back to git, by taking our attributes from their lines.

    The paths to convert are those that the index has as manifests and that git-lepton no longer keeps.
    """
    path = folder / FILE_NAME
    before = content = _read(path)
    changed: list[str] = []
    unchanged: list[str] = []
    for pattern in patterns:
        after = attributes.untrack(content, os.fsencode(pattern), attributes.OURS)
        (unchanged if after == content else changed).append(pattern)
        content = after
    if content != before:
        _write(repo, path, content)
    manifests = [f.path for f in files_at(repo, store.objects, STAGED).files]
    kept = {os.fsdecode(p) for p in _kept(repo, map(os.fsencode, manifests))}
    return TrackReport(tuple(changed), tuple(unchanged), tuple(p for p in manifests if p not in kept), ())


def tracked_patterns(repo: Repo) -> list[tuple[str, str]]:
    """Every pattern that git-lepton keeps, as (path of its `.gitattributes` from the top, pattern)."""
    if repo.work_tree is None:
        return []
    files = repo.git(
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", FILE_NAME, f"**/{FILE_NAME}"
    ).stdout
    found: list[tuple[str, str]] = []
    for name in dict.fromkeys(os.fsdecode(f) for f in files.split(b"\0") if f):
        content = _read(repo.work_tree / name)
        found += [(name, os.fsdecode(pattern)) for pattern in attributes.tracked_patterns(content)]
    return found


def raw_paths(repo: Repo, store: Store) -> tuple[str, ...]:
    """Staged files that git-lepton keeps by their attributes, and that the index does not have as manifests."""
    entries = {e.path: e.oid for e in ls_files(repo) if e.mode in _FILE_MODES and e.stage == 0}
    kept = _kept(repo, entries)
    names = [os.fsdecode(path) for path in kept]
    if not names:
        return ()
    manifests = {f.path for f in files_at(repo, store.objects, STAGED, names).files}
    empty = {name for path, name in zip(kept, names, strict=True) if store.objects.size(entries[path]) == 0}
    return tuple(name for name in names if name not in manifests and name not in empty)


def collisions(repo: Repo) -> tuple[tuple[str, ...], ...]:
    """Groups of staged weight paths that differ in case or Unicode's normal form alone."""
    groups: dict[str, list[str]] = {}
    for path in _kept(repo, (e.path for e in ls_files(repo) if e.stage == 0)):
        name = os.fsdecode(path)
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def renormalise(repo: Repo, paths: Sequence[str]) -> None:
    """Stage these files anew, as their attributes say now: raw files become manifests, and the other way round.

    Raises:
        GitError: a file cannot be read, or the filter refuses it.
    """
    if paths:
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        repo.git(
            "--literal-pathspecs", "add", "--renormalize", "--pathspec-from-file=-", "--pathspec-file-nul", input=stdin
        )


def _kept(repo: Repo, paths: Iterable[bytes]) -> list[bytes]:
    found = attributes.check_attr(repo, paths, ["filter"])
    return [path for path, values in found.items() if values.get("filter") == "lepton"]


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _write(repo: Repo, path: Path, content: bytes) -> None:
    """Write an attributes file; an empty one goes, unless git has it: git would read the staged one in its place."""
    if content or repo.git("ls-files", "-z", "--", path).stdout:
        atomic.write_file(path, content, durable=False)
    else:
        path.unlink(missing_ok=True)
