"""git's protocol for long-running filter processes, version 2 (gitattributes(5)), without I/O.

git writes, we answer:

    git-filter-client, version=2, FLUSH            git-filter-server, version=2, FLUSH
    capability=clean, ..., FLUSH                   capability=clean, ..., FLUSH
    command=smudge, pathname=..., FLUSH            status=success, FLUSH
    content, ..., FLUSH                            content, ..., FLUSH, FLUSH       (success, said again)
                                                   content, ..., FLUSH, status=error, FLUSH
                                               or  status=error | abort | delayed, FLUSH
    command=list_available_blobs, FLUSH            pathname=..., FLUSH, status=success, FLUSH

`FilterServer.receive` turns what git wrote into events, and `send` turns our events into bytes. Each direction is a
small state machine; the two tables below are all there is to know about their order. Content arrives as slices of what
was given to `receive`, in whatever pieces the pipe delivered, so that a file of any size passes through without being
copied or joined: use a slice before the next call, or copy it.

Laws: however the input is cut, the events are the same up to the borders of content slices; and input that git would
not write raises `FrameError`, never anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from git_lepton.errors import FrameError, UsageError
from git_lepton.git.pktline import FLUSH, Splitter, packet, packets

Status = Literal["success", "error", "abort", "delayed"]
"""What git hears: here it is; not this file; no more of this command; ask again later."""

_LIST_CAP: Final = 1 << 18
"""Most bytes of one list of text lines: a path has at most 4,096, the rest of them some hundred."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Both: first words. git's carries the versions that it speaks; ours needs none."""

    versions: tuple[str, ...] = ("2",)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Both: "clean", "smudge", "delay". Ours must be among git's."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """From git: the beginning of a request.

    Attributes:
        name: "clean", "smudge" or "list_available_blobs".
        pathname: relative to the top of the work tree; empty for `list_available_blobs`.
        can_delay: "delayed" is an answer.
        ref: what is being checked out, if git says so.
        treeish: the commit or tree that the file comes from, if git says so.
        blob: object id of the content, if git says so.
    """

    name: str
    pathname: bytes = b""
    can_delay: bool = False
    ref: bytes | None = None
    treeish: bytes | None = None
    blob: bytes | None = None


class Content(NamedTuple):
    """Both: a piece of the file. A tuple, since there are thousands a second."""

    data: bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ContentEnd:
    """Both: the file is complete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To git: the status, before content and after it."""

    status: Status


@dataclass(frozen=True, slots=True)
class Available:
    """To git: the delayed paths that can be asked for now; none means that all were."""

    pathnames: tuple[bytes, ...]


Received = Hello | Capabilities | Command | Content | ContentEnd
Sent = Hello | Capabilities | Answer | Content | ContentEnd | Available


class Reading(Enum):
    """What git says next."""

    HELLO = auto()
    CAPABILITIES = auto()
    COMMAND = auto()
    CONTENT = auto()


class Writing(Enum):
    """What we say next."""

    HELLO = auto()
    CAPABILITIES = auto()
    ANSWER = auto()
    CONTENT = auto()
    VERDICT = auto()
    LISTED = auto()


AFTER_LIST: Final = {Reading.HELLO: Reading.CAPABILITIES, Reading.CAPABILITIES: Reading.COMMAND}
"""What git says after each list of the handshake; after a command it depends on the command."""

TRANSITIONS: Final[dict[tuple[Writing, type[Sent]], Writing]] = {
    (Writing.HELLO, Hello): Writing.CAPABILITIES,
    (Writing.CAPABILITIES, Capabilities): Writing.ANSWER,
    (Writing.ANSWER, Available): Writing.LISTED,
    (Writing.LISTED, Answer): Writing.ANSWER,
    (Writing.CONTENT, Content): Writing.CONTENT,
    (Writing.CONTENT, ContentEnd): Writing.VERDICT,
    (Writing.VERDICT, Answer): Writing.ANSWER,
}
"""What we may say, and what comes then. A first `Answer` is the exception: content follows only on success."""


class FilterServer:
    """Our end of the conversation. It neither reads nor writes: the driver does."""

    def __init__(self) -> None:
        """Begin. `reading` and `splitter` tell where the conversation stands for who reads content itself."""
        self.reading = Reading.HELLO
        self.writing = Writing.HELLO
        self.splitter = Splitter()
        self._lines: list[bytes] = []
        self._line = bytearray()
        self._listed = 0
        self._offered: frozenset[str] = frozenset()

    def receive(self, data: bytes | bytearray | memoryview) -> list[Received]:
        """The events in the next bytes from git; slices of `data` in `Content` live as long as `data` does.

        Raises:
            FrameError: git would not write this; the conversation is over.
        """
        events: list[Received] = []
        for piece, last in self.splitter.receive(data):
            if self.reading is Reading.CONTENT:
                if piece is None:
                    events.append(self.content_end())
                elif piece.nbytes:
                    events.append(Content(piece))
            elif piece is None:
                lines, self._lines, self._listed = self._lines, [], 0
                events.append(self._list(lines))
            else:
                self._listed += piece.nbytes + len(FLUSH)  # an empty packet costs something, too
                if self._listed > _LIST_CAP:
                    raise FrameError("filter protocol: a list of more than 256 KiB")
                self._line += piece
                if last:
                    self._lines.append(bytes(self._line).removesuffix(b"\n"))
                    self._line.clear()
        return events

    def content_end(self) -> ContentEnd:
        """Hear that a flush packet ended the content, which who reads it without `receive` finds out by itself."""
        self.reading = Reading.COMMAND
        return ContentEnd()

    def end(self) -> None:
        """Hear that git closed the pipe.

        Raises:
            FrameError: in the middle of something.
        """
        if not self.splitter.between or self._lines or self.reading not in {Reading.HELLO, Reading.COMMAND}:
            raise FrameError("filter protocol: git closed the pipe in the middle of a request")

    def send(self, event: Sent) -> list[bytes | memoryview]:
        """The bytes that tell git `event`, as pieces to be written in order.

        Raises:
            UsageError: it is not our turn to say this: a fault of the caller.
        """
        if isinstance(event, Answer) and self.writing is Writing.ANSWER:
            after = Writing.CONTENT if event.status == "success" else Writing.ANSWER
        else:
            found = TRANSITIONS.get((self.writing, type(event)))
            if found is None:
                raise UsageError(f"filter protocol: {type(event).__name__} cannot be sent in state {self.writing.name}")
            after = found
        pieces = self._encode(event)
        self.writing = after
        return pieces

    def _list(self, lines: list[bytes]) -> Received:
        """The event of a complete list, and the state after it."""
        if self.reading is Reading.COMMAND:
            command = _parse_command(lines)
            if command.name not in {*self._offered - {"delay"}, "list_available_blobs"}:
                raise FrameError(f"filter protocol: unknown command {command.name!r}")
            if command.name != "list_available_blobs":
                self.reading = Reading.CONTENT
            return command
        state, self.reading = self.reading, AFTER_LIST[self.reading]
        if state is Reading.HELLO:
            if lines[:1] != [b"git-filter-client"]:
                raise FrameError("filter protocol: not spoken to by git")
            versions = _values(lines[1:], b"version")
            if "2" not in versions:
                raise FrameError("filter protocol: git does not speak version 2")
            return Hello(versions)
        names = _values(lines, b"capability")
        self._offered = frozenset(names)
        return Capabilities(names)

    def _encode(self, event: Sent) -> list[bytes | memoryview]:
        match event:
            case Hello():
                return [packet(b"git-filter-server\n"), packet(b"version=2\n"), FLUSH]
            case Capabilities(names):
                if not self._offered.issuperset(names):
                    raise UsageError("filter protocol: git did not offer this capability")
                return [*(packet(f"capability={name}\n".encode("ascii")) for name in names), FLUSH]
            case Answer(status):
                return [packet(f"status={status}\n".encode("ascii")), FLUSH]
            case Available(pathnames):
                return [*(packet(b"pathname=" + name + b"\n") for name in pathnames), FLUSH]
            case Content(data):
                return list(packets(data))
            case ContentEnd():
                return [FLUSH]


def _values(lines: list[bytes], key: bytes) -> tuple[str, ...]:
    """The values of a list in which every line is `key=value`, the value a word."""
    found = []
    for line in lines:
        name, equals, value = line.partition(b"=")
        if name != key or not equals or not value.isascii():
            raise FrameError(f"filter protocol: {line[:80]!r} where {key.decode()}=... is due")
        found.append(value.decode("ascii"))
    return tuple(found)


def _parse_command(lines: list[bytes]) -> Command:
    """The request that a list of `key=value` lines makes; keys that a later git may add are passed over."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        key, equals, value = line.partition(b"=")
        if not equals or key in fields:
            raise FrameError(f"filter protocol: malformed or repeated line {line[:80]!r}")
        fields[key] = value
    name = fields.get(b"command", b"").decode("ascii", "replace")
    pathname = fields.get(b"pathname", b"")
    if not name or (not pathname and name != "list_available_blobs"):
        raise FrameError("filter protocol: a request without command or pathname")
    return Command(
        name=name,
        pathname=pathname,
        can_delay=fields.get(b"can-delay") == b"1",
        ref=fields.get(b"ref"),
        treeish=fields.get(b"treeish"),
        blob=fields.get(b"blob"),
    )
