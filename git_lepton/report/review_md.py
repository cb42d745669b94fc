"""The comment of a pull request, in the Markdown that GitHub, GitLab and Gitea have in common.

The comment begins with a marker that no reader sees and by which a bot finds the comment to update. Hosts cut or
refuse comments above 65,536 characters, so the whole stays below `MAX_CHARACTERS`: rows are laid in by importance
until the room is spent, and the last line says what was left out.

Names of tensors and files are hostile until proved otherwise: inside code spans nothing is markup but the backtick,
inside table cells the bar too, so these two are written as escapes and every name goes through `code`. Free text goes
through `prose`, which also takes the meaning of `@name` and `#1` away: hosts look for these in the finished text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.compare.values import TensorChange
from git_lepton.report import review_words as words
from git_lepton.report.layers import has_two_sides, layers, most_changed
from git_lepton.report.review import ReviewReport
from git_lepton.report.units import counted

MARKER: Final = "<!-- git-lepton report -->"
"""The first line of every comment."""
MAX_CHARACTERS: Final = 60_000
_MOST_ALARMS: Final = 10
_MOST_TENSORS: Final = 1_000
_LONGEST_PROSE: Final = 2_000
_FRAME: Final = 4_000
"""Room kept for headings, the last lines and the heads of tables."""
_CODE_ESCAPES: Final = {ord("`"): "\\x60", ord("|"): "\\x7c"}
_PROSE_MARKUP: Final = {ord(char): f"&#{ord(char)};" for char in "\\`*_{}[]<>|~&$^!"}
_PROSE_LINKS: Final = re.compile(r"@|#(?=\d)(?!\d+;)|:(?=//)|www(?=\.)")


@dataclass(frozen=True, slots=True)
class _Section:
    """A table of the comment.

    Attributes:
        title: its heading.
        noun: what a row is, for counting what was left out.
        columns: titles; one that ends with `>` is aligned right.
        rows: cells as Markdown, the most important row first; those that no comment has room for may be absent.
        total: how many rows there would be.
        folded: shown when the reader asks for it.
    """

    title: str
    noun: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    total: int
    folded: bool = False

    @property
    def lines(self) -> list[str]:
        """Its rows as lines."""
        return [f"| {' | '.join(cells)} |" for cells in self.rows]

    def text(self, rows: Sequence[str]) -> list[str]:
        """The lines of the section with these rows."""
        if not rows:
            return []
        titles = f"| {' | '.join(column.removesuffix('>') for column in self.columns)} |"
        rule = f"|{'|'.join('--:' if column.endswith('>') else '---' for column in self.columns)}|"
        table = [titles, rule, *rows, ""]
        if self.folded:
            return ["<details>", f"<summary>{self.title}</summary>", "", *table, "</details>", ""]
        return [f"#### {self.title}", "", *table]


def comment(report: ReviewReport, limit: int = MAX_CHARACTERS) -> str:
    """The comment, shorter than `limit` characters, ending with a line end."""
    head = [MARKER, f"### Models: {code(words.sides(report))}", "", f"**{prose(report.comparison.summary)}**", ""]
    warnings = words.alarms(report)
    head += [line for alarm in warnings[:_MOST_ALARMS] for line in (f"⚠ {prose(alarm)}", "")]
    room = limit - _FRAME - sum(len(line) + 1 for line in head)
    body: list[str] = []
    dropped = [_left_out(len(warnings), _MOST_ALARMS, "warning")] if len(warnings) > _MOST_ALARMS else []
    for section in _sections(report):
        rows = []
        for line in section.lines:
            room -= len(line) + 1
            if room < 0:
                break
            rows.append(line)
        body += section.text(rows)
        if len(rows) < section.total:
            dropped.append(_left_out(section.total, len(rows), section.noun))
    return "\n".join([*head, *body, *_last_lines(report, dropped)])


def _left_out(every: int, kept: int, noun: str) -> str:
    return f"{every - kept:,} of {counted(every, noun)}"


def code(text: str) -> str:
    """Text as a code span that is safe in a table cell."""
    return f"`{words.visible(text).translate(_CODE_ESCAPES)}`"


def prose(text: str) -> str:
    """Text as text: nothing in it is markup, a link, a mention or a reference; a very long one loses its end."""
    short = text if len(text) <= _LONGEST_PROSE else f"{text[:_LONGEST_PROSE]}…"
    return _PROSE_LINKS.sub(r"\g<0><!-- -->", words.revealed(short).translate(_PROSE_MARKUP))


def _sections(report: ReviewReport) -> list[_Section]:
    """The tables, the most important first."""
    return [
        _models(report),
        _gates(report),
        _layers(report),
        _facts(report),
        _tensors(report),
    ]


def _models(report: ReviewReport) -> _Section:
    rows = [
        (code(model.change.path), prose(words.what_happened(model.change)), *words.size_cells(model))
        for model in report.models
    ]
    if len(rows) > 1:
        rows.append(("**all**", "", *words.total_cells(report)))
    columns = ("file", "what happened", "before>", "after>", "±>", "adds to the repository>")
    return _Section("Weights", "file", columns, rows[:100], len(rows))


def _gates(report: ReviewReport) -> _Section:
    columns = ("model", "gate", "verdict", "value>", "baseline>", "drop>", "examples>", "reason")
    rows = []
    for row in report.gates:
        gate, verdict, *figures, reason = words.gate_cells(row)
        rows.append((code(words.gate_model(row)), code(gate), prose(verdict), *figures, prose(reason)))
    return _Section("Gates", "gate", columns, rows[:100], len(rows))


def _layers(report: ReviewReport) -> _Section:
    models = [model for model in report.models if has_two_sides(model.change)]
    found = most_changed(layer for model in models for layer in layers(model.change, model.names))
    finite = [
        layer.relative_l2 for layer in found if layer.relative_l2 is not None and math.isfinite(layer.relative_l2)
    ]
    largest = max(finite, default=0.0)
    several = len({layer.file for layer in found}) > 1
    rows = []
    for layer in found:
        relative = layer.relative_l2
        change = "-" if relative is None else f"{words.bar(relative, largest)} {words.percent(relative)}"
        file = (code(layer.file),) if several else ()
        rows.append((code(layer.name), *file, change, prose(words.layer_words(layer))))
    columns = ("layer", *(("file",) if several else ()), "change", "tensors")
    return _Section("Layers that changed most", "layer", columns, rows[:20], len(rows))


def _facts(report: ReviewReport) -> _Section:
    several = len(report.models) > 1
    facts = [(model.change.path, fact) for model in report.models for fact in model.change.facts]
    rows = []
    for path, fact in facts[:50]:
        file = (code(path),) if several else ()
        rows.append((*file, prose(fact.topic), *map(_fact_code, (fact.key, fact.before, fact.after))))
    columns = (*(("file",) if several else ()), "what", "which", "before", "after")
    return _Section("Beside the tensors", "fact", columns, rows, len(facts))


def _fact_code(text: str | None) -> str:
    return code(text) if text else "-"


def _tensors(report: ReviewReport) -> _Section:
    changes = words.by_importance(words.all_changes(report))
    several = len({model.change.path for model in report.models if model.change.tensors}) > 1
    measured = any(change.numbers is not None for change in changes)
    rows = [_tensor_cells(change, several=several, measured=measured) for change in changes[:_MOST_TENSORS]]
    figures = ("change>", "values changed>", "max \\|Δ\\|>", "cosine>") if measured else ()
    columns = ("tensor", *(("file",) if several else ()), "what happened", *figures, "type", "remark")
    return _Section(f"Tensors ({len(changes):,})", "tensor", columns, rows, len(changes), folded=True)


def _tensor_cells(change: TensorChange, *, several: bool, measured: bool) -> tuple[str, ...]:
    file = (code(change.file),) if several else ()
    figures = words.tensor_figures(change) if measured else ()
    kind, note = prose(words.KIND_WORDS[change.kind]), prose(words.remark(change))
    return (code(change.name), *file, kind, *figures, code(words.tensor_type(change)), note)


def _last_lines(report: ReviewReport, dropped: Sequence[str]) -> list[str]:
    lines = [prose(note) for note in words.footnotes(report)]
    if dropped:
        lines.append(f"Left out here: {', '.join(dropped)}.")
    if report.link:
        lines.append(f"[Full report](<{report.link}>)")
    return [f"<sub>{' '.join(lines)}</sub>", ""] if lines else [""]
