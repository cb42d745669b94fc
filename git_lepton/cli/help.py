"""`git lepton help [COMMAND]`."""

from __future__ import annotations

import click

from git_lepton.cli.verb import Verb
from git_lepton.errors import EXIT_OK, UsageError


@click.command(
    "help",
    cls=Verb,
    examples=(("git lepton help push", "Show what push does, its options and its exit codes."),),
)
@click.argument("words", metavar="[COMMAND]", nargs=-1)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Show the help of a command, or the list of all commands."""
    root = ctx.parent
    assert root is not None
    return run(root, words)


def run(root: click.Context, words: tuple[str, ...]) -> int:
    """Print the help of the command that `words` name below `root`.

    Raises:
        UsageError: there is no such command.
    """
    context = root
    for word in words:
        group = context.command
        found = group.get_command(context, word) if isinstance(group, click.Group) else None
        if found is None:
            raise UsageError(f"'{word}' is not a command", hint="'git lepton help' lists all commands")
        context = click.Context(found, info_name=word, parent=context)
    click.echo(context.get_help())
    return EXIT_OK
