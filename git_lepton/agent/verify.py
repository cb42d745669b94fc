"""Whether a channel's tag may be followed: everything that can be told before a byte of the model is fetched.

A good signature says who wrote a text, not under which ref it belongs nor that it is the newest. So, in this order: the
object is an annotated tag; an allowed principal signed this very object; it was made for this model and channel; its
number is above every number that was followed before (the floor, on this disk), or it is that same tag; it has not
expired. All later steps use the object ids found here, and never ask a ref again.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from git_lepton.agent.events import VerificationReason
from git_lepton.agent.mirror import Mirror
from git_lepton.agent.settings import Follow, Settings
from git_lepton.agent.values import Wanted
from git_lepton.errors import CorruptError, VerificationError
from git_lepton.git.objects import ObjectReader
from git_lepton.release.channels import move_of
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Move
from git_lepton.release.signing import Trust, verify
from git_lepton.release.tagobject import MAX_TAG, parse_tag
from git_lepton.store.store import Store
from git_lepton.values import Oid

MAX_JUMP: Final = 1000
"""A number further ahead than this locks nobody out: a person has to reset the floor."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest move of a channel that was verified here: its number and its tag; 0 before the first."""

    seq: int = 0
    tag: Oid | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A tag that holds.

    Attributes:
        wanted: what it asks for.
        ring: the share of agents that it is meant for.
        halted: it asks agents to keep what they have.
        expires: when it is no longer to be followed, seconds since 1970, or None.
    """

    wanted: Wanted
    ring: int
    halted: bool
    expires: float | None = None


def refused(reason: VerificationReason, message: str) -> VerificationError:
    """The error for a move that must not be followed."""
    return VerificationError(message, reason=reason)


class Verifier:
    """Checks tags of one channel."""

    def __init__(self, settings: Settings, follow: Follow, mirror: Mirror) -> None:
        self._follow = follow
        self._mirror = mirror
        self._agent = settings.id
        self._trust: Trust | None = None
        if settings.trust == "signed":
            assert settings.allowed_signers is not None
            self._trust = Trust(settings.allowed_signers, settings.revoked_keys, follow.principals)

    def check(self, objects: ObjectReader, oid: Oid, floor: Floor, now: float) -> Verified:
        """What the tag `oid` asks for.

        Args:
            objects: has it.
            oid: what the channel's ref pointed to.
            floor: the newest move that was verified before.
            now: seconds since 1970.

        Raises:
            VerificationError: it must not be followed.
        """
        if objects.size(oid) > MAX_TAG:
            raise refused("malformed", f"the tag {self._name} has {objects.size(oid)} bytes")
        kind, content = objects.read(oid)
        if kind != "tag":
            if self._trust is None and kind == "commit":
                return self._plain(oid, oid)
            raise refused("type", f"{self._name} is a {kind}, not an annotated tag")
        tag = parse_tag(bytes(content))
        signer = verify(self._mirror.repo, oid, self._trust).principal if self._trust else ""
        move = move_of(tag, self._follow.model, self._follow.channel)
        if move is None:
            if self._trust is None and tag.target_type == "commit":
                return self._plain(oid, tag.target)
            raise refused("type", f"{self._name} is a tag without a move, made with plain git")
        self._check_order(move, oid, floor)
        expires = None if move.expires is None else _seconds(move.expires)
        if expires is not None and expires <= now:
            raise refused("expired", f"move {move.seq} of {self._name} expired at {move.expires}")
        return Verified(self._wanted(move, oid, signer), move.ring, move.action == "halt", expires)

    def includes(self, ring: int) -> bool:
        """Whether this agent belongs to the first `ring` percent of agents."""
        return ring_of(self._agent, self._follow.model, self._follow.channel) < ring

    def newest_for_us(self, store: Store, entries: Iterable[LogEntry], tip: Oid) -> Wanted | None:
        """The newest move of the log that is meant for this agent, or None.

        Args:
            store: of the mirror.
            entries: the log, the newest first.
            tip: the tag that the channel points to, with which the log must begin.

        Raises:
            VerificationError: the log does not begin there, or a move in it is not signed as it must be.
        """
        first = True
        try:
            for entry in entries:
                if first and entry.tag_oid != tip:
                    raise refused("log", f"the log of {self._name} does not end with the move that the tag has")
                first = False
                if entry.move.action != "halt" and self.includes(entry.move.ring):
                    return self._from_log(store, entry)
        except CorruptError as error:
            raise refused("log", error.message) from error
        return None

    def _from_log(self, store: Store, entry: LogEntry) -> Wanted:
        """What an older move asks for, its signature checked like that of the newest."""
        repo = self._mirror.repo
        content = repo.git("cat-file", "blob", f"{entry.commit}:tag").stdout
        oid = Oid(repo.git("hash-object", "-w", "-t", "tag", "--stdin", input=content).stdout.decode("ascii").strip())
        signer = verify(repo, oid, self._trust).principal if self._trust else ""
        move = move_of(parse_tag(content), self._follow.model, self._follow.channel)
        if move is None or oid != entry.tag_oid:
            raise refused("log", f"the log of {self._name} has a tag that is none of its moves")
        return self._wanted(move, oid, signer)

    @property
    def _name(self) -> str:
        return f"{self._follow.model}@{self._follow.channel}"

    def _check_order(self, move: Move, oid: Oid, floor: Floor) -> None:
        if move.seq < floor.seq:
            raise refused("replay", f"move {move.seq} of {self._name} is older than move {floor.seq}, seen before")
        if move.seq == floor.seq and oid != floor.tag:
            raise refused("equivocation", f"there are two different moves {move.seq} of {self._name}")
        if floor.seq and move.seq > floor.seq + MAX_JUMP:
            raise VerificationError(
                f"move {move.seq} of {self._name} is too far ahead of move {floor.seq}",
                reason="jump",
                hint=f"if that is right: git lepton agent reset-floor {self._follow.name}",
            )

    def _wanted(self, move: Move, oid: Oid, signer: str) -> Wanted:
        variant = self._follow.variant_here(move.variant)
        return Wanted(
            name=self._follow.name,
            model=move.model,
            channel=move.channel,
            tag=oid,
            seq=move.seq,
            action=move.action,
            version=str(move.version) if move.version else "",
            commit=move.commit,
            bundle=move.bundle if variant == move.variant else None,
            record=move.record,
            variant=variant,
            by=signer,
        )

    def _plain(self, oid: Oid, commit: Oid) -> Verified:
        """A tag that was made with plain git, where nobody signs: it names a commit and nothing else."""
        follow = self._follow
        variant = follow.variant_here("")
        args = (follow.name, follow.model, follow.channel, oid, 0, None, "", commit, None, None, variant, "")
        return Verified(Wanted(*args), 100, halted=False)


def ring_of(agent: str, model: str, channel: str) -> int:
    """Where an agent stands among all, 0 to 99: the same for ever, and another one for another channel."""
    digest = blake3(f"{agent}\n{model}@{channel}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % 100


def _seconds(stamp: str) -> float:
    """Seconds since 1970 of `2026-12-31T00:00:00Z`; a date that does not exist is past."""
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0
