"""Everything about a channel that can be checked without running it, as an agent checks it before it swaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from git_lepton.errors import LeptonError, VerificationError
from git_lepton.release import candidate as candidates
from git_lepton.release import history, policy
from git_lepton.release.channels import Channel
from git_lepton.release.desk import Desk
from git_lepton.release.message import Move
from git_lepton.release.policy import Finding
from git_lepton.release.signing import Trust, verify


def check(desk: Desk, channel: Channel, trust: Trust | None, *, signed: bool, now: float) -> list[Finding]:
    """Look at everything that a channel rests on.

    Args:
        desk: where.
        channel: which.
        trust: whose signatures count; None makes the check of the signature fail.
        signed: look at the signature; a team that trusts whoever may push does not.
        now: seconds since 1970.
    """
    found: list[Finding] = []
    move = channel.move
    if channel.flaw:
        found.append(Finding("refused", "tag", channel.flaw))
    elif move is None:
        found.append(Finding("note" if not signed else "refused", "tag", "a plain tag: nobody said what is to run"))
    else:
        found.append(Finding("ok", "tag", f"move {move.seq}: {move.subject}"))
    if signed and not channel.deleted:
        found.append(_signature(desk, channel, trust))
    if move is None:
        return found
    found += _log(desk, channel, move)
    if move.expires is not None:
        level: policy.Level = "refused" if history.seconds_of(move.expires) <= now else "ok"
        found.append(Finding(level, "expiry", f"{'expired' if level == 'refused' else 'counts until'} {move.expires}"))
    return [*found, *_guarded("version", _version(desk, move)), *_guarded("bundle", _content(desk, move))]


def _signature(desk: Desk, channel: Channel, trust: Trust | None) -> Finding:
    if trust is None:
        hint = "--allowed-signers FILE, or git config gpg.ssh.allowedSignersFile; --unsigned leaves this out"
        return Finding("refused", "signature", "nobody can tell here whose signature counts", hint)
    try:
        promoters = desk.settings(channel.channel).promoters
        signer = verify(desk.repo, channel.tag_oid, replace(trust, principals=promoters))
    except LeptonError as error:
        return Finding("refused", "signature", error.message, error.hint or "")
    return Finding("ok", "signature", f"signed by {signer.principal}, key {signer.key}")


def _log(desk: Desk, channel: Channel, move: Move) -> Iterator[Finding]:
    try:
        entries = desk.entries(channel)
    except LeptonError as error:
        yield Finding("refused", "log", error.message)
        return
    if entries and not channel.flaw:
        yield Finding("ok", "log", f"{len(entries)} move(s), each linked to the one before")


def _version(desk: Desk, move: Move) -> Iterator[Finding]:
    if move.version is None:
        return
    release = desk.release(move.version)
    if release.commit != move.commit:
        yield Finding("refused", "version", f"the tag of version {move.version} points to another commit")
    elif desk.versions[move.version].there is None:
        yield Finding("refused", "version", f"{desk.remote} has no tag of version {move.version}")
    else:
        yield Finding("ok", "version", f"{desk.model}@v{move.version} is commit {move.commit[:10]}")


def _content(desk: Desk, move: Move) -> Iterator[Finding]:
    desk.have(move.commit)
    candidate = candidates.as_recorded(desk.repo, desk.objects, desk.model, move.commit)
    if candidate.record_hash != move.record or candidate.fault or (candidate.text and candidate.record is None):
        yield Finding("refused", "record", f"the record does not hold: {candidate.fault or 'it is another one'}")
        return
    if candidate.bundle(move.variant).hash != move.bundle:
        yield Finding("refused", "bundle", "the files of the commit are not those that the tag names")
        return
    what = f"variant {move.variant}" if move.variant else "the original"
    yield Finding("ok", "bundle", f"{what}, {len(candidate.bundle(move.variant).files)} file(s), {move.bundle[:12]}")
    settings = desk.settings(move.channel)
    ci = desk.ci(candidate) if policy.wants_ci(candidate.record, settings) else {}
    yield from policy.content(candidate, settings, move.variant, ci)
    lacking = desk.lacking(candidate.needs(candidate.forms(move.variant)))
    for why in lacking.values():
        yield Finding("refused", "weights", why, f"git lepton push {desk.remote}")
    if not lacking:
        yield Finding("ok", "weights", f"{desk.remote} has all of them")


def _guarded(topic: policy.Topic, found: Iterator[Finding]) -> Iterator[Finding]:
    """What was found until something could not be read, which is a finding too."""
    try:
        yield from found
    except LeptonError as error:
        at = "variant" if isinstance(error, VerificationError) and error.reason == "variant" else topic
        yield Finding("refused", at, error.message, error.hint or "")
