"""The contenders: three that live in a git repository, three that back up folders; each in a repository of its own.

The git contenders differ only in how a repository is set up and in the commands that write a work tree; the others are
three commands each. All keep their own defaults, except that borg is asked for zstd, which it does not choose itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.ground import Ground
from benchmarks.timing import length

PATTERN: Final = "*.safetensors"


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to keep weights in git.

    Attributes:
        name: as the table shows it.
        needs: the program that must be on PATH.
        setup: commands that make a new repository use it.
        skip: the variable that makes a checkout leave pointers in the work tree.
        checkout: the command that replaces pointers by weights.
        pack: the command that packs after an add, for the stored size.
    """

    name: str
    needs: str
    setup: tuple[tuple[str, ...], ...]
    skip: str
    checkout: tuple[str, ...]
    pack: tuple[str, ...] = ()


LEPTON: Final = Kind(
    "git-lepton",
    "git-lepton",
    (("git", "lepton", "init"), ("git", "lepton", "track", PATTERN)),
    "GIT_LEPTON_SKIP_SMUDGE",
    ("git", "lepton", "checkout"),
)
LFS: Final = Kind(
    "git-lfs",
    "git-lfs",
    (("git", "lfs", "install", "--local"), ("git", "lfs", "track", PATTERN)),
    "GIT_LFS_SKIP_SMUDGE",
    ("git", "lfs", "checkout"),
)
PLAIN: Final = Kind("git", "git", (), "", (), ("git", "gc", "-q"))


@dataclass(frozen=True, slots=True)
class Backup:
    """A program that stores a folder; in its words `{repo}`, `{cache}` and `{mark}` (new each time) are filled in."""

    name: str
    needs: str
    env: Mapping[str, str]
    create: tuple[str, ...]
    save: tuple[tuple[str, ...], ...]


BORG: Final = Backup(
    "borg",
    "borg",
    {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": "{cache}"},
    ("borg", "init", "-e", "none", "{repo}"),
    (("borg", "create", "-C", "zstd", "{repo}::{mark}", "."),),
)
RESTIC: Final = Backup(
    "restic",
    "restic",
    {"RESTIC_PASSWORD": "none", "RESTIC_REPOSITORY": "{repo}", "RESTIC_CACHE_DIR": "{cache}"},
    ("restic", "init"),
    (("restic", "backup", "."),),
)
BUP: Final = Backup(
    "bup",
    "bup",
    {"BUP_DIR": "{repo}"},
    ("bup", "init"),
    (("bup", "index", "."), ("bup", "save", "-n", "model", ".")),
)


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree of one kind."""

    ground: Ground
    kind: Kind
    path: Path

    @classmethod
    def new(cls, ground: Ground, kind: Kind, *, remote: Path | None = None) -> Repository:
        """A fresh repository whose attributes are committed; `remote` becomes its origin."""
        path = ground.folder(kind.name)
        repository = cls(ground, kind, path)
        repository.git("init", "-q")
        for command in kind.setup:
            ground.call(*command, cwd=path)
        if remote:
            repository.git("remote", "add", "origin", f"file://{remote}")
        repository.git("add", "-A")
        repository.git("commit", "-q", "--allow-empty", "-m", "set up")
        return repository

    def git(self, *args: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Run git here, unmeasured."""
        return self.ground.git(self.path, *args, env=env)

    def put(self, *files: Path, name: str = "") -> None:
        """Make these the weight files of the work tree; `name` renames a single one."""
        for old in self.path.glob(PATTERN):
            old.unlink()
        for file in files:
            os.link(file, self.path / (name or file.name))

    def commit(self, *files: Path, name: str = "") -> None:
        """Put files and commit them."""
        self.put(*files, name=name)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "weights")

    def points(self, *names: str) -> None:
        """Put pointers, or manifests, in the place of weight files."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        self.git("checkout", "--", *names, env={self.kind.skip: "1"})

    def remove(self) -> None:
        """Delete the repository."""
        shutil.rmtree(self.path)


class Store(Protocol):
    """Something whose size on disk is measured."""

    def save(self, files: Sequence[Path]) -> None:
        """Store these files as the next state of one folder."""

    def size(self) -> int:
        """Bytes of all that is stored."""

    def snapshot(self) -> None:
        """Remember this state."""

    def restore(self) -> None:
        """Go back to the state that was remembered."""

    def remove(self) -> None:
        """Delete it all."""


class _Folder:
    """A store in a folder that can be copied and put back; what a program caches about it is no part of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.live = home / "live"
        self.cache = home / "cache"

    def snapshot(self) -> None:
        """See `Store.snapshot`."""
        shutil.copytree(self.live, self.home / "kept", symlinks=True)

    def restore(self) -> None:
        """See `Store.restore`."""
        shutil.rmtree(self.live)
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.copytree(self.home / "kept", self.live, symlinks=True)

    def remove(self) -> None:
        """See `Store.remove`."""
        shutil.rmtree(self.home)


class GitStore(_Folder):
    """A repository of some kind, seen as a store: what lies under `.git`."""

    def __init__(self, ground: Ground, kind: Kind) -> None:
        repository = Repository.new(ground, kind)
        super().__init__(ground.folder("store"))
        repository.path.rename(self.live)
        self._repository = Repository(ground, kind, self.live)

    def save(self, files: Sequence[Path]) -> None:
        """See `Store.save`."""
        self._repository.commit(*files, name="model.safetensors" if len(files) == 1 else "")
        if self._repository.kind.pack:
            self._repository.ground.call(*self._repository.kind.pack, cwd=self.live)
        for file in self.live.glob(PATTERN):
            file.unlink()  # snapshots are copies, and need no work tree

    def size(self) -> int:
        """See `Store.size`."""
        return length(self.live / ".git")


class BackupStore(_Folder):
    """A repository of a backup program."""

    def __init__(self, ground: Ground, backup: Backup) -> None:
        super().__init__(ground.folder("store"))
        self._ground = ground
        self._backup = backup
        self._saves = 0
        self._call(backup.create, ground.work)

    def save(self, files: Sequence[Path]) -> None:
        """See `Store.save`."""
        source = self.home / "source"
        source.mkdir(exist_ok=True)
        for old in source.iterdir():
            old.unlink()
        for file in files:
            os.link(file, source / ("model.safetensors" if len(files) == 1 else file.name))
        self._saves += 1
        for command in self._backup.save:
            self._call(command, source)

    def size(self) -> int:
        """See `Store.size`."""
        return length(self.live)

    def _call(self, command: tuple[str, ...], cwd: Path) -> None:
        words = {"repo": str(self.live), "cache": str(self.cache), "mark": f"mark-{self._saves}"}
        env = {name: value.format(**words) for name, value in self._backup.env.items()}
        self._ground.call(*(part.format(**words) for part in command), cwd=cwd, env=env)


def stores(ground: Ground) -> Iterable[tuple[str, Store]]:
    """Yield a new store of each contender that this machine has, git-lepton first."""
    for kind in (LEPTON, LFS, PLAIN):
        if ground.has(kind.needs):
            yield kind.name, GitStore(ground, kind)
    for backup in (BORG, RESTIC, BUP):
        if ground.has(backup.needs):
            yield backup.name, BackupStore(ground, backup)
