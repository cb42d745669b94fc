"""Versions, channels, their moves and what runs, as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from git_lepton.release.channels import Channel
from git_lepton.release.deployed import Running
from git_lepton.release.history import date_of, seconds_of, stamp
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Move
from git_lepton.release.policy import Finding
from git_lepton.release.proposals import Proposal
from git_lepton.release.signing import Signature
from git_lepton.release.tagging import Naming
from git_lepton.report.listing import SHORT
from git_lepton.report.table import printable, safe, table
from git_lepton.report.units import counted, size
from git_lepton.transfer.need import Needs

_MARKS: Final = {"ok": "ok", "note": "note", "failed": "FAILED", "refused": "REFUSED", "inconclusive": "UNDECIDED"}
_WHY: Final = 60
"""Columns of a reason in a table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the diary: a move, the one before it that asked for anything, and who signed."""

    entry: LogEntry
    before: Move | None
    signature: Signature


@dataclass(frozen=True, slots=True)
class Row:
    """One channel and who signed its tag."""

    channel: Channel
    signature: Signature


def when(time: float) -> str:
    """A time in a table or diary: `2026-05-03 12:00 UTC`."""
    return date_of(time).strftime("%Y-%m-%d %H:%M UTC")


def who(move: Move, signature: Signature) -> str:
    """Who moved a channel, as far as that is known."""
    by = safe(move.by)
    match signature.state:
        case "good":
            return safe(signature.principal)
        case "bad":
            return f"{by} (BAD SIGNATURE: {safe(signature.problem)})"
        case "unsigned":
            return f"{by} (unsigned)"
        case _:
            return f"{by} (signature not checked)"


def findings_text(findings: Iterable[Finding]) -> str:
    """A line for each finding, and what to do below those that stand in the way."""
    lines = []
    for finding in findings:
        lines.append(f"  {_MARKS[finding.level]:<9}  {safe(finding.text)}")
        if finding.hint and finding.level != "ok":
            lines.append(f"{'':13}{safe(finding.hint)}")
    return "\n".join(lines)


def finding_fields(finding: Finding) -> dict[str, Any]:
    """The same for programs."""
    return {"level": finding.level, "topic": finding.topic, "text": finding.text, "hint": finding.hint or None}


def proposal_text(proposal: Proposal) -> str:
    """What a move would do, and what speaks for and against it."""
    planned = proposal.plan
    move = planned.move
    name = f"{move.model}@{move.channel}"
    signed = "signed" if planned.sign else "unsigned"
    lines = [f"{name} on {safe(planned.remote)}: {change(move, _wanted(planned.before))} (move {move.seq}, {signed})"]
    lines += [f"  {line}" for line in printable(move.why).splitlines()]
    if move.expires is not None:
        lines.append(f"  counts until {move.expires}")
    if proposal.findings:
        lines.append(findings_text(proposal.findings))
    first = [*_weights(proposal.needs), *(f"the tag {move.model}@v{version}" for version in proposal.tag)]
    if first:
        lines.append(f"  first to {safe(planned.remote)}: {', '.join(first)}")
    return "\n".join(lines)


def _weights(needs: Needs) -> list[str]:
    total = sum(found[0].size for found in needs.values())
    return [f"{counted(len(needs), 'weight file')} ({size(total)})"] if needs else []


def _wanted(channel: Channel | None) -> Move | None:
    if channel is None:
        return None
    return channel.last.move if channel.last is not None else channel.move


def change(move: Move, before: Move | None) -> str:
    """What a move changes: `promote 1.2.0 -> 1.3.0 for 10% of agents`."""
    then = str(before.version) if before is not None and before.version is not None else ""
    now = str(move.version) if move.version is not None else "nothing"
    what = f"{then} -> {now}" if then and then != now else now
    variant = f" ({move.variant})" if move.variant else ""
    ring = f" for {move.ring}% of agents" if move.ring < 100 else ""
    return f"{move.action} {what}{variant}{ring}"


def move_fields(move: Move) -> dict[str, Any]:
    """A move for programs."""
    return {
        "model": move.model,
        "channel": move.channel,
        "seq": move.seq,
        "action": move.action,
        "version": None if move.version is None else str(move.version),
        "commit": move.commit,
        "bundle": move.bundle,
        "record": move.record,
        "prev": move.prev,
        "variant": move.variant or "original",
        "ring": move.ring,
        "by": move.by,
        "expires": move.expires,
        "why": move.why,
    }


def proposal_fields(proposal: Proposal, *, moved: Channel | None) -> dict[str, Any]:
    """A proposal, and the channel after it was carried out."""
    return {
        "remote": proposal.plan.remote,
        "move": move_fields(proposal.plan.move),
        "signed": proposal.plan.sign,
        "exit_code": proposal.exit_code,
        "findings": [finding_fields(finding) for finding in proposal.findings],
        "weights_first": [
            {"path": found[0].path, "blake3": digest, "size": found[0].size} for digest, found in proposal.needs.items()
        ],
        "tags_first": [f"{proposal.plan.move.model}@v{version}" for version in proposal.tag],
        "already": proposal.is_there,
        "moved": moved is not None,
        "tag": None if moved is None else moved.tag_oid,
    }


def naming_text(naming: Naming) -> str:
    """What a version would name."""
    release = naming.release
    files = counted(len(naming.candidate.located.parts), "file")
    lines = [
        f"{release.model}@v{release.version}: commit {release.commit[:10]}, {files}, "
        f"{size(naming.candidate.located.bundle.size)}, bundle {(release.bundle or '')[:SHORT]}",
        findings_text(naming.findings),
    ]
    return "\n".join(filter(None, lines))


def naming_fields(naming: Naming, *, tag: str | None, pushed: bool) -> dict[str, Any]:
    """The same for programs; `tag` is the object that was made."""
    release = naming.release
    return {
        "model": release.model,
        "version": str(release.version),
        "commit": release.commit,
        "bundle": release.bundle,
        "record": release.record,
        "findings": [finding_fields(finding) for finding in naming.findings],
        "tag": tag,
        "pushed": pushed,
    }


def state_of(channel: Channel, signature: Signature, now: float) -> list[str]:
    """What is special about a channel, in a few words each."""
    move = channel.move
    words = [f"BROKEN: {channel.flaw}"] if channel.flaw else ["plain"] if move is None else []
    if signature.state == "bad":
        words.append("BAD SIGNATURE")
    if move is not None:
        words += {"halt": ["halted"], "pin": ["pinned"]}.get(move.action, [])
        words += [f"for {move.ring}% of agents"] if move.ring < 100 else []
        words += [move.variant] if move.variant else []
        words += ["EXPIRED"] if move.expires is not None and seconds_of(move.expires) <= now else []
    return words


def as_of_text(time: float, remote: str) -> str:
    """How old an answer is that nobody was asked for."""
    return f"as of {when(time)}, when {safe(remote)} was last asked" if time else f"{safe(remote)} was never asked"


def channels_text(rows: Sequence[Row], remote: str, now: float, as_of: float | None = None) -> str:
    """A line for each channel; `as_of` where nobody was asked."""
    head = f"{as_of_text(as_of, remote)}\n" if as_of is not None else ""
    if not rows:
        return f"{head}no channels on {safe(remote)}: git lepton promote MODEL CHANNEL -m WHY --push makes one"
    cells = [_channel_row(row, now) for row in rows]
    return head + table(cells, header=("model", "channel", "version", "since", "who", "why", ""))


def _channel_row(row: Row, now: float) -> tuple[str, ...]:
    channel, move = row.channel, row.channel.move
    state = safe(", ".join(state_of(channel, row.signature, now)))
    if move is None:
        what = channel.tag.target[:10] if channel.is_plain else "?"
        since = when(channel.tag.time) if channel.tag.time else "-"
        why = channel.tag.message.partition("\n")[0]
        return (channel.model, channel.channel, what, since, safe(channel.tag.tagger) or "-", _short(why), state)
    time = channel.last.time if channel.last is not None else channel.tag.time
    version = str(move.version) if move.version is not None else "-"
    return (channel.model, channel.channel, version, when(time), who(move, row.signature), _short(move.why), state)


def _short(why: str) -> str:
    line = safe(why.partition("\n")[0])
    return line if len(line) <= _WHY else line[: _WHY - 1] + "…"


def channel_fields(row: Row, now: float) -> dict[str, Any]:
    """A channel for programs."""
    channel = row.channel
    time = channel.last.time if channel.last is not None else channel.tag.time
    return {
        "model": channel.model,
        "channel": channel.channel,
        "tag": channel.tag_oid,
        "commit": channel.tag.target,
        "plain": channel.is_plain,
        "flaw": channel.flaw or None,
        "since": stamp(time) if time else None,
        "state": state_of(channel, row.signature, now),
        "signature": _signature_fields(row.signature),
        "move": None if channel.move is None else move_fields(channel.move),
    }


def _signature_fields(signature: Signature) -> dict[str, Any]:
    return {
        "state": signature.state,
        "principal": signature.principal or None,
        "problem": signature.problem or None,
    }


def diary_text(entries: Sequence[Entry]) -> str:
    """The moves of a channel as a diary, in the order given: when, what, who, and why below it."""
    rows = [
        (
            when(one.entry.time),
            change(one.entry.move, one.before) + _until(one.entry.move),
            f"move {one.entry.move.seq}",
            who(one.entry.move, one.signature),
        )
        for one in entries
    ]
    lines = []
    for line, one in zip(table(rows).split("\n") if rows else [], entries, strict=True):
        lines.append(line)
        lines += [f"    {safe(text)}".rstrip() for text in one.entry.move.why.splitlines()]
    return "\n".join(lines)


def _until(move: Move) -> str:
    return f" until {move.expires}" if move.expires is not None else ""


def wanted_text(name: str, time: float, entries: Sequence[Entry]) -> str:
    """What a channel asked for at a time."""
    if not entries:
        return f"{name} was not there yet at {when(time)}"
    lines = [f"wanted of {name} at {when(time)}:"]
    for number, one in enumerate(entries):
        move = one.entry.move
        version = str(move.version) if move.version is not None else "nothing"
        ring = f" by {move.ring}% of agents" if move.ring < 100 else " by the others" if number else ""
        halted = ", halted" if move.action == "halt" else ""
        lines.append(
            f"  {version}{ring}{halted}{_until(move)}  commit {move.commit[:10]}, bundle {move.bundle[:SHORT]}, since "
            f"{when(one.entry.time)} (move {move.seq}), {who(move, one.signature)}"
        )
        lines += [f"      {safe(text)}".rstrip() for text in move.why.splitlines()]
    return "\n".join(lines)


def entry_fields(one: Entry) -> dict[str, Any]:
    """A line of the diary for programs."""
    before = one.before.version if one.before is not None else None
    return {
        "time": stamp(one.entry.time),
        "from": None if before is None else str(before),
        "tag": one.entry.tag_oid,
        "signature": _signature_fields(one.signature),
        "move": move_fields(one.entry.move),
    }


def deployed_text(
    running: Sequence[Running], wanted: Mapping[tuple[str, str], Move], broken: Sequence[str], at: float | None
) -> str:
    """A line for each agent and model, beside what its channel wants."""
    lines = [] if at is None else [f"what ran at {when(at)}:"]
    rows = [_running_row(one, wanted.get((one.model, one.channel)) if at is None else None) for one in running]
    if rows:
        lines.append(table(rows, header=("agent", "model", "channel", "version", "since", "told", "")))
    else:
        lines.append("no agent tells what it runs: status in agent.toml, or --prometheus URL")
    return "\n".join([*lines, *(f"not a report: {safe(text)}" for text in broken)])


def _running_row(one: Running, wanted: Move | None) -> tuple[str, ...]:
    version = f"{safe(one.version)} ({safe(one.variant)})" if one.variant else safe(one.version) or one.bundle[:SHORT]
    state = safe(one.problem)
    if not state and wanted is not None and wanted.version is not None and one.version != str(wanted.version):
        state = f"wanted: {wanted.version}" + (f" by {wanted.ring}% of agents" if wanted.ring < 100 else "")
    if not state and one.ready is False:
        state = "not ready"
    since, told = (when(time) if time else "-" for time in (one.since, one.told))
    return (safe(one.agent), safe(one.model), safe(one.channel), version or "nothing", since, told, state)


def running_fields(one: Running) -> dict[str, Any]:
    """The same for programs."""
    return {
        "agent": one.agent,
        "model": one.model,
        "channel": one.channel,
        "version": one.version or None,
        "bundle": one.bundle or None,
        "variant": one.variant or "original",
        "since": stamp(one.since) if one.since else None,
        "ready": one.ready,
        "told": stamp(one.told) if one.told else None,
        "problem": one.problem or None,
        "source": one.source,
    }
