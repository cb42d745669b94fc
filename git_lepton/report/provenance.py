"""What made a model, and what changed since."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from git_lepton.record.provenance import OriginRow
from git_lepton.record.values import Merged, Record
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted

_SHORT = 12


def provenance_text(
    rev: str,
    found: Mapping[str, tuple[Record, Sequence[OriginRow]]],
    unknown: Collection[str],
    stale: Collection[str] = (),
) -> str:
    """For each model its files of data, code, parameters and packages, with what became of them.

    Args:
        rev: the revision that was asked for.
        found: by model, its record and what became of its inputs.
        unknown: models whose record has no inputs.
        stale: models that changed, and have the record of what they were.
    """
    lines = []
    for name, (record, rows) in found.items():
        lines.append(f"{safe(name)} {record.bundle[:_SHORT]}")
        if name in stale:
            lines.append(
                f"  not the model of {safe(rev)}, which has no record yet: git lepton gate {safe(name)} --record"
            )
        elif name in unknown:
            lines.append("  not recorded what made it; provenance = { data = [...], code = [...] } in lepton.toml does")
        cells = [(row.kind, safe(row.path), (row.then or "-")[:_SHORT], _since(row)) for row in rows]
        if cells:
            lines.append(table(cells, header=("", "file", "then", "since"), indent=2))
        lines += [_merge_text(note) for note in record.origins.merged]
        changed = sum(row.change != "same" for row in rows)
        if changed:
            lines.append(f"  {counted(changed, 'input')} changed since: the model is not what they would give now")
        elif rows:
            lines.append(f"  nothing changed since, as of {safe(rev)}")
    return "\n".join(lines) if lines else f"no model has a record at {safe(rev)}"


def provenance_fields(record: Record, rows: Sequence[OriginRow]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "model": record.model,
        "bundle": record.bundle,
        "inputs": [
            {"kind": row.kind, "path": row.path, "then": row.then, "now": row.now, "change": row.change} for row in rows
        ],
        "merged": [dataclasses.asdict(note) for note in record.origins.merged],
    }


def _merge_text(note: Merged) -> str:
    base = f" since {note.base[:_SHORT]}" if note.base else ""
    tensors = ", ".join(f"{count} {safe(what)}" for what, count in note.tensors.items())
    return f"  {safe(note.path)} merged of {note.ours[:_SHORT]} and {note.theirs[:_SHORT]}{base}: {tensors}"


def _since(row: OriginRow) -> str:
    return "" if row.change == "same" else row.change
