"""Work trees whose branch a migration moves: refused when dirty, and put right afterwards without touching weights.

The weights on the disk are the same before and after; only the index must name the new blobs, and `.gitattributes` on
the disk must be the new one. So no file is checked out: the index is read from the new commit, and the stat data of the
files that are there is written into it, after which `git status` is clean and ran no filter. Where the disk holds the
text of a pointer or a manifest instead of the weights, those are restored.

Refs move before the index does. What is still to be settled is noted in a file first, so that a run that was killed in
between is completed by the next one.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton import atomic
from git_lepton.errors import UsageError
from git_lepton.git.indexfile import patch_stat, refresh
from git_lepton.git.repo import Repo, discover, git_version
from git_lepton.migrate.content import PEEK, classify
from git_lepton.migrate.plan import some
from git_lepton.migrate.trees import ATTRIBUTES
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.values import Oid

_BUSY: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply")
_NULL_SAFE: Final = (2, 36)
_RACY_NS: Final = 2 * 10**9
_TEXT: Final = 4096
"""Files on the disk below this size are looked into: they may be a pointer or a manifest."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A work tree at `top` whose index is that of `old` while its branch is at `new`."""

    top: str
    old: Oid
    new: Oid


def checked_out(repo: Repo, refs: Collection[str]) -> list[tuple[Repo, str]]:
    """Work trees (this one and linked ones) that have one of `refs` checked out, with that ref."""
    zero = ("-z",) if git_version() >= _NULL_SAFE else ()
    end = b"\0" if zero else b"\n"
    output = repo.git("worktree", "list", "--porcelain", *zero).stdout
    found = []
    for block in output.split(end + end):
        fields = dict(line.partition(b" ")[::2] for line in block.split(end) if line)
        branch, top = os.fsdecode(fields.get(b"branch", b"")), Path(os.fsdecode(fields.get(b"worktree", b"")))
        if branch in refs and b"bare" not in fields and top.is_dir():
            here = repo.work_tree is not None and top == repo.work_tree
            found.append((repo if here else discover(top), branch))
    return found


def require_clean(tree: Repo) -> None:
    """Refuse a work tree with changes, or in the middle of a merge or a rebase.

    Raises:
        UsageError: naming the first changes.
    """
    busy = next((name for name in _BUSY if (tree.git_dir / name).exists()), None)
    if busy is not None:
        raise UsageError(f"{tree.work_tree} is in the middle of something ({busy})", hint="finish it, or abort it")
    command = ("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
    changes = tree.git(*command).stdout.split(b"\0")[:-1]
    if changes:
        raise UsageError(
            f"{tree.work_tree} has uncommitted changes: {some([os.fsdecode(change[3:]) for change in changes])}",
            hint="commit or stash them first",
        )


def settle(store: Store, tree: Repo, old: Oid, new: Oid) -> None:
    """Bring index and work tree from commit `old` to commit `new`, whose files have the same meaning."""
    assert tree.work_tree is not None
    tree.git("read-tree", "-m", new)
    stats: dict[bytes, os.stat_result] = {}
    expected: dict[bytes, Oid] = {}
    for path, before, after in _changes(tree, old, new):
        place = Path(os.fsdecode(bytes(tree.work_tree) + b"/" + path))
        if path.rpartition(b"/")[2] == ATTRIBUTES:
            _write_attributes(store, place, after)
        else:
            manifest = _manifest(store, after) or _manifest(store, before)
            if manifest is not None:
                _ensure_weights(store, place, manifest)
        if after is not None and place.is_file() and not place.is_symlink():
            _age(place)
            stats[path], expected[path] = place.lstat(), after
    refresh(tree, patch_stat(tree, stats, expected))


def _age(place: Path) -> None:
    """Make a file of this very moment a little older, or git would not trust the index about it."""
    status = place.stat()
    settled = time.time_ns() - _RACY_NS
    if status.st_mtime_ns > settled:
        os.utime(place, ns=(status.st_atime_ns, settled))


def _changes(tree: Repo, old: Oid, new: Oid) -> Iterator[tuple[bytes, Oid | None, Oid | None]]:
    output = tree.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new).stdout
    fields = iter(output.split(b"\0")[:-1])
    for head in fields:
        before, after = head.decode("ascii").split()[2:4]
        yield (
            next(fields),
            None if before == tree.null_oid else Oid(before),
            None if after == tree.null_oid else Oid(after),
        )


def _write_attributes(store: Store, place: Path, after: Oid | None) -> None:
    if after is None:
        place.unlink(missing_ok=True)
    elif place.parent.is_dir() and not place.is_symlink():
        atomic.write_file(place, bytes(store.objects.read(after)[1]), durable=False)


def _manifest(store: Store, blob: Oid | None) -> Manifest | None:
    if blob is None or store.objects.size(blob) > PEEK:
        return None
    return classify(bytes(store.objects.read(blob)[1])).manifest


def _ensure_weights(store: Store, place: Path, manifest: Manifest) -> None:
    """Restore a file whose place on the disk is taken by a text that stands for it."""
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return  # outside a sparse checkout
    if not stat.S_ISREG(status.st_mode):
        return
    if status.st_size < _TEXT:
        content = classify(place.read_bytes())
        text = content.ours or content.pointer is not None
    else:
        text = False
    if text or status.st_size != manifest.size:
        store.restore_file(manifest.blake3, place, mode=stat.S_IMODE(status.st_mode))


def _note(repo: Repo) -> Path:
    return repo.lepton_dir / "migrate.json"


def note_unsettled(repo: Repo, unsettled: Sequence[Unsettled]) -> None:
    """Remember what a killed run leaves to be settled."""
    repo.lepton_dir.mkdir(exist_ok=True)
    rows = [[item.top, item.old, item.new] for item in unsettled]
    atomic.write_file(_note(repo), json.dumps({"version": 1, "unsettled": rows}).encode())


def forget_unsettled(repo: Repo) -> None:
    """All is settled."""
    _note(repo).unlink(missing_ok=True)


def unsettled(repo: Repo) -> list[tuple[Repo, Unsettled]]:
    """Work trees that a killed run left: the branch moved, and the index is still that of before (or just new)."""
    try:
        rows = json.loads(_note(repo).read_bytes())["unsettled"]
        items = [Unsettled(str(top), Oid(str(old)), Oid(str(new))) for top, old, new in rows]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return []
    found = []
    for item in items:
        if not Path(item.top).is_dir():
            continue
        tree = discover(Path(item.top))
        head = tree.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).stdout.strip().decode()
        if head == item.new and any(_index_is(tree, commit) for commit in (item.old, item.new)):
            found.append((tree, item))
    return found


def _index_is(tree: Repo, commit: Oid) -> bool:
    command = ("diff-index", "--cached", "--quiet", "--ignore-submodules=all", commit, "--")
    return tree.git(*command, check=False).status == 0
