"""Two policies for one model, compared: what was loosened, and which rules hold where they differ.

A change is *loosened* when something that was refused before could pass now: a limit that went, a limit that moved, a
gate that went, other examples or another metric (which may be easier), another anchor. Whoever wants that says so with
`--accept-policy`; until then the older rule of that gate holds. A tightened rule holds at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from git_lepton.config.values import Budget, GateRule, ModelSettings, Tolerance

Looser = Literal["less", "more", "any", "never"]
"""In which direction a value is looser: no value at all (None) is the loosest for "less" and "more"."""

_LIMITS: Final[dict[str, Looser]] = {
    "min": "less",
    "max": "more",
    "max_drop": "more",
    "slice_max_drop": "more",
    "min_agreement": "less",
    "max_output_error": "more",
    "max_kl": "more",
    "sample": "any",
    "batch": "never",
    "timeout": "never",
}
"""Fields of rules; those that are not here tell what is measured, and any change of them may be an easier test."""

_LOOSER_WORDS: Final = {"on_inconclusive": "warn", "when": "ci", "first": "record"}


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One setting that differs: its key, both values as text ("none" for an absent one), whether it was loosened."""

    key: str
    before: str
    after: str
    loosened: bool


def compare(old: ModelSettings | None, new: ModelSettings | None) -> list[PolicyChange]:
    """What differs between two policies of one model, in the order of the settings; None is a model without rules."""
    if old is None or new is None:
        return [] if old is None else [PolicyChange(f"model.{old.name}", "there", "gone", loosened=True)]
    return list(_changes(old, new))


def binding(old: ModelSettings | None, new: ModelSettings) -> ModelSettings:
    """The policy that holds for a change from `old` to `new`: a gate that was loosened keeps its old rule."""
    if old is None:
        return new
    before = {gate.name: gate for gate in old.gates}
    after = {gate.name: gate for gate in new.gates}
    gates = [_stricter(before.get(gate.name), gate) for gate in new.gates]
    gates += [gate for name, gate in before.items() if name not in after]
    return replace(
        new,
        gates=tuple(gates),
        budget=_stricter_budget(old.budget, new.budget),
        baseline=old.baseline,
        teacher=old.teacher if old.teacher is not None else new.teacher,
    )


def _changes(old: ModelSettings, new: ModelSettings) -> Iterator[PolicyChange]:
    before = {gate.name: gate for gate in old.gates}
    after = {gate.name: gate for gate in new.gates}
    for name in dict.fromkeys((*before, *after)):
        key = f"gate.{name}"
        if name not in after:
            yield PolicyChange(key, "there", "gone", loosened=True)
        elif name not in before:
            yield PolicyChange(key, "none", "new", loosened=False)
        else:
            yield from _rule_changes(key, before[name], after[name])
    yield from _budget_changes(old.budget, new.budget)
    for field in ("baseline", "teacher"):
        yield from _one(field, getattr(old, field), getattr(new, field), "any")
    for field in ("root", "files", "main", "variants", "exclude", "calibration", "golden", "provenance"):
        yield from _one(field, getattr(old, field), getattr(new, field), "never")


def _stricter(old: GateRule | None, new: GateRule) -> GateRule:
    return old if old is not None and any(change.loosened for change in _rule_changes("", old, new)) else new


def _rule_changes(key: str, old: object, new: object) -> Iterator[PolicyChange]:
    """Fields of two rules of one kind; rules within them (of variants, of the teacher) are opened."""
    for field in dataclasses.fields(old):  # type: ignore[arg-type]
        one, two, name = getattr(old, field.name), getattr(new, field.name), f"{key}.{field.name}"
        if field.name == "variants":
            yield from _variant_changes(name, one, two)
        elif dataclasses.is_dataclass(one) and type(one) is type(two) and not isinstance(one, Tolerance):
            yield from _rule_changes(name, one, two)
        elif field.name in _LOOSER_WORDS:
            yield from _one(name, one, two, "any" if two == _LOOSER_WORDS[field.name] else "never")
        else:
            yield from _one(name, one, two, _LIMITS.get(field.name, "any"))


def _variant_changes(key: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[PolicyChange]:
    for recipe in dict.fromkeys((*old, *new)):
        if recipe not in new:
            yield PolicyChange(f"{key}.{recipe}", _text(old[recipe]), "none", loosened=True)
        elif recipe not in old:
            yield PolicyChange(f"{key}.{recipe}", "none", _text(new[recipe]), loosened=False)
        else:
            yield from _rule_changes(f"{key}.{recipe}", old[recipe], new[recipe])


def _budget_changes(old: Budget, new: Budget) -> Iterator[PolicyChange]:
    for field in dataclasses.fields(Budget):
        one, two = getattr(old, field.name), getattr(new, field.name)
        for variant in dict.fromkeys((*one, *two)):
            key = f"budget.{field.name}.{variant}" if variant else f"budget.{field.name}"
            yield from _one(key, one.get(variant), two.get(variant), "more")


def _stricter_budget(old: Budget, new: Budget) -> Budget:
    merged = {}
    for field in dataclasses.fields(Budget):
        one, two = getattr(old, field.name), getattr(new, field.name)
        merged[field.name] = {
            variant: min(table[variant] for table in (one, two) if variant in table)
            for variant in dict.fromkeys((*one, *two))
        }
    return Budget(**merged)


def _one(key: str, old: object, new: object, looser: Looser) -> Iterator[PolicyChange]:
    if old != new:
        yield PolicyChange(key, _text(old), _text(new), _is_looser(old, new, looser))


def _is_looser(old: Any, new: Any, looser: Looser) -> bool:
    if looser in {"any", "never"}:
        return looser == "any"
    if old is None or new is None:
        return new is None
    if isinstance(old, Tolerance) and isinstance(new, Tolerance):
        # A share of the baseline and a number of points cannot be compared without the baseline.
        return old.relative != new.relative or new.value > old.value
    return bool(new < old) if looser == "less" else bool(new > old)


def _text(value: object) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, Tolerance):
        return f"{100 * value.value:g}%" if value.relative else f"{value.value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_text(item)}" for key, item in value.items())
    if dataclasses.is_dataclass(value):
        named = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return ", ".join(f"{name} {_text(held)}" for name, held in named if held is not None)
    return str(value)
