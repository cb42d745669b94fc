from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.git.quoting import quote, unquote
from git_lepton.git.repo import Repo


@given(st.binary(max_size=30), st.booleans())
@settings(deadline=None, max_examples=50)
def test_round_trip(path: bytes, ascii_only: bool) -> None:
    text = quote(path, ascii_only=ascii_only)
    assert unquote(text) == path
    assert b"\n" not in text
    assert text.isascii() or not ascii_only


@pytest.mark.parametrize("text", [b"", b"plain", b'"', b'"open', b'"a"b"', rb'"\q"', rb'"\777"', rb'"\1"', b'"\\"'])
def test_what_is_not_quoted_stands_for_itself(text: bytes) -> None:
    assert unquote(text) == text


def test_git_writes_the_same(repo: Repo) -> None:
    for name in (b'\ta"\\', b"\xc3\xa9\x01\x7f\n"):
        (repo.cwd / "x").write_bytes(b"")
        (repo.cwd / "x").rename(bytes(repo.cwd).decode() + "/" + name.decode(errors="surrogateescape"))
        repo.git("add", ".")
        assert quote(name) in repo.git("-c", "core.quotePath=true", "ls-files").stdout.splitlines()
