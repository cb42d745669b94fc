"""A filter driver for the tests: `filter_driver.py LOG DELAY`; clean makes letters small, smudge makes them capital."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from git_lepton.git.filterproto import (
    Answer,
    Available,
    Capabilities,
    Command,
    Content,
    ContentEnd,
    FilterServer,
    Hello,
    Sent,
)


def main(log: Path, delay: bool) -> None:
    server = FilterServer()
    command, content = Command(""), bytearray()
    delayed: dict[bytes, bytes] = {}

    def say(*events: Sent) -> None:
        for event in events:
            data = b"".join(bytes(piece) for piece in server.send(event))
            while data:
                data = data[os.write(1, data) :]

    def give(result: bytes) -> None:
        say(Answer("success"), Content(result), ContentEnd(), Answer("success"))

    while data := os.read(0, 1 << 20):
        for event in server.receive(data):
            match event:
                case Hello():
                    say(Hello())
                case Capabilities(names):
                    say(Capabilities(tuple(n for n in names if delay or n != "delay")))
                case Command(name, pathname, can_delay):
                    command = event
                    content.clear()
                    with log.open("a") as stream:
                        entry = {"name": name, "pathname": os.fsdecode(pathname), "can_delay": can_delay}
                        stream.write(json.dumps(entry) + "\n")
                    if name == "list_available_blobs":
                        say(Available(tuple(delayed)), Answer("success"))
                case Content(piece):
                    content += piece
                case ContentEnd():
                    if command.name == "clean":
                        give(bytes(content).lower())
                    elif command.pathname in delayed:
                        give(delayed.pop(command.pathname))
                    elif delay and command.can_delay:
                        delayed[command.pathname] = bytes(content).upper()
                        say(Answer("delayed"))
                    else:
                        give(bytes(content).upper())
    server.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "1")
