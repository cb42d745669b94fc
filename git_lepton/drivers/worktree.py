"""Weight files of the work tree: what each holds, and writing weights where a manifest stands in for them.

A file is written only where the work tree still holds exactly the manifest that the index names: to a temporary file
in our folder, verified, then renamed over it after another look. Afterwards the stat data in git's index is put right,
so that git neither believes the file modified nor runs the clean filter over it. The modification time is set two
seconds back for the same reason: git distrusts an entry as young as the index itself.

Files outside a sparse checkout, conflicts, and files that a person changed are left alone.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from git_lepton import atomic
from git_lepton.drivers.statcache import StatCache
from git_lepton.errors import CorruptError, LeptonError, UsageError
from git_lepton.git import indexfile
from git_lepton.git.objectid import hash_object
from git_lepton.git.repo import Repo, work_tree
from git_lepton.store.manifest import Manifest
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, TrackedFile, files_at
from git_lepton.transfer.fetch import bring, forget_incomplete
from git_lepton.values import Hash, Oid

State = Literal["present", "modified", "manifest", "missing", "deleted", "sparse", "conflict"]
"""What the work tree has at a path where the index has a manifest:

present: its weights. modified: something else. manifest: the manifest, and the weights are in this repository.
missing: the manifest, and the weights are not here. deleted: nothing. sparse: nothing, on purpose.
conflict: the index has several versions.
"""

_BACKDATE_NS: Final = 2 * 10**9
_SKIP_WORKTREE, _UNMERGED = "S", "M"
_FILE_MODE: Final = 0o100644


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One weight file of the index; `stored` tells whether the version it names is in this repository."""

    path: str
    manifest: Manifest
    state: State
    stored: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What writing weights to the work tree came to.

    Attributes:
        written: paths that now hold their weights.
        missing: paths that still hold a manifest, and why.
        kept: paths that were left alone, since they hold something else now.
        size: bytes written.
        deleted: paths where nothing is, which only a checkout of that path brings back.
        damaged: whether stored bytes of one of `missing` are not what they should be.
    """

    written: tuple[str, ...]
    missing: Mapping[str, str]
    kept: tuple[str, ...]
    size: int
    deleted: tuple[str, ...] = ()
    damaged: bool = False


def status(repo: Repo, store: Store, paths: Sequence[str] = ()) -> list[FileStatus]:
    """What the work tree holds for each weight file of the index, or of these `paths` (from the top).

    Raises:
        UsageError: the repository is bare.
        ChangedError: a file changed while it was read.
    """
    top = work_tree(repo)
    tags = _tags(repo, paths)
    found: dict[str, FileStatus] = {}
    with StatCache(repo) as cache:
        for file in files_at(repo, store.objects, STAGED, paths).files:
            stored = store.has(file.manifest.blake3)
            found[file.path] = FileStatus(
                file.path, file.manifest, _state(top, file, tags.get(file.path, ""), stored, cache), stored
            )
    return list(found.values())


def _state(top: Path, file: TrackedFile, tag: str, stored: bool, cache: StatCache) -> State:
    if tag in {_SKIP_WORKTREE, _UNMERGED}:
        return "sparse" if tag == _SKIP_WORKTREE else "conflict"
    path = top / file.path
    try:
        held = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "deleted"
    if holds_manifest(path, file.manifest):
        return "manifest" if stored else "missing"
    same = stat.S_ISREG(held.st_mode) and held.st_size == file.manifest.size
    return "present" if same and cache.hash_of(path) == file.manifest.blake3 else "modified"


def holds_manifest(path: Path, manifest: Manifest) -> bool:
    """Whether the file at `path` is exactly this manifest, line ends aside; links are not followed."""
    text = manifest.to_bytes()
    lines = text.count(b"\n")
    try:
        held = path.lstat()
        if not stat.S_ISREG(held.st_mode) or held.st_size not in {len(text), len(text) + lines}:
            return False
        return path.read_bytes() in {text, text.replace(b"\n", b"\r\n")}
    except (FileNotFoundError, NotADirectoryError):
        return False


def _tags(repo: Repo, paths: Sequence[str]) -> dict[str, str]:
    """One letter of git for each path in the index: "S" skip-worktree, "M" unmerged, "H" otherwise."""
    specs = [] if "." in paths else [b":(top,literal)" + os.fsencode(p) for p in paths]
    output = repo.git("ls-files", "-t", "-z", "--full-name", "--", *specs).stdout
    return {os.fsdecode(line[2:]): chr(line[0]) for line in output.split(b"\0") if line}


def materialise(
    repo: Repo, store: Store, paths: Sequence[str] = (), *, remotes: Sequence[str] | None = None, fetch: bool = True
) -> Written:
    """Write weights wherever the work tree still holds the manifest that the index names.

    Args:
        repo: whose work tree.
        store: its store; tells its progress.
        paths: only these files and folders, from the top; empty for all.
        remotes: whom to ask for what is not here; see `transfer.fetch.bring`.
        fetch: ask anybody at all.

    Raises:
        UsageError: the repository is bare, or git knows nothing at `paths`.
    """
    top = work_tree(repo)
    tags = _tags(repo, paths)
    found = files_at(repo, store.objects, STAGED, paths).files
    if paths and not tags:  # other files are not at fault: scripts name all that a branch changed
        raise _nothing_at(paths, STAGED)
    due = [file for file in found if tags.get(file.path) not in {_SKIP_WORKTREE, _UNMERGED}]
    wanted = [file for file in due if holds_manifest(top / file.path, file.manifest)]
    ready, missing = _fetch(store, wanted, remotes, fetch)
    deleted = tuple(file.path for file in due if not os.path.lexists(top / file.path))
    return replace(_write_all(repo, store, ready, missing, holds_manifest), deleted=deleted)


def _nothing_at(paths: Sequence[str], rev: str) -> UsageError:
    return UsageError(
        f"no weight files at {', '.join(paths)} in {rev or 'the index'}",
        hint="git lepton ls-files lists weight files of a revision",
    )


def write_answered(repo: Repo, store: Store, answered: Mapping[str, Manifest]) -> Written:
    """Write weights wherever the work tree still holds the manifest that smudge answered, whatever the index has.

    Raises:
        UsageError: the repository is bare.
    """
    top = work_tree(repo)
    wanted = [
        TrackedFile(path, _FILE_MODE, hash_object("blob", [found.to_bytes()], repo.object_format), found)
        for path, found in answered.items()
        if holds_manifest(top / path, found)
    ]
    ready, missing = _fetch(store, wanted, None, True)
    return _write_all(repo, store, ready, missing, holds_manifest)


def checkout_paths(
    repo: Repo,
    store: Store,
    rev: str = STAGED,
    paths: Sequence[str] = (),
    *,
    force: bool = False,
    remotes: Sequence[str] | None = None,
) -> Written:
    """Write the weights of `rev` to the work tree, and with a revision also stage their manifests, as git does.

    A file whose weights are nowhere to be had stays as it is, in the work tree and in the index.

    Args:
        repo: whose work tree.
        store: its store.
        rev: a revision, or `STAGED`.
        paths: only these files and folders, from the top; empty for all.
        force: also over files that were changed and are stored nowhere.
        remotes: whom to ask for what is not here.

    Raises:
        UsageError: a file has changes that would be lost, there is no such revision, or nothing is there.
    """
    top = work_tree(repo)
    tags = _tags(repo, ())
    found = files_at(repo, store.objects, rev, paths).files
    files = [f for f in found if tags.get(f.path) not in {_SKIP_WORKTREE, _UNMERGED}]
    if not files and paths:
        raise _nothing_at(paths, rev)
    if files and not force:
        changed = [s.path for s in status(repo, store, [f.path for f in files]) if s.state == "modified"]
        changed += _untracked_in_the_way(top, files, tags)
        if changed:
            raise UsageError(
                f"changes would be lost: {', '.join(changed)}", hint="add or move them first, or use --force"
            )
    ready, missing = _fetch(store, files, remotes, True)
    with StatCache(repo) as cache:
        stale = [f for f in ready if _state(top, f, "", True, cache) != "present"]
    if rev != STAGED:
        _stage(repo, [f for f in ready if f not in stale])
    return _write_all(repo, store, stale, missing, _over_anything, stage=rev != STAGED)


def _stage(repo: Repo, files: Sequence[TrackedFile]) -> None:
    lines = (b"%o %s 0\t%s\0" % (f.mode, f.blob.encode(), os.fsencode(f.path)) for f in files)
    if files:
        repo.git("update-index", "-z", "--index-info", input=b"".join(lines))


def write_versions(repo: Repo, store: Store, chosen: Mapping[str, tuple[Oid, Manifest]]) -> Written:
    """Write the weights that these manifests name over whatever is at their paths (from the top).

    Raises:
        UsageError: the repository is bare.
    """
    work_tree(repo)
    files = [TrackedFile(path, _FILE_MODE, blob, found) for path, (blob, found) in chosen.items()]
    ready, missing = _fetch(store, files, None, True)
    return _write_all(repo, store, ready, missing, _over_anything)


def _untracked_in_the_way(top: Path, files: Iterable[TrackedFile], tags: Mapping[str, str]) -> list[str]:
    return [
        f.path
        for f in files
        if f.path not in tags and os.path.lexists(top / f.path) and not holds_manifest(top / f.path, f.manifest)
    ]


def _over_anything(path: Path, manifest: Manifest) -> bool:
    return path.is_symlink() or not path.is_dir()


@dataclass(slots=True)
class _Outcome:
    """What was done so far."""

    stats: dict[bytes, os.stat_result] = field(default_factory=dict)
    blobs: dict[bytes, Oid] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    size: int = 0
    damaged: bool = False


def _fetch(
    store: Store, files: Sequence[TrackedFile], remotes: Sequence[str] | None, fetch: bool
) -> tuple[list[TrackedFile], dict[str, str]]:
    """Have the weights of `files` here: those that are, and for the paths of the others why not."""
    if fetch:
        forget_incomplete(store, (f.manifest.blake3 for f in files))
    absent = dict.fromkeys(f.manifest.blake3 for f in files if not store.has(f.manifest.blake3))
    reasons: Mapping[Hash, str] = dict.fromkeys(absent, "not in this repository")
    if absent and fetch:
        reasons = bring(store, absent, remotes=remotes).missing
    ready = [f for f in files if f.manifest.blake3 not in reasons]
    return ready, {f.path: reasons[f.manifest.blake3] for f in files if f.manifest.blake3 in reasons}


def _write_all(
    repo: Repo,
    store: Store,
    ready: Sequence[TrackedFile],
    missing: dict[str, str],
    may_replace: Callable[[Path, Manifest], bool],
    *,
    stage: bool = False,
) -> Written:
    """Write each file, and put the index right for all that were written; with `stage`, put their manifests there."""
    top = work_tree(repo)
    if ready:
        atomic.clean_owned(repo.lepton_dir / "tmp")
    outcome = _Outcome(missing=missing)
    store.progress.start("writing weights", sum(f.manifest.size for f in ready))
    try:
        with StatCache(repo) as cache:
            for file in ready:
                _write_one(store, top, file, may_replace, outcome, cache)
    finally:
        store.progress.finish()
        if stage:
            _stage(repo, [file for file in ready if os.fsencode(file.path) in outcome.stats])
        _settle_index(repo, outcome)
    written = tuple(os.fsdecode(path) for path in outcome.stats)
    return Written(written, outcome.missing, tuple(outcome.kept), outcome.size, damaged=outcome.damaged)


def _settle_index(repo: Repo, outcome: _Outcome) -> None:
    """Put stat data right; git does what we cannot, but only where the index means what was written."""
    left = indexfile.patch_stat(repo, outcome.stats, outcome.blobs)
    if left:
        entries = indexfile.ls_files(repo, [b":(top,literal)" + path for path in left])
        # update-index would stage a file of which the index has another version.
        same = [e.path for e in entries if e.stage == 0 and e.oid == outcome.blobs[e.path]]
        indexfile.refresh(repo, same)


def _write_one(
    store: Store,
    top: Path,
    file: TrackedFile,
    may_replace: Callable[[Path, Manifest], bool],
    outcome: _Outcome,
    cache: StatCache,
) -> None:
    target = top / file.path
    try:
        if not _below(top, target.parent):
            outcome.kept.append(file.path)
            return
        with atomic.temporary(_draft_folder(store.repo, target.parent)) as draft:
            with draft.open("xb") as out:
                store.restore_to(file.manifest.blake3, out.write)
                os.fchmod(out.fileno(), _mode(target, file.mode))
            then = time.time_ns() - _BACKDATE_NS
            os.utime(draft, ns=(then, then))
            if not may_replace(target, file.manifest):
                outcome.kept.append(file.path)
                return
            draft.replace(target)
    except (LeptonError, OSError) as error:
        outcome.missing[file.path] = error.message if isinstance(error, LeptonError) else error.strerror or str(error)
        outcome.damaged = outcome.damaged or isinstance(error, CorruptError)
        return
    path, held = os.fsencode(file.path), target.lstat()
    outcome.stats[path], outcome.blobs[path] = held, file.blob
    outcome.size += file.manifest.size
    cache.put(held, file.manifest.blake3)


def _draft_folder(repo: Repo, beside: Path) -> Path:
    """Where a file is written before it is renamed into `beside`.

    What a killed process leaves must not look like the user's: in our folder, unless that is on another file system.
    """
    folder = repo.lepton_dir / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder if folder.stat().st_dev == beside.stat().st_dev else beside


def _below(top: Path, folder: Path) -> bool:
    """Make `folder`, and tell whether it really lies where its name says: no part of it is a link."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve() == top.resolve() / folder.relative_to(top)


def _mode(target: Path, git_mode: int) -> int:
    """Permission bits: those of the file that is replaced, else what a checkout would give."""
    if target.is_file() and not target.is_symlink():
        return stat.S_IMODE(target.lstat().st_mode)
    return (0o777 if git_mode & 0o111 else 0o666) & ~_umask()


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value
