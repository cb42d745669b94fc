"""The attribute rules against `git check-attr`, which is right by definition."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.git.attributes import AttributeLine
from git_lepton.git.attributes import literal_pattern as exact
from git_lepton.migrate.rules import Rules, Value, matches, parse_line
from tests.support import clean_environment, git


def spell(pattern: bytes, *attributes: bytes) -> bytes:
    return AttributeLine(pattern, attributes, b"").encode()


PATHS = (
    b"a.bin",
    b"a.BIN",
    b"dir/a.bin",
    b"dir/sub/a.bin",
    b"dir/sub/b.txt",
    b"dir/abc",
    b"dirx/a.bin",
    b"we ird/[x].bin",
    b"we ird/back\\slash",
    b'q"uote',
    b"line\nend.bin",
    b"caf\xc3\xa9.bin",
    b"\xff.bin",
    b"a-b",
    b"#hash",
    b"**",
    b"x]y",
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rules")
    git(home, "init", "-q", "r", env=clean_environment(home))
    return home / "r"


def git_filters(repository: Path, top: bytes, nested: bytes) -> dict[bytes, Value]:
    (repository / ".gitattributes").write_bytes(top)
    (repository / "dir").mkdir(exist_ok=True)
    (repository / "dir" / ".gitattributes").write_bytes(nested)
    done = subprocess.run(
        ["git", "check-attr", "--stdin", "-z", "filter"],
        cwd=repository,
        env=clean_environment(repository.parent),
        input=b"\0".join(PATHS) + b"\0",
        capture_output=True,
        check=True,
    )
    fields = done.stdout.split(b"\0")
    table: dict[bytes, Value] = {b"unspecified": None, b"set": True, b"unset": False}
    return {fields[n]: table.get(fields[n + 2], fields[n + 2]) for n in range(0, len(fields) - 1, 3)}


def our_filters(top: bytes, nested: bytes) -> dict[bytes, Value]:
    above = Rules().below(b"", top)
    inside = above.below(b"dir/", nested)
    return {p: (inside if p.startswith(b"dir/") else above).filter_of(p) for p in PATHS}


@pytest.mark.parametrize(
    ("top", "nested"),
    [
        (b"*.bin filter=lepton diff=lepton -text\n", b""),
        (b"*.bin filter=lepton\ndir/** -filter\n", b""),
        (b"*.bin filter=lepton\n", b"*.bin !filter\n"),
        (b"[attr]big filter=lfs -text\n*.bin big\n", b"a.bin -big\n"),
        (b"[attr]big filter=lfs\n[attr]huge big\n*.bin huge\nb.bin -huge\n", b"[attr]big filter=no\nsub/* big\n"),
        (b"*.bin filter=one filter=two\n", b"/a.bin filter\n"),
        (b"dir/ filter=x\ndir/**/a.bin filter=deep\n**/b.txt filter=any\n", b"sub/** filter=s\n"),
        (b'"we ird/*.bin" filter=q\n"line\\nend.bin" filter=n\n\\#hash filter=h\n', b""),
        (b"  *.bin   filter=space\t\r\n# *.bin filter=no\n!a.bin filter=no\n", b"\n\n"),
        (b"a[!x]b filter=c\n[[:alpha:]].bin filter=alpha\n\\*\\* filter=star\nx[]]y filter=close\n", b""),
        (b"/*.bin filter=top\ndir/*.bin filter=one\nd*/sub/?.bin filter=q\n*[ filter=bad\n", b""),
        (exact(b"we ird/[x].bin").replace(b" ", b"?") + b" filter=z\n", b""),
        (b"\n".join(spell(exact(p), b"filter=exact") for p in PATHS), b""),
        (b"binary filter=x\n*.bin binary\n[attr]binary filter=mine\n", b""),
    ],
)
def test_the_same_filter_as_git(repository: Path, top: bytes, nested: bytes) -> None:
    assert our_filters(top, nested) == git_filters(repository, top, nested)


PATTERN = st.text("ab/*?[]!-^\\. din:lph", min_size=1, max_size=9).map(os.fsencode)
VALUE = st.sampled_from([b"filter=x", b"filter=y", b"-filter", b"!filter", b"filter", b"m", b"-m", b"!m", b"text"])
LINE = st.tuples(PATTERN, st.lists(VALUE, max_size=3)).map(lambda t: spell(t[0], *t[1]))


@settings(deadline=None, max_examples=40)
@given(st.lists(LINE, max_size=5), st.lists(LINE, max_size=3), st.sampled_from([b"", b"[attr]m filter=macro\n"]))
def test_any_rules_give_the_same_filter_as_git(
    repository: Path, top: list[bytes], nested: list[bytes], macro: bytes
) -> None:
    first, second = macro + b"\n".join(top), b"\n".join(nested)
    assert our_filters(first, second) == git_filters(repository, first, second)


@given(st.binary(min_size=1, max_size=20).filter(lambda p: b"\0" not in p and b"/" not in p))
@settings(deadline=None)
def test_an_exact_pattern_survives_being_spelled(path: bytes) -> None:
    line = parse_line(spell(exact(path), b"filter=x"))
    assert line is not None
    assert line.attributes == ((b"filter", b"x"),)
    assert matches(line.pattern, path)
    assert not matches(line.pattern, b"x" + path)


def test_rules_that_do_not_bear_on_the_filter_make_no_difference() -> None:
    assert Rules().below(b"", b"*.txt text\n*.png binary\n") == Rules()
    assert Rules().below(b"a/", b"* text=auto\n") == Rules()


def test_case_is_ignored_when_git_ignores_it() -> None:
    rules = Rules(ignore_case=True).below(b"", b"*.bin filter=x\n/Dir/y filter=z\n")
    assert rules.filter_of(b"A.BIN") == b"x"
    assert rules.filter_of(b"dir/Y") == b"z"
