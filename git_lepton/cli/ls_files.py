"""`git lepton ls-files`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from git_lepton.cli.context import note, print_json, repository, rev_and_paths, say
from git_lepton.cli.verb import PathVerb, json_option
from git_lepton.errors import EXIT_OK, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.report.listing import files_json, files_text
from git_lepton.report.table import safe
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at


@click.command(
    "ls-files",
    cls=PathVerb,
    exits=(EXIT_REFUSED,),
    examples=(
        ("git lepton ls-files", "What is staged: '*' where the weights are in this repository, '-' where not."),
        ("git lepton ls-files -s v1.0", "Weight files of a tag, with sizes and formats."),
        ("git lepton ls-files --tensors HEAD -- model.safetensors", "The tensors of one file."),
    ),
)
@click.argument("words", metavar="[REV] [PATH...]", nargs=-1)
@click.option("-l", "--long", is_flag=True, help="Print whole hashes.")
@click.option("-s", "--size", "sizes", is_flag=True, help="Print the size and the format of each file.")
@click.option("-t", "--tensors", is_flag=True, help="Print type, shape and name of each tensor.")
@json_option
def command(
    words: tuple[str, ...], paths: tuple[Path, ...], long: bool, sizes: bool, tensors: bool, as_json: bool
) -> int:
    """List weight files that git-lepton keeps in REV, or in the index.

    A file is listed because of what is committed, whatever .gitattributes says today.
    """
    repo = repository()
    rev, chosen = rev_and_paths(repo, words, paths)
    return run(repo, rev=rev or STAGED, paths=chosen, long=long, sizes=sizes, tensors=tensors, as_json=as_json)


def run(repo: Repo, *, rev: str, paths: Sequence[str], long: bool, sizes: bool, tensors: bool, as_json: bool) -> int:
    """List the weight files of `rev`; 5 when a path begins like a manifest and holds none."""
    with Store(repo) as store:
        listing = files_at(repo, store.objects, rev, paths)
        here = {file.manifest.blake3 for file in listing.files if store.has(file.manifest.blake3)}
    if as_json:
        print_json("ls-files", files_json(listing.files, listing.broken, here, tensors=tensors))
    elif listing.files:
        say(files_text(listing.files, here, long=long, sizes=sizes, tensors=tensors))
    for path, error in listing.broken:
        note(f"{safe(path)}: {error.message}")
    return EXIT_REFUSED if listing.broken else EXIT_OK
