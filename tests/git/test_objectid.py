from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError, LeptonError, UsageError
from git_lepton.git.objectid import (
    BLOB_MODE,
    TREE_MODE,
    Buffer,
    Commit,
    TreeEntry,
    check_oid,
    encode_commit,
    encode_tree,
    hash_object,
    hash_objects,
    parse_commit,
    parse_tree,
)
from git_lepton.git.repo import ObjectFormat, Repo
from git_lepton.values import Oid

NAMES = st.binary(min_size=1, max_size=8).filter(lambda n: not {0, 47} & set(n) and n not in {b".", b".."})
ENTRIES = st.lists(
    st.builds(
        TreeEntry,
        st.sampled_from([TREE_MODE, BLOB_MODE, 0o100755, 0o120000]),
        NAMES,
        st.binary(min_size=20, max_size=20).map(lambda b: Oid(b.hex())),
    ),
    unique_by=lambda e: e.name,
    max_size=8,
)


def test_hash_object_is_git_s(repo: Repo) -> None:
    ours = hash_object("blob", [b"he", memoryview(b"llo"), bytearray(b"\n")])
    assert ours == repo.git("hash-object", "--stdin", input=b"hello\n").stdout.decode().strip()
    assert hash_object("blob", [], "sha256").startswith("473a0f4c3be8a936")


@pytest.mark.parametrize("algo", ["sha1", "sha256"])
@pytest.mark.parametrize("sizes", [[], [5], [60_000] * 35, [200_000] * 5 + [1, 0], [300_000, 1, 2, 3, 4]])
def test_many_are_hashed_as_one_is(sizes: list[int], algo: ObjectFormat) -> None:
    contents: list[list[Buffer]] = []
    for size in sizes:
        data = memoryview(random.randbytes(size))
        contents.append([data[: size // 3], bytes(data[size // 3 :])])
    assert hash_objects("blob", contents, algo) == [hash_object("blob", parts, algo) for parts in contents]


@given(ENTRIES)
@settings(deadline=None, max_examples=50)
def test_trees_come_back(entries: list[TreeEntry]) -> None:
    content = encode_tree(entries)
    assert set(parse_tree(content)) == set(entries)
    assert encode_tree(parse_tree(content)) == content


def test_tree_is_git_s(repo: Repo) -> None:
    blob = Oid(repo.git("hash-object", "-w", "--stdin", input=b"x").stdout.decode().strip())
    tree = Oid(repo.git("mktree", input=b"").stdout.decode().strip())
    # A folder sorts as if its name ended in a slash: a-b, a, a0.
    entries = [TreeEntry(TREE_MODE, b"a", tree)] + [TreeEntry(BLOB_MODE, n, blob) for n in (b"a0", b"a-b", b"\xff \n")]
    content = encode_tree(entries)
    oid = repo.git("hash-object", "-w", "-t", "tree", "--stdin", input=content).stdout.decode().strip()
    lines = b"".join(
        b"%06o %s %s\t%s\0" % (e.mode, b"tree" if e.mode == TREE_MODE else b"blob", e.oid.encode(), e.name)
        for e in reversed(entries)
    )
    assert repo.git("mktree", "-z", input=lines).stdout.decode().strip() == oid
    assert hash_object("tree", [content]) == oid


@pytest.mark.parametrize("name", [b"", b"a/b", b".", b"..", b"a\0"])
def test_names_that_no_tree_has(name: bytes) -> None:
    with pytest.raises(FrameError):
        encode_tree([TreeEntry(BLOB_MODE, name, Oid("0" * 40))])


def test_a_name_twice() -> None:
    with pytest.raises(FrameError):
        encode_tree([TreeEntry(BLOB_MODE, b"a", Oid("0" * 40)), TreeEntry(TREE_MODE, b"a", Oid("1" * 40))])


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda b: b"100644 a\0" + b))
@settings(deadline=None, max_examples=50)
def test_hostile_trees_and_commits(content: bytes) -> None:
    for parse in (parse_tree, parse_commit):
        try:
            parse(content)
        except LeptonError as error:
            assert isinstance(error, FrameError)


def test_commit_is_git_s(repo: Repo) -> None:
    tree = Oid(repo.git("mktree", input=b"").stdout.decode().strip())
    who = "git-lepton <> 0 +0000"
    parents: tuple[Oid, ...] = ()
    for _ in range(3):
        commit = Commit(tree, parents, who, who, "a\n\nbody\n")
        content = encode_commit(commit)
        oid = Oid(repo.git("hash-object", "-w", "-t", "commit", "--stdin", input=content).stdout.decode().strip())
        assert oid == hash_object("commit", [content])
        assert parse_commit(content) == commit
        parents = (oid, *parents)
    assert repo.git("fsck", "--strict", "--no-dangling").status == 0


def test_commit_with_headers_that_we_do_not_know() -> None:
    oid = "a" * 40
    text = f"tree {oid}\nauthor A\ncommitter C\ngpgsig -----\n tree of the signature\n parent x\n\nm\n\nn"
    assert parse_commit(text.encode()) == Commit(Oid(oid), (), "A", "C", "m\n\nn")
    for bad in (f"tree {oid}\ncommitter C\n\n", f"tree {oid}\ntree {oid}\nauthor A\ncommitter C\n\n", "tree x\n\n", ""):
        with pytest.raises(FrameError):
            parse_commit(bad.encode())


def test_oids() -> None:
    check_oid("a" * 40)
    check_oid("0" * 64)
    for text in ("", "HEAD", "a" * 39, "A" * 40, "a" * 40 + "\n", "--help"):
        with pytest.raises(UsageError):
            check_oid(text)
