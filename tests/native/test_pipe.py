"""Packets through a real pipe: the content that `Splitter` finds, however they are cut, and nothing behind a flush."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from tempfile import TemporaryFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.git.pktline import FLUSH, MAX_PAYLOAD, Splitter, packet
from git_lepton.native.pipe import PipeKernels, Stopped, Twin


@pytest.fixture(scope="module")
def native(compiled: ctypes.CDLL) -> PipeKernels:
    return PipeKernels(compiled)


def poured(pieces: Sequence[bytes]) -> int:
    """The reading end of a pipe into which another thread writes these pieces."""
    reading, writing = os.pipe()

    def write() -> None:
        # Who reads has heard enough when a packet is no packet.
        with suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
            for piece in pieces:
                pipe.write(piece)

    threading.Thread(target=write, daemon=True).start()
    return reading


def taken(native: PipeKernels, fd: int, room: int, left: int = 0, head: bytes = b"") -> tuple[bytes, Stopped]:
    """All content up to the flush, or to whatever else ends it."""
    found, out = bytearray(), bytearray(room)
    while True:
        _, count, left, head, why = native.read_content(fd, left, head, out)
        found += out[:count]
        if why not in {Stopped.FULL, Stopped.INTERRUPTED}:
            return bytes(found), why


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    edges = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return (data[a:b] for a, b in pairwise(edges) if a < b)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=60), max_size=8),
    st.lists(st.integers(0, 1000), max_size=5),
    st.integers(1, 50),
    st.integers(0, 40),
)
def test_content_up_to_the_flush(
    native: PipeKernels, payloads: list[bytes], places: list[int], room: int, before: int
) -> None:
    content = b"".join(packet(payload) for payload in payloads) + FLUSH
    splitter = Splitter()
    started = b"".join(bytes(piece) for piece, _ in splitter.receive(content[: min(before, len(content) - 4)]) if piece)
    fd = poured([*cut(content[min(before, len(content) - 4) :], places), b"0009after"])
    try:
        rest, why = taken(native, fd, room, splitter.left, splitter.head)
        assert why is Stopped.FLUSHED
        assert started + rest == b"".join(payloads)
        assert os.read(fd, 9) == b"0009after"[:9]
    finally:
        os.close(fd)


def test_largest_packets(native: PipeKernels) -> None:
    data = os.urandom(5 * MAX_PAYLOAD + 7)
    packets = [packet(data[at : at + MAX_PAYLOAD]) for at in range(0, len(data), MAX_PAYLOAD)]
    fd = poured([b"".join(packets), FLUSH])
    assert taken(native, fd, 100_000) == (data, Stopped.FLUSHED)
    os.close(fd)


@pytest.mark.parametrize("head", [b"0003", b"0001", b"fff1", b"ffff", b"00g0", b" 005", b"-001", b"0x10"])
def test_what_no_packet_begins_with(native: PipeKernels, head: bytes) -> None:
    fd = poured([packet(b"content"), head, b"more"])
    assert taken(native, fd, 100) == (b"content", Stopped.MALFORMED)
    os.close(fd)


@pytest.mark.parametrize("end", [b"", b"00", b"0009", b"0009abc"])
def test_a_pipe_that_ends(native: PipeKernels, end: bytes) -> None:
    fd = poured([packet(b"content"), end])
    assert taken(native, fd, 100) == (b"content" + end[4:], Stopped.CLOSED)
    os.close(fd)


def test_no_pipe(native: PipeKernels) -> None:
    fd = os.open("/", os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        native.read_content(fd, 0, b"", bytearray(10))
    os.close(fd)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=8),
    st.lists(st.integers(0, 1000), max_size=5),
    st.integers(1, 50),
    st.integers(1, 300),
    st.one_of(st.none(), st.tuples(st.integers(0, 500), st.booleans())),
)
def test_content_that_a_file_has(
    native: PipeKernels,
    payloads: list[bytes],
    places: list[int],
    room: int,
    most: int,
    other: tuple[int, bool] | None,
) -> None:
    """What agrees ends before the first step that has a byte which differs or is not there."""
    data = b"".join(payloads)
    held = bytearray(data)
    if other is not None and held:
        at, short = other[0] % len(held), other[1]
        held[at:] = b"" if short else bytes([held[at] ^ 1]) + held[at + 1 :]
    fd = poured([*cut(b"".join(map(packet, payloads)) + FLUSH, places), b"0009after"])
    out, block, found = bytearray(room), bytearray(most + 8), bytearray()
    left, head, why = 0, b"", Stopped.FULL
    with TemporaryFile() as file:
        file.write(b"before" + held)
        file.flush()
        while why is Stopped.FULL:
            twin = Twin(file.fileno(), len(b"before") + len(found), memoryview(block)[:most])
            agreed, count, left, head, why = native.read_content(fd, left, head, out, twin)
            assert agreed <= most
            assert block[most:] == bytes(8)
            assert block[:agreed] == held[len(found) : len(found) + agreed]
            found += block[:agreed]
            if count:
                assert held[len(found) : len(found) + count] != out[:count]
                found += out[:count]
                break
    rest, why = taken(native, fd, room, left, head) if why is Stopped.FULL else (b"", why)
    assert why is Stopped.FLUSHED
    assert found + rest == data
    assert os.read(fd, 9) == b"0009after"[:9]
    os.close(fd)
