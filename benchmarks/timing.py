"""Whole processes measured from outside: time, processor time, memory and disk.

Time is that of the command a user types, with everything it starts, from `wait4`. Two contenders run in pairs, A B A B,
so that a slow minute of the machine hits both, and medians are compared. Dirty pages are written out before each run,
so that nobody pays for what the one before left behind.

Memory is sampled from /proc every 20 ms over all processes of the command's session, and of sessions that these begin:
RssAnon + RssShmem summed (pages that only this command needs), and the largest VmHWM of a single process (which also
counts mapped files). `ru_maxrss` is not used: a child inherits the mark of the process that started it. Disk is what
the files of a folder occupy, sampled every 100 ms.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MEMORY_SECONDS: Final = 0.02
DISK_SECONDS: Final = 0.1
BLOCK: Final = 512
_PARENT_FIELD: Final = 1
_SESSION_FIELD: Final = 3
"""Indices of parent and session among the fields of /proc/PID/stat behind the name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds on the clock, and seconds of processor time of all processes together."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Some runs of the same command."""

    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        """Median seconds on the clock."""
        return statistics.median(s.wall for s in self.samples)

    @property
    def cpu(self) -> float:
        """Median seconds of processor time."""
        return statistics.median(s.cpu for s in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest run, in seconds on the clock."""
        return min(s.wall for s in self.samples), max(s.wall for s in self.samples)


class FailedError(Exception):
    """A measured command failed; the message holds the command and what it said."""


def run(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], watch: Watch | None = None) -> Sample:
    """Run a command to its end and measure it.

    Raises:
        FailedError: it did not exit with 0.
    """
    os.sync()
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        # Sampling begins when the program runs: before its exec a child shows the memory of this process.
        with watch.during(process.pid) if watch else _nothing():
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise FailedError(f"{' '.join(map(str, argv))} -> {process.returncode}: {text[-2000:]}")
    return Sample(wall, usage.ru_utime + usage.ru_stime)


def interleave(runs: int, **contenders: Callable[[], Sample]) -> dict[str, Timing]:
    """Run each contender in turn, `runs` times round; each prepares itself and returns what it measured."""
    found: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            found[name].append(contender())
    return {name: Timing(tuple(samples)) for name, samples in found.items()}


@dataclass(slots=True)
class Watch:
    """What was seen while a command ran.

    Attributes:
        folder: where disk space is watched, or None to watch memory.
        private: the largest sum of RssAnon + RssShmem over all processes, in bytes.
        marks: the largest VmHWM of a process of each name, in bytes.
        disk: the largest number of bytes that the files of `folder` occupied.
    """

    folder: Path | None = None
    private: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    disk: int = 0

    @contextmanager
    def during(self, session: int) -> Iterator[None]:
        """Sample until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._sample, args=(session, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sample(self, session: int, over: threading.Event) -> None:
        foreign: set[int] = set()
        sessions = {session}
        period = DISK_SECONDS if self.folder else MEMORY_SECONDS
        while True:
            if self.folder:
                self.disk = max(self.disk, occupied(self.folder))
            else:
                self._sample_memory(sessions, foreign)
            if over.wait(period):
                return

    def _sample_memory(self, sessions: set[int], foreign: set[int]) -> None:
        seen = {str(pid): found for pid in _members(sessions, foreign) if (found := _status(pid))}
        total = 0
        for found in seen.values():
            parent = seen.get(found["PPid"])
            if parent and all(parent[key] == found[key] for key in ("VmSize", "RssAnon", "Name")):
                continue  # between fork and exec a child shows its parent's memory once more
            total += (int(found["RssAnon"]) + int(found["RssShmem"])) << 10
            self.marks[found["Name"]] = max(self.marks.get(found["Name"], 0), int(found["VmHWM"]) << 10)
        self.private = max(self.private, total)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _members(sessions: set[int], foreign: set[int]) -> list[int]:
    """The processes of some sessions, to which those of their children are added.

    `foreign` remembers the processes of others, so that each is looked at once.
    """
    found = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):  # noqa: PTH208 - names only
        if pid in foreign:
            continue
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        session = int(fields[_SESSION_FIELD])
        if int(fields[_PARENT_FIELD]) in found:
            sessions.add(session)
        if session in sessions:
            found.add(pid)
        else:
            foreign.add(pid)
    return sorted(found)


def _status(pid: int) -> dict[str, str] | None:
    """The first word of each line of /proc/PID/status, or None when the process is gone or has no memory left."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines) if rest.split()}
    return found if "RssAnon" in found else None


def occupied(folder: Path) -> int:
    """Bytes on disk that the files below a folder occupy; a file with several names counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                info = os.lstat(os.path.join(top, name))  # noqa: PTH118 - a hot loop
            except OSError:
                continue
            blocks[info.st_dev, info.st_ino] = info.st_blocks
    return sum(blocks.values()) * BLOCK


def length(folder: Path) -> int:
    """Bytes in the files below a folder, as `ls -l` counts them."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
