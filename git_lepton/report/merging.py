"""What a merge did to a file, and what it leaves to a person."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from git_lepton.compare.mergevalues import Merge
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted

WHOLE: Final = ""
"""The name that stands for a file of which one side has no tensors to be merged."""

WHILE_REBASING: Final = "while rebasing, ours is the branch that commits go onto, and theirs is the commit"

_SHOWN: Final = 20
_WORDS: Final = {
    "same": "as they were",
    "both": "changed alike",
    "ours": "from ours",
    "theirs": "from theirs",
    "base": "from the common ancestor",
    "added": "added",
    "removed": "removed",
    "rows": "with rows of both",
}


def typed(path: str) -> str:
    """A path as it is typed in a shell."""
    return shlex.quote(safe(path))


def merged_text(path: str, plan: Merge) -> str:
    """One line: how many tensors came from where."""
    if not plan.decisions:
        return f"{safe(path)}: merged, as {_WORDS[plan.frame.side or 'ours'].removeprefix('from ')} has it"
    counts = Counter(d.strategy if d.outcome == "computed" else d.outcome for d in plan.decisions)
    parts = [f"{count} {_WORDS.get(what, f'by {what}')}" for what, count in counts.items()]
    return f"{safe(path)}: merged {counted(len(plan.decisions), 'tensor')}: {', '.join(parts)}"


def left_text(path: str, conflicts: Mapping[str, str], *, most: int = _SHOWN) -> str:
    """What is left of one file, a line each."""
    listed = list(conflicts.items())
    lines = [f"{safe(path)} is in conflict, {len(listed)} to decide:"]
    lines.append(table([(safe(name), safe(reason)) for name, reason in listed[:most]], indent=2))
    if len(listed) > most:
        lines.append(f"  and {len(listed) - most} more")
    return "\n".join(lines)


def conflict_text(path: str, conflicts: Mapping[str, str], ways: Sequence[str]) -> str:
    """What is left of one file, a line each, and what to type; `ways` are strategies that help."""
    if WHOLE in conflicts:
        keeps, removes = f"git add {typed(path)}", f"git rm {typed(path)}"
        return f"{safe(path)} is in conflict: {conflicts[WHOLE]}\n  {keeps} keeps what is there, {removes} removes it"
    if not conflicts:
        return f"{safe(path)} is in conflict, and nothing of it is left to decide:\n  git lepton resolve {typed(path)}"
    return f"{left_text(path, conflicts)}\n  git lepton resolve {typed(path)} --with {'|'.join(ways)}"


def merge_fields(path: str, plan: Merge, blake3: str | None) -> dict[str, Any]:
    """The same for programs; `blake3` is None while something is left."""
    return {
        "path": path,
        "blake3": blake3,
        "conflicts": [{"name": name, "reason": reason} for name, reason in plan.conflicts.items()],
        "tensors": [
            {"name": d.name, "outcome": d.outcome, "strategy": d.strategy or None, "options": dict(d.options)}
            for d in plan.decisions
        ],
    }


def conflict_fields(found: Mapping[str, Mapping[str, str]]) -> Sequence[dict[str, Any]]:
    """All files in conflict, for programs."""
    return [
        {"path": path, "conflicts": [{"name": name, "reason": reason} for name, reason in conflicts.items()]}
        for path, conflicts in found.items()
    ]
