"""What a remote has of the store, and under which names.

Most hosts take refs/lepton/…; some accept heads and tags only, and get the same commits under refs/heads/lepton/….
Everything that asks a remote looks at both, so a repository may move from one kind of host to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from git_lepton.git.remote import ls_remote
from git_lepton.git.repo import Repo
from git_lepton.store.names import ROOT
from git_lepton.values import Hash, Oid


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where on a remote the pairs of refs are kept; `prefix` ends with a slash."""

    name: Literal["lepton", "heads"]
    prefix: str

    def model(self, digest: Hash) -> str:
        """The ref of a version's commit W."""
        return f"{self.prefix}models/{digest}"

    def index(self, digest: Hash) -> str:
        """The ref of a version's index."""
        return f"{self.prefix}index/{digest}"

    def part(self, digest: Hash, name: str) -> str:
        """A temporary ref of a version that is pushed in parts."""
        return f"{self.prefix}tmp/{digest}/{name}"

    def probe(self, name: str) -> str:
        """A ref that is created and deleted to learn what the remote accepts."""
        return f"{self.prefix}probe/{name}"


LEPTON: Final = Namespace("lepton", ROOT)
HEADS: Final = Namespace("heads", "refs/heads/lepton/")
NAMESPACES: Final[Mapping[str, Namespace]] = {n.name: n for n in (LEPTON, HEADS)}
OURS: Final = tuple(n.prefix for n in NAMESPACES.values())
"""Prefixes of refs that are ours alone."""

_PATTERNS: Final = tuple(f"{prefix}{folder}/*" for prefix in OURS for folder in ("models", "index", "tmp"))
_OURS: Final = re.compile(r"(models|index|tmp)/([0-9a-f]{64})(?:/([0-9a-z]+))?")


@dataclass(frozen=True, slots=True)
class Pair:
    """The two refs of one version as a remote has them; either may be absent."""

    namespace: Namespace
    model: Oid | None
    index: Oid | None


@dataclass(frozen=True, slots=True)
class Advertised:
    """What a remote listed at one moment.

    Attributes:
        remote: whom we asked.
        pairs: every version of which it has at least one ref.
        parts: temporary refs of pushes in parts: version -> full ref -> oid.
        others: what heads and tags point to, when they were asked for.
    """

    remote: str
    pairs: Mapping[Hash, Pair]
    parts: Mapping[Hash, Mapping[str, Oid]]
    others: tuple[Oid, ...] = ()

    def pair(self, digest: Hash) -> Pair:
        """The refs of a version; both absent when the remote has none."""
        return self.pairs.get(digest, _NOTHING)

    def models(self) -> dict[Hash, Oid]:
        """Every version with a commit W there."""
        return {digest: pair.model for digest, pair in self.pairs.items() if pair.model is not None}

    def refs_of(self, digest: Hash) -> Iterator[tuple[str, Oid]]:
        """The full names and values of a version's refs."""
        pair = self.pair(digest)
        if pair.model is not None:
            yield pair.namespace.model(digest), pair.model
        if pair.index is not None:
            yield pair.namespace.index(digest), pair.index


_NOTHING: Final = Pair(LEPTON, None, None)


def advertised(repo: Repo, remote: str, *, code: bool = False) -> Advertised:
    """Ask a remote what it has of the store; with `code` also where its heads and tags are.

    Raises:
        MissingError: it cannot be reached.
    """
    refs = ls_remote(repo, remote, (*_PATTERNS, *(("refs/heads/*", "refs/tags/*") if code else ())))
    found: dict[Hash, dict[str, dict[str, Oid]]] = {}
    parts: dict[Hash, dict[str, Oid]] = {}
    for ref, oid in refs.items():
        namespace = next((n for n in NAMESPACES.values() if ref.startswith(n.prefix)), None)
        match = _OURS.fullmatch(ref[len(namespace.prefix) :]) if namespace else None
        if namespace is None or match is None:
            continue
        kind, digest, part = match[1], Hash(match[2]), match[3]
        if kind == "tmp" and part:
            parts.setdefault(digest, {})[ref] = oid
        elif kind != "tmp" and not part:
            found.setdefault(digest, {}).setdefault(namespace.name, {})[kind] = oid
    pairs = {digest: _best(places) for digest, places in found.items()}
    others = tuple(oid for ref, oid in refs.items() if not ref.startswith(OURS))
    return Advertised(remote, pairs, parts, others)


def _best(places: Mapping[str, Mapping[str, Oid]]) -> Pair:
    """The pair in the namespace that has more of it; refs/lepton when both have the same."""
    name = max(places, key=lambda n: (len(places[n]), n == LEPTON.name))
    return Pair(NAMESPACES[name], places[name].get("models"), places[name].get("index"))
