"""`git lepton fsck`: are the weights what they were when they were added, here or on a remote."""

from __future__ import annotations

from collections.abc import Sequence

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.errors import EXIT_MISSING, EXIT_REFUSED
from git_lepton.git.repo import Repo
from git_lepton.report.upkeep import finding_text, findings_advice, findings_exit, findings_fields, findings_summary
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at
from git_lepton.transfer.check import RemoteProblem, remote_complete
from git_lepton.transfer.need import NeedFinder, Needs
from git_lepton.upkeep.check import Finding, Kind, check_versions
from git_lepton.upkeep.prune import alive
from git_lepton.values import Hash


@click.command(
    "fsck",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_MISSING),
    examples=(
        ("git lepton fsck", "Verify every stored version that history names, and that all staged weights are here."),
        ("git lepton fsck v1.0", "Verify the weights of one revision."),
        ("git lepton fsck --remote origin v1.0", "Prove, without downloading weights, that origin has all of v1.0."),
    ),
)
@click.argument("rev", required=False)
@click.option("--remote", metavar="REMOTE", help="Check that this remote has everything of REV (HEAD by default).")
@json_option
@quiet_option
def command(rev: str | None, remote: str | None, as_json: bool, quiet: bool) -> int:
    """Verify stored weights, and name the file, the tensor and the chunk that is wrong.

    Every chunk is decoded and compared with its hash, and every file as a whole. git's own objects are the business
    of git fsck. A remote is asked for refs and small indexes only.
    """
    return run(repository(), rev=rev, remote=remote, as_json=as_json, quiet=quiet)


def run(repo: Repo, *, rev: str | None, remote: str | None, as_json: bool, quiet: bool) -> int:
    """Verify `rev` or everything, here or on `remote`; 5 when something is corrupt, 8 when something is missing."""
    with Store(repo, progress=progress(quiet)) as store:
        broken = files_at(repo, store.objects, rev or (STAGED if remote is None else "HEAD")).broken
        findings = [Finding("lie", path, Hash(""), None, None, error.message) for path, error in broken]
        if remote is None:
            needs = _needs(store, rev)
            checked = len(needs)
            findings += check_versions(store, needs)
        else:
            checked, problems = remote_complete(store, remote, rev or "HEAD")
            findings += map(_finding, problems)
    return _answer(findings, checked, "" if remote is None else f" on {remote}", as_json=as_json)


def _needs(store: Store, rev: str | None) -> Needs:
    """The versions of `rev`; without one, what is staged, and what any history names and is stored here."""
    finder = NeedFinder(store.repo, store.objects)
    if rev is not None:
        return finder.for_tree(rev)
    staged = finder.for_tree(STAGED)
    return staged | {h: places for h, places in alive(store).items() if h not in staged and store.has(h)}


def _finding(problem: RemoteProblem) -> Finding:
    kind: Kind = "missing" if problem.flaw in {"absent", "no index"} else "corrupt"
    return Finding(kind, problem.need.path, problem.need.hash, None, None, problem.reason)


def _answer(findings: Sequence[Finding], checked: int, where: str, *, as_json: bool) -> int:
    if as_json:
        print_json("fsck", findings_fields(findings, checked))
        return findings_exit(findings)
    for finding in findings:
        say(finding_text(finding))
    say(findings_summary(findings, checked, where))
    advice = findings_advice(findings, remote=bool(where))
    if advice is not None:
        note(f"hint: {advice}")
    return findings_exit(findings)
