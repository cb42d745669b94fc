"""The example of merging keeps its promise: more of both tasks than a branch has of the other's; the gate says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support import enter_environment

SCRIPT = Path(__file__).parents[2] / "examples" / "merging" / "two_tasks.py"


def test_a_merge_keeps_both_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_program: Path) -> None:
    enter_environment(monkeypatch, tmp_path / "home", quick_program.parent)
    spec = importlib.util.spec_from_file_location("two_tasks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "work"
    folder.mkdir()
    found = module.play(folder)
    for task, other in (("low", "high"), ("high", "low")):
        assert found[task][task] > found["base"][task]
        assert found[task][other] < 0.6, "a branch forgets the other's task"
        for strategy in ("task-arithmetic", "ties", "average"):
            assert found[strategy][other] > found[task][other] + 0.3
            assert found[strategy][other] > 0.8
    verdicts = {strategy: module.judged(folder, strategy, rules) for strategy, rules in module.JUDGED.items()}
    assert verdicts == {"ties": True, "theirs": False}
