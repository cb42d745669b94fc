"""Putting a file of our own into the commit that git is making, without staging anything else.

A hook may not run `git add`: it would take whatever lies in the work tree, and `git commit PATH` commits from an index
of its own, so that the real one would bring the old content back with the next commit. So (docs/filter-and-hooks.md):

1. the blob is written by its bytes, and put into the index that git named (`GIT_INDEX_FILE`), nothing else is touched;
2. the work-tree copy is replaced only where it is still what the index had before, or git left a conflict there;
3. path and blob are noted in the git folder of this work tree, and after the commit the real index is put right where
   HEAD has our blob and the index does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from git_lepton import atomic
from git_lepton.git.indexfile import IndexEntry, ls_files, patch_stat
from git_lepton.git.lstree import ls_tree
from git_lepton.git.repo import Repo, work_tree
from git_lepton.values import Oid

NOTE: Final = "lepton-staged"
"""File in the git folder of a work tree: a line `<oid> <path>` for each file that a hook staged; the script of the
post-commit hook reads it too. A line of a commit that was not made in the end does no harm: HEAD has not its blob."""

_MODE: Final = 0o100644
_FILE_MODES: Final = (0o100644, 0o100755)


def stage(repo: Repo, path: str, data: bytes) -> bool:
    """Put `data` at `path` into the index in force, and into the work tree where nobody changed the file.

    Args:
        repo: whose index; `repo.index_file` is the one that git named.
        path: from the top of the work tree; one without line ends.
        data: the file's content, as git shall keep it.

    Returns:
        Whether the work tree has it now; False where it holds something else.
    """
    raw = os.fsencode(path)
    before = _entry(repo, raw)
    old = None if before is None else repo.git("cat-file", "blob", before.oid).stdout
    conflict = before is None and bool(ls_files(repo, [b":(top,literal)" + raw]))
    blob = Oid(repo.git("hash-object", "-w", "--no-filters", "--stdin", input=data).stdout.decode("ascii").strip())
    sparse = before is not None and _is_sparse(repo, raw)
    _put(repo, raw, blob)
    if sparse:
        repo.git("update-index", "--skip-worktree", "--", raw)
    _note(repo, raw, blob)
    if sparse:
        return True
    target = work_tree(repo) / path
    written = _replace(target, old, data, always=conflict)
    if written:
        patch_stat(repo, {raw: target.lstat()}, {raw: blob})
    return written


def settle(repo: Repo) -> list[str]:
    """After a commit: where HEAD has what a hook staged and the real index does not, put it there; returns those."""
    note = repo.git_dir / NOTE
    try:
        lines = note.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    done = []
    for line in lines:
        oid, _, raw = line.decode("ascii", "surrogateescape").partition(" ")
        path = os.fsencode(raw)
        head = next((item.oid for item in ls_tree(repo, "HEAD", [path]) if item.path == path), None)
        here = _entry(repo, path)
        if head == oid and (here is None or here.oid != head):
            _put(repo, path, head)
            done.append(os.fsdecode(path))
    note.unlink(missing_ok=True)
    return done


def _entry(repo: Repo, path: bytes) -> IndexEntry | None:
    """The settled entry of a file."""
    found = (e for e in ls_files(repo, [b":(top,literal)" + path]) if e.path == path and e.stage == 0)
    return next((e for e in found if e.mode in _FILE_MODES), None)


def _is_sparse(repo: Repo, path: bytes) -> bool:
    return repo.git("ls-files", "-t", "-z", "--full-name", "--", b":(top,literal)" + path).stdout.startswith(b"S ")


def _put(repo: Repo, path: bytes, blob: Oid) -> None:
    line = f"{_MODE:o} {blob}\t".encode("ascii") + path + b"\0"
    repo.git("update-index", "--add", "-z", "--index-info", input=line)


def _note(repo: Repo, path: bytes, blob: Oid) -> None:
    with (repo.git_dir / NOTE).open("ab") as stream:
        stream.write(f"{blob} ".encode("ascii") + path + b"\n")


def _replace(target: Path, old: bytes | None, new: bytes, *, always: bool) -> bool:
    """Write `new` where there is nothing, or still `old`, or `always`; links are never followed."""
    if target.is_symlink() or target.is_dir():
        return False
    try:
        held: bytes | None = target.read_bytes()
    except FileNotFoundError:
        held = None
    if not always and held is not None and held.replace(b"\r\n", b"\n") not in {old, new}:
        return False
    if held != new:
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_file(target, new, durable=False)
    return True
