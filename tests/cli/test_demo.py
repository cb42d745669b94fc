"""The demo, whole, as a new user runs it."""

from __future__ import annotations

from pathlib import Path

from git_lepton.demo.stage import Stage
from tests.cli.conftest import Lepton
from tests.support import git


def test_demo(lepton: Lepton, env: dict[str, str], tmp_path: Path) -> None:
    folder = str(tmp_path / "demo")
    answer = lepton("demo", "--keep", folder)
    assert answer.status == 0, answer.out + answer.err
    assert "   NO  " not in answer.out
    assert "Every claim held." in answer.out
    assert "tensor F32 [256,10]" in answer.out
    assert "layer 3 fine-tuned" in answer.out
    assert "digits is refused; nothing was written" in answer.out
    assert "the merge commit has its record now" in answer.out
    assert "went back to 1.0.0 by itself" in answer.out
    assert "rollback 1.1.0 -> 1.0.0" in answer.out
    told = [line for line in answer.out.splitlines() if folder not in line and "lepton_model_info{" not in line]
    assert not [line for line in told if len(line) > 120], "paths and metrics are as long as they are"
    assert git(Path(folder, "work"), "rev-list", "--count", "HEAD") == "10"
    again = lepton("demo", "--keep", folder)
    assert (again.status, "is there already" in again.err) == (2, True)


def test_a_claim_that_does_not_hold_fails_the_demo(tmp_path: Path) -> None:
    said: list[str] = []
    stage = Stage(tmp_path, said.append)
    stage.check("one is one", ok=True)
    held = [stage.holds]
    stage.show("false", cwd=tmp_path)
    assert [*held, stage.holds] == [True, False]
    assert said[-1] == "   NO   `false` exits with 0"
