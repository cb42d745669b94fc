"""The page of a review: one file that needs no network, no script and no font, for a browser or a screen reader.

Its security policy allows the one style sheet by its hash and nothing else, so that a name which slipped through the
escapes could still not run or load anything. Everything that is not a constant of this package goes through `_text`
or `_name`.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Final

from git_lepton.compare.values import Numbers, TensorChange
from git_lepton.report import review_words as words
from git_lepton.report.html_figures import breakable, histogram, key, meter, strip
from git_lepton.report.html_style import STYLE
from git_lepton.report.layers import Layer, has_two_sides, layers, most_changed
from git_lepton.report.review import ModelReview, ReviewReport
from git_lepton.report.units import counted

HISTOGRAMS: Final = 12
"""How many tensors have a histogram on the page."""
BINS: Final = 41
"""Bins of a histogram: an odd number, so that one has its middle at 0."""
_MOST_LAYERS: Final = 400
_MOST_ROWS: Final = 2_000
_MOST_FILES: Final = 50
_POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    + b64encode(sha256(STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)


def page(report: ReviewReport) -> str:
    """The page, whole."""
    sections = [
        (title, body)
        for title, body in (
            ("Weights", _models(report)),
            ("Gates", _gates(report)),
            ("Layers", _heat_maps(report)),
            ("How values moved", _histograms(report)),
            ("Beside the tensors", _facts(report)),
            ("Tensors", _tensors(report)),
        )
        if body
    ]
    links = "".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title, _ in sections)
    bodies = "".join(
        f'<section aria-labelledby="{_anchor(title)}"><h2 id="{_anchor(title)}">{title}</h2>{body}</section>\n'
        for title, body in sections
    )
    notes = "".join(f"<p>{_text(note)}</p>" for note in words.footnotes(report))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Models: {_text(words.sides(report))}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>Models: <code>{_text(words.sides(report))}</code></h1>
<p class="summary">{_text(report.comparison.summary)}</p>
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main id="content">
{_alarms(report)}{bodies}</main>
<footer>{notes}<p>Made by git-lepton.</p></footer>
</body>
</html>
"""


def _text(text: str) -> str:
    return escape(words.revealed(text))


def _name(name: str) -> str:
    return f"<code>{breakable(name)}</code>"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in a region that scrolls by itself; cells are HTML, titles with `>` are of columns of numbers.

    The region can be reached by keyboard, or nobody without a pointer could read its right side.
    """
    kinds = [' class="number"' if column.endswith(">") else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{column.removesuffix(">")}</th>' for column, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
        + "</tr>\n"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def _alarms(report: ReviewReport) -> str:
    found = words.alarms(report)
    if not found:
        return ""
    items = "".join(f"<li>{_text(alarm)}</li>" for alarm in found[:_MOST_FILES])
    more = f"<li>and {len(found) - _MOST_FILES:,} more</li>" if len(found) > _MOST_FILES else ""
    title = '<h2 id="look">⚠ Look at this</h2>'
    return f'<section class="alarm" aria-labelledby="look">{title}<ul>{items}{more}</ul></section>'


def _models(report: ReviewReport) -> str:
    if not report.models:
        return ""
    rows = [
        (_name(model.change.path), _text(words.what_happened(model.change)), *words.size_cells(model))
        for model in report.models
    ]
    if len(rows) > 1:
        rows.append(("all", "", *words.total_cells(report)))
    columns = ("File", "What happened", "Before>", "After>", "±>", "Adds to the repository>")
    return _table("Weight files that differ, their sizes, and what storing them adds", columns, rows)


def _gates(report: ReviewReport) -> str:
    rows = []
    for row in report.gates:
        gate, verdict, *figures, reason = map(_text, words.gate_cells(row))
        rows.append((_name(words.gate_model(row)), gate, verdict, *figures, reason))
    columns = ("Model", "Gate", "Verdict", "Value>", "Baseline>", "Drop>", "Examples>", "Reason")
    return _table("Results of the gates", columns, rows) if rows else ""


def _heat_maps(report: ReviewReport) -> str:
    maps = []
    for model in report.models[:_MOST_FILES]:
        found = layers(model.change, model.names)
        changed = most_changed(found)
        if changed and has_two_sides(model.change):
            maps.append(_heat_map(model, found, changed))
    return f"{key()}{''.join(maps)}" if maps else ""


def _heat_map(model: ModelReview, found: Sequence[Layer], changed: Sequence[Layer]) -> str:
    """One line a layer, in the order of the file; when there are too many, the most changed ones."""
    kept = {layer.name for layer in changed[:_MOST_LAYERS]}
    shown = [layer for layer in found if layer.name in kept or len(found) <= _MOST_LAYERS]
    known = [layer.relative_l2 for layer in found]
    largest = max((value for value in known if value is not None and math.isfinite(value)), default=0.0)
    rows = "".join(f"<li>{_name(layer.name)}{meter(layer, largest)}{strip(layer)}</li>\n" for layer in shown)
    left = len(found) - len(shown)
    rest = f'<p class="soft">{counted(left, "layer")} that changed less are not shown.</p>' if left else ""
    return f'<h3>{_name(model.change.path)}</h3><ul class="heat">\n{rows}</ul>{rest}'


def _histograms(report: ReviewReport) -> str:
    drawn: list[tuple[TensorChange, Numbers]] = []
    for change in words.by_importance(words.all_changes(report)):
        if change.numbers is not None and any(change.numbers.histogram) and len(drawn) < HISTOGRAMS:
            drawn.append((change, change.numbers))
    if not drawn:
        return ""
    cards = "".join(histogram(change, numbers) for change, numbers in drawn)
    return (
        '<p class="soft">New value less old value, for the tensors that changed most. A bar is as high as the square'
        f' root of its count.</p><div class="cards">{cards}</div>'
    )


def _facts(report: ReviewReport) -> str:
    several = len(report.models) > 1
    rows = [
        (
            _name(fact.key) if fact.key else "-",
            _text(fact.topic),
            *(_name(side) if side else "-" for side in (fact.before, fact.after)),
            *((_name(model.change.path),) if several else ()),
        )
        for model in report.models
        for fact in model.change.facts
    ]
    if not rows:
        return ""
    columns = ("Which", "What", "Before", "After", *(("File",) if several else ()))
    return _table("Metadata and graph", columns, rows[:_MOST_ROWS]) + _left_out(len(rows), "fact")


def _tensors(report: ReviewReport) -> str:
    changes = words.by_importance(words.all_changes(report))
    if not changes:
        return ""
    several = len(report.models) > 1
    rows = [_tensor_cells(change, several=several) for change in changes[:_MOST_ROWS]]
    columns = ("Tensor", "What", "Change>", "Values changed>", "Max |Δ|>", "Cosine>", "Type", "Remark")
    title = "Tensors that are not the same, the most changed first"
    return _table(title, (*columns, *(("File",) if several else ())), rows) + _left_out(len(changes), "tensor")


def _tensor_cells(change: TensorChange, *, several: bool) -> tuple[str, ...]:
    figures = map(_text, words.tensor_figures(change))
    kind, note = _text(words.tensor_type(change)), _text(words.remark(change))
    file = (_name(change.file),) if several else ()
    return (_name(change.name), words.KIND_WORDS[change.kind], *figures, kind, note, *file)


def _left_out(every: int, noun: str) -> str:
    if every <= _MOST_ROWS:
        return ""
    return f'<p class="soft">{every - _MOST_ROWS:,} of {counted(every, noun)} are left out here.</p>'
