"""`git lepton checkout`: stored weights to the work tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from git_lepton.cli import export
from git_lepton.cli.context import note, print_json, progress, repository, rev_and_paths, say
from git_lepton.cli.verb import PathVerb, json_option, quiet_option
from git_lepton.compare.mergevalues import SIDES, Whose
from git_lepton.drivers.conflicts import checkout_side
from git_lepton.drivers.worktree import Written, checkout_paths, materialise
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.status import unwritten_text, written_fields, written_text
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED


@click.command(
    "checkout",
    cls=PathVerb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton checkout", "Write weights wherever a manifest stands in for them."),
        ("git lepton checkout v1.0 -- models/", "Take weights of a tag, and stage them, as git checkout does."),
        (
            "git lepton checkout HEAD~3 -t 'head.*' -o head.safetensors -- model.safetensors",
            "Only some tensors, to a file of their own.",
        ),
        ("git lepton checkout --theirs model.safetensors", "During a merge, try the other side's model."),
    ),
)
@click.argument("words", metavar="[REV] [PATH...]", nargs=-1)
@click.option("-f", "--force", is_flag=True, help="Also over files whose changes are stored nowhere.")
@click.option("--ours", "side", flag_value="ours", help="Of files in conflict, the version of this branch.")
@click.option("--theirs", "side", flag_value="theirs", help="Of files in conflict, the version that is merged.")
@click.option("--base", "side", flag_value="base", help="Of files in conflict, the common ancestor.")
@click.option("-t", "--tensor", "tensors", metavar="GLOB", multiple=True, help="Only these tensors; needs -o.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Where tensors go.")
@json_option
@quiet_option
def command(
    words: tuple[str, ...],
    paths: tuple[Path, ...],
    force: bool,
    side: str | None,
    tensors: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write stored weights to the work tree; faster than git checkout, which holds each file in memory.

    Without arguments, files that still hold a manifest get their weights. With REV or PATH the weights of REV (or of
    the index) are written; changes that are stored nowhere are never overwritten without --force.
    """
    repo = repository()
    rev, chosen = rev_and_paths(repo, words, paths)
    if side is not None:
        if rev is not None or tensors or output is not None or force:
            raise UsageError(f"--{side} takes a side of a conflict, so it needs paths and nothing else")
        return run_side(repo, whose=SIDES[side], paths=chosen, as_json=as_json, quiet=quiet)
    if tensors or output is not None:
        if not tensors or output is None or len(chosen) != 1:
            raise UsageError("--tensor needs one path and -o FILE", hint="git lepton help checkout shows an example")
        return export.run(repo, rev=rev or STAGED, path=chosen[0], output=output, tensors=tensors, quiet=quiet)
    return run(repo, rev=rev, paths=chosen, force=force, as_json=as_json, quiet=quiet)


def run(repo: Repo, *, rev: str | None, paths: Sequence[str], force: bool, as_json: bool, quiet: bool) -> int:
    """Write weights; 8 when some are nowhere to be had, 5 when some are damaged."""
    with Store(repo, progress=progress(quiet)) as store:
        if rev is None and not paths and not force:
            written = materialise(repo, store)
        else:
            written = checkout_paths(repo, store, rev or STAGED, paths, force=force)
    return answer("checkout", written, as_json=as_json)


def run_side(repo: Repo, *, whose: Whose, paths: Sequence[str], as_json: bool, quiet: bool) -> int:
    """Write one side of files in conflict; they stay in conflict."""
    with Store(repo, progress=progress(quiet)) as store:
        written = checkout_side(repo, store, whose, paths)
    return answer("checkout", written, as_json=as_json)


def answer(verb: str, written: Written, *, as_json: bool) -> int:
    """Print what came of it."""
    if as_json:
        print_json(verb, written_fields(written.written, written.size, written.kept, written.deleted, written.missing))
    else:
        say(written_text(written.written, written.size, written.kept, written.deleted))
    return tell_unwritten(written)


def tell_unwritten(written: Written) -> int:
    """Explain on standard error which files could not be written; the exit status."""
    if not written.missing:
        return EXIT_OK
    note(unwritten_text(written.missing))
    if written.damaged:
        note("hint: git lepton fsck tells what is damaged, and how to heal it")
        return EXIT_REFUSED
    note("hint: git lepton pull --from URL asks another place")
    return EXIT_MISSING
