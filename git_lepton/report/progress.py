"""The progress bar: bytes, speed and time left, on a terminal, for work that takes longer than a blink.

Work that ends within half a second shows nothing, and never pays for importing rich.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from git_lepton.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_PATIENCE_SECONDS: Final = 0.5


def for_terminal(*, quiet: bool = False) -> Progress:
    """A bar when standard error is a terminal and the user did not ask for silence."""
    return Bar() if not quiet and sys.stderr.isatty() else Silent()


class Bar:
    """Draws the running phase on standard error. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._since = 0.0
        self._shown: tuple[RichProgress, TaskID] | None = None

    def start(self, label: str, total: int | None) -> None:
        """See `Progress.start`."""
        with self._lock:
            self._hide()
            self._label, self._total, self._done, self._since = label, total, 0, time.monotonic()

    def advance(self, amount: int) -> None:
        """See `Progress.advance`."""
        with self._lock:
            self._done += amount
            if self._shown is not None:
                display, task = self._shown
                display.update(task, completed=self._done)
            elif time.monotonic() - self._since > _PATIENCE_SECONDS:
                self._show()

    def finish(self) -> None:
        """See `Progress.finish`."""
        with self._lock:
            self._hide()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        display = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = display.add_task(self._label, total=self._total, completed=self._done)
        display.start()
        self._shown = (display, task)

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown[0].stop()
            self._shown = None
