"""`git lepton trust`: let what lepton.toml names run in this clone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from git_lepton.cli.context import note, print_json, repository, say
from git_lepton.cli.verb import Verb, json_option
from git_lepton.config.reading import parse
from git_lepton.errors import EXIT_REFUSED, UntrustedError, UsageError
from git_lepton.gate import trust
from git_lepton.git.repo import Repo, work_tree
from git_lepton.report.table import safe
from git_lepton.transfer import remotes


@click.command(
    "trust",
    cls=Verb,
    exits=(EXIT_REFUSED,),
    examples=(
        ("git lepton trust --show", "What lepton.toml would run, and whether it may."),
        ("git lepton trust", "Look at it, and allow it after a question."),
        ("git lepton trust --revoke", "Take every permission of this clone back."),
    ),
)
@click.option("--show", is_flag=True, help="Only show what would run.")
@click.option("--revoke", is_flag=True, help="Take back everything that was ever allowed in this clone.")
@click.option("-y", "--yes", is_flag=True, help="Allow without a question, as in CI.")
@json_option
def command(show: bool, revoke: bool, yes: bool, as_json: bool) -> int:
    """Let commands and functions of lepton.toml run in this clone.

    Gates may name shell commands and functions of the repository. They run only after they were allowed here, and
    again only when they, the files that they name, and what these import have not changed since. The permission stays
    in this clone: it is never committed or pushed.
    """
    if show + revoke + yes > 1 or (as_json and not show):
        raise UsageError("--show, --revoke and --yes exclude each other, and --json goes with --show")
    repo = repository()
    if revoke:
        count = trust.revoke(repo)
        say(f"{count} permission{'' if count == 1 else 's'} taken back")
        return 0
    return run(repo, show=show, yes=yes, as_json=as_json)


def run(repo: Repo, *, show: bool, yes: bool, as_json: bool) -> int:
    """Show what would run in the work tree; unless `show`, allow it, asking first unless `yes`."""
    work_tree(repo)
    text, name = remotes.settings_text(repo)
    found = trust.runnables(parse(text, name=name), trust.work_tree_reader(repo))
    refused = trust.untrusted(repo, found)
    if as_json:
        print_json("trust", {"trusted": not refused, "runs": [_fields(each, each not in refused) for each in found]})
        return 0
    if not found:
        say("lepton.toml names no command and no function")
        return 0
    _print(found if show else refused, refused)
    if show or not refused:
        if not show:
            say("everything that lepton.toml would run is allowed already")
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise UntrustedError("nobody is there to ask", hint="when all of this is right: git lepton trust --yes")
        if not click.confirm("Let these run in this clone, with your rights?", err=True):
            note("nothing was allowed")
            return EXIT_REFUSED
    trust.allow(repo, refused)
    say(f"allowed in this clone: {len(refused)}")
    return 0


def _print(found: Sequence[trust.Runnable], refused: Sequence[trust.Runnable]) -> None:
    for each in found:
        say(f"{each.kind}  ({'not allowed' if each in refused else 'allowed'}; {', '.join(each.where)})")
        for line in each.text.split("\n"):
            say(f"    {safe(line)}")
        for path, digest in each.files:
            say(f"      {digest[:12]}  {safe(path)}")
        if each.kind == "function" and not each.files:
            say("      not in this repository: of an installed package")


def _fields(each: trust.Runnable, trusted: bool) -> dict[str, object]:
    files = [{"path": path, "blake3": digest} for path, digest in each.files]
    return {
        **{"kind": each.kind, "text": each.text, "where": list(each.where)},
        **{"hash": each.hash, "trusted": trusted, "files": files},
    }
