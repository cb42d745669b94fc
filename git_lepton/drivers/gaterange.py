"""The gate for CI: what a range of commits does to the models, judged without trusting anything that was committed.

`A..B` is judged as one change: B's models against A's, by A's rules where B loosened them, on A's examples where B
changed them. Hooks can be skipped and records can be written by hand, so every record of B is compared with the files
beside it and with what is measured now. Whatever cannot be done counts against the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from git_lepton.config.checks import is_function
from git_lepton.config.store import FILE_NAME
from git_lepton.config.values import ModelSettings
from git_lepton.drivers.gating import Gating, Judged
from git_lepton.drivers.partial import bring_blobs
from git_lepton.drivers.planning import Plan
from git_lepton.drivers.recordcheck import Fault, differences, same_losses
from git_lepton.errors import (
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_MISSING,
    EXIT_NOT_MEASURED,
    EXIT_OK,
    EXIT_REFUSED,
    LeptonError,
    UsageError,
)
from git_lepton.gate import policy, trust
from git_lepton.gate.anchor import AnchorPoint, candidates, head_commit
from git_lepton.gate.policy import PolicyChange
from git_lepton.gate.values import DataFile, worst
from git_lepton.gate.verdicts import GateVerdict, gate_hash
from git_lepton.git.lstree import rev_parse
from git_lepton.git.repo import Repo
from git_lepton.record import locating, provenance
from git_lepton.record.globs import matcher
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.record.record import FOLDER
from git_lepton.record.values import Origins, Record, Variant
from git_lepton.store.store import Store
from git_lepton.values import Hash, Oid

_WORST_FIRST: Final = (
    EXIT_GATE_FAILED,
    EXIT_REFUSED,
    EXIT_MISSING,
    EXIT_NOT_MEASURED,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
)
_ALWAYS: Final = (FILE_NAME, FOLDER)
_SHORT: Final = 10
_LOOK_BACK: Final = 20
"""Commits that changed a model and are looked at for the one that a record was judged against."""


@dataclass(frozen=True, slots=True)
class RangeFinding:
    """What a range does to one model.

    Attributes:
        model: its name.
        changes: of its rules and examples.
        faults: what is wrong with its record.
        judged: what was measured; None when nothing changed or nothing is there.
        accepted: loosened rules are accepted.
    """

    model: str
    changes: tuple[PolicyChange, ...] = ()
    faults: tuple[Fault, ...] = ()
    judged: Judged | None = None
    accepted: bool = False

    @property
    def is_unchanged(self) -> bool:
        """Whether the range does nothing to it."""
        return not self.changes and not self.faults and self.judged is None

    @property
    def exit_code(self) -> int:
        """Of the worst that was found."""
        codes = [fault.code for fault in self.faults]
        if self.judged is not None:
            codes.append(self.judged.outcome.exit_code)
        if not self.accepted and any(change.loosened for change in self.changes):
            codes.append(EXIT_GATE_FAILED)
        return worst_code(codes)


def verdicts_of(finding: RangeFinding, commit: Oid) -> Iterator[GateVerdict]:
    """What CI says about each gate of a model, to be kept beside the history."""
    if finding.judged is None:
        return
    plan, record = finding.judged.plan, finding.judged.record
    for rule in plan.settings.gates:
        found = tuple(outcome for outcome in record.outcome if outcome.gate == rule.name)
        data = None if rule.name not in plan.data else Hash(_digest(plan.data[rule.name]))
        yield GateVerdict(
            model=record.model,
            gate=rule.name,
            bundle=record.bundle,
            rule=gate_hash(rule, data),
            verdict=worst(outcome.verdict for outcome in found),
            commit=commit,
            against=record.anchor.name if record.anchor else "",
            baseline=record.anchor.bundle if record.anchor else None,
            outcome=found,
            host=record.host,
        )


def worst_code(codes: Sequence[int]) -> int:
    """The exit code that decides over several; 0 for none."""
    return next((code for code in _WORST_FIRST if code in codes), max(codes, default=EXIT_OK))


def parse_range(repo: Repo, text: str) -> tuple[Oid, Oid]:
    """The two commits of `A..B`, or of `A...B` (from their merge base); a side left out is HEAD.

    Raises:
        UsageError: it is no range, or names no commits.
    """
    dots = "..." if "..." in text else ".."
    left, found, right = text.partition(dots)
    if not found or (not left and not right):
        raise UsageError(f"{text!r} is no range of commits", hint="for instance: origin/main..HEAD")
    one, two = (rev_parse(repo, side or "HEAD", kind="commit") for side in (left, right))
    if dots == "...":
        done = repo.git("merge-base", one, two, check=False)
        if done.status != 0:
            raise UsageError(f"{left} and {right} have no commit in common")
        one = Oid(done.stdout.decode("ascii").split()[0])
    return one, two


class RangeJudge:
    """Judges the change from one commit to another."""

    def __init__(
        self, repo: Repo, store: Store, gating: Gating, before: Oid, after: Oid, *, accept: bool, rebuild: bool
    ):
        """Prepare; `accept` takes loosened rules, `rebuild` builds recorded variants again and compares them."""
        self._repo = repo
        self._store = store
        self._gating = gating
        self._planner = gating.planner
        self._before = before
        self.after = after
        self._accept = accept
        self._rebuild = rebuild

    def findings(self, names: Sequence[str] = ()) -> Iterator[RangeFinding]:
        """What the range does to each model of either side, or to these.

        Raises:
            LeptonError, OSError: something could not be read, brought or judged at all.
        """
        revs = (self._before, self.after)
        for rev in revs:
            bring_blobs(self._repo, self._store.objects, rev, lambda path: path.startswith(_ALWAYS))
        old, new = (self._planner.config_at(rev).models for rev in revs)
        for rev in revs:
            bring_blobs(self._repo, self._store.objects, rev, _needed([*old.values(), *new.values()]))
        for name in names:
            if name not in old and name not in new:
                raise UsageError(f"lepton.toml has no model {name}", hint=f"it has: {', '.join([*new]) or 'none'}")
        for name in names or dict.fromkeys((*old, *new)):
            if name in new:
                yield self._finding(old.get(name), new[name])
            else:
                changes = policy.compare(old[name], None)
                yield RangeFinding(name, tuple(changes), accepted=self._accept)

    def _finding(self, old: ModelSettings | None, new: ModelSettings) -> RangeFinding:
        own = self._planner.plan(new, rev=self.after)
        if own is None:
            gone = self._planner.side("", self._before, new.name, new) is not None
            absent = (Fault("its files are gone, and lepton.toml still names it", EXIT_GATE_FAILED),) if gone else ()
            return RangeFinding(new.name, tuple(policy.compare(old, new)), absent, accepted=self._accept)
        rules = new if self._accept else policy.binding(old, new)
        bare = own if rules == new else self._planner.plan(rules, rev=self.after)
        assert bare is not None
        plan, changed = self._on_old_examples(bare, old)
        changes = (*policy.compare(old, new), *self._left_out(old, own), *self._programs(old, new), *changed)
        if not changes and self._is_unchanged(own):
            return RangeFinding(new.name)
        self._require_work_tree(rules)
        own, plan = (self._planner.compared(p, rev=self.after, anchors=self._anchor()) for p in (own, plan))
        faults = list(self._record_faults(own))
        held = own.record if not own.fault else None
        judged = self._gating.judge(
            plan,
            origins=held.origins if held else self._planner.origins(new, self.after),
            variants=held.variant if held else None,
        )
        if held is not None:
            faults += self._origin_faults(held)
            faults += self._measured_faults(held, own, plan, judged)
            faults += self._rebuilt_faults(held, own) if self._rebuild else ()
        return RangeFinding(new.name, changes, tuple(faults), judged, self._accept)

    def _left_out(self, old: ModelSettings | None, own: Plan) -> Iterator[PolicyChange]:
        """Files that are still there, belonged to the model by the old settings, and do not by the new ones."""
        new = own.settings
        if old is None or (old.root, old.files) == (new.root, new.files):
            return
        then = locating.at(self._repo, self._store.objects, old, self.after)
        left = sorted(_paths(old, then) - _paths(new, own.here))
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            yield PolicyChange("files", f"{left[0]}{more}", "not judged any more", loosened=True)

    def _programs(self, old: ModelSettings | None, new: ModelSettings) -> Iterator[PolicyChange]:
        """Programs that gates name, where they are other ones: like other examples, they may be easier to please."""
        kept = {gate.name for gate in new.gates}
        for gate in old.gates if old is not None else ():
            for path in dict.fromkeys(trust.begins_at(gate)) if gate.name in kept else ():
                then, now = (
                    locating.part_at(self._repo, self._store.objects, path, rev) if path else None
                    for rev in (self._before, self.after)
                )
                if then is not None and (now is None or now.file.blake3 != then.file.blake3):
                    after = "none" if now is None else now.file.blake3[:_SHORT]
                    key = f"gate.{gate.name}: the program {path}"
                    yield PolicyChange(key, then.file.blake3[:_SHORT], after, loosened=True)

    def _require_work_tree(self, settings: ModelSettings) -> None:
        """Commands and functions are run where the work tree is: it must be that of the commit that is judged."""
        runs = any(gate.command is not None or is_function(gate.metric) for gate in settings.gates)
        if runs and head_commit(self._repo) != self.after:
            raise UsageError(
                f"model {settings.name} is judged by a program of the repository, and {self.after[:_SHORT]} is not "
                "checked out",
                hint=f"git checkout {self.after[:_SHORT]}, then run it again",
            )

    def _anchor(self) -> Iterator[AnchorPoint]:
        return iter([AnchorPoint(self._before[:_SHORT], self._before)])

    def _is_unchanged(self, plan: Plan) -> bool:
        name = plan.settings.name
        texts = [self._planner.record_text(name, rev) for rev in (self._before, self.after)]
        return not plan.fault and texts[0] == texts[1]

    def _on_old_examples(self, plan: Plan, old: ModelSettings | None) -> tuple[Plan, list[PolicyChange]]:
        """The plan with the examples that gates had before, and a line for each that changed."""
        if old is None:
            return plan, []
        before = {gate.name: gate for gate in old.gates}
        data, changes = dict(plan.data), []
        for gate in plan.settings.gates:
            earlier = before.get(gate.name)
            if earlier is None or earlier.data is None or gate.data is None:
                continue
            then = locating.part_at(self._repo, self._store.objects, earlier.data, self._before)
            now = data.get(gate.name)
            if then is None or (now is not None and _digest(now) == then.file.blake3):
                continue
            after = _digest(now)[:_SHORT] if now is not None else "none"
            key = f"gate.{gate.name}.data: the content of {earlier.data}"
            changes.append(PolicyChange(key, then.file.blake3[:_SHORT], after, loosened=True))
            if not self._accept:
                data[gate.name] = then
        missing = {gate: why for gate, why in plan.missing.items() if gate not in data}
        return replace(plan, data=data, missing=missing), changes

    def _record_faults(self, plan: Plan) -> Iterator[Fault]:
        """What is wrong with the record beside the files, before anything is measured."""
        name = plan.settings.name
        if self._planner.record_text(name, self.after) is None:
            yield Fault("it has no record: it was committed past the hooks (--no-verify?)", EXIT_GATE_FAILED)
        elif plan.record is None:
            yield Fault(f"its record is not valid: {plan.fault}", EXIT_REFUSED)
        elif plan.fault:
            yield Fault(f"its record does not hold: {plan.fault}", EXIT_REFUSED)

    def _origin_faults(self, record: Record) -> Iterator[Fault]:
        """Where the provenance is not that of the time when the model's files last changed."""
        before, _ = self._planner.record_at(record.model, self._before)
        if before is not None and before.bundle == record.bundle:
            if before.origins not in (record.origins, Origins()):
                yield Fault("its provenance is another one than before, and its files are the same", EXIT_REFUSED)
            return
        settings = self._planner.config_at(self.after).models[record.model]
        for commit in (self.after, *self._changing(settings)):
            try:
                if replace(self._planner.origins(settings, commit), merged=record.origins.merged) == record.origins:
                    return
            except LeptonError:
                continue  # a partial clone has not what the files were then
        yield Fault("its provenance is that of no commit that changed its files (a squash, or an edit)", EXIT_OK)

    def _measured_faults(self, record: Record, own: Plan, plan: Plan, judged: Judged) -> Iterator[Fault]:
        """Where a record says something else than what is measured now."""
        measured = judged.record
        same_question = plan.settings == own.settings and plan.data == own.data
        if not same_question or _bundle_of(record) != _bundle_of(measured):
            anchored = self._anchored(record, own)
            if anchored is None:
                yield from differences(record, measured, baseline=False)
                return
            measured = self._gating.judge(anchored, origins=record.origins, variants=record.variant).record
        yield from differences(record, measured)

    def _anchored(self, record: Record, own: Plan) -> Plan | None:
        """The plan with the baseline that the record names; None where that cannot be found any more."""
        if record.anchor is None:
            return replace(own, baseline=None)
        points = [*self._anchor(), *candidates(self._repo, own.settings, self.after)]
        points += [AnchorPoint(commit[:_SHORT], commit) for commit in self._changing(own.settings)]
        for point in points:
            side = self._planner.side(point.label, point.commit, own.settings.name, own.settings)
            if side is not None and side.located.bundle.hash == record.anchor.bundle:
                return replace(own, baseline=side)
        return None

    def _changing(self, settings: ModelSettings) -> list[Oid]:
        """The last commits that changed the model's files, and their parents: what one of them was judged against."""
        command = ("--literal-pathspecs", "rev-list", "--parents", f"--max-count={_LOOK_BACK}", self.after, "--")
        lines = self._repo.git(*command, settings.root or ".").stdout
        return [Oid(oid) for oid in dict.fromkeys(lines.decode("ascii").split())]

    def _rebuilt_faults(self, record: Record, plan: Plan) -> Iterator[Fault]:
        """Where building a variant again, by the same tools, gives other bytes."""
        for variant in record.variant:
            again = self._gating.build(plan, variant.recipe)
            if (again.version, again.tools) != (variant.version, variant.tools):
                continue
            if not _same_bytes(again, variant):
                yield Fault(f"variant {variant.recipe}: building it again gives other bytes", EXIT_REFUSED)
            elif not same_losses(again, variant):
                yield Fault(f"variant {variant.recipe}: its tensors lose something else", EXIT_REFUSED)


def _paths(settings: ModelSettings, located: LocatedBundle) -> set[str]:
    """The files of a bundle, from the top of the repository."""
    return {str(PurePosixPath(settings.root, part.file.path)) for part in located.parts}


def _needed(models: Sequence[ModelSettings]) -> Callable[[str], bool]:
    """Whether a path belongs to one of these models, or to what they are judged on."""
    matchers = [(f"{model.root}/" if model.root else "", matcher(model.files)) for model in models]
    named = {path for model in models for path in (model.calibration, *(gate.data for gate in model.gates))}
    named |= {path for model in models for gate in model.gates for path in trust.begins_at(gate)}
    origins = [glob for m in models for kind in provenance.KINDS for glob in getattr(m.provenance, kind)]
    is_origin = matcher(origins)

    def wanted(path: str) -> bool:
        inside = any(path.startswith(root) and match(path.removeprefix(root)) for root, match in matchers)
        return inside or path in named or is_origin(path)

    return wanted


def _bundle_of(record: Record) -> Hash | None:
    """The bundle that a record's model was judged against."""
    return None if record.anchor is None else record.anchor.bundle


def _same_bytes(one: Variant, two: Variant) -> bool:
    return (one.bundle, bool(one.skipped)) == (two.bundle, bool(two.skipped))


def _digest(examples: Part | DataFile) -> str:
    return examples.file.blake3 if isinstance(examples, Part) else examples.blake3
