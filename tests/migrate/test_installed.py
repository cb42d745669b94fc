"""A migrated repository in daily use: filter and hooks installed, pushed, cloned, checked out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.migrate.samples import commit
from tests.support import git, model_bytes


def lepton(folder: Path, *args: str) -> None:
    subprocess.run([sys.executable, "-m", "git_lepton", *args], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def path(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is found, and the package by it."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.usefixtures("path")
def test_every_version_comes_back_in_a_clone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "server.git")
    git(tmp_path, "init", "-q", "-b", "main", "work")
    work = tmp_path / "work"
    commit(work, "one", **{"a.safetensors": model_bytes(1)})
    commit(work, "two", **{"a.safetensors": model_bytes(1, layer_2=8)})
    lepton(work, "init")
    lepton(work, "migrate", "import", "--include", "*.safetensors", "--yes", "--quiet")
    (work / "a.safetensors").touch()
    assert git(work, "status", "--porcelain") == ""
    git(work, "push", "-q", str(tmp_path / "server.git"), "main")
    git(tmp_path, "clone", "-q", "server.git", "clone")
    clone = tmp_path / "clone"
    lepton(clone, "init")
    assert (clone / "a.safetensors").read_bytes() == model_bytes(1, layer_2=8)
    git(clone, "checkout", "-q", "HEAD~1")
    assert (clone / "a.safetensors").read_bytes() == model_bytes(1)
    git(clone, "checkout", "-q", "main")
    lepton(clone, "migrate", "export", "--no-rewrite", "--yes", "--quiet")
    assert int(git(clone, "cat-file", "-s", "HEAD:a.safetensors")) == len(model_bytes(1))
    assert git(clone, "status", "--porcelain") == ""
