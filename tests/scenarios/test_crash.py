"""Killed at any moment: the repository is sound, and the same command run again finishes the work.

The default run kills a few times; `pytest -m slow tests/scenarios/test_crash.py` kills hundreds of times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scenarios.world import Person, bare, new_repository, person
from tests.support import model_bytes

FEW, MANY = 4, 150


def kill_after(who: Person, folder: Path, argv: list[str], seconds: float) -> bool:
    """Run a command and kill it and all its children after a while; False when it had ended by itself."""
    process = subprocess.Popen(
        argv, cwd=folder, env=who.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def remove_stale_locks(folder: Path) -> None:
    """What git itself leaves behind when it is killed, and tells the user to remove."""
    for lock in (folder / ".git").rglob("*.lock"):
        lock.unlink()


def sound(who: Person, folder: Path) -> None:
    done = who.run(folder, "git", "fsck", "--strict")
    assert "missing" not in done.out + done.err
    assert "broken" not in done.out + done.err


def storm(kills: int, once: Callable[[float], bool], usual: float) -> None:
    """Kill at random moments spread over the usual duration until it was interrupted `kills` times."""
    rng = random.Random(20)
    killed = 0
    for _ in range(kills * 3):
        killed += once(rng.uniform(0, 1.1) * usual)
        if killed >= kills:
            return
    assert killed, "nothing was ever killed"


def duration(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


kills = pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


@kills
def test_add_can_be_killed(tmp_path: Path, kills: int) -> None:
    who = person(tmp_path, "ann")
    repo = new_repository(who, tmp_path / "repo")
    model = repo / "m.safetensors"
    model.write_bytes(model_bytes(layers=6, rows=2048))
    usual = duration(lambda: who.git(repo, "add", "m.safetensors"))
    step = iter(range(1, 10_000))

    def once(after: float) -> bool:
        model.write_bytes(model_bytes(layers=6, rows=2048, layer_2=next(step)))
        killed = kill_after(who, repo, ["git", "add", "m.safetensors"], after)
        remove_stale_locks(repo)
        return killed

    storm(kills, once, usual)
    sound(who, repo)
    expected = model.read_bytes()
    who.git(repo, "add", "m.safetensors")
    who.git(repo, "commit", "-q", "-m", "m")
    who.git(repo, "gc", "-q", "--prune=now")
    assert who.lepton(repo, "fsck").status == 0
    model.unlink()
    who.git(repo, "checkout", "-q", "--", "m.safetensors")
    assert model.read_bytes() == expected
    sound(who, repo)
    model.write_bytes(model_bytes(seed=1))
    who.git(repo, "add", "m.safetensors")  # storing something tidies up behind the dead
    left = [p.name for p in (repo / ".git/lepton/tmp").iterdir()] if (repo / ".git/lepton/tmp").exists() else []
    assert left == []
    assert not list((repo / ".git/objects/pack").glob("*.keep"))


@kills
def test_push_and_pull_can_be_killed(tmp_path: Path, kills: int, quick_program: Path) -> None:
    who = person(tmp_path, "ann")
    calm = replace(who, program=quick_program)
    server = bare(who, tmp_path / "server.git")
    repo = new_repository(who, tmp_path / "repo")
    who.git(repo, "remote", "add", "origin", str(server))
    who.git(repo, "push", "-q", "-u", "origin", "main")
    other = tmp_path / "clone"
    who.git(tmp_path, "clone", "-q", str(server), str(other))
    model = repo / "m.safetensors"
    step = iter(range(1, 10_000))

    def commit() -> bytes:
        data = model_bytes(layers=6, rows=1024, layer_1=next(step))
        model.write_bytes(data)
        calm.git(repo, "add", "m.safetensors")
        calm.git(repo, "commit", "-q", "-m", "m")
        return data

    commit()
    push_time = duration(lambda: who.git(repo, "push", "-q", "origin", "main"))
    pull_time = duration(lambda: who.git(other, "pull", "-q"))

    def once(after: float) -> bool:
        data = commit()
        killed = kill_after(who, repo, ["git", "push", "-q", "origin", "main"], after * push_time)
        remove_stale_locks(repo)
        for lock in server.rglob("*.lock"):
            lock.unlink()
        calm.git(repo, "push", "-q", "origin", "main")
        killed = kill_after(who, other, ["git", "pull", "-q"], after * pull_time) or killed
        remove_stale_locks(other)
        calm.git(other, "reset", "-q", "--hard", "origin/main")
        calm.git(other, "pull", "-q")
        calm.lepton(other, "pull")
        assert (other / "m.safetensors").read_bytes() == data
        return killed

    storm(kills, once, 1.0)
    for folder in (repo, other, server):
        sound(calm, folder)
    assert calm.lepton(repo, "fsck", "--remote", "origin").status == 0
    assert calm.git(other, "status", "--porcelain") == ""


@kills
def test_checkout_can_be_killed(tmp_path: Path, kills: int) -> None:
    """By git and by us: a file is whole, of one version or the other, or a manifest; and the next run is clean."""
    who = person(tmp_path, "ann")
    repo = new_repository(who, tmp_path / "repo")
    model = repo / "m.safetensors"
    versions = [model_bytes(layers=6, rows=2048, layer_1=seed) for seed in (1, 2)]
    for number, data in enumerate(versions):
        model.write_bytes(data)
        who.git(repo, "add", "m.safetensors")
        who.git(repo, "commit", "-q", "-m", f"version {number}")
        who.git(repo, "tag", f"v{number}")
    usual = duration(lambda: who.lepton(repo, "checkout", "v0", "--", "m.safetensors"))
    turn = iter(range(10_000))

    def once(after: float) -> bool:
        number = next(turn)
        target = f"v{number % 2}"
        plain = ["git", "checkout", "-q", target, "--", "m.safetensors"]
        ours = ["git", "lepton", "checkout", "--force", target, "--", "m.safetensors"]
        killed = kill_after(who, repo, (plain, ours)[number // 2 % 2], after)
        remove_stale_locks(repo)
        # git itself writes a file in place, and may leave the beginning of it; ours is renamed.
        whole = not model.exists() or model.read_bytes() in versions or model.read_bytes().startswith(b"git-lepton 1 ")
        assert whole or (number // 2 % 2 == 0 and any(data.startswith(model.read_bytes()) for data in versions))
        who.lepton(repo, "checkout", "--force", target, "--", "m.safetensors")
        assert model.read_bytes() == versions[number % 2]
        assert who.git(repo, "status", "--porcelain", "--untracked-files=all").find("??") == -1
        return killed

    storm(kills, once, usual)
    who.lepton(repo, "checkout", "--force", "v0", "--", "m.safetensors")  # sweeps, when all that was killed has ended
    who.git(repo, "checkout", "-q", "v1", "--", "m.safetensors")
    assert who.git(repo, "status", "--porcelain") == ""
    assert sorted(p.name for p in repo.iterdir()) == [".git", ".gitattributes", "m.safetensors"]
    assert list((repo / ".git/lepton/tmp").iterdir()) == []
    assert who.lepton(repo, "fsck").status == 0
    sound(who, repo)
