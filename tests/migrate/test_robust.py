"""A migration that is killed, raced or lacks what it needs changes no ref; the next run completes it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from git_lepton.errors import MissingError, RaceLostError, UsageError
from git_lepton.git.repo import Repo
from git_lepton.migrate import content, engine, export
from git_lepton.migrate.export import execute_export, plan_export
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.plan import Request
from git_lepton.store.store import Store
from tests.migrate.samples import all_refs, commit, listing, rich_history
from tests.support import git, model_bytes

EVERYTHING = Request(include=("*.safetensors", "*.bin"), everything=True)

RUN = """
import sys
from pathlib import Path
from git_lepton.git.repo import discover
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.plan import Request
from git_lepton.store.store import Store
repo = discover(Path(sys.argv[1]))
with Store(repo) as store:
    plan = plan_import(repo, Request(include=("*.safetensors", "*.bin"), everything=True))
    print("planned", flush=True)
    execute_import(store, plan)
"""


@pytest.fixture
def folder(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def imported(repo: Repo) -> None:
    with Store(repo) as store:
        execute_import(store, plan_import(repo, EVERYTHING))


def test_a_run_killed_at_any_moment_is_completed_by_the_next(repo: Repo, folder: Path, env: dict[str, str]) -> None:
    rich_history(folder)
    before = all_refs(folder)
    chance = random.Random(7)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, env=env)
        assert process.stdout is not None
        assert process.stdout.readline() == b"planned\n"
        time.sleep(chance.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if all_refs(folder) != before:
            break
    git(folder, "fsck", "--strict")
    imported(repo)
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "show", "main:models/b.safetensors").startswith("git-lepton 1 ")
    assert git(folder, "diff", "--cached", "--name-only") == ""
    assert not (folder / ".git/lepton/migrate.json").exists()


@pytest.mark.parametrize("step", ["settle", "forget_unsettled"])
def test_killed_after_the_refs_moved(repo: Repo, folder: Path, step: str, env: dict[str, str]) -> None:
    rich_history(folder)
    code = (
        RUN.replace("repo = ", "import os\nfrom git_lepton.migrate import engine\nrepo = ")
        .replace('print("planned", flush=True)', f"engine.{step} = lambda *_: os._exit(9)")
        .replace(
            "execute_import(store, plan)",
            "engine._settle_unfinished = lambda _: ()\n    execute_import(store, plan)",
        )
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=env, check=False)
    assert done.returncode == 9
    assert git(folder, "show", "main:models/b.safetensors").startswith("git-lepton 1 ")
    plan = plan_import(repo, EVERYTHING)
    assert plan.unfinished
    assert plan.moves == ()
    assert not plan.empty
    with Store(repo) as store:
        report = execute_import(store, plan)
    assert report.settled == (str(folder),)
    assert git(folder, "status", "--porcelain") == ""
    assert plan_import(repo, EVERYTHING).empty


def test_what_the_user_did_since_is_left_alone(repo: Repo, folder: Path, env: dict[str, str]) -> None:
    rich_history(folder)
    code = RUN.replace('print("planned", flush=True)', "from git_lepton.migrate import engine; import os").replace(
        "execute_import(", "engine.settle = lambda *_: os._exit(9)\n    execute_import("
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], env=env, check=False)
    git(folder, "reset", "-q")
    commit(folder, "went on", **{"a.txt": b"a"})
    assert not plan_import(repo, Request(include=("*.txt",))).unfinished


def test_a_ref_that_moves_during_the_run_wins(repo: Repo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rich_history(folder)
    plan = plan_import(repo, EVERYTHING)
    before = git(folder, "rev-parse", "side")
    move = engine._move

    def raced(*args: object) -> object:
        git(folder, "update-ref", "refs/heads/side", "main")
        return move(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_move", raced)
    main = git(folder, "rev-parse", "main")
    with Store(repo) as store, pytest.raises(RaceLostError):
        execute_import(store, plan)
    assert git(folder, "rev-parse", "main") == main
    assert git(folder, "for-each-ref", "refs/original") == ""
    assert git(folder, "rev-parse", "side") != before
    assert git(folder, "status", "--porcelain") == ""


def test_two_at_once(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    plan = plan_import(repo, EVERYTHING)
    with engine._exclusive(repo), Store(repo) as store, pytest.raises(RaceLostError):
        execute_import(store, plan)


def test_a_busy_work_tree_is_refused(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    (folder / ".git/MERGE_HEAD").write_text(git(folder, "rev-parse", "side") + "\n")
    with pytest.raises(UsageError, match="in the middle of something"):
        plan_import(repo, EVERYTHING)


def test_an_export_needs_all_weights(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    imported(repo)
    refs = git(folder, "for-each-ref", "--format=%(refname)", "refs/lepton").splitlines()
    for ref in refs:
        git(folder, "update-ref", "-d", ref)
    before = all_refs(folder)
    plan = plan_export(repo, Request(everything=True))
    assert {missing.path for missing in plan.missing} >= {"models/a.safetensors", "script.bin"}
    with Store(repo) as store, pytest.raises(MissingError, match="4 versions"):
        execute_export(store, plan)
    assert all_refs(folder) == before


def test_an_export_of_some_files(repo: Repo, folder: Path) -> None:
    commit(folder, "x", **{"a.bin": b"\0\1\2" * 99, "dir/b.bin": b"\0\3" * 99, "c.safetensors": model_bytes(1)})
    imported(repo)
    with Store(repo) as store:
        execute_export(store, plan_export(repo, Request(include=("dir/*.bin",), no_rewrite=True)))
    assert git(folder, "show", "HEAD:a.bin").startswith("git-lepton 1 ")
    assert not git(folder, "show", "HEAD:dir/b.bin").startswith("git-lepton 1 ")
    assert git(folder, "check-attr", "filter", "dir/b.bin", "a.bin").splitlines() == [
        "dir/b.bin: filter: unspecified",
        "a.bin: filter: lepton",
    ]
    with Store(repo) as store:
        execute_export(store, plan_export(repo, Request(exclude=("*.bin",), no_rewrite=True)))
    assert not git(folder, "show", "HEAD:c.safetensors").startswith("git-lepton 1 ")
    assert git(folder, "show", "HEAD:a.bin").startswith("git-lepton 1 ")
    assert git(folder, "status", "--porcelain") == ""


def test_large_files_are_streamed(repo: Repo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "LARGE", 1000)
    monkeypatch.setattr(export, "LARGE", 1000)
    rich_history(folder)
    tree = git(folder, "rev-parse", "main^{tree}")
    imported(repo)
    with Store(repo) as store:
        execute_export(store, plan_export(repo, Request(everything=True)))
    assert git(folder, "rev-parse", "main^{tree}") == tree
    assert list((folder / ".git/lepton/tmp").iterdir()) == []


def test_manifests_on_the_disk_become_weights(repo: Repo, folder: Path) -> None:
    commit(folder, "x", **{"a.bin": b"\0\1\2" * 99})
    imported(repo)
    (folder / "a.bin").unlink()
    git(folder, "checkout", "--", "a.bin")
    assert (folder / "a.bin").read_bytes().startswith(b"git-lepton 1 ")
    assert git(folder, "status", "--porcelain") == ""
    with Store(repo) as store:
        execute_export(store, plan_export(repo, Request()))
    assert (folder / "a.bin").read_bytes() == b"\0\1\2" * 99
    assert git(folder, "status", "--porcelain") == ""


def test_a_sparse_checkout_stays_sparse(repo: Repo, folder: Path) -> None:
    commit(folder, "x", **{"in/a.bin": b"\0\1\2" * 99, "out/b.bin": b"\0\1\3" * 99, "top.txt": b"t"})
    git(folder, "sparse-checkout", "set", "in")
    assert not (folder / "out").exists()
    imported(repo)
    assert git(folder, "status", "--porcelain") == ""
    assert not (folder / "out").exists()
    assert (folder / "in/a.bin").read_bytes() == b"\0\1\2" * 99


def test_gc_during_a_migration_takes_nothing(repo: Repo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rich_history(folder)
    old = {name: listing(folder, name) for name in ("main", "side")}
    move = engine._move

    def after_gc(*args: object) -> object:
        git(folder, "gc", "-q", "--prune=now")
        return move(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_move", after_gc)
    imported(repo)
    git(folder, "fsck", "--strict")
    with Store(repo) as store:
        execute_export(store, plan_export(repo, Request(everything=True)))
    git(folder, "gc", "-q", "--prune=now")
    git(folder, "fsck", "--strict")
    assert {name: listing(folder, name) for name in old} == old
