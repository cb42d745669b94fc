"""What commits and trees contain, asked of git."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import GitError, UsageError
from git_lepton.git.catfile import CatFile
from git_lepton.git.repo import Repo, git_error
from git_lepton.values import Oid

_PATHS_AT_ONCE: Final = 500
_READ: Final = 1 << 16
_FILE_MODES: Final = (b"100644", b"100755")

# Every choice that configuration could make otherwise is made here.
_RAW_LOG: Final = (
    *("-c", "log.showRoot=true", "log"),
    "--stdin",
    "--format=",
    "--raw",
    "-z",
    "--no-abbrev",
    "--no-renames",
    "--diff-merges=separate",
    "--diff-filter=AMT",
    "--no-ext-diff",
    "--no-textconv",
    "--no-show-signature",
    "--no-relative",
    "--no-color",
    "--ignore-submodules=all",
)


@dataclass(frozen=True, slots=True)
class TreeItem:
    """One path of a tree. `size` is that of a blob; None for other types and where it was not asked for."""

    mode: int
    type: str
    oid: Oid
    size: int | None
    path: bytes


def rev_parse(repo: Repo, rev: str, *, kind: str | None = None) -> Oid:
    """The object that `rev` names; with `kind` ("commit", "tree", "blob") what it leads to.

    Raises:
        UsageError: it names nothing here.
    """
    text = rev if kind is None else f"{rev}^{{{kind}}}"
    done = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", text, check=False)
    if done.status != 0:
        raise UsageError(f"unknown revision: {rev}", hint="see `git log` for commits, `git tag` for versions")
    return Oid(done.stdout.decode("ascii").strip())


def ls_tree(repo: Repo, treeish: str, paths: Sequence[bytes] = (), *, sizes: bool = False) -> list[TreeItem]:
    """The files below `treeish`, folders opened, in git's order.

    Args:
        repo: where.
        treeish: a revision that leads to a tree.
        paths: only these files and folders, relative to the top, no patterns; empty for all.
        sizes: ask for the sizes of blobs; in a partial clone they may be unknown.

    Raises:
        UsageError: `treeish` is none.
    """
    known = len(treeish) == 2 * repo.oid_size and treeish.strip("0123456789abcdef") == ""
    tree = treeish if known else rev_parse(repo, treeish, kind="tree")
    groups = [paths[i : i + _PATHS_AT_ONCE] for i in range(0, len(paths), _PATHS_AT_ONCE)] or [()]
    command = ("--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", *(("--long",) if sizes else ()), tree, "--")
    try:
        output = b"".join(repo.git(*command, *group).stdout for group in groups)
    except GitError:
        rev_parse(repo, treeish, kind="tree")
        raise
    return [_tree_item(entry) for entry in output.split(b"\0") if entry]


def _tree_item(entry: bytes) -> TreeItem:
    head, _, path = entry.partition(b"\t")
    mode, kind, oid, *size = head.decode("ascii").split()
    return TreeItem(int(mode, 8), kind, Oid(oid), int(size[0]) if size and size[0].isdigit() else None, path)


def blobs_in_history(repo: Repo, revs: Iterable[str], negative: Iterable[Oid] = ()) -> Iterator[tuple[Oid, bytes]]:
    """Each (blob, path) that some commit reachable from `revs`, and from none of `negative`, brought in; each once.

    A commit brings in what differs from any of its parents, so a merge is looked at from every side and nothing is
    missed. Links and submodules are left out. `negative` may name commits that are not here: they exclude nothing.

    Raises:
        UsageError: one of `revs` looks like an option.
        GitError: one of `revs` is unknown, or trees are missing (partial clone).
    """
    lines = list(revs)
    for rev in lines:
        if not rev or rev.startswith(("-", "^")) or "\n" in rev:
            raise UsageError(f"not a revision: {rev!r}")
    if not lines:
        return
    lines += [f"^{oid}" for oid in sorted(CatFile(repo).contains(negative))]
    seen: set[tuple[Oid, bytes]] = set()
    with repo.git_spawn(*_RAW_LOG) as process:
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.close()
        fields = split_null(iter(lambda: process.stdout.read1(_READ), b""))
        for head in fields:
            path = next(fields, b"")
            _, mode, _, oid, _ = head.lstrip(b"\n:").split(b" ")
            found = (Oid(oid.decode("ascii")), path)
            if mode in _FILE_MODES and found not in seen:
                seen.add(found)
                yield found
        done = process.close()
    if done.status != 0:
        raise git_error(_RAW_LOG, done)


def split_null(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The fields of a stream in which each ends with a NUL, however it is cut into blocks."""
    rest = b""
    for block in blocks:
        *fields, rest = (rest + block).split(b"\0")
        yield from fields
