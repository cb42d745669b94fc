"""The table that the benchmarks print: one row a requirement, or a line of information.

Numbers are formatted here, so that all rows read alike; the JSON file has the raw ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.timing import Timing

HEADINGS: Final = ("what", "ours", "peer", "ratio", "required", "met")
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `met` is None where nothing is required; `values` are the numbers behind the text, in SI units."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    required: str = ""
    met: bool | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The row of a Markdown table."""
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        cells = (self.what, self.ours, self.peer, self.ratio, self.required, met)
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def heading() -> str:
    """The first two lines of the table."""
    return f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}"


def failed(what: str, reason: str) -> Row:
    """A row for what could not be measured because a command failed."""
    return Row(what, f"failed: {reason}", met=False)


def missing(what: str, reason: str) -> Row:
    """A row for what this machine cannot measure."""
    return Row(what, reason)


def faster(what: str, ours: Timing, peer_name: str, peer: Timing, *, raw: int, at_least: float) -> Row:
    """A row that asks for a speed of at least so many times a peer's; `raw` is the size of the work in bytes."""
    ratio = peer.wall / ours.wall
    return Row(
        what,
        f"{clock(ours)}{_rate(ours, raw)}",
        f"{peer_name} {clock(peer)}{_rate(peer, raw)}",
        f"{ratio:.2f} x as fast",
        f"≥ {at_least:g} x",
        ratio >= at_least,
        _values(ours, peer) | {"raw_bytes": raw, "ratio": ratio},
    )


def not_slower(what: str, ours: Timing, peer_name: str, peer: Timing, *, at_most: float) -> Row:
    """A row that asks for a time of at most so many times a peer's."""
    ratio = ours.wall / peer.wall
    return Row(
        what,
        clock(ours),
        f"{peer_name} {clock(peer)}",
        f"{ratio:.2f} x the time",
        f"≤ {at_most:g} x",
        ratio <= at_most,
        _values(ours, peer) | {"ratio": ratio},
    )


def clock(timing: Timing) -> str:
    """The median time and the range of all runs."""
    low, high = timing.spread
    unit, factor = ("s", 1) if timing.wall >= 1 else ("ms", 1000)
    digits = 2 if timing.wall >= 1 else 0
    text = f"{timing.wall * factor:.{digits}f} {unit}"
    if len(timing.samples) > 1:
        text += f" ({low * factor:.{digits}f} to {high * factor:.{digits}f})"
    return text


def size(count: float) -> str:
    """Bytes for people."""
    if count >= MB:
        return f"{count / MB:,.1f} MB"
    return f"{count / 1000:,.1f} kB"


def _rate(timing: Timing, raw: int) -> str:
    return f", {raw / MB / timing.wall:,.0f} MB/s, {raw / MB / timing.cpu:,.0f} a core"


def _values(ours: Timing, peer: Timing) -> dict[str, float]:
    return {
        "ours_wall_s": ours.wall,
        "ours_cpu_s": ours.cpu,
        "peer_wall_s": peer.wall,
        "peer_cpu_s": peer.cpu,
        "runs": len(ours.samples),
    }
