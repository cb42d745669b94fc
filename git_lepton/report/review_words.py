"""The words and figures that the comment of a pull request and the page have in common, free of any markup."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from git_lepton.compare.values import FileChange, Numbers, TensorChange, TensorKind
from git_lepton.report.layers import Layer, elements, has_new_values
from git_lepton.report.review import GateRow, ModelReview, ReviewReport
from git_lepton.report.units import counted, shape, size

LONGEST_NAME: Final = 160
"""Names longer than this are shown without their middle."""

KIND_WORDS: Final[dict[TensorKind, str]] = {
    "same": "the same",
    "changed": "changed",
    "added": "added",
    "removed": "removed",
    "renamed": "renamed",
    "moved": "moved",
    "reshaped": "reshaped",
    "retyped": "cast",
}
VERDICT_SIGNS: Final[dict[str, str]] = {
    "pass": "✓ pass",
    "fail": "✗ fail",
    "inconclusive": "? inconclusive",
    "pending": "… left to CI",
    "recorded": "· recorded",
    "not-measured": "! not measured",
    "skipped": "- skipped",
}
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FULL: Final = "█"
_EMPTY: Final = "░"


def visible(name: str) -> str:
    """A name as one line in which nothing is hidden, and which is not too long: a very long name loses its middle."""
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 :]}"
    return revealed(name) or "(no name)"


def revealed(text: str) -> str:
    """Text as one line, with characters that one cannot see written as escapes.

    A reviewer must see what differs, so this goes further than what a terminal needs: zero-width characters and marks
    of reading direction are escaped too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _INVISIBLE else char
        for char in text
    )


def percent(ratio: float) -> str:
    """A ratio in per cent with two digits that count: `0.0031 %`, `4.2 %`, `138 %`; `from 0` when it has no end."""
    if math.isinf(ratio):
        return "from 0"
    if math.isnan(ratio):
        return "-"
    value = float(f"{100 * ratio:.2g}") if ratio < 1 else 100 * ratio
    if value == 0 or value >= 9.95:
        return f"{value:,.0f} %"
    if value < 0.0001:
        return "< 0.0001 %"
    return f"{value:.{max(1, 1 - math.floor(math.log10(value)))}f} %"


def figure(value: float | None) -> str:
    """A number with four digits that count, `-` where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def signed_size(count: int) -> str:
    """A difference in bytes: `+1.5 MiB`, `-3 KiB`, `±0`."""
    return "±0" if count == 0 else f"{'+' if count > 0 else '-'}{size(abs(count))}"


def bar(part: float, whole: float, width: int = 10) -> str:
    """A bar of text, filled as far as `part` goes in `whole`; anything above zero shows at least one block."""
    full = width if not math.isfinite(part) else round(width * part / whole) if whole > 0 else 0
    full = min(width, max(full, 1 if part > 0 else 0))
    return _FULL * full + _EMPTY * (width - full)


def what_happened(file: FileChange) -> str:
    """What became of a file: `new`, `renamed`, or its tensors counted by what became of them."""
    if file.kind == "removed":
        return "removed"
    if file.kind == "added":
        only_new = all(change.kind == "added" for change in file.tensors)
        tensors = counted(len(file.tensors), "tensor") if only_new else _kinds(file.tensors, 0)
        return f"new, {tensors}" if file.tensors else "new"
    parts = [f"renamed from {visible(file.before or '')}"] if file.before != file.after else []
    if file.tensors:
        parts.append(_kinds(file.tensors, file.same))
    elif file.same:
        parts.append(f"all {counted(file.same, 'tensor')} the same")
    return "; ".join(filter(None, (", ".join(parts), _beside(file)))) or "changed"


def _beside(file: FileChange) -> str:
    """What differs beside the tensors: `producer, outputs and nodes differ`."""
    topics = list(dict.fromkeys("nodes" if fact.topic == "node" else fact.topic for fact in file.facts))
    topics += ["other bytes"] if file.opaque else []
    if not topics:
        return ""
    one = len(topics) == 1 and not topics[0].endswith("s")
    return f"{' and '.join(filter(None, (', '.join(topics[:-1]), topics[-1])))} {'differs' if one else 'differ'}"


def layer_words(layer: Layer) -> str:
    """What became of a layer's tensors: `12 changed, 4 the same`."""
    return _kinds(layer.changes, len(layer.members) - len(layer.changes))


def _kinds(changes: Sequence[TensorChange], same: int) -> str:
    """How many tensors each thing happened to."""
    counts = Counter(change.kind for change in changes)
    parts = [f"{counts[kind]:,} {word}" for kind, word in KIND_WORDS.items() if counts[kind]]
    return ", ".join([*parts, *([f"{same:,} the same"] if same else [])])


def tensor_type(change: TensorChange) -> str:
    """Element type and shape, both sides where they differ: `F32 [384,384]`, `F32 → BF16 [384]`, `F32 [9] → [12]`."""
    before, after = change.before or change.after, change.after or change.before
    assert before is not None
    assert after is not None
    if before.dtype == after.dtype and before.shape == after.shape:
        return f"{after.dtype} {shape(after.shape)}"
    if before.dtype == after.dtype:
        return f"{after.dtype} {shape(before.shape)} → {shape(after.shape)}"
    if before.shape == after.shape:
        return f"{before.dtype} → {after.dtype} {shape(after.shape)}"
    return f"{before.dtype} {shape(before.shape)} → {after.dtype} {shape(after.shape)}"


def tensor_figures(change: TensorChange) -> tuple[str, str, str, str]:
    """Relative change, share of values changed, largest difference and cosine; `-` where there are none."""
    numbers = change.numbers
    if numbers is None:
        return ("-", "-", "-", "-")
    return (
        percent(numbers.relative_l2),
        percent(numbers.share),
        figure(numbers.max_abs),
        "-" if math.isnan(numbers.cosine) else f"{numbers.cosine:.6f}",
    )


def remark(change: TensorChange, source: str = "") -> str:
    """What the columns do not say of a tensor: its older name or file, what the figures are over, rank, NaN.

    A file that it moved from is told, unless it is `source`, of which the caller told already.
    """
    parts = []
    if change.before and change.after:
        if change.before.name != change.after.name:
            parts.append(f"was {visible(change.before.name)}")
        if change.kind == "moved" and change.before.file not in (change.after.file, source):
            parts.append(f"from {visible(change.before.file)}")
    numbers = change.numbers
    if numbers is not None:
        if numbers.rank is not None:
            parts.append(f"rank {numbers.rank}")
        if numbers.sampled:
            parts.append("estimate")
        parts += _broken_values(numbers)
    if change.note:
        parts.append(visible(change.note))
    return ", ".join(parts)


def _broken_values(numbers: Numbers) -> list[str]:
    """NaN and infinities that were not there before."""
    pairs = (
        ("values are NaN", numbers.before.nans, numbers.after.nans),
        ("values are infinite", numbers.before.infinities, numbers.after.infinities),
    )
    return [f"{after:,} {word} (before: {before:,})" for word, before, after in pairs if after > before]


def alarms(report: ReviewReport) -> list[str]:
    """What nobody should overlook: what cannot be loaded, gates that failed, values that became NaN, infinite or zero.

    Names in it are visible, but not yet escaped for any markup.
    """
    found = [f"{visible(path)} cannot be loaded: {why}" for path, why in report.comparison.damaged.items()]
    found += [
        f"gate {visible(row.gate)} of {gate_model(row)} failed{f': {revealed(row.reason)}' if row.reason else ''}"
        for row in report.gates
        if row.verdict == "fail"
    ]
    for change in all_changes(report):
        numbers = change.numbers
        if numbers is None:
            continue
        name = visible(change.name)
        found += [f"{name}: {words}" for words in _broken_values(numbers)]
        whole = numbers.compared == numbers.elements > 0
        if whole and numbers.after.zeros == numbers.elements > numbers.before.zeros:
            found.append(f"{name} is all zeros now")
    return found


def sides(report: ReviewReport) -> str:
    """`main → feature`."""
    return f"{visible(report.comparison.before)} → {visible(report.comparison.after)}"


def all_changes(report: ReviewReport) -> list[TensorChange]:
    """Every tensor that did not stay the same, of all files."""
    return [change for model in report.models for change in model.change.tensors]


def by_importance(changes: Iterable[TensorChange]) -> list[TensorChange]:
    """The most changed first: by relative size of the change, then what has another shape or type, then new names."""
    return sorted(changes, key=_importance)


def _importance(change: TensorChange) -> tuple[bool, float, int, str]:
    relative = change.numbers.relative_l2 if change.numbers is not None else -1.0
    return (not has_new_values(change), -relative, -elements(change), change.name)


def size_cells(model: ModelReview) -> tuple[str, str, str, str]:
    """Size before, size after, difference, bytes added to what is stored."""
    file = model.change
    before = size(file.size_before) if file.before else "-"
    after = size(file.size_after) if file.after else "-"
    return (before, after, signed_size(file.size_after - file.size_before), _added(model.added))


def total_cells(report: ReviewReport) -> tuple[str, str, str, str]:
    """The same over all files that differ."""
    before = sum(model.change.size_before for model in report.models)
    after = sum(model.change.size_after for model in report.models)
    return (size(before), size(after), signed_size(after - before), _added(report.added))


def _added(count: int | None) -> str:
    return "-" if count is None else signed_size(count)


def gate_model(row: GateRow) -> str:
    """The model of a gate, with its variant."""
    return f"{visible(row.model)} ({visible(row.variant)})" if row.variant else visible(row.model)


def gate_cells(row: GateRow) -> tuple[str, ...]:
    """Gate, verdict, value, baseline, drop with its interval, examples, reason; without any markup."""
    drop = figure(row.drop)
    if row.interval is not None:
        drop += f" [{figure(row.interval[0])}, {figure(row.interval[1])}]"
    return (
        visible(row.gate),
        VERDICT_SIGNS.get(row.verdict, visible(row.verdict)),
        figure(row.value),
        figure(row.baseline),
        drop,
        "-" if row.n is None else f"{row.n:,}",
        visible(row.reason) if row.reason else "",
    )


def footnotes(report: ReviewReport) -> list[str]:
    """What one must know to read the figures."""
    comparison = report.comparison
    notes = []
    if report.missing:
        notes.append(f"Without figures: {report.missing}.")
    elif any(change.numbers for change in all_changes(report)):
        notes.append("Change: norm of the difference by the norm of the values before.")
    if report.gates:
        notes.append("Gates: as the records in these commits say; git lepton gate --range measures them again.")
    if comparison.sampled:
        notes.append("Some figures are estimates from a part of the values.")
    if comparison.same_files:
        noun = "other weight file" if comparison.files else "weight file"
        notes.append(f"{counted(comparison.same_files, noun)} did not change.")
    return notes
