"""The bundle: its text and its identity."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.record.bundle import BundleFile, make, parse_line
from git_lepton.values import Hash

H = Hash("ab" * 32)

paths = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
files = st.builds(
    BundleFile,
    st.lists(paths, min_size=1, max_size=3).map("/".join),
    st.sampled_from([0o100644, 0o100755]),
    st.integers(0, 2**62),
    st.binary(min_size=32, max_size=32).map(lambda b: Hash(b.hex())),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(files, max_size=6, unique_by=lambda file: file.path))
def test_the_text_of_a_bundle_is_read_back(found: list[BundleFile]) -> None:
    try:
        made = make(found)
    except FrameError:
        return
    assert make(map(parse_line, made.text.decode().split("\n")[:-1])) == made
    assert made.hash == blake3(made.text).hexdigest()
    assert made.size == sum(file.size for file in found)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=100) | st.text(max_size=100).map(lambda path: f"100644 1 {H} {path}"))
def test_a_hostile_line_is_refused_or_is_its_own_spelling(line: str) -> None:
    try:
        assert parse_line(line).line() == line
    except FrameError:
        return


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "./a", ".git/x", "a/.GIT/x", "a\\b", "a\nb", "x\u202ey", "\udcff", ".git./a"],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(FrameError):
        make([BundleFile(path, 0o100644, 1, H)])


def test_a_path_is_there_once_and_lines_are_sorted() -> None:
    one, two = BundleFile("a", 0o100644, 1, H), BundleFile("b", 0o100644, 1, H)
    with pytest.raises(FrameError, match="twice"):
        make([one, one])
    assert make([two, one]) == make([one, two])
