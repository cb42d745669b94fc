"""All models of one agent: one question to the remote for all of them, then each by itself.

The engine has no clock of its own and no thread: `daemon` calls `poll` and `tick` when it is time, tests call them when
they like.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from git_lepton import atomic
from git_lepton.agent.events import Event, Observer, Polled, PollFailed, Started
from git_lepton.agent.failures import poll_reason, sentence
from git_lepton.agent.follower import Follower
from git_lepton.agent.mirror import Mirror
from git_lepton.agent.settings import Settings
from git_lepton.agent.values import AgentStatus
from git_lepton.errors import LeptonError, RaceLostError, UsageError
from git_lepton.values import Hash, Oid

LOCK: Final = "agent.lock"
LOCK_SECONDS: Final = 1.0
"""A child that a killed agent had just forked holds its lock until it becomes git."""


class Engine:
    """The agent's work. To be used from one thread; `close` it in the end."""

    def __init__(self, settings: Settings, observers: Iterable[Observer] = ()) -> None:
        """Prepare; nothing is touched before `start`."""
        self.settings = settings
        self.observers = list(observers)
        self.mirror = Mirror(settings)
        self.followers = {
            name: Follower(settings, follow, self.mirror, self._emit) for name, follow in settings.follows.items()
        }
        self.last_poll = 0.0
        self.last_success = 0.0
        self._lock = atomic.Lock(settings.state / LOCK, timeout=LOCK_SECONDS)

    def start(self) -> None:
        """Take the state folder, and serve what served last. No network.

        Raises:
            RaceLostError: another agent has the folder.
        """
        self.settings.state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except RaceLostError as error:
            raise RaceLostError(
                f"an agent uses {self.settings.state} already: {error.message}",
                hint="git lepton agent status tells what it does; another agent needs a state folder of its own",
            ) from error
        for follower in self.followers.values():
            follower.start()

    def announce(self) -> None:
        """Tell what serves as an agent begins that is to follow channels."""
        for name, follower in self.followers.items():
            self._emit(Started(name, follower.memory.active))

    def close(self) -> None:
        """Give the state folder back."""
        self._lock.release()

    def poll(self) -> bool:
        """Ask the remote once, and follow what it answers; returns whether it answered. Raises nothing.

        Whether what serves is still in place is looked at first: a remote that is gone is no reason to go without.
        """
        began = time.monotonic()
        self.last_poll = time.time()
        followers = [f for f in self.followers.values() if not f.memory.suspended]
        for follower in followers:
            follower.heal()
        try:
            answers = self.mirror.ask((f.follow.model, f.follow.channel) for f in followers)
        except Exception as error:  # an agent outlives whatever its remote does
            self._poll_failed(error)
            return False
        self.last_success = time.time()
        self._emit(Polled(time.monotonic() - began))
        for follower in followers:
            follower.consider(answers.get((follower.follow.model, follower.follow.channel)))
        with suppress(LeptonError, OSError):  # a smaller mirror can wait
            self._compact()
        return True

    def tick(self) -> None:
        """Do what is due at this moment without the remote: look at releases that are watched."""
        for follower in self.followers.values():
            follower.tick()

    def due(self) -> float | None:
        """When `tick` has something to do next, on the monotonic clock."""
        return min((f.due for f in self.followers.values() if f.due is not None), default=None)

    def follower(self, name: str) -> Follower:
        """The one of this name. Raises UsageError."""
        if name not in self.followers:
            raise UsageError(
                f"the agent follows nothing called {name!r}", hint=f"it follows: {', '.join(self.followers)}"
            )
        return self.followers[name]

    def status(self) -> AgentStatus:
        """The whole agent."""
        return AgentStatus(
            agent=self.settings.id,
            last_poll=self.last_poll,
            last_success=self.last_success,
            last_swap=max((f.last_swap for f in self.followers.values()), default=0.0),
            interval=self.settings.interval,
            models=tuple(f.status() for f in self.followers.values()),
        )

    def _emit(self, event: Event) -> None:
        for observer in self.observers:
            observer.notice(event)

    def _poll_failed(self, error: Exception) -> None:
        self._emit(PollFailed("", poll_reason(error), sentence(error)))

    def _compact(self) -> None:
        """Let go of what no release here needs."""
        versions: set[Hash] = set()
        blobs: set[Oid] = set()
        for follower in self.followers.values():
            memory = follower.memory
            for release in ((memory.active,) if memory.active else ()) + memory.kept:
                for source in release.sources:
                    if source.blob is None:
                        versions.add(Hash(source.line.split(" ", 3)[2]))
                    else:
                        blobs.add(source.blob)
        self.mirror.compact(sorted(versions), sorted(blobs))
