"""What `doctor` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from git_lepton.report.table import table
from git_lepton.report.units import counted

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One answer: `subject` in a word or two, `message` what is the case, `advice` what to do, or None."""

    level: Level
    subject: str
    message: str
    advice: str | None = None


def checks_text(checks: Sequence[Check]) -> str:
    """A line for each check, the advice below it, and a sum."""
    lines = table([(check.level, check.subject, check.message) for check in checks]).split("\n")
    text = []
    for check, line in zip(checks, lines, strict=True):
        text += [line, *([f"      -> {check.advice}"] if check.advice is not None else [])]
    levels = [check.level for check in checks]
    fails, warns = levels.count("fail"), levels.count("warn")
    text.append(
        "all is well"
        if not fails and not warns
        else f"{counted(fails, 'thing')} to repair, {counted(warns, 'warning')}"
    )
    return "\n".join(text)


def checks_fields(checks: Sequence[Check]) -> dict[str, Any]:
    """The same for programs."""
    return {"checks": [dataclasses.asdict(check) for check in checks]}
