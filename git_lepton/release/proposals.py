"""The four moves of a channel, each first as a proposal that can be printed, then carried out.

    promote   a version that is to run; the policy of the channel decides (`policy`)
    rollback  back to a release that the channel has served; it was judged then, so only its content is looked at
    halt      agents keep what they have, until
    resume    the version that the channel has is wanted again, unpinned

A proposal changes nothing. Carrying it out pushes what the remote lacks, weights first, and then moves the channel by
one compare-and-swap: if that fails, the remote has some weights or a version tag more, and nothing points to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from git_lepton.config.values import ChannelSettings
from git_lepton.errors import UsageError, VerificationError
from git_lepton.git.lstree import rev_parse
from git_lepton.release import candidate as candidates
from git_lepton.release import history, moves, policy, versions
from git_lepton.release.candidate import Candidate
from git_lepton.release.channels import Channel
from git_lepton.release.desk import Desk
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Action, Move
from git_lepton.release.names import Version, check_name
from git_lepton.release.policy import Case, Finding
from git_lepton.release.signing import Trust, verify
from git_lepton.transfer.need import Needs
from git_lepton.values import Oid


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of any move.

    Attributes:
        why: the reason.
        by: who, as git knows them.
        sign: make a signed tag.
        now: seconds since 1970.
        ring: share of agents, 1 to 100.
        expires: seconds until agents no longer follow; None for what the channel's policy has.
        trust: whose signatures count here, if anybody knows.
    """

    why: str
    by: str
    sign: bool
    now: float
    ring: int = 100
    expires: float | None = None
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A move, what speaks for and against it, and what has to be pushed with it.

    Attributes:
        plan: the move.
        findings: see `policy`.
        needs: weights that the remote lacks and that are here.
        tag: version tags that the remote lacks.
        is_there: the channel says this already.
        promoters: principals one of whom must have signed; empty for everybody.
    """

    plan: moves.Plan
    findings: Sequence[Finding]
    needs: Needs = field(default_factory=dict)
    tag: Mapping[Version, Oid] = field(default_factory=dict)
    is_there: bool = False
    promoters: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when it may be carried out."""
        return policy.exit_code(self.findings)


def promote(desk: Desk, version: Version | None, channel: str, wish: Wish, *, pin: bool = False) -> Proposal:
    """A version is to run.

    Args:
        desk: where.
        version: which; None for that of the channel that comes before by policy, else that of HEAD.
        channel: where to.
        wish: see `Wish`.
        pin: later promotions are refused until somebody resumes.

    Raises:
        UsageError: there is no such version, or it is not clear which is meant.
        VerificationError: its tag is not to be believed.
    """
    settings, before = desk.settings(channel), desk.channel(channel)
    release = desk.release(version or _natural(desk, settings))
    desk.have(release.commit)
    candidate = candidates.read(desk.repo, desk.objects, desk.model, release.commit)
    variant = settings.variant
    found: list[Finding] = []
    if release.bundle not in {None, candidate.located.bundle.hash} or (
        release.bundle is not None and release.record != candidate.record_hash
    ):
        text = f"the tag of {release.version} was made for other content than its commit has"
        found.append(Finding("refused", "version", text, "tag a new version"))
    has_variant = not variant or candidate.variant(variant) is not None
    action: Action = "pin" if pin else "promote"
    move = _move(desk, channel, action, wish, settings, candidate, release.version, variant if has_variant else "")
    case = Case(
        candidate,
        replace(move, variant=variant),
        settings,
        tuple(desk.policy.channels),
        before,
        _trail(desk, settings.after, release.version, wish) if settings.after else (),
        desk.ci(candidate) if policy.wants_ci(candidate.record, settings) else {},
        wish.sign,
        wish.trust is not None,
        wish.now,
    )
    found += policy.judge(case)
    found += _expiry(settings, wish)
    needs, weights = desk.weights(candidate.needs(candidate.forms(variant)))
    tagged = desk.versions[release.version]
    tag = {release.version: tagged.here} if tagged.there is None and tagged.here is not None else {}
    planned = moves.plan(move, before, desk.remote, sign=wish.sign)
    there = before.move if before is not None and not before.flaw else None
    is_there = there is not None and _says_the_same(there, planned.move, wish)
    return Proposal(planned, [*found, *weights], needs, tag, is_there, settings.promoters)


def rollback(desk: Desk, channel: str, wish: Wish, *, to: Version | None = None, steps: int = 1) -> Proposal:
    """Back to an earlier release of the channel: exactly what was signed then, under a new number.

    Raises:
        UsageError: there is no such release.
        VerificationError: the version was never on the channel.
        CorruptError: the log is damaged.
    """
    before = _present(desk, channel)
    entries = desk.entries(before)
    back = history.back(entries, steps) if to is None else history.served(entries, to)
    return _again(desk, channel, "rollback", wish, back, entries)


def halt(desk: Desk, channel: str, wish: Wish) -> Proposal:
    """Agents are to keep what they have."""
    before = _present(desk, channel)
    last = _last(desk, before)
    move = _stamped(replace(last, action="halt", ring=100), wish, None)
    planned = moves.plan(move, before, desk.remote, sign=wish.sign)
    settings, found = _settings(desk, channel)
    found += _who(settings, before, wish)
    return Proposal(planned, found, is_there=last.action == "halt", promoters=settings.promoters)


def resume(desk: Desk, channel: str, wish: Wish) -> Proposal:
    """What the channel has is wanted again: a halt or a pin ends.

    The move is a promotion of the same version to the same ring, so that it needs no action of its own: whoever reads
    the log sees who let things go on, and why; where nothing is said, what it was that ended.
    """
    before = _present(desk, channel)
    last = _last(desk, before)
    if last.action not in {"halt", "pin"}:
        raise UsageError(f"{desk.model}@{channel} is neither halted nor pinned")
    entries = desk.entries(before)
    wanted = next((e.move for e in entries if e.move.action != "halt"), last)
    line, _, _ = last.why.partition("\n")
    wish = replace(wish, ring=wanted.ring, why=wish.why or f"Ends the {last.action}: {line}")
    return _again(desk, channel, "promote", wish, wanted, entries)


def carry_out(desk: Desk, proposal: Proposal, wish: Wish) -> Channel:
    """Push what is needed and move the channel.

    Raises:
        RaceLostError: somebody else was first; nothing moved.
        VerificationError: whoever signed may not move this channel.
        MissingError, UsageError, LeptonError: as `moves.carry_out` and `push_needed`.
    """
    desk.send(proposal.needs)
    for version, tag in proposal.tag.items():
        versions.publish(desk.repo, desk.remote, desk.model, version, tag)
    return moves.carry_out(desk.repo, desk.objects, proposal.plan, approve=_approval(desk, proposal, wish))


def _approval(desk: Desk, proposal: Proposal, wish: Wish) -> Callable[[Oid], None]:
    """What looks at the finished tag: a promoter whom lepton.toml names must have signed it."""

    def approve(tag: Oid) -> None:
        if proposal.promoters and wish.trust is not None:
            try:
                verify(desk.repo, tag, replace(wish.trust, principals=proposal.promoters))
            except VerificationError as error:
                error.hint = (
                    f"sign with a key that {wish.trust.allowed_signers} lists for {', '.join(proposal.promoters)}"
                )
                raise

    return approve


def _natural(desk: Desk, settings: ChannelSettings) -> Version:
    """The version that a person means who names none."""
    if not desk.versions:
        some = f"lepton.toml has: {', '.join(sorted(desk.policy.models))}; " if desk.policy.models else ""
        raise UsageError(f"{desk.model} has no version yet", hint=f"{some}git lepton tag {desk.model}")
    if settings.after is not None:
        earlier = desk.channel(settings.after)
        if earlier is None or earlier.move is None or earlier.move.version is None:
            raise UsageError(
                f"{desk.model}@{settings.after}, which comes before {settings.name}, has no version to take",
                hint=f"git lepton promote {desk.model} {settings.after} -m WHY --push",
            )
        return earlier.move.version
    head = rev_parse(desk.repo, "HEAD", kind="commit")
    for version in reversed(desk.versions):
        if desk.release(version).commit == head:
            return version
    raise UsageError(
        f"HEAD is no version of {desk.model}: which one is meant?",
        hint=f"git lepton tag {desk.model}; or: git lepton promote {desk.model}@v1.2.0 {settings.name}",
    )


def _move(
    desk: Desk,
    channel: str,
    action: Action,
    wish: Wish,
    settings: ChannelSettings,
    candidate: Candidate,
    version: Version,
    variant: str,
) -> Move:
    bundle = candidate.bundle(variant).hash
    move = Move(
        *(desk.model, check_name(channel, "channel"), 1, action, version, candidate.commit, bundle),
        record=candidate.record_hash,
        variant=variant,
    )
    return _stamped(move, wish, settings.expires)


def _stamped(move: Move, wish: Wish, expires: float | None) -> Move:
    """The move with what belongs to this person and this moment."""
    seconds = wish.expires if wish.expires is not None else expires
    until = None if seconds is None else history.stamp(wish.now + seconds)
    return replace(move, ring=wish.ring, by=wish.by, why=wish.why, expires=until)


def _expiry(settings: ChannelSettings, wish: Wish) -> list[Finding]:
    if settings.expires is None or wish.expires is None or wish.expires <= settings.expires:
        return []
    text = f"{settings.name} lets a move count for {policy.span(settings.expires)} at most"
    return [Finding("refused", "expiry", text, "a shorter --expires, or none")]


def _says_the_same(there: Move, wanted: Move, wish: Wish) -> bool:
    ours = (wanted.action, wanted.variant, wanted.ring)
    fresh = there.expires is None or history.seconds_of(there.expires) > wish.now
    return (
        history.is_same(there, wanted)
        and (there.action if there.action != "rollback" else "promote", there.variant, there.ring) == ours
        and fresh
        and wish.expires is None
    )


def _present(desk: Desk, channel: str) -> Channel:
    found = desk.channel(channel)
    if found is None:
        raise UsageError(f"there is no channel {desk.model}@{channel} on {desk.remote}", hint="git lepton channels")
    return found


def _last(desk: Desk, channel: Channel) -> Move:
    """The move that the log ends with, or that of a tag without log."""
    found = channel.last.move if channel.last is not None else channel.move
    if found is None:
        raise UsageError(
            f"{desk.model}@{channel.channel} was made with plain git, and is moved by it",
            hint=f"git push {desk.remote} :refs/tags/{desk.model}@{channel.channel}  deletes it once",
        )
    return found


def _settings(desk: Desk, channel: str) -> tuple[ChannelSettings, list[Finding]]:
    """The policy of a channel for a move that must not wait for somebody to mend lepton.toml."""
    try:
        return desk.settings(channel), []
    except UsageError as error:
        text = f"lepton.toml is not valid, so its policy was not looked at: {error.message}"
        return ChannelSettings(channel), [Finding("note", "channel", text)]


def _trail(desk: Desk, channel: str, version: Version, wish: Wish) -> list[LogEntry]:
    """The log of the channel before, in which a version counts only where somebody put it who may.

    Whoever may push can write a log, but cannot sign for the promoters that lepton.toml names.
    """
    entries, promoters = desk.entries(desk.channel(channel)), desk.settings(channel).promoters
    if not promoters or wish.trust is None:
        return entries
    trust = wish.trust
    return [
        entry
        for entry in entries
        if entry.move.version != version or desk.signature(entry, trust, promoters).state == "good"
    ]


def _vouched(
    desk: Desk, wish: Wish, wanted: Move, entries: Sequence[LogEntry], promoters: tuple[str, ...]
) -> list[Finding]:
    """Whether somebody signed the release that a new signature is to bring back.

    Whoever may push can write a log: nobody must be brought to sign what only that says.
    """
    entry = next((entry for entry in entries if entry.move == wanted), None)
    if not wish.sign or entry is None:
        return []
    signature = desk.signature(entry, wish.trust, promoters)
    if signature.state == "good":
        return [Finding("ok", "signature", f"move {wanted.seq}, which brought it, is signed by {signature.principal}")]
    if signature.state == "unchecked":
        text = f"nobody can tell here whether move {wanted.seq}, which brought it, is signed by one who may"
        return [Finding("note", "signature", text, "git config gpg.ssh.allowedSignersFile PATH")]
    text = f"move {wanted.seq}, which brought it, is not signed by one who may: {signature.problem or 'it is unsigned'}"
    hint = f"look at it, then: git lepton promote {wanted.model}@v{wanted.version} {wanted.channel} -m WHY --push"
    return [Finding("refused", "signature", text, hint)]


def _again(desk: Desk, channel: str, action: Action, wish: Wish, wanted: Move, entries: Sequence[LogEntry]) -> Proposal:
    """A release that the channel had, under a new number."""
    before = _present(desk, channel)
    settings, found = _settings(desk, channel)
    desk.have(wanted.commit)
    candidate = candidates.as_recorded(desk.repo, desk.objects, desk.model, wanted.commit)
    move = _stamped(replace(wanted, action=action), wish, settings.expires)
    found += [*_who(settings, before, wish), *_unchanged(candidate, wanted)]
    found += _vouched(desk, wish, wanted, entries, settings.promoters)
    needs, weights = desk.weights(candidate.needs(candidate.forms(wanted.variant)))
    planned = moves.plan(move, before, desk.remote, sign=wish.sign)
    is_there = action == "rollback" and _serves(before, wanted, wish.ring)
    return Proposal(planned, [*found, *weights], needs, {}, is_there, settings.promoters)


def _serves(channel: Channel, wanted: Move, ring: int) -> bool:
    """Whether the channel says so already."""
    move = channel.move
    if channel.flaw or move is None or move.action == "halt":
        return False
    return history.is_same(move, wanted) and move.ring == ring


def _who(settings: ChannelSettings, before: Channel, wish: Wish) -> list[Finding]:
    may = policy.promoters(settings, signs=wish.sign, knows_signers=wish.trust is not None)
    return [*policy.damage(before), *may]


def _unchanged(candidate: Candidate, wanted: Move) -> list[Finding]:
    """Whether the commit still has what was signed when the channel served it."""
    if candidate.record_hash != wanted.record or candidate.fault:
        why = candidate.fault or "its record is another one"
        return [Finding("refused", "record", f"{wanted.version} is not what it was when it was served: {why}")]
    if wanted.variant and candidate.variant(wanted.variant) is None:
        return [Finding("refused", "variant", f"{wanted.version} has no variant {wanted.variant} in its record")]
    if candidate.bundle(wanted.variant).hash != wanted.bundle:
        return [Finding("refused", "bundle", f"{wanted.version} has other files than when it was served")]
    return [Finding("ok", "record", f"{wanted.version} is what was served, bundle {wanted.bundle[:12]}")]
