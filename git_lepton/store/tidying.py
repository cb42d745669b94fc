"""Keeping the number of packs small: every add and every fetch leaves one, and each makes every lookup slower.

`git repack --geometric` rolls small packs up until each is at least twice the size of the next smaller one; it copies
compressed bytes, moves no ref and drops no object, so it is safe beside anything else that runs.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from git_lepton import atomic
from git_lepton.errors import GitError, RaceLostError
from git_lepton.git.packfile import clean_stale
from git_lepton.git.repo import Repo

MANY_PACKS: Final = 24
"""More packs than this are rolled up; git's own `gc.autoPackLimit` is 50."""


def tidy(repo: Repo) -> bool:
    """Remove what dead processes left, and roll packs up when there are many; True when it did.

    Never raises for a repository that is busy or read-only: tidying can wait.
    """
    folder = repo.object_dir / "pack"
    with suppress(OSError):
        clean_stale(repo)
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        loose_packs = [n for n in names if n.endswith(".pack") and n.replace(".pack", ".keep") not in names]
        # In a partial clone, git before 2.44 rolls promisor packs into a plain one, and then misses what was promised.
        if len(loose_packs) <= MANY_PACKS or any(n.endswith(".promisor") for n in names):
            return False
        lock = repo.lepton_dir / "tidy.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with suppress(RaceLostError, GitError), atomic.Lock(lock, timeout=0):
            repo.git("-c", "repack.writeBitmaps=false", "repack", "--geometric=2", "-d", "-q")
            return True
    return False
