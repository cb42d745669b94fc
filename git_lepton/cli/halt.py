"""`git lepton halt`: agents keep what they have."""

from __future__ import annotations

from pathlib import Path

import click

from git_lepton.cli.releasing import MOVE_EXITS, move_options, moving, why_option
from git_lepton.cli.verb import Verb, json_option, quiet_option
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
@why_option
@move_options
@json_option
@quiet_option
def command(
    model: str,
    channel: str,
    why: str,
    push: bool,
    sign: bool | None,
    allowed_signers: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Let agents keep what they have, whatever that is.

    Promotions are refused until 'git lepton resume' or a rollback ends the halt.
    """
    return moving(
        "halt",
        model,
        lambda desk, wish: proposals.halt(desk, channel, wish),
        why=why,
        push=push,
        sign=sign,
        allowed_signers=allowed_signers,
        as_json=as_json,
        quiet=quiet,
    )
