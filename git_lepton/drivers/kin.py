"""Manifests that git has near a path: what the clean filter compares with, and what a new version may descend from.

The index and HEAD are asked once a folder, not once a file, because `git add` cleans hundreds of files in one process;
blobs are then read without a process. The index is asked again when its file changed. An answer that is out of date
costs only size: it is never taken for the content of a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from git_lepton.errors import LeptonError
from git_lepton.git.indexfile import ls_files
from git_lepton.git.lstree import ls_tree
from git_lepton.store.manifest import Manifest, parse
from git_lepton.store.store import Store
from git_lepton.store.tracked import manifest_text
from git_lepton.values import Oid

NEIGHBOURS: Final = 6
"""Manifests of the same folder offered as relatives: shards and casts of one model lie beside one another."""
_LOOKED_AT: Final = 48

Folder = dict[bytes, Oid]
"""Blobs of one folder by path from the top."""


@dataclass(slots=True)
class Kin:
    """Manifests in the index and in HEAD, by path."""

    store: Store
    _stamp: tuple[int, int, int] | None = None
    _staged: dict[bytes, Folder] = field(default_factory=dict)
    _committed: dict[bytes, Folder] = field(default_factory=dict)
    _parsed: dict[Oid, Manifest | None] = field(default_factory=dict)

    def staged_blob(self, path: bytes) -> Oid | None:
        """The blob that the index has for `path`, outside conflicts."""
        return self._index_folder(path).get(path)

    def staged(self, path: bytes) -> Manifest | None:
        """The manifest that the index has for `path`."""
        blob = self.staged_blob(path)
        return None if blob is None else self._manifest(blob)

    def relatives(self, path: bytes) -> tuple[Manifest, ...]:
        """Manifests that a file at `path` may descend from, the closest first: its own, then those beside it."""
        found = {m.blake3: m for m in self._related(path)}
        return tuple(found.values())

    def _related(self, path: bytes) -> Iterator[Manifest]:
        for folder in (self._index_folder(path), self._head_folder(path)):
            blob = folder.get(path)
            manifest = None if blob is None else self._manifest(blob)
            if manifest is not None:
                yield manifest
        beside = self._index_folder(path)
        closest = sorted(beside.keys() - {path}, key=lambda p: (-_shared_letters(p, path), p))
        taken = 0
        for other in closest[:_LOOKED_AT]:
            manifest = self._manifest(beside[other])
            if manifest is not None:
                yield manifest
                taken += 1
            if taken == NEIGHBOURS:
                return

    def _index_folder(self, path: bytes) -> Folder:
        try:
            status = self.store.repo.index_file.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        except FileNotFoundError:
            return {}
        if stamp != self._stamp:
            self._stamp = stamp
            self._staged.clear()
        parent = _parent(path)
        if parent not in self._staged:
            spec = b":(top,literal)" + parent if parent else b":(top,glob)*"
            try:
                entries = [e for e in ls_files(self.store.repo, [spec]) if e.stage == 0]
            except LeptonError:  # an index that is being written in an unusual way; see the module's text
                entries = []
            self._staged[parent] = {e.path: e.oid for e in entries if _parent(e.path) == parent}
        return self._staged[parent]

    def _head_folder(self, path: bytes) -> Folder:
        parent = _parent(path)
        wanted = parent + b"/" if parent else path  # the top is not listed as a whole: that would be everything
        if wanted not in self._committed:
            try:
                items = ls_tree(self.store.repo, "HEAD", [wanted])
            except LeptonError:  # no commit yet
                items = []
            self._committed[wanted] = {i.path: i.oid for i in items if i.type == "blob"}
        return self._committed[wanted]

    def _manifest(self, blob: Oid) -> Manifest | None:
        if blob not in self._parsed:
            try:
                text = manifest_text(self.store.repo, self.store.objects, blob, self.store.objects.size(blob))
                self._parsed[blob] = None if text is None else parse(text)
            except LeptonError:  # not here (partial clone), or no manifest after all
                self._parsed[blob] = None
        return self._parsed[blob]


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _shared_letters(one: bytes, other: bytes) -> int:
    """How many bytes two paths have in common at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
