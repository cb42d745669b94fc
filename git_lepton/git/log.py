"""Commits and the blobs that each changed, from one `git log` that is read while it writes.

git tells paths and object ids only (`--raw`): it reads no blob, looks for no renames, and runs no filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from git_lepton.errors import UsageError
from git_lepton.git.lstree import split_null
from git_lepton.git.repo import Repo, git_error
from git_lepton.values import Oid

_FIELDS: Final = ("%H", "%P", "%an", "%ae", "%aI", "%s", "%b")
# Every choice that configuration could make otherwise is made here.
_LOG: Final = (
    *("-c", "log.showRoot=true", "-c", "log.follow=false", "log"),
    f"--format={'%x00'.join(_FIELDS)}",
    "--encoding=UTF-8",
    "--raw",
    "-z",
    "--no-renames",
    "--no-abbrev",
    "--no-ext-diff",
    "--no-textconv",
    "--no-show-signature",
    "--no-relative",
    "--no-color",
    "--no-notes",
    "--ignore-submodules=all",
)
SHORT: Final = 10
"""Digits of a commit id where people read it."""
_READ: Final = 1 << 16
_FILE_MODES: Final = (b"100644", b"100755")


@dataclass(frozen=True, slots=True)
class BlobChange:
    """One path that a commit changed. `before` and `after` are blobs, None where there is no regular file.

    Of a merge, `before` is the first parent's.
    """

    path: bytes
    before: Oid | None
    after: Oid | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit, and how it differs from its parent; `date` is the author's, in strict ISO 8601."""

    oid: Oid
    parents: tuple[Oid, ...]
    author: str
    email: str
    date: str
    subject: str
    body: str
    changes: tuple[BlobChange, ...]

    @property
    def short(self) -> str:
        """As much of its id as people need."""
        return self.oid[:SHORT]


def log(repo: Repo, revs: Sequence[str], paths: Sequence[bytes] = (), *, walk: bool = True) -> Iterator[Commit]:
    """The commits that `git log` visits, in its order.

    A merge among them has the paths that are as on none of its parents; one that is asked for without a walk has all in
    which it differs from the first.

    Args:
        repo: where.
        revs: revisions and ranges as git takes them; empty for HEAD.
        paths: pathspecs.
        walk: the ancestors of `revs`, too.

    Raises:
        UsageError: one of `revs` looks like an option.
        GitError: one of `revs` is unknown, or objects are missing (partial clone).
    """
    for rev in revs:
        if rev.startswith("-"):
            raise UsageError(f"not a revision: {rev!r}")
    options = ["--diff-merges=combined"] if walk else ["--no-walk", "--diff-merges=first-parent"]
    command: tuple[str | bytes, ...] = (*_LOG, *options, "--end-of-options", *(revs or ("HEAD",)), "--", *paths)
    with repo.git_spawn(*command) as process:
        process.stdin.close()
        yield from parse(iter(lambda: process.stdout.read1(_READ), b""))
        done = process.close()
    if done.status != 0:
        raise git_error(command, done)


def parse(blocks: Iterator[bytes]) -> Iterator[Commit]:
    """Read what git writes for the options above, however it is cut into blocks."""
    fields = split_null(blocks)
    head = list(islice(fields, len(_FIELDS)))
    while len(head) == len(_FIELDS):
        changes, first = _changes(fields)
        oid, parents, author, email, date, subject, body = (field.decode(errors="replace") for field in head)
        yield Commit(
            oid=Oid(oid),
            parents=tuple(map(Oid, parents.split())),
            author=author,
            email=email,
            date=date,
            subject=subject,
            body=body.strip(),
            changes=changes,
        )
        head = [] if first is None else [first, *islice(fields, len(_FIELDS) - 1)]


def _changes(fields: Iterator[bytes]) -> tuple[tuple[BlobChange, ...], bytes | None]:
    """The changes that follow, and the first field after them, which is the next commit's id; None at the end."""
    changes: list[BlobChange] = []
    for field in fields:
        text = field.lstrip(b"\n")
        if not text:
            continue  # git puts one before the changes of a merge
        if not text.startswith(b":"):
            return tuple(changes), text
        words = text.lstrip(b":").split(b" ")
        last = len(words) // 2 - 1  # modes of all parents and of the commit, their blobs, a letter each
        old_mode, new_mode, old, new = words[0], words[last], words[last + 1], words[2 * last + 1]
        changes.append(BlobChange(next(fields, b""), _blob(old_mode, old), _blob(new_mode, new)))
    return tuple(changes), None


def _blob(mode: bytes, oid: bytes) -> Oid | None:
    return Oid(oid.decode("ascii")) if mode in _FILE_MODES else None
