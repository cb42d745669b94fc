"""`git lepton verify`: look at everything that a channel rests on."""

from __future__ import annotations

import time
from pathlib import Path

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.releasing import model_and_channel, signers_option
from git_lepton.cli.verb import Verb, json_option
from git_lepton.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.release import policy, verification
from git_lepton.release.channels import release_remote
from git_lepton.release.desk import Desk
from git_lepton.release.signing import trust_of
from git_lepton.report.releases import finding_fields, findings_text, move_fields
from git_lepton.store.store import Store


@click.command(
    "verify",
    cls=Verb,
    exits=(EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton verify digits@prod", "What an agent would find."),
        ("git lepton verify digits@prod --allowed-signers deploy/signers", "By the list that the agents have."),
    ),
)
@click.argument("spec", metavar="MODEL@CHANNEL")
@signers_option
@click.option("--unsigned", is_flag=True, help="Leave the signature out, for teams that trust whoever may push.")
@json_option
def command(spec: str, allowed_signers: Path | None, unsigned: bool, as_json: bool) -> int:
    """Check a channel as an agent does before it swaps, without running anything.

    That it is a well-formed tag of this very channel, signed by somebody who may; that the log ends with it and lacks
    nothing; that it has not expired; that the version tag, the record, the gates' verdicts and the files of the commit
    are what the tag names; that the remote has all weights, without downloading them.
    """
    if unsigned and allowed_signers is not None:
        raise UsageError("--unsigned and --allowed-signers exclude each other")
    model, channel = model_and_channel(spec)
    return run(
        repository(),
        model=model,
        channel=channel,
        allowed_signers=allowed_signers,
        signed=not unsigned,
        as_json=as_json,
    )


def run(repo: Repo, *, model: str, channel: str, allowed_signers: Path | None, signed: bool, as_json: bool) -> int:
    """Print what was found; the exit code is that of the worst of it.

    Raises:
        UsageError: there is no such channel.
    """
    trust = trust_of(repo, allowed_signers) if signed else None
    with Store(repo) as store:
        desk = Desk(store, model, release_remote(repo))
        found = desk.channel(channel)
        if found is None:
            raise UsageError(f"there is no channel {model}@{channel} on {desk.remote}", hint="git lepton channels")
        findings = verification.check(desk, found, trust, signed=signed, now=time.time())
    code = policy.exit_code(findings)
    if as_json:
        fields = {
            "model": model,
            "channel": channel,
            "tag": found.tag_oid,
            "move": None if found.move is None else move_fields(found.move),
            "findings": [finding_fields(finding) for finding in findings],
            "exit_code": code,
        }
        print_json("verify", fields)
    else:
        say(f"{model}@{channel} on {desk.remote}: {'as it should be' if code == EXIT_OK else 'not to be followed'}")
        say(findings_text(findings))
    return code
