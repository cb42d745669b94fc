"""The pure parts: pointers, lines of `.gitattributes`, bytes of commits and tags."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError, UsageError
from git_lepton.migrate import lines
from git_lepton.migrate.engine import group_name
from git_lepton.migrate.history import header_oids, replace_commit, replace_tag, split_headers
from git_lepton.migrate.pointer import Pointer, parse
from git_lepton.migrate.selection import patterns_of
from git_lepton.values import Oid

GOOD = Pointer(hashlib.sha256(b"x").hexdigest(), 1)
OURS = b"filter=lepton diff=lepton merge=lepton -text"
LFS = b"filter=lfs diff=lfs merge=lfs -text"


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**60))
@settings(deadline=None)
def test_a_pointer_survives_its_text(digest: bytes, size: int) -> None:
    pointer = Pointer(digest.hex(), size)
    assert parse(pointer.to_bytes()) == pointer


@pytest.mark.parametrize("version", [b"http://git-media.io/v/2", b"https://hawser.github.com/spec/v1"])
def test_old_versions_are_read(version: bytes) -> None:
    assert parse(GOOD.to_bytes().replace(b"https://git-lfs.github.com/spec/v1", version)) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        b"",
        GOOD.to_bytes()[:-1],
        GOOD.to_bytes() + b"\n",
        GOOD.to_bytes().replace(b"\n", b"\r\n"),
        GOOD.to_bytes().replace(b"size 1", b"size 01"),
        GOOD.to_bytes().replace(b"size 1", b"size -1"),
        GOOD.to_bytes().replace(b"size 1", b"size " + b"9" * 20),
        GOOD.to_bytes().replace(b"sha256:", b"sha256:" + b"A"),
        GOOD.to_bytes().replace(b"sha256", b"sha512"),
        GOOD.to_bytes().replace(b"oid ", b"ext-0-x sha256:" + b"0" * 64 + b"\noid "),
        GOOD.to_bytes().replace(b"spec/v1", b"spec/v2"),
        GOOD.to_bytes() + b"x" * 2000,
        b"\0" * 130,
    ],
)
def test_what_resembles_a_pointer_is_none(text: bytes) -> None:
    assert parse(text) is None


@given(st.binary(max_size=1100))
@settings(deadline=None)
def test_any_bytes_are_a_pointer_or_not(data: bytes) -> None:
    found = parse(data)
    assert found is None or found.to_bytes().endswith(data[-10:])


def test_lines_of_lfs_become_ours_in_place() -> None:
    before = (
        b"*.txt text\n\n# *.x " + LFS + b"\n  *.bin   " + LFS + b" lockable custom\r\n[attr]big " + LFS + b"\n*.pt big"
    )
    after = b"*.txt text\n\n# *.x " + LFS + b"\n*.bin " + OURS + b" custom\r\n[attr]big " + OURS + b"\n*.pt big"
    assert lines.replace_lfs(before) == after
    assert lines.replace_lfs(after) == after


def test_tracking_a_pattern_of_lfs_takes_its_line_over() -> None:
    assert lines.track(b"*.a " + LFS + b"\n*.b " + LFS + b"\n", [b"*.a"], top=True) == (
        b"*.a " + OURS + b"\n*.b " + LFS + b"\n"
    )
    assert lines.track(b"*.a " + LFS + b"\n", [b"*.a", b"*.c"], top=False) == b"*.a " + OURS + b"\n"
    assert lines.track(b"*.a text\n", [b"*.c"], top=False) == b"*.a text\n"


def test_untracking_leaves_what_is_not_ours() -> None:
    text = b"*.txt text\n*.a " + OURS + b"\n*.b " + OURS + b" custom\n"
    assert lines.untrack(text, None, top=True) == b"*.txt text\n*.b custom\n"
    assert lines.untrack(b"*.a " + OURS + b"\n", None, top=False) == b""
    assert lines.untrack(b"*.a " + OURS + b"\n", [b"*.a"], top=True) == b""


def test_untracking_some_negates_what_other_lines_cover() -> None:
    assert lines.untrack(b"*.a " + OURS + b"\n", [b"x.a"], top=True) == (
        b"*.a " + OURS + b"\nx.a !filter !diff !merge\n"
    )


@given(st.lists(st.sampled_from([b"*.txt text\n", b"# c\n", b"\n", b"*.png binary\n", b"a -diff\n"])))
@settings(deadline=None, max_examples=30)
def test_tracking_and_untracking_is_nothing(parts: list[bytes]) -> None:
    text = b"".join(parts)
    assert lines.untrack(lines.track(text, [b"*.w", b"/odd name"], top=True), None, top=True) == text


COMMIT = (
    b"tree " + b"1" * 40 + b"\nparent " + b"2" * 40 + b"\nauthor A <a> 1 +0000\ncommitter C <c> 2 -0930\n"
    b"mergetag object " + b"3" * 40 + b"\n type commit\n tag t\n \n text\nencoding ISO-8859-1\ngpgsig --BEGIN\n \n x\n"
    b"odd header\n\nm\xe9ssage\n\nmore\n"
)


def test_a_commit_keeps_every_byte_but_tree_parents_and_signatures() -> None:
    new = replace_commit(COMMIT, Oid("a" * 40), [Oid("b" * 40), Oid("c" * 40)])
    assert new == (
        b"tree "
        + b"a" * 40
        + b"\nparent "
        + b"b" * 40
        + b"\nparent "
        + b"c" * 40
        + b"\nauthor A <a> 1 +0000\ncommitter C <c> 2 -0930\nencoding ISO-8859-1\nodd header\n\nm\xe9ssage\n\nmore\n"
    )


def test_a_commit_without_message_stays_one() -> None:
    text = b"tree " + b"1" * 40 + b"\nauthor A <a> 1 +0000\ncommitter C <c> 2 -0930\n"
    assert replace_commit(text + b"\n", Oid("1" * 40), []) == text + b"\n"
    assert replace_commit(text, Oid("1" * 40), []) == text


def test_a_tag_loses_only_the_signature_at_its_end() -> None:
    text = b"object " + b"1" * 40 + b"\ntype commit\ntag t\ntagger T <t> 1 +0000\n\nword\n-----BEGIN\n"
    signature = b"-----BEGIN PGP SIGNATURE-----\nabc\n-----END PGP SIGNATURE-----\n"
    assert replace_tag(text + signature, Oid("2" * 40)) == text.replace(b"1" * 40, b"2" * 40)


@pytest.mark.parametrize("text", [b" x\n\n", b"", b"tree zz\n\n"])
def test_objects_that_are_none(text: bytes) -> None:
    with pytest.raises(FrameError):
        if not header_oids(split_headers(text)[0], b"tree"):
            raise FrameError("no tree")


def test_folders_are_patterns_too() -> None:
    assert patterns_of(("models/", "*.bin", "*.bin")) == (b"models/**", b"*.bin")
    with pytest.raises(UsageError):
        patterns_of(("a\nb",))


@pytest.mark.parametrize(
    ("path", "name"),
    [(b"a/b.bin", "*.bin"), (b"a.b/c", "c"), (b".hidden", ".hidden"), (b"x.tar.gz", "*.gz"), (b"dot.", "dot.")],
)
def test_groups(path: bytes, name: str) -> None:
    assert group_name(path) == name
