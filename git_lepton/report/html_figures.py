"""The figures of the page: squares of a heat map, bars and histograms, as HTML and SVG without style or script."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Final

from git_lepton.compare.values import Numbers, TensorChange, TensorKind
from git_lepton.report.layers import Layer
from git_lepton.report.review_words import KIND_WORDS, layer_words, percent, visible

STEPS: Final = (1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Relative changes at which a square gets the next darker colour: fixed, so that two reports can be compared."""
SIGNS: Final[dict[TensorKind, str]] = {
    "added": "+",
    "removed": "-",
    "renamed": "r",
    "moved": "m",
    "reshaped": "s",
    "retyped": "t",
}
"""What stands in the square of a tensor that has not only new values."""
_SEPARATOR: Final = re.compile(r"(?<=[./_])(?=\w)")
_SQUARES: Final = 400
"""A layer with more tensors than this shows its first ones."""
_WIDTH: Final = 240
_HEIGHT: Final = 60


def breakable(name: str) -> str:
    """A name, escaped, which may be broken over lines after the signs that part it."""
    return _SEPARATOR.sub("<wbr>", escape(visible(name)))


def heat(change: TensorChange | None) -> int:
    """The colour of a tensor, 0 (hollow) to 8: by the relative size of the change; 1 at least if it is not the same."""
    if change is None:
        return 0
    if change.numbers is None:
        return 0 if change.kind in {"renamed", "moved"} else 1
    relative = change.numbers.relative_l2
    return 1 + sum(relative >= step for step in STEPS)


def strip(layer: Layer) -> str:
    """A square for each tensor of a layer; for a screen reader one sentence."""
    changes = {change.name: change for change in layer.changes}
    squares = "".join(_square(name, changes.get(name)) for name in layer.members[:_SQUARES])
    more = len(layer.members) - _SQUARES
    rest = f"<span>and {more:,} more</span>" if more > 0 else ""
    return f'<span class="strip" role="img" aria-label="Tensors: {escape(layer_words(layer))}">{squares}{rest}</span>'


def _square(name: str, change: TensorChange | None) -> str:
    words = KIND_WORDS[change.kind] if change else KIND_WORDS["same"]
    if change and change.numbers:
        words += f", change {percent(change.numbers.relative_l2)}"
    sign = SIGNS.get(change.kind, "") if change else ""
    return f'<i class="h{heat(change)}" title="{escape(visible(name))}: {escape(words)}">{sign}</i>'


def key() -> str:
    """What the squares mean."""
    ends = [f"changed by less than {100 * STEPS[0]:g} %", *(f"{100 * step:g} % or more" for step in STEPS)]
    items = ['<li><i class="h0"></i>the same</li>']
    items += [f'<li><i class="h{number}"></i>{escape(words)}</li>' for number, words in enumerate(ends, start=1)]
    items += [f'<li><i class="h1">{sign}</i>{KIND_WORDS[kind]}</li>' for kind, sign in SIGNS.items()]
    return f'<ul class="key" aria-label="Key of the squares">{"".join(items)}</ul>'


def meter(layer: Layer, largest: float) -> str:
    """A bar beside its figure, which says all that the bar says; words for a layer without figures."""
    relative = layer.relative_l2
    if relative is None:
        return f'<span class="meter">{escape(layer_words(layer))}</span>'
    part = 1.0 if not math.isfinite(relative) else relative / largest if largest > 0 else 0.0
    width = min(100.0, max(100 * part, 2.0 if relative > 0 else 0.0))
    return (
        '<span class="meter"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<rect class="track" width="100" height="10"/><rect class="fill" width="{width:.1f}" height="10"/></svg>'
        f"{escape(percent(relative))}</span>"
    )


def histogram(change: TensorChange, numbers: Numbers) -> str:
    """A card with the distribution of a tensor's change; bins are as high as the square root of their counts."""
    bins = numbers.histogram
    top = math.sqrt(max(bins)) or 1.0
    step = _WIDTH / len(bins)
    bars = "".join(
        f'<rect class="bin" x="{number * step:.1f}" y="{_HEIGHT * (1 - math.sqrt(count) / top):.1f}"'
        f' width="{max(step - 1, 0.5):.1f}" height="{_HEIGHT * math.sqrt(count) / top:.1f}"/>'
        for number, count in enumerate(bins)
        if count
    )
    moved = _within(bins, numbers.max_abs, 0.95)
    seen = "its values" if numbers.compared == numbers.elements else "the values that were compared"
    most = f"95 % of {seen} moved by less than {moved:.2g}"
    end = f"{numbers.max_abs:.3g}"
    name = breakable(change.name)
    figures = f"Change {percent(numbers.relative_l2)}, in {percent(numbers.share)} of its values"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" focusable="false"'
        f' aria-label="Histogram of the change, from -{end} to {end}. {most}.">{bars}'
        f'<line class="axis" x1="{_WIDTH / 2}" y1="0" x2="{_WIDTH / 2}" y2="{_HEIGHT}" stroke-dasharray="2 3"/></svg>'
        f'<div class="ends" aria-hidden="true"><span>-{end}</span><span>0</span><span>{end}</span></div>'
        f'<figcaption><span class="name">{name}</span><br>{escape(figures)}. {most}.</figcaption></figure>'
    )


def _within(bins: Sequence[int], reach: float, share: float) -> float:
    """The distance from 0 within which `share` of all counts lie, up to the width of a bin."""
    half = len(bins) / 2
    total = sum(bins)
    by_distance = sorted((max(abs(number - half), abs(number + 1 - half)), count) for number, count in enumerate(bins))
    held = 0
    for distance, count in by_distance:
        held += count
        if held >= share * total:
            return reach * min(1.0, distance / half)
    return reach
