"""What channels point to: asked from the remote, or as it was when the remote was last asked.

A plain clone's tags go stale silently (git never moves a tag that it has), so nothing here reads `refs/tags`. What a
remote answers is kept under `refs/lepton-remote/<remote>/`, where git's own fetches and prunes do not look.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import UsageError, VerificationError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import list_refs
from git_lepton.git.remote import fetch_refs, ls_remote
from git_lepton.git.repo import Repo, config_get
from git_lepton.release import message
from git_lepton.release.message import Move
from git_lepton.release.names import LOGS, TAGS, Version, check_name
from git_lepton.release.tagobject import TagObject, parse_tag
from git_lepton.transfer.remotes import remote_names
from git_lepton.values import Oid

MIRROR: Final = "refs/lepton-remote/"
REMOTE_KEY: Final = "lepton.releaseRemote"
_CHANNEL: Final = re.compile(r"([a-z0-9._-]+)@(?!v[0-9])([a-z0-9._-]+)")
_VERSION: Final = re.compile(r"([a-z0-9._-]+)@v([0-9][0-9A-Za-z.+-]*)")


@dataclass(frozen=True, slots=True)
class Channel:
    """What one channel points to.

    Attributes:
        model, channel: its name.
        tag_oid: the tag object.
        tag: that object.
        move: what it says; None for a tag that a person made with plain `git tag`.
        log: the newest commit of the channel's log, or None.
    """

    model: str
    channel: str
    tag_oid: Oid
    tag: TagObject
    move: Move | None
    log: Oid | None

    @property
    def seq(self) -> int:
        """Number of the last move, 0 for a plain tag."""
        return self.move.seq if self.move else 0


def release_remote(repo: Repo) -> str:
    """The remote that channels live on: `lepton.releaseRemote`, else origin, else the only one.

    Raises:
        UsageError: there is none, or git-lepton cannot know which.
    """
    names = remote_names(repo)
    wanted = config_get(repo, REMOTE_KEY)
    if wanted is not None:
        if wanted not in names:
            raise UsageError(f"{REMOTE_KEY} is {wanted}, and there is no such remote", hint="git remote -v")
        return wanted
    if "origin" in names:
        return "origin"
    if len(names) == 1:
        return names[0]
    raise UsageError(
        "no remote that channels could live on" if not names else f"which remote do channels live on: {names}?",
        hint=f"git config {REMOTE_KEY} NAME" if names else "git remote add origin URL",
    )


def refresh(repo: Repo, remote: str, *, model: str | None = None, channel: str | None = None) -> None:
    """Ask the remote for channels and their logs, and mirror the answer: what is gone there goes here.

    Raises:
        MissingError: the remote cannot be reached.
    """
    listed = ls_remote(repo, remote, [TAGS + "*@*", LOGS + "*"])
    there = {ref: oid for ref, oid in listed.items() if _is_wanted(ref, model, channel)}
    mirror = f"{MIRROR}{remote}/"
    held = {
        ref: oid
        for ref, oid in list_refs(repo, mirror).items()
        if _is_wanted("refs/" + ref[len(mirror) :], model, channel)
    }
    local = {ref: mirror + ref.removeprefix("refs/") for ref in there}
    stale = [ref for ref, oid in there.items() if held.get(local[ref]) != oid]
    fetch_refs(repo, remote, [f"+{ref}:{local[ref]}" for ref in stale], haves="refs/remotes/*")
    gone = held.keys() - set(local.values())
    if gone:
        commands = b"".join(b"delete " + os.fsencode(ref) + b"\n" for ref in sorted(gone))
        repo.git("update-ref", "--stdin", input=commands)


def _is_wanted(ref: str, model: str | None, channel: str | None) -> bool:
    found = _CHANNEL.fullmatch(ref.removeprefix(TAGS).removeprefix(LOGS))
    return found is not None and model in {None, found[1]} and channel in {None, found[2]}


def mirrored(repo: Repo, objects: ObjectReader, remote: str) -> list[Channel]:
    """The channels as the remote last had them, sorted by name. Lightweight tags are passed over: nobody signed them.

    Raises:
        VerificationError: a tag object is malformed.
    """
    mirror = f"{MIRROR}{remote}/"
    refs = {ref[len(mirror) :]: oid for ref, oid in list_refs(repo, mirror).items()}
    found = []
    for name, oid in sorted(refs.items()):
        match = _CHANNEL.fullmatch(name.removeprefix("tags/")) if name.startswith("tags/") else None
        kind, content = objects.read(oid) if match else ("", b"")
        if match and kind == "tag":
            tag = parse_tag(bytes(content))
            log = refs.get(f"lepton/log/{match[0]}")
            found.append(Channel(match[1], match[2], oid, tag, move_of(tag, match[1], match[2]), log))
    return found


def move_of(tag: TagObject, model: str, channel: str) -> Move | None:
    """What the tag of a channel says; None for one that was made with plain git.

    Raises:
        VerificationError: it is malformed, or was made for another channel: `reason` "malformed" or "name".
    """
    if f"\n{message.PREFIX}" not in "\n" + tag.message:
        return None
    move = message.parse(tag.message)
    if (move.model, move.channel) != (model, channel) or tag.name != f"{model}@{channel}":
        raise VerificationError(
            f"the tag of {model}@{channel} was made for {move.model}@{move.channel}, and is called {tag.name}",
            reason="name",
        )
    if tag.target_type != "commit" or tag.target != move.commit:
        raise VerificationError(f"the tag of {model}@{channel} points elsewhere than it says", reason="name")
    return move


def find(channels: Iterable[Channel], model: str, channel: str) -> Channel | None:
    """The one of this name, or None."""
    return next((c for c in channels if (c.model, c.channel) == (model, channel)), None)


def versions(repo: Repo, model: str) -> dict[Version, Oid]:
    """The version tags of a model in this repository, version -> what the ref points to; malformed ones left out."""
    check_name(model, "model")
    found = {}
    output = repo.git("for-each-ref", "--format=%(objectname) %(refname)", f"{TAGS}{model}@v*").stdout
    for line in output.splitlines():
        oid, _, name = line.partition(b" ")
        match = _VERSION.fullmatch(os.fsdecode(name).removeprefix(TAGS))
        if match and match[1] == model:
            try:
                found[Version.parse(match[2])] = Oid(oid.decode("ascii"))
            except UsageError:
                continue
    return found
