"""Weight files in conflict: what git's index has of them, and ending the conflict.

During a merge, a rebase, a cherry-pick or a stash pop the index has up to three entries of such a path: the ancestor
(stage 1), ours (2) and theirs (3). They are manifests, so everything can be told and done from them at any time;
nothing else has to be remembered but rules that were given for some of the tensors and do not end the conflict yet.
Those are in `lepton-resolve.json` in the git folder of the work tree, with the three blobs that they were given for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from git_lepton import atomic
from git_lepton.compare.mergevalues import BASE, Whose
from git_lepton.config.strategies import check_options
from git_lepton.config.values import MergeRule
from git_lepton.drivers.merging import Merged, merge_stored, planned, policy
from git_lepton.drivers.unmerged import Unmerged, unmerged
from git_lepton.drivers.worktree import Written, checkout_paths, work_tree, write_versions
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store

NOTE: Final = "lepton-resolve.json"


def explained(repo: Repo, store: Store, file: Unmerged) -> dict[str, str]:
    """What is still to be decided in a file: tensor, or part of the file -> why. Asks no remote.

    Raises:
        UsageError: lepton.toml is not valid.
    """
    if file.three is None:
        gone = {"ours": "here", "theirs": "there"}
        absent = [where for whose, where in gone.items() if whose not in file.entries]
        return {"": f"removed {absent[0]}, changed on the other side" if absent else "one side is an ordinary file"}
    rules = [*_given(repo, file), *policy(repo)]
    return planned(store, file.three, rules, fetch=False).conflicts


def resolve(repo: Repo, store: Store, path: str, rules: Sequence[MergeRule]) -> Merged:
    """Merge a file in conflict again, with these rules before all others; stage and write it when nothing is left.

    Args:
        repo: whose index and work tree.
        store: its store.
        path: from the top.
        rules: the first that matches a tensor counts; one for all tensors comes after those that were given before.

    Returns:
        The plan; its manifest is None while something is left, and the rules are remembered then.

    Raises:
        UsageError: there is no such conflict, or a rule makes no sense.
        MissingError: weights are nowhere to be had.
    """
    file = _one(repo, store, path)
    if file.three is None:
        raise UsageError(
            f"{path} is not on both sides of the conflict, so its tensors cannot be merged",
            hint=f"git add {path} keeps the file that is there, git rm {path} removes it",
        )
    for rule in rules:
        if rule.strategy != BASE:
            check_options(rule.strategy, rule.options)
    # Without a pattern, a rule is for what is left; with one, it may correct an earlier one.
    chosen, rest = ([rule for rule in rules if (rule.tensors == "*") is whole] for whole in (False, True))
    given = [*chosen, *_given(repo, file), *rest]
    merged = merge_stored(store, file.three, [*given, *policy(repo)], path)
    if merged.manifest is None:
        _remember(repo, file, given)
        return merged
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", input=merged.manifest.to_bytes()).stdout.strip()
    line = b"%o %s 0\t%s\0" % (file.entries["ours"].mode, blob, os.fsencode(path))
    repo.git("update-index", "-z", "--index-info", input=line)
    _remember(repo, file, ())
    checkout_paths(repo, store, paths=[path], force=True)
    return merged


def checkout_side(repo: Repo, store: Store, whose: Whose, paths: Sequence[str]) -> Written:
    """Write the weights of one side to the work tree, as `git checkout --ours` does; the conflict stays.

    Raises:
        UsageError: no weight file there is in conflict, or that side does not have it.
    """
    files = unmerged(repo, store, paths)
    if not files:
        raise UsageError(f"no weight file is in conflict at {', '.join(paths) or 'any path'}")
    chosen = {}
    for file in files:
        if whose not in file.manifests:
            raise UsageError(f"{file.path} is not on the side of {whose}")
        chosen[file.path] = file.entries[whose].oid, file.manifests[whose]
    return write_versions(repo, store, chosen)


def _one(repo: Repo, store: Store, path: str) -> Unmerged:
    files = [file for file in unmerged(repo, store, [path]) if file.path == path]
    if not files:
        raise UsageError(f"{path} is not a weight file in conflict", hint="git lepton status lists conflicts")
    return files[0]


def _given(repo: Repo, file: Unmerged) -> list[MergeRule]:
    """Rules that were given for this very conflict."""
    note = _notes(repo).get(file.path)
    if not isinstance(note, dict) or note.get("blobs") != file.blobs:
        return []
    return list(_rules(note.get("rules")))


def _rules(rows: Any) -> Iterator[MergeRule]:
    for row in rows if isinstance(rows, list) else ():
        tensors, strategy, options = row
        yield MergeRule(str(tensors), str(strategy), {str(name): float(value) for name, value in options.items()})


def _remember(repo: Repo, file: Unmerged, rules: Sequence[MergeRule]) -> None:
    notes = {path: note for path, note in _notes(repo).items() if path != file.path}
    if rules:
        rows = [[rule.tensors, rule.strategy, dict(rule.options)] for rule in rules]
        notes[file.path] = {"blobs": file.blobs, "rules": rows}
    if notes:
        atomic.write_file(_place(repo), json.dumps(notes).encode(), durable=False)
    else:
        _place(repo).unlink(missing_ok=True)


def _notes(repo: Repo) -> dict[str, Any]:
    try:
        notes = json.loads(_place(repo).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _place(repo: Repo) -> Path:
    work_tree(repo)
    return repo.git_dir / NOTE
