"""What `track` and `untrack` changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from git_lepton.report.table import safe, table
from git_lepton.report.units import counted


def patterns_text(patterns: Sequence[tuple[str, str]]) -> str:
    """Each pattern that is tracked, and the file that says so."""
    if not patterns:
        return "no pattern is tracked; git lepton track PATTERN adds one"
    return table([(safe(pattern), safe(file)) for file, pattern in patterns])


def tracking_text(
    changed: Sequence[str],
    unchanged: Sequence[str],
    to_convert: Sequence[str],
    *,
    verb: str,
    converted: bool,
) -> str:
    """What is tracked or no longer tracked, and what to type next."""
    tracking = verb == "track"
    lines = [f"{'tracking' if tracking else 'no longer tracking'} {safe(pattern)}" for pattern in changed]
    lines += [f"{safe(pattern)} was {'tracked already' if tracking else 'not tracked here'}" for pattern in unchanged]
    names = ", ".join(map(safe, to_convert[:3])) + (", …" if len(to_convert) > 3 else "")
    now = "as raw content" if tracking else "as manifests"
    if to_convert and converted:
        lines.append(f"staged anew: {names}")
    elif to_convert:
        lines.append(f"{counted(len(to_convert), 'file')} in git {now}: {names}")
        lines.append("  to stage them anew:   git add --renormalize .")
        if tracking:
            lines.append("  history too:          git lepton migrate import --dry-run --include PATTERN")
    if changed:
        lines.append("commit .gitattributes with your next commit: git add .gitattributes")
    return "\n".join(lines)


def tracking_fields(
    changed: Sequence[str],
    unchanged: Sequence[str],
    to_convert: Sequence[str],
    collisions: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """The same for programs."""
    return {
        "changed": list(changed),
        "unchanged": list(unchanged),
        "to_convert": list(to_convert),
        "collisions": [list(group) for group in collisions],
    }
