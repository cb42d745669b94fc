"""Judging the pair of refs that a remote has of a version: is it there, whole and of one encoding?

Two people may store the same file in different chunks; whoever pushes first wins, and both are right. But a pair must
belong together, W and index of one encoding, or the index would name objects that W does not keep. A push that was cut
off between two refs, or two pushes at once to a server without atomic pushes, can leave a pair that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from git_lepton.store.store import Store
from git_lepton.transfer.indexes import fetch_indexes
from git_lepton.transfer.places import Advertised
from git_lepton.transfer.wraps import Wraps
from git_lepton.values import Hash

State = Literal["whole", "absent", "index", "broken", "unknown"]
"""whole: nothing to do. absent: neither ref is there. index: W is ours and the index is not. broken: what is there does
not belong together, and our pair should replace it. unknown: it is not whole there, and not stored here."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a version stands on a remote; `wraps` are those of our encoding where they were needed to tell."""

    state: State
    wraps: Wraps | None = None


def judge(store: Store, listed: Advertised, hashes: Iterable[Hash]) -> dict[Hash, Verdict]:
    """Tell for each version what its push must do; fetches indexes where only they can tell."""
    verdicts: dict[Hash, Verdict] = {}
    foreign: dict[Hash, Wraps] = {}
    for digest in dict.fromkeys(hashes):
        pair = listed.pair(digest)
        if not store.has(digest):
            verdicts[digest] = Verdict("unknown" if pair.model is None or pair.index is None else "whole")
        elif (pair.model, pair.index) == (store.wrap_of(digest), store.index_commit_of(digest)):
            verdicts[digest] = Verdict("whole")
        else:
            wraps = Wraps.of(store.index(digest), store.repo)
            if pair.model is None:
                verdicts[digest] = Verdict("absent" if pair.index is None else "broken", wraps)
            elif wraps.recognise(pair.model, store.repo):
                verdicts[digest] = Verdict("whole" if pair.index == wraps.index_commit else "index", wraps)
            else:
                foreign[digest] = wraps
    whole = belonging(store, listed, foreign)
    verdicts |= {h: Verdict("whole" if whole[h] else "broken", wraps) for h, wraps in foreign.items()}
    return verdicts


def belonging(store: Store, listed: Advertised, hashes: Iterable[Hash]) -> Mapping[Hash, bool]:
    """Whether the pairs of these versions, as the remote has them, belong together; fetches their indexes."""
    result = dict.fromkeys(hashes, False)
    for digest, item in fetch_indexes(store, listed, result).items():
        wrap = listed.pair(digest).model
        wraps = Wraps.of(item.index, store.repo)
        result[digest] = (
            wrap is not None and wraps.index_commit == item.commit and wraps.recognise(wrap, store.repo) is not None
        )
    return result
