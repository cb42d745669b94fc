"""`git lepton show`: one commit, and what it did to the models."""

from __future__ import annotations

from pathlib import Path

import click

from git_lepton.cli.comparing import Asked, comparison_options, look, rarely_collected, show
from git_lepton.cli.context import note, print_json, progress, repository
from git_lepton.cli.history import one_commit
from git_lepton.cli.sides import one_rev
from git_lepton.cli.verb import PathVerb
from git_lepton.errors import EXIT_OK, EXIT_REFUSED
from git_lepton.report.diff_json import commit_fields, comparison_fields
from git_lepton.report.history import commit_page
from git_lepton.store.store import Store


@click.command(
    "show",
    cls=PathVerb,
    exits=(EXIT_REFUSED,),
    examples=(
        ("git lepton show", "What the last commit did to the models."),
        ("git lepton show v1.1 -- models", "The commit of a tag, and only what lies in one folder."),
    ),
)
@click.argument("words", metavar="[REV] [PATH...]", nargs=-1)
@comparison_options
@rarely_collected()
def command(
    asked: Asked,
    words: tuple[str, ...],
    paths: tuple[Path, ...],
) -> int:
    """Show a commit, HEAD unless another one is named, and what it changed in weight files.

    A merge is compared with its first parent. Numbers need the weights of what changed, and fetch them.
    """
    repo = repository()
    rev, chosen = one_rev(repo, words, paths)
    with Store(repo, progress=progress(asked.quiet), warn=note) as store:
        commit, comparison = one_commit(store, rev, chosen, asked.wish())
    if asked.as_json:
        print_json("show", commit_fields(commit) | comparison_fields(comparison))
    else:
        show(commit_page(commit, comparison, look(details=bool(asked.tensors)), stat=asked.stat))
    return EXIT_OK
