"""What the gate found about a model: a table to read while committing, the refusal, and the same for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from glob import escape
from typing import Any, Final

from git_lepton.gate.explain import Explanation
from git_lepton.gate.policy import PolicyChange
from git_lepton.gate.values import BudgetOutcome, GateOutcome, Measurement, ModelOutcome
from git_lepton.record.plain import to_plain
from git_lepton.record.values import Record, Variant, Verdict
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, share, size

_HEADER: Final = ("gate", "of", "metric", "before", "now", "worse by", "95 % bounds", "n", "verdict")
_RIGHT: Final = "lllrrrlrl"
_ORIGINAL: Final = "model"
_SHORT: Final = 12
_SUSPECTS: Final = 5
_LONG: Final = 1e12
_VERDICTS: Final[dict[Verdict, str]] = {
    "pass": "pass",
    "fail": "FAIL",
    "inconclusive": "undecided",
    "pending": "left to CI",
    "recorded": "recorded",
    "not-measured": "NOT MEASURED",
}


def judged_text(outcome: ModelOutcome, record: Record, *, known: bool = False) -> str:
    """A headline, the variants, one row for every gate and limit, and what is worth a sentence."""
    against = f"against {safe(record.anchor.name)}" if record.anchor else "for the first time"
    when = "found before" if known else f"{outcome.seconds:.1f} s"
    lines = [f"{safe(record.model)} {record.bundle[:_SHORT]} judged {against} ({when})"]
    original = sum(file.size for file in record.files)
    lines += [f"  {_variant_text(variant, original)}" for variant in record.variant]
    rows = [*map(_gate_row, outcome.gates), *map(_budget_row, outcome.budgets)]
    if rows:
        lines.append(table(rows, right=_RIGHT, header=_HEADER, indent=2))
    lines += [f"  {line}" for line in _remarks(outcome)]
    return "\n".join(lines)


def refusal_text(outcome: ModelOutcome, record: Record, *, unstaged: bool = False) -> str:
    """Why the commit is not made, what could help, and the command that shows more.

    Args:
        outcome: what was found.
        record: the one that is not written.
        unstaged: what was judged is not in the index of the repository: git takes back what `commit -a` and
            `commit PATH` staged.
    """
    lines = [f"{safe(record.model)} is refused; nothing was written:", *reasons(outcome)]
    lines += [f"  {line}" for line in _suggestions(outcome, record)]
    if unstaged:
        lines.append("  a commit -a or commit PATH that is refused stages nothing; for what follows, first: git add -u")
    lines.append(f"  to see more: git lepton gate {record.model} --explain")
    return "\n".join(lines)


def reasons(outcome: ModelOutcome) -> list[str]:
    """Why the model is refused: a line for each reason, with all that it stops, and what helps below it."""
    told: dict[tuple[str, str], list[str]] = {}
    for found in outcome.outcomes:
        if found.stops:
            hint = found.hint if isinstance(found, GateOutcome) else ""
            told.setdefault((found.reason, hint), []).append(_name(found))
    lines = []
    for (reason, hint), names in told.items():
        lines.append(f"  {', '.join(names)}: {safe(reason)}")
        if hint:
            lines.append(f"    {safe(hint)}")
    return lines


def details_text(outcome: ModelOutcome, record: Record) -> str:
    """Classes, slices, confusions and the tensors that lose most: what `--explain` adds to the table."""
    lines: list[str] = []
    for gate in outcome.gates:
        lines += _gate_details(gate)
    for variant in record.variant:
        if variant.losses:
            lines.append(f"  {variant.recipe}: tensors that lose most")
            rows = [(safe(loss.name), f"{loss.relative_l2:.2%}", f"{loss.max_abs:.3g}") for loss in variant.losses]
            lines.append(table(rows, right="lrr", header=("tensor", "of its norm", "at most"), indent=4))
    return "\n".join(lines)


def explanation_text(model: str, found: Explanation) -> str:
    """Why a variant fails: what adds most noise, what was tried, and the command that tries the suggestion."""
    lines = [f"  why {found.recipe} of {safe(model)} fails"]
    rows = [
        (safe(s.name), f"{s.noise:.3g}", "" if s.decibels is None else f"{s.decibels:.1f} dB")
        for s in found.suspects[:_SUSPECTS]
    ]
    if rows:
        lines.append(table(rows, right="lrr", header=("left alone might help", "noise", "signal"), indent=4))
    trials = [(_first(t.exclude), "passes" if t.passes else safe(t.skipped) or "fails") for t in found.trials]
    if trials:
        lines.append(table(trials, header=("tried without", ""), indent=4))
    if found.note:
        lines.append(f"    {safe(found.note)}")
    if found.suggestion:
        names = ", ".join(f'"{safe(name)}"' for name in found.suggestion)
        options = " ".join(_excluding(found.recipe, name) for name in found.suggestion)
        lines.append(
            f"    {'passes' if found.passes else 'better, and still fails'} with exclude = [{names}]; to try it:"
        )
        lines.append(f"    git lepton gate {safe(model)} {options}")
    elif trials:
        lines.append("    none of these is to blame alone: the loss is spread, so try another recipe, or ask for less")
    return "\n".join(lines)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return safe(names[0]) + more if names else ""


def policy_text(changes: Sequence[PolicyChange]) -> str:
    """Rules that differ, loosened ones first, one line each."""
    ordered = sorted(changes, key=lambda change: not change.loosened)
    return "\n".join(
        f"  rule {'LOOSENED' if change.loosened else 'changed'}: {safe(change.key)}: "
        f"{safe(change.before)} -> {safe(change.after)}"
        for change in ordered
    )


def judged_fields(outcome: ModelOutcome, record: Record) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": record.model,
        "bundle": record.bundle,
        "verdict": outcome.verdict,
        "stops": outcome.stops,
        "exit_code": outcome.exit_code,
        "outcome": to_plain(outcome),
        "record": to_plain(record),
    }


def _variant_text(variant: Variant, original: int) -> str:
    if variant.skipped:
        return f"{variant.recipe}: skipped: {safe(variant.skipped)}"
    return f"{variant.recipe}: {size(variant.size)}, {share(variant.size, original)} of {size(original)}"


def _gate_row(found: GateOutcome) -> tuple[str, ...]:
    figure = found.measurement
    of = found.variant or _ORIGINAL
    verdict = _VERDICTS[found.verdict]
    if figure is None:
        return (safe(found.gate), of, "", "", "", "", "", "", verdict)
    return (
        safe(found.gate),
        of,
        safe(figure.metric),
        number(figure.baseline),
        number(figure.value),
        number(figure.drop),
        _bounds(figure),
        str(figure.n) if figure.n else "",
        verdict,
    )


def _budget_row(found: BudgetOutcome) -> tuple[str, ...]:
    shown = amount(found.kind, found.value)
    limit = f"at most {amount(found.kind, found.limit)}"
    return (found.kind, found.variant or _ORIGINAL, limit, "", shown, "", "", "", _VERDICTS[found.verdict])


def _bounds(figure: Measurement) -> str:
    if figure.interval is None:
        return ""
    return f"[{number(figure.interval.low)}, {number(figure.interval.high)}]"


def number(value: float | None) -> str:
    """A figure with four digits after the point, a large one with commas; zero has no sign, and `-` is for none."""
    if value is None:
        return "-"
    if abs(value) < 1000:
        return f"{round(value, 4) + 0.0:.4f}"
    return f"{value:,.0f}" if abs(value) < _LONG else f"{value:.6g}"


def amount(kind: str, value: float | None) -> str:
    """A figure of a budget, or its limit."""
    if value is None:
        return "-"
    return f"{value:.3g} x" if kind == "latency_p50_ratio" else size(round(value))


def _name(found: GateOutcome | BudgetOutcome) -> str:
    name = found.gate if isinstance(found, GateOutcome) else found.kind
    return f"{safe(name)} of {found.variant}" if found.variant else safe(name)


def _remarks(outcome: ModelOutcome) -> Iterator[str]:
    """Sentences about what did not simply pass; what stops is told by the refusal."""
    for found in outcome.outcomes:
        if found.verdict in {"fail", "inconclusive", "not-measured"} and not found.stops and found.reason:
            yield f"{_name(found)}: {safe(found.reason)}"


def _suggestions(outcome: ModelOutcome, record: Record) -> Iterator[str]:
    """For variants whose answers differ too much: leave the tensor out that loses most."""
    bad = {found.variant for found in outcome.gates if found.stops and found.verdict != "not-measured"}
    for variant in record.variant:
        if variant.recipe in bad and variant.losses:
            worst = variant.losses[0]
            lost = f"({worst.relative_l2:.2%} of its norm)"
            yield f"{safe(worst.name)} loses most in {variant.recipe} {lost}; to try without it:"
            yield f"  git lepton gate {record.model} {_excluding(variant.recipe, escape(worst.name))}"


def _excluding(recipe: str, glob: str) -> str:
    """The option that leaves a tensor or node alone, as a shell reads it."""
    text = safe(f"{recipe}={glob}").replace("'", "'\"'\"'")
    return f"--exclude '{text}'"


def _gate_details(found: GateOutcome) -> list[str]:
    lines = [f"  {_name(found)}: {safe(found.reason)}"] if found.reason else []
    if found.measurement is not None and found.measurement.limits:
        lines.append(f"    asked: {safe(found.measurement.limits)}")
    if found.slices:
        rows = [
            (safe(s.name), number(s.measurement.baseline), number(s.measurement.value), str(s.measurement.n),
             _VERDICTS[s.verdict])
            for s in found.slices
        ]  # fmt: skip
        lines.append(table(rows, right="lrrrl", header=("slice", "before", "now", "n", "verdict"), indent=4))
    lines += _class_details(found)
    lines += [
        f"    {safe(c.expected)} taken for {safe(c.predicted)}: {counted(c.after, 'time')}, {c.before} before"
        for c in found.confusions
    ]
    return lines


def _class_details(found: GateOutcome) -> list[str]:
    rows = [
        (safe(c.label), str(c.after.support), number(c.before.recall if c.before else None),
         number(c.after.recall), number(c.after.precision), number(c.after.f1))
        for c in found.classes
    ]  # fmt: skip
    header = ("class", "n", "recall before", "recall", "precision", "F1")
    return [table(rows, right="lrrrrr", header=header, indent=4)] if rows else []
