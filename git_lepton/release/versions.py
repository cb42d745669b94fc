"""Versions of a model: annotated tags `digits@v1.2.0` that never move (docs/releases.md, "Version").

The message ends with a block of keys that binds the version to the content of the model, so that a tag that was made
anew on another commit under the same name is found out by whoever has seen the first:

    Lepton-Format, Lepton-Model, Lepton-Version, Lepton-Commit, Lepton-Bundle, Lepton-Record

A version tag that a person made with plain `git tag` has no such block; it is taken for what it points to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from git_lepton.errors import LeptonError, RaceLostError, UsageError, VerificationError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import Transaction
from git_lepton.git.remote import fetch_refs, push
from git_lepton.git.repo import Repo
from git_lepton.release import message
from git_lepton.release.channels import MIRROR, versions, versions_among
from git_lepton.release.names import Version, version_ref
from git_lepton.release.tagobject import parse_tag
from git_lepton.values import Hash, Oid

FIRST: Final = Version(0, 1, 0)
_KEYS: Final = ("Format", "Model", "Version", "Commit", "Bundle", "Record")


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a model.

    Attributes:
        model, version: which.
        commit: where it is.
        bundle, record: hashes of its files and of its record; None for a plain tag, and where there is no record.
        why: what a person wrote.
    """

    model: str
    version: Version
    commit: Oid
    bundle: Hash | None = None
    record: Hash | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A version tag: the object here, and on the remote; at least one of them is there."""

    version: Version
    here: Oid | None
    there: Oid | None


def known(repo: Repo, model: str, listed: Mapping[str, Oid]) -> dict[Version, Tagged]:
    """The versions of a model here and on the remote, whose refs are `listed`."""
    here, there = versions(repo, model), versions_among(listed, model)
    return {v: Tagged(v, here.get(v), there.get(v)) for v in sorted(here.keys() | there.keys())}


def render(release: Release) -> str:
    """The message of the tag. Raises UsageError for a reason that the reader would not take back."""
    values = {
        "Format": str(message.FORMAT),
        "Model": release.model,
        "Version": str(release.version),
        "Commit": release.commit,
        "Bundle": release.bundle or "none",
        "Record": release.record or "none",
    }
    why = message.tidy(release.why)
    text = message.write_block(values, f"{release.model} {release.version}", why)
    try:
        if parse(text) != replace(release, why=why):
            raise UsageError("this version cannot be written as a tag")
    except VerificationError as error:
        raise UsageError(f"this version cannot be written as a tag: {error.message}") from error
    return text


def read(repo: Repo, objects: ObjectReader, model: str, tagged: Tagged, remote: str) -> Release:
    """What a version tag says; one that only the remote has is fetched, without a tag of this repository.

    Raises:
        VerificationError: it is not the same here and there, or it is not about what it points to.
    """
    ref = version_ref(model, tagged.version)
    if None not in {tagged.here, tagged.there} and tagged.here != tagged.there:
        raise VerificationError(
            f"{ref} is another tag here than on {remote}, and a version never moves",
            reason="version",
            hint=f"the remote's counts: git tag -d {model}@v{tagged.version}",
        )
    if tagged.here is None:
        fetch_refs(repo, remote, [f"+{ref}:{MIRROR}{remote}/{ref.removeprefix('refs/')}"], haves="refs/remotes/*")
    oid = tagged.here or tagged.there
    assert oid is not None
    kind, content = objects.read(oid)
    commit = rev_parse(repo, oid, kind="commit")
    tag = parse_tag(bytes(content)) if kind == "tag" else None
    if tag is None or f"\n{message.PREFIX}" not in "\n" + tag.message:
        return Release(model, tagged.version, commit)
    found = parse(tag.message)
    if (found.model, found.version, found.commit) != (model, tagged.version, commit) or tag.name != _name(found):
        raise VerificationError(f"the tag {model}@v{tagged.version} was made for something else", reason="version")
    return found


def parse(text: str) -> Release:
    """Read the message of a version's tag, its signature already cut off.

    Raises:
        VerificationError: it is not what `render` writes.
    """
    values, why = message.read_block(text, _KEYS)
    try:
        return Release(
            values["Model"],
            Version.parse(values["Version"]),
            Oid(values["Commit"]),
            _hash(values["Bundle"]),
            _hash(values["Record"]),
            why,
        )
    except UsageError as error:
        raise VerificationError(error.message, reason="malformed") from error


def _hash(text: str) -> Hash | None:
    if text == "none":
        return None
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise VerificationError(f"the tag has a malformed hash: {text[:80]!r}", reason="malformed")
    return Hash(text)


def _name(release: Release) -> str:
    return f"{release.model}@v{release.version}"


def keep(repo: Repo, release: Release, tag: Oid) -> None:
    """Make the ref of a version here. Raises RaceLostError when it appeared meanwhile."""
    Transaction(repo).create(version_ref(release.model, release.version), tag).commit()


def publish(repo: Repo, remote: str, model: str, version: Version, tag: Oid) -> None:
    """Push a version tag that the remote does not have.

    Raises:
        RaceLostError: somebody pushed that version meanwhile.
        LeptonError: the remote refused for a reason of its own.
    """
    ref = version_ref(model, version)
    result = push(repo, remote, [f"{tag}:{ref}"], leases={ref: None}).get(ref)
    if result is not None and result.status != "rejected":
        return
    why = result.summary if result is not None else "no answer"
    if "stale info" in why or "already exists" in why:
        raise RaceLostError(f"somebody pushed {model}@v{version} first", hint=f"git lepton tag {model} takes the next")
    raise LeptonError(f"{remote} refused the tag {model}@v{version}: {why}")
