from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_lepton.errors import GitError, UsageError
from git_lepton.git.lstree import TreeItem, blobs_in_history, ls_tree, rev_parse
from git_lepton.git.objectid import hash_object
from git_lepton.git.repo import Repo, discover
from git_lepton.values import Oid
from tests.support import git

NAMES = [
    b"plain",
    b"with space",
    b"new\nline",
    b'tab\tand "quote"',
    b"\xff\xfe",
    b"dir/x",
    b"dir/sub/y",
    b":(top)z",
    b"*",
]


def write(repo: Repo, path: bytes, content: bytes) -> Oid:
    target = Path(os.fsdecode(bytes(repo.cwd) + b"/" + path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hash_object("blob", [content], repo.object_format)


def commit(repo: Repo, **options: str) -> Oid:
    repo.git("add", "-A")
    repo.git("commit", "-qm", "m", "--allow-empty")
    return rev_parse(repo, "HEAD")


def test_ls_tree(repo: Repo) -> None:
    oids = {name: write(repo, name, b"content of " + name) for name in NAMES}
    head = commit(repo)
    expected = [TreeItem(0o100644, "blob", oids[n], None, n) for n in sorted(NAMES)]
    assert ls_tree(repo, "HEAD") == expected == ls_tree(repo, head)
    assert [i.size for i in ls_tree(repo, "HEAD", [b"plain"], sizes=True)] == [len(b"content of plain")]
    assert [i.path for i in ls_tree(repo, "HEAD", [b"dir", b"*", b":(top)z", b"none"])] == [
        b"*",
        b":(top)z",
        b"dir/sub/y",
        b"dir/x",
    ]
    many = [b"none%d" % n for n in range(1200)]
    assert [i.path for i in ls_tree(repo, "HEAD", [*many, b"plain"])] == [b"plain"]


def test_links_and_submodules_are_listed_with_their_modes(repo: Repo, tmp_path: Path) -> None:
    write(repo, b"a", b"a")
    commit(repo)
    (repo.cwd / "link").symlink_to("a")
    (repo.cwd / "a").chmod(0o755)
    git(repo.cwd, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo.cwd), "sub")
    commit(repo)
    kinds = {i.path: (i.mode, i.type) for i in ls_tree(repo, "HEAD", sizes=True)}
    assert kinds[b"a"] == (0o100755, "blob")
    assert kinds[b"link"] == (0o120000, "blob")
    assert kinds[b"sub"] == (0o160000, "commit")
    assert {path for _, path in blobs_in_history(repo, ["HEAD"])} == {b"a", b".gitmodules"}


def test_rev_parse(repo: Repo) -> None:
    head = commit(repo)
    assert rev_parse(repo, "HEAD") == head
    assert rev_parse(repo, "HEAD", kind="tree") == Oid(repo.git("rev-parse", "HEAD^{tree}").stdout.decode().strip())
    for bad in ("nothing", "--all", "-h", "", "HEAD:none", "0" * 40 + "x"):
        with pytest.raises(UsageError, match="unknown revision"):
            rev_parse(repo, bad)
    with pytest.raises(UsageError):
        rev_parse(repo, "HEAD", kind="blob")


def test_history(repo: Repo) -> None:
    first = write(repo, b"m one", b"1")
    base = commit(repo)
    second = write(repo, b"m one", b"2")
    other = write(repo, b"dir/new\nline", b"3")
    commit(repo)
    (repo.cwd / "m one").unlink()
    head = commit(repo)
    back = write(repo, b"again", b"1")
    head = commit(repo)
    everything = {(first, b"m one"), (second, b"m one"), (other, b"dir/new\nline"), (back, b"again")}
    found = list(blobs_in_history(repo, [head]))
    assert set(found) == everything
    assert len(found) == len(everything)
    assert set(blobs_in_history(repo, ["HEAD"], [base])) == everything - {(first, b"m one")}
    assert set(blobs_in_history(repo, [head], [base, Oid("1" * 40)])) == everything - {(first, b"m one")}
    assert list(blobs_in_history(repo, [head], [head])) == []
    assert list(blobs_in_history(repo, [])) == []


def test_merges_are_seen_from_every_side(repo: Repo) -> None:
    write(repo, b"f", b"base")
    commit(repo)
    repo.git("checkout", "-qb", "side")
    side = write(repo, b"s", b"side")
    write(repo, b"f", b"side")
    commit(repo)
    repo.git("checkout", "-q", "main")
    write(repo, b"f", b"main")
    main = commit(repo)
    repo.git("merge", "-q", "--no-commit", "side", check=False)
    merged = write(repo, b"f", b"made in the merge")
    commit(repo)
    found = set(blobs_in_history(repo, ["HEAD"], [main]))
    assert (merged, b"f") in found
    assert (side, b"s") in found


def test_configuration_does_not_matter(repo: Repo) -> None:
    for key, value in {
        "diff.renames": "copies",
        "diff.relative": "true",
        "diff.noprefix": "true",
        "log.showSignature": "true",
        "log.diffMerges": "off",
        "log.showRoot": "false",
        "diff.external": "false",
        "color.ui": "always",
        "diff.ignoreSubmodules": "none",
    }.items():
        repo.git("config", key, value)
    oid = write(repo, b"a", b"text\n" * 50)
    commit(repo)
    (repo.cwd / "a").rename(repo.cwd / "b")
    commit(repo)
    assert set(blobs_in_history(repo, ["HEAD"])) == {(oid, b"a"), (oid, b"b")}


def test_history_that_is_not_there(repo: Repo) -> None:
    with pytest.raises(GitError):
        list(blobs_in_history(repo, ["nothing"]))
    for bad in ("--all", "^HEAD", "a\nb", ""):
        with pytest.raises(UsageError):
            list(blobs_in_history(repo, [bad]))


def test_leaving_early_leaves_nothing_running(repo: Repo) -> None:
    for n in range(3):
        write(repo, b"f", b"%d" % n)
        commit(repo)
    walk = blobs_in_history(repo, ["HEAD"])
    next(walk)
    walk.close()  # type: ignore[attr-defined]


def test_bare_sha256_and_shallow(tmp_path: Path, env: dict[str, str]) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "r")
    repo = discover(tmp_path / "r")
    one = write(repo, b"f", b"1")
    commit(repo)
    two = write(repo, b"f", b"2")
    commit(repo)
    git(tmp_path, "clone", "-q", "--bare", "r", "bare.git")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{tmp_path}/r", "shallow")
    assert set(blobs_in_history(discover(tmp_path / "bare.git"), ["HEAD"])) == {(one, b"f"), (two, b"f")}
    assert set(blobs_in_history(discover(tmp_path / "shallow"), ["HEAD"])) == {(two, b"f")}
