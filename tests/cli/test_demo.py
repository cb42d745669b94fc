"""The demo, whole, as a new user runs it."""

from __future__ import annotations

from pathlib import Path

from git_lepton.cli import demo
from tests.cli.conftest import Lepton
from tests.support import git


def test_demo(lepton: Lepton, env: dict[str, str], tmp_path: Path) -> None:
    answer = lepton("demo", "--keep", str(tmp_path / "demo"))
    assert answer.status == 0, answer.err
    assert answer.out.count("   yes  ") == 2
    assert "Every file came back byte for byte." in answer.out
    assert "tensor F32 [256,10]" in answer.out
    assert len(answer.out.splitlines()) <= 50
    assert max(map(len, answer.out.splitlines()[:-3])) <= 100
    assert git(tmp_path / "demo" / "work", "rev-list", "--count", "HEAD") == "3"
    again = lepton("demo", "--keep", str(tmp_path / "demo"))
    assert (again.status, "is there already" in again.err) == (2, True)


def test_a_file_that_differs_fails_the_demo(tmp_path: Path) -> None:
    story = demo.Story(tmp_path, versions=[b"one"])
    (tmp_path / "file").write_bytes(b"two")
    story._check("equal", tmp_path / "file", 0)
    assert not story.all_equal
