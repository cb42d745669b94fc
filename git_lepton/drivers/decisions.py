"""Rules that were given for some tensors of a file in conflict, and do not end the conflict yet.

All else about a conflict is in git's index. These are in `lepton-resolve.json` in the git folder of the work tree: the
path, the three blobs that they were given for, and the rules. They belong to one merge: when git asks to merge a file
anew, those of an earlier merge, which was given up, are forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from git_lepton import atomic
from git_lepton.config.values import MergeRule
from git_lepton.drivers.unmerged import Unmerged
from git_lepton.git.repo import Repo

NOTE: Final = "lepton-resolve.json"


def given(repo: Repo, file: Unmerged) -> list[MergeRule]:
    """Rules that were given for this very conflict."""
    note = _notes(repo).get(file.path)
    if not isinstance(note, dict) or note.get("blobs") != file.blobs:
        return []
    return list(_rules(note.get("rules")))


def remember(repo: Repo, file: Unmerged, rules: Sequence[MergeRule]) -> None:
    """Keep rules until the conflict ends."""
    rows = [[rule.tensors, rule.strategy, dict(rule.options)] for rule in rules]
    _write(repo, {**_notes(repo), file.path: {"blobs": file.blobs, "rules": rows}})


def forget(repo: Repo, path: str) -> None:
    """Drop what was given for a file."""
    notes = _notes(repo)
    if notes.pop(path, None) is not None:
        _write(repo, notes)


def _rules(rows: Any) -> Iterator[MergeRule]:
    for row in rows if isinstance(rows, list) else ():
        tensors, strategy, options = row
        yield MergeRule(str(tensors), str(strategy), {str(name): float(value) for name, value in options.items()})


def _notes(repo: Repo) -> dict[str, Any]:
    try:
        notes = json.loads(_place(repo).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _write(repo: Repo, notes: dict[str, Any]) -> None:
    if notes:
        atomic.write_file(_place(repo), json.dumps(notes).encode(), durable=False)
    else:
        _place(repo).unlink(missing_ok=True)


def _place(repo: Repo) -> Path:
    return repo.git_dir / NOTE
