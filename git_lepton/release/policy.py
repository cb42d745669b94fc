"""What must hold before a version may be promoted (docs/releases.md, "Policy").

Pure: everything that was read or asked comes in as a `Case`, and findings go out. What a finding of each level means:

    ok            was looked at, and holds
    note          a person should know it
    failed        a gate says no (exit 1)
    refused       something does not hold, or the policy forbids it (exit 5)
    inconclusive  a gate could not decide, and this channel wants it decided (exit 3)

Hooks can be skipped, so nothing here trusts that a commit was judged: the record must be there, be that of the files
beside it, and say so. An agent looks again by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from git_lepton.config.values import ChannelSettings
from git_lepton.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REFUSED
from git_lepton.gate.verdicts import GateVerdict
from git_lepton.record.values import Budgeted, Outcome, Record
from git_lepton.release.candidate import Candidate
from git_lepton.release.channels import Channel
from git_lepton.release.history import is_same, stay
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Move

Level = Literal["ok", "note", "failed", "refused", "inconclusive"]
Topic = Literal[
    "channel",
    "halted",
    "pinned",
    "order",
    "soak",
    "promoter",
    "record",
    "bundle",
    "variant",
    "gate",
    "ci",
    "expiry",
    "weights",
    "version",
    "tag",
    "signature",
    "log",
]
"""What a finding is about: one word of a fixed list, for programs."""

_IN_CI: Final = "in CI: git lepton gate --range A..B --publish"
_EXITS: Final[dict[Level, int]] = {
    "failed": EXIT_GATE_FAILED,
    "refused": EXIT_REFUSED,
    "inconclusive": EXIT_INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: a sentence, and what to do about it."""

    level: Level
    topic: Topic
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What a promotion is judged by.

    Attributes:
        candidate: the model at the version's commit.
        move: what is to be said.
        channel: its policy.
        named: the names of channels that lepton.toml has; where it has none, every name is allowed.
        before: what the channel points to now, or None.
        trail: the log of the channel that the version must have been on first, the newest entry first.
        ci: what CI found, by gate.
        signs: the tag will be signed.
        knows_signers: whether a file of allowed signers is known here.
        now: seconds since 1970.
    """

    candidate: Candidate
    move: Move
    channel: ChannelSettings
    named: Sequence[str]
    before: Channel | None
    trail: Sequence[LogEntry] = ()
    ci: Mapping[str, GateVerdict] = field(default_factory=dict)
    signs: bool = False
    knows_signers: bool = False
    now: float = 0.0


def exit_code(findings: Iterable[Finding]) -> int:
    """Of the worst finding: a failed gate before a refusal before an undecided gate."""
    levels = {finding.level for finding in findings}
    return next((code for level, code in _EXITS.items() if level in levels), EXIT_OK)


def wants_ci(record: Record | None, channel: ChannelSettings) -> bool:
    """Whether CI's verdicts can matter."""
    return record is not None and (channel.needs_ci or "pending" in record.verdicts)


def judge(case: Case) -> list[Finding]:
    """Everything that speaks for and against a promotion."""
    found = [*_named_there(case), *damage(case.before), *_held(case)]
    found += promoters(case.channel, signs=case.signs, knows_signers=case.knows_signers)
    return [*found, *_order(case), *content(case.candidate, case.channel, case.move.variant, case.ci)]


def damage(before: Channel | None) -> Iterator[Finding]:
    """A channel that is not to be believed: a move mends it."""
    if before is not None and before.flaw:
        yield Finding("note", "channel", f"the channel is damaged, and this move mends it: {before.flaw}")


def promoters(channel: ChannelSettings, *, signs: bool, knows_signers: bool) -> Iterator[Finding]:
    """Whether it could be told that whoever moves the channel may do so; who signs is looked at once it is signed.

    Args:
        channel: its policy.
        signs: the tag will be signed.
        knows_signers: a file of allowed signers is known here.
    """
    names = ", ".join(channel.promoters)
    if channel.promoters and not signs:
        yield Finding(
            "refused",
            "promoter",
            f"{channel.name} is moved by {names} alone, and this tag would not be signed",
            "git config user.signingKey PATH, and gpg.format ssh",
        )
    elif channel.promoters and not knows_signers:
        yield Finding(
            "refused",
            "promoter",
            f"{channel.name} is moved by {names} alone, and nobody can tell here whose key yours is",
            "git config gpg.ssh.allowedSignersFile PATH",
        )


def _named_there(case: Case) -> Iterator[Finding]:
    if case.named and case.channel.name not in case.named:
        yield Finding(
            "refused",
            "channel",
            f"lepton.toml has no channel {case.channel.name}",
            f"it has: {', '.join(sorted(case.named))}",
        )


def _held(case: Case) -> Iterator[Finding]:
    """A person halted or pinned the channel: a promotion must not undo that by the way."""
    last = case.before.last.move if case.before is not None and case.before.last is not None else None
    if last is None:
        return
    resume = f"git lepton resume {last.model} {last.channel} --push"
    why = f": {last.why}" if last.why else ""
    if last.action == "halt":
        yield Finding("refused", "halted", f"{last.channel} is halted by {last.by}{why}", resume)
    elif last.action == "pin" and case.move.action == "promote" and not is_same(last, case.move):
        text = f"{last.channel} is pinned to {last.version} by {last.by}{why}"
        yield Finding("refused", "pinned", text, f"{resume}; or --pin")


def _order(case: Case) -> Iterator[Finding]:
    """Whether the version was where it had to be first, for as long as it had to."""
    after = case.channel.after
    if after is None:
        return
    move = case.move
    been = stay(case.trail, move.version, move.commit, case.now)
    if been is None:
        yield Finding(
            "refused",
            "order",
            f"{move.version} was never on {after}, which comes before {case.channel.name}",
            f"git lepton promote {move.model}@v{move.version} {after} -m WHY --push",
        )
    elif been < case.channel.soak:
        left = case.channel.soak - been
        yield Finding(
            "refused", "soak", f"{move.version} was on {after} for {span(been)}, and {span(left)} are missing", "wait"
        )
    else:
        yield Finding("ok", "order", f"on {after} for {span(been)}")


def content(
    candidate: Candidate, channel: ChannelSettings, recipe: str, ci: Mapping[str, GateVerdict]
) -> Iterator[Finding]:
    """Whether the model is what its record says, and what its gates said of the original and of the variant."""
    again = f"git lepton gate --record {candidate.model}, commit, and tag a new version"
    if candidate.text is None:
        wanted = ", and this channel is critical" if channel.critical else ""
        text = f"{candidate.model} has no record at {candidate.commit[:10]}: no gate was ever run on it{wanted}"
        yield Finding("refused" if channel.critical or channel.needs_ci else "note", "record", text, again)
        return
    if candidate.record is None or candidate.fault:
        text = f"the record at {candidate.commit[:10]} does not hold: {candidate.fault}"
        yield Finding("refused", "record", text, again)
        return
    yield Finding("ok", "record", f"the record is that of bundle {candidate.located.bundle.hash[:12]}")
    if recipe and candidate.variant(recipe) is None:
        skipped = next((v.skipped for v in candidate.record.variant if v.recipe == recipe), "")
        yield Finding("refused", "variant", f"no variant {recipe}: {skipped or 'the record has none'}", again)
        return
    yield from _gates(candidate.record, channel, recipe, ci)


def _gates(record: Record, channel: ChannelSettings, recipe: str, ci: Mapping[str, GateVerdict]) -> Iterator[Finding]:
    outcomes = [_settled(found, ci) for found in record.outcome if found.variant in {"", recipe}]
    judged: list[Outcome | Budgeted] = [*outcomes, *(found for found in record.budget if found.variant in {"", recipe})]
    for each in judged:
        yield from _verdict(each, critical=channel.critical, needs_ci=channel.needs_ci)
    if channel.needs_ci:
        yield from _by_ci(record, channel, ci)
    passed = [_named(found) for found in outcomes if found.verdict == "pass"]
    if channel.critical and not passed:
        yield Finding(
            "refused",
            "gate",
            f"{channel.name} is critical and needs a passed gate, and none of {len(outcomes)} is one",
            "give a gate a limit in lepton.toml, such as min, so that it can pass",
        )
    elif passed:
        yield Finding("ok", "gate", f"passed: {', '.join(passed)}")
    elif not outcomes:
        yield Finding("note", "gate", f"{record.model} has no gate in lepton.toml")


def _settled(found: Outcome, ci: Mapping[str, GateVerdict]) -> Outcome:
    """An outcome after CI had its say: of a gate that was left to it, and of one that it found to fail."""
    verdict = ci.get(found.gate)
    by_ci = next((o for o in verdict.outcome if o.variant == found.variant), None) if verdict is not None else None
    return by_ci if by_ci is not None and (found.verdict == "pending" or by_ci.verdict == "fail") else found


def _verdict(found: Outcome | Budgeted, *, critical: bool, needs_ci: bool) -> Iterator[Finding]:
    name = _named(found)
    reason = f": {found.reason}" if found.reason else ""
    if found.verdict == "fail":
        yield Finding("failed", "gate", f"{name} failed{reason}")
    elif found.verdict == "not-measured":
        yield Finding("failed", "gate", f"{name} could not be measured{reason}")
    elif found.verdict == "inconclusive":
        level: Level = "inconclusive" if critical else "note"
        yield Finding(level, "gate", f"{name} is undecided{reason}", "more examples decide" if critical else "")
    elif found.verdict == "pending":
        text = f"{name} is left to CI, which has not judged it yet"
        yield Finding("refused" if critical or needs_ci else "note", "ci", text, _IN_CI)


def _by_ci(record: Record, channel: ChannelSettings, ci: Mapping[str, GateVerdict]) -> Iterator[Finding]:
    """Where a channel asks for CI's own word, of every gate."""
    gates = list(dict.fromkeys(found.gate for found in record.outcome))
    missing = [gate for gate in gates if gate not in ci]
    if missing or not gates:
        on = f" on {', '.join(missing)}" if missing else ": the model has no gate"
        yield Finding("refused", "ci", f"{channel.name} needs CI's verdict, and there is none{on}", _IN_CI)
    for gate, verdict in ci.items():
        if verdict.verdict in {"not-measured", "pending"}:
            yield Finding("refused", "ci", f"CI could not judge gate {gate}: {verdict.verdict}")


def _named(found: Outcome | Budgeted) -> str:
    what = f"gate {found.gate}" if isinstance(found, Outcome) else f"budget {found.kind}"
    return f"{what} of {found.variant}" if found.variant else what


def span(seconds: float) -> str:
    """A length of time as people say it: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"
