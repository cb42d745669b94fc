"""Messages between the gate and its child survive the way, and strangers' do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.values import GateRule, TeacherRule, Tolerance, VariantRule
from git_lepton.errors import FrameError
from git_lepton.gate.tasks import Clocked, Evaluate, Evaluated, Event, Failed, Job, Shine, Shone, Weighed
from git_lepton.gate.values import (
    ClassRow,
    ClassScore,
    Folder,
    GateOutcome,
    Interval,
    Measurement,
    SliceResult,
)
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.values import Confusion, Likeness
from git_lepton.values import Hash

RULE = GateRule(
    "g",
    max_drop=Tolerance(0.02, relative=True),
    inputs={"x": "y"},
    variants={"int8": VariantRule(min_agreement=0.9)},
    teacher=TeacherRule(max_kl=1.0),
)
MEASURED = Measurement("f1", 0.5, 10, "prod", 0.6, 0.1, Interval(0.0, 0.2), 99, "min 1")
OUTCOME = GateOutcome(
    "g",
    "int8",
    "fail",
    "why",
    "hint",
    MEASURED,
    (SliceResult("a", "pass", "", MEASURED),),
    (ClassRow("1", ClassScore(1.0, 0.5, 0.6, 7)),),
    (Confusion("1", "2", 3, 0),),
    0.1,
    None,
    Likeness(1.0, None, 0.0, 5),
)
FOLDER = Folder(Path("/m"), "m.onnx", Hash("0" * 64))
TASKS = (
    Evaluate("l", RULE, FOLDER, None, Path("t"), 3.0),
    Shine("l", RULE, Path("d"), ("int8", ""), (FOLDER, FOLDER), 8, Path("g"), 3.0),
)
MESSAGES = [
    Job(Path("/top"), TASKS),
    Event(3),
    Event(3, Evaluated(0.0)),
    Event(3, Weighed(0)),
    Event(3, Shone(0)),
    Event(3, OUTCOME),
    Event(0, Clocked(1.5, Interval(1.0, 2.0), 12)),
    Event(0, failed=Failed("why", "hint")),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_survives(message: Any) -> None:
    assert from_plain(type(message), json.loads(json.dumps(to_plain(message)))) == message


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["number", "result", "a"]), inner),
        max_leaves=8,
    )
)
def test_anything_else_is_refused(value: object) -> None:
    for kind in (Event, GateOutcome, Job):
        try:
            found = from_plain(kind, value)
        except FrameError:
            continue
        assert isinstance(found, Event), "only the beginning of a task is as short as this"
        assert (found.result, found.failed) == (None, None)


def test_types_are_checked_all_the_way_down() -> None:
    for name, bad in (("verdict", "great"), ("stops", 1), ("seconds", "1"), ("slices", {}), ("gate", None)):
        with pytest.raises(FrameError, match=name):
            from_plain(GateOutcome, to_plain(OUTCOME) | {name: bad})
