"""`git lepton init`: this repository."""

from __future__ import annotations

import click

from git_lepton.cli.checkout import tell_unwritten
from git_lepton.cli.context import progress, repository, say
from git_lepton.cli.remote import settle_store_url
from git_lepton.cli.verb import Verb, quiet_option
from git_lepton.drivers import install
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.report.status import written_text
from git_lepton.store.store import Store


@click.command(
    "init",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton init", "Set up hooks, filter and settings here; in a clone, also bring the weights."),
        ("git lepton init --uninstall", "Take all of it out again; weights and history stay."),
    ),
)
@click.option("--uninstall", is_flag=True, help="Undo it: your own hooks come back.")
@click.option("--no-pull", is_flag=True, help="Do not bring weights.")
@quiet_option
def command(uninstall: bool, no_pull: bool, quiet: bool) -> int:
    """Make this repository keep weights with git-lepton.

    Installs the hooks (yours are kept and run first) and the filter, and, in a clone, pulls weights that are missing.
    Run it again at any time: what is in place stays.
    """
    repo = repository()
    if uninstall:
        return run_uninstall(repo)
    return run(repo, pull=not no_pull, quiet=quiet)


def run(repo: Repo, *, pull: bool, quiet: bool) -> int:
    """Set the repository up; 8 when weights are nowhere to be had."""
    if pull:
        settle_store_url(repo)
    with Store(repo, progress=progress(quiet)) as store:
        report = install.init(repo, store if pull else None)
    for line in report.done or ("everything was in place",):
        say(line)
    if report.written is None:
        return EXIT_OK
    if report.written.written or report.written.kept:
        say(written_text(report.written.written, report.written.size, report.written.kept, report.written.deleted))
    return tell_unwritten(report.written)


def run_uninstall(repo: Repo) -> int:
    """Undo `run`."""
    for line in install.deinit(repo) or ("there was nothing to undo",):
        say(line)
    return EXIT_OK
