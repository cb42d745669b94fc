"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP: Final = 1024


def size(count: int) -> str:
    """Bytes with three significant digits and a binary unit: `0 B`, `999 B`, `1.46 KiB`, `86.7 MiB`, `1020 GiB`."""
    if abs(count) < _STEP:
        return f"{count} B"
    value, power = count / _STEP, 0
    while abs(value) >= _STEP:
        value, power = value / _STEP, power + 1
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[power]}"


def share(part: int, whole: int) -> str:
    """`part` of `whole` in per cent, `-` of nothing: `41 %`, `3.2 %`, `0.04 %`."""
    if whole == 0:
        return "-"
    percent = 100 * part / whole
    if percent == 0 or percent >= 9.95:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 0.095 else f"{percent:.2f} %"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: `1 file`, `3 files`, `2 copies`."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def shape(dimensions: tuple[int, ...]) -> str:
    """A tensor's shape as the manifest spells it: `[512,384]`."""
    return f"[{','.join(map(str, dimensions))}]"
