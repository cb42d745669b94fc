"""What may be promoted: every rule of the policy, on values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from git_lepton.config.values import ChannelSettings, ModelSettings
from git_lepton.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REFUSED
from git_lepton.gate.verdicts import GateVerdict
from git_lepton.record import bundle
from git_lepton.record.bundle import BundleFile
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.record.values import Budgeted, Outcome, Record, Variant, Verdict
from git_lepton.release.candidate import Candidate, Text
from git_lepton.release.channels import Channel
from git_lepton.release.log import LogEntry
from git_lepton.release.message import Action, Move
from git_lepton.release.names import Version
from git_lepton.release.policy import Case, Finding, exit_code, judge, span
from git_lepton.release.tagobject import TagObject
from git_lepton.values import Hash, Oid

DAY = 86_400.0
NOW = 100 * DAY
COMMIT = Oid("c" * 40)
FILE = BundleFile("m.onnx", 0o100644, 10, Hash("1" * 64))
WHOLE = bundle.make([FILE])
PROD = ChannelSettings("prod")
CRITICAL = replace(PROD, critical=True)
MOVE = Move("m", "prod", 1, "promote", Version.parse("1.0.0"), COMMIT, WHOLE.hash, by="Ada")
SMALL = BundleFile("m.onnx", 0o100644, 5, Hash("2" * 64))
INT8 = Variant("int8", 1, "", bundle.make([SMALL]).hash, "m.onnx", 5, (SMALL,))


def candidate(*outcomes: Outcome, fault: str = "", variant: tuple[Variant, ...] = (), **more: object) -> Candidate:
    record = Record("m", "", "m.onnx", WHOLE.hash, Hash("3" * 64), (FILE,), variant=variant, outcome=outcomes)
    record = replace(record, **more)  # type: ignore[arg-type]
    located = LocatedBundle((Part(FILE, Oid("b" * 40), None),))
    settings = ModelSettings("m", "", ("m.onnx",), "m.onnx")
    return Candidate("m", COMMIT, settings, True, located, Text(Oid("d" * 40), b"text"), record, fault)


def outcome(verdict: Verdict, gate: str = "accuracy", variant: str = "") -> Outcome:
    return Outcome(gate, variant, verdict, "because")


def entry(seq: int, time: float, action: Action = "promote", version: str = "1.0.0", **more: object) -> LogEntry:
    move = replace(MOVE, seq=seq, action=action, version=Version.parse(version), **more)  # type: ignore[arg-type]
    return LogEntry(Oid("e" * 40), int(time), Oid("f" * 40), TagObject(COMMIT, "commit", "", "", 0, "", False), move)


def said(case: Case) -> tuple[int, list[str]]:
    """The exit code, and the topics of what stands in the way."""
    found = judge(case)
    return exit_code(found), [f.topic for f in found if f.level not in {"ok", "note"}]


def case(found: Candidate, channel: ChannelSettings = PROD, **more: object) -> Case:
    base = Case(found, replace(MOVE, variant=channel.variant), channel, (), None, now=NOW)
    return replace(base, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcomes", "plain", "critical"),
    [
        (["pass"], EXIT_OK, EXIT_OK),
        (["pass", "recorded"], EXIT_OK, EXIT_OK),
        (["fail"], EXIT_GATE_FAILED, EXIT_GATE_FAILED),
        (["not-measured"], EXIT_GATE_FAILED, EXIT_GATE_FAILED),
        (["pass", "fail"], EXIT_GATE_FAILED, EXIT_GATE_FAILED),
        (["recorded"], EXIT_OK, EXIT_REFUSED),
        ([], EXIT_OK, EXIT_REFUSED),
        (["pass", "inconclusive"], EXIT_OK, EXIT_INCONCLUSIVE),
        (["inconclusive"], EXIT_OK, EXIT_REFUSED),
        (["pass", "pending"], EXIT_OK, EXIT_REFUSED),
    ],
)
def test_verdicts(outcomes: Sequence[Verdict], plain: int, critical: int) -> None:
    found = candidate(*(outcome(verdict, f"g{n}") for n, verdict in enumerate(outcomes)))
    assert said(case(found))[0] == plain
    assert said(case(found, CRITICAL))[0] == critical


def test_a_budget_that_failed_counts_as_a_gate_that_failed() -> None:
    found = candidate(outcome("pass"), budget=(Budgeted("size_bytes", "", "fail", 1.0),))
    assert said(case(found)) == (EXIT_GATE_FAILED, ["gate"])


def test_a_record_that_is_absent_or_does_not_hold() -> None:
    absent = replace(candidate(), text=None, record=None)
    assert said(case(absent)) == (EXIT_OK, [])
    assert said(case(absent, CRITICAL)) == (EXIT_REFUSED, ["record"])
    assert said(case(replace(candidate(), record=None, fault="not TOML"))) == (EXIT_REFUSED, ["record"])
    assert said(case(candidate(outcome("pass"), fault="it is about other files"))) == (EXIT_REFUSED, ["record"])


def test_the_variant_of_the_channel_must_be_there_and_hold() -> None:
    edge = ChannelSettings("prod", variant="int8")
    assert said(case(candidate(outcome("pass")), edge)) == (EXIT_REFUSED, ["variant"])
    skipped = candidate(outcome("pass"), variant=(Variant("int8", 1, "it grew"),))
    assert said(case(skipped, edge)) == (EXIT_REFUSED, ["variant"])
    assert "it grew" in next(f.text for f in judge(case(skipped, edge)) if f.topic == "variant")
    failed = candidate(outcome("pass"), outcome("fail", variant="int8"), variant=(INT8,))
    assert said(case(failed, edge)) == (EXIT_GATE_FAILED, ["gate"])
    assert said(case(failed)) == (EXIT_OK, []), "a channel that does not serve it does not mind"
    assert said(case(candidate(outcome("pass"), variant=(INT8,)), edge)) == (EXIT_OK, [])


def by_ci(verdict: Verdict) -> Mapping[str, GateVerdict]:
    found = GateVerdict("m", "accuracy", WHOLE.hash, Hash("4" * 64), verdict, COMMIT, outcome=(outcome(verdict),))
    return {"accuracy": found}


@pytest.mark.parametrize(
    ("recorded", "ci", "code"),
    [
        ("pending", "pass", EXIT_OK),
        ("pending", "fail", EXIT_GATE_FAILED),
        ("pending", "inconclusive", EXIT_REFUSED),
        ("pending", None, EXIT_REFUSED),
        ("pass", None, EXIT_REFUSED),
        ("pass", "pass", EXIT_OK),
        ("pass", "fail", EXIT_GATE_FAILED),
        ("pass", "pending", EXIT_REFUSED),
        ("fail", "pass", EXIT_GATE_FAILED),
    ],
)
def test_a_channel_that_needs_the_word_of_ci(recorded: Verdict, ci: Verdict | None, code: int) -> None:
    channel = replace(CRITICAL, needs_ci=True)
    assert said(case(candidate(outcome(recorded)), channel, ci=by_ci(ci) if ci else {}))[0] == code


def test_a_model_without_gates_has_no_word_of_ci() -> None:
    assert said(case(candidate(), replace(PROD, needs_ci=True))) == (EXIT_REFUSED, ["ci"])


def test_only_channels_that_are_named_where_any_is() -> None:
    found = candidate(outcome("pass"))
    assert said(case(found, named=("prod", "staging"))) == (EXIT_OK, [])
    assert said(case(found, named=("staging",))) == (EXIT_REFUSED, ["channel"])


@pytest.mark.parametrize(
    ("trail", "topics"),
    [
        ([], ["order"]),
        ([entry(1, NOW - 2 * DAY)], []),
        ([entry(1, NOW - DAY / 2)], ["soak"]),
        ([entry(1, NOW - 9 * DAY, version="0.9.0")], ["order"]),
        ([entry(2, NOW - DAY / 2, version="1.1.0"), entry(1, NOW - 2 * DAY)], []),
        ([entry(2, NOW - 1.9 * DAY, version="1.1.0"), entry(1, NOW - 2 * DAY)], ["soak"]),
        ([entry(3, NOW - DAY / 2), entry(2, NOW - DAY, version="1.1.0"), entry(1, NOW - 3 * DAY)], []),
        ([entry(2, NOW - 1.5 * DAY, "halt"), entry(1, NOW - 2 * DAY)], ["soak"]),
        ([entry(2, NOW - DAY / 2, ring=100), entry(1, NOW - 2 * DAY, ring=10)], []),
        ([entry(1, NOW - 9 * DAY, commit=Oid("9" * 40))], ["order"]),
        ([entry(1, NOW + DAY)], ["soak"]),
    ],
)
def test_the_order_of_channels_and_the_time_between(trail: Sequence[LogEntry], topics: list[str]) -> None:
    channel = replace(PROD, after="staging", soak=DAY)
    assert said(case(candidate(outcome("pass")), channel, trail=trail))[1] == topics


def before(last: LogEntry, flaw: str = "") -> Channel:
    return Channel("m", "prod", last.tag_oid, last.tag, last.move, last.commit, last, flaw)


def test_a_halt_and_a_pin_are_not_undone_by_the_way() -> None:
    found, other = candidate(outcome("pass")), "0.9.0"
    assert said(case(found, before=before(entry(1, 0, "halt"))))[1] == ["halted"]
    assert said(case(found, before=before(entry(1, 0, "pin", other))))[1] == ["pinned"]
    assert said(case(found, before=before(entry(1, 0, "pin"))))[1] == [], "the version that is pinned"
    pin = replace(MOVE, action="pin")
    assert said(case(found, move=pin, before=before(entry(1, 0, "pin", other))))[1] == []
    notes = [f for f in judge(case(found, before=before(entry(1, 0), "no log"))) if f.topic == "channel"]
    assert [(f.level, "mends it: no log" in f.text) for f in notes] == [("note", True)]


def test_promoters_are_told_before_anything_is_signed() -> None:
    channel, found = replace(PROD, promoters=("ada@example.org",)), candidate(outcome("pass"))
    assert said(case(found, channel))[1] == ["promoter"]
    assert said(case(found, channel, signs=True))[1] == ["promoter"], "nobody knows whose key it is"
    assert said(case(found, channel, signs=True, knows_signers=True))[1] == []


def test_the_worst_finding_decides() -> None:
    failed, refused, undecided, note = (
        Finding(level, "gate", "") for level in ("failed", "refused", "inconclusive", "note")
    )
    assert exit_code([note, undecided, refused, failed]) == EXIT_GATE_FAILED
    assert exit_code([undecided, refused]) == EXIT_REFUSED
    assert exit_code([note, undecided]) == EXIT_INCONCLUSIVE
    assert exit_code([note]) == EXIT_OK


def test_lengths_of_time_are_readable() -> None:
    assert [span(s) for s in (5, 600, 5 * 3600, 3 * DAY)] == ["5 s", "10 min", "5.0 h", "3.0 d"]
