"""`git lepton migrate info|import|export`: raw weights and git-lfs files in, and everything out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.options import SizeType, agreed, dry_run_option, yes_option
from git_lepton.cli.verb import Verb, VerbGroup, json_option, quiet_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_RACE_LOST, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.migrate.export import execute_export, plan_export
from git_lepton.migrate.import_ import execute_import, plan_import
from git_lepton.migrate.info import survey
from git_lepton.migrate.plan import Plan, Report, Request
from git_lepton.report.migration import (
    plan_fields,
    plan_text,
    report_fields,
    report_text,
    survey_fields,
    survey_text,
)
from git_lepton.store.store import Store

_EXITS = (EXIT_RACE_LOST, EXIT_REFUSED, EXIT_MISSING)


def _which(function: Callable[..., int]) -> Callable[..., int]:
    """The options that choose paths and refs."""
    for option in reversed(
        (
            click.argument("refs", metavar="[REF...]", nargs=-1),
            click.option(
                "-I", "--include", metavar="PATTERN", multiple=True, help="Only these files; as in .gitattributes."
            ),
            click.option("-X", "--exclude", metavar="PATTERN", multiple=True, help="Not these files."),
            click.option("--above", metavar="SIZE", type=SizeType(), default=0, help="Only from this size: 500k, 10m."),
            click.option("--everything", is_flag=True, help="All branches and tags."),
        )
    ):
        function = option(function)
    return function


def _how(function: Callable[..., int]) -> Callable[..., int]:
    """The options of what rewrites."""
    for option in reversed(
        (
            click.option("--no-rewrite", is_flag=True, help="Leave history alone: one new commit on this branch."),
            click.option("-m", "--message", metavar="TEXT", help="Message of that new commit."),
            click.option(
                "--object-map",
                metavar="FILE",
                type=click.Path(path_type=Path, dir_okay=False),
                help="Write a line '<old id> <new id>' for every commit and tag that changed.",
            ),
            dry_run_option,
            yes_option,
            json_option,
            quiet_option,
        )
    ):
        function = option(function)
    return function


@click.group(
    "migrate",
    cls=VerbGroup,
    exits=_EXITS,
    examples=(
        ("git lepton migrate info --everything", "Which files fill the history, and what to import."),
        ('git lepton migrate import -I "*.safetensors" --dry-run', "What an import would do."),
        ("git lepton migrate import --everything", "Everything that git-lfs tracks, on all branches and tags."),
        ('git lepton migrate import -I "*.pt" --no-rewrite', "From now on: history stays as it is."),
        ("git lepton migrate export", "All weights back to raw files."),
    ),
)
def command() -> None:
    """Bring raw weights and git-lfs files in, or take weights out.

    'info' looks, 'import' and 'export' change: by default they rewrite the branch that is checked out, so that
    old versions are stored too. They print a plan and ask first; the old refs are kept below refs/original/lepton.
    """


@command.command("info", cls=Verb, examples=(("git lepton migrate info", "What fills this branch's history."),))
@_which
@json_option
def info(
    refs: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    above: int,
    everything: bool,
    as_json: bool,
) -> int:
    """Show which kinds of files fill the history, and suggest an import."""
    found = survey(repository(), refs=refs, everything=everything, above=above, include=include, exclude=exclude)
    if as_json:
        print_json("migrate-info", survey_fields(found))
    else:
        say(survey_text(found))
    return EXIT_OK


@command.command(
    "import",
    cls=Verb,
    exits=_EXITS,
    examples=(('git lepton migrate import -I "*.onnx" main', "ONNX files of one branch."),),
)
@_which
@_how
@click.option("--skip-missing", is_flag=True, help="Leave git-lfs pointers alone whose content is not to be had.")
def import_(skip_missing: bool, **options: Any) -> int:
    """Store raw weights and git-lfs files with git-lepton.

    Without --include, everything that git-lfs tracks; its content is taken from its local storage, and asked of
    git-lfs where it is missing.
    """

    def execute(store: Store, plan: Plan, **how: Any) -> Report:
        return execute_import(store, plan, skip_missing=skip_missing, **how)

    return _run(repository(), plan_import, execute, **options)


@command.command(
    "export",
    cls=Verb,
    exits=_EXITS,
    examples=(('git lepton migrate export -I "small/**" --no-rewrite', "Give some files back to git from now on."),),
)
@_which
@_how
def export(**options: Any) -> int:
    """Turn weights back into raw files in git; without --include, all of them."""
    return _run(repository(), plan_export, execute_export, **options)


def _run(
    repo: Repo,
    make_plan: Callable[[Repo, Request], Plan],
    execute: Callable[..., Report],
    *,
    object_map: Path | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    quiet: bool,
    **request: Any,
) -> int:
    """Plan, print, ask, do."""
    plan = make_plan(repo, Request(**request))
    if as_json and (dry_run or plan.empty):
        print_json("migrate-plan", plan_fields(plan))
        return EXIT_OK
    if not as_json:
        say(plan_text(plan))
    if plan.empty or not agreed("Carry this out?", yes=yes, dry_run=dry_run):
        return EXIT_OK
    with Store(repo, warn=note) as store:
        report = execute(store, plan, progress=progress(quiet), object_map=object_map)
    if as_json:
        print_json("migrate-report", report_fields(report))
    else:
        say(report_text(report))
    return EXIT_OK
