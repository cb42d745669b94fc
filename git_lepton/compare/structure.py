"""What changed between two sides, from manifests and the bytes outside tensors alone: no weight is read.

The bytes outside tensors of a stored file may not be in the repository; `wanted_facts` tells what to bring first. What
is not there is not told: the file then counts as opaque where nothing else explains its change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from git_lepton.compare import facts
from git_lepton.compare.pairing import FilePair, Match, pair
from git_lepton.compare.sides import FileSide, Side
from git_lepton.compare.summary import summarise
from git_lepton.compare.values import Comparison, FactChange, FileChange, FileKind, TensorChange, TensorKind, TensorRef
from git_lepton.store.manifest import TensorLine
from git_lepton.values import Hash

_ARCHIVES: Final = frozenset({"pytorch", "npz"})
"""Formats whose other bytes hold checksums of the tensors, and differ whenever these do."""


def compare(before: Side, after: Side, *, with_facts: bool = True) -> Comparison:
    """Compare two sides.

    Args:
        before: the older or left side.
        after: the newer or right side.
        with_facts: also read what differs beside the tensors, as far as it is here.
    """
    if after.damaged:  # such a file was not removed
        before = replace(before, files={key: file for key, file in before.files.items() if key not in after.damaged})
    pairs = pair(before, after)
    files = [_file(item, with_facts) for item in pairs if not (item.equal and item.old_key == item.key)]
    found = Comparison(
        before=before.name,
        after=after.name,
        files=tuple(sorted(files, key=lambda change: (change.path, change.kind))),
        same_files=len(pairs) - len(files),
        numbers=False,
        sampled=False,
        summary="",
        damaged=after.damaged,
    )
    return replace(found, summary=summarise(found, before, after))


def wanted_facts(before: Side, after: Side) -> dict[Hash, set[Hash]]:
    """Versions, each with the hash of its other bytes, that `compare` reads for facts, wherever they are."""
    wanted: dict[Hash, set[Hash]] = {}
    for item in pair(before, after):
        if item.before and item.after and item.before.manifest.other_hash != item.after.manifest.other_hash:
            for manifest in (item.before.manifest, item.after.manifest):
                if facts.has_facts(manifest.format) and item.before.manifest.format == item.after.manifest.format:
                    wanted.setdefault(manifest.blake3, set()).add(manifest.other_hash)
    return wanted


def wanted_streams(comparison: Comparison, before: Side, after: Side) -> dict[Hash, set[Hash]]:
    """Versions, each with the hashes of the tensors that are read for the numbers of `comparison`."""
    wanted: dict[Hash, set[Hash]] = {}
    for change in (change for file in comparison.files for change in file.tensors):
        if change.before and change.after and change.before.hash != change.after.hash:
            for side, ref in ((before, change.before), (after, change.after)):
                file, line = side.find(ref)
                wanted.setdefault(file.manifest.blake3, set()).add(line.hash)
    return wanted


def _file(item: FilePair, with_facts: bool) -> FileChange:
    old, new = item.before, item.after
    known: tuple[FactChange, ...] | None = ()
    if with_facts and old and new and not item.equal:
        known = facts.differences(old, new)
    tensors = () if item.equal else tuple(_tensors(item))
    return FileChange(
        kind=_file_kind(item),
        before=old.path if old else None,
        after=new.path if new else None,
        format_before=old.manifest.format if old else "",
        format_after=new.manifest.format if new else "",
        size_before=old.manifest.size if old else 0,
        size_after=new.manifest.size if new else 0,
        tensors=tensors,
        same=len(new.manifest.tensors) if item.equal and new else item.same,
        facts=known or (),
        opaque=_is_opaque(item, tensors, known),
    )


def _file_kind(item: FilePair) -> FileKind:
    if item.before is None:
        return "added"
    if item.after is None:
        return "removed"
    return "renamed" if item.equal else "changed"


def _is_opaque(item: FilePair, tensors: tuple[TensorChange, ...], known: tuple[FactChange, ...] | None) -> bool:
    """See `FileChange.opaque`."""
    sides = [file.manifest for file in (item.before, item.after) if file]
    if not any(manifest.tensors for manifest in sides):
        return True
    if item.equal or len(sides) < 2 or known or sides[0].other_hash == sides[1].other_hash:
        return False
    old, new = ({tensor.name for tensor in manifest.tensors} for manifest in sides)
    if old != new:
        return False  # also by a tensor that another file has now
    if sides[1].format in _ARCHIVES:
        return not tensors
    return all(change.kind == "changed" and change.before and change.before.name == change.name for change in tensors)


def _tensors(item: FilePair) -> Iterator[TensorChange]:
    """Changes in the order of the newer file, then what was removed."""
    if item.after is not None:
        matches = {match.after.name: match for match in item.matched}
        alone = {line.name for line in item.alone_after}
        for line in item.after.manifest.tensors:
            if line.name in matches:
                match = matches[line.name]
                kind = _tensor_kind(match, same_file=match.source is item.before)
                yield TensorChange(kind, _ref(match.source, match.before), _ref(item.after, line))
            elif line.name in alone:
                yield TensorChange("added", None, _ref(item.after, line))
    if item.before is not None:
        for line in item.alone_before:
            yield TensorChange("removed", _ref(item.before, line), None)


def _tensor_kind(match: Match, *, same_file: bool) -> TensorKind:
    old, new = match.before, match.after
    if old.dtype != new.dtype:
        return "retyped"
    if old.shape != new.shape:
        return "reshaped"
    if not same_file:
        return "moved"
    return "changed" if old.hash != new.hash else "renamed"


def _ref(file: FileSide, line: TensorLine) -> TensorRef:
    return TensorRef(file.path, line.name, line.dtype, line.shape, line.hash)
