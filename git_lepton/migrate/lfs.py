"""Content that git-lfs keeps: where it lies, and asking git-lfs for what is absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton.errors import CorruptError
from git_lepton.git.repo import Repo, config_get
from git_lepton.migrate.pointer import Pointer

_READ: Final = 1 << 20
_ONE_BY_ONE: Final = 8
"""Above this many absent objects, git-lfs fetches those of the refs in one go before single ones are asked for."""


@dataclass(frozen=True, slots=True)
class LfsObjects:
    """The objects of git-lfs in one repository."""

    repo: Repo

    def find(self, pointer: Pointer) -> Path | None:
        """The file with the content of `pointer`, if one of that size is here."""
        digest = pointer.sha256
        folder = self.repo.common_dir / (config_get(self.repo, "lfs.storage") or "lfs")
        path = folder / "objects" / digest[:2] / digest[2:4] / digest
        return path if path.is_file() and path.stat().st_size == pointer.size else None

    def bring(self, pointers: Iterable[Pointer], refs: Iterable[str]) -> None:
        """Ask git-lfs for what is absent; what it cannot get stays absent. Without git-lfs nothing happens."""
        absent = [pointer for pointer in pointers if self.find(pointer) is None]
        if not absent or self.repo.git("lfs", "version", check=False).status != 0:
            return
        if len(absent) > _ONE_BY_ONE:
            self.repo.git("lfs", "fetch", "--all", self._remote(), *refs, check=False)
        for pointer in absent:
            if self.find(pointer) is None:
                self._smudge(pointer)

    def _remote(self) -> str:
        names = self.repo.git("remote").stdout.decode(errors="surrogateescape").split("\n")
        return "origin" if "origin" in names else names[0] or "origin"

    def _smudge(self, pointer: Pointer) -> None:
        """`git lfs smudge` downloads to where `find` looks, and prints the content, which is drained."""
        environment = {"GIT_LFS_SKIP_SMUDGE": None}
        with self.repo.git_spawn("-c", "lfs.skipdownloaderrors=false", "lfs", "smudge", env=environment) as process:
            with suppress(BrokenPipeError):  # it may end without having read anything
                process.stdin.write(pointer.to_bytes())
                process.stdin.close()
            while process.stdout.read(_READ):
                pass


def verify(path: Path, pointer: Pointer) -> None:
    """Compare a file with its pointer.

    Raises:
        CorruptError: it holds other bytes.
    """
    hasher = hashlib.sha256(usedforsecurity=False)
    with path.open("rb") as stream:
        while data := stream.read(_READ):
            hasher.update(data)
    if hasher.hexdigest() != pointer.sha256:
        raise CorruptError(f"the git-lfs object {pointer.sha256[:12]} holds other bytes", hint="git lfs fsck")
