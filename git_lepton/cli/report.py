"""`git lepton report`: what a range of commits does to the models, for the people who review it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from git_lepton import atomic
from git_lepton.cli.comparing import Wish, compared, show
from git_lepton.cli.context import note, print_json, progress, relative, repository
from git_lepton.cli.options import SizeType
from git_lepton.cli.sides import split
from git_lepton.cli.verb import PathVerb, json_option, quiet_option
from git_lepton.compare.sides import Side, at_revision
from git_lepton.compare.values import Comparison
from git_lepton.errors import EXIT_NOT_MEASURED, EXIT_OK, EXIT_REFUSED, FrameError, UsageError
from git_lepton.git.repo import Repo
from git_lepton.record.locating import entries
from git_lepton.record.record import FOLDER, parse
from git_lepton.record.values import Record
from git_lepton.report import html
from git_lepton.report.review import GateRow, ModelReview, ReviewReport
from git_lepton.report.review_gates import gate_rows, unreadable
from git_lepton.report.review_json import review_fields
from git_lepton.report.review_md import comment
from git_lepton.store.store import Store
from git_lepton.upkeep.added import added
from git_lepton.values import Hash

_ADDRESS: Final = re.compile(r"https?://[^\s<>\"']+")
_OBJECT: Final = re.compile(r"[0-9a-f]{40,64}")
_SHORT: Final = 10
_OUTDATED: Final = "the record is of other weights: git lepton gate judges these"
_MISSING: Final = "weights of what changed are nowhere to be had, so how far it moved is not known"


@click.command(
    "report",
    cls=PathVerb,
    exits=(EXIT_REFUSED, EXIT_NOT_MEASURED),
    examples=(
        ("git lepton report main...feature", "The comment for a pull request, as Markdown."),
        ("git lepton report v1.0..v1.1 --html report.html", "A page to open in a browser or to keep with a build."),
        ('git lepton report "$BASE...$HEAD" --md --html page.html --link "$PAGE"', "Both, in CI."),
    ),
)
@click.argument("span", metavar="BASE..HEAD")
@click.option("--md", is_flag=True, help="Print Markdown; this is what is printed when nothing else is asked for.")
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this file."
)
@json_option
@click.option("--link", metavar="URL", default="", help="Where the full report will be, for the comment to name.")
@click.option(
    "--sample", type=SizeType(), metavar="SIZE", help="Read about so many bytes of a tensor at most: estimates."
)
@quiet_option
def command(
    span: str,
    paths: tuple[Path, ...],
    md: bool,
    page: Path | None,
    as_json: bool,
    link: str,
    sample: int | None,
    quiet: bool,
) -> int:
    """Tell what the commits between BASE and HEAD do to the models: layers, sizes, metadata, stored bytes.

    BASE..HEAD compares the two; BASE...HEAD compares HEAD with the commit where it left BASE, as a pull request does.
    Weights that are needed and not here are fetched, no more than the tensors that changed.

    The Markdown begins with a marker that readers do not see, so that a bot can find and update its comment, and stays
    below 60,000 characters: what is least important is left out first, and the comment says so.
    """
    if md and as_json:
        raise UsageError("--md and --json both print: choose one")
    if link and not _ADDRESS.fullmatch(link):
        raise UsageError(f"--link takes a web address, not {link!r}")
    wish = Wish(sample=sample, histogram=html.BINS if page is not None else 0)
    report = replace(review(repository(), span, paths, wish, quiet=quiet), link=link)
    if page is not None:
        atomic.write_file(page, html.page(report).encode())
        note(f"written: {page}")
    if as_json:
        print_json("report", review_fields(report))
    elif md or page is None:
        show(comment(report).removesuffix("\n"))
    return EXIT_OK


def review(repo: Repo, span: str, paths: Sequence[Path], wish: Wish, *, quiet: bool) -> ReviewReport:
    """Compare the two ends of `span`, and count what the newer one adds.

    Raises:
        UsageError: `span` is no range of two revisions.
    """
    bar = progress(quiet)
    (older, newer), names = _ends(repo, span)
    chosen = relative(repo, paths) if paths else []
    with Store(repo, progress=bar, warn=note) as store:
        before = at_revision(store, older, chosen, name=names[0])
        after = at_revision(store, newer, chosen, name=names[1])
        comparison = compared(store, before, after, wish, bar)
        counts = added(store, _versions(before), _versions(after))
        gates = _gates(store, older, newer, before, after)
    models = [
        ModelReview(
            file,
            counts[after.files[file.after].manifest.blake3] if file.after else 0,
            tuple(line.name for line in after.files[file.after].manifest.tensors) if file.after else (),
        )
        for file in comparison.files
    ]
    missing = _MISSING if _lacks_numbers(comparison) else ""
    return ReviewReport(comparison, tuple(models), tuple(gates), missing)


def _ends(repo: Repo, span: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two revisions of a range as git takes them, and as people read them."""
    dots = "..." if "..." in span else ".."
    if dots not in span:
        raise UsageError(f"'{span}' is no range of revisions", hint=f"git lepton report {span}..HEAD")
    revisions, _ = split(repo, [span])
    if len(revisions) != 2:
        raise UsageError(f"'{span}' is a file, not a range of revisions")
    older, newer = revisions
    start, _, end = span.partition(dots)
    first = f"{_shown(start)} (merge base)" if dots == "..." else _shown(start)
    return (older.name, newer.name), (first, _shown(end))


def _gates(store: Store, older: str, newer: str, before: Side, after: Side) -> list[GateRow]:
    """What records that these commits brought, or left behind, say of gates; one of other weights says nothing."""
    old = {path: blob for path, _, blob in entries(store.repo, older, FOLDER)}
    rows: list[GateRow] = []
    for path, _, blob in entries(store.repo, newer, FOLDER):
        brought = old.get(path) != blob
        if not path.endswith(".toml"):
            continue
        try:
            record = parse(bytes(store.objects.read(blob)[1]), name=path)
        except FrameError as error:
            rows += [unreadable(Path(path).stem, error.message)] if brought else []
            continue
        if not _is_of(record, after):
            rows += [unreadable(record.model, _OUTDATED)] if brought or _is_of(record, before) else []
        elif brought:
            rows += gate_rows(record)
    return rows


def _is_of(record: Record, after: Side) -> bool:
    """Whether the weights of a record are those of the newer side, as far as these are looked at."""
    paths = ((f"{record.root}/{file.path}" if record.root else file.path, file) for file in record.files)
    return all(after.files[path].manifest.blake3 == file.blake3 for path, file in paths if path in after.files)


def _shown(rev: str) -> str:
    """A revision as people write it; CI names commits by their whole ids."""
    return rev[:_SHORT] if _OBJECT.fullmatch(rev) else rev or "HEAD"


def _versions(side: Side) -> list[Hash]:
    return [file.manifest.blake3 for file in side.files.values()]


def _lacks_numbers(comparison: Comparison) -> bool:
    """Whether there are tensors that have other bytes, and no numbers."""
    changes = (change for file in comparison.files for change in file.tensors)
    return not comparison.numbers and any(c.before and c.after and c.before.hash != c.after.hash for c in changes)
