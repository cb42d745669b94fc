"""`git lepton promote`: a version is to run on a channel."""

from __future__ import annotations

import click

from git_lepton.cli.releasing import MOVE_EXITS, Asked, expires_option, move_options, moving
from git_lepton.cli.verb import Verb
from git_lepton.errors import UsageError
from git_lepton.release import proposals
from git_lepton.release.names import LIKE_VERSION, Version, split_spec


@click.command(
    "promote",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(
        ("git lepton promote digits@v1.3.0 staging -m 'new glyphs'", "What it would do, and what stands in the way."),
        ("git lepton promote digits prod -m 'a week on staging' --push", "What is on staging goes to prod."),
        ("git lepton promote digits prod -m 'try it' --ring 10% --push", "For a tenth of the agents."),
    ),
)
@click.argument("spec", metavar="MODEL[@vVERSION]")
@click.argument("channel")
@move_options(
    click.option("--ring", default="100%", metavar="PERCENT", help="Share of agents that follow, by a stable hash."),
    expires_option,
    click.option("--pin", is_flag=True, help="Later promotions are refused until somebody resumes the channel."),
)
def command(asked: Asked, spec: str, channel: str, ring: str, expires: str | None, pin: bool) -> int:
    """Let agents run a version of a model.

    Without a version, what the channel before this one has is taken (after = "staging" in lepton.toml), else the
    version of HEAD. The plan shows what lepton.toml asks for: the record at the version's commit must be that of its
    files, its gates must have passed, the channel before must have had it for long enough, and the remote must have
    all weights; those that it lacks and that are here are pushed first.

    Of two people who promote at once one wins, and the other is told who (exit 4).
    """
    model, version = split_spec(spec)
    if version and not LIKE_VERSION.match(version):
        raise UsageError(f"{spec} names a channel, not a version", hint=f"such as {model}@v1.2.0")
    return moving(
        "promote",
        model,
        lambda desk, wish: proposals.promote(desk, Version.parse(version) if version else None, channel, wish, pin=pin),
        asked,
        ring=_percent(ring),
        expires=expires,
    )


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= 100:
        raise UsageError(f"not a share of agents: {text!r}", hint="such as 10%, from 1% to 100%")
    return int(number)
