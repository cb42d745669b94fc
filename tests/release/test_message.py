"""The text of a move: what is written is read back, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import UsageError, VerificationError
from git_lepton.release.message import MAX_SEQ, Move, parse, render
from git_lepton.release.names import Version
from git_lepton.values import Hash, Oid

GOLDEN = Path(__file__).parent.parent / "golden" / "move-1.txt"
MOVE = Move(
    model="digits",
    channel="prod",
    seq=7,
    action="promote",
    version=Version.parse("1.4.0"),
    commit=Oid("a" * 40),
    bundle=Hash("b" * 64),
    record=Hash("c" * 64),
    prev=Oid("d" * 40),
    variant="int8",
    ring=10,
    by="Ada <ada@example.org>",
    expires="2027-01-01T00:00:00Z",
    why="Better on small digits;\n\nin staging since Monday.",
)

moves = st.builds(
    Move,
    model=st.sampled_from(["digits", "a", "sentence-encoder.v2"]),
    channel=st.sampled_from(["prod", "staging", "eu-1"]),
    seq=st.integers(1, MAX_SEQ),
    action=st.sampled_from(["promote", "rollback", "pin", "halt"]),
    version=st.sampled_from([Version.parse("0.1.0"), Version.parse("1.0.0-rc.1+b5")]),
    commit=st.sampled_from([Oid("a" * 40), Oid("1" * 64)]),
    bundle=st.just(Hash("0" * 64)),
    record=st.sampled_from([None, Hash("c" * 64)]),
    prev=st.sampled_from([None, Oid("d" * 40)]),
    variant=st.sampled_from(["", "int8", "prune50+int8"]),
    ring=st.integers(1, 100),
    by=st.just("Ada <ada@example.org>"),
    expires=st.sampled_from([None, "2027-01-01T00:00:00Z"]),
    why=st.text(),
)


def test_golden() -> None:
    assert render(MOVE) == GOLDEN.read_text()
    assert parse(GOLDEN.read_text()) == MOVE


@settings(max_examples=50, deadline=None)
@given(moves)
def test_what_is_written_is_read_back(move: Move) -> None:
    try:
        text = render(move)
    except UsageError:
        return  # a reason that no tag can hold
    assert replace(parse(text), why="") == replace(move, why="")


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        parse(text)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2000), st.sampled_from(["\n", "x", " ", "Lepton-Seq: 9\n", "\x1b[0m", "\u202e"]))
def test_a_tampered_message_is_refused_or_says_what_can_be_said(at: int, what: str) -> None:
    text = render(MOVE)
    at %= len(text)
    try:
        move = parse(text[:at] + what + text[at:])
    except VerificationError:
        return
    assert replace(parse(render(move)), why="") == replace(move, why="")


@pytest.mark.parametrize(
    "line",
    ["Lepton-Seq: 8", "Lepton-Other: 1", "Seq: 8", "Lepton-Seq:8"],
)
def test_repeated_and_unknown_keys_are_refused(line: str) -> None:
    with pytest.raises(VerificationError):
        parse(render(MOVE) + line + "\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Seq: 7", "Seq: 0"),
        ("Seq: 7", "Seq: 07"),
        ("Seq: 7", "Seq: 9007199254740992"),
        ("Ring: 10%", "Ring: 0%"),
        ("Ring: 10%", "Ring: 101%"),
        ("Version: 1.4.0", "Version: 1.4"),
        ("Version: 1.4.0", "Version: none"),
        ("Channel: prod", "Channel: ../prod"),
        ("Action: promote", "Action: deploy"),
        ("Format: 1", "Format: 2"),
        ("Expires: 2027-01-01T00:00:00Z", "Expires: tomorrow"),
    ],
)
def test_malformed_values_are_refused(old: str, new: str) -> None:
    with pytest.raises(VerificationError):
        parse(render(MOVE).replace("Lepton-" + old, "Lepton-" + new))


def test_a_reason_cannot_pass_for_the_block_or_a_signature() -> None:
    for why in ("Lepton-Seq: 99", "fine\n-----BEGIN SSH SIGNATURE-----"):
        with pytest.raises(UsageError):
            render(replace(MOVE, why=why))
