"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.git.repo import Repo, discover
from tests.support import clean_environment, git


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A clean environment for git, in this process too."""
    home = tmp_path / "home"
    home.mkdir()
    clean = clean_environment(home)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in clean.items():
        monkeypatch.setenv(name, value)
    return clean


@pytest.fixture
def repo(tmp_path: Path, env: dict[str, str]) -> Repo:
    """An empty repository with a work tree."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return discover(folder)
