"""The state of the work tree's weight files, and what adding and pushing will cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from git_lepton.errors import ManifestError
from git_lepton.report.listing import SHORT
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, size
from git_lepton.transfer.cost import Cost
from git_lepton.transfer.need import Needs
from git_lepton.upkeep.preview import AddPreview
from git_lepton.values import Hash

QUIET: Final = ("present", "sparse")
"""States of files that are as they should be: they are counted, not listed."""

_TODO: Final = {
    "manifest": "its weights are here: git lepton checkout",
    "missing": "its weights are not here: git lepton pull",
    "deleted": "git lepton checkout -- PATH brings it back",
    "conflict": "both sides of a merge touched it, see below",
}


@dataclass(frozen=True, slots=True)
class FileRow:
    """One weight file: `state` as git_lepton.drivers.worktree has it, or "new" for a file that git does not know.

    `version` is the one that the index names; `preview` tells what adding the file would store.
    """

    path: str
    state: str
    size: int
    version: Hash | None
    preview: AddPreview | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a push would send: `asked` tells whether the remote was asked, or only remembered."""

    remote: str
    needs: Needs
    cost: Cost
    asked: bool
    notes: tuple[str, ...]


def status_text(rows: Sequence[FileRow], broken: Sequence[tuple[str, ManifestError]], outgoing: Outgoing | None) -> str:
    """Files that need attention, then how many do not, then what a push would send."""
    listed = [(row.state, safe(row.path), size(row.size), _note(row)) for row in rows if row.state not in QUIET]
    listed += [("broken", safe(path), "", error.message) for path, error in broken]
    lines = [table(listed, right="llr", indent=2)] if listed else []
    quiet = [row for row in rows if row.state in QUIET]
    if quiet:
        lines.append(f"{counted(len(quiet), 'weight file')} unchanged, {size(sum(row.size for row in quiet))}")
    elif not listed:
        lines.append("no weight files here; git lepton track PATTERN begins")
    if outgoing is not None:
        lines.append(_outgoing_text(outgoing))
    return "\n".join(lines)


def _note(row: FileRow) -> str:
    if row.preview is None:
        return _TODO.get(row.state, "")
    parts = [f"git add stores {size(row.preview.new)} before compression"]
    if row.preview.tensors:
        parts.append(f"{row.preview.changed} of {counted(row.preview.tensors, 'tensor')} new")
    if row.preview.warning is not None:
        parts.append(row.preview.warning)
    return "; ".join(parts)


def _outgoing_text(outgoing: Outgoing) -> str:
    if not outgoing.needs:
        how = "has everything" if outgoing.asked else "has everything that was pushed from here"
        return f"{outgoing.remote} {how}"
    sure = "lacks" if outgoing.asked else "probably lacks"
    lines = [
        f"{outgoing.remote} {sure} {counted(len(outgoing.needs), 'version')} of weights:"
        f" about {size(outgoing.cost.bytes)} to send for {size(outgoing.cost.raw_bytes)} of files"
    ]
    rows = [(v[:SHORT], size(places[0].size), safe(places[0].path)) for v, places in list(outgoing.needs.items())[:10]]
    lines.append(table(rows, right="lr", indent=2))
    if len(outgoing.needs) > len(rows):
        lines.append(f"  and {len(outgoing.needs) - len(rows)} more")
    lines += [f"note: {line}" for line in outgoing.notes]
    return "\n".join(lines)


def status_fields(
    rows: Sequence[FileRow], broken: Sequence[tuple[str, ManifestError]], outgoing: Outgoing | None
) -> dict[str, Any]:
    """What `status --json` prints."""
    return {
        "files": [
            {
                "path": row.path,
                "state": row.state,
                "size": row.size,
                "blake3": row.version,
                "add": None if row.preview is None else dataclasses.asdict(row.preview),
            }
            for row in rows
        ],
        "broken": [{"path": path, "message": error.message} for path, error in broken],
        "outgoing": None if outgoing is None else _outgoing_fields(outgoing),
    }


def _outgoing_fields(outgoing: Outgoing) -> dict[str, Any]:
    return {
        "remote": outgoing.remote,
        "asked": outgoing.asked,
        "versions": [
            {"blake3": version, "size": places[0].size, "paths": sorted({place.path for place in places})}
            for version, places in outgoing.needs.items()
        ],
        "bytes": outgoing.cost.bytes,
        "raw_bytes": outgoing.cost.raw_bytes,
        "notes": list(outgoing.notes),
    }


def written_text(written: Sequence[str], total: int, kept: Sequence[str], deleted: Sequence[str]) -> str:
    """What was written to the work tree, and what was not asked for."""
    lines = [f"{counted(len(written), 'weight file')} written, {size(total)}" if written else "nothing to write"]
    lines += [f"left alone, since it holds something else now: {safe(path)}" for path in kept]
    lines += [f"deleted here; git lepton checkout -- PATH brings it back: {safe(path)}" for path in deleted]
    return "\n".join(lines)


def unwritten_text(missing: Mapping[str, str]) -> str:
    """Files that were left as they are, and why."""
    stay = "stays as it was" if len(missing) == 1 else "stay as they were"
    lines = [f"{counted(len(missing), 'file')} could not be written and {stay}:"]
    lines += [f"  {safe(path)}: {why}" for path, why in missing.items()]
    return "\n".join(lines)


def written_fields(
    written: Sequence[str], total: int, kept: Sequence[str], deleted: Sequence[str], missing: Mapping[str, str]
) -> dict[str, Any]:
    """The same for programs."""
    return {
        "written": list(written),
        "bytes": total,
        "kept": list(kept),
        "deleted": list(deleted),
        "missing": [{"path": path, "message": why} for path, why in missing.items()],
    }
