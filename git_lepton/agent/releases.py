"""Releases on the disk, beside the link that readers open.

    FOLDER/current              -> releases/<bundle>, moved by one rename
    FOLDER/releases/<bundle>/   the whole bundle, files read-only
    FOLDER/.staging/            what is being made, and what is being removed

A release is made in `.staging`, every file hashed as it is written and flushed, and appears under its name by one
rename: a folder below `releases` is whole. Files are copies, or share their blocks with another release's where the
file system can; never links, which loaders refuse to follow out of a folder. Readers that open several files resolve
`current` once, since two openings through the link may fall on both sides of a swap.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton import atomic
from git_lepton.agent.content import check_files
from git_lepton.agent.values import Release
from git_lepton.errors import CorruptError, LeptonError
from git_lepton.record.bundle import Bundle, BundleFile, make, parse_line
from git_lepton.record.locating import of_file, of_folder
from git_lepton.store.store import Store
from git_lepton.values import Hash

CURRENT: Final = "current"
_RELEASES: Final = "releases"
_STAGING: Final = ".staging"
_FICLONE: Final = 0x40049409
_SLACK: Final = 16 << 20


class Releases:
    """The releases of one model."""

    def __init__(self, folder: Path) -> None:
        """Know the folder; it is made when a release is."""
        self.folder = folder
        self._releases = folder / _RELEASES
        self._staging = folder / _STAGING

    def path(self, bundle: Hash) -> Path:
        """Where a release is, or would be."""
        return self._releases / bundle

    def current(self) -> Hash | None:
        """The release that `current` points to, whether it is there or not."""
        try:
            target = os.fspath((self.folder / CURRENT).readlink())
        except OSError:
            return None
        head, _, name = target.rpartition("/")
        return Hash(name) if head == _RELEASES else None

    def is_whole(self, release: Release, *, deep: bool) -> bool:
        """Whether every file is there; `deep` hashes them, and notices what does not belong."""
        folder = self.path(release.bundle)
        try:
            if deep:
                return of_folder(folder).hash == release.bundle
            return all(_looks_right(folder, file) for file in _files(release).files)
        except (OSError, LeptonError):
            return False

    def build(
        self, store: Store, release: Release, *, like: Iterable[Release] = (), allow_pickle: bool = False
    ) -> None:
        """Put the release's files in place from the mirror; one that is there is replaced.

        Args:
            store: has all of it.
            release: what to build.
            like: releases whose files may be cloned.
            allow_pickle: see `content.check_files`.

        Raises:
            CorruptError, MissingError: the mirror does not have what it should.
            VerificationError: a file must not be served.
            OSError: the disk is full, or failed; nothing appeared.
        """
        found = _files(release)
        self._releases.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(exist_ok=True)
        if shutil.disk_usage(self.folder).free < release.size + _SLACK:
            why = f"no space for a release of {release.size} bytes, and {_SLACK} to spare"
            raise OSError(errno.ENOSPC, why, str(self.folder))
        draft = self._staging / atomic.owned_name()
        draft.mkdir(mode=0o755)
        try:
            self._write_all(store, release, found, draft, like)
            check_files(draft, found, allow_pickle=allow_pickle)
            _flush_folders(draft)
            final = self.path(release.bundle)
            if final.exists():
                final.rename(self._staging / atomic.owned_name(".old"))
            draft.rename(final)
            atomic.fsync_dir(self._releases)
        finally:
            self.clean()

    def point(self, bundle: Hash) -> None:
        """Let `current` point to a release, by one rename."""
        with atomic.temporary(self.folder, ".link") as draft:
            draft.symlink_to(f"{_RELEASES}/{bundle}")
            atomic.replace(draft, self.folder / CURRENT)

    def retain(self, keep: Collection[Hash]) -> None:
        """Remove all releases but these, and never the one that `current` points to."""
        kept = {*keep, self.current()}
        if self._releases.is_dir():
            for path in self._releases.iterdir():
                if path.name not in kept:
                    # Out of sight by one rename first: a folder here is whole, or not there.
                    self._staging.mkdir(exist_ok=True)
                    path.rename(self._staging / atomic.owned_name(".old"))
        self.clean()

    def clean(self) -> None:
        """Remove what was being made, or removed, when an agent stopped; only one agent has this folder."""
        if self._staging.is_dir():
            for path in self._staging.iterdir():
                shutil.rmtree(path, ignore_errors=True)
        if self.folder.is_dir():
            atomic.clean_owned(self.folder)

    def _write_all(self, store: Store, release: Release, found: Bundle, draft: Path, like: Iterable[Release]) -> None:
        same = {
            file.blake3: self.path(other.bundle) / file.path
            for other in like
            if other.bundle != release.bundle
            for file in _files(other).files
        }
        for file, source in zip(found.files, release.sources, strict=True):
            path = draft / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
            try:
                if not (file.blake3 in same and _cloned(same[file.blake3], fd, path, file)):
                    out = _Capped(fd, file)
                    if source.blob is None:
                        store.restore_to(file.blake3, out.write)  # compares the hash
                    else:
                        data = memoryview(store.objects.read(source.blob)[1])
                        if blake3(data).hexdigest() != file.blake3:
                            raise CorruptError(f"{file.path} is not what the record says")
                        out.write(data)
                os.fchmod(fd, 0o555 if file.mode & 0o100 else 0o444)
                atomic.fsync_file(fd)
            finally:
                os.close(fd)


class _Capped:
    """Writes a file that may have so many bytes and no more."""

    def __init__(self, fd: int, file: BundleFile) -> None:
        self._fd = fd
        self._file = file
        self._left = file.size

    def write(self, piece: memoryview) -> None:
        """Write a piece. Raises CorruptError as soon as there is too much."""
        self._left -= len(piece)
        if self._left < 0:
            raise CorruptError(f"{self._file.path} has more than its {self._file.size} bytes")
        while piece:
            piece = piece[os.write(self._fd, piece) :]


def _files(release: Release) -> Bundle:
    """The bundle of a release. Raises FrameError for one that no record could have."""
    return make(parse_line(source.line) for source in release.sources)


def _looks_right(folder: Path, file: BundleFile) -> bool:
    held = (folder / file.path).lstat()
    return stat.S_ISREG(held.st_mode) and held.st_size == file.size


def _cloned(source: Path, fd: int, path: Path, file: BundleFile) -> bool:
    """Share the blocks of a file that has the same content, if the file system can and the content is the same."""
    try:
        with source.open("rb") as stream:
            fcntl.ioctl(fd, _FICLONE, stream.fileno())
    except OSError:
        return False
    if of_file(path, file.path).blake3 == file.blake3:
        return True
    os.ftruncate(fd, 0)
    return False


def _flush_folders(top: Path) -> None:
    for name, _, _ in os.walk(top, topdown=False):
        atomic.fsync_dir(Path(name))
