"""Deleting versions on a remote: first a plan that can be shown, then its execution.

A version's objects stay on the server while any ref reaches them. W of a version that reuses chunks names O of the
version it took them from, so deleting that version's own refs frees nothing until those W are made anew without it.
They lose no chunk by that: every chunk of a version is listed in its own tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import GitError, RaceLostError
from git_lepton.git.objectid import parse_commit
from git_lepton.git.remote import push
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store
from git_lepton.store.trees import GitObject, commit
from git_lepton.transfer.indexes import fetch_indexes
from git_lepton.transfer.places import Advertised, advertised
from git_lepton.transfer.wraps import Wraps, scratch
from git_lepton.values import Hash, Oid

_REFS_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Rewrap:
    """A version that stays, and whose W names a version that goes.

    Attributes:
        ref: of W on the remote.
        old: W as it is there.
        new: W without the versions that go.
        own: commit O of the version.
    """

    ref: str
    old: GitObject
    new: GitObject
    own: GitObject


@dataclass(frozen=True, slots=True)
class RemotePrunePlan:
    """What `execute` will do.

    Attributes:
        remote: where.
        versions: those of the versions asked for that are there.
        deletes: refs and what they point to now.
        rewraps: versions that stay and are wrapped anew.
        opaque: versions that stay and whose W could not be told: they may keep objects of deleted ones alive.
    """

    remote: str
    versions: tuple[Hash, ...]
    deletes: Mapping[str, Oid]
    rewraps: tuple[Rewrap, ...]
    opaque: tuple[Hash, ...]


def plan(store: Store, remote: str, hashes: Iterable[Hash], *, listed: Advertised | None = None) -> RemotePrunePlan:
    """Plan the deletion of these versions on `remote`; nothing changes there.

    Raises:
        MissingError: it cannot be reached.
    """
    listed = listed or advertised(store.repo, remote)
    going = [h for h in dict.fromkeys(hashes) if h in listed.pairs]
    deletes = {ref: oid for h in going for ref, oid in (*listed.refs_of(h), *listed.parts.get(h, {}).items())}
    known, gone_opaque = _wraps(store, listed, going)
    gone = {objects[1].oid for objects in known.values()}
    staying, opaque = _wraps(store, listed, [h for h in listed.models() if h not in set(going)]) if going else ({}, [])
    rewraps = []
    for digest, (old, own) in staying.items():
        parsed = parse_commit(old.data)
        kept = tuple(p for p in parsed.parents if p not in gone)
        if kept != parsed.parents:
            new = commit(parsed.tree, kept, store.repo.object_format)
            rewraps.append(Rewrap(listed.pair(digest).namespace.model(digest), old, new, own))
    return RemotePrunePlan(remote, tuple(going), deletes, tuple(rewraps), (*gone_opaque, *opaque))


def execute(repo: Repo, plan: RemotePrunePlan) -> None:
    """Carry out a plan; every ref must still be as planned.

    Raises:
        RaceLostError: somebody else changed one of the refs; what was done so far stays done. Plan again.
        GitError: the remote refuses deletions.
        MissingError: it cannot be reached.
    """
    with scratch(repo, [item for r in plan.rewraps for item in (r.old, r.new, r.own)]) as there:
        moves = {r.ref: (f"{r.new.oid}:{r.ref}", r.old.oid) for r in plan.rewraps}
        moves |= {ref: (f":{ref}", oid) for ref, oid in plan.deletes.items()}
        for at in range(0, len(moves), _REFS_AT_ONCE):
            group = dict(list(moves.items())[at : at + _REFS_AT_ONCE])
            leases: dict[str, Oid | None] = {ref: oid for ref, (_, oid) in group.items()}
            results = push(there, plan.remote, [refspec for refspec, _ in group.values()], leases=leases)
            refused = {ref: r.summary for ref, r in results.items() if r.status == "rejected"}
            if refused:
                _explain(repo, plan, refused)


def _explain(repo: Repo, plan: RemotePrunePlan, refused: Mapping[str, str]) -> None:
    listed = advertised(repo, plan.remote)
    now = {ref: oid for h in listed.pairs for ref, oid in listed.refs_of(h)}
    expected = {**plan.deletes, **{r.ref: r.old.oid for r in plan.rewraps}}
    ref, why = next(iter(refused.items()))
    if any(now.get(name) != expected[name] for name in refused):
        raise RaceLostError(f"{plan.remote} changed meanwhile: {ref} is not what it was", hint="run prune again")
    raise GitError(["push"], 1, f"{plan.remote} refuses to change {len(refused)} ref(s), the first is {ref}: {why}")


def _wraps(
    store: Store, listed: Advertised, hashes: Iterable[Hash]
) -> tuple[dict[Hash, tuple[GitObject, GitObject]], list[Hash]]:
    """W and O of versions as the remote has them, and those versions where they cannot be told."""
    found: dict[Hash, tuple[GitObject, GitObject]] = {}
    remote = listed.models()
    asked = [h for h in hashes if h in remote]
    here = store.objects.contains(remote[h] for h in asked)
    for digest in asked:
        if remote[digest] in here:
            wrap = _read(store, remote[digest])
            found[digest] = (wrap, _read(store, parse_commit(wrap.data).parents[0]))
    for digest, item in fetch_indexes(store, listed, [h for h in asked if h not in found]).items():
        wraps = Wraps.of(item.index, store.repo)
        recognised = wraps.recognise(remote[digest], store.repo)
        if recognised is not None:
            found[digest] = (recognised, wraps.own)
    return found, [h for h in asked if h not in found]


def _read(store: Store, oid: Oid) -> GitObject:
    return GitObject("commit", oid, bytes(store.objects.read(oid)[1]))
