"""Weight files of a revision or of the index: every manifest that it holds, found by content.

Which attributes a path has today says nothing of an old revision, so blobs are looked at instead: those of a size that
a manifest can have are read, and the few that begin with our first words are parsed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import ManifestError, UsageError
from git_lepton.git.indexfile import ls_files
from git_lepton.git.lstree import ls_tree, rev_parse
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.values import Oid

STAGED: Final = ""
"""The revision that stands for the index."""

_SMALLEST: Final = len(manifest.FIRST_LINE) + 200
_READ_WHOLE: Final = 1 << 20
"""Up to this size reading a blob costs less than starting a process that peeks at it."""
_BLOB_MODES: Final = (0o100644, 0o100755)


@dataclass(frozen=True, slots=True)
class TrackedFile:
    """A path that holds a manifest. `path` has lone surrogates for bytes that are not UTF-8; `mode` is git's."""

    path: str
    mode: int
    blob: Oid
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Listing:
    """The weight files of a revision by path, and the paths that begin like a manifest and hold none."""

    files: tuple[TrackedFile, ...]
    broken: tuple[tuple[str, ManifestError], ...]


def files_at(repo: Repo, objects: ObjectReader, rev: str, paths: Sequence[str] = ()) -> Listing:
    """The weight files of `rev`.

    Args:
        repo: where.
        objects: reader of its objects.
        rev: anything that leads to a tree, or `STAGED`.
        paths: only these files and folders, from the top of the work tree; empty for all.

    Raises:
        UsageError: `rev` leads to no tree.
    """
    wanted = [os.fsencode(path) for path in paths if path != "."] if "." not in paths else []
    entries: Iterable[tuple[bytes, int, Oid, int | None]]
    if rev == STAGED:
        specs = [b":(top,literal)" + path for path in wanted]
        entries = ((e.path, e.mode, e.oid, objects.size(e.oid)) for e in ls_files(repo, specs) if e.mode in _BLOB_MODES)
    else:
        items = ls_tree(repo, rev, wanted, sizes=True)
        entries = ((i.path, i.mode, i.oid, i.size) for i in items if i.mode in _BLOB_MODES)
    return _manifests(repo, objects, entries)


def _manifests(repo: Repo, objects: ObjectReader, entries: Iterable[tuple[bytes, int, Oid, int | None]]) -> Listing:
    files, broken = [], []
    for raw, mode, blob, size in entries:
        data = None if size is None else manifest_text(repo, objects, blob, size)
        if data is None:
            continue
        path = os.fsdecode(raw)
        try:
            files.append(TrackedFile(path, mode, blob, manifest.parse(data)))
        except ManifestError as error:
            broken.append((path, error))
    return Listing(tuple(files), tuple(broken))


def manifest_text(repo: Repo, objects: ObjectReader, blob: Oid, size: int) -> bytes | None:
    """The content of a blob of `size` bytes that begins like a manifest, or None; a large other one is not read."""
    if not _SMALLEST <= size <= manifest.MAX_BYTES:
        return None
    if size > _READ_WHOLE and not manifest.looks_like(_first_bytes(repo, blob)):
        return None
    data = bytes(objects.read(blob)[1])
    return data if manifest.looks_like(data) else None


def _first_bytes(repo: Repo, blob: Oid) -> bytes:
    """The beginning of a large blob: git streams one above bigFileThreshold, and we stop listening."""
    with repo.git_spawn("-c", f"core.bigFileThreshold={_READ_WHOLE}", "cat-file", "blob", blob) as process:
        data = process.stdout.read(len(manifest.PREFIX))
        process.kill()
    return data


def manifest_at(repo: Repo, objects: ObjectReader, rev: str, path: str) -> Manifest:
    """The manifest at `path`, from the top of the work tree, in `rev` (or `STAGED`).

    Raises:
        UsageError: no such revision or path, or git-lepton does not keep this file there.
        ManifestError: it begins like a manifest and is none.
    """
    if rev != STAGED:
        rev_parse(repo, rev, kind="tree")
    where = f"{rev}:{path}" if rev != STAGED else f":0:{path}"
    try:
        blob = rev_parse(repo, where)
    except UsageError as error:
        raise UsageError(
            f"{path} is not in {rev or 'the index'}", hint="git lepton ls-files lists weight files of a revision"
        ) from error
    kind, data = objects.read(blob)
    if kind != "blob":
        raise UsageError(f"{path} is a folder in {rev or 'the index'}", hint="name a weight file inside it")
    if not manifest.looks_like(bytes(data[: len(manifest.PREFIX)])):
        raise UsageError(
            f"{path} is an ordinary file in {rev or 'the index'}, git-lepton does not keep it",
            hint=f"read it with git: git show {where}",
        )
    return manifest.parse(bytes(data))
