"""`git lepton merge-models`: merge weight files that are not in a merge of git."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from git_lepton import atomic
from git_lepton.cli.context import note, print_json, progress, say
from git_lepton.cli.strategy import StrategyType
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.compare.merge import merge, ways_out
from git_lepton.compare.merged import MergedFile, facts_of
from git_lepton.compare.mergevalues import Merge, Three, Whose
from git_lepton.compare.sides import FileOnDisk
from git_lepton.config.values import MergeRule
from git_lepton.errors import EXIT_DIFFERS, EXIT_NOT_MEASURED, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.report.merging import left_text, merge_fields, merged_text
from git_lepton.store.manifest import PREFIX

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    "merge-models",
    cls=Verb,
    exits=(EXIT_DIFFERS, EXIT_REFUSED, EXIT_NOT_MEASURED),
    examples=(
        (
            "git lepton merge-models a.safetensors b.safetensors --base base.safetensors --with ties -o m.safetensors",
            "What two fine-tunes of one model learned.",
        ),
        (
            "git lepton merge-models a.safetensors b.safetensors --with slerp:weight=0.3 -o c.safetensors",
            "Between two models, closer to the first.",
        ),
    ),
)
@click.argument("ours", metavar="A", type=_FILE)
@click.argument("theirs", metavar="B", type=_FILE)
@click.option("--base", metavar="FILE", type=_FILE, help="What both come from.")
@click.option(
    "--with",
    "strategy",
    type=StrategyType(),
    metavar="STRATEGY[:NAME=NUMBER,...]",
    help="What to do with tensors that both changed.",
)
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(path_type=Path), help="The merged file.")
@json_option
@quiet_option
def command(
    ours: Path, theirs: Path, base: Path | None, strategy: MergeRule | None, output: Path, as_json: bool, quiet: bool
) -> int:
    """Merge two weight files as 'git merge' would, without a repository.

    A is ours and B is theirs. With --base, tensors that one of them changed are taken from it, and --with is for those
    that both changed; without, --with is for all that differ. STRATEGY is one of docs/lepton-toml.md, or base.
    """
    return run(ours, theirs, base, [strategy] if strategy else [], output, as_json=as_json, quiet=quiet)


def run(
    ours: Path,
    theirs: Path,
    base: Path | None,
    rules: list[MergeRule],
    output: Path,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    """Merge and write; 1 when something is left to decide, and nothing is written then."""
    places: dict[Whose, Path] = {"ours": ours, "theirs": theirs}
    if base is not None:
        places["base"] = base
    bar = progress(quiet)
    for place in places.values():
        with place.open("rb") as stream:
            if stream.read(len(PREFIX)) == PREFIX:
                raise UsageError(f"{place} is a manifest", hint="git lepton pull brings its weights")
    files = {whose: FileOnDisk(place, progress=bar) for whose, place in places.items()}
    three = Three(
        files["base"].manifest if base is not None else None, files["ours"].manifest, files["theirs"].manifest
    )
    plan = merge(three, rules, facts_of(three, files))
    if plan.conflicts:
        if as_json:
            print_json("merge-models", merge_fields(str(output), plan, None))
        else:
            note(left_text(str(output), plan.conflicts))
            note(f"nothing was written; --with {'|'.join(ways_out(plan))} says what to do")
        return EXIT_DIFFERS
    _write(plan, three, files, places, output, quiet)
    if as_json:
        print_json("merge-models", merge_fields(str(output), plan, FileOnDisk(output).manifest.blake3))
    else:
        say(merged_text(str(output), plan))
    return EXIT_OK


def _write(
    plan: Merge,
    three: Three,
    files: dict[Whose, FileOnDisk],
    places: dict[Whose, Path],
    output: Path,
    quiet: bool,
) -> None:
    whole = plan.whole(three)
    if whole is not None:
        with atomic.writer(output) as out, places[whole].open("rb") as source:
            shutil.copyfileobj(source, out)
        return
    folder = output.absolute().parent
    with MergedFile(plan, files, output.name, folder, progress(quiet)) as merged, atomic.writer(output) as out:
        for part in merged.blocks():
            out.write(part)
