"""Commits and what each changed in models, as `log` and `show` print them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from git_lepton.compare.values import Comparison
from git_lepton.git.log import Commit
from git_lepton.report.diff import NARROWEST, Look, diff_text, headline, sentence, stat_lines
from git_lepton.report.review_words import visible
from git_lepton.report.table import printable

_INDENT = " " * 4
_DAY = len("2026-01-31")


def commit_text(commit: Commit, told: str, look: Look) -> str:
    """One commit of a history: a line for who, when and why, and below it what it did to models."""
    head = f"{commit.date[:_DAY]}  {visible(commit.author)}  {look.paint(visible(commit.subject), 'bold')}"
    return f"{look.paint(commit.short, 'yellow')}  {head}\n{told}"


def told_text(told: Iterable[str], look: Look) -> str:
    """What a commit did to models, a sentence a file."""
    columns = max(NARROWEST, look.columns)
    return "\n".join(
        textwrap.fill(sentence(text), columns, initial_indent=_INDENT, subsequent_indent=_INDENT * 2) for text in told
    )


def commit_page(commit: Commit, comparison: Comparison, look: Look, *, stat: bool = False) -> str:
    """One commit as `git show` begins it, then what it did to models: in a line a file, with `stat`."""
    head = [
        look.paint(f"commit {commit.oid}", "yellow"),
        *([f"Merge:  {' '.join(commit.parents)}"] if len(commit.parents) > 1 else []),
        f"Author: {visible(commit.author)} <{visible(commit.email)}>",
        f"Date:   {commit.date}",
    ]
    message = "\n\n".join(filter(None, (commit.subject, commit.body)))
    told = [headline(comparison, look, sides=False), "", stat_lines(comparison, look)]
    if not stat:
        told = [diff_text(comparison, look, sides=False)]
    return "\n".join([*head, "", textwrap.indent(printable(message), _INDENT), "", *told]).rstrip("\n")
