"""One model: from what the remote's tag points to, step by step to the release that serves.

    idle ─▶ verifying ─▶ fetching ─▶ materialising ─▶ warming ─▶ swapping ─▶ watching ─▶ serving
      ▲         └───────────┴──────────────┴─────────────┴──── a failure: back to serving the old one

Every step may be the last before the power fails. What decides is saved first (`memory`): the floor before a byte is
fetched; `pending` before `current` moves. A start finds out which side of the move of the link it is on, and goes on
from there. No failure of one model leaves this module, so none stops the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from git_lepton.agent.collect import collect
from git_lepton.agent.events import (
    Accepted,
    Event,
    Fetched,
    PollFailed,
    Refused,
    StateChanged,
    SuspensionChanged,
    SwapFailed,
    Swapped,
    SwapReason,
    Watched,
)
from git_lepton.agent.failures import poll_reason, reason_of, sentence, swap_reason
from git_lepton.agent.memory import Memory, MemoryFile
from git_lepton.agent.mirror import Mirror
from git_lepton.agent.notify import tell
from git_lepton.agent.releases import Releases
from git_lepton.agent.settings import Follow, Settings
from git_lepton.agent.values import Failure, ModelStatus, Release, State, Trigger, Wanted
from git_lepton.agent.verify import Floor, Verified, Verifier
from git_lepton.agent.warmup import warm_up
from git_lepton.agent.watch import Watching
from git_lepton.errors import CorruptError, LeptonError, UsageError, VerificationError
from git_lepton.store.store import Store
from git_lepton.values import Hash, Oid

_MAX_WAIT: Final = 3600.0


class Follower:
    """Follows one channel. To be used from one thread."""

    def __init__(self, settings: Settings, follow: Follow, mirror: Mirror, emit: Callable[[Event], None]) -> None:
        """Prepare; `start` is the first that touches the disk."""
        self.follow = follow
        self.memory = Memory()
        self.state: State = "idle"
        self.problem = ""
        self.last_swap = 0.0
        self._interval = settings.interval
        self._mirror = mirror
        self._emit = emit
        self._file = MemoryFile(settings.state / "models" / follow.name / "memory.json")
        self._golden = settings.state / "models" / follow.name / "golden.npz"
        self._verifier = Verifier(settings, follow, mirror)
        self.releases = Releases(follow.folder)
        self._watching: Watching | None = None
        self._seen: Oid | None = None
        self._tries = 0
        self._retry_at = 0.0
        self._refusal: Refused | None = None
        self._began = 0.0
        self._broken = False
        self._absent = False

    # Starting

    def start(self) -> None:
        """Serve what served last, from this disk alone."""
        try:
            self.memory = self._file.load()
            self.releases.clean()
            self._recover()
        except Exception as error:  # whatever is wrong with one model's files, the others start
            self._broken = isinstance(error, CorruptError) and self.memory == Memory()
            self._note_failure(error, "repair", 0)
        self._rest()

    def _recover(self) -> None:
        memory = self.memory
        if memory.pending is not None:
            if self.releases.current() == memory.pending.bundle:
                self._settle_pending()
                self._tell(memory.pending)
            else:
                self._save(replace(memory, pending=None, pending_failure=None))
        active = self.memory.active
        if active is None:
            return
        self.last_swap = active.since
        self._keep_in_place(active, deep=True)
        # The channel's tag is looked at again: settings may have changed, and what was wrong may be right now.
        self.memory = replace(self.memory, settled=None)
        if self.memory.watching and self.follow.watch is not None and self.memory.active is not None:
            self._watching = Watching(self.follow, self.memory.active, time.monotonic())

    def heal(self) -> None:
        """See that what serves is where it was put: somebody may have deleted files, or the link. Raises nothing."""
        active = self.memory.active
        if active is None or self.memory.suspended or self._broken:
            return
        try:
            self._keep_in_place(active, deep=False)
        except Exception as error:  # as in `start`
            self._note_failure(error, "repair", active.seq)
        self._rest()

    def _keep_in_place(self, release: Release, *, deep: bool) -> None:
        """The release that serves is made again where it is gone or damaged; if that cannot be, an older one serves."""
        whole = self.releases.is_whole(release, deep=deep)
        if whole and self.releases.current() == release.bundle:
            return
        began = time.monotonic()
        try:
            if not whole:
                self._become("materialising")
                with self._mirror.store() as store:
                    self._build(store, release)
            self.releases.point(release.bundle)
            self._emit(Swapped(self.follow.name, "repair", release, time.monotonic() - began))
        except (LeptonError, OSError) as error:
            self.memory = replace(self.memory, settled=None)
            self._note_failure(error, "repair", release.seq)
            older = next((r for r in self.memory.kept if self.releases.is_whole(r, deep=True)), None)
            if older is not None:
                self._put(older, "repair", began)

    # Following

    def consider(self, oid: Oid | None) -> None:
        """Act on what the remote's tag points to; None when it has no such tag. Raises nothing."""
        name = self.follow.name
        if self.memory.suspended or self._broken:
            return
        if oid is None:
            self._absent = True
            self.problem = f"the remote has no tag {self.follow.model}@{self.follow.channel}"
            self._emit(PollFailed(name, "absent", self.problem))
            return
        if self._absent:
            self._absent, self.problem = False, ""
        if oid != self._seen:
            self._seen, self._tries, self._retry_at, self._refusal = oid, 0, 0.0, None
        failed = self.memory.failed
        if oid == self.memory.settled or (failed is not None and failed.tag == oid):
            self._check_expiry()
        elif time.monotonic() >= self._retry_at:
            self._try(oid)
        elif self._refusal is not None:
            self._emit(self._refusal)
        self._rest()

    def _check_expiry(self) -> None:
        """A move that was followed and has expired since still serves; but its remote may be frozen by somebody."""
        expires, seq = self.memory.expires, self.memory.floor
        if expires is not None and expires <= time.time():
            self.problem = f"move {seq} has expired, and nothing newer came"
            self._emit(Refused(self.follow.name, "expired", self.problem, seq))

    def _try(self, oid: Oid) -> None:
        """Fetch the tag, verify it, and follow it."""
        self._began = time.monotonic()
        self._tries += 1
        self._retry_at = self._began + min(self._interval * (1 << min(self._tries - 1, 20)), _MAX_WAIT)
        self.problem, self._refusal = "", None
        target: Wanted | None = None
        try:
            self._become("verifying")
            oid = self._seen = self._mirror.fetch_tag(self.follow.name, self.follow.model, self.follow.channel)
            with self._mirror.store() as store:
                target = self._target(store, oid)
                if target is not None:
                    self._take(store, target)
            if not self._has_failed(oid):
                self._save(replace(self.memory, settled=oid))
        except Exception as error:  # one bad model never stops the others
            self._failed(error, oid, target)

    def _has_failed(self, tag: Oid) -> bool:
        return self.memory.failed is not None and self.memory.failed.tag == tag

    def _target(self, store: Store, oid: Oid) -> Wanted | None:
        """What is to be put in place, or None when nothing is. Raises as the steps do."""
        memory = self.memory
        floor = Floor(memory.floor, memory.floor_tag)
        verified = self._verifier.check(store.objects, oid, floor, time.time())
        wanted = self._for_us(store, verified, oid)
        desired = wanted.seq if wanted else memory.active.seq if memory.active else memory.desired
        if verified.wanted.seq > memory.floor:
            new = verified.wanted
            self._save(replace(memory, floor=new.seq, floor_tag=oid, expires=verified.expires, desired=desired))
            self._emit(Accepted(self.follow.name, new.seq, new.version, verified.halted))
        elif desired != memory.desired:
            self._save(replace(memory, desired=desired))
        if wanted is None or self._has_failed(wanted.tag):
            return None
        return wanted

    def _for_us(self, store: Store, verified: Verified, oid: Oid) -> Wanted | None:
        """The move that this agent is to follow: the newest, or what the log has for those outside its ring."""
        if verified.halted:
            self.problem = "" if self.memory.active else "the channel is halted, and nothing serves here yet"
            return None
        if self._verifier.includes(verified.ring):
            return verified.wanted
        entries = self._mirror.fetch_log(store, self.follow.name, self.follow.model, self.follow.channel)
        older = self._verifier.newest_for_us(store, entries, oid)
        if older is not None:
            self._mirror.fetch_commit(older.commit)
        return older

    def _take(self, store: Store, wanted: Wanted) -> None:
        """Put what is wanted in place."""
        known = self._known(wanted)
        active = self.memory.active
        if known is not None and active is not None and known.bundle == active.bundle:
            if known.tag == active.tag:
                return
            self._save(replace(self.memory, active=replace(known, since=active.since), failed=None))
            self._emit(Swapped(self.follow.name, wanted.trigger, known, time.monotonic() - self._began))
            return
        if known is None:
            known = self._make(store, wanted)
        self._put(known, wanted.trigger, self._began)

    def _known(self, wanted: Wanted) -> Release | None:
        """A release that is here, whole, and just what the tag names: it was tried before, and needs nothing."""
        memory = self.memory
        for release in ((memory.active,) if memory.active else ()) + memory.kept:
            if wanted.bundle == release.bundle and self.releases.is_whole(release, deep=False):
                main, size, sources = release.main, release.size, release.sources
                return Release.of(wanted, bundle=release.bundle, main=main, size=size, sources=sources)
        return None

    def _make(self, store: Store, wanted: Wanted) -> Release:
        """Fetch, materialise and try a release."""
        self._become("fetching")
        collected = collect(self._mirror, store, self.follow, wanted)
        self._emit(Fetched(self.follow.name, collected.bytes, collected.seconds))
        release = collected.release
        self._become("materialising")
        if not self.releases.is_whole(release, deep=True):
            self._build(store, release)
        self._become("warming")
        golden = self._write_golden(store, collected.golden)
        warm_up(self.follow, release, self.releases.path(release.bundle), golden)
        return release

    def _build(self, store: Store, release: Release) -> None:
        memory = self.memory
        like = ((memory.active,) if memory.active else ()) + memory.kept
        self.releases.build(store, release, like=like, allow_pickle=self.follow.allow_pickle)

    def _write_golden(self, store: Store, digest: Hash | None) -> Path | None:
        if digest is None:
            return None
        self._golden.parent.mkdir(parents=True, exist_ok=True)
        store.restore_file(digest, self._golden)
        return self._golden

    # Swapping

    def _put(self, release: Release, trigger: Trigger, began: float, failure: Failure | None = None) -> None:
        """Let `current` point to a release that is whole; `failure` is why the one before it did not last."""
        self._become("swapping")
        previous = self.memory.active
        self._watching = None
        self._save(replace(self.memory, pending=replace(release, since=time.time()), pending_failure=failure))
        self.releases.point(release.bundle)
        self._settle_pending()
        placed = self.memory.active
        assert placed is not None
        self._emit(Swapped(self.follow.name, trigger, placed, time.monotonic() - began))
        if not self._tell(placed):
            if failure is None and previous is not None:
                self._fall_back("notify", self.problem, trigger)
                return
            self._emit(SwapFailed(self.follow.name, "notify", trigger, self.problem, placed.seq))
        self.releases.retain([placed.bundle, *(r.bundle for r in self.memory.kept)])
        if self.memory.watching:
            self._watching = Watching(self.follow, placed, time.monotonic())

    def _settle_pending(self) -> None:
        """`current` points to the pending release: remember that."""
        memory = self.memory
        new, old, failure = memory.pending, memory.active, memory.pending_failure
        assert new is not None
        earlier = ((old,) if old is not None and failure is None else ()) + memory.kept
        gone = {new.bundle} | ({old.bundle} if old is not None and failure is not None else set())
        self._save(
            replace(
                memory,
                active=new,
                pending=None,
                pending_failure=None,
                kept=tuple(r for r in earlier if r.bundle not in gone)[: self.follow.keep - 1],
                failed=failure,
                watching=self.follow.watch is not None and failure is None,
            )
        )
        self.last_swap = new.since

    def _tell(self, release: Release) -> bool:
        try:
            tell(self.follow, release)
        except LeptonError as error:
            self.problem = f"the server was not told: {error.message}"
            return False
        return True

    def _fall_back(self, reason: SwapReason, message: str, trigger: Trigger) -> None:
        """The release in place did not last: back to the one before, and not again to this one."""
        bad = self.memory.active
        assert bad is not None
        self._emit(SwapFailed(self.follow.name, reason, trigger, message, bad.seq))
        failure = Failure(bad.seq, bad.tag, reason, message, time.time())
        older = next((r for r in self.memory.kept if self.releases.is_whole(r, deep=False)), None)
        if older is None:
            self._save(replace(self.memory, failed=failure, watching=False))
            self._watching = None
        else:
            self._put(older, "manual" if reason == "manual" else "fallback", time.monotonic(), failure)
        self.problem = f"move {bad.seq} did not last: {message}"

    def tick(self) -> None:
        """Look at the release in place when it is time to. Raises nothing."""
        watching = self._watching
        if watching is None or time.monotonic() < watching.due:
            return
        try:
            ended = watching.step(time.monotonic())
            if ended is None:
                return
            verdict, message = ended
            self._watching = None
            self._emit(Watched(self.follow.name, verdict, message))
            assert self.follow.watch is not None
            if verdict == "fail" or (verdict == "inconclusive" and self.follow.watch.on_inconclusive == "fallback"):
                self._fall_back("watch", message, "fallback")
            else:
                self._save(replace(self.memory, watching=False))
        except Exception as error:  # as in `consider`
            self._note_failure(error, "fallback", 0)
        self._rest()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do, on the monotonic clock, or None."""
        return self._watching.due if self._watching else None

    # What a person asks

    def suspend(self, suspended: bool) -> None:
        """Leave the model alone, or take it up again."""
        if suspended != self.memory.suspended:
            self._save(replace(self.memory, suspended=suspended))
            self._emit(SuspensionChanged(self.follow.name, suspended))

    def retry(self) -> None:
        """Try the newest move again, although it failed; where there was nothing to go back to, watch it again."""
        self._retry_at, self._tries = 0.0, 0
        active, watch = self.memory.active, self.follow.watch
        again = watch is not None and active is not None and self._has_failed(active.tag)
        self._save(replace(self.memory, failed=None, settled=None, watching=self.memory.watching or again))
        if active is not None and again:
            self._watching = Watching(self.follow, active, time.monotonic())
            self.problem = ""
        self._rest()

    def rollback(self) -> Release:
        """Go back to the release before this one, here and now, and stay there until the channel moves on.

        Raises:
            UsageError: there is none.
        """
        if not any(self.releases.is_whole(r, deep=False) for r in self.memory.kept):
            raise UsageError(f"{self.follow.name} has no earlier release here")
        self._fall_back("manual", "taken back by hand", "manual")
        self._rest()
        assert self.memory.active is not None
        return self.memory.active

    def reset_floor(self) -> None:
        """Forget how far the channel was seen to be; a damaged memory is put aside and begun anew."""
        if self._broken:
            with suppress(OSError):
                self._file.path.rename(self._file.path.with_suffix(".damaged"))
            self.memory, self._broken, self.problem = Memory(), False, ""
        self._retry_at, self._tries = 0.0, 0
        self._save(replace(self.memory, floor=0, floor_tag=None, expires=None, settled=None))

    def status(self) -> ModelStatus:
        """The model as people and metrics see it."""
        memory, active = self.memory, self.memory.active
        lasting = active is not None and not self._has_failed(active.tag)
        return ModelStatus(
            name=self.follow.name,
            model=self.follow.model,
            channel=self.follow.channel,
            state=self.state,
            desired_seq=memory.desired,
            release=active,
            ready=lasting and active is not None and active.seq == memory.desired and not self._broken,
            suspended=memory.suspended,
            failed=memory.failed,
            problem=self.problem,
            current=str(self.follow.current),
        )

    # Inside

    def _save(self, memory: Memory) -> None:
        self._file.save(memory)
        self.memory = memory

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._emit(StateChanged(self.follow.name, state))

    def _rest(self) -> None:
        """The state between steps."""
        serves = self.memory.active is not None or (self._broken and self.releases.current() is not None)
        self._become("watching" if self._watching else "serving" if serves else "idle")

    def _failed(self, error: Exception, oid: Oid, target: Wanted | None) -> None:
        """What an attempt to follow `oid` ended with: told, and remembered where another try would not help."""
        if target is None:
            self._not_followed(error)
            return
        reason = self._note_failure(error, target.trigger, target.seq)
        if isinstance(error, VerificationError):
            message = error.message
            failure = Failure(target.seq, target.tag, reason, message, time.time())
            with suppress(OSError):
                self._save(replace(self.memory, failed=failure, settled=oid if oid != target.tag else None))

    def _not_followed(self, error: Exception) -> None:
        """The tag could not be had, or must not be followed."""
        self.problem = sentence(error)
        if isinstance(error, VerificationError):
            self._refusal = Refused(self.follow.name, reason_of(error), self.problem, self.memory.floor)
            self._emit(self._refusal)
        else:
            self._emit(PollFailed(self.follow.name, poll_reason(error), self.problem))

    def _note_failure(self, error: Exception, trigger: Trigger, seq: int) -> SwapReason:
        """Tell why a release is not in place; returns the word for it."""
        self.problem = sentence(error)
        reason = swap_reason(error)
        if reason == "verification":
            self._emit(Refused(self.follow.name, reason_of(error), self.problem, seq))
        self._emit(SwapFailed(self.follow.name, reason, trigger, self.problem, seq))
        return reason
