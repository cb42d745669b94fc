"""Where a record says something else than what is measured now: what CI finds of a record that was edited by hand.

Every figure, verdict, bound and sentence of a record is compared, since people decide by what they read there. Figures
are compared with room: a gate's own within half the width of its bounds, anything else within what differs from host to
host. What only restates other figures (a sentence, the examples that would decide) is compared number by number where
those figures are equal, and by its words where they are not.

Left out is what the commit before had, which no later commit can find again, and time and memory, which belong to their
host. Where the baseline of a record is not in the history any more (a squash), so is what depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from git_lepton.errors import EXIT_OK, EXIT_REFUSED
from git_lepton.record.plain import to_plain
from git_lepton.record.values import Budgeted, Outcome, Record, Variant

_CLOSE: Final = 1e-4
"""How far a figure may lie from the recorded one on the same host, by its size."""
_ELSEWHERE: Final = 0.02
"""The same on another host, whose arithmetic may move an example or two to another class."""
_TOLD: Final = 3
_NUMBER: Final = re.compile(r"\d[\d.,]*(?:e[-+]?\d+)?")
_NAMES: Final = ("name", "label")
_RESTATED: Final = ("reason", "needed")
_LISTED: Final = ("classes", "confusions")
"""Lists of which another host may have other rows."""
_OWN: Final = ("metric", "value", "n", "limits")
_COMPARED: Final = frozenset(
    {"against", "baseline", "drop", "low", "high", "likeness", "before", "verdict", "reason", "needed", "confusions"}
)
"""What depends on the model that is compared with."""

_Leaves = dict[tuple[str, ...], Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something about a record that must not be: one sentence, and the exit code that it means; 0 for a remark."""

    text: str
    code: int


def differences(record: Record, measured: Record, *, baseline: bool = True) -> Iterator[Fault]:
    """What a record has otherwise than it was measured.

    Args:
        record: as committed.
        measured: of the same model and variants, by the same rules on the same examples.
        baseline: both are about the same baseline; else only what does not depend on it is compared.
    """
    if not baseline:
        yield Fault("its baseline is not in the history any more; what it says of it was not checked", EXIT_OK)
    near = _CLOSE if record.host == measured.host else _ELSEWHERE
    now = {(found.gate, found.variant): found for found in measured.outcome}
    then = {(found.gate, found.variant): found for found in record.outcome}
    for key in [key for key in now if key not in then]:
        yield _refused(f"its record says nothing about gate {_named(key)}")
    for key, old in then.items():
        new = now.get(key)
        if new is None:
            if baseline:
                yield _refused(f"its record tells of gate {_named(key)}, which does not exist")
        elif old.verdict != "pending" and new.verdict != "not-measured":
            found = _of_outcome(_named(key), old, _renamed(new, record, measured), near, baseline=baseline)
            yield from islice(found, _TOLD)
    yield from _of_budgets(record, measured, baseline=baseline)


def same_losses(one: Variant, two: Variant) -> bool:
    """Whether two records of one variant tell of the same errors of tensors."""
    then, now = (_leaves([to_plain(loss) for loss in variant.losses]) for variant in (one, two))
    return then.keys() == now.keys() and all(_alike(then[key], now[key], _CLOSE) for key in then)


def _of_outcome(name: str, old: Outcome, new: dict[str, Any], near: float, *, baseline: bool) -> Iterator[Fault]:
    if old.head is not None and "figure" in new:
        new = {**new, "head": new["figure"]}
    then, now = (_leaves(_own_head(table)) for table in (to_plain(old), new))
    numbers_agree = all(now.get(key) == value for key, value in then.items() if key[-1] not in _RESTATED)
    for key in sorted(then.keys() | now.keys(), key=_urgency):
        one, two = then.get(key), now.get(key)
        if (not baseline and not old.variant and _COMPARED & _words(key)) or (
            near == _ELSEWHERE and key[0] in _LISTED and (one is None or two is None)
        ):
            continue
        if key[-1] in _RESTATED and not numbers_agree:
            one, two = (_NUMBER.sub("#", value) if isinstance(value, str) else None for value in (one, two))
        if not _alike(one, two, max(near, _room(now, key))):
            what = " ".join(key)
            if key == ("verdict",):
                yield _refused(f"its record says {one} for gate {name}, and the verdict is {two}")
            elif key == ("figure", "value"):
                yield _refused(f"its record has {_shown(one)} for gate {name}, and {_shown(two)} was measured now")
            else:
                yield _refused(f"its record has {what} {_shown(one)} for gate {name}, and {_shown(two)} was found now")


def _of_budgets(record: Record, measured: Record, *, baseline: bool) -> Iterator[Fault]:
    """Limits, and sizes: latency and memory are judged anew and not compared."""
    now = {(found.kind, found.variant): found for found in measured.budget}
    then = {(found.kind, found.variant): found for found in record.budget}
    for key in then.keys() | now.keys() if baseline else then.keys() & now.keys():
        if _limit(then.get(key)) != _limit(now.get(key)):
            yield _refused(f"its record has another {key[0]} for {key[1] or 'the model'}")


def _limit(found: Budgeted | None) -> object:
    if found is None or found.kind == "size_bytes":
        return found
    return found.limit


def _renamed(new: Outcome, record: Record, measured: Record) -> dict[str, Any]:
    """The outcome, with the baseline called as the record calls it."""
    table = to_plain(new)
    if record.anchor is None or measured.anchor is None or record.anchor.name == measured.anchor.name:
        return table
    return {key: _replaced(value, measured.anchor.name, record.anchor.name) for key, value in table.items()}


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    return [_replaced(item, old, new) for item in value] if isinstance(value, list) else value


def _own_head(table: dict[str, Any]) -> dict[str, Any]:
    """The outcome, with of the comparison with HEAD only what is about the model itself."""
    head = table.get("head")
    return table if head is None else {**table, "head": {key: head[key] for key in _OWN if key in head}}


def _leaves(value: Any, path: tuple[str, ...] = ()) -> _Leaves:
    """Every scalar by its path; rows of a list by their name, so that one that is missing moves no other."""
    found: _Leaves = {}
    if isinstance(value, dict):
        for key, item in value.items():
            found |= _leaves(item, (*path, str(key)))
    elif isinstance(value, list):
        for item in value:
            found |= _leaves(item, (*path, _row_name(item)))
    else:
        found[path] = value
    return found


def _row_name(row: Any) -> str:
    if "expected" in row:
        return f"{row['expected']} as {row['predicted']}"
    return str(next(row[key] for key in _NAMES if key in row))


def _words(key: tuple[str, ...]) -> set[str]:
    return {word for part in key for word in (part, *part.split("_"))}


def _urgency(key: tuple[str, ...]) -> tuple[bool, bool, tuple[str, ...]]:
    """The value first, then the verdict, and everything else by its name."""
    return key != ("figure", "value"), key != ("verdict",), key


def _room(now: Mapping[tuple[str, ...], Any], key: tuple[str, ...]) -> float:
    """Half the width of the bounds that stand beside a figure."""
    low, high = (now.get((*key[:-1], bound)) for bound in ("low", "high"))
    return (high - low) / 2 if isinstance(low, float) and isinstance(high, float) else 0.0


def _alike(one: Any, two: Any, room: float) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= max(room, room * abs(two))
    return bool(one == two)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value}"


def _refused(text: str) -> Fault:
    return Fault(text, EXIT_REFUSED)


def _named(key: tuple[str, str]) -> str:
    return f"{key[0]} of {key[1]}" if key[1] else key[0]
