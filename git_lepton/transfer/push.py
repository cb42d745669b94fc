"""Pushing versions: the pair of refs of each, new objects only, all or nothing.

For the versions wanted: one listing of the remote, a verdict on each pair, then pushes that create what is absent and
mend what is broken. Each push is atomic; when another person's push came between, the remote is listed again and the
rest is tried again, so "somebody was first" is success, not an error. Refusals are judged by what the remote has, never
by git's words: only one after which nothing on the remote has changed is reported.

git sends what it cannot see on the other side. It sees through commits alone: W that is pushed names O(B) only for
versions B that are there, and where the remote's W(B) is not the one that is here, it is remade (see `wraps`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import GitError, LeptonError, MissingError
from git_lepton.git.remote import PushResult, ls_remote, push
from git_lepton.git.repo import Repo, config_int
from git_lepton.progress import Progress
from git_lepton.store.names import index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.store.trees import GitObject
from git_lepton.transfer import parts
from git_lepton.transfer.cost import HOSTS, Cost, estimate, new_chunks, total, warnings
from git_lepton.transfer.fetch import bring
from git_lepton.transfer.need import NeedFinder, Needs, RefUpdate, origin
from git_lepton.transfer.pairs import Verdict, judge
from git_lepton.transfer.places import HEADS, Advertised, Namespace, advertised
from git_lepton.transfer.probe import HEADS_PRICE, known_namespace, namespace
from git_lepton.transfer.remotes import candidates, host_of, push_url, store_remote
from git_lepton.transfer.wraps import Wraps, own_commits, scratch
from git_lepton.values import Hash, Oid

PART_SIZE_KEY: Final = "lepton.pushPartSize"
PART_SIZE: Final = 1 << 30
"""Bytes that one push sends at most, unless configured: hosts refuse more than 2 GiB, and a killed push loses it."""
_TRIES: Final = 6
_BUSY: Final = re.compile(
    r"atomic transaction failed|failed to update ref|cannot lock ref|unable to create .*\.lock", re.I
)
"""What a server says when another push holds the locks of the same refs: nothing may have changed there yet."""
_PATIENCE_SECONDS: Final = 0.2
"""Wait after the first such refusal, doubled after each further one."""
_VERSIONS_AT_ONCE: Final = 200
"""Bounds the length of git's command line."""


@dataclass(frozen=True, slots=True)
class PushReport:
    """What became of the versions that should be on the remote.

    Attributes:
        pushed: sent, or mended there, now. With `dry_run`, what would be.
        present: there already.
        missing: neither there nor to be had from any other remote, and why.
        cost: estimate made before sending.
        notes: sentences for the user.
    """

    pushed: tuple[Hash, ...]
    present: tuple[Hash, ...]
    missing: Mapping[Hash, str]
    cost: Cost
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """How some versions are pushed.

    Attributes:
        batches: versions of one push each, with the bytes that it will send; whose chunks are reused goes first.
        cost: of all of it.
        owners: commits O that are on the remote before their turn comes, with their version.
        remade: W of the remote that are not here as they are there.
    """

    batches: tuple[tuple[tuple[Hash, ...], int], ...]
    cost: Cost
    owners: Mapping[Oid, Hash]
    remade: tuple[GitObject, ...]


def push_versions(
    store: Store,
    remote: str,
    hashes: Iterable[Hash],
    *,
    dry_run: bool = False,
    listed: Advertised | None = None,
    progress: Progress | None = None,
) -> PushReport:
    """Have these versions on `remote`, complete.

    Args:
        store: where from; what is not in it is first fetched from the other remotes.
        remote: name or address.
        hashes: versions.
        dry_run: only tell what would be sent.
        listed: what the remote has, if it was just asked.
        progress: told of bytes that were sent.

    Raises:
        MissingError: the remote cannot be reached.
        GitError: it refuses, with its reason.
    """
    listed = listed or advertised(store.repo, remote)
    verdicts = judge(store, listed, hashes)
    unknown = [h for h, v in verdicts.items() if v.state == "unknown"]
    missing: Mapping[Hash, str] = dict.fromkeys(unknown, "its weights are not here")
    if unknown and not dry_run:
        elsewhere = [r for r in candidates(store.repo) if r != remote]
        missing = bring(store, unknown, remotes=elsewhere, progress=progress).missing
        verdicts |= judge(store, listed, unknown)
    todo = {h: v for h, v in verdicts.items() if v.state not in {"whole", "unknown"}}
    pusher = _Pusher(store, remote, listed, progress or store.progress)
    plan = pusher.plan(todo)
    if todo and not dry_run:
        pusher.run(todo, plan)
    present = tuple(h for h, v in verdicts.items() if v.state == "whole")
    return PushReport(tuple(todo), present, missing, plan.cost, pusher.notes(plan))


def push_needed(
    store: Store,
    remote: str,
    needs: Needs,
    *,
    listed: Advertised | None = None,
    progress: Progress | None = None,
) -> PushReport:
    """`push_versions` of everything in `needs`, where all of it is needed.

    Raises:
        MissingError: after all others were pushed; names file, size, commit and author of what nobody has.
    """
    report = push_versions(store, remote, needs, listed=listed, progress=progress)
    if report.missing:
        lines = [_missing_line(store.repo, needs, h, why) for h, why in report.missing.items()]
        raise MissingError(
            "\n  ".join([f"{remote} would lack the weights of {len(lines)} version(s):", *lines]),
            hint=f"fetch them from where they are (git lepton fetch --from <url>) and run: git lepton push {remote}",
        )
    return report


def push_for_updates(
    store: Store, remote: str, updates: Sequence[RefUpdate], *, progress: Progress | None = None
) -> PushReport | None:
    """What the pre-push hook does: have on the remote whatever the commits of a push need.

    A push that brings no manifest asks the remote nothing.

    Args:
        store: where from.
        remote: that git pushes to; the weights may go elsewhere (`remotes.store_remote`).
        updates: what git told the hook.
        progress: told of bytes that were sent.

    Returns:
        None when the push brings no manifest.

    Raises:
        MissingError: weights are nowhere to be had, or the remote cannot be reached.
        GitError: the remote refuses them.
        UsageError: lepton.toml names a store that was not confirmed, or is not valid.
    """
    finder = NeedFinder(store.repo, store.objects)
    if not finder.for_updates(updates):
        return None
    listed = advertised(store.repo, remote, code=True)
    # What this very push carries (a mirror) must not be there when git comes to it: it expects to create those refs.
    carried = {update.remote_ref for update in updates}
    needs = {
        h: found
        for h, found in finder.for_updates(updates, listed.others).items()
        if not {model_ref(h), index_ref(h)} <= carried
    }
    target = store_remote(store.repo, remote)
    return push_needed(store, target, needs, listed=listed if target == remote else None, progress=progress)


def _missing_line(repo: Repo, needs: Needs, digest: Hash, why: str) -> str:
    need = needs[digest][0]
    brought = origin(repo, need)
    by = f", commit {brought.commit} by {brought.author}" if brought else ""
    return f"{need.path} ({need.size} bytes{by}): {why}"


class _Pusher:
    """One push of some versions to one remote."""

    def __init__(self, store: Store, remote: str, listed: Advertised, progress: Progress) -> None:
        self._store = store
        self._repo = store.repo
        self._remote = remote
        self._listed = listed
        self._progress = progress
        self._part_size = config_int(store.repo, PART_SIZE_KEY, default=PART_SIZE)

    def plan(self, todo: Mapping[Hash, Verdict]) -> _Plan:
        """Find what the remote has of the chunks of these versions, and cut the rest into pushes.

        A push is at most as large as a part; a version above that is a push of its own, and goes in parts.
        """
        owners, remade = self._known(todo)
        there = self._chunks_of(owners.values())
        batches: list[tuple[tuple[Hash, ...], int]] = []
        batch: list[Hash] = []
        size = 0
        costs: list[Cost] = []
        for digest in _parents_first(todo):
            cost = Cost(0, 0, 0, 0)
            if todo[digest].state != "index":
                index = self._store.index(digest)
                cost = estimate([index], there)
                there.update(c.oid for c in index.chunks)
            costs.append(cost)
            if batch and (size + cost.bytes > self._part_size or len(batch) == _VERSIONS_AT_ONCE):
                batches.append((tuple(batch), size))
                batch, size = [], 0
            batch.append(digest)
            size += cost.bytes
        if batch:
            batches.append((tuple(batch), size))
        own = {v.wraps.own.oid: h for h, v in todo.items() if v.wraps is not None}
        return _Plan(tuple(batches), total(costs), {**owners, **own}, remade)

    def notes(self, plan: _Plan) -> tuple[str, ...]:
        """What the user should know of the place and its limits; a probe may have found the place only now."""
        said: list[str] = []
        if plan.batches and known_namespace(self._repo, self._remote, self._listed) == HEADS:
            said.append(HEADS_PRICE)
        if host_of(push_url(self._repo, self._remote)) in HOSTS:
            held = [h for h in self._listed.models() if self._store.has(h)]
            stored = estimate((self._store.index(h) for h in held), ()).bytes + plan.cost.bytes
            largest = min(plan.cost.bytes, self._part_size)
            said += warnings(self._repo, self._remote, largest, stored)
        return tuple(said)

    def run(self, todo: Mapping[Hash, Verdict], plan: _Plan) -> None:
        """Push until every version of `todo` is whole on the remote, then clean up after pushes in parts."""
        left = dict(todo)
        for attempt in range(_TRIES):
            refused, in_parts = self._push_all(left, plan)
            if not refused and not in_parts and not self._listed.parts:
                return  # the remote confirmed every ref
            busy = any(_BUSY.search(reason) for reason in refused)
            if busy:
                time.sleep(_PATIENCE_SECONDS * 2**attempt)
            before, self._listed = self._listed, advertised(self._repo, self._remote)
            left = {h: v for h, v in judge(self._store, self._listed, left).items() if v.state != "whole"}
            if not left:
                break
            unchanged = not busy and all(before.pair(h) == self._listed.pair(h) for h in left)
            if attempt == _TRIES - 1 or unchanged:
                reason = "; ".join(sorted(set(refused))) or "it said nothing"
                raise GitError(["push"], 1, f"{self._remote} refuses {len(left)} version(s) of weights: {reason}")
            plan = self.plan(left)
        self._delete_parts()

    def _push_all(self, todo: Mapping[Hash, Verdict], plan: _Plan) -> tuple[list[str], bool]:
        """Carry the plan out once; returns the reasons of refusals, and whether anything went in parts."""
        place = namespace(self._repo, self._remote, self._listed)
        refused: list[str] = []
        in_parts = False
        objects = list(plan.remade)
        self._progress.start(f"pushing weights to {self._remote}", plan.cost.bytes)
        try:
            for batch, size in plan.batches:
                wraps = {h: w.wrap(plan.owners, self._repo) for h in batch if (w := todo[h].wraps) is not None}
                objects += wraps.values()
                if len(batch) == 1 and size > self._part_size:
                    in_parts = True
                    refused += self._push_in_parts(place, batch[0], todo[batch[0]], plan, objects)
                else:
                    refused += self._push_batch(place, {h: todo[h] for h in batch}, wraps, objects)
                    self._progress.advance(size)
        finally:
            self._progress.finish()
        return refused, in_parts

    def _push_batch(
        self,
        place: Namespace,
        batch: Mapping[Hash, Verdict],
        wraps: Mapping[Hash, GitObject],
        objects: Sequence[GitObject],
        more: Sequence[str] = (),
    ) -> list[str]:
        """One push of the pairs of `batch`, and of the refspecs `more`; returns the reasons of refusals."""
        refspecs = list(more)
        leases: dict[str, Oid | None] = {}
        for digest, verdict in batch.items():
            refspecs += self._refspecs(place, digest, verdict, wraps[digest].oid)
            if verdict.state != "absent":
                leases |= dict(self._listed.refs_of(digest))
        with scratch(self._repo, objects) as there_too:
            results = _atomically(there_too, self._remote, refspecs, leases)
        silent = [ref for ref in (spec.rpartition(":")[2] for spec in refspecs) if ref not in results]
        return [r.summary for r in results.values() if r.status == "rejected"] + [
            f"no answer about {r}" for r in silent
        ]

    def _push_in_parts(
        self, place: Namespace, digest: Hash, verdict: Verdict, plan: _Plan, objects: Sequence[GitObject]
    ) -> list[str]:
        """Push a large version piece by piece, and then what holds it together."""
        wraps, algo = verdict.wraps, self._repo.object_format
        assert wraps is not None
        shared = self._chunks_of(plan.owners[p] for p in wraps.parents if p in plan.owners)
        pieces = list(parts.split(new_chunks(self._store.index(digest), shared), self._part_size, algo))
        made = [*objects, *(item for piece in pieces for item in (piece.tree, piece.commit))]
        with scratch(self._repo, made) as there_too:
            self._push_parts(there_too, place, digest, pieces)
        wrap = wraps.wrap(plan.owners, self._repo)
        joint = parts.joint(wraps.tree, wrap.oid, pieces, algo)
        refspec = f"{joint.oid}:{place.part(digest, parts.JOINT)}"
        return self._push_batch(place, {digest: verdict}, {digest: wrap}, [*made, joint], [refspec])

    def _refspecs(self, place: Namespace, digest: Hash, verdict: Verdict, wrap: Oid) -> Iterator[str]:
        """What to push of one version; what is there is mended where it is."""
        assert verdict.wraps is not None
        where = place if verdict.state == "absent" else self._listed.pair(digest).namespace
        if verdict.state != "index":
            yield f"{wrap}:{where.model(digest)}"
        yield f"{verdict.wraps.index_commit}:{where.index(digest)}"

    def _push_parts(self, repo: Repo, place: Namespace, digest: Hash, pieces: Sequence[parts.Part]) -> None:
        """Push the parts that are not there yet, one at a time.

        Raises:
            GitError: the remote refuses one.
        """
        arrived = self._listed.parts.get(digest, {})
        for piece in pieces:
            ref = place.part(digest, piece.name)
            if arrived.get(ref) != piece.commit.oid:
                # A part of another cut under this name is of no use any more.
                leases = {ref: arrived[ref]} if ref in arrived else {}
                result = push(repo, self._remote, [f"{piece.commit.oid}:{ref}"], leases=leases).get(ref)
                refused = result is None or result.status == "rejected"
                # Another push of the same version makes the same part, perhaps at this moment.
                if refused and ls_remote(repo, self._remote, [ref]).get(ref) != piece.commit.oid:
                    reason = result.summary if result else "no answer"
                    raise GitError(
                        ["push"], 1, f"{self._remote} refuses part {piece.name} of version {digest}: {reason}"
                    )
            self._progress.advance(piece.bytes)

    def _delete_parts(self) -> None:
        """Delete temporary refs of versions that are whole; another push may do the same at the same time."""
        finished = [
            h for h in self._listed.parts if None not in (self._listed.pair(h).model, self._listed.pair(h).index)
        ]
        refs = [ref for digest in finished for ref in self._listed.parts[digest]]
        for at in range(0, len(refs), _VERSIONS_AT_ONCE):
            push(self._repo, self._remote, [f":{ref}" for ref in refs[at : at + _VERSIONS_AT_ONCE]])

    def _known(self, todo: Mapping[Hash, Verdict]) -> tuple[dict[Oid, Hash], tuple[GitObject, ...]]:
        """Which versions that W of `todo` may name are on the remote, in the encoding that is here.

        Returns:
            Their commits O, and W as they are there where those are not here.
        """
        named = {p for v in todo.values() if v.wraps is not None for p in v.wraps.parents}
        owners: dict[Oid, Hash] = {}
        remade = []
        there = self._listed.models() if named else {}
        held = [(h, oid) for h, oid in self._store.versions().items() if h in there] if there else []
        for own, digest in own_commits(self._store, held):
            if own not in named:
                continue
            if there[digest] != self._store.wrap_of(digest):
                wrap = Wraps.of(self._store.index(digest), self._repo).recognise(there[digest], self._repo)
                if wrap is None:
                    continue
                remade.append(wrap)
            owners[own] = digest
        return owners, tuple(remade)

    def _chunks_of(self, hashes: Iterable[Hash]) -> set[Oid]:
        return {c.oid for h in hashes for c in self._store.index(h).chunks}


def _parents_first(todo: Mapping[Hash, Verdict]) -> list[Hash]:
    """The versions, each after those of them whose chunks it reuses."""
    by_own = {v.wraps.own.oid: h for h, v in todo.items() if v.wraps is not None}
    ordered: dict[Hash, None] = {}
    stack: list[Hash] = list(todo)[::-1]
    while stack:  # ids of commits are hashes, so there is no cycle
        wraps = todo[stack[-1]].wraps
        named = [by_own[p] for p in (wraps.parents if wraps is not None else ()) if p in by_own]
        first = [h for h in named if h not in ordered]
        if first:
            stack += first
        else:
            ordered[stack.pop()] = None
    return list(ordered)


def _atomically(
    repo: Repo, remote: str, refspecs: Sequence[str], leases: Mapping[str, Oid | None]
) -> dict[str, PushResult]:
    try:
        return push(repo, remote, refspecs, atomic=True, leases=leases)
    except LeptonError as error:
        if "--atomic" not in error.message:
            raise
        return push(repo, remote, refspecs, leases=leases)  # an old server: a pair cut in two is mended by the next try
