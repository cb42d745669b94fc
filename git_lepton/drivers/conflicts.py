"""Weight files in conflict: what git's index has of them, and ending the conflict.

During a merge, a rebase, a cherry-pick or a stash pop the index has up to three entries of such a path: the ancestor
(stage 1), ours (2) and theirs (3). They are manifests, so everything can be told and done from them at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from typing import Final

from git_lepton.compare.merge import ways_out
from git_lepton.compare.mergevalues import BASE, Whose
from git_lepton.config.strategies import check_options
from git_lepton.config.values import MergeRule
from git_lepton.drivers.decisions import forget, given, remember
from git_lepton.drivers.merging import Merged, merge_stored, planned, policy
from git_lepton.drivers.unmerged import KEEP_OR_REMOVE, Unmerged, unmerged
from git_lepton.drivers.worktree import Written, checkout_paths, write_versions
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.merging import WHOLE
from git_lepton.store.store import Store

_ONE_SIDED: Final[Mapping[frozenset[str], str]] = {
    frozenset({"base"}): "both sides removed or renamed it",
    frozenset({"ours"}): "only ours has it under this name",
    frozenset({"theirs"}): "only theirs has it under this name",
    frozenset({"base", "ours"}): "changed here, removed there",
    frozenset({"base", "theirs"}): "removed here, changed there",
}


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to be decided in a file.

    Attributes:
        path: of the file.
        reasons: tensor, or part of the file, or `WHOLE` -> why.
        ways: strategies that decide something of it.
        fault: why rules of lepton.toml are not considered; empty when they are.
    """

    path: str
    reasons: Mapping[str, str]
    ways: tuple[str, ...] = ()
    fault: str = ""


def explained(repo: Repo, store: Store, file: Unmerged) -> Left:
    """What is still to be decided in a file. Asks no remote."""
    if file.three is None:
        return Left(file.path, {WHOLE: _ONE_SIDED.get(frozenset(file.entries), "one side is an ordinary file")})
    fault, rules = "", given(repo, file)
    try:
        rules += policy(repo)
    except UsageError as error:
        fault = error.message
    plan = planned(store, file.three, rules, fetch=False)
    return Left(file.path, plan.conflicts, ways_out(plan), fault)


def resolve(repo: Repo, store: Store, path: str, rules: Sequence[MergeRule]) -> Merged:
    """Merge a file in conflict again, with these rules before all others; stage and write it when nothing is left.

    Args:
        repo: whose index and work tree.
        store: its store.
        path: from the top.
        rules: the first that matches a tensor counts; one for all tensors is for what those given before left.

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
            hint=KEEP_OR_REMOVE,
        )
    for rule in rules:
        if rule.strategy != BASE:
            check_options(rule.strategy, rule.options)
    # Without a pattern, a rule is for what is left, be it by an earlier one; with one, it may correct an earlier one.
    chosen, rest = ([rule for rule in rules if (rule.tensors == "*") is whole] for whole in (False, True))
    before = given(repo, file)
    left = planned(store, file.three, before).conflicts if before and rest else {}
    exact = [replace(rule, tensors=escape(name)) for rule in rest for name in left]
    asked = [*chosen, *exact, *before, *rest]
    merged = merge_stored(store, file.three, [*asked, *policy(repo)], path)
    if merged.manifest is None:
        remember(repo, file, asked)
        return merged
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", input=merged.manifest.to_bytes()).stdout.strip()
    line = b"%o %s 0\t%s\0" % (file.entries["ours"].mode, blob, os.fsencode(path))
    repo.git("update-index", "-z", "--index-info", input=line)
    forget(repo, path)
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
            raise UsageError(f"{file.path} is in conflict, and {whose} has no weights there", hint=KEEP_OR_REMOVE)
        chosen[file.path] = file.entries[whose].oid, file.manifests[whose]
    return write_versions(repo, store, chosen)


def _one(repo: Repo, store: Store, path: str) -> Unmerged:
    files = [file for file in unmerged(repo, store, [path]) if file.path == path]
    if not files:
        raise UsageError(f"{path} is not a weight file in conflict", hint="git lepton status lists conflicts")
    return files[0]
