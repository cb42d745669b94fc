"""`git lepton install`: this user."""

from __future__ import annotations

import click

from git_lepton.cli.context import say
from git_lepton.cli.verb import Verb
from git_lepton.drivers import install
from git_lepton.errors import EXIT_OK
from git_lepton.git.repo import require_git


@click.command(
    "install",
    cls=Verb,
    examples=(
        ("git lepton install", "Once on each machine: from then on git clone brings weights by itself."),
        ("git lepton install --uninstall", "Take it out of the user's git configuration again."),
    ),
)
@click.option("--uninstall", is_flag=True, help="Undo it.")
def command(uninstall: bool) -> int:
    """Set up git for this user, so that git clone just works.

    Writes the filter into the user's git configuration; a repository without weights is not touched by it.
    """
    return run(uninstall=uninstall)


def run(*, uninstall: bool) -> int:
    """Change the user's git configuration, and tell what was done."""
    require_git()
    for line in install.uninstall() if uninstall else install.install():
        say(line)
    return EXIT_OK
