"""One model through the gate: its variants built, everything measured, a record made; and what was found remembered.

What a run found is kept in the repository's own folder under a name made of everything that it depends on, so that
`git lepton gate` beforehand lets `git commit` only read. A run in which something could not be measured, or built for
want of memory, is not kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton import atomic
from git_lepton.closing import Closing
from git_lepton.config.values import Config, ModelSettings, When
from git_lepton.drivers.children import Children
from git_lepton.drivers.planning import Plan, Planner, Side
from git_lepton.drivers.variantbuild import VariantBuilder, exclude_of
from git_lepton.errors import LeptonError, UsageError
from git_lepton.gate import recording, trust
from git_lepton.gate.cache import FolderCache
from git_lepton.gate.explain import Explanation, explain
from git_lepton.gate.judge import judge, write_golden
from git_lepton.gate.values import DataFile, Folder, JudgeRequest, ModelOutcome, Skipped
from git_lepton.gate.workspace import Workspace
from git_lepton.git.repo import Repo, work_tree
from git_lepton.record import locating
from git_lepton.record import record as record_text
from git_lepton.record.bundle import BundleFile
from git_lepton.record.locating import Part
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.rules import canonical, rules_hash
from git_lepton.record.values import Anchor, Origins, Record, Variant
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store

CACHE: Final = "cache/gate"
GOLDEN: Final = "golden.npz"
MAX_OUTPUTS: Final = 512 << 20
"""Bytes of models' answers that are kept; those that were written longest ago go first."""
_VERSION: Final = 1
"""Counts up when what is found for the same input changes."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate found: `known` tells that it was found before and only read now."""

    plan: Plan
    outcome: ModelOutcome
    record: Record
    known: bool = False


class Gating(Closing):
    """Judges models of one repository. A context manager: what it wrote out is removed in the end."""

    def __init__(
        self,
        repo: Repo,
        store: Store,
        *,
        say: Callable[[str], None],
        stage: When = "commit",
        rebuild: bool = False,
        measure: bool = False,
        children: Children | None = None,
    ) -> None:
        """Prepare.

        Args:
            repo: where.
            store: its store.
            say: takes one line for a person while it runs.
            stage: "commit" leaves gates with `when = "ci"` pending; "ci" judges all.
            rebuild: build variants again.
            measure: measure again, whatever was found before.
            children: those that were started early, for the first model that is judged.
        """
        self.planner = Planner(repo, store)
        self.repo = repo
        self._store = store
        self.say = say
        self._stage = stage
        self._measure = measure or rebuild
        self._children = children or Children()
        self._workspace = Workspace(store)
        self._builder = VariantBuilder(store, self._workspace, say=say, rebuild=rebuild, spare=self._children.builder)
        self._cache = repo.lepton_dir / CACHE

    def judge(self, plan: Plan, *, origins: Origins, variants: tuple[Variant, ...] | None = None) -> Judged:
        """Judge one model and make its record.

        Args:
            plan: the model.
            origins: what made it, for the record.
            variants: those to be judged; None builds what the settings name, or finds it.

        Raises:
            UntrustedError: a command or function was not allowed to run here.
            LeptonError: weights are nowhere to be had, a build failed, or a rule makes no sense.
            OSError: no space on the disk.
        """
        code = self._code(plan.settings)
        key = self._key(plan, variants, code)
        known = None if self._measure else self._load(key)
        if known is not None:
            outcome, record = known
            return Judged(plan, outcome, replace(record, origins=origins), known=True)
        began = time.perf_counter()
        self._announce(plan)
        self._workspace.reserve(plan.disk)
        made = self._variants(plan) if variants is None else variants
        request = self._request(plan, made, code)
        outcome = judge(
            request,
            cache=self._outputs,
            progress=self._store.progress,
            fill=self._workspace.fill,
            standby=self._children.evaluator,
        )
        outcome = replace(outcome, seconds=time.perf_counter() - began)
        wanted = plan.settings.golden and self._stage == "commit" and not outcome.stops
        golden = self._golden(request) if wanted else None
        judged = Judged(plan, outcome, self._record(plan, made, outcome, origins, golden))
        self._note(key, judged)
        return judged

    def build(self, plan: Plan, recipe: str) -> Variant:
        """Build one variant, or find it. Raises as `VariantBuilder.build`."""
        return self._builder.build(plan.settings, plan.here, plan.calibration, recipe)

    def explain(self, judged: Judged, recipe: str) -> Explanation:
        """Find which nodes or tensors a variant that fails had better leave alone; it may take a minute."""
        plan = judged.plan
        settings = plan.settings

        def again(exclude: tuple[str, ...]) -> Folder | Skipped:
            globs = {**settings.exclude, recipe: (*settings.exclude.get(recipe, ()), *exclude)}
            trial = replace(settings, exclude=globs)
            variant = self._builder.build(trial, plan.here, plan.calibration, recipe)
            return Skipped(variant.skipped) if variant.skipped else self._builder.folder(variant, plan.here)

        losses = {loss.name: loss.relative_l2 for v in judged.record.variant if v.recipe == recipe for loss in v.losses}
        request = self._request(plan, judged.record.variant, self._code(settings))
        return explain(
            request,
            recipe,
            again,
            cache=self._kept_outputs,
            progress=self._store.progress,
            fill=self._workspace.fill,
            errors=losses,
        )

    def is_ours(self, text: bytes) -> bool:
        """Whether a record of exactly this text was made here."""
        return (self._records / blake3(text).hexdigest()).exists()

    def note_record(self, text: bytes) -> None:
        """Remember that a record of this text was made here."""
        self._records.mkdir(parents=True, exist_ok=True)
        (self._records / blake3(text).hexdigest()).touch()

    def known(self, plan: Plan) -> Judged | None:
        """What was found about a model before, where nothing that it depends on has changed since."""
        found = self._load(self._key(plan, None, self._code(plan.settings)))
        return None if found is None else Judged(plan, *found, known=True)

    def known_variants(self, plan: Plan) -> dict[str, Variant]:
        """Those variants of a model that need not be built, by recipe."""
        return self._builder.known(plan.settings, plan.here.bundle, plan.calibration)

    @property
    def _kept_outputs(self) -> FolderCache:
        return FolderCache(self._cache / "outputs")

    @property
    def _outputs(self) -> FolderCache:
        """Where models' answers are looked for and kept: nowhere for long when all is to be measured again."""
        return FolderCache(self._workspace.folder("outputs")) if self._measure else self._kept_outputs

    @property
    def _records(self) -> Path:
        return self._cache / "records"

    def _variants(self, plan: Plan) -> tuple[Variant, ...]:
        return tuple(self.build(plan, recipe) for recipe in plan.settings.variants)

    def _request(self, plan: Plan, variants: tuple[Variant, ...], code: str) -> JudgeRequest:
        settings = plan.settings
        folders: dict[str, Folder | Skipped] = {}
        for variant in variants:
            skipped = variant.skipped
            folders[variant.recipe] = Skipped(skipped) if skipped else self._builder.folder(variant, plan.here)
        sizes = {variant.recipe: variant.size for variant in variants if not variant.skipped}
        return JudgeRequest(
            settings=settings,
            candidate=self._workspace.bundle(plan.here, settings.main, root=settings.root),
            top=work_tree(self.repo),
            baseline=self._side(plan.baseline),
            baseline_label=plan.baseline.label if plan.baseline else "",
            previous=self._side(plan.previous),
            variants=folders,
            data={gate: self._examples(found) for gate, found in plan.data.items()},
            missing=plan.missing,
            calibration=self._workspace.data(plan.calibration) if plan.calibration else None,
            teacher=self._side(plan.teacher),
            sizes={"": plan.here.bundle.size, **sizes},
            code=code,
            stage=self._stage,
        )

    def _side(self, side: Side | None) -> Folder | None:
        return None if side is None else self._workspace.promise(side.located, side.settings.main)

    def _examples(self, found: Part | DataFile) -> DataFile:
        return self._workspace.data(found) if isinstance(found, Part) else found

    def _golden(self, request: JudgeRequest) -> BundleFile:
        """Examples for the agent, with the answers of the model and its variants, as a stored version."""
        path = self._workspace.folder("golden") / GOLDEN
        write_golden(request, path, progress=self._store.progress)
        file = locating.of_file(path, GOLDEN)
        with FileSource(path) as source:
            self._store.add(source, GOLDEN, file_hash=file.blake3)
        return replace(file, mode=0o100644)

    def _record(
        self,
        plan: Plan,
        variants: tuple[Variant, ...],
        outcome: ModelOutcome,
        origins: Origins,
        golden: BundleFile | None,
    ) -> Record:
        settings = plan.settings
        return Record(
            model=settings.name,
            root=settings.root,
            main=settings.main,
            bundle=plan.here.bundle.hash,
            rules=rules_hash(settings),
            files=plan.here.bundle.files,
            golden=golden,
            data=plan.data_hashes,
            origins=origins,
            variant=variants,
            anchor=Anchor(plan.baseline.label, plan.baseline.located.bundle.hash) if plan.baseline else None,
            outcome=recording.outcomes(outcome),
            budget=recording.budgets(outcome),
            host=dict(sorted(outcome.host.items())),
        )

    def _code(self, settings: ModelSettings) -> str:
        """A name for all that the model's commands and functions are known to run, after a look that they may.

        Raises:
            UntrustedError: nobody has allowed one of them.
        """
        found = trust.runnables(Config(models={settings.name: settings}), trust.work_tree_reader(self.repo))
        trust.require(self.repo, found)
        return trust.fingerprint(found)

    def _announce(self, plan: Plan) -> None:
        """Before a long run: what it does, what it needs, how long the last one took."""
        settings = plan.settings
        against = f"against {plan.baseline.label}" if plan.baseline else "for the first time"
        needs = f"{(plan.disk + (1 << 20) - 1) >> 20} MiB of disk"
        try:
            last = f"; last time {float(self._times()[settings.name]):.1f} s"
        except (KeyError, TypeError, ValueError):
            last = ""
        self.say(f"{settings.name}: judging {against}; needs {needs}{last}")

    def _times(self) -> dict[str, float]:
        try:
            found = json.loads((self._cache / "times.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _key(self, plan: Plan, variants: tuple[Variant, ...] | None, code: str) -> str:
        """A name for everything that the outcome depends on."""
        settings = plan.settings
        sides = [
            None if side is None else (side.label, side.settings.main, side.located.bundle.hash)
            for side in (plan.baseline, plan.previous, plan.teacher)
        ]
        recipes = [
            (
                recipe,
                exclude_of(settings, recipe),
                self._builder.key(settings, plan.here.bundle, plan.calibration, recipe),
            )
            for recipe in settings.variants
        ]
        value = [
            _VERSION,
            canonical(settings).decode("ascii"),
            plan.here.bundle.hash,
            sides,
            sorted((gate, path) for gate, path in plan.data_hashes.items()),
            sorted(plan.missing.items()),
            recipes if variants is None else [to_plain(variant) for variant in variants],
            code,
            self._stage,
        ]
        return blake3(json.dumps(value).encode()).hexdigest()

    def _load(self, key: str) -> tuple[ModelOutcome, Record] | None:
        try:
            table = json.loads((self._cache / f"{key}.json").read_bytes())
            outcome, record = from_plain(ModelOutcome, table["outcome"]), from_plain(Record, table["record"])
        except (OSError, ValueError, KeyError, TypeError, LeptonError):
            return None
        if not all(self._store.has(digest) for digest in record.version_hashes()):
            return None
        return outcome, record

    def _note(self, key: str, judged: Judged) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        self._kept_outputs.trim(MAX_OUTPUTS)
        times = {**self._times(), judged.record.model: judged.outcome.seconds}
        atomic.write_file(self._cache / "times.json", json.dumps(times).encode(), durable=False)
        if not self._builder.passing and not any(f.verdict == "not-measured" for f in judged.outcome.outcomes):
            table = {"outcome": to_plain(judged.outcome), "record": to_plain(judged.record)}
            atomic.write_file(self._cache / f"{key}.json", json.dumps(table).encode(), durable=False)

    def close(self) -> None:
        """Remove what was restored to be judged."""
        self._workspace.close()


def text_of(record: Record) -> bytes:
    """The record's text, after a look that it can be read again.

    Raises:
        UsageError: a name in it cannot be kept.
    """
    text = record_text.to_text(record)
    try:
        record_text.parse(text)
    except LeptonError as error:
        raise UsageError(f"no record can be made of model {record.model}: {error.message}") from error
    return text
