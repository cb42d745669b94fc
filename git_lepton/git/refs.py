"""Reading refs, and moving several of them in one transaction.

`Transaction` collects commands and gives them to one `git update-ref --stdin`, which locks every ref, compares every
old value and then moves all or none. That git said no is told apart from git being broken: when an expected old value
does not hold, or another process holds a lock, the error is `RaceLostError`, and the caller starts over from what is
there now.

`RefReader` answers "what does this ref point to" without starting a process, as often as the filter asks: a loose file
under the common folder, else a line of `packed-refs` (this order, and packed-refs read anew when its stat data changed,
is what git does: `pack-refs` writes the packed file before it deletes the loose one). Symbolic refs, refs of one work
tree and other ref formats are left to git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from git_lepton.errors import RaceLostError, UsageError
from git_lepton.git.repo import Repo, git_error
from git_lepton.values import Oid

_MANY: Final = 64
"""Above this many names it is cheaper to list their common folder than to have git match each pattern."""

_SHARED: Final = ("refs/heads/", "refs/tags/", "refs/remotes/", "refs/lepton/")
_OID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_RACE = re.compile(
    r"is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference|is missing but expected"
    r"|Unable to create '.*\.lock': File exists|cannot lock references"
)
_LOCK = re.compile(r"Unable to create '(.*\.lock)': File exists")
# Concurrent writers verify the same refs, and each verify is a lock: wait for it rather than fail in git's 100 ms.
_PATIENCE: Final = ("-c", "core.filesRefLockTimeout=3000", "-c", "core.packedRefsTimeout=5000")


def read_ref(repo: Repo, name: str) -> Oid | None:
    """The object that the full ref `name` (`refs/…`) points to, or None."""
    return read_refs(repo, (name,)).get(name)


def read_refs(repo: Repo, names: Iterable[str]) -> dict[str, Oid]:
    """Those of the full ref `names` that exist, in one process."""
    wanted = set(names)
    for name in wanted:
        check_ref(name)
    if not wanted:
        return {}
    if len(wanted) > _MANY:
        listed = list_refs(repo, os.path.commonpath([name.rpartition("/")[0] for name in wanted]) + "/")
        return {name: listed[name] for name in wanted & listed.keys()}
    return {name: oid for name, oid in _for_each_ref(repo, sorted(wanted)).items() if name in wanted}


def list_refs(repo: Repo, prefix: str) -> dict[str, Oid]:
    """All refs below the folder `prefix`, which ends with "/"."""
    check_ref(prefix.removesuffix("/") + "/x")
    return _for_each_ref(repo, (prefix,))


def _for_each_ref(repo: Repo, patterns: Iterable[str]) -> dict[str, Oid]:
    output = repo.git("for-each-ref", "--format=%(objectname) %(refname)", "--", *patterns).stdout
    lines = (line.partition(b" ") for line in output.splitlines())
    return {os.fsdecode(name): Oid(oid.decode("ascii")) for oid, _, name in lines}


def check_ref(name: str) -> None:
    """Refuse what cannot be a full ref name, so that no name is ever taken for an option or a pattern.

    Raises:
        UsageError: it is none.
    """
    if not name.startswith("refs/") or re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(/|$)|[./]$", name):
        raise UsageError(f"not a full ref name: {name!r}")


class Transaction:
    """Ref changes that happen together or not at all. Build it, then `commit` it once."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._commands: list[bytes] = []
        self._expected: dict[str, Oid | None] = {}

    def create(self, ref: str, new: Oid) -> Self:
        """`ref` must not exist and will point to `new`."""
        return self._add("create", ref, new, expected=None)

    def update(self, ref: str, new: Oid, old: Oid | None) -> Self:
        """`ref` must point to `old` (None: must not exist) and will point to `new`."""
        return self._add("update", ref, new, old or self._repo.null_oid, expected=old)

    def verify(self, ref: str, old: Oid | None) -> Self:
        """`ref` must point to `old` (None: must not exist), and stays."""
        return self._add("verify", ref, old or self._repo.null_oid, expected=old)

    def delete(self, ref: str, old: Oid) -> Self:
        """`ref` must point to `old` and will be gone."""
        return self._add("delete", ref, old, expected=old)

    def _add(self, verb: str, ref: str, *oids: Oid, expected: Oid | None) -> Self:
        check_ref(ref)
        if ref in self._expected:
            raise UsageError(f"two changes of {ref} in one transaction")
        self._expected[ref] = expected
        self._commands.append(b"\0".join((f"{verb} ".encode() + os.fsencode(ref), *(o.encode() for o in oids), b"")))
        return self

    def commit(self) -> None:
        """Carry it out; an empty transaction does nothing.

        Raises:
            RaceLostError: an old value does not hold, or another process holds a lock; nothing was changed.
            GitError: git failed for another reason; nothing was changed.
        """
        if not self._commands:
            return
        # no-deref: a symbolic ref in the way must not make us move another ref than the one named.
        stdin = b"".join(b"option no-deref\0" + command for command in self._commands)
        args = (*_PATIENCE, "-c", "core.logAllRefUpdates=false", "update-ref", "--stdin", "-z")
        done = self._repo.git(*args, input=stdin, check=False)
        if done.status == 0:
            return
        message = done.stderr.decode(errors="replace").strip()
        if _RACE.search(message) or self._moved():
            lock = _LOCK.search(message)
            raise RaceLostError(
                f"refs were changed by another process: {message.removeprefix('fatal: ')}",
                hint=f"if no git runs here, one was killed: delete {lock[1]}" if lock else None,
            )
        raise git_error(args, done)

    def _moved(self) -> bool:
        """Whether an expected value does not hold now: the answer that does not depend on git's wording."""
        present = read_refs(self._repo, self._expected)
        return any(present.get(ref) != old for ref, old in self._expected.items())


class RefReader:
    """Looks refs up without a process where that is exact; see the module's text. Safe from several threads."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._packed_path = repo.common_dir / "packed-refs"
        self._packed: tuple[tuple[int, int, int], bytes] = ((0, 0, 0), b"")

    def read(self, name: str) -> Oid | None:
        """The same answer as `read_ref`."""
        check_ref(name)
        if self._repo.ref_format != "files" or not name.startswith(_SHARED):
            return read_ref(self._repo, name)
        raw = os.fsencode(name)
        try:
            content = Path(os.fsdecode(bytes(self._repo.common_dir) + b"/" + raw)).read_bytes().rstrip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self._read_packed(raw)
        if _OID.fullmatch(content):
            return Oid(content.decode("ascii"))
        return read_ref(self._repo, name)

    def _read_packed(self, name: bytes) -> Oid | None:
        content = self._packed_refs()
        end = content.find(b" " + name + b"\n")
        if end < 0:
            return None
        start = content.rfind(b"\n", 0, end) + 1
        oid = content[start:end]
        return Oid(oid.decode("ascii")) if _OID.fullmatch(oid) else read_ref(self._repo, os.fsdecode(name))

    def _packed_refs(self) -> bytes:
        try:
            stat = self._packed_path.stat()
        except FileNotFoundError:
            return b""
        key = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known, content = self._packed
        if key != known:
            content = self._packed_path.read_bytes()
            self._packed = (key, content)
        return content
