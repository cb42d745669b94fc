from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FrameError, LeptonError, UsageError
from git_lepton.git.filterproto import (
    TRANSITIONS,
    Answer,
    Available,
    Capabilities,
    Command,
    Content,
    ContentEnd,
    FilterServer,
    Hello,
    Received,
    Sent,
    Writing,
)
from git_lepton.git.pktline import FLUSH, MAX_PAYLOAD, packet
from git_lepton.git.repo import Repo

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("filter_driver.py")
HELLO = packet(b"git-filter-client\n") + packet(b"version=2\n") + FLUSH
OFFER = b"".join(packet(b"capability=%s\n" % name) for name in (b"clean", b"smudge", b"delay")) + FLUSH


def request(*lines: bytes, content: Iterable[bytes] = ()) -> bytes:
    return b"".join(map(packet, lines)) + FLUSH + b"".join(map(packet, content)) + FLUSH


STREAM = (
    HELLO
    + OFFER
    + request(b"command=clean\n", b"pathname=a b\nc\xff\n", content=[b"x" * 100, b"", b"y" * MAX_PAYLOAD])
    + request(
        b"command=smudge\n", b"pathname=p=q\n", b"ref=refs/heads/m\n", b"treeish=1\n", b"blob=2\n", b"can-delay=1\n"
    )
    + packet(b"command=list_available_blobs\n")
    + FLUSH
)
EVENTS: list[Received] = [
    Hello(("2",)),
    Capabilities(("clean", "smudge", "delay")),
    Command("clean", b"a b\nc\xff"),
    Content(b"x" * 100 + b"y" * MAX_PAYLOAD),
    ContentEnd(),
    Command("smudge", b"p=q", can_delay=True, ref=b"refs/heads/m", treeish=b"1", blob=b"2"),
    ContentEnd(),
    Command("list_available_blobs"),
]


def feed(server: FilterServer, parts: Iterable[bytes]) -> list[Received]:
    """The events, neighbouring content joined."""
    events: list[Received] = []
    for part in parts:
        for event in server.receive(part):
            if not isinstance(event, Content):
                events.append(event)
                continue
            before = events.pop().data if events and isinstance(events[-1], Content) else b""  # type: ignore[union-attr]
            events.append(Content(bytes(before) + bytes(event.data)))
    return events


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(deadline=None, max_examples=50)
def test_any_cut_gives_the_same_events(places: list[int]) -> None:
    borders = [0, *sorted(places), len(STREAM)]
    server = FilterServer()
    assert feed(server, [STREAM[a:b] for a, b in pairwise(borders)]) == EVENTS
    server.end()


def test_byte_by_byte() -> None:
    assert feed(FilterServer(), [bytes([b]) for b in STREAM]) == EVENTS


@given(
    st.binary(max_size=60)
    | st.lists(st.binary(max_size=12).map(packet) | st.just(FLUSH), max_size=8).map(b"".join)
    | st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=5)).map(
        lambda t: STREAM[: t[0]] + t[1] + STREAM[t[0] :]
    )
)
@settings(deadline=None, max_examples=50)
def test_garbage_raises_frame_errors_only(data: bytes) -> None:
    outcomes: list[list[Received] | type[LeptonError]] = []
    for parts in ([data], [data[n : n + 1] for n in range(500)] + [data[500:]]):
        server = FilterServer()
        try:
            outcomes.append(feed(server, parts))
            server.end()
        except FrameError as error:
            outcomes.append(type(error))
    assert outcomes[: len(outcomes) // 2] == outcomes[len(outcomes) // 2 :]


@pytest.mark.parametrize(
    "stream",
    [
        packet(b"git-filter-server\n") + packet(b"version=2\n") + FLUSH,
        packet(b"git-filter-client\n") + packet(b"version=3\n") + FLUSH,
        packet(b"git-filter-client\n") + FLUSH,
        FLUSH,
        HELLO + packet(b"capability=\xff\n") + FLUSH,
        HELLO + packet(b"clean\n") + FLUSH,
        HELLO + OFFER + FLUSH,
        HELLO + OFFER + packet(b"command=erase\n") + packet(b"pathname=a\n") + FLUSH,
        HELLO + OFFER + packet(b"command=delay\n") + packet(b"pathname=a\n") + FLUSH,
        HELLO + packet(b"capability=smudge\n") + FLUSH + packet(b"command=clean\n") + packet(b"pathname=a\n") + FLUSH,
        HELLO + OFFER + packet(b"command=clean\n") + FLUSH,
        HELLO + OFFER + packet(b"command=clean\n") + packet(b"pathname=\n") + FLUSH,
        HELLO + OFFER + packet(b"command=clean\n") * 2 + packet(b"pathname=a\n") + FLUSH,
        HELLO + OFFER + packet(b"pathname\n") + FLUSH,
        HELLO + OFFER + packet(b"x=" + b"y" * 65000) * 5,
        HELLO + OFFER + b"0004" * 70000,
    ],
)
def test_what_git_would_not_say(stream: bytes) -> None:
    with pytest.raises(FrameError):
        FilterServer().receive(stream)


@pytest.mark.parametrize("cut", [3, len(HELLO) - 4, len(HELLO), len(HELLO + OFFER) + 5, len(STREAM) - 4])
def test_a_pipe_that_closes_too_early(cut: int) -> None:
    server = FilterServer()
    server.receive(STREAM[:cut])
    with pytest.raises(FrameError):
        server.end()


def sent(server: FilterServer, *events: Sent) -> bytes:
    return b"".join(bytes(piece) for event in events for piece in server.send(event))


def test_what_we_say() -> None:
    server = FilterServer()
    server.receive(STREAM)
    assert sent(server, Hello()) == packet(b"git-filter-server\n") + packet(b"version=2\n") + FLUSH
    assert sent(server, Capabilities(("clean",))) == packet(b"capability=clean\n") + FLUSH
    success = packet(b"status=success\n") + FLUSH
    body = packet(b"z" * MAX_PAYLOAD) + packet(b"z")
    answer = sent(server, Answer("success"), Content(b"z" * (MAX_PAYLOAD + 1)), ContentEnd(), Answer("success"))
    assert answer == success + body + FLUSH + success
    assert sent(server, Answer("delayed")) == packet(b"status=delayed\n") + FLUSH
    listed = sent(server, Available((b"a\nb", b"\xff")), Answer("success"))
    assert listed == packet(b"pathname=a\nb\n") + packet(b"pathname=\xff\n") + FLUSH + success
    assert sent(server, Answer("error")) == packet(b"status=error\n") + FLUSH


def test_what_is_not_in_the_table_cannot_be_said() -> None:
    events: list[Sent] = [Hello(), Capabilities(()), Answer("success"), Content(b""), ContentEnd(), Available(())]
    for state in Writing:
        for event in events:
            server = FilterServer()
            server.writing = state
            allowed = (state, type(event)) in TRANSITIONS or (state is Writing.ANSWER and isinstance(event, Answer))
            if allowed:
                server.send(event)
            else:
                with pytest.raises(UsageError, match=state.name):
                    server.send(event)
    server = FilterServer()
    server.writing = Writing.CAPABILITIES
    with pytest.raises(UsageError, match="did not offer"):
        server.send(Capabilities(("clean",)))


@pytest.mark.parametrize("delay", [False, True])
def test_with_git(repo: Repo, delay: bool) -> None:
    """A driver that turns capitals into small letters and back; large content, strange names, delayed answers."""
    work = repo.cwd
    log = work.parent / "log"
    command = f"PYTHONPATH='{ROOT}' '{sys.executable}' '{DRIVER}' '{log}' {int(delay)}"
    repo.git("config", "filter.case.process", command)
    repo.git("config", "filter.case.required", "true")
    (work / ".gitattributes").write_text("*.up filter=case\n")
    names = ["a.up", "with space.up", "new\nline.up", "bytes\udcff.up"]
    contents = [b"", b"ABC" * 50000, b"X" * (MAX_PAYLOAD + 1), b"small"]
    for name, content in zip(names, contents, strict=True):
        (work / name).write_bytes(content)
    repo.git("add", ".")
    assert repo.git("show", ":with space.up").stdout == b"abc" * 50000
    repo.git("commit", "-qm", "m")
    for name in names:
        (work / name).unlink()
    repo.git("checkout", "-q", "--", ".")
    for name, content in zip(names, contents, strict=True):
        assert (work / name).read_bytes() == content.upper()
    assert repo.git("status", "--porcelain").stdout == b""
    commands = [json.loads(line) for line in log.read_text().splitlines()]
    smudged = [c for c in commands if c["name"] == "smudge"]
    assert {c["pathname"] for c in smudged} == set(names)
    assert any(c["can_delay"] for c in smudged) == delay
    assert any(c["name"] == "list_available_blobs" for c in commands) == delay
