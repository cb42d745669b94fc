"""Reading objects through libgit2: an accelerator for repositories that it understands, never needed.

`pygit2.Odb` opens an object folder, not a repository, so it is not put off by ref formats that it does not know;
object ids of SHA-256 it cannot read. Its "not found" is no proof (it says so when it runs out of file descriptors,
too) and its "here" may be out of date, so git confirms both. Its own hash check is switched off: we verify BLAKE3
over the content.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from git_lepton.closing import Closing
from git_lepton.errors import UsageError
from git_lepton.git.catfile import CatFile
from git_lepton.git.objectid import Buffer, check_oid
from git_lepton.git.repo import Repo
from git_lepton.values import Oid

_KINDS: Final = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}


class LibGit2Odb(Closing):
    """An `ObjectReader` over `pygit2.Odb`; see the module's text."""

    def __init__(self, repo: Repo) -> None:
        """Open the object folder.

        Raises:
            UsageError: the repository's ids are not SHA-1.
        """
        if repo.object_format != "sha1":
            raise UsageError("libgit2 reads repositories of SHA-1 only")
        import pygit2

        pygit2.settings.enable_strict_hash_verification(False)
        self._failures = (KeyError, ValueError, OSError, pygit2.GitError)
        self._odb: Any = pygit2.Odb(str(repo.object_dir))
        for folder in repo.alternates:
            self._odb.add_disk_alternate(str(folder))
        self._git = CatFile(repo)
        self._lock = threading.Lock()

    def read(self, oid: Oid) -> tuple[str, Buffer]:
        """See `ObjectReader.read`."""
        check_oid(oid)
        try:
            with self._lock:
                kind, content = self._odb.read(oid)
        except self._failures:
            return self._git.read(oid)
        return _KINDS[int(kind)], content

    def contains(self, oids: Iterable[Oid]) -> set[Oid]:
        """See `ObjectReader.contains`."""
        return self._git.contains(oids)  # libgit2 answers out of packs that were deleted since

    def size(self, oid: Oid) -> int:
        """See `ObjectReader.size`."""
        return self._git.size(oid)

    def close(self) -> None:
        """See `ObjectReader.close`."""
        self._git.close()
