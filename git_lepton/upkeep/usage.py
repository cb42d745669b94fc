"""What each version costs: the raw size, the bytes that it added, and what dedupe and compression saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from git_lepton.errors import MissingError
from git_lepton.store.store import Store
from git_lepton.transfer.need import Need
from git_lepton.values import Hash, Oid


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """One version, in the order in which history brought them, the oldest first.

    Attributes:
        hash: of the file.
        paths: where it was met in history; empty for a version that nothing refers to any more.
        raw: bytes of the file.
        stored: bytes of all chunks that restoring it needs; None when not even its index is here.
        added: bytes of those that no earlier version has.
        complete: whether it is stored here.
    """

    hash: Hash
    paths: tuple[str, ...]
    raw: int
    stored: int | None
    added: int | None
    complete: bool


def usage(store: Store, needs: Mapping[Hash, Sequence[Need]]) -> tuple[VersionUsage, ...]:
    """Account for every version that `needs` names (oldest last, as git lists history) or that is stored."""
    here = store.versions()
    order = [*(h for h in here if h not in needs), *reversed(list(needs))]
    seen: set[Oid] = set()
    rows = []
    for digest in order:
        places = needs.get(digest, ())
        paths = tuple(dict.fromkeys(place.path for place in places))
        try:
            index = store.index(digest)
        except MissingError:
            rows.append(VersionUsage(digest, paths, places[0].size, None, None, complete=False))
            continue
        added = {c.oid: c.stored_length for c in index.chunks if c.oid not in seen}
        seen.update(added)
        complete = digest in here
        rows.append(VersionUsage(digest, paths, index.size, index.stored_bytes, sum(added.values()), complete))
    return tuple(rows)
