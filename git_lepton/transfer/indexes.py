"""Reading the indexes that a remote has, without storing anything under a ref.

An index is small, and its commit is parentless, so a plain fetch of `refs/lepton/index/<H>` without destination brings
it. Objects that are here already (most people have what they pushed) are not fetched at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from git_lepton.errors import CorruptError, FrameError, MissingError
from git_lepton.git.remote import fetch_refs
from git_lepton.store.index import VersionIndex, parse
from git_lepton.store.store import Store
from git_lepton.transfer.places import Advertised
from git_lepton.values import Hash, Oid

Refuse = Callable[[Hash, str], None]
"""Told of a version that a remote cannot give, and why."""


@dataclass(frozen=True, slots=True)
class FetchedIndex:
    """An index as a remote has it.

    Attributes:
        commit: the remote's commit I.
        data: the index blob.
        index: what it says.
        transferred: whether it came over the wire now.
    """

    commit: Oid
    data: bytes
    index: VersionIndex
    transferred: bool


def fetch_indexes(
    store: Store, listed: Advertised, hashes: Iterable[Hash], refuse: Refuse = lambda _digest, _why: None
) -> dict[Hash, FetchedIndex]:
    """The indexes that a remote has of these versions; those of which it has none are left out.

    Args:
        store: where objects go.
        listed: what the remote has.
        hashes: versions.
        refuse: told of each version whose index is there but could not be had.
    """
    wanted = {h: oid for h in hashes if (oid := listed.pair(h).index) is not None}
    here = store.objects.contains(wanted.values())
    _fetch(store, listed, [h for h, oid in wanted.items() if oid not in here], refuse)
    found = {}
    for digest, commit in wanted.items():
        try:
            data = store.index_bytes_in(commit)
            index = parse(data)
        except MissingError:
            continue  # told already
        except (CorruptError, FrameError) as error:
            refuse(digest, f"the index there is damaged: {error.message}")
            continue
        if index.file_hash != digest:
            refuse(digest, "the index there is that of another version")
        elif any(len(oid) != len(commit) for oid in (*index.parents, *(c.oid for c in index.chunks[:1]))):
            refuse(digest, "the index there names objects of another format")
        else:
            found[digest] = FetchedIndex(commit, data, index, commit not in here)
    return found


def _fetch(store: Store, listed: Advertised, hashes: Sequence[Hash], refuse: Refuse) -> None:
    """One fetch for all; where that fails, halves, so that one damaged index does not hide the others."""
    if not hashes:
        return
    try:
        fetch_refs(store.repo, listed.remote, [listed.pair(h).namespace.index(h) for h in hashes])
    except MissingError as error:
        if len(hashes) == 1:
            refuse(hashes[0], error.message)
            return
        middle = len(hashes) // 2
        _fetch(store, listed, hashes[:middle], refuse)
        _fetch(store, listed, hashes[middle:], refuse)
