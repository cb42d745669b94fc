"""`git lepton push`: weights that a remote lacks; what the pre-push hook does, and more."""

from __future__ import annotations

from collections.abc import Sequence

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.remote import push_remote, remote_and_revs, settle_store_url
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_RACE_LOST
from git_lepton.git.repo import Repo
from git_lepton.report.transfers import push_fields, push_text
from git_lepton.store.store import Store
from git_lepton.transfer.need import NeedFinder
from git_lepton.transfer.push import push_needed, push_versions
from git_lepton.transfer.remotes import store_remote


@click.command(
    "push",
    cls=Verb,
    exits=(EXIT_RACE_LOST, EXIT_MISSING),
    examples=(
        ("git lepton push --dry-run", "What the next push will send, and whether the host takes it."),
        ("git lepton push origin v1.0", "All weights in the history of a tag."),
        ("git lepton push --all backup", "All weights of all branches and tags."),
    ),
)
@click.argument("words", metavar="[REMOTE] [REV...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All versions of all history.")
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be sent, and what it costs.")
@json_option
@quiet_option
def command(words: tuple[str, ...], everything: bool, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Send weights that a remote lacks.

    A plain 'git push' does this by itself where the hooks are installed; run it for a clone without hooks, to mend a
    remote, or to fill another one. Takes the history of each REV (HEAD by default). Only chunks that the remote lacks
    are sent, in pieces that hosts accept; an interrupted push goes on where it was.
    """
    repo = repository()
    remote, revs = remote_and_revs(repo, words)
    settle_store_url(repo, tell=False)
    return run(
        repo,
        remote=store_remote(repo, remote or push_remote(repo)),
        revs=revs or ("HEAD",),
        everything=everything,
        dry_run=dry_run,
        as_json=as_json,
        quiet=quiet,
    )


def run(
    repo: Repo,
    *,
    remote: str,
    revs: Sequence[str],
    everything: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Have on `remote` all versions that the history of `revs`, or all history, names.

    Raises:
        MissingError: some are neither there nor here nor on another remote; the others were pushed.
    """
    with Store(repo, progress=progress(quiet)) as store:
        finder = NeedFinder(repo, store.objects)
        needs = finder.for_all() if everything else finder.for_history(revs)
        report = push_versions(store, remote, needs, dry_run=True) if dry_run else push_needed(store, remote, needs)
    if as_json:
        print_json("push", push_fields(report, needs, remote, dry_run=dry_run))
        return EXIT_OK
    say(push_text(report, needs, remote, dry_run=dry_run))
    for line in report.notes:
        note(f"note: {line}")
    return EXIT_OK
