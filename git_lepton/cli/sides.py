"""The words of a command line as two sides of a comparison, read as `git diff` reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NoReturn

from git_lepton.cli.context import is_rev, relative
from git_lepton.compare.sides import Side, at_revision, in_index, in_work_tree, of_path
from git_lepton.drivers.statcache import StatCache
from git_lepton.drivers.unmerged import unmerged
from git_lepton.errors import UsageError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store
from git_lepton.values import Oid

_HEAD: Final = "HEAD"


@dataclass(frozen=True, slots=True)
class Revision:
    """`name` is what git is asked for, `shown` what the person said."""

    name: str
    shown: str


def are_two_paths(repo: Repo | None, words: Sequence[str], paths: Sequence[Path]) -> bool:
    """Whether the words name two files or folders to be compared with each other, whatever git knows of them."""
    if paths or len(words) != 2 or not all(map(os.path.lexists, words)):
        return False
    return repo is None or not any(is_rev(repo, word) for word in words)


def of_paths(words: Sequence[str], store: Store | None) -> tuple[Side, Side]:
    """Two files or two folders.

    Raises:
        UsageError: there are not two, or one is a file and the other a folder.
        ManifestError: a file begins like a manifest and is none.
        ChangedError: a file changed while it was read.
    """
    if len(words) != 2:
        raise UsageError("two files or folders are needed", hint="git lepton diff old.safetensors new.safetensors")
    before, after = map(Path, words)
    if before.is_dir() != after.is_dir():
        raise UsageError(f"one of {before} and {after} is a folder, and the other is none")
    return of_path(before, store), of_path(after, store)


def of_words(
    repo: Repo, store: Store, words: Sequence[str], paths: Sequence[Path], *, cached: bool = False
) -> tuple[Side, Side]:
    """The two sides that revisions and paths name.

    Args:
        repo: where.
        store: its store.
        words: revisions (`A`, `A B`, `A..B`, `A...B`), then paths; without any the index and the work tree.
        paths: what stood after `--`.
        cached: the newer side is the index, the older one HEAD unless it is named.

    Raises:
        UsageError: a word is neither a revision nor a file, there are too many revisions, or no common ancestor.
    """
    revs, rest = split(repo, words)
    chosen = from_top(repo, rest, paths)
    if len(revs) == 2 and cached:
        raise UsageError("the index is compared with one revision", hint="git lepton diff A B compares two revisions")
    if cached and repo.work_tree is None and not repo.index_file.exists():
        raise UsageError("a bare repository has no index", hint="git lepton diff A B compares two revisions")
    if cached and not revs:
        revs = [_head(repo)]
    open_ones = [] if len(revs) == 2 or repo.work_tree is None else unmerged(repo, store, chosen)
    for file in open_ones:
        store.warn(f"{file.path} is in conflict and left out; git lepton diff --ours, --theirs or --base compares it")
    sides = _both(repo, store, revs, chosen, [file.path for file in open_ones], cached=cached)
    if chosen and not open_ones and not any(side.files for side in sides):
        store.warn(f"no weight file is at {', '.join(chosen)} on either side (git lepton ls-files lists them)")
    return sides


def _both(
    repo: Repo, store: Store, revs: Sequence[Revision], chosen: Sequence[str], without: Sequence[str], *, cached: bool
) -> tuple[Side, Side]:
    def lessened(side: Side) -> Side:
        return replace(side, files={key: file for key, file in side.files.items() if key not in without})

    older = [at_revision(store, rev.name, chosen, name=rev.shown) for rev in revs]
    if len(older) == 2:
        return older[0], older[1]
    if cached:
        return lessened(older[0]), lessened(in_index(store, chosen))
    with StatCache(repo) as cache:
        newer = in_work_tree(repo, store, chosen, hash_of=cache.hash_of, without=without)
    return lessened(older[0] if older else in_index(store, chosen)), newer


def split(repo: Repo, words: Sequence[str]) -> tuple[list[Revision], list[str]]:
    """Tell one or two revisions from the paths that follow them.

    Raises:
        UsageError: a word is neither a revision nor a file, or two revisions have no common ancestor.
    """
    revs: list[Revision] = []
    rest = list(words)
    if rest and (both := _range(repo, rest[0])) is not None:
        revs, rest = list(both), rest[1:]
    while rest and len(revs) < 2 and (tree := _tree(repo, rest[0])) is not None:
        revs.append(Revision(tree, rest.pop(0)))
    check_paths(repo, rest)
    return revs, rest


def one_rev(repo: Repo, words: Sequence[str], paths: Sequence[Path]) -> tuple[str, list[str]]:
    """Tell a revision, HEAD unless the first word names one, from the paths after it, which are from the top then.

    Raises:
        UsageError: a word is neither a revision nor a file, or nothing was committed yet.
    """
    named = bool(words) and is_rev(repo, words[0])
    rest = words[named:]
    check_paths(repo, rest)
    if not named:
        require_commits(repo)
    return words[0] if named else _HEAD, from_top(repo, rest, paths)


def check_paths(repo: Repo, words: Sequence[str]) -> None:
    """Raise UsageError for a word that is no path here, and guess what was meant."""
    for word in words:
        if not os.path.lexists(word):
            _refuse(repo, word)


def from_top(repo: Repo, words: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Paths from the current folder as paths from the top of the work tree; a bare repository has only these.

    Raises:
        UsageError: one lies outside.
    """
    every = [*map(Path, words), *paths]
    if repo.work_tree is not None:
        return relative(repo, every) if every else []
    found = [Path(os.path.normpath(path)) for path in every]
    for path in found:
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{path} lies outside the repository", hint="in a bare one, name paths from the top")
    return [path.as_posix() for path in found]


def require_commits(repo: Repo) -> None:
    """Raise UsageError when nothing was committed yet."""
    if not is_rev(repo, _HEAD):
        hint = "git lepton diff --cached shows what the first one will bring"
        raise UsageError("there are no commits yet", hint=hint)


def _refuse(repo: Repo, word: str) -> NoReturn:
    require_commits(repo)
    if repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", word, check=False).status == 0:
        hint = "git lepton diff A B -- PATH compares one file of two revisions"
        raise UsageError(f"'{word}' is a file of a revision, and a revision is needed", hint=hint)
    ends = [end for end in word.replace("...", "..").split("..") if end and not is_rev(repo, end)]
    unknown = ends[0] if ".." in word and ends else word
    names = repo.git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes").stdout
    close = get_close_matches(unknown, names.decode(errors="replace").split("\n"), n=1)
    hint = "put -- before a path that is not there; git branch -a and git tag list revisions"
    if close or unknown != word:
        guess = f": did you mean {close[0]}?" if close else "; git branch -a and git tag list them"
        hint = f"'{unknown}' is no revision{guess}"
    raise UsageError(f"'{word}' is neither a revision nor a file", hint=hint)


def _tree(repo: Repo, word: str) -> Oid | None:
    """The tree that a word leads to. Asked once, since every question costs a process."""
    done = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{tree}}", check=False)
    return Oid(done.stdout.decode("ascii").strip()) if done.status == 0 else None


def _range(repo: Repo, word: str) -> tuple[Revision, Revision] | None:
    """The two ends of `A..B`, or of `A...B`: then the older one is where B left A."""
    dots = "..." if "..." in word else ".."
    left, found, right = word.partition(dots)
    before, after = left or _HEAD, right or _HEAD
    trees = [_tree(repo, end) for end in (before, after)] if found and word != dots else [None]
    if None in trees:
        return None
    shown = Revision(str(trees[1]), after)
    if dots == "..":
        return Revision(str(trees[0]), before), shown
    commits = (rev_parse(repo, end, kind="commit") for end in (before, after))
    done = repo.git("merge-base", *commits, check=False)
    if done.status != 0:
        raise UsageError(f"{before} and {after} have no common ancestor", hint=f"git lepton diff {before}..{after}")
    base = done.stdout.decode("ascii").split()[0]
    return Revision(base, f"{before}...{after}"), shown


def _head(repo: Repo) -> Revision:
    """HEAD, or the tree without files where nothing was committed yet."""
    if is_rev(repo, _HEAD):
        return Revision(_HEAD, _HEAD)
    empty = repo.git("hash-object", "-t", "tree", "--stdin", input=b"").stdout.decode("ascii").strip()
    return Revision(empty, "nothing")
