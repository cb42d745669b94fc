"""`merge.lepton.driver`: what git calls when both sides of a merge changed a weight file.

git hands over three manifests as temporary files and takes the first one back; no work tree is needed. What the merge
driver answers:

    0           merged: a manifest whose weights are stored
    1           conflict: ours stays in place, and standard error says which tensors are left to a person
    129 and up  our own failure (git takes 1 to 128 for a conflict, so a traceback must not look like one)

Weights that are not here are fetched when something has to be read; a merge of which one side is the result costs
nothing. Where they cannot be had the file is a conflict, to be resolved later.

*Virtual ancestors.* Where two histories crossed, git merges the ancestors first, with longer conflict markers, and uses
the result as the base. A conflict in there must not pick a side, since the outer merge would then see a change where
there was none: the tensors in question are taken from the ancestor of the ancestors. Rules of lepton.toml do not count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton.compare.making import Files
from git_lepton.compare.merge import growths, merge, wants_metadata, ways_out
from git_lepton.compare.merged import MergedFile, facts_of
from git_lepton.compare.mergevalues import BASE, Facts, Merge, Three, Whose
from git_lepton.compare.sides import FileSide, StoredFile
from git_lepton.config.reading import parse as parse_config
from git_lepton.config.store import FILE_NAME
from git_lepton.config.values import MergeRule
from git_lepton.drivers import mergenotes
from git_lepton.drivers.clean import read_manifest, spool_folder
from git_lepton.drivers.decisions import forget
from git_lepton.drivers.unmerged import is_rebasing
from git_lepton.errors import EXIT_OK, LeptonError, MissingError, UsageError
from git_lepton.git.attributes import check_attr
from git_lepton.git.repo import Repo
from git_lepton.report.merging import WHILE_REBASING, typed
from git_lepton.report.table import safe
from git_lepton.store.begun import BegunPack
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.store.tidying import tidy
from git_lepton.transfer.fetch import bring_or_fail, bring_streams
from git_lepton.values import Hash

CONFLICT: Final = 1
_MARKER_SIZE: Final = 7
_MARKER: Final = b"<<<<<<< "
_SHOWN: Final = 10

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge: `manifest` is None where conflicts are left."""

    plan: Merge
    manifest: Manifest | None


def run(repo: Repo, base: Path, ours: Path, theirs: Path, marker_size: int, path: str, say: Say) -> int:
    """Be the merge driver: arguments are git's `%O %A %B %L %P`; returns the status for git.

    Raises:
        LeptonError, OSError: our own failure.
    """
    try:
        versions = [_read(place) for place in (base, ours, theirs)]
    except LeptonError as error:
        say(f"{safe(path)}: one side is no manifest that can be read, so nothing is merged: {error.message}")
        return CONFLICT
    if versions[1] is None or versions[2] is None:
        say(f"{safe(path)}: one side is empty, so nothing is merged")
        return CONFLICT
    three = Three(versions[0], versions[1], versions[2])
    with Store(repo) as store:
        inner = marker_size > _marker_size(repo, path)
        try:
            found = merge_stored(store, three, () if inner else policy(repo), path)
            if inner and found.manifest is None and three.base is not None:
                found = merge_stored(store, three, (MergeRule("*", BASE),), path)
        except MissingError as error:
            say(f"CONFLICT ({safe(path)}): both sides changed it, and its weights cannot be had: {error.message}")
            say(f"    once they can: git lepton resolve {typed(path)}")
            return CONFLICT
        if found.manifest is None:
            if not inner:
                forget(repo, path)
                explain(path, found.plan, say)
                if is_rebasing(repo):
                    say(f"    {WHILE_REBASING}")
            return CONFLICT
    ours.write_bytes(found.manifest.to_bytes())
    tidy(repo)
    return EXIT_OK


def explain(path: str, plan: Merge, say: Say) -> None:
    """Tell what is left to a person."""
    conflicts = list(plan.conflicts.items())
    say(f"CONFLICT ({safe(path)}): {len(conflicts)} to decide; ours stays in place")
    for name, reason in conflicts[:_SHOWN]:
        say(f"    {safe(name)}: {safe(reason)}")
    if len(conflicts) > _SHOWN:
        say(f"    and {len(conflicts) - _SHOWN} more: git lepton status")
    say(f"    to decide: git lepton resolve {typed(path)} --with {'|'.join(ways_out(plan))}")


def _read(place: Path) -> Manifest | None:
    text = place.read_bytes()
    return read_manifest(text) if text else None


def _marker_size(repo: Repo, path: str) -> int:
    """The length of conflict markers outside virtual ancestors."""
    raw = os.fsencode(path)
    value = check_attr(repo, [raw], ["conflict-marker-size"])[raw].get("conflict-marker-size", "")
    return int(value) if value.isascii() and value.isdigit() and int(value) > 0 else _MARKER_SIZE


def policy(repo: Repo) -> tuple[MergeRule, ...]:
    """`[merge]` of the work tree's lepton.toml, or of HEAD's where there is none.

    Raises:
        UsageError: it is not valid, or has conflict markers.
    """
    if repo.work_tree is not None and (repo.work_tree / FILE_NAME).is_file():
        data = (repo.work_tree / FILE_NAME).read_bytes()
        if data.startswith(_MARKER) or b"\n" + _MARKER in data:
            raise UsageError(f"{FILE_NAME} is in conflict itself", hint=f"edit it, then: git add {FILE_NAME}")
        return parse_config(data, name=FILE_NAME).merge
    done = repo.git("cat-file", "blob", f"HEAD:{FILE_NAME}", check=False)
    return parse_config(done.stdout, name=f"HEAD:{FILE_NAME}").merge if done.status == 0 else ()


def sides_of(store: Store, three: Three) -> Files:
    """The three versions as files of the store."""
    found: dict[Whose, FileSide] = {
        "ours": StoredFile(store, three.ours, "ours"),
        "theirs": StoredFile(store, three.theirs, "theirs"),
    }
    if three.base is not None:
        found["base"] = StoredFile(store, three.base, "base")
    return found


def planned(store: Store, three: Three, rules: Sequence[MergeRule], *, fetch: bool = True) -> Merge:
    """Decide, and read what manifests do not tell; without `fetch` only if it is here.

    Raises:
        MissingError: with `fetch`, it is nowhere to be had.
    """
    wanted: dict[Hash, set[Hash]] = {}
    sides: list[tuple[Whose, Manifest]] = [("ours", three.ours), ("theirs", three.theirs)]
    if three.base is not None:
        sides.append(("base", three.base))
    for whose, manifest in sides:
        if wants_metadata(three):
            wanted.setdefault(manifest.blake3, set()).add(manifest.other_hash)
        for decision in growths(three):
            if whose in {"base", decision.grown} and (line := getattr(decision, whose)):
                wanted.setdefault(manifest.blake3, set()).add(line.hash)
    try:
        for digest, streams in wanted.items() if fetch else ():
            bring_streams(store, digest, streams)
        facts = facts_of(three, sides_of(store, three))
    except MissingError:
        if fetch:
            raise
        facts = Facts()
    return merge(three, rules, facts)


def merge_stored(store: Store, three: Three, rules: Sequence[MergeRule], path: str) -> Merged:
    """Merge stored versions, and store the result.

    Args:
        store: has them, or can fetch them.
        three: their manifests.
        rules: see `compare.merge.merge`.
        path: the file's name.

    Raises:
        MissingError: weights are nowhere to be had.
        LeptonError: a rule makes no sense, or stored bytes are corrupt.
    """
    plan = planned(store, three, rules)
    if plan.conflicts:
        return Merged(plan, None)
    whole = plan.whole(three)
    if whole is not None:
        return Merged(plan, three.side(whole))
    _bring(store, three, plan, path)
    with MergedFile(plan, sides_of(store, three), path, spool_folder(store), store.progress) as file:
        # A delta of the base is as small as one of a side, and its chunks are whole more often.
        relatives = [m for m in (three.base, three.ours, three.theirs) if m is not None][:1]
        with BegunPack(store, file, file.layout, file.made, relatives) as begun:
            survey = file.survey(begun)
            manifest = store.add(
                file, path, file_hash=survey.file_hash, candidates=relatives, surveyed=survey, begun=begun
            )
    mergenotes.remember(store.repo, manifest, three, plan)
    return Merged(plan, manifest)


def _bring(store: Store, three: Three, plan: Merge, path: str) -> None:
    """Have the weights here that the merged file is made of."""
    whole = {d.whose for d in plan.kept if not d.is_made} | {d.whose for d in plan.kept if d.outcome == "rows"}
    for whose in ("ours", "theirs"):
        manifest = three.side(whose)
        if manifest is not None and (whose in whole or any(d.is_made for d in plan.kept)):
            bring_or_fail(store, {manifest.blake3: path})
    if three.base is not None:
        read = [d for d in plan.kept if d.is_made or d.whose == "base"]
        streams = {d.base.hash for d in read if d.base is not None}
        if plan.frame.side == "base":
            streams.add(three.base.other_hash)
        if streams:
            bring_streams(store, three.base.blake3, streams)
