"""Reading objects: the interface that the store reads from, and the choice among its implementations.

There are three: `catfile.CatFile` is git, slow to start and always right; `packs.PackReader` reads whole objects out of
packs without a process, several at once; `odb.LibGit2Odb` uses libgit2. One suite of tests holds all of them to this
text: objects of every type come back as they were stored, an absent one is a `MissingError`, nothing is ever fetched
from a promisor remote, and every method may be called from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from git_lepton.git.objectid import Buffer
from git_lepton.git.packs import PackReader
from git_lepton.git.repo import Repo
from git_lepton.values import Oid


class ObjectReader(Protocol):
    """Reads objects by id."""

    def read(self, oid: Oid) -> tuple[str, Buffer]:
        """Type and content.

        Raises:
            MissingError: it is not here.
            CorruptError: it is here and cannot be read.
        """

    def contains(self, oids: Iterable[Oid]) -> set[Oid]:
        """Those that are here now."""

    def size(self, oid: Oid) -> int:
        """Bytes of the content, without reading it where that is possible. Raises as `read`."""

    def close(self) -> None:
        """Give back files and processes."""


def open_reader(repo: Repo) -> ObjectReader:
    """The fastest reader for `repo`; close it in the end.

    `PackReader` serves every repository that git does (SHA-256 and reftable too) and was the fastest for chunks; it
    hands what it does not read itself to git.
    """
    return PackReader(repo)
