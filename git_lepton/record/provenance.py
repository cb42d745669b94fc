"""What made a model: the content of its data, code, parameters and package lists when it was recorded.

The record keeps the hash of each file at the time the model changed. Comparing them with the files of a later commit
tells which of them changed since, and so whether the committed model is still the one that these inputs would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from git_lepton.config.values import ProvenanceSettings
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.record import locating
from git_lepton.record.globs import matcher
from git_lepton.record.values import Origins
from git_lepton.values import Hash

KINDS: Final = ("data", "code", "params", "packages")

OriginChange = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class OriginRow:
    """One file that made the model, then and now: `kind` is one of `KINDS`."""

    kind: str
    path: str
    then: Hash | None
    now: Hash | None

    @property
    def change(self) -> OriginChange:
        """What became of it since the model was recorded."""
        if self.then is None:
            return "added"
        if self.now is None:
            return "removed"
        return "same" if self.then == self.now else "changed"


def origins_at(repo: Repo, objects: ObjectReader, settings: ProvenanceSettings, rev: str) -> Origins:
    """Every file that the settings name, in `rev` or in the index.

    Raises:
        UsageError: a glob is none, or `rev` leads to no tree.
    """
    wanted = {kind: getattr(settings, kind) for kind in KINDS}
    if not any(wanted.values()):
        return Origins()
    matches = {kind: matcher(globs) for kind, globs in wanted.items() if globs}
    found: dict[str, dict[str, Hash]] = {kind: {} for kind in KINDS}
    for path, mode, blob in locating.entries(repo, rev):
        kinds = [kind for kind, match in matches.items() if match(path)]
        if kinds:
            part = locating.locate(repo, objects, path, path, mode, blob)
            for kind in kinds:
                found[kind][path] = part.file.blake3
    return Origins(found["data"], found["code"], found["params"], found["packages"])


def compare(then: Origins, now: Origins) -> list[OriginRow]:
    """Every file of either side, by kind and path."""
    return list(_rows(then, now))


def _rows(then: Origins, now: Origins) -> Iterator[OriginRow]:
    for kind in KINDS:
        before: Mapping[str, Hash] = getattr(then, kind)
        after: Mapping[str, Hash] = getattr(now, kind)
        for path in sorted({*before, *after}):
            yield OriginRow(kind, path, before.get(path), after.get(path))
