"""Verdicts of CI: blobs in this repository and on a remote, read strictly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.values import GateRule, Tolerance
from git_lepton.errors import FrameError
from git_lepton.gate.verdicts import GateVerdict, fetch, gate_hash, parse, publish, read, ref_of, to_text, write
from git_lepton.git.objects import open_reader
from git_lepton.git.repo import Repo, discover
from git_lepton.record.values import Figure, Outcome
from git_lepton.values import Hash
from tests.support import git

BUNDLE, RULE = Hash("a" * 64), Hash("b" * 64)
FOUND = GateVerdict(
    "m",
    "accuracy",
    BUNDLE,
    RULE,
    "pass",
    "c" * 40,
    outcome=(Outcome("accuracy", "", "pass", figure=Figure("accuracy", 0.99, 400)),),
    host={"cpu": "x86_64"},
)


def test_a_verdict_is_written_pushed_fetched_and_replaced(repo: Repo, tmp_path: Path, env: dict[str, str]) -> None:
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    git(tmp_path, "init", "-q", "other")
    other = discover(tmp_path / "other")
    written = write(repo, [FOUND])
    assert list(written) == [ref_of(BUNDLE, RULE)] == [f"refs/lepton/verdicts/{BUNDLE}/{RULE}"]
    assert write(repo, [FOUND]) == written
    publish(repo, str(bare), written)
    publish(repo, str(bare), written)
    fetch(other, str(bare), [BUNDLE])
    assert read(other, open_reader(other), BUNDLE, RULE) == FOUND
    assert read(other, open_reader(other), RULE, BUNDLE) is None
    worse = replace(FOUND, verdict="fail")
    publish(repo, str(bare), write(repo, [worse]))
    fetch(other, str(bare), [BUNDLE])
    assert read(other, open_reader(other), BUNDLE, RULE) == worse


def test_a_verdict_under_another_name_is_refused(repo: Repo) -> None:
    oid = next(iter(write(repo, [FOUND]).values()))
    repo.git("update-ref", ref_of(RULE, BUNDLE), oid)
    with pytest.raises(FrameError, match="something else"):
        read(repo, open_reader(repo), RULE, BUNDLE)


def test_what_a_gate_asks_is_its_name_not_who_judges_it() -> None:
    rule = GateRule("accuracy", data="t.npz", max_drop=Tolerance(0.01))
    assert gate_hash(rule, BUNDLE) == gate_hash(replace(rule, when="ci", timeout=1.0, batch=3), BUNDLE)
    assert gate_hash(rule, BUNDLE) != gate_hash(rule, RULE)
    assert gate_hash(rule, BUNDLE) != gate_hash(replace(rule, max_drop=Tolerance(0.02)), BUNDLE)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=40), st.integers(0, 600), st.integers(0, 40))
def test_damaged_verdicts_raise_nothing_else(noise: bytes, at: int, cut: int) -> None:
    text = to_text(FOUND)
    assert parse(text) == FOUND
    try:
        parse(text[:at] + noise + text[at + cut :])
    except FrameError:
        return
