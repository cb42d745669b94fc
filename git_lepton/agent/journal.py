"""The agent's log: one line an event, on standard error, where systemd and containers look for it."""

from __future__ import annotations

import sys
from typing import Final, TextIO

from git_lepton.agent.events import (
    Accepted,
    Event,
    Fetched,
    Polled,
    PollFailed,
    Refused,
    Started,
    StateChanged,
    SuspensionChanged,
    SwapFailed,
    Swapped,
    Watched,
)
from git_lepton.agent.values import Release
from git_lepton.report.table import safe

_WHOLE: Final = "remote"


class Journal:
    """Writes events as lines; what repeats itself at every poll is written once, until something else happens."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._last: dict[str, str] = {}

    def notice(self, event: Event) -> None:
        """See `Observer`."""
        if isinstance(event, Polled):
            if self._last.pop(_WHOLE, None) is not None:
                self._write("remote", "answers again")
            return
        line = _line(event)
        name = event.name or _WHOLE
        if line is not None and self._last.get(name) != line:
            self._last[name] = line
            self._write(name, line)

    def _write(self, name: str, line: str) -> None:
        print(f"{name}: {safe(line)}", file=self._stream, flush=True)


def _line(event: Event) -> str | None:
    match event:
        case Started(release=old):
            return f"{_title(old)} serves, move {old.seq}, as it did before" if old else "nothing serves yet"
        case PollFailed(reason=reason, message=message):
            return f"poll failed ({reason}): {message}"
        case Refused(reason=reason, message=message):
            return f"refused ({reason}): {message}"
        case Accepted(seq=seq, halted=True):
            return f"move {seq} is verified: the channel is halted, and what serves stays"
        case Accepted(seq=seq, version=version):
            return f"move {seq} is verified" + (f": {version}" if version else "")
        case Fetched(bytes=count, seconds=seconds):
            return f"fetched {count} bytes in {seconds:.2f} s"
        case Swapped(trigger=trigger, release=release, seconds=seconds):
            return f"{trigger}: {_title(release)} serves, move {release.seq}, after {seconds:.2f} s"
        case SwapFailed(reason="manual", seq=seq):
            return f"move {seq} is taken back by hand"
        case SwapFailed(reason="watch", message=message, seq=seq):
            return f"move {seq} did not last: {message}"
        case SwapFailed(reason=reason, trigger=trigger, message=message, seq=seq):
            return f"{trigger} failed ({reason}), move {seq}: {message}"
        case Watched(verdict=verdict, message=message):
            return f"watch: {verdict}: {message}"
        case SuspensionChanged(suspended=suspended):
            return "suspended" if suspended else "resumed"
        case Polled() | StateChanged():
            return None


def _title(release: Release) -> str:
    return release.version or release.bundle[:12]
