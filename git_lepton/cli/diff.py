"""`git lepton diff`: what changed in models, and how far."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from git_lepton import atomic
from git_lepton.cli.comparing import Asked, Wish, compared, comparison_options, look, rarely_collected, show
from git_lepton.cli.context import note, print_json, progress, relative, repository
from git_lepton.cli.sides import are_two_paths, check_paths, of_paths, of_words
from git_lepton.cli.verb import PathVerb
from git_lepton.compare.mergevalues import SIDES, Whose
from git_lepton.compare.sides import Side
from git_lepton.compare.values import Comparison
from git_lepton.drivers.unmerged import compared_sides
from git_lepton.errors import EXIT_DIFFERS, EXIT_NOT_MEASURED, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report import html
from git_lepton.report.diff import diff_text, for_reading, stat_text
from git_lepton.report.diff_json import comparison_fields
from git_lepton.report.review import ModelReview, ReviewReport
from git_lepton.report.review_md import MARKER, comment
from git_lepton.store.store import Store

_OUTSIDE: Final = "outside a repository, name two files or two folders: git lepton diff OLD NEW"


@click.command(
    "diff",
    cls=PathVerb,
    exits=(EXIT_DIFFERS, EXIT_REFUSED, EXIT_NOT_MEASURED),
    examples=(
        ("git lepton diff", "What the work tree has that is not staged."),
        ("git lepton diff --cached", "What the next commit changes."),
        ("git lepton diff main...feature", "What a branch did to the models since it left main."),
        ("git lepton diff v1.0 v1.1 --tensors '*.attention.*'", "Some tensors of two versions, with all figures."),
        ("git lepton diff a.safetensors b.safetensors", "Two files, in git or not."),
        ("git lepton diff --theirs", "During a conflict: how the work tree differs from the other side."),
        ("git lepton diff HEAD~1 --html change.html", "A page with a heat map and histograms."),
    ),
)
@click.argument("words", metavar="[A [B] | A..B | A...B | FILE FILE]", nargs=-1)
@click.option("--cached", "--staged", "cached", is_flag=True, help="Compare with the index, not with the work tree.")
@click.option("--base", "side", flag_value="base", help="Of files in conflict: from the common ancestor.")
@click.option("--ours", "side", flag_value="ours", help="Of files in conflict: from the version of this branch.")
@click.option("--theirs", "side", flag_value="theirs", help="Of files in conflict: from the one that is merged.")
@click.option("--no-index", is_flag=True, help="Compare two files or folders, whatever git knows of them.")
@comparison_options
@click.option("--md", is_flag=True, help="Print Markdown, to paste.")
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this file."
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when weights differ.")
@rarely_collected()
def command(
    asked: Asked,
    words: tuple[str, ...],
    paths: tuple[Path, ...],
    cached: bool,
    side: str | None,
    no_index: bool,
    md: bool,
    page: Path | None,
    exit_code: bool,
) -> int:
    """Show what changed in weight files: which layers, by how much, and what differs beside the tensors.

    Revisions are named as for git diff: none compares the index with the work tree, one compares it with the work
    tree, two with each other. Numbers need the weights of what changed, and fetch them; a bar is as long as the norm
    of a change is large by the norm of what was there before.
    """
    if sum((asked.stat, asked.as_json, md, page is not None)) > 1:
        raise UsageError("--stat, --json, --md and --html are forms of one answer: choose one")
    wish = asked.wish(histogram=html.BINS if page is not None else 0)
    repo = repository() if side is not None else _repository(words, no_index)
    if side is not None and (cached or no_index):
        raise UsageError(f"--{side} compares a side of a conflict with the work tree, and takes paths only")
    whose = None if side is None else SIDES[side]
    comparison = run(repo, words, paths, cached=cached, no_index=no_index, whose=whose, wish=wish, quiet=asked.quiet)
    _print(comparison, asked, md=md, page=page)
    return EXIT_DIFFERS if exit_code and (comparison.files or comparison.damaged) else EXIT_OK


def run(
    repo: Repo | None,
    words: tuple[str, ...],
    paths: tuple[Path, ...],
    *,
    cached: bool,
    no_index: bool,
    wish: Wish,
    quiet: bool,
    whose: Whose | None = None,
) -> Comparison:
    """Compare what the words name; `repo` is None outside any repository, `whose` a side of files in conflict."""
    bar = progress(quiet)
    if repo is None:
        return compared(None, *of_paths(words, None), wish, bar)
    with Store(repo, progress=bar, warn=note) as store:
        sides: tuple[Side, Side]
        if whose is not None:
            check_paths(repo, words)
            sides = compared_sides(repo, store, whose, relative(repo, [*map(Path, words), *paths]))
        elif no_index or (not cached and are_two_paths(repo, words, paths)):
            sides = of_paths([*words, *map(str, paths)], store)
        else:
            sides = of_words(repo, store, words, paths, cached=cached)
        return compared(store, *sides, wish, bar)


def _repository(words: tuple[str, ...], no_index: bool) -> Repo | None:
    """The repository that we are in; None where there is none and none is needed."""
    try:
        return repository()
    except UsageError as error:
        if no_index or (len(words) == 2 and any(map(os.path.lexists, words))):
            return None
        raise UsageError(error.message, hint=_OUTSIDE) from error


def _print(comparison: Comparison, asked: Asked, *, md: bool, page: Path | None) -> None:
    if asked.as_json:
        print_json("diff", comparison_fields(comparison))
        return
    comparison = for_reading(comparison)
    if md:
        show(comment(review(comparison)).removeprefix(f"{MARKER}\n").removesuffix("\n"))
    elif page is not None:
        atomic.write_file(page, html.page(review(comparison)).encode())
        note(f"written: {page}")
    elif asked.stat:
        show(stat_text(comparison, look()))
    else:
        show(diff_text(comparison, look(details=bool(asked.tensors))))


def review(comparison: Comparison) -> ReviewReport:
    """A comparison as a review without gates and without costs."""
    return ReviewReport(comparison, tuple(ModelReview(file, None, ()) for file in comparison.files))
