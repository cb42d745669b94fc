"""The content of a clean: what is hashed, what is written down, and what counts as the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_lepton.drivers import intake
from git_lepton.drivers.intake import Intake
from git_lepton.errors import ManifestError
from git_lepton.progress import Silent
from git_lepton.store import survey
from git_lepton.store.manifest import MAX_BYTES, PREFIX
from git_lepton.store.source import BytesSource, FileSource
from git_lepton.store.survey import Surveyor
from git_lepton.values import Layout


def pour(content: Intake, pieces: Sequence[bytes]) -> bytes:
    for piece in pieces:
        content.feed(piece)
    content.finish()
    with content.source() as source:
        out = bytearray(source.size)
        source.read_into(0, memoryview(out))
    return bytes(out)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(min_size=1, max_size=300),
    st.one_of(st.none(), st.binary(max_size=300), st.integers(0, 299)),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_the_source_is_what_came_through_the_pipe_whatever_the_work_tree_holds(
    tmp_path: Path, data: bytes, other: bytes | int | None, places: list[int]
) -> None:
    twin = tmp_path / "twin"
    twin.unlink(missing_ok=True)
    if isinstance(other, int):
        twin.write_bytes(data[: other % len(data)] + b"x" + data)
    elif other is not None:
        twin.write_bytes(other)
    content = Intake(twin, tmp_path / "spool")
    try:
        assert pour(content, cut(data, places)) == data
        assert content.hash == blake3(data).hexdigest()
        assert content.size == len(data)
        assert content.text is None
    finally:
        content.close()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(min_size=1, max_size=300),
    st.one_of(st.just("same"), st.binary(max_size=300), st.integers(0, 299)),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_a_survey_on_the_way_is_that_of_the_content_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, held: bytes | int | str, places: list[int]
) -> None:
    monkeypatch.setattr(intake, "SURVEYED_FROM", 0)
    monkeypatch.setattr(survey, "BLOCK", 64)
    twin = tmp_path / "twin"
    twin.write_bytes(data if isinstance(held, str) else held if isinstance(held, bytes) else data[:held] + b"x" + data)

    def surveyor(source: FileSource) -> Surveyor:
        return Surveyor(Layout("raw", source.size))

    content = Intake(twin, tmp_path / "spool", surveyor)
    try:
        assert pour(content, cut(data, places)) == data
        assert content.hash == blake3(data).hexdigest()
        expected = survey.survey(BytesSource(data), Layout("raw", len(data)), Silent())
        assert content.surveyed in {None, expected}
        if held == "same":
            assert content.surveyed == expected
    finally:
        content.close()


def test_nothing_is_written_down_when_the_work_tree_has_the_same_bytes(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "twin").write_bytes(data)
    content = Intake(tmp_path / "twin", tmp_path / "spool")
    assert pour(content, cut(data, range(0, 200_000, 65_516))) == data
    content.close()
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("held", [b"abc" * 1000, b"abc" * 999, b"abc" * 1001])
def test_a_file_that_is_longer_or_shorter_is_no_twin(tmp_path: Path, held: bytes) -> None:
    (tmp_path / "twin").write_bytes(held)
    content = Intake(tmp_path / "twin", tmp_path / "spool")
    assert pour(content, [b"abc" * 1000]) == b"abc" * 1000
    content.close()
    assert (tmp_path / "spool").exists() == (len(held) != 3000)


def test_links_and_folders_are_no_twins(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", ".", "fifo"):
        content = Intake(tmp_path / name, tmp_path / "spool")
        assert pour(content, [b"weights"]) == b"weights"
        content.close()


def test_a_file_cut_short_while_it_is_compared_is_noticed_by_its_hash(tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    twin.write_bytes(b"a" * 1000)
    content = Intake(twin, tmp_path / "spool")
    content.feed(b"a" * 500)
    twin.write_bytes(b"")
    content.feed(b"a" * 500)
    content.finish()
    with content.source() as source:
        assert source.size != 1000  # the store compares, and refuses
    content.close()


def test_text_that_begins_like_a_manifest_stays_in_memory(tmp_path: Path) -> None:
    content = Intake(None, tmp_path / "spool")
    for piece in (b"git-", b"lepton", b" 1 x\n", b"rest"):
        content.feed(piece)
    content.finish()
    assert content.text == b"git-lepton 1 x\nrest"
    assert not (tmp_path / "spool").exists()


def test_text_too_long_for_a_manifest_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_lepton.drivers.intake.MAX_BYTES", 100)
    content = Intake(None, tmp_path / "spool")
    content.feed(PREFIX + b"x" * 60)
    content.feed(b"x" * 60)
    with pytest.raises(ManifestError, match="larger than"):
        content.finish()
    assert MAX_BYTES > 1 << 20


def test_a_full_disk_is_told_at_the_end_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    content = Intake(None, tmp_path / "spool")
    content.feed(b"weights that cannot be written down")
    content.feed(b"and more")
    with pytest.raises(OSError):
        content.finish()
    content.close()


@pytest.mark.parametrize("data", [b"", b"g", b"git-lepton"])
def test_short_content_is_weights(tmp_path: Path, data: bytes) -> None:
    content = Intake(None, tmp_path / "spool")
    content.feed(data)
    content.finish()
    assert content.text is None
    assert content.size == len(data)
    content.close()
