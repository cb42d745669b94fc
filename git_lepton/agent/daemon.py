"""The agent as a process: when to poll, who may interrupt, and how it ends.

Time is the monotonic clock's, so a clock that is set neither wakes the agent nor lets it sleep. Polls are spread by up
to a tenth of the interval, so that a thousand agents do not ask at once; a remote that does not answer is asked less
and less often, down to once an hour. A poke, and whatever an administrator asks, is done at once between two steps.
"""

from __future__ import annotations

import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, Protocol

from git_lepton.agent.control import Answer, ControlServer
from git_lepton.agent.document import release_fields, status_fields
from git_lepton.agent.engine import Engine
from git_lepton.agent.events import Event, PollFailed, Refused, SwapFailed
from git_lepton.errors import EXIT_DIFFERS, EXIT_MISSING, EXIT_OK, EXIT_REFUSED, LeptonError, UsageError

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
JITTER: Final = 0.1
MAX_WAIT: Final = 3600.0
_ANSWER_SECONDS: Final = 900.0


@dataclass(slots=True)
class _Request:
    """Work for the engine's thread, and where its answer goes."""

    work: Callable[[], Answer]
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer = field(default_factory=dict)
    error: LeptonError | None = None


class Service(Protocol):
    """What runs beside the engine, on threads of its own."""

    def start(self) -> None:
        """Begin; the models serve already."""

    def close(self) -> None:
        """End."""


class Daemon:
    """Runs an engine until it is stopped; append to `services` before `run`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.services: list[Service] = []
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._control = ControlServer(engine.settings.state, self.handle)
        self._stopping = False
        self._poked = False
        self._failures = 0

    def run(self) -> None:
        """Serve, poll and obey, until `stop`, SIGTERM or SIGINT.

        Raises:
            RaceLostError: another agent has the state folder.
        """
        self.engine.start()
        self.engine.announce()
        services = (self._control, *self.services)
        started: list[Service] = []
        try:
            for service in services:
                with _undisturbed():
                    service.start()
                    started.append(service)
            self._loop()
        finally:
            for service in reversed(started):
                service.close()
            self.engine.close()

    def stop(self) -> None:
        """End as soon as the step at hand is done. From any thread."""
        self._stopping = True
        self._requests.put(None)

    def poke(self) -> None:
        """Ask the remote now. From any thread; pokes that come while one is under way count as one."""
        self._poked = True
        self._requests.put(None)

    def handle(self, request: dict[str, Any]) -> Answer:
        """Carry out what an administrator asks; from any thread, waits for the answer.

        Raises:
            LeptonError: a request that makes no sense, or cannot be carried out.
        """
        verb, name = request.get("do"), request.get("name")
        if verb == "status":
            return status_fields(self.engine.status())
        if verb == "poke":
            self.poke()
            return {"ok": True}
        work = _work(self.engine, str(verb), str(name))
        item = _Request(work)
        self._requests.put(item)
        if not item.done.wait(_ANSWER_SECONDS):
            raise UsageError("the agent is busy, and will do it when it can")
        if item.error is not None:
            raise item.error
        if verb in {"resume", "retry", "reset-floor"}:
            self.poke()
        return item.answer

    def _loop(self) -> None:
        next_poll = time.monotonic()
        while not self._stopping:
            if self._poked or time.monotonic() >= next_poll:
                self._poked = False
                self._failures = 0 if self.engine.poll() else self._failures + 1
                next_poll = time.monotonic() + pause(self.engine.settings.interval, self._failures)
            self.engine.tick()
            due = self.engine.due()
            self._obey(next_poll if due is None else min(next_poll, due))

    def _obey(self, until: float) -> None:
        """Wait for requests, and carry one out."""
        with suppress(queue.Empty):
            item = self._requests.get(timeout=max(0.0, until - time.monotonic()))
            if item is not None:
                try:
                    item.answer = item.work()
                except LeptonError as error:
                    item.error = error
                except OSError as error:
                    item.error = UsageError(f"it failed: {error}")
                item.done.set()


def pause(interval: float, failures: int) -> float:
    """Seconds until the next poll, after so many in a row that were not answered."""
    spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - to spread load, not to hide anything
    return min(interval * (1 << min(failures, 20)), max(interval, MAX_WAIT)) * spread


def administer(engine: Engine, verb: str, name: str) -> Answer:
    """Carry out a request on an engine that was started here, because no agent runs."""
    return _work(engine, verb, name)()


def _work(engine: Engine, verb: str, name: str) -> Callable[[], Answer]:
    follower = engine.follower(name)
    verbs: dict[str, Callable[[], Answer]] = {
        "suspend": lambda: _done(follower.suspend, True),
        "resume": lambda: _done(follower.suspend, False),
        "retry": lambda: _done(follower.retry),
        "rollback": lambda: {"ok": True, "release": release_fields(follower.rollback())},
        "reset-floor": lambda: _done(follower.reset_floor),
    }
    if verb not in verbs:
        raise UsageError(f"the agent cannot {verb!r}", hint=f"it can {', '.join(verbs)}")
    return verbs[verb]


def _done(function: Callable[..., None], *args: bool) -> Answer:
    function(*args)
    return {"ok": True}


class Outcome:
    """An observer that knows with which status `once` should end."""

    def __init__(self) -> None:
        self.status = EXIT_OK

    def notice(self, event: Event) -> None:
        """See `Observer`. What was refused weighs more than what failed, and that more than what was not reached."""
        if isinstance(event, Refused):
            self.status = EXIT_REFUSED
        elif isinstance(event, SwapFailed) and self.status != EXIT_REFUSED:
            self.status = EXIT_MISSING if event.reason == "fetch" else EXIT_DIFFERS
        elif isinstance(event, PollFailed) and self.status == EXIT_OK:
            self.status = EXIT_MISSING


def once(engine: Engine) -> int:
    """Start, poll once, and stay until nothing is watched any more; returns an exit status.

    Raises:
        RaceLostError: another agent has the state folder.
    """
    outcome = Outcome()
    engine.observers.append(outcome)
    engine.start()
    try:
        engine.poll()
        while (due := engine.due()) is not None:
            time.sleep(max(0.0, due - time.monotonic()))
            engine.tick()
    finally:
        engine.close()
    return outcome.status


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No signal ends this process between the start of a service and the note that it must be closed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process at once and cleanly: every step may be the last."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(EXIT_OK)

    for each in _ENDING:
        signal.signal(each, end)
