"""How merged versions came about, kept beside the store until the gate writes it into the record.

`<common dir>/lepton/merges/<hash of the merged file>.json` is one `Merged` of the record. A note belongs to a content:
whoever merges the same versions in the same way gets the same hash and the same note. It is written before the manifest
that names the content is given to git, and `record_of` finds it for the files of a bundle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from git_lepton import atomic
from git_lepton.errors import FrameError
from git_lepton.git.repo import Repo
from git_lepton.record.bundle import BundleFile
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.values import Merged
from git_lepton.store.manifest import Manifest
from git_lepton.values import Hash

if TYPE_CHECKING:  # a commit reads notes, and does without the values of merging
    from git_lepton.compare.mergevalues import Decision, Merge, Three


def remember(repo: Repo, merged: Manifest, three: Three, plan: Merge) -> None:
    """Note how `merged` was made of `three`."""
    counts = Counter(described(decision) for decision in plan.decisions)
    note = Merged(
        blake3=merged.blake3,
        base=three.base.blake3 if three.base else None,
        ours=three.ours.blake3,
        theirs=three.theirs.blake3,
        tensors=dict(sorted(counts.items())),
    )
    path = _path(repo, merged.blake3)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_file(path, json.dumps(to_plain(note)).encode(), durable=False)


def described(decision: Decision) -> str:
    """How a tensor came about: its outcome, or the strategy with all its numbers."""
    numbers = "".join(f" {name}={_number(value)}" for name, value in sorted(decision.options.items()))
    strategy = f"{decision.strategy}{numbers}"
    if decision.outcome == "rows":
        return f"rows of {decision.grown}" + (f", {strategy}" if strategy else "")
    return strategy or decision.outcome


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def record_of(repo: Repo, files: Iterable[BundleFile], known: Iterable[Merged] = ()) -> tuple[Merged, ...]:
    """How those of `files` that were merged came about, as noted here or in an earlier record (`known`)."""
    before = {note.blake3: note for note in known}
    found = []
    for file in files:
        note = _read(repo, file.blake3) or before.get(file.blake3)
        if note is not None:
            found.append(replace(note, path=file.path))
    return tuple(found)


def _read(repo: Repo, digest: Hash) -> Merged | None:
    try:
        note = from_plain(Merged, json.loads(_path(repo, digest).read_bytes()))
    except (OSError, ValueError, RecursionError, FrameError):
        return None
    return note if note.blake3 == digest else None


def _path(repo: Repo, digest: Hash) -> Path:
    return repo.lepton_dir / "merges" / f"{digest}.json"
