"""Moving a channel: planned from what the remote has now, then one compare-and-swap push (docs/releases.md, "Moves").

Of two people who move a channel at once exactly one wins, since the push names what tag and log must still be there,
and the remote takes both or neither. The refspecs have no `+` and the command no `--force`: either would void the
lease. Nothing moves in this repository before the remote has accepted, so a loser has nothing to restore but is told
who won.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from git_lepton.errors import LeptonError, RaceLostError, VerificationError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.remote import push
from git_lepton.git.repo import Repo
from git_lepton.release import log, message
from git_lepton.release.channels import MIRROR, Channel, find, mirrored, refresh
from git_lepton.release.message import Move
from git_lepton.release.names import channel_ref, log_ref
from git_lepton.release.signing import make_tag
from git_lepton.values import Oid


@dataclass(frozen=True, slots=True)
class Plan:
    """A move that can be carried out.

    Attributes:
        remote: where the channel lives.
        before: what it points to now, None when it is new.
        move: what it will say.
        sign: whether the tag will be signed.
    """

    remote: str
    before: Channel | None
    move: Move
    sign: bool


def plan(wanted: Move, before: Channel | None, remote: str, *, sign: bool) -> Plan:
    """Number the move and link it to the one before: that of the tag, or of the log where the tag is not its newest.

    Raises:
        VerificationError: the channel's tag was made with plain git, or is damaged, and there is no log to go on from.
    """
    if before is None:
        return Plan(remote, None, replace(wanted, seq=1, prev=None), sign)
    if before.last is not None:
        seq, prev = before.last.move.seq, before.last.tag_oid
    elif before.move is not None:
        seq, prev = before.move.seq, before.tag_oid
    else:
        raise VerificationError(
            f"{wanted.model}@{wanted.channel} is {'a plain tag' if before.is_plain else 'damaged'}, "
            "which has no sequence number to go on from",
            reason="malformed",
            hint=f"delete it once: git push {remote} :{channel_ref(wanted.model, wanted.channel)}",
        )
    return Plan(remote, before, replace(wanted, seq=seq + 1, prev=prev), sign)


def carry_out(
    repo: Repo, objects: ObjectReader, planned: Plan, *, approve: Callable[[Oid], None] = lambda _tag: None
) -> Channel:
    """Make the tag and its log entry, and push both if the channel is still as it was planned from.

    Args:
        repo: where from.
        objects: of it.
        planned: the move.
        approve: sees the tag object before anything is pushed, and raises what is to stop it.

    Raises:
        RaceLostError: somebody else moved the channel first; says who. Nothing moved.
        UsageError: the tag cannot be signed.
        MissingError: the remote cannot be reached.
        LeptonError: the remote refused for a reason of its own.
    """
    move, before = planned.move, planned.before
    ref, log_name = channel_ref(move.model, move.channel), log_ref(move.model, move.channel)
    name = f"{move.model}@{move.channel}"
    tag = make_tag(repo, name, move.commit, message.render(move), sign=planned.sign)
    approve(tag)
    tip = log.append(repo, objects, tag, before.log if before else None)
    leases: dict[str, Oid | None] = {ref: _tag(before), log_name: before.log if before else None}
    results = push(repo, planned.remote, [f"{tag}:{ref}", f"{tip}:{log_name}"], atomic=True, leases=leases)
    refused = {r: result for r, result in results.items() if result.status == "rejected"}
    if refused:
        refresh(repo, planned.remote, model=move.model, channel=move.channel)
        now = find(mirrored(repo, objects, planned.remote), move.model, move.channel)
        if _tag(now) != leases[ref] or (now.log if now else None) != leases[log_name]:
            raise _lost(name, now)
        reason = next(iter(refused.values())).summary
        raise LeptonError(f"{planned.remote} refused to move {name}: {reason}", hint="nothing moved")
    _settle(repo, planned.remote, {ref: tag, log_name: tip})
    moved = find(mirrored(repo, objects, planned.remote), move.model, move.channel)
    assert moved is not None
    return moved


def _tag(channel: Channel | None) -> Oid | None:
    return channel.tag_oid if channel is not None and not channel.deleted else None


def _lost(name: str, now: Channel | None) -> RaceLostError:
    if now is None or now.deleted:
        return RaceLostError(f"{name} was deleted by somebody meanwhile; nothing moved", hint="git lepton channels")
    what = now.move.subject if now.move else now.tag.message.partition("\n")[0] or "a plain tag"
    by = now.move.by if now.move else now.tag.tagger or "somebody"
    return RaceLostError(f"{name} was moved by {by} first: {what}; nothing moved", hint=f"git lepton log {name}")


def _settle(repo: Repo, remote: str, moved: dict[str, Oid]) -> None:
    """After the remote has accepted: our own tag, log and mirror follow."""
    mirror = f"{MIRROR}{remote}/"
    commands = [f"update {ref} {oid}\n" for ref, oid in moved.items()]
    commands += [f"update {mirror}{ref.removeprefix('refs/')} {oid}\n" for ref, oid in moved.items()]
    repo.git("update-ref", "--stdin", input="".join(commands).encode())
