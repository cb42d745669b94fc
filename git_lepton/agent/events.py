"""What happens in the agent, as a stream of values: metrics and logs subscribe, the engine knows neither.

Every `reason` is a word of a fixed list, so that each counter can exist at 0 from the start, and nothing that a remote
sends can become a label. Sentences for people are in `message`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from git_lepton.agent.values import Release, State, Trigger

PollReason = Literal["unreachable", "absent", "corrupt", "disk", "internal"]
"""Why a poll failed: no answer; a channel that is followed does not exist (any more); an answer that git refuses; no
space here; our own fault."""

VerificationReason = Literal[
    "type",
    "malformed",
    "unsigned",
    "signer",
    "name",
    "replay",
    "equivocation",
    "jump",
    "expired",
    "log",
    "record",
    "verdict",
    "bundle",
    "manifest",
    "path",
    "format",
    "size",
    "corrupt",
]
"""Why a move is not followed, in the order of the checks:

    type          no annotated tag, or no move in it
    malformed     a tag or move that cannot be read
    unsigned      nobody signed it
    signer        signed, but by nobody who may move this channel
    name          made for another model or channel
    replay        older than a move that was seen before
    equivocation  another tag with the number of one that was seen before
    jump          its number is too far ahead
    expired       it says itself that it is no longer to be followed
    log           the channel's log does not tell what the tag tells
    record        the record is absent, damaged, or not the one that was signed
    verdict       the record says that a gate failed
    bundle        the files of the commit are not those that were signed
    manifest      a manifest is damaged
    path          a path that leads out, collides with another, or is no ordinary file
    format        content that runs code when it is loaded
    size          more than the agent is allowed to keep
    corrupt       bytes do not have their hash
"""

SwapReason = Literal["fetch", "verification", "disk", "warmup", "swap", "notify", "watch", "manual", "internal"]
"""Why a release is not, or no longer, in place: bytes could not be had; they were refused; no space; it did not answer
as its golden file says; the link could not be moved; the server did not take it; the watch failed; a person took it
back; our own fault."""

Verdict = Literal["pass", "fail", "inconclusive"]

POLL_REASONS: Final[tuple[PollReason, ...]] = get_args(PollReason)
VERIFICATION_REASONS: Final[tuple[VerificationReason, ...]] = get_args(VerificationReason)
SWAP_REASONS: Final[tuple[SwapReason, ...]] = get_args(SwapReason)


@dataclass(frozen=True, slots=True)
class Started:
    """An agent that follows channels has begun. `release`: what serves, None for nothing yet."""

    name: str
    release: Release | None


@dataclass(frozen=True, slots=True)
class Polled:
    """The remote answered. `seconds`: how long that took."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The remote, or one channel of it (`name`; "" for all), could not be asked."""

    name: str
    reason: PollReason
    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A move that must not be followed; told at every poll for as long as the channel points to it."""

    name: str
    reason: VerificationReason
    message: str
    seq: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A move passed all checks of its tag: what `name` is now wanted to be, or to stay. Told once a move."""

    name: str
    seq: int
    version: str
    halted: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """Weights and plain files arrived: `bytes` of both, in `seconds`."""

    name: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Swapped:
    """A release is in place. `seconds`: from when its move was seen (or a person or the watch asked) until now."""

    name: str
    trigger: Trigger
    release: Release
    seconds: float


@dataclass(frozen=True, slots=True)
class SwapFailed:
    """A release could not be put in place, or did not stay."""

    name: str
    reason: SwapReason
    trigger: Trigger
    message: str
    seq: int


@dataclass(frozen=True, slots=True)
class Watched:
    """The watch after a swap came to an end."""

    name: str
    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True)
class StateChanged:
    """What the agent does for a model, from now on."""

    name: str
    state: State


@dataclass(frozen=True, slots=True)
class SuspensionChanged:
    """A person asked the agent to leave a model alone, or to take it up again."""

    name: str
    suspended: bool


Event = (
    Started
    | Polled
    | PollFailed
    | Refused
    | Accepted
    | Fetched
    | Swapped
    | SwapFailed
    | Watched
    | StateChanged
    | SuspensionChanged
)


class Observer(Protocol):
    """Told of everything, in order, on the engine's thread: it must return soon and raise nothing."""

    def notice(self, event: Event) -> None:
        """Something happened."""
