"""What a new version adds to what is stored already: the bytes that a merge will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from git_lepton.errors import CorruptError, MissingError
from git_lepton.store.index import VersionIndex
from git_lepton.store.store import Store
from git_lepton.transfer.cost import new_chunks
from git_lepton.transfer.fetch import bring_indexes
from git_lepton.values import Hash


def added(store: Store, before: Iterable[Hash], after: Sequence[Hash]) -> dict[Hash, int | None]:
    """Bytes of the chunks that each version of `after` adds to all versions of `before` and to those ahead of it.

    Indexes that are not here are asked for; weights are not. A version counts once, however many files are of it.

    Args:
        store: where.
        before: versions that are there anyway.
        after: versions, in the order in which they are to be counted.

    Returns:
        For each version of `after` its bytes; None where its index, or one of `before`, is nowhere to be had.

    Raises:
        UsageError: lepton.toml is not valid.
    """
    old = dict.fromkeys(before)
    new = [digest for digest in dict.fromkeys(after) if digest not in old]
    counts: dict[Hash, int | None] = dict.fromkeys(after, 0)
    if not new:
        return counts
    bring_indexes(store, [*old, *new])
    there = [_index(store, digest) for digest in old]
    known = {chunk.oid for index in there if index for chunk in index.chunks}
    for digest in new:
        index = _index(store, digest)
        chunks = new_chunks(index, known) if index else []
        known.update(chunk.oid for chunk in chunks)
        counts[digest] = sum(chunk.stored_length for chunk in chunks) if index and all(there) else None
    return counts


def _index(store: Store, digest: Hash) -> VersionIndex | None:
    try:
        return store.index(digest)
    except (MissingError, CorruptError):
        return None
