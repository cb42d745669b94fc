"""What agents report: written, read back, and everything else refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError, UsageError
from git_lepton.git.objects import open_reader
from git_lepton.release import status
from git_lepton.release.deployed import from_reports
from git_lepton.release.status import Ran, StatusReport, parse, ref_of, to_text
from git_lepton.values import Hash
from tests.release.team import make_people, refs
from tests.support import git

BUNDLE = Hash("b" * 64)
REPORT = StatusReport(
    *("eu-1", "digits", "prod", 3000.0, False),
    state="serving",
    desired_seq=3,
    seq=2,
    version="1.1.0",
    bundle=BUNDLE,
    problem="move 3 is not signed",
    history=(Ran(2000.0, 2, "1.1.0", BUNDLE, "promote"), Ran(1000.0, 1, "1.0.0", BUNDLE)),
)


def test_a_report_is_read_back() -> None:
    assert parse(to_text(REPORT)) == REPORT
    assert json.loads(to_text(REPORT))["schema"] == "git-lepton.status/1"


def test_a_report_tells_what_ran_when() -> None:
    assert [ran.version if (ran := REPORT.at(time)) else None for time in (999, 1000, 1999, 2000, 1e9)] == [
        None,
        "1.0.0",
        "1.0.0",
        "1.1.0",
        "1.1.0",
    ]
    assert [one.version for one in from_reports([REPORT], 1500.0)] == ["1.0.0"]
    assert list(from_reports([REPORT], 500.0)) == []
    assert [(one.since, one.problem) for one in from_reports([REPORT])] == [(2000.0, "move 3 is not signed")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "git-lepton.status/2"),
        ("agent", "../x"),
        ("model", "A"),
        ("channel", "v1"),
        ("time", "NaN"),
        ("time", float("nan")),
        ("ready", 1),
        ("bundle", "b" * 63),
        ("history", [{}]),
        ("history", [{"since": 1, "seq": 1, "version": "", "bundle": "b" * 64}] * 51),
        ("history", [{"since": float("inf"), "seq": 1, "version": "", "bundle": "b" * 64}]),
        ("unknown", 1),
    ],
)
def test_what_is_no_report_is_refused(key: str, value: Any) -> None:
    table = json.loads(to_text(REPORT)) | {key: value}
    with pytest.raises(FrameError):
        parse(json.dumps(table).encode())


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_parse_is_total(data: bytes, at: int) -> None:
    text = to_text(REPORT)
    for hostile in (data, text[:at] + data + text[at + len(data) :]):
        with suppress(FrameError):
            parse(hostile)


def test_reports_are_published_mirrored_and_go(tmp_path: Path, env: dict[str, str]) -> None:
    remote, (agent, person) = make_people(tmp_path, "agent", "person")
    status.publish(agent.repo, "origin", REPORT)
    status.publish(agent.repo, "origin", replace(REPORT, time=3001.0))
    status.publish(agent.repo, "origin", replace(REPORT, agent="eu-2"))
    status.refresh(person.repo, "origin")
    objects = open_reader(person.repo)
    found = list(status.mirrored(person.repo, objects, "origin"))
    assert [one.agent for one in found if isinstance(one, StatusReport)] == ["eu-1", "eu-2"]
    git(remote, "update-ref", "-d", ref_of("digits", "prod", "eu-2"))
    git(remote, "update-ref", ref_of("digits", "prod", "eu-3"), refs(remote)[ref_of("digits", "prod", "eu-1")])
    status.refresh(person.repo, "origin")
    found = list(status.mirrored(person.repo, objects, "origin"))
    assert [one if isinstance(one, str) else one.agent for one in found] == [
        "eu-1",
        "digits@prod/eu-3: it is the status of something else",
    ]
    with pytest.raises(UsageError):
        ref_of("digits", "prod", "a b")
