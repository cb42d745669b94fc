"""Verbs that set up and look after: init, install, track, untrack, doctor; with real git around them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_lepton.cli.hook import HOOKS
from git_lepton.drivers import hookfiles
from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from tests.cli.conftest import PATH, VERSIONS, Lepton
from tests.support import git, model_bytes


@pytest.fixture
def program(tmp_path: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """`git-lepton` on PATH, as this interpreter runs it."""
    path = tmp_path / "bin" / "git-lepton"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m git_lepton "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return path


@pytest.fixture
def top(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    return repo.work_tree


def test_the_first_day(lepton: Lepton, program: Path, top: Path, remote: Path, tmp_path: Path) -> None:
    """The README's story by the commands themselves: init, track, add, commit, push, clone, checkout."""
    assert "hooks installed" in lepton("init").out
    assert lepton("init").out == "everything was in place\n"
    tracked = lepton("track", "*.safetensors")
    assert tracked.out.startswith("tracking *.safetensors\n")
    for number in (1, 2):
        Path("m.safetensors").write_bytes(model_bytes(seed=number))
        git(top, "add", ".")
        git(top, "commit", "-q", "-m", f"version {number}")
    git(top, "push", "-q", "origin", "main")
    assert lepton("doctor").status == 0
    assert lepton("install").status == 0
    git(tmp_path, "clone", "-q", str(remote), "clone")
    clone = tmp_path / "clone"
    assert (clone / "m.safetensors").read_bytes() == model_bytes(seed=2)
    git(clone, "checkout", "-q", "HEAD~1")
    assert (clone / "m.safetensors").read_bytes() == model_bytes(seed=1)
    assert git(clone, "status", "--porcelain") == ""
    done = subprocess.run(["git", "lepton", "--version"], capture_output=True, text=True, check=True, cwd=clone)
    assert done.stdout.startswith("git-lepton ")


def test_init_pulls_in_a_clone_and_can_be_undone(
    lepton: Lepton, program: Path, clone: Repo, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    hook = hookfiles.folder(clone) / "pre-push"
    hook.write_text("#!/bin/sh\nexit 0\n")
    assert "written" not in lepton("init", "--no-pull").out
    assert "1 weight file written" in lepton("init").out
    assert Path(PATH).read_bytes() == VERSIONS[2]
    assert lepton("init", "--uninstall").status == 0
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"


def test_install_can_be_undone(lepton: Lepton, program: Path, tmp_path: Path) -> None:
    assert lepton("install").status == 0
    assert "lepton" in git(tmp_path, "config", "--global", "--list")
    assert lepton("install", "--uninstall").status == 0
    assert "lepton" not in git(tmp_path, "config", "--global", "--list")
    assert "nothing to undo" in lepton("install", "--uninstall").out


def test_track_lists_warns_and_renormalizes(lepton: Lepton, program: Path, top: Path) -> None:
    assert "no pattern is tracked" in lepton("track").out
    Path("old.safetensors").write_bytes(model_bytes())
    Path("sub").mkdir()
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "raw")
    answer = lepton("track", "*.safetensors")
    assert "1 file in git as raw content: old.safetensors" in answer.out
    assert "git lepton migrate import" in answer.out
    assert "hooks installed" in answer.err
    assert "was tracked already" in lepton("track", "*.safetensors").out
    assert lepton("track").out == "*.safetensors  .gitattributes\n"
    assert lepton("track", "--json").json["patterns"] == [{"file": ".gitattributes", "pattern": "*.safetensors"}]
    assert "staged anew: old.safetensors" in lepton("track", "--renormalize", "*.safetensors").out
    assert lepton("ls-files").out.endswith("old.safetensors\n")
    assert "1 file in git as manifests" in lepton("untrack", "*.safetensors").out
    assert "staged anew" in lepton("untrack", "--renormalize", "*.safetensors").out
    assert lepton("ls-files").out == ""
    assert lepton("untrack", "*.none", "--json").json["unchanged"] == ["*.none"]
    assert lepton("untrack").status == 2
    assert lepton("track", "weights/").status == 2


def test_track_warns_of_paths_that_collide(lepton: Lepton, program: Path, top: Path) -> None:
    for name in ("Model.onnx", "model.onnx"):
        Path(name).write_bytes(name.encode())
    git(top, "add", ".")
    assert "Model.onnx, model.onnx" in lepton("track", "*.onnx").err


def test_doctor_tells_what_to_do(lepton: Lepton, program: Path, history: tuple[Manifest, ...], remote: Path) -> None:
    answer = lepton("doctor")
    assert answer.status == 1
    assert "-> git lepton init" in answer.out
    assert "does not track" in answer.out
    assert lepton("track", "*.safetensors").status == 0
    answer = lepton("doctor", "--json")
    checks = {(check["level"], check["subject"]) for check in answer.json["checks"]}
    assert answer.status == 0
    assert ("warn", "remote") in checks
    assert ("ok", "protocol") in checks
    lepton("push")
    assert "origin has all weights of HEAD" in lepton("doctor").out
    assert "origin" not in lepton("doctor", "--offline").out
    git(Path.cwd(), "config", "core.hooksPath", str(remote / "hooks"))
    assert "git-lepton hook pre-push" in lepton("doctor", "--offline").out


def test_doctor_looks_at_the_filter(lepton: Lepton, program: Path, top: Path) -> None:
    assert lepton("install").status == 0
    lepton("init")
    assert "git-lepton on PATH, else " in lepton("doctor", "--offline").out
    git(top, "config", "lepton.command", "'/no where/git-lepton'")
    assert "'/no where/git-lepton' is started, which is not there" in lepton("doctor", "--offline").out
    git(top, "config", "filter.lepton.required", "false")
    assert "filter.lepton.required is not set" in lepton("doctor", "--offline").out
    git(top, "config", "filter.lepton.process", "")
    assert "git does not know the filter" in lepton("doctor", "--offline").out
    git(top, "config", "--unset", "lepton.command")
    lepton("init")
    assert lepton("doctor", "--offline").status == 0
    git(top, "config", "filter.lepton.process", "my-wrapper")
    assert "my-wrapper" in lepton("doctor", "--offline").out


def test_doctor_outside_of_anything(
    lepton: Lepton, program: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(remote)
    assert lepton("doctor", "--offline").status == 1  # no filter, no hooks; but no traceback either


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_hooks_answer_0_or_1(
    name: str,
    lepton: Lepton,
    program: Path,
    history: tuple[Manifest, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with (tmp_path / "input").open("wb+") as stdin:
        monkeypatch.setattr(sys, "stdin", open(stdin.fileno(), closefd=False))  # noqa: SIM115
        assert lepton("hook", name, "origin", "url", "1").status == 0
        assert lepton("hook", "pre-push").status == 1
    assert lepton("hook", "unknown").status == 1


def test_hook_names_are_those_of_the_files() -> None:
    assert set(HOOKS) == set(hookfiles.NAMES)


def test_the_pre_push_hook_refuses_what_nobody_has(
    lepton: Lepton, program: Path, history: tuple[Manifest, ...], remote: Path
) -> None:
    lepton("init", "--no-pull")
    for kind in ("models", "index"):
        git(Path.cwd(), "update-ref", "-d", f"refs/lepton/{kind}/{history[0].blake3}")
    done = subprocess.run(["git", "push", "origin", "main"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert PATH in done.stderr
    assert "Traceback" not in done.stderr
