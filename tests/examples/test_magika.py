"""The example of a real history: five releases of magika pass, each with its accuracy, and a step back fails."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from git_lepton.record.record import parse
from tests.support import enter_environment, git

FOLDER = Path(__file__).parents[2] / "examples" / "magika"
FETCHED = "GIT_LEPTON_MAGIKA"
"""Where fetch.py put the files; without it they are fetched."""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"magika_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_releases_look_at() -> None:
    history = load("history")
    assert history.ends(b" ab \n", size=4) == [97, 98, 32, 10, 256, 32, 97, 98]
    assert history.thirds(b" abcd ", size=2) == [97, 98, 98, 99, 99, 100]
    assert history.thirds(b"a", size=2) == [97, 256, 97, 256, 256, 97]


def test_the_list_is_whole() -> None:
    files = load("fetch").listed()
    assert sum(file.path.startswith("files/") for file in files) == 149
    assert len({file.path for file in files}) == len(files) == 159
    assert all(len(file.sha256) == 64 and ".." not in file.path for file in files)


@pytest.mark.network
def test_five_releases_and_a_step_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = Path(os.environ.get(FETCHED, tmp_path / "fetched"))
    load("fetch").fetch(fetched)
    enter_environment(monkeypatch, tmp_path / "home", Path(sys.executable).parent)
    work = tmp_path / "work"
    assert load("history").play(fetched, work) == [0, 0, 0, 0, 0, 1]
    found = []
    for commit in git(work, "rev-list", "--reverse", "HEAD").split():
        text = git(work, "show", f"{commit}:.lepton/records/magika.toml") + "\n"
        (outcome,) = parse(text.encode()).outcome
        assert outcome.figure is not None
        found.append((f"{outcome.figure.value:.4f}", outcome.verdict))
    assert found == [(value, "pass") for value in ("0.8188", "0.9933", "0.9933", "1.0000", "1.0000")]
