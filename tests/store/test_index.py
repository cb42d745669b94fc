"""The index: exact, consistent, and total."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import settings as configure
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.store.index import BaseOnly, Chunk, Segment, Stream, VersionIndex, parse, parse_other
from git_lepton.values import Hash, Oid

GOLDEN = Path(__file__).parent.parent / "golden"


def digest(text: str) -> Hash:
    return Hash(blake3(text.encode()).hexdigest())


def oid(text: str) -> Oid:
    return Oid(digest(text)[:40])


def chunk(name: str, length: int, base: int | None = None) -> Chunk:
    return Chunk(digest(name), length, oid(name), length // 2 + 44, 2, base)


EXAMPLE = VersionIndex(
    digest("file"),
    350,
    (oid("O1"), oid("O2")),
    (Segment(0, 30), Segment(1, 150), Segment(0, 20), Segment(2, 0), Segment(1, 150)),
    (Stream(digest("other"), 50, 0, 1), Stream(digest("a"), 150, 1, 2), Stream(digest(""), 0, 3, 0)),
    (chunk("other", 50), chunk("a0", 100, 3), chunk("a1", 50), chunk("b0", 100, 4), chunk("c0", 90)),
    (BaseOnly(digest("b"), 0), BaseOnly(digest("c"), 7)),
)


def test_the_released_bytes_of_version_1_never_change() -> None:
    golden = (GOLDEN / "index-1.bin").read_bytes()
    assert EXAMPLE.to_bytes() == golden
    assert parse(golden) == EXAMPLE


def test_depth_and_chain_follow_the_bases() -> None:
    assert [EXAMPLE.depth(row) for row in range(5)] == [0, 2, 0, 1, 0]
    assert list(EXAMPLE.chain(1)) == [3, 4]


@configure(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_bytes_raise_our_error_or_are_another_valid_index(data: st.DataObject) -> None:
    raw = bytearray(EXAMPLE.to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for candidate in (bytes(raw), bytes(raw[:cut]), bytes(raw) + b"x"):
        with suppress(FrameError):
            parse_other(candidate)
        try:
            whole = parse(candidate)
        except FrameError:
            continue
        assert whole.to_bytes() == candidate
        other = parse_other(candidate)
        assert other is None or other.stream_chunks(other.streams[0]) == whole.stream_chunks(whole.streams[0])


def test_the_other_bytes_are_found_without_reading_all() -> None:
    found = parse_other(EXAMPLE.to_bytes())
    assert found is not None
    assert (found.file_hash, found.streams) == (EXAMPLE.file_hash, EXAMPLE.streams[:1])
    assert found.chunks == EXAMPLE.chunks[:1]
    delta = replace(EXAMPLE, chunks=(chunk("other", 50, 4), *EXAMPLE.chunks[1:]))
    assert parse_other(delta.to_bytes()) is None


@pytest.mark.parametrize(
    "bad",
    [
        replace(EXAMPLE, size=351),
        replace(EXAMPLE, segments=EXAMPLE.segments[:-1]),
        replace(EXAMPLE, segments=(*EXAMPLE.segments[:-1], Segment(1, 149))),
        replace(EXAMPLE, segments=(*EXAMPLE.segments[:-1], Segment(9, 150))),
        replace(EXAMPLE, chunks=(chunk("other", 49), *EXAMPLE.chunks[1:])),
        replace(EXAMPLE, chunks=(*EXAMPLE.chunks[:3], chunk("b0", 100, 1), EXAMPLE.chunks[4])),
        replace(EXAMPLE, chunks=(*EXAMPLE.chunks[:4], chunk("c0", 90, 5))),
        replace(EXAMPLE, chunks=(*EXAMPLE.chunks[:4], chunk("c0", 17 << 20))),
        replace(EXAMPLE, bases=(EXAMPLE.bases[0], EXAMPLE.bases[0])),
        replace(EXAMPLE, bases=EXAMPLE.bases[:1]),
        replace(EXAMPLE, streams=(EXAMPLE.streams[0], EXAMPLE.streams[1], replace(EXAMPLE.streams[1], count=0))),
    ],
)
def test_what_does_not_add_up_is_refused(bad: VersionIndex) -> None:
    with pytest.raises(FrameError):
        parse(bad.to_bytes())


def test_a_newer_version_is_named() -> None:
    raw = bytearray(EXAMPLE.to_bytes())
    raw[4] = 2
    with pytest.raises(FrameError, match="newer"):
        parse(bytes(raw))
