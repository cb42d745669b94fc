"""`git lepton filter-process`: the filter that git starts and talks to; nobody types it."""

from __future__ import annotations

import sys

import click

from git_lepton.cli.context import repository
from git_lepton.cli.verb import Verb
from git_lepton.drivers import filter as filter_driver
from git_lepton.git.repo import Repo


@click.command("filter-process", cls=Verb, hidden=True)
def command() -> int:
    """Answer git's long-running filter protocol on standard input and output."""
    return run(repository())


def run(repo: Repo) -> int:
    """Serve git until it closes the pipe."""
    return filter_driver.run(repo, sys.stdin.fileno(), sys.stdout.fileno())
