"""`git lepton resume`: a halt or a pin ends."""

from __future__ import annotations

import click

from git_lepton.cli.releasing import MOVE_EXITS, Asked, expires_option, move_options, moving
from git_lepton.cli.verb import Verb
from git_lepton.release import proposals


@click.command(
    "resume",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(("git lepton resume digits prod -m 'incident 42 is over' --push", "Agents follow the channel again."),),
)
@click.argument("model")
@click.argument("channel")
@move_options(expires_option, needs_why=False)
def command(asked: Asked, model: str, channel: str, expires: str | None) -> int:
    """End a halt or a pin: the version that the channel had is wanted, and may be promoted over.

    In the log it is a promotion of that version to the same share of agents.
    """
    return moving("resume", model, lambda desk, wish: proposals.resume(desk, channel, wish), asked, expires=expires)
