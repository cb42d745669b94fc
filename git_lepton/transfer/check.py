"""Proving that a remote has everything that a revision needs, without downloading weights.

A git server moves a ref only when every object below the new value is there (it walks from it after each push), and
its gc keeps whatever refs reach. So a version is complete on a remote when its ref points to a commit of exactly that
version's tree. Which commits those are is computed from the index (`wraps`): if the remote's W is one of them, every
chunk that the index lists is there. Only indexes are fetched, and those only where they are not here.

What this cannot see is a server that lost objects after it took them; only reading them (`git fsck` there, or a fetch)
can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from git_lepton.store.store import Store
from git_lepton.transfer.indexes import fetch_indexes
from git_lepton.transfer.need import Need, NeedFinder, Needs
from git_lepton.transfer.places import Advertised, advertised
from git_lepton.transfer.wraps import Wraps
from git_lepton.values import Hash

Flaw = Literal["absent", "no index", "damaged", "mismatch", "wrong size"]


@dataclass(frozen=True, slots=True)
class RemoteProblem:
    """A version that a revision needs and that a remote cannot be shown to have.

    Attributes:
        need: one of the manifests that name it.
        flaw: which kind of problem.
        reason: a sentence.
    """

    need: Need
    flaw: Flaw
    reason: str


def remote_complete(
    store: Store, remote: str, rev: str, *, listed: Advertised | None = None
) -> tuple[int, list[RemoteProblem]]:
    """Check every manifest in the tree of `rev`.

    Returns:
        How many versions were checked, and the problems; none means that all of them are complete on `remote`.

    Raises:
        UsageError: `rev` leads to no tree.
        MissingError: the remote cannot be reached.
    """
    needs = NeedFinder(store.repo, store.objects).for_tree(rev)
    return len(needs), problems(store, listed or advertised(store.repo, remote), needs)


def problems(store: Store, listed: Advertised, needs: Needs) -> list[RemoteProblem]:
    """Those of `needs` that the remote cannot be shown to have complete."""
    found: dict[Hash, tuple[Flaw, str]] = {}
    unsure: list[Hash] = []
    for digest in needs:
        pair = listed.pair(digest)
        if pair.model is None:
            only = "; only its index is there" if pair.index is not None else ""
            found[digest] = ("absent", f"its weights were never pushed to {listed.remote}{only}")
        elif pair.index is None:
            found[digest] = ("no index", f"its index is missing on {listed.remote}, so nobody can fetch it by parts")
        elif (pair.model, pair.index) != (store.wrap_of(digest), store.index_commit_of(digest)):
            unsure.append(digest)
    found |= _compare(store, listed, needs, unsure)
    return [RemoteProblem(needs[digest][0], *found[digest]) for digest in needs if digest in found]


def _compare(store: Store, listed: Advertised, needs: Needs, unsure: Iterable[Hash]) -> dict[Hash, tuple[Flaw, str]]:
    """Versions whose pair is not the one that is stored here: their index on the remote must explain W."""
    found: dict[Hash, tuple[Flaw, str]] = {}

    def refuse(digest: Hash, why: str) -> None:
        found[digest] = ("damaged", why)

    for digest, item in fetch_indexes(store, listed, unsure, refuse).items():
        wraps = Wraps.of(item.index, store.repo)
        model = listed.pair(digest).model
        if model is None or wraps.index_commit != item.commit or wraps.recognise(model, store.repo) is None:
            found[digest] = ("mismatch", "its two refs there do not belong together, so its chunks may be incomplete")
        elif any(need.size != item.index.size for need in needs[digest]):
            found[digest] = ("wrong size", f"the index there is of a file of {item.index.size} bytes")
    return found
