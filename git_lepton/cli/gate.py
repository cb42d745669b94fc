"""`git lepton gate`: judge what is staged, or a range of commits, as the commit hook and CI do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.remote import push_remote
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.config.store import FILE_NAME
from git_lepton.config.values import ModelSettings
from git_lepton.drivers import gatecommit
from git_lepton.drivers.gaterange import RangeFinding, RangeJudge, parse_range, verdicts_of, worst_code
from git_lepton.drivers.gating import Gating, Judged
from git_lepton.drivers.planning import Plan
from git_lepton.errors import (
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_MISSING,
    EXIT_NOT_MEASURED,
    EXIT_OK,
    EXIT_REFUSED,
    UsageError,
)
from git_lepton.gate import verdicts
from git_lepton.gate.anchor import head_commit
from git_lepton.git.repo import Repo
from git_lepton.record.globs import matcher
from git_lepton.record.plain import to_plain
from git_lepton.report.gate import details_text, explanation_text, judged_fields, judged_text, reasons, refusal_text
from git_lepton.report.gateplan import Explained, explained_fields, explained_text, range_text
from git_lepton.store.store import Store


@click.command(
    "gate",
    cls=Verb,
    exits=(EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_REFUSED, EXIT_NOT_MEASURED, EXIT_MISSING),
    examples=(
        ("git lepton gate", "Judge what is staged; git commit then only reads what was found."),
        ("git lepton gate digits --explain", "What would run and why, and the details of what was found."),
        ("git lepton gate digits --exclude int8=layer1.weight", "Try a variant that leaves a tensor alone."),
        ("git lepton gate --range origin/main...HEAD", "In CI: judge a branch as one change."),
    ),
)
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option(
    "--explain", is_flag=True, help="Tell what would run and why, details of what is known, and why a variant failed."
)
@click.option("--range", "commits", metavar="A..B", help="Judge commit B against A, and every record of B.")
@click.option("--accept-policy", is_flag=True, help="With --range: accept rules that were loosened.")
@click.option("--publish", is_flag=True, help="With --range: push the verdicts, for gates that are left to CI.")
@click.option("--measure", is_flag=True, help="Measure again, whatever was found before.")
@click.option("--rebuild", is_flag=True, help="Build variants again too; with --range, they must be the same bytes.")
@click.option("--record", is_flag=True, help="Stage the records of models that pass, as the commit hook does.")
@click.option("--exclude", metavar="RECIPE=GLOB", multiple=True, help="Try: leave these tensors or nodes alone.")
@json_option
@quiet_option
def command(models: tuple[str, ...], commits: str | None, as_json: bool, quiet: bool, **chosen: Any) -> int:
    """Judge models by the rules of lepton.toml.

    Without --range, what is staged is judged, not what lies in the work tree, against the model's baseline: what
    lepton.toml names, else its last version, else where this branch began. What is found is kept, so that a commit of
    the same content only reads it.

    With --range, the last commit is judged against the first one by the rules of the first one where they were
    loosened, and its records are compared with what is measured now: what a skipped hook let in is found here.
    """
    repo = repository()
    if commits is None and (chosen["accept_policy"] or chosen["publish"]):
        raise UsageError("--accept-policy and --publish go with --range")
    if commits is not None and (chosen["record"] or chosen["exclude"] or chosen["explain"]):
        raise UsageError("--record, --exclude and --explain are about what is staged, not about a range")
    with (
        Store(repo, progress=progress(quiet)) as store,
        Gating(
            repo,
            store,
            say=note,
            stage="commit" if commits is None else "ci",
            rebuild=chosen["rebuild"],
            measure=chosen["measure"],
        ) as gating,
    ):
        if commits is not None:
            judge = _range_judge(
                repo, store, gating, commits, accept=chosen["accept_policy"], rebuild=chosen["rebuild"]
            )
            return run_range(repo, judge, models, publish=chosen["publish"], as_json=as_json)
        change = _excluding(chosen["exclude"])
        if chosen["explain"]:
            return run_explain(gating, models, change, as_json=as_json)
        if chosen["exclude"] and chosen["record"]:
            raise UsageError("--exclude only tries", hint="write exclude into lepton.toml to keep it")
        return run(repo, gating, models, change, record=chosen["record"], as_json=as_json)


def run(
    repo: Repo, gating: Gating, models: Sequence[str], change: gatecommit.Change, *, record: bool, as_json: bool
) -> int:
    """Judge what is staged and print it; with `record`, stage the records unless one is refused."""
    parent = head_commit(repo)
    plans = [gating.planner.compared(p, parent=parent) for p in gatecommit.plans_staged(gating, models, change)]
    _note_unstaged(repo, plans)
    found = [gating.judge(plan, origins=gatecommit.origins_of(gating.planner, plan, parent)) for plan in plans]
    code = worst_code([judged.outcome.exit_code for judged in found])
    if as_json:
        fields = [judged_fields(judged.outcome, judged.record) for judged in found]
        print_json("gate", {"exit_code": code, "models": fields})
    else:
        _tell(found)
    if record and code == EXIT_OK:
        gatecommit.write_records(repo, gating, found, note)
        for judged in found:
            note(f"staged: the record of {judged.record.model}")
    return code


def run_explain(gating: Gating, models: Sequence[str], change: gatecommit.Change, *, as_json: bool) -> int:
    """Tell what judging would do, and details of what is known already."""
    parent = head_commit(gating.repo)
    plans = [gating.planner.compared(p, parent=parent) for p in gatecommit.plans_staged(gating, models, change)]
    if as_json:
        print_json("gate-explain", {"models": [explained_fields(_explained(gating, plan)) for plan in plans]})
        return EXIT_OK
    _note_unstaged(gating.repo, plans)
    for plan in plans:
        say(explained_text(_explained(gating, plan)))
        known = gating.known(plan)
        if known is not None:
            say(judged_text(known.outcome, known.record, known=True))
            say(details_text(known.outcome, known.record))
            for recipe in _failed_variants(known):
                say(explanation_text(plan.settings.name, gating.explain(known, recipe)))
    if not plans:
        say("no model of lepton.toml is staged or committed; docs/gate.md tells how to begin")
    return EXIT_OK


def run_range(repo: Repo, judge: RangeJudge, models: Sequence[str], *, publish: bool, as_json: bool) -> int:
    """Judge a range and print it; with `publish`, push the verdicts."""
    found = list(judge.findings(models))
    if publish:
        made = [verdict for finding in found for verdict in verdicts_of(finding, judge.after)]
        verdicts.publish(repo, push_remote(repo), verdicts.write(repo, made))
    code = worst_code([finding.exit_code for finding in found])
    if as_json:
        print_json("gate-range", {"exit_code": code, "models": [_range_fields(finding) for finding in found]})
        return code
    for finding in found:
        say(_range_text(finding))
    if not found:
        say("lepton.toml has no models at either end of the range")
    return code


def _tell(found: Sequence[Judged]) -> None:
    for judged in found:
        say(judged_text(judged.outcome, judged.record, known=judged.known))
        if judged.outcome.stops:
            say(refusal_text(judged.outcome, judged.record))
    if not found:
        say("no model of lepton.toml is staged or committed; docs/gate.md tells how to begin")


def _note_unstaged(repo: Repo, plans: Sequence[Plan]) -> None:
    """Tell which files of these models, or of the rules, only the work tree has as they are: they are not looked at."""
    if repo.work_tree is None:
        return
    roots = {plan.settings.root: matcher(plan.settings.files) for plan in plans}
    places = [FILE_NAME, *(root or "." for root in roots)]
    listed = repo.git(
        "--literal-pathspecs", "ls-files", "-z", "--modified", "--others", "--exclude-standard", "--", *places
    ).stdout
    paths = dict.fromkeys(os.fsdecode(path) for path in listed.split(b"\0")[:-1])
    found = [
        path
        for path in paths
        if path == FILE_NAME
        or any(
            PurePath(path).is_relative_to(r) and fits(str(PurePath(path).relative_to(r))) for r, fits in roots.items()
        )
    ]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        note(f"what is staged is judged; {found[0]}{more} is not: git add it first")


def _failed_variants(judged: Judged) -> list[str]:
    """Variants that a gate refuses, each once; none while the model itself is refused, which is to be mended first."""
    refused = dict.fromkeys(found.variant for found in judged.outcome.gates if found.stops)
    return [] if "" in refused else list(refused)


def _range_judge(repo: Repo, store: Store, gating: Gating, commits: str, *, accept: bool, rebuild: bool) -> RangeJudge:
    before, after = parse_range(repo, commits)
    return RangeJudge(repo, store, gating, before, after, accept=accept, rebuild=rebuild)


def _range_text(finding: RangeFinding) -> str:
    judged = finding.judged
    return range_text(
        finding.model,
        finding.changes,
        [fault.text for fault in finding.faults],
        mend=any(fault.code for fault in finding.faults) and not (judged and judged.outcome.stops),
        judged=judged_text(judged.outcome, judged.record, known=judged.known) if judged else "",
        why=reasons(judged.outcome) if judged else (),
        unchanged=finding.is_unchanged,
        accepted=finding.accepted,
        code=finding.exit_code,
    )


def _range_fields(finding: RangeFinding) -> dict[str, Any]:
    return {
        "model": finding.model,
        "exit_code": finding.exit_code,
        "changes": [to_plain(change) for change in finding.changes],
        "faults": [to_plain(fault) for fault in finding.faults],
        "judged": None if finding.judged is None else judged_fields(finding.judged.outcome, finding.judged.record),
    }


def _explained(gating: Gating, plan: Plan) -> Explained:
    return Explained(
        plan.settings,
        plan.here.bundle.hash,
        len(plan.here.parts),
        plan.here.bundle.size,
        plan.fault,
        plan.baseline.label if plan.baseline else "",
        gating.known_variants(plan),
        plan.missing,
        plan.disk,
    )


def _excluding(pairs: Sequence[str]) -> gatecommit.Change:
    """What `--exclude` changes in a model's settings."""
    added: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        recipe, found, glob = pair.partition("=")
        if not found or not glob:
            raise UsageError(f"--exclude {pair}: it is written RECIPE=GLOB", hint="for instance int8=layer1.*")
        added[recipe] = (*added.get(recipe, ()), glob)

    def change(settings: ModelSettings) -> ModelSettings:
        both = {recipe: (*settings.exclude.get(recipe, ()), *globs) for recipe, globs in added.items()}
        return replace(settings, exclude={**settings.exclude, **both})

    return change
