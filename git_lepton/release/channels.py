"""What channels point to: asked from the remote, or as it was when the remote was last asked.

A plain clone's tags go stale silently (git never moves a tag that it has), so nothing here reads `refs/tags`. What a
remote answers is kept under `refs/lepton-remote/<remote>/`, where git's own fetches and prunes do not look.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from git_lepton.errors import LeptonError, UsageError, VerificationError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import list_refs
from git_lepton.git.remote import fetch_refs, ls_remote
from git_lepton.git.repo import Repo, config_get
from git_lepton.release import message
from git_lepton.release.log import LogEntry, read_entry
from git_lepton.release.message import Move
from git_lepton.release.names import LOGS, TAGS, Version, check_name
from git_lepton.release.tagobject import MAX_TAG, TagObject, parse_tag
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
        tag_oid: the tag object; for a lightweight tag the commit; for a deleted one the newest in the log.
        tag: that object; of a lightweight tag, or one that cannot be read, only target and name are set.
        move: what it says; None for a tag that a person made with plain `git tag`, or that is not to be believed.
        log: the newest commit of the channel's log, or None.
        last: what that commit says, or None.
        flaw: why the channel is not to be believed, one sentence, or "".
        deleted: somebody deleted the tag, and its log is still there.
    """

    model: str
    channel: str
    tag_oid: Oid
    tag: TagObject
    move: Move | None
    log: Oid | None
    last: LogEntry | None = None
    flaw: str = ""
    deleted: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether plain git made it and nobody ever moved it otherwise: for teams that trust whoever may push."""
        return self.move is None and not self.flaw

    @property
    def seq(self) -> int:
        """Number of the last move, 0 for a plain tag."""
        return self.move.seq if self.move else 0


def configured_remote(repo: Repo, key: str) -> str | None:
    """The remote that a setting names, or None where it is not set. Raises UsageError where there is no such remote."""
    wanted = config_get(repo, key)
    if wanted is not None and wanted not in remote_names(repo):
        raise UsageError(
            f"{key} is {wanted}, and there is no such remote",
            hint=f"git remote add NAME {wanted}, then git config {key} NAME" if "/" in wanted else "git remote -v",
        )
    return wanted


def release_remote(repo: Repo) -> str:
    """The remote that channels live on: `lepton.releaseRemote`, else origin, else the only one.

    Raises:
        UsageError: there is none, or git-lepton cannot know which.
    """
    wanted = configured_remote(repo, REMOTE_KEY)
    if wanted is not None:
        return wanted
    names = remote_names(repo)
    if "origin" in names:
        return "origin"
    if len(names) == 1:
        return names[0]
    raise UsageError(
        "no remote that channels could live on" if not names else f"which remote do channels live on: {names}?",
        hint=f"git config {REMOTE_KEY} NAME" if names else "git remote add origin URL",
    )


def refresh(
    repo: Repo, remote: str, *, model: str | None = None, channel: str | None = None, more: Collection[str] = ()
) -> dict[str, Oid]:
    """Ask the remote for channels and their logs, and mirror the answer: what is gone there goes here.

    Args:
        repo: where to.
        remote: whom to ask.
        model: only of this one; None for all.
        channel: only these; None for all.
        more: further refs to mirror, by their whole names.

    Returns:
        All refs of channels, versions and logs that the remote has, and those of `more`.

    Raises:
        MissingError: the remote cannot be reached.
    """

    def is_wanted(ref: str) -> bool:
        found = _CHANNEL.fullmatch(ref.removeprefix(TAGS).removeprefix(LOGS))
        return ref in more or (found is not None and model in {None, found[1]} and channel in {None, found[2]})

    listed = ls_remote(repo, remote, [TAGS + "*@*", LOGS + "*", *more])
    mirror(repo, remote, listed, is_wanted)
    note_asked(repo, remote)
    return listed


def note_asked(repo: Repo, remote: str) -> None:
    """Remember that a remote was asked just now."""
    note = _asked(repo, remote)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def asked(repo: Repo, remote: str) -> float:
    """When a remote was last asked, in seconds since 1970; 0 for never."""
    note = _asked(repo, remote)
    return note.stat().st_mtime if note.exists() else 0.0


def _asked(repo: Repo, remote: str) -> Path:
    return repo.lepton_dir / "asked" / quote(remote, safe="")


def mirror(repo: Repo, remote: str, listed: Mapping[str, Oid], is_wanted: Callable[[str], bool]) -> None:
    """Keep under `refs/lepton-remote/` those refs of a remote that are wanted, as `listed` has them, and no others.

    Raises:
        MissingError: the remote cannot be reached.
    """
    prefix = f"{MIRROR}{remote}/"
    there = {prefix + ref.removeprefix("refs/"): (ref, oid) for ref, oid in listed.items() if is_wanted(ref)}
    held = {ref: oid for ref, oid in list_refs(repo, prefix).items() if is_wanted("refs/" + ref[len(prefix) :])}
    stale = [f"+{ref}:{local}" for local, (ref, oid) in there.items() if held.get(local) != oid]
    fetch_refs(repo, remote, stale, haves="refs/remotes/*")
    gone = held.keys() - there.keys()
    if gone:
        commands = b"".join(b"delete " + os.fsencode(ref) + b"\n" for ref in sorted(gone))
        repo.git("update-ref", "--stdin", input=commands)


def mirrored(repo: Repo, objects: ObjectReader, remote: str) -> list[Channel]:
    """The channels as the remote last had them, sorted by name; what is wrong with one is its `flaw`."""
    prefix = f"{MIRROR}{remote}/"
    refs = {ref[len(prefix) :]: oid for ref, oid in list_refs(repo, prefix).items()}
    found = []
    for name in sorted({name.removeprefix("tags/").removeprefix("lepton/log/") for name in refs}):
        match = _CHANNEL.fullmatch(name)
        tag, tip = refs.get(f"tags/{name}"), refs.get(f"lepton/log/{name}")
        oid = tag or tip
        if match and oid:
            blank = Channel(match[1], match[2], oid, _blank(oid, name), None, tip, deleted=tag is None)
            found.append(_read(repo, objects, blank))
    return found


def _read(repo: Repo, objects: ObjectReader, channel: Channel) -> Channel:
    """Fill in what the tag and the newest entry of the log say."""
    name = (channel.model, channel.channel)
    try:
        if channel.log is not None:
            channel = replace(channel, last=read_entry(repo, objects, channel.log))
        last = channel.last
        if channel.deleted and last is not None and (last.move.model, last.move.channel) == name:
            flaw = f"its tag was deleted; its log ends with move {last.move.seq}"
            return replace(channel, tag_oid=last.tag_oid, tag=last.tag, flaw=flaw)
        if objects.size(channel.tag_oid) > MAX_TAG:
            return replace(channel, flaw=f"its tag has more than {MAX_TAG} bytes")
        kind, content = objects.read(channel.tag_oid)
        if kind == "tag":
            tag = parse_tag(bytes(content))
            channel = replace(channel, tag=tag, move=move_of(tag, *name))
        elif kind != "commit":
            return replace(channel, flaw=f"its tag points to a {kind}")
    except LeptonError as error:
        return replace(channel, flaw=error.message)
    if last is not None and (last.move.model, last.move.channel) != name:
        return replace(channel, flaw=f"its log is that of {last.move.model}@{last.move.channel}", last=None)
    if last is not None and last.tag_oid != channel.tag_oid:
        return replace(channel, flaw=f"its log ends with move {last.move.seq}, which is not this tag")
    if channel.move is not None and last is None:
        return replace(channel, flaw="its log is not there")
    return channel


def _blank(target: Oid, name: str) -> TagObject:
    return TagObject(target, "commit", name, "", 0, "", signed=False)


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
    return versions_among(list_refs(repo, TAGS), check_name(model, "model"))


def versions_among(refs: Mapping[str, Oid], model: str) -> dict[Version, Oid]:
    """The same among the refs of a remote."""
    found = {}
    for ref, oid in refs.items():
        match = _VERSION.fullmatch(ref.removeprefix(TAGS)) if ref.startswith(TAGS) else None
        if match and match[1] == model:
            with suppress(UsageError):
                found[Version.parse(match[2])] = oid
    return found
