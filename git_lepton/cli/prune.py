"""`git lepton prune`: delete versions that nothing names any more, here or on a remote."""

from __future__ import annotations

import time

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.options import agreed, dry_run_option, yes_option
from git_lepton.cli.verb import Verb, json_option
from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_RACE_LOST, UsageError
from git_lepton.git.repo import Repo
from git_lepton.report.upkeep import prune_fields, prune_text, remote_prune_fields, remote_prune_text
from git_lepton.store.store import Store
from git_lepton.transfer import prune_remote
from git_lepton.transfer.need import NeedFinder
from git_lepton.transfer.places import Advertised, advertised
from git_lepton.transfer.remotes import store_remote
from git_lepton.upkeep.prune import GRACE_DAYS, alive, execute_prune, plan_prune
from git_lepton.values import Hash, Oid

_DAY = 86_400


@click.command(
    "prune",
    cls=Verb,
    exits=(EXIT_RACE_LOST, EXIT_MISSING),
    examples=(
        ("git lepton prune --dry-run", "What would go."),
        ("git lepton prune --yes", "Delete it without asking."),
        ("git lepton prune --remote origin", "Delete on origin what no branch or tag, here or there, names."),
    ),
)
@click.option("--remote", metavar="REMOTE", help="Delete versions on this remote instead, for everybody.")
@click.option(
    "--grace",
    metavar="DAYS",
    type=float,
    default=GRACE_DAYS,
    help=f"Keep versions that came within this time ({GRACE_DAYS} days).",
)
@dry_run_option
@yes_option
@json_option
def command(remote: str | None, grace: float, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Delete versions of weights that nothing names any more.

    Whatever a branch, a tag, a reflog, the stash or the index of any work tree names is alive, and so is what came
    within the grace. Prints the plan and asks before it deletes.
    """
    repo = repository()
    if remote is not None:
        return run_remote(repo, remote=remote, grace=grace, dry_run=dry_run, yes=yes, as_json=as_json)
    return run(repo, grace=grace, dry_run=dry_run, yes=yes, as_json=as_json)


def run(repo: Repo, *, grace: float, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Plan, print, ask, delete in this repository."""
    with Store(repo) as store:
        plan = plan_prune(store, grace_days=grace)
        if not as_json:
            say(prune_text(plan))
        done = bool(plan.dead) and agreed("Delete them?", yes=yes, dry_run=dry_run)
        if done:
            execute_prune(store, plan)
    if as_json:
        print_json("prune", prune_fields(plan, done=done))
    return EXIT_OK


def run_remote(repo: Repo, *, remote: str, grace: float, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Plan, print, ask, delete on `remote`.

    Raises:
        UsageError: the remote has branches or tags that are not here, so nobody here can tell what they name.
    """
    with Store(repo) as store:
        where = store_remote(repo, remote)
        listed = advertised(repo, where)
        named = _named(store, listed, remote)
        idle = [version for version in listed.pairs if version not in named]
        since = store.lookup.since()
        limit = time.time() - grace * _DAY
        dead = [version for version in idle if grace == 0 or since.get(version, limit + 1) <= limit]
        plan = prune_remote.plan(store, where, dead, listed=listed)
        counts = (len(listed.pairs) - len(idle), len(idle) - len(dead))
        if not as_json:
            say(remote_prune_text(plan, *counts))
        done = bool(plan.versions) and agreed(f"Delete them on {where}?", yes=yes, dry_run=dry_run)
        if done:
            prune_remote.execute(repo, plan)
    if as_json:
        print_json("prune", remote_prune_fields(plan, *counts, done=done))
    return EXIT_OK


def _named(store: Store, listed: Advertised, remote: str) -> set[Hash]:
    """Versions of `listed` that history here, or behind any branch or tag of `remote`, names."""
    tips: tuple[Oid, ...] = advertised(store.repo, remote, code=True).others
    absent = set(tips) - store.objects.contains(tips)
    if absent:
        raise UsageError(
            f"{remote} has {len(absent)} branches or tags that are not here, and may need any version",
            hint=f"git fetch --tags {remote}, then try again",
        )
    return {*alive(store), *NeedFinder(store.repo, store.objects).for_history(tips)} & listed.pairs.keys()
