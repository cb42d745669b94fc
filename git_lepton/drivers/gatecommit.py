"""The gate before a commit: what is staged is judged, and on green its records are staged with it.

Only the index that git named is read. All models are judged before anything is written: one that is refused, an
interrupt or a full disk leaves index and work tree as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from git_lepton.config.values import ModelSettings
from git_lepton.drivers import staging
from git_lepton.drivers.children import Children
from git_lepton.drivers.gating import Gating, Judged, text_of
from git_lepton.drivers.planning import Plan, Planner, fault_of
from git_lepton.errors import EXIT_OK, UsageError
from git_lepton.gate.anchor import head_commit
from git_lepton.git.repo import Repo
from git_lepton.record.record import path_of
from git_lepton.record.values import Origins
from git_lepton.report.gate import judged_text, refusal_text
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED
from git_lepton.values import Oid

Say = Callable[[str], None]
Change = Callable[[ModelSettings], ModelSettings]


def gate_staged(repo: Repo, store: Store, say: Say, children: Children) -> int:
    """Judge the models that are staged and whose records do not hold; 0 when the commit may be made, else 1.

    `children` were started early.

    Raises:
        LeptonError: something could not be read, built or measured at all.
        OSError: no space on the disk.
    """
    with Gating(repo, store, say=say, children=children) as gating:
        parent = head_commit(repo)
        plans = [plan for plan in plans_staged(gating) if needs_judging(gating, plan, parent)]
        kept = {plan.settings.name: text for plan in plans if (text := held_before(gating, plan, parent))}
        found = [
            gating.judge(gating.planner.compared(plan, parent=parent), origins=origins_of(gating.planner, plan, parent))
            for plan in plans
            if plan.settings.name not in kept
        ]
        for judged in found:
            say(judged_text(judged.outcome, judged.record, known=judged.known))
        refused = [judged for judged in found if judged.outcome.stops]
        for judged in refused:
            say(refusal_text(judged.outcome, judged.record, unstaged=repo.index_file != repo.git_dir / "index"))
        if refused:
            return 1
        for model, text in kept.items():
            say(f"the record of {model} was put back: the model is the one that was judged, and nobody edits records")
            _stage(repo, path_of(model), text, say)
        write_records(repo, gating, found, say)
    return EXIT_OK


def plans_staged(
    gating: Gating, names: Sequence[str] = (), change: Change = lambda settings: settings
) -> Iterator[Plan]:
    """The models that are staged, see `Planner.plan`.

    Args:
        gating: reads them.
        names: only these models; empty for all.
        change: of their settings, to try something.

    Raises:
        UsageError: lepton.toml has no such model, or none of its files is staged.
    """
    models = gating.planner.config_at().models
    for name in names:
        if name not in models:
            known = ", ".join(models) or "none: see docs/gate.md"
            raise UsageError(f"the lepton.toml that is staged has no model {name}", hint=f"it has: {known}")
    for name in names or models:
        plan = gating.planner.plan(change(models[name]))
        if plan is not None:
            yield plan
        elif names:
            raise UsageError(f"no file of model {name} is staged or committed", hint="git add it first")
        else:
            where = models[name].root or "the top"
            gating.say(
                f"model {name} has no file under {where} that is staged or committed, so nothing of it is judged"
            )


def needs_judging(gating: Gating, plan: Plan, parent: Oid | None) -> bool:
    """Whether the staged record does not hold: no valid one, of other facts, or written by somebody else just now."""
    if plan.fault or plan.record is None:
        return True
    staged = text_of(plan.record)
    before = None if parent is None else gating.planner.record_text(plan.settings.name, parent)
    return staged != before and not gating.is_ours(staged)


def held_before(gating: Gating, plan: Plan, parent: Oid | None) -> bytes | None:
    """The text of the parent's record, where that is the record of what is staged."""
    name = plan.settings.name
    before, _ = gating.planner.record_at(name, parent) if parent is not None else (None, "")
    return text_of(before) if before is not None and not fault_of(before, plan) else None


def origins_of(planner: Planner, plan: Plan, parent: Oid | None) -> Origins:
    """What made the model: as recorded when its files last changed, else what is staged now."""
    before, _ = planner.record_at(plan.settings.name, parent) if parent is not None else (None, "")
    if before is not None and before.bundle == plan.here.bundle.hash and before.origins != Origins():
        return before.origins
    merged = planner.merged(plan, before.origins.merged if before is not None else ())
    return replace(planner.origins(plan.settings, STAGED), merged=merged)


def write_records(repo: Repo, gating: Gating, found: Sequence[Judged], say: Say) -> None:
    """Stage the records of what was judged."""
    texts = {path_of(judged.record.model): text_of(judged.record) for judged in found}
    for path, text in texts.items():
        gating.note_record(text)
        _stage(repo, path, text, say)


def _stage(repo: Repo, path: str, text: bytes, say: Say) -> None:
    if not staging.stage(repo, path, text):
        say(f"{path} was changed in the work tree, and is left as it is there; the commit has the one made now")


def unjudged(repo: Repo, store: Store) -> dict[str, str]:
    """Models of HEAD whose records do not hold, and why."""
    planner = Planner(repo, store)
    found = {}
    for name, settings in planner.config_at("HEAD").models.items():
        plan = planner.plan(settings, rev="HEAD")
        if plan is not None and plan.fault:
            found[name] = plan.fault
    return found
