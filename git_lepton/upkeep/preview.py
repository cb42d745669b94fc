"""What will be paid before it is: bytes that an add would store, and versions that a push would send."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from git_lepton import formats
from git_lepton.git.refs import list_refs
from git_lepton.git.repo import Repo
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store
from git_lepton.store.survey import survey
from git_lepton.store.tracked import STAGED
from git_lepton.transfer.cost import Cost, estimate
from git_lepton.transfer.need import NeedFinder, Needs


@dataclass(frozen=True, slots=True)
class AddPreview:
    """What `git add` of a file would store.

    Attributes:
        size: bytes of the file.
        new: bytes, before compression, in chunks that no stored version has.
        tensors: how many it has.
        changed: how many of them no stored version has.
        warning: why it would be stored whole, without its tensors, or None.
    """

    size: int
    new: int
    tensors: int
    changed: int
    warning: str | None


def preview_add(store: Store, path: Path, name: str) -> AddPreview:
    """Read a file as an add would, and store nothing. `name` is its path in git.

    Raises:
        ChangedError: it changed while it was read.
        OSError: it cannot be read.
    """
    with FileSource(path) as source:
        layout, warning = formats.parse(source.view(), name)
        store.progress.start(f"reading {name}", 2 * layout.size)
        try:
            found = survey(source, layout, store.progress)
        finally:
            store.progress.finish()
    streams = {stream.hash: stream for stream in (found.other, *found.tensors)}
    known = store.lookup.streams(streams)
    lengths = {
        chunk: length
        for digest, stream in streams.items()
        if digest not in known
        for chunk, length in zip(stream.chunk_hashes, stream.chunk_lengths, strict=True)
    }
    here = store.lookup.chunks(lengths)
    changed = sum(stream.hash not in known for stream in found.tensors if stream.length)
    new = sum(length for chunk, length in lengths.items() if chunk not in here)
    return AddPreview(layout.size, new, len(found.tensors), changed, warning)


def unpushed(store: Store, remote: str) -> Needs:
    """Versions that a push of HEAD and of what is staged would bring to `remote`, as far as is known without asking.

    Known are the commits at which the remote's branches were seen last, and all that their history brought.
    """
    finder = NeedFinder(store.repo, store.objects)
    seen = list(list_refs(store.repo, f"refs/remotes/{remote}/").values())
    head = store.repo.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False).status == 0
    needs = finder.for_history(["HEAD"], seen) if head else {}
    committed = finder.for_tree("HEAD") if head else {}
    staged = finder.for_tree(STAGED)
    needs |= {version: places for version, places in staged.items() if version not in committed}
    return _without_old(store.repo, remote, needs) if seen else needs


def _without_old(repo: Repo, remote: str, needs: Needs) -> Needs:
    """`needs` without what came back, by a revert or a checkout of an old version: the remote had it before."""
    if not needs:
        return needs
    paths = {b":(top,literal)" + os.fsencode(place.path) for places in needs.values() for place in places}
    command = (
        "log",
        "--full-history",
        "-m",
        "--format=",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        f"--remotes={remote}",
    )
    had = set(repo.git(*command, "--", *sorted(paths), check=False).stdout.split())
    return {
        version: places
        for version, places in needs.items()
        if not any(place.blob.encode("ascii") in had for place in places)
    }


def push_cost(store: Store, needs: Needs) -> Cost:
    """An estimate of sending those versions of `needs` that are stored, to a remote that has all others stored here."""
    going = [version for version in needs if store.has(version)]
    others = [version for version in store.versions() if version not in needs]
    return estimate(map(store.index, going), (chunk.oid for version in others for chunk in store.index(version).chunks))
