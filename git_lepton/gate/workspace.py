"""A folder of its own for one run of the gate: bundles and examples written out of git, and gone in the end.

Nothing is taken from the work tree, which may hold something else than what is judged. The folder lies in the
repository's own folder (same file system, not in anybody's way) under a name that tells its owner, so that what a
killed run left is removed by the next one. Equal bundles are written once.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from git_lepton import atomic
from git_lepton.gate.values import DataFile, Folder
from git_lepton.record.bundle import Bundle, BundleFile
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring_or_fail
from git_lepton.values import Hash, Oid

FOLDER: Final = "gate"
_RESERVE: Final = 64 << 20
"""Bytes that must stay free on the disk."""


class Workspace:
    """Writes models and examples into a temporary folder. A context manager; use it from one thread."""

    def __init__(self, store: Store) -> None:
        """Prepare; nothing is written before the first file is asked for."""
        self._store = store
        self._top = store.repo.lepton_dir / FOLDER
        self._folder: Path | None = None
        self._bundles: dict[Hash, Path] = {}
        self._files: dict[tuple[Hash, str], Path] = {}

    @property
    def path(self) -> Path:
        """The folder, made when it is first asked for; what dead processes left is removed before."""
        if self._folder is None:
            self._top.mkdir(parents=True, exist_ok=True)
            sweep(self._top)
            self._folder = self._top / atomic.owned_name()
            self._folder.mkdir()
        return self._folder

    def reserve(self, size: int) -> None:
        """Refuse to begin what the disk has no room for.

        Raises:
            OSError: ENOSPC.
        """
        free = shutil.disk_usage(self.path).free
        if free < size + _RESERVE:
            text = f"the gate needs {size >> 20} MiB here for a while, and {free >> 20} MiB are free"
            raise OSError(errno.ENOSPC, text, str(self._top))

    def folder(self, name: str = "") -> Path:
        """A fresh folder."""
        path = self.path / f"{len(list(self.path.iterdir()))}{'-' if name else ''}{name}"
        path.mkdir()
        return path

    def bundle(self, located: LocatedBundle, main: str) -> Folder:
        """Write a bundle of git; weights that are not here are brought.

        Raises:
            MissingError: they are nowhere to be had.
            CorruptError: they are damaged.
        """
        self._bring(located.versions)
        blobs = {part.file.path: part.blob for part in located.parts if part.manifest is None}
        return self._write(located.bundle, main, blobs)

    def variant(self, whole: Bundle, main: str, original: LocatedBundle) -> Folder:
        """Write the bundle of a variant: files shared with the original as they are there, others are stored versions.

        Raises:
            MissingError, CorruptError: as `bundle`.
        """
        blobs = {part.file: part.blob for part in original.parts if part.manifest is None}
        plain = {file.path: blobs[file] for file in whole.files if file in blobs}
        self._bring({file.blake3: file.path for file in whole.files if file.path not in plain})
        return self._write(whole, main, plain)

    def data(self, part: Part) -> DataFile:
        """Write one file of git under its own name. Raises as `bundle`."""
        key = (part.file.blake3, Path(part.file.path).name)
        if key not in self._files:
            if part.manifest is not None:
                self._bring({part.manifest.blake3: part.file.path})
            path = self.folder("data") / key[1]
            self._put(part.file, path, None if part.manifest is not None else part.blob)
            self._files[key] = path
        return DataFile(self._files[key], part.file.blake3)

    def _bring(self, versions: dict[Hash, str]) -> None:
        absent = {digest: path for digest, path in versions.items() if not self._store.has(digest)}
        if absent:
            bring_or_fail(self._store, absent)

    def _write(self, whole: Bundle, main: str, blobs: dict[str, Oid]) -> Folder:
        if whole.hash not in self._bundles:
            folder = self.folder("model")
            for file in whole.files:
                self._put(file, folder / file.path, blobs.get(file.path))
            self._bundles[whole.hash] = folder
        return Folder(self._bundles[whole.hash], main, whole.hash)

    def _put(self, file: BundleFile, path: Path, blob: Oid | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if blob is None:
            self._store.restore_file(file.blake3, path, mode=file.mode & 0o777)
        else:
            path.write_bytes(self._store.objects.read(blob)[1])
            path.chmod(file.mode & 0o777)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def sweep(top: Path) -> None:
    """Remove the folders of processes that are dead."""
    for path in _owned(top):
        token = path.name.rpartition("~")[0].replace("~", " ")
        if atomic.owner_is_dead(token):
            shutil.rmtree(path, ignore_errors=True)


def _owned(top: Path) -> Iterable[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
