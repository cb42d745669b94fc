"""Clones with a store, for tests of transfer."""

from __future__ import annotations

from pathlib import Path

from git_lepton.git.repo import discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import Hash
from tests.support import git
from tests.transfer.servers import objects_in, packs


def clone(folder: Path, **remotes: str) -> Store:
    """A new repository with these remotes (no `git clone`: the server may be empty)."""
    git(folder.parent, "init", "-q", "-b", "main", folder.name)
    git(folder, "config", "fetch.fsckObjects", "true")
    for name, url in remotes.items():
        git(folder, "remote", "add", name, url)
    return Store(discover(folder))


def top(store: Store) -> Path:
    assert store.repo.work_tree is not None
    return store.repo.work_tree


def add(store: Store, data: bytes, *bases: Manifest) -> Manifest:
    return store.add(BytesSource(data), "m.safetensors", candidates=bases)


def commit(store: Store, name: str, manifest: Manifest) -> str:
    """Commit a manifest as a file; returns the commit."""
    path = top(store) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest.to_bytes())
    git(top(store), "add", name)
    git(top(store), "commit", "-q", "-m", f"add {name}")
    return git(top(store), "rev-parse", "HEAD")


def restored(store: Store, digest: Hash) -> bytes:
    with store.restore_temporary(digest) as file:
        return file.read()


class Received:
    """What a bare repository received while the block ran: packs are kept as they were sent."""

    def __init__(self, bare: Path) -> None:
        self._bare = bare
        self._before: set[Path] = set()

    def __enter__(self) -> Received:
        self._before = packs(self._bare)
        return self

    def __exit__(self, *_: object) -> None:
        new = packs(self._bare) - self._before
        self.objects = sum(map(objects_in, new))
        self.bytes = sum(p.stat().st_size for p in new)
