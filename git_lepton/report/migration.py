"""What a migration found, will do and did."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any, Final

from git_lepton.migrate.info import Survey
from git_lepton.migrate.plan import Missing, Plan, Report
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, share, size

_SHOWN: Final = 15


def survey_text(survey: Survey) -> str:
    """A table of kinds of files, the largest first, and the import that they suggest."""
    shown = survey.groups[:_SHOWN]
    rows = [
        (
            safe(g.pattern),
            f"{g.paths:,}",
            f"{g.versions:,}",
            size(g.bytes),
            share(g.bytes, survey.bytes),
            size(g.largest),
            size(g.head_bytes),
            counted(g.pointers, "pointer") if g.pointers else "",
        )
        for g in shown
    ]
    header = ("files", "paths", "versions", "in history", "share", "largest", "now", "git-lfs")
    lines = [f"{counted(survey.commits, 'commit')} hold {size(survey.bytes)} of file contents, uncompressed"]
    lines += [table(rows, right="lrrrrrrl", header=header)] if rows else []
    if len(survey.groups) > _SHOWN:
        lines.append(f"and {counted(len(survey.groups) - _SHOWN, 'smaller kind')} of files; --json lists all")
    if survey.suggestion:
        include = " ".join(f"--include {_quoted(pattern)}" for pattern in survey.suggestion)
        lines += ["", f"to move weights in: git lepton migrate import {include} --dry-run"]
    return "\n".join(lines)


def survey_fields(survey: Survey) -> dict[str, Any]:
    """The same for programs."""
    return {
        "commits": survey.commits,
        "bytes": survey.bytes,
        "groups": [dataclasses.asdict(group) for group in survey.groups],
        "suggestion": list(survey.suggestion),
    }


def plan_text(plan: Plan) -> str:
    """All that will happen, before it does."""
    if plan.empty:
        nothing = "nothing to do: no file matches, or all are as they should be already"
        return "\n".join([nothing, *(f"warning: {safe(warning)}" for warning in plan.warnings)])
    lines = []
    if plan.unfinished:
        lines.append("an earlier migration was interrupted: its work tree will be settled")
    verb = "into git-lepton" if plan.direction == "import" else "out of git-lepton, as raw files"
    lines.append(f"{counted(plan.versions, 'version')} of files move {verb}, {size(plan.bytes)}:")
    rows = [
        (safe(g.pattern), counted(g.paths, "path"), counted(g.versions, "version"), size(g.bytes)) for g in plan.groups
    ]
    lines.append(table(rows, right="lrrr", indent=4))
    if plan.patterns:
        verb = "will be tracked" if plan.direction == "import" else "will no longer be tracked"
        lines.append(f"patterns that {verb}: {' '.join(map(safe, plan.patterns))}")
    if plan.request.no_rewrite:
        lines.append(f"{counted(plan.rewritten, 'new commit')} on the branch that is checked out; history stays")
    else:
        lines.append(f"{counted(plan.rewritten, 'commit')} of {plan.commits:,} get a new id")
    lines.append(f"refs that move: {', '.join(safe(move.ref) for move in plan.moves) or 'none'}")
    if plan.left_behind:
        lines.append(f"refs that keep the old history: {', '.join(map(safe, plan.left_behind))}")
    if plan.signed:
        lines.append(f"{counted(plan.signed, 'signature')} will be dropped")
    lines += [f"not here: {_missing(plan.missing)}"] * bool(plan.missing)
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)


def plan_fields(plan: Plan) -> dict[str, Any]:
    """The same for programs."""
    return dataclasses.asdict(plan) | {"versions": plan.versions, "bytes": plan.bytes, "empty": plan.empty}


def report_text(report: Report) -> str:
    """What was done, and what to do next."""
    lines = [
        f"{counted(report.versions, 'version')} moved, {size(report.bytes)};"
        f" {counted(report.rewritten, 'commit')} rewritten, {counted(len(report.moves), 'ref')} moved"
    ]
    if report.skipped:
        lines.append(f"left as git-lfs pointers, for want of their content: {_missing(report.skipped)}")
    if report.backup is not None:
        lines.append(f"the old refs are kept below {report.backup}")
    if report.moves and report.backup is not None:
        lines.append("history has new ids: everyone must clone again, or rebase onto it, once you push with --force")
    return "\n".join(lines)


def report_fields(report: Report) -> dict[str, Any]:
    """The same for programs."""
    moves = [{"ref": ref, "old": old, "new": new} for ref, old, new in report.moves]
    return dataclasses.asdict(report) | {"moves": moves}


def _missing(missing: Sequence[Missing]) -> str:
    total = sum(item.size for item in missing)
    names = ", ".join(safe(item.path) for item in missing[:3])
    return f"{counted(len(missing), 'version')}, {size(total)} ({names}{', …' if len(missing) > 3 else ''})"


def _quoted(pattern: str) -> str:
    return shlex.quote(safe(pattern))
