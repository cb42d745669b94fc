"""How facts are spelled: short, on one line, and different whenever the values are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3

Facts = dict[tuple[str, str], str]
"""Text by (topic, key), in the order in which topics are to be told."""

_LONGEST: Final = 120
_SHOWN: Final = 80
_LISTED: Final = 8


def brief(text: str) -> str:
    """`text` on one line; a long one is its beginning, its length and a hash."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST and line == text:
        return line
    shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
    return f"{shown} ({quantity(len(text), 'character')}, {digest(text.encode('utf-8', 'surrogatepass'))})"


def listed(values: Sequence[object], raw: bytes) -> str:
    """A list of numbers or words: spelled when it is short, else its length and the hash of `raw`, its bytes."""
    if len(values) <= _LISTED:
        return f"[{', '.join(map(str, values))}]"
    return f"[{quantity(len(values), 'element')}, {digest(raw)}]"


def digest(data: bytes | memoryview) -> str:
    """A hash, short enough to read, long enough to tell two values of one key apart."""
    return f"#{blake3(data).hexdigest()[:8]}"


def quantity(count: int, noun: str) -> str:
    """`1 byte`, `2,000 bytes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
