"""Bringing versions here: index first, then exactly the chunks that are not here yet, by object id.

For each remote in turn: one listing; the indexes that it has of the versions wanted (small); from these the missing
chunks; a few fetches by id, cut so that a transfer that breaks keeps what came before; and for each version whose last
chunk arrived, its trees, commits and refs (`Store.anchor`). Until then nothing points to the chunks, so a broken
transfer leaves no incomplete version: its packs lie unreachable, and the next try finds them.

A remote that speaks protocol version 0 serves no single objects. There the version's ref is fetched as git does it,
telling what is here by commits O, and anchored all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import CorruptError, FrameError, MissingError, RaceLostError
from git_lepton.git.refs import Transaction
from git_lepton.git.remote import LostObjectError, UnadvertisedError, fetch_oids, fetch_refs
from git_lepton.progress import Progress
from git_lepton.store.index import parse
from git_lepton.store.names import MODELS, index_ref, model_ref
from git_lepton.store.store import Store
from git_lepton.store.tidying import tidy
from git_lepton.transfer.cost import new_chunks
from git_lepton.transfer.indexes import FetchedIndex, fetch_indexes
from git_lepton.transfer.places import Advertised, advertised
from git_lepton.transfer.remotes import CONFIRMED_KEY, candidates, unconfirmed
from git_lepton.values import Hash, Oid

GROUP_BYTES: Final = 512 << 20
"""A fetch by id asks for no more than this; what a broken transfer loses is at most one such group."""
GROUP_OBJECTS: Final = 50_000
_NOT_THERE: Final = "never pushed there"


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What became of the versions that were asked for.

    Attributes:
        brought: stored now, and not before.
        missing: nowhere to be had: version -> for each remote asked, why.
        bytes: of chunks and indexes that were transferred.
    """

    brought: tuple[Hash, ...]
    missing: Mapping[Hash, str]
    bytes: int


def forget_incomplete(store: Store, hashes: Iterable[Hash]) -> None:
    """Take away the refs of those of these versions that have lost objects, so that they can be brought again.

    gc and repack fail as long as a ref leads to a missing object. What is left of such a version stays until a gc, and
    is stored again from there when the rest turns up.
    """
    transaction = Transaction(store.repo)
    for digest in dict.fromkeys(hashes):
        wrap, index = store.wrap_of(digest), store.index_commit_of(digest)
        if wrap is None or _is_whole(store, digest, wrap):
            continue
        transaction.delete(model_ref(digest), wrap)
        if index is not None and index not in store.objects.contains([index]):
            transaction.delete(index_ref(digest), index)
    transaction.commit()


def _is_whole(store: Store, digest: Hash, wrap: Oid) -> bool:
    try:
        return not store.missing(store.index(digest)) and wrap in store.objects.contains([wrap])
    except (MissingError, CorruptError):
        return False


def bring(
    store: Store,
    hashes: Iterable[Hash],
    *,
    remotes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """Store these versions here, from the first remotes that have them.

    Args:
        store: where to.
        hashes: versions; those stored already cost nothing.
        remotes: names or addresses in the order to ask; by default see `remotes.candidates`.
        progress: told of bytes that arrive.

    Raises:
        UsageError: lepton.toml is not valid.
    """
    job = _Job(store, progress or store.progress, [h for h in dict.fromkeys(hashes) if not store.has(h)])
    job.anchor_complete()
    report = job.ask_each(remotes, job.take_versions)
    if report.brought:
        tidy(store.repo)
    return report


def bring_or_fail(
    store: Store,
    names: Mapping[Hash, str],
    *,
    remotes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """`bring`, where all of it is needed. `names` tells for each version the file that is meant.

    Raises:
        MissingError: naming the files, and why each remote does not have them.
    """
    report = bring(store, names, remotes=remotes, progress=progress)
    if report.missing:
        lines = [f"{names[h]} (version {h[:12]}): {why}" for h, why in report.missing.items()]
        raise MissingError(
            f"the weights of {len(lines)} file{'s' * (len(lines) != 1)} are nowhere to be had:\n  "
            + "\n  ".join(lines),
            hint="who has them runs: git lepton push <remote>; to ask another place: git lepton fetch --from <url>",
        )
    return report


def bring_indexes(store: Store, hashes: Iterable[Hash], *, remotes: Sequence[str] | None = None) -> FetchReport:
    """Have the indexes of these versions here, without weights.

    Raises:
        UsageError: lepton.toml is not valid.
    """
    wanted = [h for h in dict.fromkeys(hashes) if not store.has(h) and store.index_commit_of(h) is None]
    job = _Job(store, store.progress, wanted)
    return job.ask_each(remotes, job.take_indexes)


def bring_streams(
    store: Store, digest: Hash, streams: Collection[Hash], *, remotes: Sequence[str] | None = None
) -> int:
    """Have the chunks of some tensors of a version here, and the chunks that these are deltas of.

    No ref holds them, since no tree may be referenced whose children are not all here; gc removes them in time.

    Args:
        store: where to.
        digest: the version.
        streams: hashes of tensors, as the manifest has them.
        remotes: as for `bring`.

    Returns:
        Bytes of the chunks that were transferred.

    Raises:
        MissingError: no remote has them.
    """
    if store.has(digest):
        return 0
    asked = candidates(store.repo) if remotes is None else list(remotes)
    report = bring_indexes(store, [digest], remotes=asked)
    if report.missing:
        raise MissingError(f"version {digest[:12]} is nowhere to be had: {report.missing[digest]}")
    index = store.index(digest)
    rows: dict[int, None] = {}
    for stream in index.streams:
        if stream.hash in streams:
            for row in range(stream.first, stream.first + stream.count):
                rows.update(dict.fromkeys((row, *index.chain(row))))
    lengths = {index.chunks[row].oid: index.chunks[row].stored_length for row in rows}
    missing = lengths.keys() - store.objects.contains(lengths)
    if not missing:
        return 0
    reasons = []
    for remote in asked:
        try:
            for group in _groups((oid, lengths[oid]) for oid in lengths if oid in missing):
                fetch_oids(store.repo, remote, group)
            return sum(lengths[oid] for oid in missing)
        except UnadvertisedError:
            whole = bring(store, [digest], remotes=[remote])
            if not whole.missing:
                return whole.bytes
            reasons.append(whole.missing[digest])
        except MissingError as error:
            reasons.append(f"{remote}: {error.message}")
    raise MissingError(f"tensors of version {digest[:12]} are nowhere to be had: {'; '.join(reasons) or 'no remote'}")


class _Job:
    """Versions that are wanted, and what was learned about each on the way."""

    def __init__(self, store: Store, progress: Progress, wanted: Iterable[Hash]) -> None:
        self.wanted = list(wanted)
        self._store = store
        self._progress = progress
        self._brought: list[Hash] = []
        self._reasons: dict[Hash, dict[str, str]] = {h: {} for h in self.wanted}
        self._bytes = 0
        self._remote = ""

    def ask_each(self, remotes: Sequence[str] | None, take: Callable[[Advertised], None]) -> FetchReport:
        """Take what is wanted from each remote until nothing is; returns what became of all of it."""
        for remote in (candidates(self._store.repo) if remotes is None else remotes) if self.wanted else ():
            self._remote = remote
            listed = self._ask()
            if listed is not None:
                take(listed)
            if not self.wanted:
                break
        if self.wanted and remotes is None and (url := unconfirmed(self._store.repo)):
            self._remote = url
            for digest in self.wanted:
                self.refuse(digest, f"not asked, since it was not confirmed here: git config {CONFIRMED_KEY} {url}")
        missing = {
            h: "; ".join(f"{remote}: {why}" for remote, why in self._reasons[h].items()) or "no remote to ask"
            for h in self.wanted
        }
        return FetchReport(tuple(self._brought), missing, self._bytes)

    def refuse(self, digest: Hash, why: str) -> None:
        """The remote being asked cannot give this version."""
        self._reasons[digest][self._remote] = why

    def _ask(self) -> Advertised | None:
        """What the remote has; None, with the reason noted, when it cannot be reached."""
        try:
            listed = advertised(self._store.repo, self._remote)
        except MissingError as error:
            for digest in self.wanted:
                self.refuse(digest, error.message)
            return None
        for digest in self.wanted:
            if digest not in listed.pairs:
                self.refuse(digest, _NOT_THERE)
        return listed

    def anchor_complete(self) -> None:
        """Store versions whose index and chunks are all here: an earlier transfer was cut off just before."""
        for digest in [h for h in self.wanted if self._store.index_commit_of(h) is not None]:
            try:
                if not self._store.missing(self._store.index(digest)):
                    self._anchor(digest, self._store.index_bytes(digest))
            except (MissingError, CorruptError):
                continue  # a damaged index here is replaced by that of a remote

    def take_versions(self, listed: Advertised) -> None:
        """Store what the remote has of the versions wanted."""
        here = [h for h in self.wanted if listed.pair(h).model is not None]
        for digest in self.wanted:
            if digest in listed.pairs and digest not in here:
                self.refuse(digest, "only its index was pushed there")
        found = fetch_indexes(self._store, listed, here, self.refuse)
        self._bytes += sum(len(item.data) for item in found.values() if item.transferred)
        self._by_object(listed, found)
        for digest in here:
            if digest not in found and digest in self.wanted:
                self._by_ref(listed, digest)

    def take_indexes(self, listed: Advertised) -> None:
        """Make refs for the indexes that the remote has of the versions wanted."""
        found = fetch_indexes(self._store, listed, self.wanted, self.refuse)
        transaction = Transaction(self._store.repo)
        for digest, item in found.items():
            transaction.update(index_ref(digest), item.commit, None)
            self._done(digest, len(item.data))
        transaction.commit()

    def _done(self, digest: Hash, transferred: int) -> None:
        self.wanted.remove(digest)
        self._brought.append(digest)
        self._bytes += transferred

    def _anchor(self, digest: Hash, data: bytes) -> None:
        try:
            self._store.anchor(data)
        except (MissingError, FrameError, RaceLostError) as error:
            self.refuse(digest, f"{error.message} ({error.hint})" if error.hint else error.message)
        else:
            self._done(digest, 0)

    def _by_object(self, listed: Advertised, found: Mapping[Hash, FetchedIndex]) -> None:
        """Fetch missing chunks by id. A version of which the remote has lost a chunk is set aside, the rest goes on."""
        lengths = {c.oid: c.stored_length for item in found.values() for c in item.index.chunks}
        absent = lengths.keys() - self._store.objects.contains(lengths)
        self._progress.start(f"fetching weights from {self._remote}", sum(lengths[oid] for oid in absent))
        left = dict(found)
        try:
            while left:
                lost = self._fetch_groups(left, lengths, absent)
                if lost is None:
                    break
                for digest in [h for h, item in left.items() if any(c.oid == lost for c in item.index.chunks)]:
                    self.refuse(digest, f"it has lost object {lost}")
                    del left[digest]
        except UnadvertisedError:
            for digest in list(left):
                self._by_ref(listed, digest, lengths.keys() - absent)
        except MissingError as error:
            for digest in left:
                self.refuse(digest, error.message)
        finally:
            self._progress.finish()

    def _fetch_groups(self, left: dict[Hash, FetchedIndex], lengths: Mapping[Oid, int], absent: set[Oid]) -> Oid | None:
        """Fetch what `left` lacks, in file order, and anchor what is complete; returns an object that was lost."""
        queue = dict.fromkeys(c.oid for item in left.values() for c in item.index.chunks if c.oid in absent)
        for group in (*_groups((oid, lengths[oid]) for oid in queue), []):
            try:
                fetch_oids(self._store.repo, self._remote, group)
            except LostObjectError as error:
                if error.oid not in lengths:
                    raise
                return error.oid
            size = sum(lengths[oid] for oid in group)
            self._bytes += size
            self._progress.advance(size)
            absent.difference_update(group)
            for digest in [h for h, item in left.items() if not any(c.oid in absent for c in item.index.chunks)]:
                self._anchor(digest, left.pop(digest).data)
        return None

    def _by_ref(self, listed: Advertised, digest: Hash, here: Collection[Oid] = ()) -> None:
        """Fetch a version as git fetches a ref, and anchor it: version 0, or a pair whose index is missing.

        `here` are chunks that did not have to come.
        """
        pair = listed.pair(digest)
        assert pair.model is not None
        try:
            fetch_refs(self._store.repo, self._remote, [pair.namespace.model(digest)], haves=f"{MODELS}*")
            data = self._store.index_bytes_in(pair.model)
            index = parse(data)
        except (MissingError, FrameError, CorruptError) as error:
            self.refuse(digest, error.message)
            return
        if index.file_hash != digest:
            self.refuse(digest, "its refs there hold another version")
            return
        self._bytes += sum(c.stored_length for c in new_chunks(index, here))
        self._anchor(digest, data)


def _groups(items: Iterable[tuple[Oid, int]]) -> Iterator[list[Oid]]:
    """Cut (object, length) into runs of at most GROUP_BYTES and GROUP_OBJECTS."""
    group: list[Oid] = []
    size = 0
    for oid, length in items:
        if group and (size + length > GROUP_BYTES or len(group) == GROUP_OBJECTS):
            yield group
            group, size = [], 0
        group.append(oid)
        size += length
    if group:
        yield group
