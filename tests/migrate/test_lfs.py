"""Coming from git-lfs, with the real git-lfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.errors import CorruptError, MissingError
from git_lepton.git.repo import Repo, discover
from git_lepton.migrate.export import execute_export, plan_export
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.info import survey
from git_lepton.migrate.plan import Request
from git_lepton.store import manifest
from git_lepton.store.store import Store
from tests.migrate.samples import all_refs, commit, keep_lfs_object, needs_lfs, pointer, write
from tests.support import git, model_bytes

LFS_LINE = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
OUR_LINE = "*.safetensors filter=lepton diff=lepton merge=lepton -text"


@pytest.fixture
def folder(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def restored(repo: Repo, rev: str) -> bytes:
    assert repo.work_tree is not None
    found = manifest.parse((git(repo.work_tree, "cat-file", "blob", rev) + "\n").encode())
    out = bytearray()
    with Store(repo) as store:
        store.restore_to(found.blake3, out.extend)
    return bytes(out)


def lfs_repository(folder: Path) -> None:
    git(folder, "lfs", "install", "--local")
    commit(folder, "before lfs", **{"readme.txt": b"x\n"})
    git(folder, "lfs", "track", "*.safetensors")
    commit(folder, "first", **{"m/a.safetensors": model_bytes(1)})
    commit(folder, "second", **{"m/a.safetensors": model_bytes(1, layer_0=5), "b.safetensors": model_bytes(2)})


@needs_lfs
def test_all_that_lfs_tracks_moves_in(repo: Repo, folder: Path) -> None:
    lfs_repository(folder)
    first = git(folder, "rev-parse", "HEAD~2")
    plan = plan_import(repo, Request())
    assert [(g.pattern, g.paths, g.versions, g.pointers) for g in plan.groups] == [("*.safetensors", 2, 3, 3)]
    assert plan.bytes == 3 * len(model_bytes(1))
    assert plan.missing == ()
    with Store(repo) as store:
        execute_import(store, plan)
    assert git(folder, "show", "HEAD:.gitattributes") == OUR_LINE
    assert git(folder, "show", "HEAD~1:.gitattributes") == OUR_LINE
    assert git(folder, "rev-parse", "HEAD~2") == first
    assert restored(repo, "HEAD:m/a.safetensors") == model_bytes(1, layer_0=5)
    assert restored(repo, "HEAD~1:m/a.safetensors") == model_bytes(1)
    assert git(folder, "status", "--porcelain") == ""
    assert (folder / "b.safetensors").read_bytes() == model_bytes(2)


@needs_lfs
def test_out_again_gives_raw_files(repo: Repo, folder: Path) -> None:
    lfs_repository(folder)
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request()))
        execute_export(store, plan_export(repo, Request()))
    assert git(folder, "ls-tree", "--name-only", "HEAD").splitlines() == ["b.safetensors", "m", "readme.txt"]
    assert int(git(folder, "cat-file", "-s", "HEAD:b.safetensors")) == len(model_bytes(2))
    assert git(folder, "status", "--porcelain") == ""


@needs_lfs
def test_absent_content_is_asked_from_the_remote(repo: Repo, folder: Path, tmp_path: Path) -> None:
    lfs_repository(folder)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "server.git")
    git(folder, "remote", "add", "origin", f"file://{tmp_path}/server.git")
    git(folder, "push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", f"file://{tmp_path}/server.git", "clone", env=None)
    clone = discover(tmp_path / "clone")
    plan = plan_import(clone, Request())
    assert {m.path for m in plan.missing} == {"m/a.safetensors", "b.safetensors"}
    assert len(plan.missing) == 3
    with Store(clone) as store:
        report = execute_import(store, plan)
    assert report.versions == 3
    assert restored(clone, "HEAD~1:m/a.safetensors") == model_bytes(1)
    # The clone had pointers on the disk; now it has the weights.
    assert (tmp_path / "clone/b.safetensors").read_bytes() == model_bytes(2)
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


def pointers_without_lfs(folder: Path) -> None:
    commit(folder, "first", **{".gitattributes": LFS_LINE, "a.safetensors": pointer(model_bytes(1))})
    commit(folder, "second", **{"a.safetensors": pointer(model_bytes(2)), "b.safetensors": pointer(model_bytes(3))})


def test_objects_are_taken_from_the_folder_of_lfs(repo: Repo, folder: Path) -> None:
    pointers_without_lfs(folder)
    for seed in (1, 2, 3):
        keep_lfs_object(folder, model_bytes(seed))
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request(include=("*.safetensors",))))
    assert git(folder, "show", "HEAD:.gitattributes") == OUR_LINE
    assert restored(repo, "HEAD:b.safetensors") == model_bytes(3)
    assert (folder / "a.safetensors").read_bytes() == model_bytes(2)
    assert git(folder, "status", "--porcelain") == ""


def test_absent_content_is_refused_or_left(repo: Repo, folder: Path) -> None:
    pointers_without_lfs(folder)
    keep_lfs_object(folder, model_bytes(2))
    keep_lfs_object(folder, model_bytes(3))
    before = all_refs(folder)
    plan = plan_import(repo, Request())
    assert [(m.path, m.size) for m in plan.missing] == [("a.safetensors", len(model_bytes(1)))]
    with Store(repo) as store:
        with pytest.raises(MissingError, match=r"1 files .*a\.safetensors"):
            execute_import(store, plan)
        assert all_refs(folder) == before
        report = execute_import(store, plan, skip_missing=True)
    assert report.skipped == plan.missing
    assert git(folder, "show", "HEAD~1:a.safetensors") == pointer(model_bytes(1)).decode().rstrip()
    assert restored(repo, "HEAD:a.safetensors") == model_bytes(2)
    # Once the content turns up, another run takes it.
    keep_lfs_object(folder, model_bytes(1))
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request()))
    assert restored(repo, "HEAD~1:a.safetensors") == model_bytes(1)


def test_an_object_with_other_bytes_is_refused(repo: Repo, folder: Path) -> None:
    pointers_without_lfs(folder)
    for seed in (1, 2, 3):
        keep_lfs_object(folder, model_bytes(seed)).write_bytes(b"\0" * len(model_bytes(seed)))
    before = all_refs(folder)
    with Store(repo) as store, pytest.raises(CorruptError):
        execute_import(store, plan_import(repo, Request()))
    assert all_refs(folder) == before


def test_raw_files_under_lfs_move_in_too_and_other_lines_stay(repo: Repo, folder: Path) -> None:
    write(folder, "m/.gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\nkeep.bin -filter\n")
    write(folder, "m/keep.bin", b"\0\1" * 50)
    commit(folder, "raw", **{".gitattributes": LFS_LINE + b"*.txt text\n", "m/a.bin": b"\0\1\2" * 100})
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request()))
    assert restored(repo, "HEAD:m/a.bin") == b"\0\1\2" * 100
    assert git(folder, "show", "HEAD:m/.gitattributes").splitlines()[1] == "keep.bin -filter"
    assert git(folder, "show", "HEAD:m/keep.bin").startswith("\0")


def test_a_file_of_git_that_lfs_holds_goes_along(repo: Repo, folder: Path) -> None:
    write(folder, "m/.gitignore", pointer(b"x\n" * 99))
    commit(
        folder, "all", **{".gitattributes": b"m/** filter=lfs diff=lfs merge=lfs -text\n", "m/a": pointer(b"a" * 500)}
    )
    keep_lfs_object(folder, b"x\n" * 99)
    keep_lfs_object(folder, b"a" * 500)
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request()))
    assert restored(repo, "HEAD:m/.gitignore") == b"x\n" * 99
    assert (folder / "m/.gitignore").read_bytes() == b"x\n" * 99


def test_only_some_of_what_lfs_tracks(repo: Repo, folder: Path) -> None:
    write(folder, "p.png", pointer(b"p" * 500))
    commit(
        folder, "x", **{".gitattributes": LFS_LINE + b"*.png filter=lfs -text\n", "a.safetensors": pointer(b"a" * 500)}
    )
    keep_lfs_object(folder, b"a" * 500)
    with Store(repo) as store:
        execute_import(store, plan_import(repo, Request(exclude=("*.png",))))
    assert git(folder, "show", "HEAD:p.png") == pointer(b"p" * 500).decode().rstrip()
    assert "*.png filter=lfs -text" in git(folder, "show", "HEAD:.gitattributes")
    assert restored(repo, "HEAD:a.safetensors") == b"a" * 500


def test_nothing_tracked_is_said(repo: Repo, folder: Path) -> None:
    commit(folder, "x", **{"a.txt": b"a"})
    plan = plan_import(repo, Request())
    assert plan.empty
    assert any("git-lfs tracks nothing" in warning for warning in plan.warnings)


def test_the_survey_counts_pointers_at_their_true_size(repo: Repo, folder: Path) -> None:
    pointers_without_lfs(folder)
    commit(folder, "more", **{"big.bin": b"\0" * 200_000, "text.txt": b"t", "tiny.bin": b"\0"})
    found = survey(repo)
    assert found.commits == 3
    groups = {group.pattern: group for group in found.groups}
    assert found.groups[0].pattern == "*.bin"
    size = len(model_bytes(1))
    weights = groups["*.safetensors"]
    assert (weights.paths, weights.versions, weights.bytes, weights.pointers) == (2, 3, 3 * size, 3)
    assert (weights.head_paths, weights.head_bytes) == (2, 2 * size)
    assert found.suggestion == ("*.bin", "*.safetensors")
    assert [g.pattern for g in survey(repo, above=100_000, everything=True).groups] == ["*.bin"]
    assert [g.pattern for g in survey(repo, include=("*.txt", "*.bin"), exclude=("big.*",)).groups] == [
        "*.bin",
        "*.txt",
    ]
    assert survey(repo, include=("*.txt",)).bytes == 1
