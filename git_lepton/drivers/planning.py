"""What the gate would judge, and whether it has to: read from the index or a revision, with no weight restored.

A model needs judging when its record does not hold: there is none, it is not valid, or its facts (bundle, rules,
examples, variants) are not those of the files beside it. Everything here reads git objects alone, so that a commit with
nothing to judge costs a few small reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from git_lepton.config.reading import parse as parse_config
from git_lepton.config.store import FILE_NAME
from git_lepton.config.values import Config, GateRule, ModelSettings
from git_lepton.drivers import mergenotes
from git_lepton.errors import LeptonError, UsageError
from git_lepton.gate.anchor import AnchorPoint, candidates
from git_lepton.gate.values import DataFile
from git_lepton.git.indexfile import ls_files
from git_lepton.git.repo import Repo
from git_lepton.record import locating, provenance
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.record.record import parse, path_of
from git_lepton.record.rules import fault
from git_lepton.record.values import Merged, Origins, Record
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED
from git_lepton.values import Hash, Oid

Examples = Part | DataFile
"""Examples in git, or outside of it with a hash that lepton.toml names."""

_COPIES: Final = 2
"""Copies of a model that a quantizer writes while it works."""
_NO_FILE: Final = "it is not in git: git add it, or give its blake3 where it lies outside"


@dataclass(frozen=True, slots=True)
class Side:
    """A model at some other point of the history: `label` is how a person calls the point."""

    label: str
    settings: ModelSettings
    located: LocatedBundle


@dataclass(frozen=True, slots=True)
class Plan:
    """One model, and everything that judging it would need.

    Attributes:
        settings: its rules.
        here: its bundle.
        baseline: what it is judged against, or None.
        previous: the version of the parent commit, for the figure beside.
        teacher: the model that it was distilled from.
        data: for each gate its examples; missing: for each gate without, why.
        calibration: the examples that static quantization sees.
        record: what is recorded beside it; None with `fault` when it is not valid.
        fault: why the record does not hold; empty when it does.
        notes: what a person should know.
    """

    settings: ModelSettings
    here: LocatedBundle
    baseline: Side | None = None
    previous: Side | None = None
    teacher: Side | None = None
    data: Mapping[str, Examples] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    calibration: Part | None = None
    record: Record | None = None
    fault: str = ""
    notes: tuple[str, ...] = ()

    @property
    def data_hashes(self) -> dict[str, Hash]:
        """Path -> hash of every set of examples that the settings name and that was found."""
        found = {
            gate.data: _hash_of(self.data[gate.name])
            for gate in self.settings.gates
            if gate.data is not None and gate.name in self.data
        }
        if self.calibration is not None:
            found[self.calibration.file.path] = self.calibration.file.blake3
        return dict(sorted(found.items()))

    @property
    def disk(self) -> int:
        """Bytes that judging writes for a while, at most."""
        sides = [side.located for side in (self.baseline, self.previous, self.teacher) if side is not None]
        bundles = {located.bundle.hash: located.bundle.size for located in (self.here, *sides)}
        files = {part.file.blake3: part.file.size for part in self.data.values() if isinstance(part, Part)}
        variants = len(self.settings.variants)
        built = self.here.bundle.size * (variants + _COPIES if variants else 0)
        return sum(bundles.values()) + sum(files.values()) + built


class Planner:
    """Reads models at revisions of one repository; what was read is kept."""

    def __init__(self, repo: Repo, store: Store) -> None:
        self._repo = repo
        self._store = store
        self._configs: dict[str, Config] = {}
        self._texts: dict[tuple[str, str], bytes | None] = {}

    def config_at(self, rev: str = STAGED) -> Config:
        """lepton.toml of `rev` or of the index; empty settings where there is none.

        Raises:
            UsageError: it is not valid, or `rev` leads to no tree.
        """
        if rev not in self._configs:
            data = self._read(rev, FILE_NAME)
            name = FILE_NAME if rev == STAGED else f"{rev}:{FILE_NAME}"
            self._configs[rev] = Config() if data is None else parse_config(data, name=name)
        return self._configs[rev]

    def side(self, label: str, rev: str, model: str, fallback: ModelSettings | None = None) -> Side | None:
        """The model as it was at `rev`, by the settings of that time; None when it was not there.

        Args:
            label: how to call the point.
            rev: leads to a tree.
            model: its name.
            fallback: settings to look with where lepton.toml of that time does not name the model, or is not valid.
        """
        try:
            settings = self.config_at(rev).models.get(model, fallback)
        except UsageError:
            settings = fallback
        if settings is None:
            return None
        located = locating.at(self._repo, self._store.objects, settings, rev)
        return Side(label, settings, located) if located.parts else None

    def plan(self, settings: ModelSettings, *, rev: str = STAGED) -> Plan | None:
        """One model at `rev` with its record, and nothing yet to compare it with; None when no file of it is there.

        Raises:
            LeptonError: a file of the model makes no sense.
        """
        objects = self._store.objects
        here = locating.at(self._repo, objects, settings, rev)
        if not here.parts:
            return None
        if settings.main != "." and here.bundle.file(settings.main) is None:
            raise UsageError(
                f"model {settings.name}: main is {settings.main!r}, and no such file matches files = "
                f"{list(settings.files)!r} under {settings.root or 'the top'}"
            )
        data, missing = self._data(settings, rev)
        calibration = locating.part_at(self._repo, objects, settings.calibration, rev) if settings.calibration else None
        plan = Plan(settings, here, data=data, missing=missing, calibration=calibration)
        record, why = self.record_at(settings.name, rev)
        return replace(plan, record=record, fault=why or (fault_of(record, plan) if record is not None else ""))

    def compared(
        self,
        plan: Plan,
        *,
        rev: str = STAGED,
        parent: Oid | None = None,
        anchors: Iterator[AnchorPoint] | None = None,
    ) -> Plan:
        """The plan with all that the model is compared with.

        Args:
            plan: as `plan` gave it.
            rev: where the teacher is looked for.
            parent: the commit before, None for the first, or to leave its figures out.
            anchors: commits to be judged against, the best first; by default see `gate.anchor`.

        Raises:
            LeptonError: the baseline makes no sense.
        """
        settings = plan.settings
        points = anchors if anchors is not None else candidates(self._repo, settings, parent)
        sides = ((point, self.side(point.label, point.commit, settings.name, settings)) for point in points)
        point, baseline = next(((point, side) for point, side in sides if side is not None), (None, None))
        if baseline is not None and point is not None and point.commit == parent:
            previous: Side | None = replace(baseline, label="HEAD")
        else:
            previous = self.side("HEAD", parent, settings.name, settings) if parent is not None else None
        teacher = None
        if settings.teacher is not None:
            teacher = self.side(f"teacher {settings.teacher}", rev, settings.teacher)
        missing = dict(plan.missing)
        if teacher is None:
            absent = f"no file of the teacher, model {settings.teacher}, is in git: git add it"
            missing |= {gate.name: absent for gate in settings.gates if gate.teacher is not None}
        return replace(
            plan,
            baseline=baseline,
            previous=previous,
            teacher=teacher,
            missing=missing,
        )

    def record_at(self, model: str, rev: str = STAGED) -> tuple[Record | None, str]:
        """The record of a model, or None and why there is none that holds together."""
        data = self.record_text(model, rev)
        if data is None:
            return None, "there is no record"
        try:
            return parse(data, name=path_of(model)), ""
        except LeptonError as error:
            return None, error.message

    def record_text(self, model: str, rev: str = STAGED) -> bytes | None:
        """The text of the record of a model, valid or not; None where there is none, or a conflict."""
        path = path_of(model)
        if rev == STAGED:
            entries = ls_files(self._repo, [f":(top,literal){path}"])
            return self._content(path, ((os.fsdecode(e.path), -1 if e.stage else e.mode, e.oid) for e in entries))
        if (rev, path) not in self._texts:
            self._texts[rev, path] = self._read(rev, path)
        return self._texts[rev, path]

    def origins(self, settings: ModelSettings, rev: str) -> Origins:
        """What made the model, as it is at `rev`."""
        return provenance.origins_at(self._repo, self._store.objects, settings.provenance, rev)

    def merged(self, plan: Plan, known: Sequence[Merged] = ()) -> tuple[Merged, ...]:
        """How files of the model came out of merges, as noted in this repository or `known` from an earlier record."""
        return mergenotes.record_of(self._repo, plan.here.bundle.files, known)

    def _data(self, settings: ModelSettings, rev: str) -> tuple[dict[str, Examples], dict[str, str]]:
        data: dict[str, Examples] = {}
        missing: dict[str, str] = {}
        for gate in settings.gates:
            if gate.data is None:
                continue
            found = locating.part_at(self._repo, self._store.objects, gate.data, rev)
            if found is not None:
                if gate.blake3 not in {None, found.file.blake3}:
                    missing[gate.name] = f"{gate.data} is not the file that lepton.toml names by its blake3"
                else:
                    data[gate.name] = found
            else:
                self._outside(gate, data, missing)
        return data, missing

    def _outside(self, gate: GateRule, data: dict[str, Examples], missing: dict[str, str]) -> None:
        """Examples that git does not have: the hash in lepton.toml tells whether the right file lies there."""
        assert gate.data is not None
        path = Path(gate.data) if self._repo.work_tree is None else self._repo.work_tree / gate.data
        if gate.blake3 is None:
            missing[gate.name] = f"{gate.data}: {_NO_FILE}"
        elif not path.is_file():
            missing[gate.name] = f"{gate.data} is not here: put the file with blake3 {gate.blake3[:12]}… there"
        elif (found := locating.of_file(path, gate.data).blake3) != gate.blake3:
            missing[gate.name] = (
                f"{gate.data} has blake3 {found[:12]}…: put the file with {gate.blake3[:12]}… of lepton.toml there"
            )
        else:
            data[gate.name] = DataFile(path, gate.blake3)

    def _read(self, rev: str, path: str) -> bytes | None:
        return self._content(path, locating.entries(self._repo, rev, path))

    def _content(self, path: str, entries: Iterable[tuple[str, int, Oid]]) -> bytes | None:
        """The ordinary file at `path` among entries of path, mode and blob."""
        for found, mode, blob in entries:
            if found == path and mode in {0o100644, 0o100755}:
                return bytes(self._store.objects.read(blob)[1])
        return None


def fault_of(record: Record, plan: Plan) -> str:
    """Why a record is not that of the model beside it; empty when it is."""
    return fault(record, plan.settings, plan.here.bundle, plan.data_hashes)


def _hash_of(examples: Examples) -> Hash:
    return examples.file.blake3 if isinstance(examples, Part) else examples.blake3
