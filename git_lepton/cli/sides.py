"""The words of a command line as two sides of a comparison, read as `git diff` reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton.cli.context import is_rev, relative
from git_lepton.compare.sides import Side, at_revision, in_index, in_work_tree, of_path
from git_lepton.drivers.statcache import StatCache
from git_lepton.errors import UsageError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.repo import Repo
from git_lepton.store.store import Store

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
    every = [*map(Path, rest), *paths]
    chosen = relative(repo, every) if every else []
    if len(revs) == 2 and cached:
        raise UsageError("the index is compared with one revision", hint="git lepton diff A B compares two revisions")
    if cached and not revs:
        revs = [_head(repo)]
    older = [at_revision(store, rev.name, chosen, name=rev.shown) for rev in revs]
    if len(older) == 2:
        return older[0], older[1]
    if cached:
        return older[0], in_index(store, chosen)
    with StatCache(repo) as cache:
        newer = in_work_tree(repo, store, chosen, hash_of=cache.hash_of)
    return older[0] if older else in_index(store, chosen), newer


def split(repo: Repo, words: Sequence[str]) -> tuple[list[Revision], list[str]]:
    """Tell one or two revisions from the paths that follow them.

    Raises:
        UsageError: a word is neither a revision nor a file, or two revisions have no common ancestor.
    """
    revs: list[Revision] = []
    rest = list(words)
    if rest and (both := _range(repo, rest[0])) is not None:
        revs, rest = list(both), rest[1:]
    while rest and len(revs) < 2 and is_rev(repo, rest[0]):
        word = rest.pop(0)
        revs.append(Revision(word, word))
    check_paths(rest)
    return revs, rest


def check_paths(words: Sequence[str]) -> None:
    """Raise UsageError for a word that is no path here."""
    for word in words:
        if not os.path.lexists(word):
            message = f"'{word}' is neither a revision nor a file"
            raise UsageError(message, hint="put -- before paths that are not there")


def _range(repo: Repo, word: str) -> tuple[Revision, Revision] | None:
    """The two ends of `A..B`, or of `A...B`: then the older one is where B left A."""
    dots = "..." if "..." in word else ".."
    left, found, right = word.partition(dots)
    before, after = left or _HEAD, right or _HEAD
    if not found or word == dots or not (is_rev(repo, before) and is_rev(repo, after)):
        return None
    shown = Revision(after, after)
    if dots == "..":
        return Revision(before, before), shown
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
