"""What a log says about time, on values alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from git_lepton.errors import UsageError, VerificationError
from git_lepton.release.history import (
    back,
    date_of,
    duration,
    moment,
    releases,
    seconds_of,
    served,
    stamp,
    stay,
    wanted_at,
)
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Action, Move
from git_lepton.release.names import Version
from git_lepton.release.tagobject import TagObject
from git_lepton.values import Hash, Oid

COMMIT = Oid("c" * 40)


def log(*moves: tuple[Action, str] | tuple[Action, str, int]) -> list[LogEntry]:
    """A log of these moves, given the oldest first, an hour apart."""
    tag = TagObject(COMMIT, "commit", "", "", 0, "", False)
    found = []
    for number, (action, version, *ring) in enumerate(moves, start=1):
        move = Move(
            *("m", "prod", number, action, Version.parse(version), COMMIT, Hash(f"{version[2]}" * 64)),
            ring=ring[0] if ring else 100,
        )
        found.append(LogEntry(Oid(f"{number:040}"), number * 3600, Oid("f" * 40), tag, move))
    return found[::-1]


def test_rollbacks_take_releases_away() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0"), ("promote", "1.2.0"), ("rollback", "1.1.0"))
    assert [str(move.version) for move in releases(entries)] == ["1.0.0", "1.1.0"]
    assert str(back(entries, 1).version) == "1.0.0"
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0"), ("rollback", "1.0.0"), ("promote", "1.2.0"))
    assert [str(move.version) for move in releases(entries)] == ["1.0.0", "1.2.0"]


def test_a_rollback_to_what_was_taken_back_can_be_undone() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0"), ("rollback", "1.0.0"), ("rollback", "1.1.0"))
    assert [str(move.version) for move in releases(entries)] == ["1.0.0", "1.1.0"]
    assert str(back(entries, 1).version) == "1.0.0"


def test_halts_rings_and_resumes_are_no_releases() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0", 10), ("halt", "1.1.0"), ("promote", "1.1.0", 100))
    assert [str(move.version) for move in releases(entries)] == ["1.0.0", "1.1.0"]
    for steps in (0, 2):
        with pytest.raises(UsageError):
            back(entries, steps)
    with pytest.raises(UsageError):
        back([], 1)


def test_only_what_was_served_can_be_gone_back_to() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0"), ("halt", "1.1.0"))
    assert served(entries, Version.parse("1.0.0")).seq == 1
    assert served(entries, Version.parse("1.1.0")).seq == 2
    with pytest.raises(VerificationError):
        served(entries, Version.parse("3.0.0"))


def test_what_was_wanted_when() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0", 10), ("promote", "1.1.0", 50), ("promote", "1.1.0"))
    assert [e.move.seq for e in wanted_at(entries, 3 * 3600)] == [3, 1], "a wider ring covers a narrower one"
    assert [e.move.seq for e in wanted_at(entries, 3600)] == [1]
    assert wanted_at(entries, 3599) == []
    assert [e.move.seq for e in wanted_at(entries, 1e9)] == [4]


def test_a_stay_is_without_a_break() -> None:
    entries = log(("promote", "1.0.0"), ("promote", "1.1.0"), ("promote", "1.0.0"))
    version = Version.parse("1.0.0")
    assert stay(entries, version, COMMIT, 3 * 3600 + 60) == 3600
    assert stay(entries, version, COMMIT, 5 * 3600) == 2 * 3600
    assert stay(entries, Version.parse("2.0.0"), COMMIT, 1e9) is None


def test_times_as_people_write_them() -> None:
    now = datetime(2026, 5, 10, tzinfo=UTC).timestamp()
    assert moment("2026-05-03T12:00:00Z", now) == datetime(2026, 5, 3, 12, tzinfo=UTC).timestamp()
    assert moment("2026-05-03 12:00+02:00", now) == datetime(2026, 5, 3, 10, tzinfo=UTC).timestamp()
    assert moment("2026-05-03", now) - moment("2026-05-03 00:00", now) == 86_399, "a day means its end"
    assert moment("3d ago", now) == moment("3 days ago", now) == moment("72h", now) == now - 3 * 86_400
    for text in ("", "yesterday noon", "2026-13-01", "99999-01-01", "-3d"):
        with pytest.raises(UsageError):
            moment(text, now)
    assert (duration("36h"), duration(" 30d ")) == (36 * 3600.0, 30 * 86_400.0)
    for text in ("0s", "1y", "", "1.5h"):
        with pytest.raises(UsageError):
            duration(text)


def test_stamps_are_read_back_and_no_clock_breaks_them() -> None:
    assert seconds_of(stamp(1_700_000_000)) == 1_700_000_000
    assert (date_of(-5).year, date_of(1e300).year) == (1970, 9999)
    with pytest.raises(UsageError):
        seconds_of("2026-02-30T00:00:00Z")
