"""`git lepton halt`: agents keep what they have."""

from __future__ import annotations

import click

from git_lepton.cli.releasing import MOVE_EXITS, Asked, move_options, moving
from git_lepton.cli.verb import Verb
from git_lepton.release import proposals


@click.command(
    "halt",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(
        ("git lepton halt digits prod -m 'incident 42' --push", "Nothing changes on any agent until it is resumed."),
    ),
)
@click.argument("model")
@click.argument("channel")
@move_options()
def command(asked: Asked, model: str, channel: str) -> int:
    """Let agents keep what they have, whatever that is.

    Promotions are refused until 'git lepton resume' or a rollback ends the halt.
    """
    return moving("halt", model, lambda desk, wish: proposals.halt(desk, channel, wish), asked)
