"""`git lepton du`: what each version costs."""

from __future__ import annotations

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.verb import Verb, json_option
from git_lepton.errors import EXIT_OK, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.report.upkeep import usage_fields, usage_text
from git_lepton.store.store import Store
from git_lepton.transfer.need import NeedFinder
from git_lepton.upkeep.usage import usage


@click.command(
    "du",
    cls=Verb,
    exits=(EXIT_REFUSED,),
    examples=(("git lepton du", "All versions, the oldest first, with the bytes that each one added."),),
)
@json_option
def command(as_json: bool) -> int:
    """Show for each version the size of the file, the bytes that it added, and the total saved.

    A chunk counts for the oldest version that has it. Versions that nothing names any more come first; 'git lepton
    prune' deletes them.
    """
    return run(repository(), as_json=as_json)


def run(repo: Repo, *, as_json: bool) -> int:
    """Print what every version in history or in the store costs."""
    with Store(repo) as store:
        rows = usage(store, NeedFinder(repo, store.objects).for_all())
    if as_json:
        print_json("du", usage_fields(rows))
    else:
        say(usage_text(rows))
    return EXIT_OK
