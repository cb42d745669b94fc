"""Letting versions go that nothing refers to any more: planned first, then done.

Alive is what any ref, any reflog (the stash is one), or the index of any work tree refers to; git itself walks them.
git-lfs lost staged and stashed files to its prune; here a version that git could still show is never taken.

A version goes by deleting its two refs. Another version's W that names its commit O as a parent would keep its objects,
so those few W are made anew without it; nothing refers to the id of a W. The objects then belong to git's own gc; what
is older than git's two weeks is dropped at once, the rest is kept in a cruft pack until then, because other unreachable
objects there may be somebody's last copy of something else.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import RaceLostError
from git_lepton.git.objectid import parse_commit
from git_lepton.git.packfile import PackWriter
from git_lepton.git.refs import Transaction
from git_lepton.git.repo import Repo, git_version
from git_lepton.store.names import HEADS_ROOT, ROOT, index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.store.trees import build, commit
from git_lepton.transfer.need import NeedFinder, Needs
from git_lepton.values import Hash, Oid

GRACE_DAYS: Final = 14
_DAY: Final = 86_400
_CRUFT: Final = (2, 37)


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What would go and what would stay.

    Attributes:
        dead: versions to let go, with their W.
        young: versions that nothing refers to, but that came less than the grace ago.
        alive: how many stay because something refers to them.
        freed: bytes of chunks that only dead versions have.
    """

    dead: dict[Hash, Oid]
    young: tuple[Hash, ...]
    alive: int
    freed: int


def plan_prune(store: Store, *, grace_days: float = GRACE_DAYS) -> PrunePlan:
    """Find the versions that nothing refers to and that are older than the grace. Changes nothing."""
    needed = alive(store)
    stored = store.versions()
    idle = [h for h in stored if h not in needed]
    since = store.lookup.since()
    now = time.time()
    young = tuple(h for h in idle if now - since.get(h, now) < grace_days * _DAY)
    dead = {h: stored[h] for h in idle if h not in set(young)}
    kept = {c.oid for h in stored if h not in dead for c in store.index(h).chunks}
    gone = {c.oid: c.stored_length for h in dead for c in store.index(h).chunks if c.oid not in kept}
    return PrunePlan(dead, young, len(stored) - len(idle), sum(gone.values()))


def execute_prune(store: Store, plan: PrunePlan) -> None:
    """Delete the refs of the plan's versions and let git take the objects.

    Raises:
        RaceLostError: refs moved since the plan was made; nothing was changed.
    """
    if not plan.dead:
        return
    owners = {_own_commit(store, wrap) for wrap in plan.dead.values()}
    rewrapped = _rewrap(store, owners, plan.dead.keys())
    with PackWriter(store.repo) as pack:
        for _, _, data in rewrapped.values():
            pack.add("commit", [data], compress=True)
        with pack.finish() as pending:
            pending.publish()
            transaction = Transaction(store.repo)
            for digest, wrap in plan.dead.items():
                transaction.delete(model_ref(digest), wrap)
                index = store.index_commit_of(digest)
                if index is not None:
                    transaction.delete(index_ref(digest), index)
            for digest, (old, new, _) in rewrapped.items():
                transaction.update(model_ref(digest), new, old)
            try:
                transaction.commit()
            except RaceLostError as error:
                raise RaceLostError("the store changed while it was pruned", hint="run the prune again") from error
    store.lookup.forget([*plan.dead, *rewrapped])
    for digest, (_, new, _) in rewrapped.items():
        store.lookup.add(store.index(digest), new)
    _collect(store)


def alive(store: Store) -> Needs:
    """Every version that git could still show: refs, reflogs, the heads and indexes of all work trees."""
    return NeedFinder(store.repo, store.objects).for_blobs(_referenced(store.repo))


def _referenced(repo: Repo) -> Iterator[tuple[Oid, bytes]]:
    """Every blob that refs, reflogs, heads and indexes of all work trees lead to, with a path."""
    ours = (f"--exclude={ROOT}*", f"--exclude={HEADS_ROOT}*")
    every = (*ours, "--all", *ours, "--reflog", "--indexed-objects")
    listing = ("--objects", "--filter=object:type=blob", "--missing=allow-any")
    with repo.git_spawn("rev-list", *listing, *every) as process:
        for line in process.stdout:
            oid, _, path = line.rstrip(b"\n").partition(b" ")
            if path:
                yield Oid(oid.decode("ascii")), path


def _own_commit(store: Store, wrap: Oid) -> Oid:
    return parse_commit(bytes(store.objects.read(wrap)[1])).parents[0]


def _rewrap(store: Store, gone: Collection[Oid], dead: Collection[Hash]) -> dict[Hash, tuple[Oid, Oid, bytes]]:
    """New commits W for the versions that stay and name a commit O that goes: old id, new id, content."""
    rewrapped = {}
    for digest, wrap in store.versions().items():
        parents = parse_commit(bytes(store.objects.read(wrap)[1])).parents
        kept = tuple(p for p in parents if p not in gone)
        if digest not in dead and kept != parents:
            made = commit(build(store.index(digest), store.repo.object_format).tree, kept, store.repo.object_format)
            rewrapped[digest] = (wrap, made.oid, made.data)
    return rewrapped


def _collect(store: Store) -> None:
    """Drop what is unreachable and older than git's two weeks, in packs rather than file by file."""
    if git_version() >= _CRUFT:
        store.repo.git("repack", "--cruft", "--cruft-expiration=2.weeks.ago", "-d", "-q")
    else:
        store.repo.git("repack", "-A", "-d", "-q", "--unpack-unreachable=2.weeks.ago")
    store.repo.git("pack-refs", "--all")
