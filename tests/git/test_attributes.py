from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import UsageError
from git_lepton.git.attributes import (
    OURS,
    AttributeLine,
    check_attr,
    literal_pattern,
    parse_line,
    track,
    tracked_patterns,
    untrack,
)
from git_lepton.git.repo import Repo, git_version

OUR_TEXT = b" ".join(OURS)
# Anything but line ends (of bytes.splitlines), leading and trailing white space, and what git does not take.
PATTERNS = st.binary(min_size=1, max_size=12).filter(
    lambda p: p.strip() == p and not set(p) & {0, 10, 13} and p[:1] != b"!" and p[-1:] != b"/" and b"[" not in p
)


def test_track_and_untrack() -> None:
    start = b"# weights\n*.txt text\r\n\n[attr]big -diff\n"
    one = track(start, b"*.onnx")
    assert one == start + b"*.onnx " + OUR_TEXT + b"\n"
    assert track(one, b"*.onnx") == one
    two = track(one, b"my model.bin")
    assert two == one + b'"my model.bin" ' + OUR_TEXT + b"\n"
    assert tracked_patterns(two) == [b"*.onnx", b"my model.bin"]
    assert untrack(untrack(two, b"my model.bin"), b"*.onnx") == start
    assert untrack(start, b"*.txt") == start


def test_first_line_and_missing_line_end() -> None:
    line = b"*.pt " + OUR_TEXT
    assert track(b"", b"*.pt") == line + b"\n"
    assert track(b"* text", b"*.pt") == b"* text\n" + line + b"\n"
    assert track(b"* text\r\n", b"*.pt") == b"* text\r\n" + line + b"\r\n"


def test_a_line_of_git_lfs_is_taken_over_and_other_attributes_stay() -> None:
    lfs = b"a[[:space:]]b.pt filter=lfs diff=lfs merge=lfs -text lockable\n*.pt filter=lfs\n"
    assert tracked_patterns(lfs, b"filter=lfs") == [b"a[[:space:]]b.pt", b"*.pt"]
    ours = track(lfs, b"a b.pt")
    assert ours == b"a[[:space:]]b.pt " + OUR_TEXT + b" lockable\n*.pt filter=lfs\n"
    assert untrack(ours, b"a b.pt") == b"a[[:space:]]b.pt lockable\n*.pt filter=lfs\n"


def test_the_last_line_of_a_pattern_counts() -> None:
    twice = b"*.pt " + OUR_TEXT + b"\n*.pt -filter\n"
    assert tracked_patterns(twice) == []
    assert tracked_patterns(track(twice, b"*.pt")) == [b"*.pt"]


@pytest.mark.parametrize("pattern", [b"", b"!x", b"models/", b"a\nb", b" a", b"a ", b"[attr]x", b"a\0"])
def test_patterns_that_git_would_ignore(pattern: bytes) -> None:
    with pytest.raises(UsageError):
        track(b"", pattern)


@given(PATTERNS, st.binary(max_size=40))
@settings(deadline=None, max_examples=50)
def test_laws(pattern: bytes, before: bytes) -> None:
    once = track(before, pattern)
    assert track(once, pattern) == once
    line = AttributeLine(pattern, OURS, b"\n").encode()
    parsed = parse_line(line)
    assert parsed is not None
    assert (parsed.pattern, parsed.attributes) == (pattern, OURS)


def attribute(repo: Repo, path: bytes) -> str:
    return check_attr(repo, [path], ["filter"])[path]["filter"]


@pytest.mark.parametrize(
    "path",
    [b"a b.pt", b"dir/x [1].pt", b'quo"te', b"#hash", b"!bang", b"star*", b"back\\slash", b"\xff\xe9", b"tab\there"],
)
def test_git_understands_what_was_written(repo: Repo, path: bytes) -> None:
    file = repo.cwd / ".gitattributes"
    file.write_bytes(track(b"# first\n", literal_pattern(path)))
    assert attribute(repo, path) == "lepton"
    assert attribute(repo, path.replace(b"a", b"b", 1) + b"x") == "unspecified"
    file.write_bytes(untrack(file.read_bytes(), literal_pattern(path)))
    assert attribute(repo, path) == "unspecified"


def test_check_attr_sources(repo: Repo) -> None:
    file = repo.cwd / ".gitattributes"
    file.write_bytes(b"*.a filter=lepton -text\n")
    repo.git("add", ".")
    repo.git("commit", "-qm", "m")
    file.write_bytes(b"*.a filter=staged\n")
    repo.git("add", ".")
    file.write_bytes(b"*.a filter=work\n")
    paths = [b"x.a", b"new\nline.a", b"x.b"]
    assert check_attr(repo, paths, ["filter", "text"]) == {
        b"x.a": {"filter": "work", "text": "unspecified"},
        b"new\nline.a": {"filter": "work", "text": "unspecified"},
        b"x.b": {"filter": "unspecified", "text": "unspecified"},
    }
    assert check_attr(repo, paths, ["filter"], source="index")[b"x.a"] == {"filter": "staged"}
    if git_version() >= (2, 40):
        found = check_attr(repo, paths, ["filter", "text"], source="HEAD")
        assert found[b"x.a"] == {"filter": "lepton", "text": "unset"}
    assert check_attr(repo, [], ["filter"]) == {}
