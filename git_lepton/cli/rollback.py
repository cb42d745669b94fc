"""`git lepton rollback`: back to what a channel had before."""

from __future__ import annotations

import click

from git_lepton.cli.releasing import MOVE_EXITS, Asked, expires_option, move_options, moving
from git_lepton.cli.verb import Verb
from git_lepton.errors import UsageError
from git_lepton.release import proposals
from git_lepton.release.names import Version


@click.command(
    "rollback",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(
        ("git lepton rollback digits prod -m 'wrong on 7s' --push", "To the release before this one."),
        ("git lepton rollback digits prod --to 1.2.0 -m 'known good' --push", "To one that the channel once had."),
    ),
)
@click.argument("model")
@click.argument("channel")
@move_options(
    click.option("--to", metavar="VERSION", help="A version that the channel has served."),
    click.option("--steps", type=click.IntRange(min=1), metavar="N", help="So many releases back (default: 1)."),
    expires_option,
)
def command(asked: Asked, model: str, channel: str, to: str | None, steps: int | None, expires: str | None) -> int:
    """Let agents run an earlier release of a channel again.

    A rollback is a new move with the next number, so that agents follow it, to exactly the files that were signed when
    the channel had them. Gates, order and soaking were passed then and are not asked again; a halt or a pin ends with
    it. A second rollback leads further back, never to a release that was taken back.
    """
    if to is not None and steps is not None:
        raise UsageError("--to and --steps exclude each other")
    version = None if to is None else Version.parse(to)
    return moving(
        "rollback",
        model,
        lambda desk, wish: proposals.rollback(desk, channel, wish, to=version, steps=steps or 1),
        asked,
        expires=expires,
    )
