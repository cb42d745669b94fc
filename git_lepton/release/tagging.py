"""Giving a commit a version: which number, and whether the model there may have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from git_lepton.config.values import ChannelSettings
from git_lepton.errors import VerificationError
from git_lepton.release import candidate as candidates
from git_lepton.release import policy, versions
from git_lepton.release.candidate import Candidate
from git_lepton.release.names import Version
from git_lepton.release.policy import Finding
from git_lepton.release.signing import make_tag
from git_lepton.release.versions import FIRST, Release, Tagged
from git_lepton.store.store import Store
from git_lepton.values import Oid


@dataclass(frozen=True, slots=True)
class Naming:
    """A version that could be made, and what speaks for and against it."""

    release: Release
    candidate: Candidate
    findings: tuple[Finding, ...]


def next_version(
    known: Mapping[Version, Tagged], wanted: Version | None, part: str, initial: Version = FIRST
) -> Version:
    """The version to make.

    Args:
        known: what is there already.
        wanted: by name, or None.
        part: "major", "minor" or "patch": what to count up from the newest, where none is named.
        initial: what the first one is called.

    Raises:
        VerificationError: it is there already: a version never moves.
    """
    version = wanted or (max(known).bump(part) if known else initial)
    if version in known:
        alone = known[version].there is None
        raise VerificationError(
            f"version {version} is there already, and a version never moves",
            reason="version",
            hint=f"{'git push shares it; ' if alone else ''}the next one is {max(known).bump('patch')}",
        )
    return version


def propose(store: Store, model: str, version: Version, commit: Oid, why: str) -> Naming:
    """Look at the model of a commit. Raises UsageError when it has none."""
    candidate = candidates.read(store.repo, store.objects, model, commit)
    findings = tuple(policy.content(candidate, ChannelSettings("any"), "", {}))
    release = Release(model, version, commit, candidate.located.bundle.hash, candidate.record_hash, why)
    return Naming(release, candidate, findings)


def make(store: Store, release: Release, *, sign: bool) -> Oid:
    """Make the tag object; no ref moves. Raises UsageError when there is no identity, or it cannot be signed."""
    name = f"{release.model}@v{release.version}"
    return make_tag(store.repo, name, release.commit, versions.render(release), sign=sign)
