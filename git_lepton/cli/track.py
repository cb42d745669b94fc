"""`git lepton track`: patterns of files that git-lepton stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from git_lepton.cli.context import note, print_json, repository, say
from git_lepton.cli.verb import Verb, json_option
from git_lepton.drivers import install, track
from git_lepton.drivers.track import TrackReport
from git_lepton.errors import EXIT_OK
from git_lepton.git.repo import Repo, work_tree
from git_lepton.report.table import safe
from git_lepton.report.tracking import patterns_text, tracking_fields, tracking_text
from git_lepton.store.store import Store


@click.command(
    "track",
    cls=Verb,
    examples=(
        ('git lepton track "*.safetensors" "*.onnx"', "Files with these suffixes, here and below."),
        ('git lepton track --renormalize "*.pt"', "Also stage files anew that are committed already."),
        ("git lepton track", "List what is tracked."),
    ),
)
@click.argument("patterns", metavar="[PATTERN...]", nargs=-1)
@click.option("--renormalize", is_flag=True, help="Stage files anew that are in git as raw content.")
@json_option
def command(patterns: tuple[str, ...], renormalize: bool, as_json: bool) -> int:
    """Let git-lepton store files that match a pattern.

    Adds a line for each PATTERN to .gitattributes in the current folder; quote patterns, or the shell expands them.
    What is committed already stays raw in history until 'git lepton migrate import' moves it.
    """
    repo = repository()
    if not patterns:
        return run_list(repo, as_json=as_json)
    return run(repo, patterns=patterns, folder=Path.cwd(), renormalize=renormalize, as_json=as_json)


def run(repo: Repo, *, patterns: Sequence[str], folder: Path, renormalize: bool, as_json: bool) -> int:
    """Track `patterns` below `folder`, and tell what else must be done."""
    work_tree(repo)
    with Store(repo) as store:
        report = track.track(repo, store, patterns, folder)
    # Whoever tracks a pattern before init or install would commit raw weights with the next git add.
    done = install.init(repo).done
    if renormalize:
        track.renormalise(repo, report.to_convert)
    return tell(report, "track", converted=renormalize, setup=done, as_json=as_json)


def run_list(repo: Repo, *, as_json: bool) -> int:
    """List every pattern with the file that has it."""
    work_tree(repo)
    patterns = track.tracked_patterns(repo)
    if as_json:
        print_json("track", {"patterns": [{"file": file, "pattern": pattern} for file, pattern in patterns]})
    else:
        say(patterns_text(patterns))
    return EXIT_OK


def tell(report: TrackReport, verb: str, *, converted: bool, setup: Sequence[str], as_json: bool) -> int:
    """Print what was done to .gitattributes, and what remains to do."""
    if as_json:
        fields = tracking_fields(report.changed, report.unchanged, report.to_convert, report.collisions)
        print_json(verb, {**fields, "renormalized": converted})
        return EXIT_OK
    say(tracking_text(report.changed, report.unchanged, report.to_convert, verb=verb, converted=converted))
    for line in setup:
        note(f"note: {line}")
    for group in report.collisions:
        names = ", ".join(map(safe, group))
        note(f"warning: these are one file on systems that do not tell case or Unicode forms apart: {names}")
    return EXIT_OK
