"""Verbs that move weights or delete them: fetch, push, prune, migrate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.git.repo import Repo
from git_lepton.store.manifest import Manifest
from git_lepton.store.names import model_ref
from git_lepton.store.store import Store
from tests.cli.conftest import PATH, Lepton, commit
from tests.support import git, model_bytes


def refs(folder: Path) -> list[str]:
    return git(folder, "for-each-ref", "--format=%(refname)", "refs/lepton/models").split()


def test_push_tells_the_cost_first(lepton: Lepton, history: tuple[Manifest, ...], remote: Path) -> None:
    answer = lepton("push", "--dry-run")
    assert answer.status == 0
    assert answer.out.startswith("origin would get 3 versions of weights: ")
    assert all(m.blake3[:12] in answer.out for m in history)
    assert refs(remote) == []
    told = lepton("push", "--dry-run", "--json").json
    assert (told["schema"], told["dry_run"], len(told["pushed"])) == ("git-lepton.push/1", True, 3)
    assert 0 < told["bytes"] < told["raw_bytes"]


def test_push_and_push_again(lepton: Lepton, history: tuple[Manifest, ...], remote: Path) -> None:
    assert lepton("push", "origin", "HEAD~1").out.startswith("origin got 2 versions of weights: ")
    assert lepton("push", str(remote)).out.startswith(f"{remote} got 1 version of weights: ")
    assert lepton("push", "--all").out == "origin has all 3 versions of weights\n"
    assert len(refs(remote)) == 3


def test_push_of_what_nobody_has(lepton: Lepton, history: tuple[Manifest, ...], remote: Path) -> None:
    for kind in ("models", "index"):
        git(Path.cwd(), "update-ref", "-d", f"refs/lepton/{kind}/{history[0].blake3}")
    answer = lepton("push")
    assert answer.status == 8
    assert PATH in answer.err
    assert "A U Thor" in answer.err
    assert len(refs(remote)) == 2


def test_push_without_a_remote(lepton: Lepton, history: tuple[Manifest, ...]) -> None:
    answer = lepton("push")
    assert answer.status == 2
    assert "hint: git remote add origin URL" in answer.err


def test_a_remote_that_cannot_be_reached(lepton: Lepton, history: tuple[Manifest, ...], tmp_path: Path) -> None:
    answer = lepton("push", f"file://{tmp_path}/nowhere.git")
    assert answer.status == 8
    assert "cannot be reached" in answer.err
    assert "../nowhere cannot be reached" in lepton("push", "../nowhere").err


def test_fetch(lepton: Lepton, clone: Repo, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    assert lepton("fetch").out.startswith("1 version of weights brought, ")
    assert lepton("fetch").out == "1 version of weights, all here already\n"
    assert lepton("fetch", "origin", "HEAD~1").out.startswith("1 version")
    told = lepton("fetch", "--all", "--json").json
    assert told["schema"] == "git-lepton.fetch/1"
    assert [version["blake3"] for version in told["brought"]] == [history[0].blake3]
    assert told["missing"] == []
    assert lepton("fsck").out.startswith("3 versions")


def test_fetch_of_what_nobody_has_names_who_committed_it_and_heals_from_elsewhere(
    lepton: Lepton,
    clone: Repo,
    repo: Repo,
    remote: Path,
    history: tuple[Manifest, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    git(remote, "update-ref", "-d", model_ref(history[2].blake3))
    git(remote, "update-ref", "-d", f"refs/lepton/index/{history[2].blake3}")
    assert clone.work_tree is not None
    monkeypatch.chdir(clone.work_tree)
    answer = lepton("fetch")
    assert answer.status == 8
    assert f"{PATH} (192 KiB, commit " in answer.err
    assert "by A U Thor" in answer.err
    assert "--from URL" in answer.err
    assert repo.work_tree is not None
    assert lepton("fetch", "--from", os.fspath(repo.work_tree)).status == 0
    with Store(clone) as store:
        assert store.has(history[2].blake3)


def test_prune_plans_asks_and_deletes(lepton: Lepton, repo: Repo, history: tuple[Manifest, ...]) -> None:
    with Store(repo) as store:
        dead = commit(repo, model_bytes(seed=9))
        git(Path.cwd(), "reset", "-q", "--hard", "HEAD~1")
        git(Path.cwd(), "reflog", "expire", "--expire=now", "--all")
        assert store.has(dead.blake3)
    young = lepton("prune", "--dry-run")
    assert "1 version nothing names, but came within the grace" in young.out
    plan = lepton("prune", "--grace", "0", "--dry-run")
    assert (plan.status, dead.blake3 in plan.out) == (0, True)
    refused = lepton("prune", "--grace", "0")
    assert (refused.status, "--yes carries the plan out" in refused.err) == (2, True)
    assert len(refs(Path.cwd())) == 4
    done = lepton("prune", "--grace", "0", "--yes", "--json").json
    assert (done["schema"], done["dead"], done["done"]) == ("git-lepton.prune/1", [dead.blake3], True)
    assert len(refs(Path.cwd())) == 3
    assert lepton("prune", "--grace", "0").out.endswith("nothing to prune\n")


def test_prune_of_a_remote(lepton: Lepton, repo: Repo, remote: Path, history: tuple[Manifest, ...]) -> None:
    git(Path.cwd(), "push", "-q", "origin", "main")
    dead = commit(repo, model_bytes(seed=9))
    assert lepton("push").status == 0
    git(Path.cwd(), "reset", "-q", "--hard", "HEAD~1")
    git(Path.cwd(), "reflog", "expire", "--expire=now", "--all")
    assert "nothing to prune" in lepton("prune", "--remote", "origin", "--dry-run").out
    done = lepton("prune", "--remote", "origin", "--grace", "0", "--yes")
    assert (done.status, dead.blake3 in done.out) == (0, True)
    assert len(refs(remote)) == 3
    assert lepton("fsck", "--remote", "origin").status == 0


def test_prune_of_a_remote_with_branches_that_are_not_here(
    lepton: Lepton, clone: Repo, remote: Path, history: tuple[Manifest, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_id = git(remote, "commit-tree", "-m", "other", "main^{tree}")
    git(remote, "update-ref", "refs/heads/other", commit_id)
    answer = lepton("prune", "--remote", "origin", "--dry-run")
    assert answer.status == 2
    assert "git fetch --tags origin" in answer.err


def test_migrate(lepton: Lepton, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repo.work_tree is not None
    monkeypatch.chdir(repo.work_tree)
    data = model_bytes(rows=512)
    Path("m.safetensors").write_bytes(data)
    git(Path.cwd(), "add", ".")
    git(Path.cwd(), "commit", "-q", "-m", "raw")
    text = lepton("migrate", "info").out
    assert "*.safetensors" in text
    assert "git lepton migrate import --include '*.safetensors' --dry-run" in text
    assert lepton("migrate", "info", "--json").json["suggestion"] == ["*.safetensors"]
    plan = lepton("migrate", "import", "-I", "*.safetensors", "--dry-run")
    assert (plan.status, "1 commit of 1 get a new id" in plan.out) == (0, True)
    assert lepton("migrate", "import", "-I", "*.safetensors", "--dry-run", "--json").json["versions"] == 1
    assert lepton("migrate", "import", "-I", "*.safetensors").status == 2
    assert git(Path.cwd(), "cat-file", "-s", "HEAD:m.safetensors") == str(len(data))
    done = lepton("migrate", "import", "-I", "*.safetensors", "--yes")
    assert (done.status, "1 version moved" in done.out) == (0, True)
    assert "m.safetensors" in lepton("ls-files", "HEAD").out
    assert lepton("migrate", "export", "--yes").status == 0
    assert lepton("ls-files", "HEAD").out == ""
    assert lepton("migrate", "export", "--yes").out.startswith("nothing to do")
    assert lepton("migrate", "import", "--above", "lots").status == 2


def test_weights_that_live_apart_from_the_code(
    lepton: Lepton, clone: Repo, history: tuple[Manifest, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`[store] url`: used once it was confirmed in a clone, and not before."""
    git(tmp_path, "init", "-q", "--bare", "weights.git")
    url = f"file://{tmp_path}/weights.git"
    Path("lepton.toml").write_text(f'[store]\nurl = "{url}"\n')
    answer = lepton("push")
    assert answer.status == 2
    assert f"git config lepton.storeUrl {url}" in answer.err
    assert url in lepton("fetch").err
    git(Path.cwd(), "config", "lepton.storeUrl", url)
    assert lepton("push").out.startswith(f"{url} got 3 versions")
    assert len(refs(tmp_path / "weights.git")) == 3
    git(Path.cwd(), "add", "lepton.toml")
    git(Path.cwd(), "commit", "-q", "-m", "weights live elsewhere")
    git(Path.cwd(), "push", "-q", "origin", "main")
    assert clone.work_tree is not None
    git(clone.work_tree, "pull", "-q")
    git(clone.work_tree, "config", "lepton.storeUrl", url)
    monkeypatch.chdir(clone.work_tree)
    assert lepton("fetch", "origin").status == 0
