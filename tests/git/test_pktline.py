from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError
from git_lepton.git.pktline import FLUSH, MAX_PAYLOAD, Splitter, packet, packets


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(borders)]


def whole(splitter: Splitter, parts: list[bytes]) -> list[bytes | None]:
    """Packets put together again."""
    result: list[bytes | None] = []
    current = b""
    for part in parts:
        for piece, last in splitter.receive(part):
            current += piece if piece is not None else b""
            if last:
                result.append(None if piece is None else current)
                current = b""
    return result


@given(st.lists(st.none() | st.binary(max_size=20) | st.just(b"x" * MAX_PAYLOAD), max_size=6), st.lists(st.integers(0)))
@settings(deadline=None, max_examples=50)
def test_any_cut_gives_the_same_packets(payloads: list[bytes | None], places: list[int]) -> None:
    stream = b"".join(FLUSH if p is None else packet(p) for p in payloads)
    splitter = Splitter()
    assert whole(splitter, cut(stream, places)) == payloads
    assert splitter.between
    if stream:
        torn = Splitter()
        whole(torn, [stream[:-1]])
        assert not torn.between


@pytest.mark.parametrize(
    "head", [b"0001", b"0002", b"0003", b"fff1", b"ffff", b"00 5", b"+005", b"0x05", b"1_00", b"\xff005"]
)
def test_lengths_that_no_packet_has(head: bytes) -> None:
    with pytest.raises(FrameError):
        whole(Splitter(), [head + b"payload"])


def test_longest() -> None:
    assert packet(b"x" * MAX_PAYLOAD).startswith(b"fff0")
    assert whole(Splitter(), [b"FFF0" + b"x" * MAX_PAYLOAD]) == [b"x" * MAX_PAYLOAD]
    stream = b"".join(packets(memoryview(b"y" * (2 * MAX_PAYLOAD + 1))))
    assert whole(Splitter(), [stream]) == [b"y" * MAX_PAYLOAD, b"y" * MAX_PAYLOAD, b"y"]
    assert list(packets(b"")) == []


def test_nothing_is_copied() -> None:
    data = bytearray(packet(b"abc"))
    ((piece, last),) = Splitter().receive(data)
    assert piece is not None
    assert last
    data[-1] = ord("z")
    assert bytes(piece) == b"abz"
