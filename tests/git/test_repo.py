from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.errors import GitError, UsageError
from git_lepton.git import repo as module
from git_lepton.git.repo import (
    Repo,
    config_bool,
    config_get,
    config_get_all,
    config_int,
    config_set,
    config_unset,
    discover,
)
from tests.support import git


def commit(folder: Path, name: str = "a.txt", text: str = "a") -> str:
    (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "c")
    return git(folder, "rev-parse", "HEAD")


def test_plain(repo: Repo, tmp_path: Path) -> None:
    top = tmp_path / "repo"
    assert (repo.git_dir, repo.common_dir, repo.work_tree) == (top / ".git", top / ".git", top)
    assert (repo.object_format, repo.oid_size, repo.null_oid) == ("sha1", 20, "0" * 40)
    assert repo.object_dir == top / ".git/objects"
    assert repo.index_file == top / ".git/index"
    assert repo.lepton_dir == top / ".git/lepton"
    assert repo.ref_format == "files"


def test_from_a_folder_or_file_inside(repo: Repo, tmp_path: Path) -> None:
    inside = tmp_path / "repo/x/y"
    inside.mkdir(parents=True)
    (inside / "f").write_bytes(b"")
    assert discover(inside) == discover(inside / "f") == repo


def test_bare_and_sha256(tmp_path: Path, env: dict[str, str]) -> None:
    git(tmp_path, "init", "-q", "--bare", "--object-format=sha256", "b.git")
    bare = discover(tmp_path / "b.git")
    assert bare.work_tree is None
    assert bare.cwd == bare.git_dir == bare.common_dir == tmp_path / "b.git"
    assert (bare.object_format, bare.oid_size) == ("sha256", 32)


def test_inside_the_git_folder(repo: Repo) -> None:
    inside = discover(repo.git_dir)
    assert (inside.git_dir, inside.work_tree) == (repo.git_dir, None)


def test_work_trees_share_the_common_folder(repo: Repo, tmp_path: Path) -> None:
    assert repo.work_tree is not None
    commit(repo.work_tree)
    git(repo.work_tree, "worktree", "add", "-q", "-b", "second", str(tmp_path / "second tree"))
    second = discover(tmp_path / "second tree")
    assert second.common_dir == repo.common_dir
    assert second.git_dir.parent == repo.git_dir / "worktrees"
    assert second.index_file == second.git_dir / "index"
    assert second.object_dir == repo.object_dir


def test_submodule(repo: Repo, tmp_path: Path) -> None:
    assert repo.work_tree is not None
    commit(repo.work_tree)
    git(tmp_path, "init", "-q", "super")
    git(
        tmp_path / "super",
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(repo.work_tree),
        "sub",
    )
    sub = discover(tmp_path / "super/sub")
    assert sub.git_dir == sub.common_dir == tmp_path / "super/.git/modules/sub"
    assert sub.work_tree == tmp_path / "super/sub"


@pytest.mark.parametrize("name", ["with space", "new\nline", "--lepton", "\udcff\udcfe", "é日本"])
def test_strange_folders(tmp_path: Path, env: dict[str, str], name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    git(folder, "init", "-q")
    found = discover(folder)
    assert found.work_tree == folder
    assert found.git_dir == folder / ".git"
    assert found.git("rev-parse", "--is-inside-work-tree").stdout == b"true\n"


def test_no_repository(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not in a git repository") as caught:
        discover(tmp_path)
    assert caught.value.hint == "go to your repository, or make one: git init"
    with pytest.raises(UsageError, match=r"not in a git repository: .*/nowhere"):
        discover(tmp_path / "nowhere")


def test_a_given_path_ignores_the_variables_of_another_repository(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(repo.git_dir))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere/objects")
    other = discover(tmp_path / "other")
    assert other.git_dir == tmp_path / "other/.git"
    assert other.object_dir == tmp_path / "other/.git/objects"
    (tmp_path / "other/f").write_bytes(b"")
    other.git("add", "f")
    assert other.index_file.exists()


def test_without_path_relative_variables_are_kept(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repo.work_tree is not None
    commit(repo.work_tree)
    monkeypatch.chdir(repo.work_tree)
    for name, value in {
        "GIT_DIR": ".git",
        "GIT_WORK_TREE": ".",
        "GIT_INDEX_FILE": ".git/next-index-1",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "../alt",
    }.items():
        monkeypatch.setenv(name, value)
    here = discover()
    assert here.work_tree == repo.work_tree
    assert here.index_file == repo.git_dir / "next-index-1"
    assert here.alternates == (repo.work_tree / "../alt",)
    monkeypatch.chdir(tmp_path)
    here.git("read-tree", "HEAD")
    assert here.index_file.exists()
    assert here.git("ls-files").stdout == b"a.txt\n"


def test_from_a_subfolder_the_index_of_the_environment_is_git_s(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """git reads a relative GIT_INDEX_FILE from the top of the work tree, wherever it was started."""
    assert repo.work_tree is not None
    folder = repo.work_tree / "sub"
    folder.mkdir()
    commit(repo.work_tree)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_INDEX_FILE", "other-index")
    git(folder, "read-tree", "HEAD")
    here = discover()
    assert here.index_file == repo.work_tree / "other-index"
    assert here.index_file.exists()
    assert here.git("ls-files", "--full-name").stdout == b"a.txt\n"


def test_in_a_hook(repo: Repo, tmp_path: Path) -> None:
    """`git commit PATH` runs pre-commit with a temporary index; from a second work tree also with GIT_DIR."""
    assert repo.work_tree is not None
    commit(repo.work_tree)
    git(repo.work_tree, "worktree", "add", "-q", str(tmp_path / "two"))
    hook = repo.git_dir / "hooks/pre-commit"
    root = Path(__file__).parents[2]
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f"#!/bin/sh\nPYTHONPATH={root} {sys.executable} -c '"
        "from git_lepton.git.repo import discover; r = discover();"
        f'print(r.work_tree, r.index_file, r.git("ls-files").stdout, file=open("{tmp_path}/out", "w"))\''
    )
    hook.chmod(0o755)
    (tmp_path / "two/b.txt").write_text("b")
    (tmp_path / "two/a.txt").write_text("changed")
    git(tmp_path / "two", "add", "b.txt")
    git(tmp_path / "two", "commit", "-qm", "x", "a.txt")
    tree, index, listed = (tmp_path / "out").read_text().split(" ", 2)
    assert tree == str(tmp_path / "two")
    assert index.startswith(str(repo.git_dir / "worktrees/two/next-index"))
    assert listed.strip() == repr(b"a.txt\n")


def test_git_errors_carry_what_git_said(repo: Repo) -> None:
    with pytest.raises(GitError, match="git rev-parse failed: fatal") as caught:
        repo.git("rev-parse", "--verify", "nothing")
    assert caught.value.status == 128
    assert caught.value.args_ == ("rev-parse", "--verify", "nothing")
    assert repo.git("rev-parse", "--verify", "nothing", check=False).status == 128


def test_without_git(repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    module.git_version.cache_clear()
    calls: list[Callable[[], object]] = [lambda: repo.git("version"), lambda: repo.git_spawn("version")]
    calls += [discover, module.git_version]
    for call in calls:
        with pytest.raises(UsageError, match="git cannot be run"):
            call()


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    module.git_version.cache_clear()
    assert module.git_version() >= module.GIT_FLOOR
    module.require_git()
    monkeypatch.setattr(module, "GIT_FLOOR", (99, 0))
    with pytest.raises(UsageError, match="too old"):
        module.require_git()


def test_config(repo: Repo) -> None:
    assert config_get(repo, "lepton.smudgeLimit") is None
    config_set(repo, "lepton.smudgeLimit", "2m")
    assert config_int(repo, "Lepton.SmudgeLimit", default=1) == 2 << 20
    assert config_int(repo, "lepton.absent", default=7) == 7
    repo.git("config", "remote.My Remote.fetch", "one\ntwo")
    repo.git("config", "--add", "remote.My Remote.fetch", "three")
    assert config_get_all(discover(repo.cwd), "remote.My Remote.fetch") == ("one\ntwo", "three")
    assert config_unset(repo, "lepton.smudgelimit")
    assert not config_unset(repo, "lepton.smudgelimit")
    with (repo.git_dir / "config").open("a") as stream:
        stream.write("[lepton]\n\tflag\n\toff = No\n\tbad = maybe\n")
    fresh = discover(repo.cwd)
    assert config_bool(fresh, "lepton.flag", default=False)
    assert not config_bool(fresh, "lepton.off", default=True)
    assert config_bool(fresh, "lepton.absent", default=True)
    with pytest.raises(UsageError, match=r"lepton\.bad"):
        config_bool(fresh, "lepton.bad", default=True)
    with pytest.raises(UsageError, match=r"lepton\.bad"):
        config_int(fresh, "lepton.bad", default=1)


def test_in_the_hook_of_a_server_with_a_work_tree(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.git_dir)
    monkeypatch.setenv("GIT_DIR", ".")
    here = discover()
    assert (here.git_dir, here.common_dir, here.work_tree) == (repo.git_dir, repo.git_dir, None)
