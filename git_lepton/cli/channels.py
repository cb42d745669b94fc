"""`git lepton channels`: which version is where, since when, who put it there and why."""

from __future__ import annotations

import time
from pathlib import Path

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.releasing import signers_option
from git_lepton.cli.verb import Verb, json_option, offline_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED
from git_lepton.git.objects import open_reader
from git_lepton.git.repo import Repo
from git_lepton.release.channels import asked, mirrored, refresh, release_remote
from git_lepton.release.history import stamp
from git_lepton.release.names import check_name
from git_lepton.release.signing import signature_of, trust_of
from git_lepton.report.releases import Row, channel_fields, channels_text


@click.command(
    "channels",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton channels", "All models and channels of the remote."),
        ("git lepton channels digits --json", "Those of one model, for a program."),
    ),
)
@click.argument("model", required=False)
@offline_option
@signers_option
@json_option
def command(model: str | None, offline: bool, allowed_signers: Path | None, as_json: bool) -> int:
    """Show the channels: model, channel, version, since when, who and why.

    The remote is asked (lepton.releaseRemote, else origin): git never updates a tag that a clone has, so a plain
    'git tag' shows what was true some day. Signatures are looked at where git knows whose count
    (gpg.ssh.allowedSignersFile). Exit 5 when a channel is damaged or its signature is bad.
    """
    return run(repository(), model=model, offline=offline, allowed_signers=allowed_signers, as_json=as_json)


def run(repo: Repo, *, model: str | None, offline: bool, allowed_signers: Path | None, as_json: bool) -> int:
    """Print the channels; EXIT_REFUSED when one is not to be believed."""
    remote, trust = release_remote(repo), trust_of(repo, allowed_signers)
    if model is not None:
        check_name(model, "model")
    if not offline:
        refresh(repo, remote, model=model)
    objects = open_reader(repo)
    try:
        found = [c for c in mirrored(repo, objects, remote) if model in {None, c.model}]
    finally:
        objects.close()
    rows = [Row(c, signature_of(repo, c.tag_oid, signed=c.tag.signed and not c.deleted, trust=trust)) for c in found]
    as_of = asked(repo, remote) if offline else None
    now = time.time()
    if as_json:
        fields = [channel_fields(row, now) for row in rows]
        print_json("channels", {"remote": remote, "as_of": stamp(as_of or now), "channels": fields})
    else:
        say(channels_text(rows, remote, now, as_of))
    bad = any(row.channel.flaw or row.signature.state == "bad" for row in rows)
    return EXIT_REFUSED if bad else EXIT_OK
