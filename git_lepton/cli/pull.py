"""`git lepton pull`: fetch weights and write them to the work tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from git_lepton.cli.checkout import answer
from git_lepton.cli.context import progress, repository
from git_lepton.cli.remote import remote_and_paths, settle_store_url, sources
from git_lepton.cli.verb import PathVerb, json_option, quiet_option
from git_lepton.drivers.worktree import materialise
from git_lepton.errors import EXIT_MISSING, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store


@click.command(
    "pull",
    cls=PathVerb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton pull", "Bring and write all weights that the work tree lacks."),
        ("git lepton pull models/small", "Only these."),
        ("git lepton pull --from ssh://host/other.git", "From another place that has them."),
    ),
)
@click.argument("words", metavar="[REMOTE] [PATH...]", nargs=-1)
@click.option("--from", "others", metavar="URL", multiple=True, help="Ask this place instead; may be repeated.")
@json_option
@quiet_option
def command(
    words: tuple[str, ...], paths: tuple[Path, ...], others: tuple[str, ...], as_json: bool, quiet: bool
) -> int:
    """Fetch weights and write them wherever the work tree still holds a manifest.

    This heals a clone that was made without git-lepton, without network, or before the weights were pushed. Commits
    are not touched: that is git pull.
    """
    repo = repository()
    remote, chosen = remote_and_paths(repo, words, paths)
    settle_store_url(repo)
    asked = list(others) or sources(repo, remote)
    return run(repo, remotes=asked, paths=chosen, as_json=as_json, quiet=quiet)


def run(repo: Repo, *, remotes: Sequence[str], paths: Sequence[str], as_json: bool, quiet: bool) -> int:
    """Bring what `paths` (all, when empty) lack; 8 when something is nowhere to be had."""
    with Store(repo, progress=progress(quiet)) as store:
        written = materialise(repo, store, paths, remotes=remotes)
    return answer("pull", written, as_json=as_json)
