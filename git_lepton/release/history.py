"""What a channel's log says about time: what was wanted when, what came before what, how long a version was there.

Pure functions of the entries as `log.read` gives them, the newest first. Order is that of the log; the time of an entry
is the clock of whoever moved the channel, and only answers questions about time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from git_lepton.errors import UsageError, VerificationError
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Move
from git_lepton.release.names import Version
from git_lepton.values import Oid

_AGO: Final = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)[a-z]*(?:\s+ago)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LAST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


def stamp(time: float) -> str:
    """A time as moves and reports spell it: 2026-05-03T12:00:00Z."""
    return date_of(time).strftime(STAMP)


def date_of(time: float) -> datetime:
    """A time in UTC; one that no calendar has, as somebody's clock may say, is the first or the last that it has."""
    return datetime.fromtimestamp(min(max(time, 0), _LAST), UTC)


def seconds_of(text: str) -> float:
    """The time that `stamp` spelled. Raises UsageError for anything else."""
    try:
        return datetime.strptime(text, STAMP).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise UsageError(f"not a time such as 2026-05-03T12:00:00Z: {text!r}") from error


def duration(text: str) -> float:
    """Seconds of `90s`, `5m`, `36h`, `30d` or `2w`. Raises UsageError for anything else."""
    found = _AGO.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"not a length of time: {text!r}", hint="such as 90m, 36h, 30d or 2w")
    return float(int(found[1]) * _SECONDS[found[2]])


def moment(text: str, now: float) -> float:
    """The time that a person means: `2026-05-03`, `2026-05-03 12:00`, with a zone or in that of this machine, `3d ago`.

    A day alone means its end, since "what was wanted on that day" asks for what it came to.

    Raises:
        UsageError: it is none of these.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip())
        end = 86_399 if re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", text.strip()) else 0
        return found.astimezone().timestamp() + end
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"not a time: {text!r}", hint="such as 2026-05-03, '2026-05-03 12:00', 2026-05-03T12:00:00Z or '3d ago'"
        ) from error


def wanted_at(entries: Iterable[LogEntry], time: float) -> list[LogEntry]:
    """The entries in force at a time, the newest first: several where the newer ones are for a ring of agents only."""
    found: list[LogEntry] = []
    for entry in entries:
        if entry.time <= time and (not found or entry.move.ring > found[-1].move.ring):
            found.append(entry)
            if entry.move.ring == 100:
                break
    return found


def is_same(one: Move, two: Move) -> bool:
    """Whether two moves ask for the same files."""
    return (one.version, one.commit, one.bundle) == (two.version, two.commit, two.bundle)


def releases(entries: Sequence[LogEntry]) -> list[Move]:
    """What the channel served and could go back to, the present last.

    A promotion is put on top; a rollback takes what was above its version away, so that the next one leads further back
    and never to a version that was taken back. One to a version that was taken back itself puts that on top again.
    """
    stack: list[Move] = []
    for entry in reversed(entries):
        move = entry.move
        if move.action == "halt" or (stack and is_same(stack[-1], move)):
            continue
        if move.action == "rollback" and any(is_same(one, move) for one in stack):
            while not is_same(stack[-1], move):
                stack.pop()
        if not stack or not is_same(stack[-1], move):
            stack.append(move)
    return stack


def back(entries: Sequence[LogEntry], steps: int) -> Move:
    """The release so many steps before the present one.

    Raises:
        UsageError: there are not so many.
    """
    stack = releases(entries)
    if not 1 <= steps < len(stack):
        raise UsageError(
            f"there is nothing {steps} step{'s' * (steps != 1)} back: {max(0, len(stack) - 1)} earlier release(s)",
            hint="git lepton log MODEL@CHANNEL shows all of them; --to names one",
        )
    return stack[-1 - steps]


def served(entries: Iterable[LogEntry], version: Version) -> Move:
    """The newest move that brought a version to the channel.

    Raises:
        VerificationError: none did.
    """
    for entry in entries:
        if entry.move.version == version and entry.move.action != "halt":
            return entry.move
    raise VerificationError(
        f"{version} was never on this channel, so that nobody can go back to it",
        reason="version",
        hint="git lepton promote brings a version that is new to a channel",
    )


def stay(entries: Sequence[LogEntry], version: Version | None, commit: Oid, now: float) -> float | None:
    """The longest time in seconds that a version was on the channel without a break; None when it never was."""
    longest: float | None = None
    since: float | None = None
    for entry in reversed(entries):
        move = entry.move
        is_there = (move.version, move.commit) == (version, commit) and move.action != "halt"
        if since is not None and not is_there:
            longest = max(longest or 0.0, entry.time - since)
            since = None
        elif since is None and is_there:
            since = entry.time
    if since is not None:
        longest = max(longest or 0.0, now - since)
    return longest
