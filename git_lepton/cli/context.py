"""What a verb needs around its work: the repository it was called in, the work tree's paths, output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from git_lepton.cli.boundary import Session
from git_lepton.errors import UsageError
from git_lepton.git.repo import Repo, discover, require_git, work_tree
from git_lepton.progress import Progress
from git_lepton.report.document import document
from git_lepton.report.progress import for_terminal
from git_lepton.report.table import printable


def repository() -> Repo:
    """The repository that the command was called in.

    Raises:
        UsageError: there is none, or git is missing or too old.
    """
    require_git()
    repo = discover()
    context = click.get_current_context(silent=True)
    session = context.find_object(Session) if context is not None else None
    if session is not None:
        session.report_folder = repo.lepton_dir
    return repo


def progress(quiet: bool) -> Progress:
    """A progress bar where a person looks at it."""
    return for_terminal(quiet=quiet)


def print_json(verb: str, fields: dict[str, Any]) -> None:
    """Print the JSON document of a verb on standard output."""
    click.echo(document(verb, fields))


def say(line: str = "") -> None:
    """Print one line, or several, of the answer on standard output; what a terminal would obey is escaped."""
    click.echo(printable(line))


def note(line: str) -> None:
    """Print a remark on standard error: what is no answer, or must not disturb one that a program reads."""
    click.echo(printable(line), err=True)


def rev_and_paths(repo: Repo, words: Sequence[str], paths: Iterable[Path]) -> tuple[str | None, list[str]]:
    """Tell a revision from paths as git does: the first word is one if it names something, the others are paths.

    Args:
        repo: where.
        words: what stood before `--`.
        paths: what stood after it.

    Returns:
        The revision or None, and paths from the top of the work tree.

    Raises:
        UsageError: a word is neither a revision nor a file.
    """
    rev, rest = (words[0], words[1:]) if words and is_rev(repo, words[0]) else (None, words)
    return rev, paths_from_top(repo, rest, paths, "a revision", "put -- before paths that are not there")


def paths_from_top(repo: Repo, words: Sequence[str], paths: Iterable[Path], other: str, hint: str) -> list[str]:
    """The paths that a person named, from the top of the work tree.

    Args:
        repo: where.
        words: those before `--`, of which each must be there.
        paths: those after it.
        other: what else a word could have been ("a revision").
        hint: for a word that is not there.

    Raises:
        UsageError: a word is no file, or a path lies outside the work tree.
    """
    for word in words:
        if not os.path.lexists(word):
            raise UsageError(f"'{word}' is neither {other} nor a file", hint=hint)
    every = [*map(Path, words), *paths]
    return relative(repo, every) if every else []


def is_rev(repo: Repo, word: str) -> bool:
    """Whether git finds an object by this name."""
    return repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{}}", check=False).status == 0


def relative(repo: Repo, paths: Iterable[Path]) -> list[str]:
    """Paths as the user gave them (from the current folder) as paths from the top of the work tree, with `/`.

    The folder of a path is resolved, its last part is not: a link inside the work tree names itself.

    Raises:
        UsageError: a path lies outside the work tree.
    """
    top = Path(os.path.realpath(work_tree(repo)))
    found = []
    for path in paths:
        absolute = Path(os.path.normpath(Path.cwd() / path))
        real = Path(os.path.realpath(absolute.parent)) / absolute.name
        if absolute != top and not real.is_relative_to(top):
            raise UsageError(f"{path} lies outside the work tree {top}")
        found.append("." if absolute == top else real.relative_to(top).as_posix())
    return found
