"""What the agent knows of a model, as plain values: states, releases, and the status that people and metrics read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from git_lepton.release.message import Action
from git_lepton.values import Hash, Oid

State = Literal["idle", "fetching", "verifying", "materialising", "warming", "swapping", "watching", "serving"]
"""What the agent does for one model. `idle`: nothing serves yet; `serving`: all is as wanted, or the old one serves."""

Trigger = Literal["promote", "rollback", "pin", "tag", "fallback", "manual", "repair"]
"""Why a release is put in place: the action of a move, a plain tag, the agent falling back by itself, a person on this
machine, or files of the current release that were damaged."""

TRIGGERS: Final[tuple[Trigger, ...]] = get_args(Trigger)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a verified tag asks for; everything later is bound to it, and nothing is asked of a ref again.

    Attributes:
        name: the agent's name of what it follows, a table of agent.toml.
        model, channel: of the tag.
        tag: id of the tag object, or of the commit of a lightweight tag.
        seq: number of the move; 0 for a plain tag.
        action: of the move; None for a plain tag.
        version: text of the version, "" for a plain tag.
        commit: where the files are.
        bundle: the bundle that the tag names; None for a plain tag, which names none.
        record: hash of the record that the tag names, or None.
        variant: the recipe that is to run here, "" for the original.
        by: who signed, or "" where nobody had to.
    """

    name: str
    model: str
    channel: str
    tag: Oid
    seq: int
    action: Action | None
    version: str
    commit: Oid
    bundle: Hash | None
    record: Hash | None
    variant: str
    by: str

    @property
    def trigger(self) -> Trigger:
        """As what a swap to this counts."""
        return "tag" if self.action is None or self.action == "halt" else self.action


@dataclass(frozen=True, slots=True)
class Source:
    """Where the mirror has one file: a plain blob, or (`blob` None) a stored version called by the file's own hash.

    `line` is the file's line in the bundle's text.
    """

    line: str
    blob: Oid | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle that was put in place on this machine.

    Attributes:
        bundle: its hash, and the name of its folder.
        seq, tag, version, commit, variant, by: of the move that brought it, see `Wanted`.
        main: path of what a loader opens, "." for the folder.
        size: bytes of all files.
        sources: its files.
        since: when it was last put in place, seconds since 1970.
    """

    bundle: Hash
    seq: int
    tag: Oid
    version: str
    commit: Oid
    variant: str
    by: str
    main: str
    size: int
    sources: tuple[Source, ...]
    since: float = 0.0

    @classmethod
    def of(cls, wanted: Wanted, *, bundle: Hash, main: str, size: int, sources: tuple[Source, ...]) -> Release:
        """What is put in place because `wanted` asks for it."""
        return cls(
            bundle=bundle,
            seq=wanted.seq,
            tag=wanted.tag,
            version=wanted.version,
            commit=wanted.commit,
            variant=wanted.variant,
            by=wanted.by,
            main=main,
            size=size,
            sources=sources,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A move that was tried here and did not last; it is not tried again until the channel moves on.

    Attributes:
        seq, tag: which.
        reason: one of `events.SwapReason`.
        message: one sentence.
        time: seconds since 1970.
    """

    seq: int
    tag: Oid
    reason: str
    message: str
    time: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as people and metrics see it.

    Attributes:
        name, model, channel: see `Wanted`.
        state: what the agent does now.
        desired_seq: of the newest move that was verified, 0 before the first.
        release: what `current` points to, or None.
        ready: a release serves, and it is what the channel asks of this agent.
        suspended: a person asked the agent to leave this model alone.
        failed: the move that did not last, or None.
        problem: why the newest move is not followed, one sentence, or "".
        current: the path that readers open.
    """

    name: str
    model: str
    channel: str
    state: State
    desired_seq: int
    release: Release | None
    ready: bool
    suspended: bool
    failed: Failure | None
    problem: str
    current: str


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The whole agent. Times are seconds since 1970, 0 for never.

    Attributes:
        agent: its id, by which rings choose.
        last_poll: when the remote was last asked.
        last_success: when it last answered.
        last_swap: when a model was last put in place.
        interval: seconds between polls, without jitter and back-off.
        models: in the order of agent.toml.
    """

    agent: str
    last_poll: float
    last_success: float
    last_swap: float
    interval: float
    models: tuple[ModelStatus, ...]
