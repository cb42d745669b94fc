"""What changed in models, for a terminal: one sentence, then for each file its layers with a bar each.

Rows fit the width that the caller tells; where there is room, more figures are shown. Colour is for terminals only,
and never carries what the words do not say.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from git_lepton.compare.values import Comparison, FactChange, FileChange, Moments, Numbers, TensorChange
from git_lepton.report.modules import Row, rows
from git_lepton.report.review_words import (
    KIND_WORDS,
    figure,
    percent,
    remark,
    signed_size,
    tensor_type,
    visible,
    what_happened,
)
from git_lepton.report.table import table, width
from git_lepton.report.units import counted, size

Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_CODES: Final[dict[Style, str]] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_KIND_STYLES: Final[dict[str, Style]] = {"added": "green", "removed": "red", "renamed": "cyan", "moved": "cyan"}
_ONLY_WORDS: Final = frozenset({"added", "removed", "renamed", "moved"})
"""What a row says in words; the rest is seen from the type and the shape."""
_WHOLE: Final = frozenset({"added", "removed"})
"""A file of which nothing else can be told has no tree."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_FIGURE: Final = 9
"""Columns of a figure in per cent."""
NARROWEST: Final = 40
_BARS: Final = ((110, 20), (60, 10), (0, 6))
"""From so many columns on, a bar has so many."""
_WIDE: Final = _BARS[0][0]
_FEWEST: Final = 16
"""Columns of a name, at least."""
_HARDLY: Final = 1e-6
_MANY_TIMES: Final = 99.5
"""Outside of these, a relative change is no longer told in per cent."""
_ALL: Final = 0.9995
_FACTS: Final = 12
"""Facts beside the tensors that are shown of a file."""
_SHORT_FACT: Final = 60


@dataclass(frozen=True, slots=True)
class Look:
    """What the output may use.

    Attributes:
        columns: of a line.
        colour: escape sequences of a terminal.
        blocks: the block elements of Unicode; otherwise bars are drawn with `#`.
        details: a row for each tensor, and a line with all its figures.
    """

    columns: int = 80
    colour: bool = False
    blocks: bool = True
    details: bool = False

    def paint(self, text: str, *styles: Style) -> str:
        """`text` in a style, where colour is allowed."""
        if not (self.colour and styles and text):
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def for_reading(comparison: Comparison) -> Comparison:
    """Of two absolute paths, what tells them apart; and of two files that were named, only the newer name."""
    before, after = comparison.before, comparison.after
    paths = [Path(os.path.normpath(name)) for name in (before, after)]
    if all(path.is_absolute() for path in paths):
        folder = os.path.commonpath([path.parent for path in paths])
        before, after = (str(path.relative_to(folder)) for path in paths)
    files = tuple(
        replace(file, before=after, after=after)
        if (file.before, file.after) == (comparison.before, comparison.after)
        else file
        for file in comparison.files
    )
    return replace(comparison, before=before, after=after, files=files)


def diff_text(comparison: Comparison, look: Look, *, sides: bool = True) -> str:
    """The whole comparison; `look.columns` below 40 count as 40. Without `sides` it does not say of what."""
    return "\n\n".join(filter(None, (headline(comparison, look, sides=sides), files_text(comparison, look))))


def files_text(comparison: Comparison, look: Look) -> str:
    """The files of it, without the sentence."""
    scale = max((_largest(file.tensors) for file in comparison.files), default=0.0)
    return "\n\n".join("\n".join(_file_lines(file, scale, look)) for file in comparison.files)


def stat_text(comparison: Comparison, look: Look) -> str:
    """One line a file, and the sentence."""
    return "\n".join(filter(None, (stat_lines(comparison, look), headline(comparison, look))))


def stat_lines(comparison: Comparison, look: Look) -> str:
    """One line a file."""
    lines = [
        (visible(file.path), "|", _sizes(file), what_happened(file), _relative_words(file.tensors))
        for file in comparison.files
    ]
    return "\n".join(_cut(line, look.columns) for line in table(lines, indent=1).split("\n")) if lines else ""


def headline(comparison: Comparison, look: Look, *, sides: bool = True) -> str:
    """The sides and the sentence; on two lines or more where they do not fit on one."""
    columns = max(NARROWEST, look.columns)
    told = sentence(comparison.summary)
    lines = [look.paint(textwrap.fill(told, columns, break_on_hyphens=False), "bold")]
    if sides:
        named = f"{visible(comparison.before)} → {visible(comparison.after)}:"
        gap = " " if width(named) + 1 + width(told) <= columns else "\n"
        lines = [f"{look.paint(named, 'dim')}{gap}{lines[0]}"]
    if comparison.sampled:
        lines.append("some figures are estimates from a part of the values")
    return "\n".join(lines)


def sentence(text: str) -> str:
    """A sentence of any length in which nothing is hidden."""
    return " ".join(map(visible, text.split()))


def _file_lines(file: FileChange, scale: float, look: Look) -> Iterable[str]:
    columns = max(NARROWEST, look.columns)
    yield look.paint(_middle_cut(visible(file.path), columns), "bold")
    sources = {change.before.file for change in file.tensors if change.kind == "moved" and change.before}
    source = sources.pop() if len(sources) == 1 else ""
    words = f"{_sizes(file)}, {what_happened(file)}"
    if source:
        words += f"{'' if words.endswith(KIND_WORDS['moved']) else '; moved'} from {visible(source)}"
    yield from textwrap.wrap(words, columns, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    for fact in file.facts[:_FACTS]:
        yield _cut(f"  {_fact_words(fact, columns // 2)}", columns)
    if len(file.facts) > _FACTS:
        yield f"  and {counted(len(file.facts) - _FACTS, 'more fact')}"
    if look.details or file.kind == "changed" or any(change.kind not in _WHOLE for change in file.tensors):
        yield from _tree(rows(file, everything=look.details), source, scale, look)


def _sizes(file: FileChange) -> str:
    if file.size_before == file.size_after or not (file.before and file.after):
        return size(file.size_after or file.size_before)
    return f"{size(file.size_after)} ({signed_size(file.size_after - file.size_before)})"


def _fact_words(fact: FactChange, columns: int) -> str:
    """What a fact was and is; its name in at most so many columns."""
    key = fact.key.removeprefix(f"{fact.topic}/")
    name = _middle_cut(" ".join(filter(None, (fact.topic, visible(key) if key else ""))), columns)
    before, after = (None if text is None else _shortened(visible(text)) for text in (fact.before, fact.after))
    if before is None:
        return name if after is None else f"{name}: {after} added"
    return f"{name}: {before} removed" if after is None else f"{name}: {before} → {after}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT_FACT else f"{text[: _SHORT_FACT - 1]}…"


def _tree(found: Sequence[Row], source: str, scale: float, look: Look) -> Iterable[str]:
    """The rows of a file in columns: name, bar, relative change, what happened; more of them on a wide terminal."""
    if not found:
        return
    columns = max(NARROWEST, look.columns)
    bars = next(bar for least, bar in _BARS if columns >= least) * any(row.relative for row in found)
    measured = any(row.relative is not None for row in found)
    taken = (bars + 2) * bool(bars) + (_FIGURE + 2) * measured
    wanted = max(width(row.label) + 2 * row.depth + 2 for row in found)
    names = min(wanted, max(_FEWEST, (columns - taken) * 3 // 5))
    for row in found:
        indent = min(2 * row.depth + 2, names // 2)
        label = _middle_cut(row.label, (names if row.changes else columns) - indent)
        line = " " * indent + look.paint(label, *_label_styles(row))
        words = _cut(_row_words(row, source, columns >= _WIDE), columns - names - taken - 2)
        if row.changes:
            line += " " * (names - indent - width(label))
            if bars:
                line += _drawn(row.relative, scale, bars, look)
            if measured:
                line += f"  {'' if row.relative is None else _change(row.relative):>{_FIGURE}}"
            line += f"  {look.paint(words, 'dim') if not row.tensor else words}"
        yield line.rstrip()
        if look.details and row.tensor:
            yield from _detail_lines(row.changes[0], indent + 2, columns)


def _drawn(relative: float | None, scale: float, bars: int, look: Look) -> str:
    drawn = _bar(relative, scale, bars, look.blocks)
    return f"  {look.paint(drawn, 'yellow')}{' ' * (bars - len(drawn))}"


def _change(relative: float) -> str:
    """A relative change in at most `_FIGURE` columns: per cent, or how many times the norm, `1e-09 x`."""
    plain = not relative or _HARDLY <= relative < _MANY_TIMES or not math.isfinite(relative)
    return percent(relative) if plain else f"{relative:.0e} x"


def _label_styles(row: Row) -> tuple[Style, ...]:
    kinds = {change.kind for change in row.changes}
    style = _KIND_STYLES.get(kinds.pop()) if len(kinds) == 1 else None
    return (style,) if style else ()


def _row_words(row: Row, source: str, wide: bool) -> str:
    if row.tensor:
        return _tensor_words(row.changes[0], source, wide)
    counts = Counter(change.kind for change in row.changes)
    if set(counts) <= {"changed"}:
        words = counted(counts["changed"], "tensor")
    else:
        words = ", ".join(f"{counts[kind]:,} {word}" for kind, word in KIND_WORDS.items() if counts[kind])
    return ", ".join(filter(None, (words, _share_words([c.numbers for c in row.changes if c.numbers is not None]))))


def _tensor_words(change: TensorChange, source: str, wide: bool) -> str:
    words = [KIND_WORDS[change.kind]] if change.kind in _ONLY_WORDS else []
    numbers = change.numbers
    if change.kind not in {"renamed", "moved"}:
        words.append(tensor_type(change))
    if numbers is not None and change.kind in {"changed", "reshaped"}:
        words.append(_share_words([numbers]))
    words.append(remark(change, source))
    if numbers is not None and wide:
        words.append(f"cosine {figure(numbers.cosine)}, max |Δ| {figure(numbers.max_abs)}")
    return ", ".join(filter(None, words))


def _share_words(found: Sequence[Numbers]) -> str:
    """The share of all values that changed, unless it is all of them: `98 % of values`."""
    elements = sum(numbers.elements for numbers in found)
    if not elements:
        return ""
    share = sum(numbers.share * numbers.elements for numbers in found) / elements
    return f"{percent(share)} of values" if share < _ALL else ""


def _detail_lines(change: TensorChange, indent: int, columns: int) -> Iterable[str]:
    numbers = change.numbers
    if numbers is None:
        return
    facts = [
        f"cosine {figure(numbers.cosine)}",
        f"L2 {figure(numbers.l2)}",
        f"max |Δ| {figure(numbers.max_abs)}",
        *_moment_words(numbers.before, numbers.after),
        f"over {numbers.compared:,} of {counted(numbers.elements, 'value')}",
    ]
    text = ", ".join(facts)
    yield from textwrap.wrap(text, columns, initial_indent=" " * indent, subsequent_indent=" " * indent)


def _moment_words(before: Moments, after: Moments) -> Iterable[str]:
    yield f"mean {figure(before.mean)} → {figure(after.mean)}"
    yield f"deviation {figure(before.deviation)} → {figure(after.deviation)}"
    for word, old, new in (
        ("zeros", before.zeros, after.zeros),
        ("NaN", before.nans, after.nans),
        ("infinities", before.infinities, after.infinities),
    ):
        if old or new:
            yield f"{word} {old:,} → {new:,}"


def _relative_words(changes: Sequence[TensorChange]) -> str:
    largest = _largest(changes)
    return f"largest change {_change(largest)}" if largest else ""


def _largest(changes: Iterable[TensorChange]) -> float:
    """The largest finite relative change of a tensor: a full bar."""
    found = (change.numbers.relative_l2 for change in changes if change.numbers is not None)
    return max((value for value in found if math.isfinite(value)), default=0.0)


def _bar(part: float | None, whole: float, columns: int, blocks: bool) -> str:
    """A bar as long as `part` is of `whole`; anything above zero is seen."""
    if part is None or math.isnan(part) or part <= 0:
        return ""
    share = 1.0 if math.isinf(part) or part >= whole else part / whole
    if not blocks:
        return "#" * max(1, round(share * columns))
    eighths = max(1, round(share * columns * 8))
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _cut(text: str, columns: int) -> str:
    """`text` in at most so many columns; its end is lost."""
    if width(text) <= columns or columns < 1:
        return text if columns > 0 else ""
    while text and width(text) > columns - 1:
        text = text[: len(text) - max(1, (width(text) - columns + 1) // 2)]
    return f"{text.rstrip()}…"


def _middle_cut(text: str, columns: int) -> str:
    """`text` in at most so many columns; its middle is lost, since names differ at both ends."""
    if width(text) <= columns:
        return text
    half = max(1, (columns - 1) // 2)
    tail = text[-half:]
    while tail and width(tail) > half:
        tail = tail[1:]
    return f"{_cut(text, columns - width(tail))}{tail}"
