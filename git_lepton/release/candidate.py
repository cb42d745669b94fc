"""A model as a commit has it: its files, its record, and whether the two belong together.

Only git objects are read: manifests and records name every file by size and hash, so no weight is restored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from blake3 import blake3

from git_lepton.config.reading import parse as parse_config
from git_lepton.config.store import FILE_NAME
from git_lepton.config.values import Config, ModelSettings
from git_lepton.errors import FrameError, UsageError, VerificationError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.record import locating
from git_lepton.record.bundle import Bundle, BundleFile
from git_lepton.record.locating import LocatedBundle
from git_lepton.record.record import parse as parse_record
from git_lepton.record.record import path_of
from git_lepton.record.rules import fault
from git_lepton.record.values import Record, Variant
from git_lepton.store.tracked import files_at
from git_lepton.transfer.need import Need, Needs
from git_lepton.values import Hash, Oid


@dataclass(frozen=True, slots=True)
class Text:
    """A text file of a commit: its blob and its content."""

    blob: Oid
    data: bytes


@dataclass(frozen=True)
class Candidate:
    """One model at one commit.

    Attributes:
        model: its name.
        commit: where.
        settings: of lepton.toml at that commit, or made up where it does not name the model.
        configured: whether it does.
        located: the files.
        text: the record as it was committed; None without one.
        record: what it says; None without one, or when it is not valid.
        fault: why the record does not hold; "" when it does, or there is none.
    """

    model: str
    commit: Oid
    settings: ModelSettings
    configured: bool
    located: LocatedBundle
    text: Text | None
    record: Record | None
    fault: str

    @property
    def record_hash(self) -> Hash | None:
        """What a tag calls the record."""
        return None if self.text is None else Hash(blake3(self.text.data).hexdigest())

    def variant(self, recipe: str) -> Variant | None:
        """The variant of this recipe, unless it was skipped."""
        found = self.record.variant if self.record is not None else ()
        return next((v for v in found if v.recipe == recipe and not v.skipped), None)

    def forms(self, recipe: str) -> tuple[str, ...]:
        """The original, and a variant if there is one of this recipe: what a release is made of."""
        return ("", recipe) if recipe and self.variant(recipe) is not None else ("",)

    def bundle(self, recipe: str) -> Bundle:
        """The files that run: of a variant, or of the original ("").

        Raises:
            VerificationError: there is no such variant.
        """
        if not recipe:
            return self.located.bundle
        variant = self.variant(recipe)
        if variant is None:
            raise VerificationError(f"{self.model} has no variant {recipe} in its record", reason="variant")
        return variant.all_files(self.located.bundle)

    def needs(self, recipes: Iterable[str]) -> Needs:
        """The stored versions that these forms of the model are made of, "" for the original, golden examples too."""
        needs: Needs = {}
        for need in self._needs(recipes):
            needs.setdefault(need.hash, []).append(need)
        return needs

    def _needs(self, recipes: Iterable[str]) -> Iterator[Need]:
        prefix = f"{self.settings.root}/" if self.settings.root else ""
        for recipe in recipes:
            wanted = {file.path: file.blake3 for file in self.bundle(recipe).files}
            for part in self.located.parts:
                if part.manifest is not None and wanted.get(part.file.path) == part.file.blake3:
                    yield Need(part.file.blake3, part.file.size, prefix + part.file.path, part.blob)
            variant = self.variant(recipe)
            for file in variant.files if variant is not None else ():
                yield self._of_record(file)
        if self.record is not None and self.record.golden is not None:
            yield self._of_record(self.record.golden)

    def _of_record(self, file: BundleFile) -> Need:
        assert self.text is not None
        return Need(file.blake3, file.size, file.path, self.text.blob)


def read(repo: Repo, objects: ObjectReader, model: str, commit: Oid) -> Candidate:
    """The model at a commit, by lepton.toml of that commit.

    Raises:
        UsageError: lepton.toml is not valid, or no file of the model is there.
        FrameError, ManifestError: a path or a manifest is not allowed.
    """
    config = config_at(repo, objects, commit)
    settings = config.models.get(model)
    found = settings or _guessed(repo, objects, model, commit)
    located = locating.at(repo, objects, found, commit)
    if not located.parts:
        raise UsageError(
            f"no file of model {model} is in commit {commit[:10]}", hint=f"lepton.toml there: [model.{model}] files"
        )
    text = text_at(repo, objects, commit, path_of(model))
    record, why = _record(model, text)
    if record is not None:
        why = fault(record, found, located.bundle, _data_hashes(repo, objects, found, commit))
    return Candidate(model, commit, found, settings is not None, located, text, record, why)


def as_recorded(repo: Repo, objects: ObjectReader, model: str, commit: Oid) -> Candidate:
    """The same by the record alone, as an agent reads it: a lepton.toml that is not valid any more stops no rollback.

    Raises as `read`.
    """
    text = text_at(repo, objects, commit, path_of(model))
    record, why = _record(model, text)
    if record is None:
        return read(repo, objects, model, commit)
    paths = tuple(file.path for file in record.files)
    settings = ModelSettings(model, record.root, paths, record.main)
    located = _located(repo, objects, record, commit)
    if located.bundle.hash != record.bundle:
        why = "it is about other files"
    return Candidate(model, commit, settings, True, located, text, record, why)


def _located(repo: Repo, objects: ObjectReader, record: Record, commit: Oid) -> LocatedBundle:
    prefix = f"{record.root}/" if record.root else ""
    wanted = {prefix + file.path: file.path for file in record.files}
    parts = [
        locating.locate(repo, objects, path, wanted[path], mode, blob)
        for path, mode, blob in locating.entries(repo, commit, record.root)
        if path in wanted
    ]
    return LocatedBundle(tuple(sorted(parts, key=lambda part: part.file.path.encode())))


def config_at(repo: Repo, objects: ObjectReader, rev: str) -> Config:
    """lepton.toml of a revision; empty settings without one. Raises UsageError when it is not valid."""
    text = text_at(repo, objects, rev, FILE_NAME)
    return Config() if text is None else parse_config(text.data, name=f"{rev[:10]}:{FILE_NAME}")


def text_at(repo: Repo, objects: ObjectReader, rev: str, path: str) -> Text | None:
    """An ordinary file of a revision, or None."""
    for found, mode, blob in locating.entries(repo, rev, path):
        if found == path and mode in {0o100644, 0o100755}:
            return Text(blob, bytes(objects.read(blob)[1]))
    return None


def _record(model: str, text: Text | None) -> tuple[Record | None, str]:
    if text is None:
        return None, ""
    try:
        record = parse_record(text.data)
    except FrameError as error:
        return None, error.message
    return (record, "") if record.model == model else (None, f"it is the record of model {record.model}")


def _data_hashes(repo: Repo, objects: ObjectReader, settings: ModelSettings, rev: str) -> dict[str, Hash]:
    """Path -> hash of the examples that the settings name; those outside of git by the hash that is named for them."""
    named = {gate.data: gate.blake3 for gate in settings.gates if gate.data is not None}
    found = {}
    for path, digest in {**named, **({settings.calibration: None} if settings.calibration else {})}.items():
        part = locating.part_at(repo, objects, path, rev)
        wanted = part.file.blake3 if part is not None else digest
        if wanted is not None:
            found[path] = wanted
    return found


def _guessed(repo: Repo, objects: ObjectReader, model: str, commit: Oid) -> ModelSettings:
    """Settings for a model that lepton.toml does not name: the weight file of its name, or the only one."""
    paths = [PurePosixPath(file.path) for file in files_at(repo, objects, commit).files]
    named = [path for path in paths if path.stem == model] or paths
    if len(named) != 1:
        raise UsageError(
            f"lepton.toml at {commit[:10]} has no [model.{model}], and "
            + ("no weights are tracked there" if not paths else f"{len(named)} weight files could be meant"),
            hint=f'add to lepton.toml:  [model.{model}]  main = "PATH"',
        )
    path = named[0]
    root = "" if str(path.parent) == "." else str(path.parent)
    return ModelSettings(model, root, (_literal(path.name),), path.name)


def _literal(name: str) -> str:
    """A glob that matches exactly this name."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
