"""What several threads append lies in the file in order, is hashed in order, and nobody waits but for memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from git_lepton.git import packtail
from git_lepton.git.packtail import PackTail, pwrite_all

HEADER = b"head"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "pack", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def append(tail: PackTail, data: bytes) -> int:
    room = tail.room(len(data))
    room[:] = data
    offset = tail.append(room)
    tail.write()
    return offset


def test_order_and_hash(fd: int) -> None:
    hasher = hashlib.sha1()
    tail = PackTail(fd, HEADER, hasher)
    blobs = [os.urandom(size % 70_000) for size in range(0, 9_000_000, 30_011)]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda blob: append(tail, blob), blobs))
    tail.join()
    content = os.pread(fd, tail.size + 1, 0)
    assert len(content) == tail.size == len(HEADER) + sum(map(len, blobs))
    assert content[: len(HEADER)] == HEADER
    for place, blob in zip(places, blobs, strict=True):
        assert content[place : place + len(blob)] == blob
    assert hasher.digest() == hashlib.sha1(content).digest()


def test_who_appends_while_another_writes_goes_on(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = PackTail(fd, HEADER, None)
    entered, leave = threading.Event(), threading.Event()

    def slow(fd: int, data: memoryview, offset: int) -> None:
        entered.set()
        assert leave.wait(60)
        pwrite_all(fd, data, offset)

    monkeypatch.setattr(packtail, "pwrite_all", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(append, tail, b"one")
        assert entered.wait(60)
        assert append(tail, b"two") == len(HEADER) + 3  # returns though nothing can be written
        assert os.pread(fd, 100, 0) == HEADER
        leave.set()
        first.result()
    assert os.pread(fd, 100, 0) == HEADER + b"onetwo"


def test_memory_is_bounded(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = PackTail(fd, HEADER, None)
    rooms = [tail.room(10) for _ in range(packtail._ROOMS)]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tail.room, 10)
        assert not waiting.done()
        tail.give_back(rooms[0])
        assert waiting.result(60).obj is rooms[0].obj


def test_after_an_error_nobody_hangs(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while others have appended more: their memory is free again, and all learn that it is torn."""
    tail = PackTail(fd, HEADER, None)
    rooms = [tail.room(4) for _ in range(3)]
    for room in rooms:
        tail.append(room)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space"):
        broken.setattr(os, "pwrite", full)
        tail.write()
    assert tail.is_torn
    for _ in range(packtail._ROOMS):
        assert len(tail.room(5)) == 5
