from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.git.repo import Repo
from tests.cli.conftest import Lepton

TOML = """
[model.m]
main = "m.onnx"
[[model.m.gate]]
name = "own"
command = "python eval.py\\npython then.py"
direction = "higher"
[[model.m.gate]]
name = "function"
data = "d.npz"
metric = "sklearn.metrics:f1_score"
direction = "higher"
"""


@pytest.fixture(autouse=True)
def top(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    Path("eval.py").write_text("print(1)\n")
    Path("lepton.toml").write_text(TOML)
    return repo.work_tree


def test_show_allow_change_revoke(lepton: Lepton) -> None:
    shown = lepton("trust", "--show")
    assert shown.status == 0
    assert "command  (not allowed; model.m.gate.own)\n    python eval.py\n    python then.py\n" in shown.out
    assert "  eval.py\n" in shown.out
    assert "of an installed package" in shown.out
    told = lepton("trust", "--show", "--json").json
    assert (told["schema"], told["trusted"], len(told["runs"])) == ("git-lepton.trust/1", False, 2)
    assert lepton("trust", "--yes").out.endswith("allowed in this clone: 2\n")
    assert lepton("trust", "--show", "--json").json["trusted"] is True
    assert lepton("trust").out == "everything that lepton.toml would run is allowed already\n"
    Path("eval.py").write_text("print(2)\n")
    changed = lepton("trust", "--yes").out
    assert changed.count("not allowed") == 1
    assert lepton("trust", "--revoke").out == "3 permissions taken back\n"
    assert lepton("trust", "--show", "--json").json["trusted"] is False


def test_without_a_person_nothing_is_allowed(lepton: Lepton) -> None:
    answer = lepton("trust")
    assert answer.status == 5
    assert "git lepton trust --yes" in answer.err
    assert lepton("trust", "--show", "--json").json["trusted"] is False


def test_nothing_to_allow(lepton: Lepton) -> None:
    Path("lepton.toml").write_text("")
    assert lepton("trust").out == "lepton.toml names no command and no function\n"


def test_options_that_exclude_each_other(lepton: Lepton) -> None:
    assert lepton("trust", "--show", "--yes").status == 2
    assert lepton("trust", "--json").status == 2
