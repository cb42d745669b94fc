"""What the gate would do and why, without doing it; and what a range of commits does, for CI."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from git_lepton.config.values import Budget, GateRule, ModelSettings, Tolerance
from git_lepton.gate.policy import PolicyChange
from git_lepton.record.values import Variant
from git_lepton.report.gate import amount, policy_text
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, size

_SHORT = 12
_LIMITS = ("min", "max", "max_drop", "slice_max_drop", "min_agreement", "max_output_error", "max_kl")


@dataclass(frozen=True, slots=True)
class Explained:
    """One model that would be judged.

    Attributes:
        settings: its rules.
        bundle, files, bytes: what is staged.
        fault: why its record does not hold; empty when it does.
        against: what it would be judged against; empty for nothing.
        known: variants that need not be built, by recipe.
        missing: for each gate without examples, why.
        disk: bytes that are written for a while.
    """

    settings: ModelSettings
    bundle: str
    files: int
    bytes: int
    fault: str
    against: str
    known: Mapping[str, Variant]
    missing: Mapping[str, str]
    disk: int


def explained_text(found: Explained) -> str:
    """The model, why it would be judged, against what, and everything that would run."""
    settings = found.settings
    lines = [
        f"{safe(settings.name)} {found.bundle[:_SHORT]}: {counted(found.files, 'file')} under "
        f"{safe(settings.root) or 'the top'}, {size(found.bytes)}"
    ]
    lines.append(f"  judged at the next commit: {safe(found.fault)}" if found.fault else "  its record holds")
    lines.append(f"  against: {safe(found.against)}" if found.against else "  against: nothing yet, this is the first")
    lines.append(f"  disk: {size(found.disk)} for a while")
    lines += [f"  variant {recipe}: {_variant_state(found.known.get(recipe))}" for recipe in settings.variants]
    for rule in settings.gates:
        lines.append(f"  gate {safe(rule.name)}: {_what(rule)}")
        lines += [f"    {line}" for line in _asked(rule)]
        if rule.name in found.missing:
            lines.append(f"    NOT MEASURED: {safe(found.missing[rule.name])}")
    lines += [f"  budget {line}" for line in _budget(settings.budget)]
    return "\n".join(lines)


def explained_fields(found: Explained) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": found.settings.name,
        "bundle": found.bundle,
        "bytes": found.bytes,
        "holds": not found.fault,
        "fault": found.fault,
        "against": found.against,
        "disk": found.disk,
        "variants": [{"recipe": r, "known": r in found.known} for r in found.settings.variants],
        "gates": [
            {"gate": rule.name, "what": _what(rule), "asks": _asked(rule), "missing": found.missing.get(rule.name)}
            for rule in found.settings.gates
        ],
    }


def range_text(
    model: str,
    changes: Sequence[PolicyChange],
    faults: Sequence[str],
    *,
    mend: bool,
    judged: str,
    why: Sequence[str],
    unchanged: bool,
    accepted: bool,
    code: int,
) -> str:
    """One model of a range: the table, why it is refused, rules that differ, what is wrong with the record, the answer.

    Args:
        model: its name.
        changes: of its rules.
        faults: of its record.
        mend: the record has to be made anew.
        judged: the table; empty when nothing was judged.
        why: lines that tell why it is refused.
        unchanged: the range does nothing to it.
        accepted: loosened rules are accepted.
        code: the exit code that all this means.
    """
    if unchanged:
        return f"{safe(model)}: unchanged"
    lines = [judged or f"{safe(model)}: not judged", *why]
    if changes:
        lines.append(policy_text(changes))
    if not accepted and any(change.loosened for change in changes):
        lines.append("    the old rules count until somebody who agrees says --accept-policy")
    lines += [f"  record: {safe(fault)}" for fault in faults]
    if mend:
        lines.append(f"    to make it anew: git lepton gate {safe(model)} --record && git commit")
    lines.append(f"  {safe(model)}: {_ANSWERS.get(code, f'exit {code}')}")
    return "\n".join(lines)


_ANSWERS = {
    0: "passes",
    1: "FAILS",
    3: "UNDECIDED",
    5: "REFUSED: what is committed does not hold",
    6: "NOT MEASURED",
    8: "NOT MEASURED: weights are missing",
}


def _variant_state(variant: Variant | None) -> str:
    if variant is None:
        return "to be built"
    if variant.skipped:
        return f"skipped: {safe(variant.skipped)}"
    return f"built, {size(variant.size)}"


def _what(rule: GateRule) -> str:
    """What is measured on what, and when."""
    how = f"command {safe(rule.command)!r}" if rule.command is not None else safe(rule.metric)
    parts = [f"{how} on {safe(rule.data)}" if rule.data is not None else how]
    if rule.sample is not None:
        parts.append(f"{counted(rule.sample, 'row')} of it")
    if rule.slices is not None:
        parts.append(f"and by each {safe(rule.slices)}")
    if rule.when == "ci":
        parts.append("(left to CI)")
    return " ".join(parts)


def _asked(rule: GateRule) -> list[str]:
    own = _limits(rule)
    lines = [f"asks {own}" if own else "asks nothing: it is recorded"]
    lines += [f"{safe(recipe)}: asks {_limits(asked)}" for recipe, asked in rule.variants.items() if _limits(asked)]
    if rule.teacher is not None and _limits(rule.teacher):
        lines.append(f"against its teacher: asks {_limits(rule.teacher)}")
    return lines


def _limits(rule: object) -> str:
    held = {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}  # type: ignore[arg-type]
    return ", ".join(f"{name} {_limit(held[name])}" for name in _LIMITS if held.get(name) is not None)


def _limit(value: Any) -> str:
    if isinstance(value, Tolerance):
        return f"{100 * value.value:g}%" if value.relative else f"{value.value:g}"
    return f"{value:g}"


def _budget(budget: Budget) -> list[str]:
    rows = [
        (f"{field.name} of {variant}" if variant else field.name, f"at most {amount(field.name, limit)}")
        for field in dataclasses.fields(budget)
        for variant, limit in getattr(budget, field.name).items()
    ]
    return table(rows).splitlines()
