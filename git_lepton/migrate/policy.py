"""What becomes of each file and each `.gitattributes`: one invariant for both directions.

In every commit that a migration writes, a file is a manifest exactly where its attributes say `filter=lepton`. That is
what makes `git status` clean in a checkout of any of them. So attributes are edited first, and what then applies to a
path decides about its blob. Where attributes that the edit leaves alone contradict the request, we refuse: a nested
`.gitattributes` has the last word in its folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from git_lepton.errors import UsageError
from git_lepton.migrate import lines
from git_lepton.migrate.content import Content, Contents
from git_lepton.migrate.plan import Direction
from git_lepton.migrate.rules import Value
from git_lepton.migrate.selection import PROTECTED, Selection
from git_lepton.migrate.trees import Edit, TreeReader, TreeSearch, Visit
from git_lepton.values import Oid

LEPTON = b"lepton"

Convert = Callable[[bytes, Oid, Content], Oid]
"""(path, blob, what it is) -> the blob that takes its place."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How to rewrite: `begins` says of a commit's tree that tracking starts there."""

    edit: Edit
    visit: Visit
    begins: Callable[[Oid], bool]


def policy_for(
    direction: Direction, selection: Selection, reader: TreeReader, contents: Contents, convert: Convert
) -> Policy:
    """The policy of a direction; `convert` is called for each file that changes sides."""
    patterns = selection.patterns
    change = lines.track if direction == "import" else lines.untrack

    @lru_cache(maxsize=1024)
    def edited(content: bytes, top: bool) -> bytes:
        if patterns is None:
            return lines.replace_lfs(content) if direction == "import" else lines.untrack(content, None, top=top)
        return change(content, patterns, top=top)

    def edit(base: bytes, content: bytes, tracked: bool) -> bytes:
        return edited(content, not base) if tracked else content

    def into(path: bytes, oid: Oid, _before: Value, after: Value) -> Oid:
        if after != LEPTON:
            if selection.wants(path) and not contents.of(oid).ours:
                raise _contradicted(path, after)
            return oid
        content = contents.of(oid)
        if path.rpartition(b"/")[2] in PROTECTED and content.pointer is None:
            raise UsageError(
                f"{_text(path)} would be stored as weights, and has to stay text",
                hint="leave it out with --exclude, or choose a pattern that does not match it",
            )
        empty = content.size == 0 and content.pointer is None  # the clean filter leaves it empty too
        return oid if content.ours or empty else convert(path, oid, content)

    def out(path: bytes, oid: Oid, before: Value, after: Value) -> Oid:
        if before != LEPTON or not (patterns is None or selection.wants(path)):
            return oid
        content = contents.of(oid)
        if content.manifest is None:
            return oid
        if after == LEPTON:
            raise _contradicted(path, after)
        return convert(path, oid, content)

    search = TreeSearch(reader, selection.wants)
    begins = (lambda _: True) if patterns is None else search.finds
    return Policy(edit, into if direction == "import" else out, begins)


def _contradicted(path: bytes, value: Value) -> UsageError:
    folder = path.rpartition(b"/")[0]
    shown = value.decode(errors="replace") if isinstance(value, bytes) else value
    return UsageError(
        f"{_text(path)} is meant, but a .gitattributes file in some commit gives it the filter {shown}",
        hint=f"edit {_text(folder) or '.'}/.gitattributes first, or migrate without --include, --exclude and --above",
    )


def _text(path: bytes) -> str:
    return os.fsdecode(path)
