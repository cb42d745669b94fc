"""From a verified tag to bytes in the mirror: the record, the files that it binds, and the chunks that are missing.

The tag names the commit, the record and the bundle by hash; the record lists every file of the bundle with size and
BLAKE3; a manifest names the version that has its content. Each link is compared with the one before, so what arrives
is what was signed, and nothing else is asked for: the record, the bundle's own blobs, the chunks that are not here.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from git_lepton.agent.mirror import Mirror
from git_lepton.agent.settings import Follow
from git_lepton.agent.values import Release, Source, Wanted
from git_lepton.agent.verify import refused
from git_lepton.config.reading import parse
from git_lepton.config.store import FILE_NAME
from git_lepton.errors import FrameError, LeptonError, ManifestError, UsageError
from git_lepton.git.lstree import TreeItem, ls_tree
from git_lepton.record import bundle, locating, record
from git_lepton.record.bundle import Bundle, BundleFile
from git_lepton.record.globs import matcher
from git_lepton.record.record import path_of
from git_lepton.record.values import Record
from git_lepton.store.store import Store
from git_lepton.transfer.fetch import bring_or_fail
from git_lepton.values import Hash, Oid

_MODES: Final = (0o100644, 0o100755)


@dataclass(frozen=True, slots=True)
class Collected:
    """A release whose bytes are all in the mirror.

    Attributes:
        release: what it is; `since` is not set.
        golden: the version of its golden file, or None.
        bytes: that had to come.
        seconds: that took.
    """

    release: Release
    golden: Hash | None
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a move puts in place: the bundle, what to load, the root of its files in git, and the golden file."""

    bundle: Bundle
    main: str
    root: str
    derived: frozenset[str]
    golden: BundleFile | None


def collect(mirror: Mirror, store: Store, follow: Follow, wanted: Wanted) -> Collected:
    """Bring what `wanted` needs into the mirror.

    Raises:
        VerificationError: something is not what was signed, or must not be taken.
        MissingError: the remote cannot be reached, or lacks something.
    """
    began = time.monotonic()
    contents, received = _contents(mirror, store, follow, wanted)
    _check_bundle(contents.bundle, follow)
    items = _files_of(mirror, wanted.commit, contents.root)
    blobs = {}
    for file in contents.bundle.files:
        if file.path not in contents.derived:
            item = items.get(f"{contents.root}/{file.path}" if contents.root else file.path)
            blobs[file.path] = _checked_item(item, file)
    received += mirror.fetch_blobs(store.objects, {item.oid for item in blobs.values()})
    sources, versions = [], {}
    for file in contents.bundle.files:
        blob = _plain_blob(store, file, blobs[file.path]) if file.path in blobs else None
        sources.append(Source(file.line(), blob))
        if blob is None:
            versions[file.blake3] = file.path
    golden = contents.golden.blake3 if contents.golden else None
    if contents.golden:
        versions[contents.golden.blake3] = contents.golden.path
    received += bring_or_fail(store, versions, remotes=mirror.remotes).bytes
    bundle = contents.bundle
    release = Release.of(wanted, bundle=bundle.hash, main=contents.main, size=bundle.size, sources=tuple(sources))
    return Collected(release, golden, received, time.monotonic() - began)


def _contents(mirror: Mirror, store: Store, follow: Follow, wanted: Wanted) -> tuple[_Contents, int]:
    """What is to be put in place, from the record, or from lepton.toml where a record is not asked for."""
    path = path_of(wanted.model)
    item = _files_of(mirror, wanted.commit, path).get(path)
    if wanted.record is None and (item is None or wanted.action is not None):
        if follow.record == "required" and wanted.action is not None:
            raise refused("record", f"move {wanted.seq} of {wanted.model}@{wanted.channel} names no record")
        return _from_settings(mirror, store, wanted)
    if item is None or item.mode not in _MODES:
        raise refused("record", f"commit {wanted.commit[:12]} has no record of {wanted.model}")
    received = mirror.fetch_blobs(store.objects, [item.oid])
    if store.objects.size(item.oid) > record.MAX_BYTES:
        raise refused("record", f"the record of {wanted.model} is larger than any")
    data = bytes(store.objects.read(item.oid)[1])
    if wanted.record is not None and blake3(data).hexdigest() != wanted.record:
        raise refused("record", f"the record of {wanted.model} in commit {wanted.commit[:12]} is not the one signed")
    try:
        found = record.parse(data, name=path)
        return _chosen(found, wanted), received
    except FrameError as error:
        raise refused("record", error.message) from error


def _chosen(found: Record, wanted: Wanted) -> _Contents:
    """The bundle of the record that is to run here."""
    if found.model != wanted.model:
        raise refused("record", f"the record is that of {found.model}, not of {wanted.model}")
    failed = [o.gate for o in found.outcome if o.verdict == "fail" and o.variant in {"", wanted.variant}]
    failed += [b.kind for b in found.budget if b.verdict == "fail" and b.variant in {"", wanted.variant}]
    if failed:
        raise refused("verdict", f"the record of {wanted.model} says that {failed[0]} failed")
    original = Bundle(found.files)
    contents = _Contents(original, found.main, found.root, frozenset(), found.golden)
    if wanted.variant:
        variant = next((v for v in found.variant if v.recipe == wanted.variant), None)
        if variant is None or variant.skipped:
            why = variant.skipped if variant else "the record has none"
            raise refused("record", f"there is no variant {wanted.variant} of {wanted.model}: {why}")
        derived = frozenset(file.path for file in variant.files)
        contents = _Contents(variant.all_files(original), variant.main, found.root, derived, found.golden)
    if wanted.bundle is not None and contents.bundle.hash != wanted.bundle:
        raise refused("bundle", f"the record of {wanted.model} has another bundle than the one signed")
    return contents


def _from_settings(mirror: Mirror, store: Store, wanted: Wanted) -> tuple[_Contents, int]:
    """The bundle that lepton.toml of the commit describes; its small files are fetched to learn it."""
    item = _files_of(mirror, wanted.commit, FILE_NAME).get(FILE_NAME)
    if item is None or item.mode not in _MODES:
        raise refused("record", f"commit {wanted.commit[:12]} has neither a record of {wanted.model} nor a lepton.toml")
    received = mirror.fetch_blobs(store.objects, [item.oid])
    try:
        config = parse(bytes(store.objects.read(item.oid)[1]))
        settings = config.models.get(wanted.model)
        if settings is None or wanted.variant:
            what = f"variant {wanted.variant} of {wanted.model}" if settings else f"model {wanted.model}"
            raise refused("record", f"commit {wanted.commit[:12]} has no record, and lepton.toml no {what}")
        matches = matcher(settings.files)
        prefix = f"{settings.root}/" if settings.root else ""
        found = _files_of(mirror, wanted.commit, settings.root)
        blobs = [i.oid for p, i in found.items() if p.startswith(prefix) and matches(p.removeprefix(prefix))]
        received += mirror.fetch_blobs(store.objects, blobs)
        located = locating.at(mirror.repo, store.objects, settings, wanted.commit)
    except (UsageError, FrameError, ManifestError) as error:
        raise refused("bundle", f"commit {wanted.commit[:12]}: {error.message}") from error
    if not located.parts or (wanted.bundle is not None and located.bundle.hash != wanted.bundle):
        raise refused("bundle", f"the files of {wanted.model} in commit {wanted.commit[:12]} are not those signed")
    return _Contents(located.bundle, settings.main, settings.root, frozenset(), None), received


def _files_of(mirror: Mirror, commit: Oid, path: str) -> Mapping[str, TreeItem]:
    """The entries of the commit's tree at or below a path. The trees are here, the blobs need not be."""
    try:
        listed = ls_tree(mirror.repo, commit, [os.fsencode(path)] if path else ())
    except (UsageError, LeptonError) as error:
        raise refused("bundle", f"commit {commit[:12]} cannot be read: {error.message}") from error
    return {os.fsdecode(item.path): item for item in listed}


def _checked_item(item: TreeItem | None, file: BundleFile) -> TreeItem:
    if item is None:
        raise refused("bundle", f"{file.path} is in the record, and not in the commit")
    if item.mode not in _MODES:
        raise refused("path", f"{file.path} is no ordinary file in git (mode {item.mode:o})")
    return item


def _plain_blob(store: Store, file: BundleFile, item: TreeItem) -> Oid | None:
    """The blob itself when it is the file; None when it is a manifest of it."""
    try:
        part = locating.locate(store.repo, store.objects, file.path, file.path, item.mode, item.oid)
    except (ManifestError, FrameError) as error:
        raise refused("manifest", error.message) from error
    if part.file != file:
        raise refused("bundle", f"{file.path} in the commit is not the file that the record has")
    return None if part.manifest else item.oid


def _check_bundle(found: Bundle, follow: Follow) -> None:
    """Refuse what must not be put on this disk: too much, nothing, or paths that one another hide."""
    if found.size > follow.max_bytes:
        raise refused("size", f"the release has {found.size} bytes; max_bytes allows {follow.max_bytes}")
    if not found.files:
        raise refused("bundle", "the release has no files")
    _check_paths(file.path for file in found.files)


def _check_paths(paths: Iterable[str]) -> None:
    """Raise for a path that the bundle's grammar refuses, and for two that some file system takes for one."""
    taken: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        try:
            bundle.check_path(path)
        except FrameError as error:
            raise refused("path", error.message) from error
        folded = _folded(path)
        if folded in taken or folded in folders:
            raise refused("path", f"{path} and {taken.get(folded) or folders[folded]} are one path on some systems")
        taken[folded] = path
        above = path.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            folder = "/".join(above[:depth])
            if _folded(folder) in taken or folders.setdefault(_folded(folder), folder) != folder:
                raise refused("path", f"{path} leads through {folder}, which is another path on some systems")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
