"""A repository with three versions of a model, and the command line in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from git_lepton.cli.boundary import run
from git_lepton.cli.main import cli
from git_lepton.git.repo import Repo, discover
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from tests.cli.team import Team
from tests.release.team import make_keys, make_people
from tests.support import git, model_bytes

PATH = "models/m.safetensors"
VERSIONS = (model_bytes(rows=256), model_bytes(rows=256, layer_1=7), model_bytes(rows=256, layer_2=8))


@dataclass(frozen=True)
class Answer:
    """What a command returned and printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Lepton = Callable[..., Answer]


@pytest.fixture
def lepton(capfd: pytest.CaptureFixture[str]) -> Lepton:
    """Run `git lepton …` in the current folder, in this process."""

    def call(*arguments: str) -> Answer:
        capfd.readouterr()
        status = run(cli, arguments)
        out, err = capfd.readouterr()
        return Answer(status, out, err)

    return call


def commit(repo: Repo, data: bytes, *bases: Manifest, path: str = PATH, message: str = "weights") -> Manifest:
    """Store `data` and commit its manifest, as git add does with the filter."""
    assert repo.work_tree is not None
    with Store(repo) as store:
        manifest = store.add(BytesSource(data), path, candidates=bases)
    (repo.work_tree / path).parent.mkdir(exist_ok=True)
    (repo.work_tree / path).write_bytes(manifest.to_bytes())
    git(repo.work_tree, "add", path)
    git(repo.work_tree, "commit", "-q", "-m", message)
    return manifest


@pytest.fixture
def history(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> tuple[Manifest, ...]:
    """Three commits of one model; the current folder is the top of the work tree, which holds manifests."""
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    manifests: list[Manifest] = []
    for data in VERSIONS:
        manifests.append(commit(repo, data, *reversed(manifests)))
    return tuple(manifests)


@pytest.fixture
def remote(repo: Repo, tmp_path: Path) -> Path:
    """An empty bare repository that is `origin`."""
    assert repo.work_tree is not None
    path = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(path))
    git(repo.work_tree, "remote", "add", "origin", str(path))
    return path


@pytest.fixture
def clone(history: tuple[Manifest, ...], remote: Path, tmp_path: Path, lepton: Lepton) -> Repo:
    """A clone of `origin`, which has everything; the clone has manifests only."""
    git(Path.cwd(), "push", "-q", "origin", "main")
    assert lepton("push").status == 0
    git(tmp_path, "clone", "-q", f"file://{remote}", "clone")
    return discover(tmp_path / "clone")


@pytest.fixture
def team(tmp_path: Path, env: dict[str, str], lepton: Lepton, monkeypatch: pytest.MonkeyPatch) -> Team:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name)
    remote, (ada, bob) = make_people(tmp_path, "ada", "bob")
    return Team(remote, ada, bob, lepton, monkeypatch)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return make_keys(tmp_path / "keys", "ada", "bob", "eve")
