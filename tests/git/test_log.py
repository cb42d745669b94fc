"""Commits and the blobs that they changed, against real git."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import GitError, UsageError
from git_lepton.git.log import BlobChange, Commit, log, parse
from git_lepton.git.repo import Repo
from git_lepton.values import Oid
from tests.support import git


@pytest.fixture
def folder(repo: Repo) -> Path:
    """A root, two branches and their merge; a file with an odd name, and a link."""
    assert repo.work_tree is not None
    top = repo.work_tree
    (top / "a").write_text("1")
    git(top, "add", ".")
    git(top, "commit", "-qm", "root: ä\n\nbody\n\nmore")
    (top / "odd\nname \x01").write_text("2")
    (top / "link").symlink_to("a")
    git(top, "add", ".")
    git(top, "commit", "-qm", "odd")
    git(top, "checkout", "-qb", "side", "HEAD~")
    git(top, "rm", "-q", "a")
    git(top, "commit", "-qm", "removed")
    git(top, "checkout", "-q", "main")
    git(top, "merge", "-q", "--no-edit", "side")
    return top


def blob(folder: Path, where: str) -> str:
    return git(folder, "rev-parse", where)


def test_commits_and_changes(repo: Repo, folder: Path) -> None:
    merge, *rest = log(repo, [])
    assert merge.changes == ()
    assert [len(commit.parents) for commit in (merge, *rest)] == [2, 1, 1, 0]
    found = {commit.subject: commit for commit in rest}
    root = found["root: ä"]
    assert root.body == "body\n\nmore"
    assert (root.author, root.email) == ("A U Thor", "author@example.com")
    assert root.oid.startswith(root.short)
    assert root.changes == (BlobChange(b"a", None, blob(folder, f"{root.oid}:a")),)  # type: ignore[arg-type]
    assert found["removed"].changes == (BlobChange(b"a", root.changes[0].after, None),)
    odd = {change.path: change for change in found["odd"].changes}
    assert odd.keys() == {b"odd\nname \x01", b"link"}
    assert odd[b"link"] == BlobChange(b"link", None, None)


def test_ranges_and_paths(repo: Repo, folder: Path) -> None:
    assert [commit.subject for commit in log(repo, ["main~..side"])] == ["removed"]
    assert {commit.subject for commit in log(repo, ["main"], [b":(top,literal)a"])} >= {"removed"}
    (merge,) = log(repo, ["main"], walk=False)
    assert [change.path for change in merge.changes] == [b"a"]


def test_what_cannot_be_read(repo: Repo, folder: Path) -> None:
    with pytest.raises(GitError):
        list(log(repo, ["nix"]))
    with pytest.raises(UsageError):
        list(log(repo, ["--all"]))


def test_configuration_changes_nothing(repo: Repo, folder: Path) -> None:
    plain = list(log(repo, []))
    for key, value in (
        ("log.showSignature", "true"),
        ("log.follow", "true"),
        ("log.showRoot", "false"),
        ("log.diffMerges", "separate"),
        ("diff.renames", "copies"),
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("log.decorate", "full"),
        ("format.pretty", "oneline"),
        ("core.abbrev", "5"),
    ):
        git(folder, "config", key, value)
    assert list(log(repo, [])) == plain


def test_a_merge_has_what_no_parent_has() -> None:
    new, *parents = (letter * 40 for letter in "abc")
    output = (
        f"{new}\0{' '.join(parents)}\0An\0a@e\x002026-01-31T00:00:00+00:00\0merged\0\0"
        f"\0::100644 100644 100644 {'1' * 40} {'2' * 40} {'3' * 40} MM\0path\0"
        f"{parents[0]}\0\0An\0a@e\x002026-01-30T00:00:00+00:00\0first\0\0"
    )
    merge, first = parse(iter([output.encode()]))
    assert merge.changes == (BlobChange(b"path", Oid("1" * 40), Oid("3" * 40)),)
    assert (first.subject, first.changes) == ("first", ())


OUTPUT = (
    b"%b\0%b %b\0An\0a@e\x002026-01-31T00:00:00+00:00\0subject\0body\n\n\0"
    b"\n:100644 120000 %b %b T\0path\0:000000 100755 %b %b A\0:odd\0"
    b"%b\0\0An\0a@e\x002026-01-30T00:00:00+00:00\0first\0\0"
) % (b"1" * 40, b"2" * 40, b"3" * 40, b"a" * 40, b"b" * 40, b"0" * 40, b"c" * 40, b"4" * 40)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, len(OUTPUT)), max_size=12))
def test_any_cut_reads_the_same(cuts: list[int]) -> None:
    def blocks() -> Iterator[bytes]:
        edges = [0, *sorted(cuts), len(OUTPUT)]
        yield from (OUTPUT[start:stop] for start, stop in pairwise(edges))

    first, second = parse(blocks())
    assert isinstance(first, Commit)
    assert first.changes == (
        BlobChange(b"path", "a" * 40, None),  # type: ignore[arg-type]
        BlobChange(b":odd", None, "c" * 40),  # type: ignore[arg-type]
    )
    assert (second.subject, second.parents, second.changes) == ("first", (), ())
