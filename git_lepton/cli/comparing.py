"""What `diff`, `show` and `log` have in common: options, comparing two sides, and printing what differs.

Structure comes from manifests alone. Numbers need chunks: those of tensors that differ are brought first, and where
they cannot be had, the structure is the answer, with one line on standard error that says why.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

import click

from git_lepton.cli.context import note
from git_lepton.cli.options import SizeType
from git_lepton.cli.verb import collect, json_option, quiet_option
from git_lepton.compare.numbers import NumberOptions, measure
from git_lepton.compare.sides import Side, StoredFile
from git_lepton.compare.structure import compare, wanted_facts, wanted_streams
from git_lepton.compare.summary import summarise
from git_lepton.compare.values import Comparison
from git_lepton.errors import MissingError
from git_lepton.progress import Progress
from git_lepton.report.diff import Look
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring_streams
from git_lepton.values import Hash

_PLAIN: Final = str.maketrans({"→": "->", "Δ": "d", "…": "~", "█": "#"})
"""For terminals that do not know these characters."""
_COLUMNS: Final = 80
_ALLOCATIONS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants to know of two sides.

    Attributes:
        numbers: how far tensors lie apart, not only which ones changed.
        tensors: only tensors whose names match one of these patterns; empty for all.
        sample: read about so many bytes of a tensor at most; None for no limit.
        histogram: bins of the histograms of the change; 0 for none.
        fetch: bring what is not here.
    """

    numbers: bool = True
    tensors: tuple[str, ...] = ()
    sample: int | None = None
    histogram: int = 0
    fetch: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say that every comparison has.

    Attributes:
        stat: one line a file; nothing is fetched or decoded.
        as_json: print JSON.
        tensors, sample: see `Wish`.
        no_numbers: what changed, not how far.
        quiet: show no progress bar.
    """

    stat: bool
    as_json: bool
    tensors: tuple[str, ...]
    no_numbers: bool
    sample: int | None
    quiet: bool

    def wish(self, *, histogram: int = 0) -> Wish:
        """What is to be told of the two sides."""
        numbers, fetch = not (self.no_numbers or self.stat), not self.stat
        return Wish(numbers=numbers, tensors=self.tensors, sample=self.sample, histogram=histogram, fetch=fetch)


comparison_options = collect(
    Asked,
    click.option("--stat", is_flag=True, help="Print one line a file; nothing is fetched or decoded."),
    json_option,
    click.option(
        "--tensors", metavar="GLOB", multiple=True, help="Only tensors whose names match, with all their figures."
    ),
    click.option("--no-numbers", is_flag=True, help="Say what changed, not how far; no weights are needed."),
    click.option(
        "--sample", type=SizeType(), metavar="SIZE", help="Read about so many bytes of a tensor at most: estimates."
    ),
    quiet_option,
)
"""The options that say what to compare and how to print it."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Let the garbage collector look less often.

    A manifest of many tensors is tens of thousands of objects that live to the end; to look at them again and again
    costs a tenth of the time, and finds nothing.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def compared(store: Store | None, before: Side, after: Side, wish: Wish, progress: Progress) -> Comparison:
    """Compare two sides; what cannot be had is left out, and standard error says why.

    Args:
        store: where weights of manifests are, or are brought to; None outside a repository.
        before: the older side.
        after: the newer side.
        wish: what to tell.
        progress: told of weights that are read.

    Raises:
        CorruptError, ChangedError, UsageError: of the sides.
    """
    lacking = _lacking(store, before, after) if wish.fetch else set()
    why = ""
    if store is not None and lacking and not wish.tensors:
        why = _bring(store, wanted_facts(before, after), lacking)
    comparison = compare(before, after, with_facts=not wish.tensors)
    if wish.tensors:
        comparison = only(comparison, before, after, wish.tensors)
    if wish.numbers and not why:
        if store is not None and lacking:
            why = _bring(store, wanted_streams(comparison, before, after), lacking)
        if not why:
            comparison, why = _measured(comparison, before, after, wish, progress)
    if why:
        note(f"only what the manifests tell: {why}")
    return comparison


def _lacking(store: Store | None, before: Side, after: Side) -> set[Hash]:
    """Versions of which only the manifest is here."""
    if store is None:
        return set()
    stored = (file for side in (before, after) for file in side.files.values() if isinstance(file, StoredFile))
    return {file.manifest.blake3 for file in stored if not store.has(file.manifest.blake3)}


def _bring(store: Store, wanted: Mapping[Hash, AbstractSet[Hash]], lacking: AbstractSet[Hash]) -> str:
    """Have these streams here; returns why that cannot be, or nothing."""
    try:
        for digest in sorted(wanted.keys() & lacking):
            bring_streams(store, digest, wanted[digest])
    except MissingError as error:
        return error.message
    return ""


def _measured(
    comparison: Comparison, before: Side, after: Side, wish: Wish, progress: Progress
) -> tuple[Comparison, str]:
    """The comparison with numbers; or as it was, and why."""
    options = NumberOptions(sample=wish.sample, histogram=wish.histogram)
    try:
        measured = measure(comparison, before, after, options, progress)
    except MissingError as error:
        return comparison, error.message
    return replace(measured, summary=summarise(measured, before, after)), ""


def only(comparison: Comparison, before: Side, after: Side, globs: tuple[str, ...]) -> Comparison:
    """Of a comparison, the tensors whose newer or older name matches one of `globs`, and nothing else."""
    files = []
    for file in comparison.files:
        tensors = tuple(
            change
            for change in file.tensors
            if any(fnmatchcase(ref.name, glob) for ref in (change.before, change.after) if ref for glob in globs)
        )
        if tensors:
            files.append(replace(file, tensors=tensors, facts=(), opaque=False))
    chosen = replace(comparison, files=tuple(files))
    return replace(chosen, summary=summarise(chosen, before, after))


def look(*, details: bool = False) -> Look:
    """What standard output can show."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return Look(
        columns=shutil.get_terminal_size((_COLUMNS, 24)).columns,
        colour=colour,
        blocks=_can_print("█▏→Δ…"),
        details=details,
    )


def show(text: str) -> None:
    """Print text of which names are safe already; characters that standard output cannot take are replaced."""
    if not _can_print(text):
        encoding = sys.stdout.encoding
        text = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True
