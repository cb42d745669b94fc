"""Which remote a verb means, and the question that a separate store of weights needs once in a clone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from git_lepton.cli.context import note, paths_from_top
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo, config_get, work_tree
from git_lepton.transfer import remotes


def remote_and_revs(repo: Repo, words: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Tell a remote from revisions: the first word is one if a remote has this name, or if it is an address."""
    if words and (words[0] in remotes.remote_names(repo) or _is_address(words[0])):
        return words[0], tuple(words[1:])
    return None, tuple(words)


def remote_and_paths(repo: Repo, words: Sequence[str], paths: Iterable[Path]) -> tuple[str | None, list[str]]:
    """Tell a remote from paths: as `remote_and_revs` does, but a folder of the work tree is a path.

    Args:
        repo: where.
        words: what stood before `--`.
        paths: what stood after it.

    Returns:
        The remote or None, and paths from the top of the work tree.

    Raises:
        UsageError: a word is neither a remote nor a file, or a path lies outside the work tree.
    """
    remote, rest = remote_and_revs(repo, words)
    if remote is not None and remote not in remotes.remote_names(repo) and _is_inside(repo, remote):
        remote, rest = None, tuple(words)
    hint = "git remote lists remotes; put -- before paths that are not there"
    return remote, paths_from_top(repo, rest, paths, "a remote", hint)


def _is_inside(repo: Repo, word: str) -> bool:
    return Path(word).exists() and Path(word).resolve().is_relative_to(work_tree(repo).resolve())


def _is_address(word: str) -> bool:
    spelled = "://" in word or word.startswith(("/", "./", "../")) or remotes.host_of(word) is not None
    return spelled or os.path.isdir(word)  # noqa: PTH112 - as git does


def push_remote(repo: Repo) -> str:
    """Where a plain `git push` would go.

    Raises:
        UsageError: there is no remote.
    """
    branch = os.fsdecode(repo.git("symbolic-ref", "--quiet", "--short", "HEAD", check=False).stdout).strip()
    names = remotes.remote_names(repo)
    configured = (
        config_get(repo, f"branch.{branch}.pushRemote") if branch else None,
        config_get(repo, "remote.pushDefault"),
        config_get(repo, f"branch.{branch}.remote") if branch else None,
        "origin" if "origin" in names else None,
        names[0] if len(names) == 1 else None,
    )
    chosen = next((name for name in configured if name is not None), None)
    if chosen is None:
        raise UsageError(
            "there is no remote to push to", hint="git remote add origin URL, or name one: git lepton push URL"
        )
    return chosen


def settle_store_url(repo: Repo, *, tell: bool = True) -> None:
    """Ask once whether weights may come from and go to the address that lepton.toml names.

    Where there is nobody to ask, `tell` decides whether a hint is printed; a push fails with the same hint anyway.
    """
    url = remotes.store_url(repo)
    if url is None or remotes.is_confirmed(repo, url):
        return
    if sys.stdin.isatty() and click.confirm(f"lepton.toml keeps weights at {url}. Use it in this clone?", err=True):
        remotes.confirm(repo, url)
    elif tell:
        note(f"hint: lepton.toml keeps weights at {url}; if that is right: git config {remotes.CONFIRMED_KEY} {url}")


def sources(repo: Repo, remote: str | None) -> list[str]:
    """Where to fetch weights from: all candidates, or the confirmed store and `remote`."""
    if remote is None:
        return remotes.candidates(repo)
    url = remotes.store_url(repo)
    return [*([url] if url is not None and remotes.is_confirmed(repo, url) else []), remote]
