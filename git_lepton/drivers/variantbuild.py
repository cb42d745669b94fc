"""Variants of a model that git holds: built once, kept in the store, found again by what decides their bytes.

A variant's files become stored versions, so that they can be pushed, fetched and deployed like any weights; what they
are is noted in a small file of the repository's own folder, under a name made of everything that decides the bytes
(`variants.build.recipe_key`). A variant that could not be made is noted as well, with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton import atomic
from git_lepton.config.values import ModelSettings
from git_lepton.errors import LeptonError
from git_lepton.gate.values import Folder
from git_lepton.gate.workspace import Workspace
from git_lepton.proc import Spare
from git_lepton.record import locating
from git_lepton.record.bundle import Bundle, BundleFile
from git_lepton.record.locating import LocatedBundle, Part
from git_lepton.record.plain import from_plain, to_plain
from git_lepton.record.values import TensorLoss, Variant
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store
from git_lepton.values import Hash
from git_lepton.variants.build import build, recipe_key
from git_lepton.variants.values import RECIPE_VERSION, Built, ModelFolder, Skipped, TensorError

CACHE: Final = "cache/variants"
_WORST: Final = 5
_DIGITS: Final = 4


class VariantBuilder:
    """Builds the variants of models of one repository, or finds them.

    Attributes:
        passing: whether one was skipped for a reason that may pass, such as too little memory.
    """

    def __init__(
        self,
        store: Store,
        workspace: Workspace,
        *,
        say: Callable[[str], None],
        rebuild: bool = False,
        spare: Spare | None = None,
    ) -> None:
        """Prepare; `rebuild` believes no earlier result, `spare` is a child for the first build."""
        self._store = store
        self._workspace = workspace
        self._say = say
        self._rebuild = rebuild
        self._spare = spare
        self._cache = store.repo.lepton_dir / CACHE
        self.passing = False

    def known(self, settings: ModelSettings, original: Bundle, calibration: Part | None) -> dict[str, Variant]:
        """Those variants that need not be built, by recipe."""
        found = {r: self._load(self.key(settings, original, calibration, r)) for r in settings.variants}
        return {recipe: variant for recipe, variant in found.items() if variant is not None}

    def build(self, settings: ModelSettings, original: LocatedBundle, calibration: Part | None, recipe: str) -> Variant:
        """One variant, from the store or made now.

        Raises:
            UsageError: the recipe or the calibration data make no sense.
            MissingError: the original's weights are nowhere to be had.
            CommandError: the build failed for a reason that is not the model's.
        """
        key = self.key(settings, original.bundle, calibration, recipe)
        known = self._load(key)
        if known is not None:
            return known
        self._say(f"{settings.name}: building {recipe}")
        model = self._workspace.bundle(original, settings.main, root=settings.root)
        out = self._workspace.folder("variant") / "files"
        made = build(
            recipe,
            ModelFolder(model.path, settings.main, tuple(file.path for file in original.bundle.files)),
            out,
            calibration=None if calibration is None else self._workspace.data(calibration).path,
            exclude=exclude_of(settings, recipe),
            spare=self._spare,
        )
        for glob in made.unmatched if isinstance(made, Built) else ():
            self._say(f"{settings.name}: exclude {glob!r} of {recipe} matches no tensor and no node")
        if isinstance(made, Skipped):
            variant = Variant(recipe, RECIPE_VERSION, skipped=made.reason)
        else:
            variant = self._keep(settings, original.bundle, made, out)
        if isinstance(made, Skipped) and made.passing:
            self.passing = True
        else:
            self._note(key, variant)
        return variant

    def folder(self, variant: Variant, original: LocatedBundle) -> Folder:
        """Write a variant's whole bundle out. Raises as `Workspace.variant`."""
        return self._workspace.variant(variant.all_files(original.bundle), variant.main, original)

    def _keep(self, settings: ModelSettings, original: Bundle, made: Built, out: Path) -> Variant:
        """Store the files that differ, and say what the variant is."""
        files = []
        for change in made.files:
            if change.change == "dropped":
                continue
            before = original.file(change.path)
            found = locating.of_file(out / change.path, change.path)
            file = BundleFile(found.path, before.mode if before else 0o100644, found.size, found.blake3)
            if before != file:
                with FileSource(out / change.path) as source:
                    self._store.add(source, change.path, file_hash=file.blake3)
                self._workspace.offer(file.blake3, out / change.path)
                files.append(file)
        drop = tuple(change.path for change in made.files if change.change == "dropped")
        draft = Variant(made.recipe, made.recipe_version, files=tuple(files), drop=drop)
        whole = draft.all_files(original)
        return Variant(
            recipe=made.recipe,
            version=made.recipe_version,
            bundle=whole.hash,
            main=_main(settings.main, whole, files),
            size=whole.size,
            files=tuple(files),
            drop=drop,
            tools=dict(sorted(made.tools.items())),
            losses=_losses(made.tensor_errors),
        )

    def key(self, settings: ModelSettings, original: Bundle, calibration: Part | None, recipe: str) -> str:
        """A name for everything that decides the bytes of a variant."""
        examples = None if calibration is None else calibration.file.blake3
        return recipe_key(recipe, _identity(original, settings.main), examples, exclude_of(settings, recipe))

    def _load(self, key: str) -> Variant | None:
        if self._rebuild:
            return None
        try:
            variant = from_plain(Variant, json.loads((self._cache / f"{key}.json").read_bytes()))
        except (OSError, ValueError, LeptonError):  # never noted, or not by this version
            return None
        return variant if all(self._store.has(file.blake3) for file in variant.files) else None

    def _note(self, key: str, variant: Variant) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        atomic.write_file(self._cache / f"{key}.json", json.dumps(to_plain(variant)).encode(), durable=False)


def exclude_of(settings: ModelSettings, recipe: str) -> tuple[str, ...]:
    """The globs of names that a recipe leaves alone."""
    return tuple(dict.fromkeys((*settings.exclude.get("", ()), *settings.exclude.get(recipe, ()))))


def _identity(original: Bundle, main: str) -> Hash:
    """What the original is to a build: its files, and which of them is loaded."""
    return Hash(blake3(f"{original.hash} {main}".encode()).hexdigest())


def _main(main: str, whole: Bundle, files: Sequence[BundleFile]) -> str:
    """What a loader opens of a variant: the same path, where it is still there; else its own weight file."""
    if main == "." or whole.file(main) is not None:
        return main
    largest = max(files, key=lambda file: file.size, default=None)
    return "." if largest is None else largest.path


def _losses(errors: Sequence[TensorError]) -> tuple[TensorLoss, ...]:
    def weight(error: TensorError) -> float:
        return math.inf if math.isnan(error.relative_l2) else error.relative_l2

    worst = sorted(errors, key=lambda error: (-weight(error), error.name))[:_WORST]
    return tuple(
        TensorLoss(error.name, float(f"{error.relative_l2:.{_DIGITS}g}"), float(f"{error.max_abs:.{_DIGITS}g}"))
        for error in worst
    )
