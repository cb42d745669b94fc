"""Telling a remote what runs here: one small blob for each channel, which `git lepton deployed` reads.

Off unless agent.toml names a remote, since it needs the right to push there: to a repository of its own, best. It has a
thread of its own, so a remote that is slow or gone costs the models nothing. A report goes out when something changed,
and else once an interval, which shows that the agent lives. What was served before is kept beside the agent's state,
for the history of the next report.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from git_lepton import atomic, proc
from git_lepton.agent.events import Event, Swapped
from git_lepton.agent.settings import Settings
from git_lepton.agent.values import AgentStatus, ModelStatus
from git_lepton.errors import FrameError, LeptonError
from git_lepton.git.repo import Repo, discover
from git_lepton.release.status import MAX_BYTES, MAX_HISTORY, Ran, StatusReport, parse, publish, to_text
from git_lepton.report.table import safe

Key = tuple[str, str]
"""Model and channel."""

_DISTANCE: Final = 2.0
_FRESH_AFTER: Final = 1000
"""Reports after which the repository that they are pushed from is made anew: nothing collects what it holds."""


class Reporter:
    """An `events.Observer` that pushes, from `start` to `close`."""

    def __init__(self, settings: Settings, status: Callable[[], AgentStatus]) -> None:
        """Prepare.

        Args:
            settings: with a `status.remote`.
            status: tells what the agent is at; called on the engine's thread alone.
        """
        assert settings.status.remote
        self._settings = settings
        self._remote = settings.status.remote
        self._ask = status
        self._folder = settings.state / "reports"
        self._triggers: dict[Key, str] = {}
        self._reports: dict[Key, StatusReport] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._sent = 0
        self._problem = ""

    def start(self) -> None:
        """Begin, with what was served when the agent last ran."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._look()
        self._wake.set()
        threading.Thread(target=self._run, name="reports", daemon=True).start()

    def close(self) -> None:
        """Push nothing more."""
        self._stopping = True
        self._wake.set()

    def notice(self, event: Event) -> None:
        """Look at what changed."""
        if isinstance(event, Swapped):
            follow = self._settings.follows[event.name]
            self._triggers[follow.model, follow.channel] = event.trigger
        if self._folder.is_dir() and self._look():
            self._wake.set()

    def _look(self) -> bool:
        """Take the agent's status; whether there is news in it."""
        news = False
        for model in reversed(self._ask().models):  # of two tables that follow one channel, the first is told of
            key = (model.model, model.channel)
            before = self._reports.get(key) or self._load(key)
            report = _report(self._settings.id, model, before, self._triggers.get(key, ""))
            news = news or before is None or _lasting(report) != _lasting(before)
            self._reports[key] = report
        return news

    # On its own thread

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._settings.status.interval)
            self._wake.clear()
            if not self._stopping:
                self._publish()
                time.sleep(_DISTANCE)

    def _publish(self) -> None:
        try:
            repo = self._repo()
            for key, report in list(self._reports.items()):
                told = dataclasses.replace(report, time=time.time())
                atomic.write_file(self._path(key), to_text(told))
                publish(repo, self._remote, told)
        except (LeptonError, OSError) as error:
            self._say(error.message if isinstance(error, LeptonError) else str(error))
        else:
            self._say("")

    def _repo(self) -> Repo:
        """The repository that holds reports until they are pushed."""
        folder = self._settings.state / "reports.git"
        if self._sent % _FRESH_AFTER == 0:
            shutil.rmtree(folder, ignore_errors=True)
            form = f"--object-format={self._settings.object_format}"
            proc.run(("git", "init", "--quiet", "--bare", "--template=", "--initial-branch=none", form, folder))
        self._sent += 1
        found = discover(folder)
        pins = (("GIT_TERMINAL_PROMPT", "0"), ("GIT_CONFIG_COUNT", "1"))
        hooks = (("GIT_CONFIG_KEY_0", "core.hooksPath"), ("GIT_CONFIG_VALUE_0", os.devnull))
        environment = (*found.environment, *pins, *hooks)
        return dataclasses.replace(found, environment=environment, timeout=self._settings.timeout)

    def _say(self, problem: str) -> None:
        """A line for the journal when something is wrong that was not wrong before, or right again."""
        if problem != self._problem:
            self._problem = problem
            line = f"cannot be sent: {problem}" if problem else "are sent again"
            sys.stderr.write(f"reports: {safe(line)}\n")

    def _path(self, key: Key) -> Path:
        return self._folder / f"{key[0]}@{key[1]}.json"

    def _load(self, key: Key) -> StatusReport | None:
        try:
            with self._path(key).open("rb") as stream:
                return parse(stream.read(MAX_BYTES + 1))
        except (OSError, FrameError):
            return None  # history is a courtesy


def _report(agent: str, model: ModelStatus, before: StatusReport | None, trigger: str) -> StatusReport:
    release = model.release
    history = before.history if before else ()
    if release is not None and not (history and history[0].since == release.since):
        ran = Ran(release.since, release.seq, release.version, release.bundle, trigger, release.variant)
        history = (ran, *history)[:MAX_HISTORY]
    return StatusReport(
        agent=agent,
        model=model.model,
        channel=model.channel,
        time=0.0,
        ready=model.ready,
        state=model.state,
        desired_seq=model.desired_seq,
        seq=release.seq if release else 0,
        version=release.version if release else "",
        bundle=release.bundle if release else None,
        commit=release.commit if release else "",
        variant=release.variant if release else "",
        suspended=model.suspended,
        problem=model.problem,
        history=history,
    )


def _lasting(report: StatusReport) -> StatusReport:
    """The report without what changes with every step."""
    return dataclasses.replace(report, time=0.0, state="")
