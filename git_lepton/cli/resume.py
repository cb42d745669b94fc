"""`git lepton resume`: a halt or a pin ends."""

from __future__ import annotations

from pathlib import Path

import click

from git_lepton.cli.releasing import MOVE_EXITS, expires_option, move_options, moving
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.release import proposals


@click.command(
    "resume",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(("git lepton resume digits prod -m 'incident 42 is over' --push", "Agents follow the channel again."),),
)
@click.argument("model")
@click.argument("channel")
@click.option("-m", "--message", "why", default="", metavar="WHY", help="Why; it goes into the tag.")
@expires_option
@move_options
@json_option
@quiet_option
def command(
    model: str,
    channel: str,
    why: str,
    expires: str | None,
    push: bool,
    sign: bool | None,
    allowed_signers: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """End a halt or a pin: the version that the channel had is wanted, and may be promoted over.

    In the log it is a promotion of that version to the same share of agents.
    """
    return moving(
        "resume",
        model,
        lambda desk, wish: proposals.resume(desk, channel, wish),
        why=why,
        push=push,
        sign=sign,
        allowed_signers=allowed_signers,
        as_json=as_json,
        quiet=quiet,
        expires=expires,
    )
