"""Which commit W a remote has of a version, told from its id alone.

W names O of its own version and O of versions whose chunks it reuses. A clone or a push that lacks some of the latter
makes W without them, and so does a prune: any subset, in the order of the index. There are at most 2^8 such commits
and each is a function of the index, so an id on a remote is recognised by computing them (256 short hashes).

Recognising it is worth two things. A git server takes a ref only when everything below it is there, so a ref of the
right id proves that the version was complete when it was pushed. And git leaves out of a push what the remote has,
as far as it can tell from commits that are *here*: W of the remote, remade in a scratch folder, tells it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from git_lepton.git.objectid import object_header, parse_commit
from git_lepton.git.repo import Repo
from git_lepton.store.index import VersionIndex
from git_lepton.store.store import Store
from git_lepton.store.trees import GitObject, build, commit
from git_lepton.values import Hash, Oid


@dataclass(frozen=True, slots=True)
class Wraps:
    """Every commit W that a version may have.

    Attributes:
        tree: its top tree T.
        own: its parentless commit O.
        parents: commits O of other versions that W may name, in this order.
        index_commit: its commit I.
    """

    tree: Oid
    own: GitObject
    parents: tuple[Oid, ...]
    index_commit: Oid

    @classmethod
    def of(cls, index: VersionIndex, repo: Repo) -> Self:
        """Those of the version that `index` describes."""
        objects = build(index, repo.object_format)
        return cls(objects.tree, objects.own, index.parents, objects.index_commit.oid)

    def wrap(self, parents: Iterable[Oid], repo: Repo) -> GitObject:
        """W that names those of `parents` which this version may name."""
        named = set(parents)
        return commit(self.tree, (self.own.oid, *(p for p in self.parents if p in named)), repo.object_format)

    def recognise(self, oid: Oid, repo: Repo) -> GitObject | None:
        """W with this id, or None: then it is not a commit of this index."""
        for count in range(len(self.parents), -1, -1):
            for chosen in combinations(self.parents, count):
                made = self.wrap(chosen, repo)
                if made.oid == oid:
                    return made
        return None


def own_commits(store: Store, versions: Iterable[tuple[Hash, Oid]]) -> Iterator[tuple[Oid, Hash]]:
    """For stored versions with their W: the commit O of each, and the version."""
    for digest, wrap in versions:
        yield parse_commit(bytes(store.objects.read(wrap)[1])).parents[0], digest


@contextmanager
def scratch(repo: Repo, objects: Sequence[GitObject]) -> Iterator[Repo]:
    """The same repository with a few more objects, for as long as the block lasts.

    They lie in a folder of their own, which git is told of by its environment. In the repository itself, commits
    whose ancestors are absent would be reported by `git fsck`.
    """
    with TemporaryDirectory(prefix="git-lepton-") as name:
        folder = Path(name)
        for item in objects:
            path = folder / item.oid[:2] / item.oid[2:]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(object_header(item.type, len(item.data)) + item.data, 1))
        alternates = (*repo.alternates, folder)
        variable = ("GIT_ALTERNATE_OBJECT_DIRECTORIES", os.pathsep.join(map(str, alternates)))
        yield replace(repo, alternates=alternates, environment=(*repo.environment, variable))
