"""What the agent remembers of a model across restarts: one JSON file, replaced by one rename.

The file decides what is served and how old a move may be, so it is read strictly; where it is damaged the agent
serves what `current` points to, and follows nothing until a person has looked (`reset-floor`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton import atomic
from git_lepton.agent.values import Failure, Release
from git_lepton.errors import CorruptError, FrameError
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.values import Oid

FORMAT: Final = 1
MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """All that must survive a crash.

    Attributes:
        floor, floor_tag: number and tag of the newest move that was verified.
        expires: when that move is no longer to be followed, seconds since 1970, or None.
        desired: number of the move that this agent is asked to follow, which a ring or a halt may keep below the floor.
        settled: the tag of which nothing is left to do.
        active: the release that serves.
        pending: the release that `current` is about to point to.
        pending_failure: what becomes `failed` with it: the reason for going back.
        kept: earlier releases, the newest first.
        failed: the move that did not last.
        suspended: a person asked to leave the model alone.
        watching: the watch of `active` has not come to its end.
    """

    floor: int = 0
    floor_tag: Oid | None = None
    expires: float | None = None
    desired: int = 0
    settled: Oid | None = None
    active: Release | None = None
    pending: Release | None = None
    pending_failure: Failure | None = None
    kept: tuple[Release, ...] = ()
    failed: Failure | None = None
    suspended: bool = False
    watching: bool = False


class MemoryFile:
    """The file of one model."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Memory:
        """What was saved last, or nothing yet.

        Raises:
            CorruptError: the file is damaged.
        """
        try:
            with self.path.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Memory()
        try:
            table = json.loads(data) if len(data) <= MAX_BYTES else None
            if not isinstance(table, dict) or table.pop("format", None) != FORMAT:
                raise FrameError(f"it is not of format {FORMAT}")
            return from_plain(Memory, table)
        except (ValueError, RecursionError, FrameError) as error:
            raise CorruptError(
                f"{self.path} is damaged: {error}",
                hint=f"look at the release that serves, then: git lepton agent reset-floor {self.path.parent.name}",
            ) from error

    def save(self, memory: Memory) -> None:
        """Replace what was saved. Raises OSError when it cannot."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **to_plain(memory)}, separators=(",", ":"), ensure_ascii=True)
        atomic.write_file(self.path, text.encode("ascii") + b"\n", mode=0o600)
