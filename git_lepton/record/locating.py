"""Where the files of a bundle are: in a revision, in the index, or in a folder.

What git-lepton keeps under `.lepton/` never belongs to a model. A manifest names size and hash of the content that it
stands for, so that no weight is restored to learn a model's identity.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton.config.values import ModelSettings
from git_lepton.errors import ManifestError, UsageError
from git_lepton.git.indexfile import ls_files
from git_lepton.git.lstree import ls_tree
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.record.bundle import Bundle, BundleFile, check_path, make
from git_lepton.record.globs import matcher
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.tracked import STAGED, manifest_text
from git_lepton.values import Hash, Oid

_OUR_FOLDER: Final = ".lepton/"
_MODES: Final = (0o100644, 0o100755)
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Where git has a file of a bundle: the blob at its path, and the manifest that the blob is, if it is one."""

    file: BundleFile
    blob: Oid
    manifest: Manifest | None


@dataclass(frozen=True)
class LocatedBundle:
    """A bundle of a revision or of the index, and where each of its files is; `parts` are in the bundle's order."""

    parts: tuple[Part, ...]

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle itself."""
        return Bundle(tuple(part.file for part in self.parts))

    @property
    def versions(self) -> dict[Hash, str]:
        """The stored versions that it needs, each with a path."""
        return {part.manifest.blake3: part.file.path for part in self.parts if part.manifest is not None}


def at(repo: Repo, objects: ObjectReader, settings: ModelSettings, rev: str = STAGED) -> LocatedBundle:
    """The bundle of a model in `rev`, or in the index in force; empty when no file matches.

    Raises:
        UsageError: `rev` leads to no tree; a file is a link or in conflict.
        FrameError: a path is not allowed.
        ManifestError: a file begins like a manifest and is none.
    """
    matches = matcher(settings.files)
    prefix = f"{settings.root}/" if settings.root else ""
    parts = []
    for path, mode, blob in entries(repo, rev, settings.root):
        below = path.removeprefix(prefix)
        if path.startswith(prefix) and not path.startswith(_OUR_FOLDER) and matches(below):
            parts.append(locate(repo, objects, path, below, mode, blob))
    parts.sort(key=lambda part: part.file.path.encode())
    make(part.file for part in parts)
    return LocatedBundle(tuple(parts))


def part_at(repo: Repo, objects: ObjectReader, path: str, rev: str = STAGED) -> Part | None:
    """One file of `rev` or the index, by its path from the top (also its `file.path`), or None. Raises as `at`."""
    for found, mode, blob in entries(repo, rev, path):
        if found == path:
            return locate(repo, objects, path, path, mode, blob)
    return None


def entries(repo: Repo, rev: str, below: str = "") -> Iterator[tuple[str, int, Oid]]:
    """Path from the top, mode and blob of every file of `rev` or the index, at or below a path.

    Raises:
        UsageError: `rev` leads to no tree, or the index has a conflict there.
    """
    if rev != STAGED:
        for item in ls_tree(repo, rev, [os.fsencode(below)] if below else ()):
            yield os.fsdecode(item.path), item.mode, item.oid
        return
    for entry in ls_files(repo, [b":(top,literal)" + os.fsencode(below)] if below else ()):
        if entry.stage:
            raise UsageError(f"{os.fsdecode(entry.path)} is in conflict", hint="settle it, then git add it")
        yield os.fsdecode(entry.path), entry.mode, entry.oid


def of_folder(folder: Path, files: Sequence[str] = ("**",)) -> Bundle:
    """The bundle that the files in `folder` make, links not followed.

    Raises:
        UsageError: a file that matches is a link or something stranger.
        FrameError: a path is not allowed.
    """
    matches = matcher(files)
    found = []
    for top, names, leaves in os.walk(folder):
        names.sort()
        for name in leaves:
            path = Path(top, name)
            below = path.relative_to(folder).as_posix()
            if matches(below):
                found.append(of_file(path, below))
    return make(found)


def of_file(path: Path, name: str) -> BundleFile:
    """The line of the file at `path` as `name`.

    Raises:
        UsageError: it is no ordinary file.
    """
    held = path.lstat()
    if not stat.S_ISREG(held.st_mode):
        raise UsageError(f"{path} is no ordinary file, and cannot be part of a model")
    hasher, size = blake3(), 0
    with path.open("rb", buffering=0) as stream:
        buffer = memoryview(bytearray(_BLOCK))
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
    return BundleFile(name, _MODES[bool(held.st_mode & 0o100)], size, Hash(hasher.hexdigest()))


def locate(repo: Repo, objects: ObjectReader, path: str, name: str, mode: int, blob: Oid) -> Part:
    """One file of git as part of a bundle in which it is called `name`. Raises as `at`."""
    if mode not in _MODES:
        raise UsageError(f"{path} is no ordinary file in git (mode {mode:o}), and cannot be part of a model")
    check_path(name)
    text = manifest_text(repo, objects, blob, objects.size(blob))
    if text is None:
        data = objects.read(blob)[1]
        return Part(BundleFile(name, mode, len(data), Hash(blake3(data).hexdigest())), blob, None)
    try:
        found = manifest.parse(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error.message}", hint=error.hint) from error
    return Part(BundleFile(name, mode, found.size, found.blake3), blob, found)
