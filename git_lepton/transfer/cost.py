"""What a push will cost, before it is paid: bytes, and the limits that hosts are known to have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from git_lepton.git.repo import Repo
from git_lepton.store.index import Chunk, VersionIndex
from git_lepton.transfer.remotes import host_of, push_url
from git_lepton.values import Oid

_MB: Final = 1_000_000
_GB: Final = 1_000_000_000
_GIB: Final = 1 << 30
_OBJECT_BYTES: Final = 64
"""What one more chunk costs in the tree that lists it and as an object of a pack, at most."""
_VERSION_BYTES: Final = 1024
"""Commits, top trees and refs of one version."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Limits in bytes that a host documents; None where it has none or says nothing.

    Attributes:
        object: largest single object. Ours have at most 16 MiB.
        push: largest single push.
        repository: size at which a repository is refused or its owner is asked to shrink it.
    """

    object: int | None
    push: int | None
    repository: int | None


HOSTS: Final[Mapping[str, HostLimits]] = {
    # docs.github.com: "About large files on GitHub", "Troubleshooting the 2 GB push limit", "Repository limits"
    "github.com": HostLimits(100 * _MB, 2 * _GIB, 10 * _GB),
    # docs.gitlab.com: "GitLab.com settings": 5 GiB a push over HTTPS, 10 GiB a project
    "gitlab.com": HostLimits(None, 5 * _GIB, 10 * _GIB),
    # support.atlassian.com: "Reduce repository size": 3.5 GB a push, 4 GB a repository
    "bitbucket.org": HostLimits(None, 3_500 * _MB, 4 * _GB),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What pushing some versions would send.

    Attributes:
        versions: how many are not there yet.
        chunks: distinct chunks to send.
        bytes: estimate of all bytes to send, indexes and trees included.
        raw_bytes: bytes of the weight files themselves.
    """

    versions: int
    chunks: int
    bytes: int
    raw_bytes: int


def new_chunks(index: VersionIndex, known: Collection[Oid]) -> list[Chunk]:
    """Distinct chunks of a version that are not in `known`, in order."""
    return list({c.oid: c for c in index.chunks if c.oid not in known}.values())


def estimate(indexes: Iterable[VersionIndex], known: Iterable[Oid]) -> Cost:
    """What sending these versions costs when the other side has the chunks `known`."""
    there = set(known)
    costs = []
    for index in indexes:
        new = new_chunks(index, there)
        there.update(c.oid for c in new)
        sent = sum(c.stored_length + _OBJECT_BYTES for c in new) + len(index.to_bytes()) + _VERSION_BYTES
        costs.append(Cost(1, len(new), sent, index.size))
    return total(costs)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of what is paid one after the other."""
    versions = chunks = sent = raw = 0
    for cost in costs:
        versions += cost.versions
        chunks += cost.chunks
        sent += cost.bytes
        raw += cost.raw_bytes
    return Cost(versions, chunks, sent, raw)


def warnings(repo: Repo, remote: str, largest: int, repository: int) -> tuple[str, ...]:
    """Which documented limits of the remote's host would be exceeded.

    Args:
        repo: where the remote is configured.
        remote: name or address.
        largest: bytes of the largest single push that will be made.
        repository: bytes of weights on the remote afterwards, as far as they are known here.
    """
    host = host_of(push_url(repo, remote))
    limits = HOSTS.get(host or "")
    if limits is None:
        return ()
    said = []
    if limits.push is not None and largest > limits.push:
        said.append(
            f"{host} refuses pushes above {limits.push / _GIB:.1f} GiB, and this one has {largest / _GIB:.1f} GiB:"
            " lower lepton.pushPartSize"
        )
    if limits.repository is not None and repository > limits.repository:
        said.append(
            f"{host} limits a repository to {limits.repository / _GIB:.1f} GiB, and the weights there would have"
            f" {repository / _GIB:.1f} GiB: see `git lepton prune --remote`, or name another host in [store] url"
        )
    return tuple(said)
