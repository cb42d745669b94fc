"""`git lepton fetch`: weights from a remote into the repository; the work tree stays."""

from __future__ import annotations

from collections.abc import Sequence

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.remote import remote_and_revs, settle_store_url, sources
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.report.transfers import MISSING_ADVICE, fetch_fields, fetch_text, missing_text
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED
from git_lepton.transfer.fetch import FetchReport, bring, forget_incomplete
from git_lepton.transfer.need import NeedFinder, Needs, origin


@click.command(
    "fetch",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton fetch", "Everything that is staged."),
        ("git lepton fetch origin v1.0 v2.0", "Two revisions, from one remote."),
        ("git lepton fetch --all", "Every version that any branch, tag or commit in their history names."),
        ("git lepton fetch --from ssh://host/other.git", "What is missing, from another place that has it."),
    ),
)
@click.argument("words", metavar="[REMOTE] [REV...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All versions of all history.")
@click.option("--from", "others", metavar="URL", multiple=True, help="Ask this place instead; may be repeated.")
@json_option
@quiet_option
def command(words: tuple[str, ...], everything: bool, others: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Bring weights from a remote into the repository.

    Only chunks that are not here are transferred. Without REMOTE the likely ones are asked in turn: the store that
    lepton.toml names, the upstream of the branch, origin, all others. An interrupted fetch goes on where it was.
    """
    repo = repository()
    remote, revs = remote_and_revs(repo, words)
    settle_store_url(repo)
    asked = list(others) or sources(repo, remote)
    return run(repo, remotes=asked, revs=revs or (STAGED,), everything=everything, as_json=as_json, quiet=quiet)


def run(
    repo: Repo, *, remotes: Sequence[str], revs: Sequence[str], everything: bool, as_json: bool, quiet: bool
) -> int:
    """Bring what `revs` need, or all history; 8 when something is nowhere to be had."""
    with Store(repo, progress=progress(quiet)) as store:
        needs = needed(store, revs, everything=everything)
        forget_incomplete(store, needs)
        report = bring(store, needs, remotes=remotes)
        if as_json:
            print_json("fetch", fetch_fields(report, needs))
        else:
            say(fetch_text(report, needs))
        return tell_missing(store, report, needs)


def needed(store: Store, revs: Sequence[str], *, everything: bool = False) -> Needs:
    """The versions that the trees of `revs` name (`STAGED` for the index), or those of all history."""
    finder = NeedFinder(store.repo, store.objects)
    if everything:
        return finder.for_all()
    needs: Needs = {}
    for rev in revs:
        for version, places in finder.for_tree(rev).items():
            needs.setdefault(version, []).extend(places)
    return needs


def tell_missing(store: Store, report: FetchReport, needs: Needs) -> int:
    """Explain on standard error what could not be had; the exit status."""
    if not report.missing:
        return EXIT_OK
    origins = {version: origin(store.repo, needs[version][0]) for version in report.missing}
    note(missing_text(report.missing, needs, origins))
    note(f"hint: {MISSING_ADVICE}")
    return EXIT_MISSING
