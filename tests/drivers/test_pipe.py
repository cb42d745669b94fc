"""Large content through the pipe of the filter: the same events with the kernels and without."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from git_lepton.drivers import pipe
from git_lepton.drivers.intake import Intake
from git_lepton.drivers.pipe import Expecting, FilterPipe, GitWentAwayError
from git_lepton.errors import FrameError
from git_lepton.git.filterproto import Command, Content, ContentEnd, Hello, Received
from git_lepton.git.pktline import FLUSH, MAX_PAYLOAD, packet, packets
from git_lepton.native.pipe import kernels
from git_lepton.store.survey import Surveyor
from git_lepton.values import Layout

BEGIN = (
    *(packet(b"git-filter-client\n"), packet(b"version=2\n"), FLUSH),
    *(packet(b"capability=clean\n"), FLUSH),
)
REQUEST = packet(b"command=clean\n") + packet(b"pathname=a\n") + FLUSH


@pytest.fixture(params=["kernels", "interpreter"])
def which(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "interpreter":
        monkeypatch.setattr(pipe, "kernels", lambda: None)
    elif kernels() is None:
        pytest.skip("nothing was compiled")
    return str(request.param)


def conversation(stream: bytes, *, take: Callable[[Received], None], expecting: Expecting | None = None) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as out:
            out.write(stream)

    threading.Thread(target=write, daemon=True).start()
    try:
        server = FilterPipe(reading, reading)
        server.expect(expecting)
        for event in server.events():
            take(event)
    finally:
        os.close(reading)


@pytest.mark.usefixtures("which")
def test_large_and_small_content_by_turns() -> None:
    contents = [os.urandom(3_000_001), b"small", os.urandom(262_144), b"", os.urandom(MAX_PAYLOAD * 9)]
    stream = b"".join((*BEGIN, *(REQUEST + b"".join(packets(content)) + FLUSH for content in contents)))
    found: list[bytearray] = []
    ends = 0

    def take(event: Received) -> None:
        nonlocal ends
        if isinstance(event, Command):
            found.append(bytearray())
        elif isinstance(event, Content):
            found[-1] += event.data
        else:
            ends += isinstance(event, ContentEnd)

    conversation(stream, take=take)
    assert found == contents
    assert ends == len(contents)


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize(
    ("end", "error"), [(b"00g0", FrameError), (b"0003", FrameError), (b"0009ab", GitWentAwayError)]
)
def test_large_content_that_ends_badly(end: bytes, error: type[Exception]) -> None:
    stream = b"".join((*BEGIN, REQUEST, *packets(bytes(2_000_000)), end))
    seen: list[type[Received]] = []
    with pytest.raises(error):
        conversation(stream, take=lambda event: seen.append(type(event)))
    assert seen[0] is Hello
    assert ContentEnd not in seen


@pytest.mark.usefixtures("which")
@pytest.mark.parametrize("surveyed", [True, False])
@pytest.mark.parametrize("differs", [None, 0, 299_999, 700_000, 9_000_000, 9_999_999, "shorter", "longer"])
def test_large_content_is_compared_byte_by_byte(tmp_path: Path, differs: int | str | None, surveyed: bool) -> None:
    data = os.urandom(1 << 20) * 10
    held = bytearray(data)
    if isinstance(differs, int):
        held[differs % len(held)] ^= 1
    elif differs is not None:
        held[-1:] = b"" if differs == "shorter" else b"12"
    twin = tmp_path / "twin"
    twin.write_bytes(held)
    make = (lambda source: Surveyor(Layout("raw", source.size))) if surveyed else None
    content = Intake(twin, tmp_path / "spool", make)

    def take(event: Received) -> None:
        if isinstance(event, Content):
            content.feed(event.data)

    try:
        conversation(b"".join((*BEGIN, REQUEST, *packets(data), FLUSH)), take=take, expecting=content)
        content.finish()
        assert content.size == len(data)
        assert content.hash == blake3(data).hexdigest()
        assert (tmp_path / "spool").exists() == (differs is not None)
        assert (content.surveyed is not None) == (surveyed and differs is None)
        with content.source() as source:
            out = bytearray(len(data))
            source.read_into(0, memoryview(out))
        assert out == data
    finally:
        content.close()
