"""`git lepton untrack`: patterns of files that git shall store itself again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from git_lepton.cli.context import repository
from git_lepton.cli.track import tell
from git_lepton.cli.verb import Verb, json_option
from git_lepton.drivers import track
from git_lepton.git.repo import Repo, work_tree
from git_lepton.store.store import Store


@click.command(
    "untrack",
    cls=Verb,
    examples=(
        ('git lepton untrack "*.npz"', "From the next add on, git stores these files itself."),
        ('git lepton untrack --renormalize "*.npz"', "And stage them as raw content now."),
    ),
)
@click.argument("patterns", metavar="PATTERN...", nargs=-1, required=True)
@click.option("--renormalize", is_flag=True, help="Stage files anew that are in git as manifests.")
@json_option
def command(patterns: tuple[str, ...], renormalize: bool, as_json: bool) -> int:
    """Give files that match a pattern back to git.

    Takes the attributes of git-lepton from the line of each PATTERN in .gitattributes of the current folder. Versions
    that are stored stay.
    """
    return run(repository(), patterns=patterns, folder=Path.cwd(), renormalize=renormalize, as_json=as_json)


def run(repo: Repo, *, patterns: Sequence[str], folder: Path, renormalize: bool, as_json: bool) -> int:
    """Stop tracking `patterns` below `folder`, and tell what else must be done."""
    work_tree(repo)
    with Store(repo) as store:
        report = track.untrack(repo, store, patterns, folder)
    if renormalize:
        track.renormalise(repo, report.to_convert)
    return tell(report, "untrack", converted=renormalize, setup=(), as_json=as_json)
