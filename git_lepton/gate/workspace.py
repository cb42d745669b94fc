"""A folder of its own for one run of the gate: bundles and examples written out of git, and gone in the end.

What is judged is what git holds, whatever the work tree has: a file of the work tree is copied in place of decoding the
stored version only where the copy has the very hash that the manifest names. The folder lies in the repository's own
folder (same file system, not in anybody's way) under a name that tells its owner, so that what a killed run left is
removed by the next one. Equal bundles are written once, and those that may turn out not to be needed when they are.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton import atomic
from git_lepton.closing import Closing
from git_lepton.gate.values import DataFile, Folder
from git_lepton.record.bundle import Bundle, BundleFile
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring_or_fail
from git_lepton.values import Hash, Oid

FOLDER: Final = "gate"
_RESERVE: Final = 64 << 20
"""Bytes that must stay free on the disk."""
_BLOCK: Final = 1 << 20


class Workspace(Closing):
    """Writes models and examples into a temporary folder. A context manager; use it from one thread."""

    def __init__(self, store: Store) -> None:
        """Prepare; nothing is written before the first file is asked for."""
        self._store = store
        self._top = store.repo.lepton_dir / FOLDER
        self._folder: Path | None = None
        self._bundles: dict[Hash, Path] = {}
        self._promised: dict[Path, Callable[[], None]] = {}
        self._made: dict[Hash, Path] = {}
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

    def offer(self, digest: Hash, path: Path) -> None:
        """Tell where a stored version was made just now, so that it is copied from there and not decoded."""
        self._made[digest] = path

    def reserve(self, size: int) -> None:
        """Refuse to begin what the disk has no room for.

        Raises:
            OSError: ENOSPC.
        """
        free = shutil.disk_usage(self.path).free
        if free < size + _RESERVE:
            needed = size + _RESERVE
            text = f"the gate needs {needed >> 20} MiB free here, to be safe, and {free >> 20} MiB are"
            raise OSError(errno.ENOSPC, text, str(self._top))

    def folder(self, name: str = "") -> Path:
        """A fresh folder."""
        path = self.path / f"{len(list(self.path.iterdir()))}{'-' if name else ''}{name}"
        path.mkdir()
        return path

    def bundle(self, located: LocatedBundle, main: str, *, root: str | None = None) -> Folder:
        """Write a bundle of git; weights that are not here are brought.

        Args:
            located: the bundle.
            main: what a loader opens of it.
            root: folder of the work tree, from its top, that may hold the same files.

        Raises:
            MissingError: they are nowhere to be had.
            CorruptError: they are damaged.
        """
        folder = self.promise(located, main, root=root)
        self.fill(folder)
        return folder

    def promise(self, located: LocatedBundle, main: str, *, root: str | None = None) -> Folder:
        """The folder of a bundle that `fill` writes if it must be; see `bundle`."""
        blobs = {part.file.path: part.blob for part in located.parts if part.manifest is None}
        top = self._store.repo.work_tree
        near = None if top is None or root is None else top / root
        return self._promise(located.bundle, main, blobs, located.versions, near)

    def fill(self, folder: Folder) -> None:
        """Write what was promised, unless it is there. Raises as `bundle`."""
        if (write := self._promised.get(folder.path)) is not None:
            write()
            del self._promised[folder.path]

    def variant(self, whole: Bundle, main: str, original: LocatedBundle) -> Folder:
        """Write the bundle of a variant: files shared with the original as they are there, others are stored versions.

        Raises:
            MissingError, CorruptError: as `bundle`.
        """
        blobs = {part.file: part.blob for part in original.parts if part.manifest is None}
        plain = {file.path: blobs[file] for file in whole.files if file in blobs}
        versions = {file.blake3: file.path for file in whole.files if file.path not in plain}
        folder = self._promise(whole, main, plain, versions, None)
        self.fill(folder)
        return folder

    def data(self, part: Part) -> DataFile:
        """Write one file of git under its own name. Raises as `bundle`."""
        key = (part.file.blake3, Path(part.file.path).name)
        if key not in self._files:
            if part.manifest is not None:
                self._bring({part.manifest.blake3: part.file.path})
            path = self.folder("data") / key[1]
            top = self._store.repo.work_tree
            near = None if top is None else top / part.file.path
            self._put(part.file, path, None if part.manifest is not None else part.blob, near)
            self._files[key] = path
        return DataFile(self._files[key], part.file.blake3)

    def _bring(self, versions: dict[Hash, str]) -> None:
        absent = {digest: path for digest, path in versions.items() if not self._store.has(digest)}
        if absent:
            bring_or_fail(self._store, absent)

    def _promise(
        self, whole: Bundle, main: str, blobs: dict[str, Oid], versions: dict[Hash, str], near: Path | None
    ) -> Folder:
        def write() -> None:
            self._bring(versions)
            for file in whole.files:
                self._put(file, folder / file.path, blobs.get(file.path), None if near is None else near / file.path)

        if whole.hash not in self._bundles:
            folder = self._bundles[whole.hash] = self.folder("model")
            self._promised[folder] = write
        return Folder(self._bundles[whole.hash], main, whole.hash)

    def _put(self, file: BundleFile, path: Path, blob: Oid | None, near: Path | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        near = self._made.get(file.blake3, near)
        if blob is not None:
            path.write_bytes(self._store.objects.read(blob)[1])
        elif near is None or not _copy(near, path, file):
            self._store.restore_file(file.blake3, path)
        path.chmod(file.mode & 0o777)

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _copy(source: Path, target: Path, wanted: BundleFile) -> bool:
    """Copy a file where it is what is wanted, by the hash of what was copied; else leave nothing and return False."""
    try:
        held = source.lstat()
        if not stat.S_ISREG(held.st_mode) or held.st_size != wanted.size:
            return False
        stream = source.open("rb", buffering=0)
    except OSError:
        return False
    hasher = blake3()
    with stream, target.open("wb") as out:
        buffer = memoryview(bytearray(_BLOCK))
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            out.write(buffer[:count])
    if hasher.hexdigest() == wanted.blake3:
        return True
    target.unlink()
    return False


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
