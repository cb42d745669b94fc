"""Real git that finds this git-lepton: a program of that name on PATH, and the filter set up as `install` does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo, discover
from git_lepton.store.store import Store
from tests.support import git, model_bytes

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Work:
    """A repository in which weights are tracked, and what the tests do in it."""

    folder: Path
    env: dict[str, str]

    @property
    def repo(self) -> Repo:
        return discover(self.folder)

    def git(self, *args: str, check: bool = True, env: dict[str, str] | None = None, data: bytes = b"") -> str:
        return git(self.folder, *args, env=self.env | (env or {}), check=check, data=data)

    def run(
        self, *args: str, env: dict[str, str] | None = None, data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git and return everything, whatever its status."""
        return subprocess.run(
            ["git", *args], check=False, cwd=self.folder, env=self.env | (env or {}), capture_output=True, input=data
        )

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def commit(self, message: str, files: dict[str, bytes]) -> str:
        for name, data in files.items():
            self.write(name, data)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def blob(self, name: str, rev: str = "") -> bytes:
        """What git tracks at a path of the index, or of `rev`."""
        return self.run("cat-file", "blob", f"{rev}:{name}").stdout

    def forget(self) -> None:
        """Lose all stored weights, as a clone without them."""
        for line in self.git("for-each-ref", "--format=%(refname)", "refs/lepton").splitlines():
            self.git("update-ref", "-d", line)

    def cleans(self, *args: str) -> list[str]:
        """The paths that git has cleaned while it runs `args`."""
        trace = self.folder.parent / "trace"
        trace.unlink(missing_ok=True)
        self.git(*args, env={"GIT_TRACE_PACKET": str(trace)})
        lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
        asked = [line.rpartition("pathname=")[2] for line in lines if "pathname=" in line]
        kinds = [line.rpartition("command=")[2] for line in lines if "git> command=" in line]
        return [path for path, kind in zip(asked, kinds, strict=True) if kind == "clean"]

    def is_clean(self) -> bool:
        return self.git("status", "--porcelain") == ""

    def store(self) -> Store:
        return Store(self.repo)


@pytest.fixture
def program(
    tmp_path: Path, env: dict[str, str], quick_program: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The environment, with a `git-lepton` on PATH, and the filter installed for the user."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(quick_program, folder)
    added = {"PATH": f"{folder}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(ROOT), "GIT_ALLOW_PROTOCOL": "file"}
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    result = env | added
    git(tmp_path, "config", "--global", "filter.lepton.process", "git-lepton filter-process", env=result)
    git(tmp_path, "config", "--global", "filter.lepton.required", "true", env=result)
    git(tmp_path, "config", "--global", "init.defaultBranch", "main", env=result)
    git(tmp_path, "config", "--global", "gc.auto", "0", env=result)
    return result


@pytest.fixture
def make(tmp_path: Path, program: dict[str, str]) -> Callable[..., Work]:
    """Makes repositories in which `*.safetensors` is tracked; `clone` of another one instead."""

    def one(name: str, *, clone: Path | None = None, options: tuple[str, ...] = ()) -> Work:
        folder = tmp_path / name
        if clone is None:
            git(tmp_path, "init", "-q", *options, str(folder), env=program)
            (folder / ".gitattributes").write_text("*.safetensors filter=lepton diff=lepton -text\n")
        else:
            git(tmp_path, "clone", "-q", *options, str(clone), str(folder), env=program)
        return Work(folder, program)

    return one


@pytest.fixture
def work(make: Callable[..., Work]) -> Work:
    """A repository in which `*.safetensors` is tracked."""
    return make("work")


@pytest.fixture
def model() -> bytes:
    """About 50 KB of weights."""
    return model_bytes()
