"""`git lepton status`: what changed, what adding it costs, what is not pushed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from git_lepton.cli.context import note, print_json, progress, repository, rev_and_paths, say
from git_lepton.cli.remote import push_remote
from git_lepton.cli.verb import PathVerb, json_option, quiet_option
from git_lepton.drivers import worktree
from git_lepton.drivers.conflicts import explained
from git_lepton.drivers.unmerged import is_rebasing, unmerged
from git_lepton.errors import EXIT_MISSING, EXIT_NOT_MEASURED, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.attributes import check_attr
from git_lepton.git.repo import Repo, work_tree
from git_lepton.report.merging import WHILE_REBASING, conflict_fields, conflict_text
from git_lepton.report.status import FileRow, Outgoing, status_fields, status_text
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at
from git_lepton.transfer.need import NeedFinder
from git_lepton.transfer.push import push_versions
from git_lepton.transfer.remotes import store_remote
from git_lepton.upkeep.preview import preview_add, push_cost, unpushed

_ADDABLE = ("modified", "new")


@click.command(
    "status",
    cls=PathVerb,
    exits=(EXIT_REFUSED, EXIT_NOT_MEASURED, EXIT_MISSING),
    examples=(
        ("git lepton status", "Files that changed, what git add would store, what the next push would send."),
        ("git lepton status --ask", "Ask the remote which versions it lacks."),
    ),
)
@click.option("--ask", is_flag=True, help="Ask the remote instead of remembering the last push.")
@json_option
@quiet_option
def command(paths: tuple[Path, ...], ask: bool, as_json: bool, quiet: bool) -> int:
    """Show weight files that changed, and what adding and pushing them will cost.

    \b
    modified   another content than the index has
    new        not in git yet, but its name is tracked by git-lepton
    manifest   the text stands in for weights that are in this repository
    missing    the text stands in for weights that are not here
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    repo = repository()
    _, chosen = rev_and_paths(repo, (), paths)
    return run(repo, paths=chosen, ask=ask, as_json=as_json, quiet=quiet)


def run(repo: Repo, *, paths: Sequence[str], ask: bool, as_json: bool, quiet: bool) -> int:
    """Print the state of all weight files, or of `paths`; 5 when the index holds a broken manifest."""
    with Store(repo, progress=progress(quiet)) as store:
        rows = list(_rows(repo, store, paths))
        broken = files_at(repo, store.objects, STAGED, paths).broken
        outgoing = _outgoing(repo, store, ask=ask)
        conflicts = [explained(repo, store, file) for file in unmerged(repo, store, paths)]
    if as_json:
        reasons = {left.path: left.reasons for left in conflicts}
        print_json("status", {**status_fields(rows, broken, outgoing), "conflicts": conflict_fields(reasons)})
    else:
        say(status_text(rows, broken, outgoing))
        for left in conflicts:
            say(conflict_text(left.path, left.reasons, left.ways))
        if conflicts and is_rebasing(repo):
            say(WHILE_REBASING)
        for fault in sorted({left.fault for left in conflicts} - {""}):
            note(f"rules of merging are left out here: {fault}")
    return EXIT_REFUSED if broken else EXIT_OK


def _rows(repo: Repo, store: Store, paths: Sequence[str]) -> Iterator[FileRow]:
    top = work_tree(repo)
    for file in worktree.status(repo, store, paths):
        if file.state in _ADDABLE:
            preview = preview_add(store, top / file.path, file.path)
            yield FileRow(file.path, file.state, preview.size, file.manifest.blake3, preview)
        else:
            yield FileRow(file.path, file.state, file.manifest.size, file.manifest.blake3, None)
    for path in _untracked(repo, paths):
        preview = preview_add(store, top / path, path)
        yield FileRow(path, "new", preview.size, None, preview)


def _untracked(repo: Repo, paths: Sequence[str]) -> list[str]:
    """Files that git does not know and does not ignore, and whose name git-lepton tracks."""
    specs = [b":(top,literal)" + os.fsencode(path) for path in paths if path != "."]
    output = repo.git("ls-files", "--others", "--exclude-standard", "-z", "--full-name", "--", *specs).stdout
    names = [name for name in output.split(b"\0") if name]
    attributes = check_attr(repo, names, ("filter",))
    return [os.fsdecode(name) for name in names if attributes[name].get("filter") == "lepton"]


def _outgoing(repo: Repo, store: Store, *, ask: bool) -> Outgoing | None:
    """What a push would send; None where there is no remote to push to."""
    try:
        name = push_remote(repo)
    except UsageError:
        if ask:
            raise
        return None
    if not ask:
        needs = unpushed(store, name)
        return Outgoing(name, needs, push_cost(store, needs), asked=False, notes=())
    remote = store_remote(repo, name)
    needs = NeedFinder(repo, store.objects).for_history(["HEAD"])
    report = push_versions(store, remote, needs, dry_run=True)
    lacking = {version: needs[version] for version in (*report.pushed, *report.missing)}
    return Outgoing(remote, lacking, report.cost, asked=True, notes=report.notes)
