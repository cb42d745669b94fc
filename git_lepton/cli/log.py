"""`git lepton log`: the history of models, one line of what changed for each file of a commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from git_lepton.cli import diary
from git_lepton.cli.comparing import Asked, Wish, comparison_options, look, rarely_collected, show
from git_lepton.cli.context import note, print_json, progress, repository
from git_lepton.cli.history import history
from git_lepton.cli.sides import check_paths, from_top, require_commits
from git_lepton.cli.verb import PathVerb, offline_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.diff import files_text, stat_lines
from git_lepton.report.diff_json import commit_fields, comparison_fields
from git_lepton.report.history import commit_text, told_text
from git_lepton.store.store import Store

_MERGED: Final = " (merged; against the first parent)"
_COUNT: Final = re.compile(r"-[0-9]+")


class LogVerb(PathVerb):
    """Takes the number of commits as `-3`, too, as git log does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell the number as an option has it, then parse."""
        end = args.index("--") if "--" in args else len(args)
        spelled = [f"--max-count={word[1:]}" if _COUNT.fullmatch(word) else word for word in args[:end]]
        return super().parse_args(ctx, spelled + args[end:])


@click.command(
    "log",
    cls=LogVerb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton log", "Commits that changed weights, with a line for each file."),
        ("git lepton log -p -3", "The last three of them, with the layers that changed and how far."),
        ("git lepton log v1.0..main -- models/bert.safetensors", "What happened to one model since a version."),
        ("git lepton log digits@prod", "The diary of a channel: each move, who and why."),
        ("git lepton log digits@prod --at 2026-05-03", "What was wanted then."),
    ),
)
@click.argument("words", metavar="[REV...] [PATH...] | MODEL@CHANNEL", nargs=-1)
@click.option("-p", "--patch", is_flag=True, help="Show the layers that changed, with numbers where weights are here.")
@click.option(
    "-n",
    "--max-count",
    type=click.IntRange(min=0),
    metavar="COUNT",
    help="Show at most so many commits; -COUNT for short.",
)
@click.option(
    "--at", metavar="TIME", help="Of a channel: what was wanted at 2026-05-03, '2026-05-03 12:00', or 3d ago."
)
@offline_option
@comparison_options
@rarely_collected()
def command(
    asked: Asked,
    words: tuple[str, ...],
    paths: tuple[Path, ...],
    patch: bool,
    max_count: int | None,
    at: str | None,
    offline: bool,
) -> int:
    """Show the commits that changed weight files, the newest first, and what each changed.

    Revisions and ranges are those of git log. A merge that made a file which no parent has is compared with its first
    parent. Nothing is fetched: numbers of weights that are not here are left out.

    Of MODEL@CHANNEL, the moves are shown that the channel has seen, as the remote has them: when, from which version to
    which, who signed, and why. (Commits up to what its tag points to: refs/tags/MODEL@CHANNEL.)
    """
    if len(words) == 1 and not paths and diary.names_channel(words[0]):
        return diary.run(repository(), words[0], at=at, limit=max_count, offline=offline, as_json=asked.as_json)
    if at is not None or offline:
        option = "--offline" if at is None else "--at"
        raise UsageError(f"{option} is about one channel", hint="such as git lepton log digits@prod --at 2026-05-03")
    wish = Wish(numbers=patch and not asked.no_numbers, tensors=asked.tensors, sample=asked.sample, fetch=False)
    repo = repository()
    revs, chosen = _revs_and_paths(repo, words, paths)
    with Store(repo, progress=progress(asked.quiet), warn=note) as store:
        found = history(store, revs, chosen, wish, limit=max_count)
        if asked.as_json:
            entries = [commit_fields(one.commit) | comparison_fields(one.comparison) for one in found]
            print_json("log", {"commits": entries})
            return EXIT_OK
        style = look(details=bool(asked.tensors))
        for number, one in enumerate(found):
            told = (one.comparison.summary,) if asked.stat or patch else one.told
            mark = _MERGED if len(one.commit.parents) > 1 else ""
            text = told_text((f"{line}{mark}" for line in told), style)
            text += f"\n{stat_lines(one.comparison, style)}" if asked.stat else ""
            text += f"\n\n{files_text(one.comparison, style)}" if patch and not asked.stat else ""
            show("\n" * (number > 0) + commit_text(one.commit, text, style))
    return EXIT_OK


def _revs_and_paths(repo: Repo, words: Sequence[str], paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Tell revisions and ranges from the paths that follow them; paths are then from the top of the work tree.

    Raises:
        UsageError: a word is neither, or nothing was committed yet.
    """
    revs = []
    for word in words:
        if not _selects_commits(repo, word):
            break
        revs.append(word)
    rest = words[len(revs) :]
    check_paths(repo, rest)
    if not revs:
        require_commits(repo)
    return revs, from_top(repo, rest, paths)


def _selects_commits(repo: Repo, word: str) -> bool:
    """Whether git log takes this word for a revision or a range."""
    return bool(repo.git("rev-parse", "--revs-only", "--end-of-options", word, check=False).stdout.strip())
