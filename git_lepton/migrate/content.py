"""What a tracked blob is: weights, a git-lfs pointer, or a manifest already; and its bytes as something to read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from git_lepton import atomic
from git_lepton.errors import ManifestError
from git_lepton.git.packfile import temporary_folder
from git_lepton.git.repo import Repo, git_error
from git_lepton.migrate import pointer as lfs_pointer
from git_lepton.migrate.pointer import Pointer
from git_lepton.migrate.trees import TreeReader
from git_lepton.store import manifest as manifests
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource, FileSource, Source
from git_lepton.values import Oid

LARGE: Final = 64 << 20
"""Blobs above this are not held in memory."""
PEEK: Final = 4 << 20
"""Larger blobs are not read to learn what they are: a manifest of twenty thousand tensors is shorter."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a blob is.

    Attributes:
        size: bytes of the file that it is or stands for.
        pointer: of git-lfs, if it is one.
        manifest: ours, if it is one that this version reads.
        ours: begins like a manifest, whether it parses or not.
    """

    size: int
    pointer: Pointer | None = None
    manifest: Manifest | None = None
    ours: bool = False


@dataclass(slots=True)
class Contents:
    """Looks at blobs, at each once."""

    reader: TreeReader
    _known: dict[Oid, Content] = field(default_factory=dict)

    def of(self, oid: Oid) -> Content:
        """What the blob is; MissingError when it is not here."""
        found = self._known.get(oid)
        if found is None:
            size = self.reader.objects.size(oid)
            found = classify(self.reader.content(oid, "blob")) if size <= PEEK else Content(size)
            self._known[oid] = found
        return found


def classify(data: bytes) -> Content:
    """What these bytes are."""
    pointer = lfs_pointer.parse(data)
    if pointer is not None:
        return Content(pointer.size, pointer=pointer)
    if not manifests.looks_like(data):
        return Content(len(data))
    try:
        manifest = manifests.parse(data)
    except ManifestError:
        return Content(len(data), ours=True)
    return Content(manifest.size, manifest=manifest, ours=True)


@contextmanager
def blob_source(repo: Repo, reader: TreeReader, oid: Oid, size: int) -> Iterator[Source]:
    """The bytes of a blob of `size` bytes; a large one comes through a temporary file."""
    if size <= LARGE:
        yield BytesSource(reader.content(oid, "blob"))
        return
    with ExitStack() as stack:
        path = stack.enter_context(atomic.temporary(temporary_folder(repo), ".blob"))
        with path.open("xb") as out:
            process = repo.git_spawn("cat-file", "blob", oid)
            shutil.copyfileobj(process.stdout, out, 1 << 20)
            done = process.close()
        if done.status != 0 or path.stat().st_size != size:
            raise git_error(("cat-file", "blob", oid), done)
        yield stack.enter_context(FileSource(path))
