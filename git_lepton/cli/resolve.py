"""`git lepton resolve`: decide about tensors that both sides of a merge changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from git_lepton.cli.context import print_json, progress, relative, repository, say
from git_lepton.cli.strategy import StrategyType
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.compare.merge import ways_out
from git_lepton.compare.mergevalues import Merge
from git_lepton.config.values import MergeRule
from git_lepton.drivers.conflicts import resolve
from git_lepton.drivers.unmerged import unmerged
from git_lepton.errors import EXIT_DIFFERS, EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.merging import conflict_text, merge_fields, merged_text
from git_lepton.store.store import Store


@click.command(
    "resolve",
    cls=Verb,
    exits=(EXIT_DIFFERS, EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton resolve model.safetensors --with ties", "Merge the values that both branches changed."),
        ("git lepton resolve model.safetensors --with theirs --tensors 'head.*'", "Decide about some tensors first."),
        ("git lepton resolve . --with task-arithmetic:theirs=0.5", "All weight files, with half of their changes."),
        ("git lepton resolve model.safetensors", "Merge again by lepton.toml, which was changed or fetched."),
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--with", "strategy", type=StrategyType(), metavar="STRATEGY[:NAME=NUMBER,...]", help="What to do.")
@click.option("--tensors", metavar="GLOB", multiple=True, help="Only with tensors whose names match.")
@json_option
@quiet_option
def command(
    paths: tuple[Path, ...], strategy: MergeRule | None, tensors: tuple[str, ...], as_json: bool, quiet: bool
) -> int:
    """Decide about tensors that both sides of a merge changed; stages the file when nothing is left.

    STRATEGY is ours, theirs, base, average, slerp, task-arithmetic, ties or dare-ties; docs/lepton-toml.md lists their
    numbers. What only one side changed is merged in any case. Rules of lepton.toml come after this one.
    """
    if tensors and strategy is None:
        raise UsageError("--tensors says where, and --with must say what", hint="--with ours --tensors 'head.*'")
    rules = [replace(strategy, tensors=glob) for glob in tensors or ("*",)] if strategy else []
    repo = repository()
    return run(repo, relative(repo, paths), rules, as_json=as_json, quiet=quiet)


def _left(path: str, plan: Merge) -> str:
    """What is left of a file, and what to type."""
    return conflict_text(path, plan.conflicts, ways_out(plan))


def run(repo: Repo, paths: list[str], rules: list[MergeRule], *, as_json: bool, quiet: bool) -> int:
    """Resolve each file; 1 when something is left."""
    fields = []
    left = 0
    with Store(repo, progress=progress(quiet)) as store:
        chosen = [file.path for file in unmerged(repo, store, paths)]
        if not chosen:
            raise UsageError(
                f"no weight file is in conflict at {', '.join(paths)}", hint="git lepton status lists conflicts"
            )
        for path in chosen:
            merged = resolve(repo, store, path, rules)
            left += merged.manifest is None
            fields.append(merge_fields(path, merged.plan, merged.manifest.blake3 if merged.manifest else None))
            if not as_json:
                say(merged_text(path, merged.plan) if merged.manifest else _left(path, merged.plan))
    if as_json:
        print_json("resolve", {"files": fields})
    return EXIT_DIFFERS if left else EXIT_OK
