"""Importing raw weights: at HEAD, and through history."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.errors import RaceLostError, UsageError
from git_lepton.git.repo import Repo, discover
from git_lepton.migrate.export import execute_export, plan_export
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.plan import Report, Request
from git_lepton.store import manifest
from git_lepton.store.store import Store
from tests.migrate.samples import ODD, all_refs, commit, listing, rich_history, write
from tests.support import git, model_bytes

EVERYTHING = Request(include=("*.safetensors", "*.bin"), everything=True)


@pytest.fixture
def folder(repo: Repo) -> Path:
    assert repo.work_tree is not None
    return repo.work_tree


def run_import(repo: Repo, request: Request, object_map: Path | None = None) -> Report:
    with Store(repo) as store:
        return execute_import(store, plan_import(repo, request), object_map=object_map)


def run_export(repo: Repo, request: Request) -> Report:
    with Store(repo) as store:
        return execute_export(store, plan_export(repo, request))


def blob(folder: Path, rev: str) -> bytes:
    return os.fsencode(git(folder, "cat-file", "blob", rev)) + b"\n"


def is_manifest(folder: Path, rev: str) -> bool:
    return git(folder, "cat-file", "blob", rev).startswith("git-lepton 1 ")


def details(folder: Path, rev: str) -> str:
    return git(folder, "log", "-1", "--format=%an|%ae|%ad|%cn|%ce|%cd|%e|%B", "--date=raw", rev)


def test_head_only_makes_one_commit_and_rewrites_nothing(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    before, old_refs = git(folder, "rev-parse", "HEAD"), all_refs(folder)
    request = Request(include=("*.safetensors",), no_rewrite=True)
    plan = plan_import(repo, request)
    assert all_refs(folder) == old_refs
    assert (plan.rewritten, plan.versions, [m.ref for m in plan.moves]) == (1, 2, ["refs/heads/main"])
    report = run_import(repo, request)
    assert git(folder, "rev-parse", "HEAD^") == before
    assert report.backup is None
    assert is_manifest(folder, "HEAD:models/b.safetensors")
    assert is_manifest(folder, f"HEAD:{ODD}")
    assert git(folder, "show", "HEAD:.gitattributes").splitlines() == [
        "*.safetensors filter=lepton diff=lepton merge=lepton -text"
    ]
    assert git(folder, "status", "--porcelain") == ""
    assert (folder / "models/b.safetensors").read_bytes() == model_bytes(1, layer_1=9)
    assert listing(folder, "HEAD")[ODD].startswith("100755 blob")
    assert run_import(repo, request).moves == ()


def test_history_is_rewritten_and_metadata_kept(repo: Repo, folder: Path, tmp_path: Path) -> None:
    rich_history(folder)
    names = ["main", "side", "text-only", "light", "v1", "outer", "text"]
    old = {name: git(folder, "rev-parse", name) for name in names}
    old_commits = git(folder, "rev-list", "--all").splitlines()
    old_details = {oid: details(folder, oid) for oid in old_commits}
    old_tag = git(folder, "cat-file", "tag", "v1").split("\n", 1)[1]
    report = run_import(repo, EVERYTHING, tmp_path / "map")
    new = {name: git(folder, "rev-parse", name) for name in names}
    assert {name for name in names if new[name] == old[name]} == {"text-only", "text"}
    mapping = dict(line.split() for line in (tmp_path / "map").read_text().splitlines())
    assert {name for name in names if mapping.get(old[name], old[name]) != new[name]} == set()
    for oid in old_commits:
        renamed = mapping.get(oid, oid)
        assert details(folder, renamed) == old_details[oid]
        parents = git(folder, "log", "-1", "--format=%P", oid).split()
        assert git(folder, "log", "-1", "--format=%P", renamed).split() == [mapping.get(p, p) for p in parents]
    assert git(folder, "cat-file", "tag", "v1").split("\n", 1)[1] == old_tag
    assert git(folder, "rev-parse", "outer^{tag}") == new["outer"]
    assert git(folder, "rev-parse", "outer^{commit}") == new["light"]
    assert report.backup is not None
    for name in ("main", "side"):
        assert git(folder, "rev-parse", f"{report.backup}heads/{name}") == old[name]
    assert git(folder, "rev-parse", f"{report.backup}tags/v1") == old["v1"]
    assert git(folder, "status", "--porcelain") == ""
    git(folder, "fsck", "--strict")
    assert report.rewritten == len([o for o in mapping if o in old_commits])


def test_only_files_that_match_change_and_links_and_submodules_stay(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    old = {oid: listing(folder, oid) for oid in git(folder, "rev-list", "--all").splitlines()}
    report = run_import(repo, EVERYTHING)
    assert report.backup is not None
    for oid in git(folder, "rev-list", f"--glob={report.backup}*").splitlines():
        subject = git(folder, "log", "-1", "--format=%s", oid)
        twin = next(
            c
            for c in git(folder, "rev-list", "main", "side").splitlines()
            if git(folder, "log", "-1", "--format=%s", c) == subject
        )
        now = listing(folder, twin)
        assert now.keys() == old[oid].keys()
        for path, head in old[oid].items():
            mode, kind, _ = now[path].split()
            assert [mode, kind] == head.split()[:2]
            weights = path.endswith((".safetensors", ".bin")) and mode != "120000"
            assert is_manifest(folder, f"{twin}:{path}") == weights if kind == "blob" else now[path] == head
            assert weights or now[path] == head


def test_import_then_export_gives_the_identical_trees(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    old = {name: git(folder, "rev-parse", f"{name}^{{tree}}") for name in ("main", "side", "v1", "main~1", "main~3")}
    commits = git(folder, "rev-parse", "main", "side", "light")
    run_import(repo, EVERYTHING)
    assert git(folder, "rev-parse", "main^{tree}") != old["main"]
    report = run_export(repo, Request(everything=True))
    assert {name: git(folder, "rev-parse", f"{name}^{{tree}}") for name in old} == old
    assert git(folder, "rev-parse", "main", "side", "light") == commits
    assert report.versions == 4
    assert git(folder, "status", "--porcelain") == ""


def test_weights_come_back_from_the_store(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    run_import(repo, EVERYTHING)
    with Store(repo) as store:
        for rev, data in (("main", model_bytes(1, layer_1=9)), ("light:models/a.safetensors", model_bytes(1))):
            name = rev if ":" in rev else f"{rev}:models/b.safetensors"
            found = manifest.parse(blob(folder, name))
            out = bytearray()
            store.restore_to(found.blake3, out.extend)
            assert bytes(out) == data


def test_a_plan_changes_nothing(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    state = (git(folder, "for-each-ref"), git(folder, "count-objects", "-v"), sorted(folder.rglob("*")))
    index = (folder / ".git/index").read_bytes()
    plan = plan_import(repo, EVERYTHING)
    assert not plan.empty
    assert (git(folder, "for-each-ref"), git(folder, "count-objects", "-v"), sorted(folder.rglob("*"))) == state
    assert (folder / ".git/index").read_bytes() == index
    groups = {group.pattern: group for group in plan.groups}
    assert groups["*.safetensors"].versions == 3
    assert groups["*.safetensors"].paths == 3
    assert groups["*.bin"].bytes == len(b"#!/bin/sh\nexit 0\n")


def test_named_refs_leave_others_behind_and_say_so(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    plan = plan_import(repo, Request(include=("*.safetensors",), refs=("side",)))
    assert [move.ref for move in plan.moves] == ["refs/heads/side"]
    assert set(plan.left_behind) == {"refs/heads/main", "refs/tags/light", "refs/tags/v1", "refs/tags/outer"}


def test_above_and_exclude_name_exact_paths(repo: Repo, folder: Path) -> None:
    commit(folder, "one", **{"big one.bin": b"\0" * 5000, "small.bin": b"x", "dir/big.dat": b"\1" * 5000})
    commit(folder, "two", **{"big one.bin": b"now small", "skip/big.bin": b"\2" * 9000})
    run_import(repo, Request(above=4096, exclude=("skip/",)))
    assert sorted(git(folder, "show", "HEAD:.gitattributes").splitlines()) == [
        '"/big one.bin" filter=lepton diff=lepton merge=lepton -text',
        "/dir/big.dat filter=lepton diff=lepton merge=lepton -text",
    ]
    assert is_manifest(folder, "HEAD:big one.bin")
    assert is_manifest(folder, "HEAD~1:big one.bin")
    assert not is_manifest(folder, "HEAD:skip/big.bin")
    assert not is_manifest(folder, "HEAD:small.bin")
    assert git(folder, "status", "--porcelain") == ""


def test_tracking_begins_with_the_first_weights_and_stays(repo: Repo, folder: Path) -> None:
    first = commit(folder, "text", **{"a.txt": b"a\n"})
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    git(folder, "rm", "-q", "w.bin")
    git(folder, "commit", "-q", "-m", "gone")
    commit(folder, "more text", **{"b.txt": b"b\n"})
    run_import(repo, Request(include=("*.bin",)))
    assert git(folder, "rev-parse", "HEAD~3") == first
    assert "*.bin" in git(folder, "show", "HEAD:.gitattributes")


def test_existing_attributes_are_kept(repo: Repo, folder: Path) -> None:
    text = b"*.txt text\r\n# a comment\r\n*.png binary"
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100, ".gitattributes": text})
    run_import(repo, Request(include=("*.bin",)))
    now = os.fsencode(git(folder, "cat-file", "blob", "HEAD:.gitattributes"))
    assert now == text + b"\n*.bin filter=lepton diff=lepton merge=lepton -text"


def test_empty_files_stay_empty(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100, "empty.bin": b""})
    run_import(repo, Request(include=("*.bin",)))
    assert git(folder, "cat-file", "-s", "HEAD:empty.bin") == "0"
    assert is_manifest(folder, "HEAD:w.bin")


def test_many_versions_leave_few_packs_and_refs(repo: Repo, folder: Path) -> None:
    for number in range(30):
        commit(folder, str(number), **{f"{number}.bin": bytes([number]) * 1000})
    run_import(repo, Request(include=("*.bin",)))
    assert len(list((folder / ".git/objects/pack").glob("*.pack"))) < 20
    assert not list((folder / ".git/refs/lepton/models").glob("*"))
    git(folder, "fsck", "--strict")


def test_a_nested_attribute_that_contradicts_is_refused(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"m/w.bin": b"\0\1\2" * 100, "m/.gitattributes": b"*.bin -filter\n"})
    with pytest.raises(UsageError, match=r"m/w\.bin is meant"):
        plan_import(repo, Request(include=("*.bin",)))


def test_files_that_git_reads_itself_are_refused(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"m/w": b"\0\1\2" * 100, "m/.gitignore": b"x\n"})
    with pytest.raises(UsageError, match=r"m/\.gitignore would be stored as weights"):
        plan_import(repo, Request(include=("m/**",)))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(include=("*.bin",), refs=("nowhere",)), "no branch or tag"),
        (Request(include=("*.bin",), refs=("main",), everything=True), "either name refs"),
        (Request(include=("*.bin",), refs=("main",), no_rewrite=True), "give no refs"),
        (Request(include=("!x",)), "no such pattern"),
        (Request(include=("",)), "no such pattern"),
    ],
)
def test_requests_that_make_no_sense(repo: Repo, folder: Path, request_: Request, message: str) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    with pytest.raises(UsageError, match=message):
        plan_import(repo, request_)


def test_no_commit_detached_and_shallow_are_refused(repo: Repo, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no commit yet"):
        plan_import(repo, Request(include=("*.bin",)))
    commit(folder, "one", **{"w.bin": b"\0\1\2" * 100})
    commit(folder, "two", **{"w.bin": b"\0\1\2" * 101})
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{folder}", "shallow")
    with pytest.raises(UsageError, match="shallow"):
        plan_import(discover(tmp_path / "shallow"), Request(include=("*.bin",)))
    run_import(discover(tmp_path / "shallow"), Request(include=("*.bin",), no_rewrite=True))
    git(folder, "checkout", "-q", "--detach")
    with pytest.raises(UsageError, match="detached"):
        plan_import(repo, Request(include=("*.bin",)))


def test_a_dirty_work_tree_is_refused(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100, "a.txt": b"a"})
    plan = plan_import(repo, Request(include=("*.bin",)))
    write(folder, "a.txt", b"changed")
    with pytest.raises(UsageError, match=r"uncommitted changes: a\.txt"):
        plan_import(repo, Request(include=("*.bin",)))
    with Store(repo) as store, pytest.raises(UsageError, match="uncommitted"):
        execute_import(store, plan)


def test_a_ref_that_moved_since_the_plan_wins(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    plan = plan_import(repo, Request(include=("*.bin",)))
    commit(folder, "more", **{"a.txt": b"a"})
    before = all_refs(folder)
    with Store(repo) as store, pytest.raises(RaceLostError):
        execute_import(store, plan)
    assert all_refs(folder) == before


def test_linked_work_trees_are_settled_too(repo: Repo, folder: Path, tmp_path: Path) -> None:
    rich_history(folder)
    git(folder, "worktree", "add", "-q", str(tmp_path / "linked tree"), "side")
    report = run_import(repo, EVERYTHING)
    assert len(report.settled) == 2
    for place in (folder, tmp_path / "linked tree"):
        assert git(place, "status", "--porcelain") == ""
        assert git(place, "diff", "--cached", "HEAD", "--name-only") == ""


def test_a_bare_repository(repo: Repo, folder: Path, tmp_path: Path) -> None:
    rich_history(folder)
    git(tmp_path, "clone", "-q", "--bare", str(folder), "bare.git")
    bare = discover(tmp_path / "bare.git")
    report = run_import(bare, EVERYTHING)
    assert report.settled == ()
    assert is_manifest(tmp_path / "bare.git", "main:models/b.safetensors")


def test_a_sha256_repository(tmp_path: Path, env: dict[str, str]) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "wide")
    folder = tmp_path / "wide"
    rich_history(folder)
    tree = git(folder, "rev-parse", "main^{tree}")
    run_import(discover(folder), EVERYTHING)
    assert git(folder, "status", "--porcelain") == ""
    git(folder, "fsck", "--strict")
    run_export(discover(folder), Request(everything=True))
    assert git(folder, "rev-parse", "main^{tree}") == tree


def test_signatures_are_dropped_and_counted(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    content = git(folder, "cat-file", "commit", "HEAD")
    head, _, message = content.partition("\n\n")
    signature = "-----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----"
    signed = f"{head}\ngpgsig {signature}\nx-custom kept\n\n{message}\n"
    oid = git(folder, "hash-object", "-t", "commit", "-w", "--stdin", data=signed.encode())
    git(folder, "update-ref", "refs/heads/main", oid)
    tag = f"object {oid}\ntype commit\ntag s\ntagger A <a@b> 1 +0000\n\nm\n"
    tag += "-----BEGIN SSH SIGNATURE-----\nq\n-----END SSH SIGNATURE-----\n"
    git(folder, "update-ref", "refs/tags/s", git(folder, "mktag", data=tag.encode()))
    plan = plan_import(repo, Request(include=("*.bin",), everything=True))
    assert plan.signed == 2
    run_import(repo, Request(include=("*.bin",), everything=True))
    now = git(folder, "cat-file", "commit", "HEAD")
    assert "gpgsig" not in now
    assert "\nx-custom kept\n\nweights" in now
    assert git(folder, "cat-file", "tag", "s").endswith("\n\nm")


def test_symbolic_branches_follow(repo: Repo, folder: Path) -> None:
    commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    git(folder, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    run_import(repo, Request(include=("*.bin",), everything=True))
    assert git(folder, "symbolic-ref", "refs/heads/alias") == "refs/heads/main"
    assert git(folder, "rev-parse", "alias") == git(folder, "rev-parse", "main")


def test_replacement_refs_are_not_obeyed(repo: Repo, folder: Path) -> None:
    first = commit(folder, "weights", **{"w.bin": b"\0\1\2" * 100})
    second = commit(folder, "weights, tuned", **{"w.bin": b"\0\1\2" * 101})
    commit(folder, "text", **{"a.txt": b"a"})
    git(folder, "replace", second, first)
    run_import(repo, Request(include=("*.bin",)))
    git(folder, "replace", "-d", second)
    assert git(folder, "rev-list", "--count", "main") == "3"


def test_an_undo_by_hand(repo: Repo, folder: Path) -> None:
    rich_history(folder)
    before = git(folder, "rev-parse", "main", "v1")
    report = run_import(repo, EVERYTHING)
    assert report.backup is not None
    for line in git(folder, "for-each-ref", "--format=%(objectname) %(refname)", report.backup).splitlines():
        oid, name = line.split(" ", 1)
        git(folder, "update-ref", "refs/" + name.removeprefix(report.backup), oid)
    git(folder, "reset", "-q", "--hard")
    assert git(folder, "rev-parse", "main", "v1") == before
    assert (folder / "models/b.safetensors").read_bytes() == model_bytes(1, layer_1=9)
