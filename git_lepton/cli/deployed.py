"""`git lepton deployed`: what agents say they run."""

from __future__ import annotations

import time

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.verb import Verb, json_option, offline_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.objects import ObjectReader, open_reader
from git_lepton.git.repo import Repo
from git_lepton.release import channels, status
from git_lepton.release.deployed import Running, from_prometheus, from_reports
from git_lepton.release.history import moment, stamp
from git_lepton.release.message import Move
from git_lepton.release.names import check_name
from git_lepton.release.status import StatusReport
from git_lepton.report.releases import as_of_text, deployed_text, running_fields


@click.command(
    "deployed",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton deployed digits", "What each agent says that it runs, beside what is wanted."),
        ("git lepton deployed --prometheus http://localhost:9090", "The same of agents that Prometheus scrapes."),
        ("git lepton deployed digits --at 2026-05-03", "What ran then."),
    ),
)
@click.argument("model", required=False)
@click.option("--prometheus", metavar="URL", help="Ask this Prometheus for lepton_model_info instead.")
@click.option("--at", "at", metavar="TIME", help="What ran then: 2026-05-03, '2026-05-03 12:00', 3d.")
@offline_option
@json_option
def command(model: str | None, prometheus: str | None, at: str | None, offline: bool, as_json: bool) -> int:
    """Show what agents run, as they tell it.

    'git lepton channels' and 'log MODEL@CHANNEL' show what was wanted; this shows what ran. Agents that may push report
    to a remote (lepton.statusRemote, else that of the channels); all others are seen through Prometheus.
    """
    if model is not None:
        check_name(model, "model")
    if prometheus is not None and offline:
        raise UsageError("--prometheus and --offline exclude each other")
    then = None if at is None else moment(at, time.time())
    return run(repository(), model=model, prometheus=prometheus, at=then, offline=offline, as_json=as_json)


def run(
    repo: Repo, *, model: str | None, prometheus: str | None, at: float | None, offline: bool, as_json: bool
) -> int:
    """Print what runs, or ran at a time."""
    objects, as_of = open_reader(repo), ""
    try:
        if prometheus is not None:
            running, broken = from_prometheus(prometheus, model, at), list[str]()
        else:
            remote = channels.configured_remote(repo, status.REMOTE_KEY) or channels.release_remote(repo)
            if offline:
                as_of = as_of_text(status.asked(repo, remote), remote)
            else:
                status.refresh(repo, remote)
            running, broken = _reported(repo, objects, remote, model, at)
        wanted = {} if at is not None else _wanted(repo, objects, offline)
    finally:
        objects.close()
    if as_json:
        fields = {"at": None if at is None else stamp(at), "agents": [running_fields(one) for one in running]}
        print_json("deployed", {**fields, "broken": broken})
    else:
        if as_of:
            say(as_of)
        say(deployed_text(running, wanted, broken, at))
    return EXIT_REFUSED if broken else EXIT_OK


def _reported(
    repo: Repo, objects: ObjectReader, remote: str, model: str | None, at: float | None
) -> tuple[list[Running], list[str]]:
    found = list(status.mirrored(repo, objects, remote))
    reports = [one for one in found if isinstance(one, StatusReport) and model in {None, one.model}]
    return list(from_reports(reports, at)), [one for one in found if isinstance(one, str)]


def _wanted(repo: Repo, objects: ObjectReader, offline: bool) -> dict[tuple[str, str], Move]:
    remote = channels.release_remote(repo)
    if not offline:
        channels.refresh(repo, remote)
    found = channels.mirrored(repo, objects, remote)
    return {(c.model, c.channel): c.move for c in found if c.move is not None}
