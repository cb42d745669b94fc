"""fsck: whether what a revision tracks can be restored from this repository, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from git_lepton.errors import CorruptError, LeptonError, ManifestError, MissingError
from git_lepton.store import manifest
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.transfer.need import Need
from git_lepton.values import Hash

Kind = Literal["missing", "corrupt", "lie"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: "missing" (bytes are not here), "corrupt" (bytes are damaged) or "lie" (a manifest whose check line
            holds tells other tensors than the stored version has).
        path: the file in git.
        version: its hash.
        tensor: the tensor's name, where one is concerned.
        chunk: number of the chunk in that tensor.
        message: what was found.
    """

    kind: Kind
    path: str
    version: Hash
    tensor: str | None
    chunk: int | None
    message: str


def check_versions(store: Store, needs: Mapping[Hash, Sequence[Need]]) -> Iterator[Finding]:
    """Decode and hash everything that `needs` names; yield what is wrong."""
    for digest, places in needs.items():
        parsed = _manifest(store, places[0])
        if not store.has(digest):
            yield Finding("missing", places[0].path, digest, None, None, "the weights are not in this repository")
            continue
        try:
            if parsed is not None and not store.agrees(parsed):
                text = "the manifest does not tell what the stored version holds"
                yield Finding("lie", places[0].path, digest, None, None, text)
            for problem in store.verify(digest):
                tensor = _name(parsed, problem.stream)
                yield _finding(problem.error, places[0].path, digest, tensor, problem.number)
        except (MissingError, CorruptError) as error:
            yield _finding(error, places[0].path, digest, None, None)


def _finding(error: LeptonError, path: str, digest: Hash, tensor: str | None, chunk: int | None) -> Finding:
    kind: Kind = "missing" if isinstance(error, MissingError) else "corrupt"
    return Finding(kind, path, digest, tensor, chunk, error.message)


def _manifest(store: Store, place: Need) -> Manifest | None:
    try:
        return manifest.parse(bytes(store.objects.read(place.blob)[1]))
    except ManifestError:
        return None


def _name(parsed: Manifest | None, stream: Hash | None) -> str | None:
    if parsed is None or stream is None:
        return None
    return next((t.name for t in parsed.tensors if t.hash == stream), None)
