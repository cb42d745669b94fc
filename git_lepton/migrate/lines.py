"""Editing `.gitattributes`: git-lfs's lines become ours, ours are added or taken away.

Every function is pure, from the content of a file to its new content; what is not ours is kept byte for byte, and a
line that changes keeps its place, since order is meaning there. Empty content stands for no file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from git_lepton.git import attributes
from git_lepton.git.quoting import unquote
from git_lepton.migrate.rules import split_pattern

_LFS: Final = b"filter=lfs"
_OURS: Final = b"filter=lepton"
_FROM_LFS: Final = {b"filter=lfs": b"filter=lepton", b"diff=lfs": b"diff=lepton", b"merge=lfs": b"merge=lepton"}
_NEGATED: Final = (b"!filter", b"!diff", b"!merge")


def replace_lfs(content: bytes) -> bytes:
    """Every line by which git-lfs tracks files, macros included, now tracks them with lepton."""
    return _map_lines(content, _LFS, lambda _, tokens: [_FROM_LFS.get(t, t) for t in tokens if t != b"lockable"])


def track(content: bytes, patterns: Collection[bytes], *, top: bool) -> bytes:
    """Track `patterns`: at the top a line for each; elsewhere only lines of git-lfs with the same pattern change."""
    if top:
        for pattern in patterns:
            content = attributes.track(content, pattern)
        return content
    return _map_lines(
        content, _LFS, lambda pattern, tokens: [_FROM_LFS.get(t, t) if pattern in patterns else t for t in tokens]
    )


def untrack(content: bytes, patterns: Collection[bytes] | None, *, top: bool) -> bytes:
    """Stop tracking `patterns` (None: all). At the top, those that other lines of ours may still cover are negated."""
    if patterns is None:
        return _map_lines(content, _OURS, lambda _, tokens: [t for t in tokens if t not in attributes.OURS])
    for pattern in patterns:
        if pattern in attributes.tracked_patterns(content):
            content = attributes.untrack(content, pattern)
    if top and _OURS in content:
        for pattern in patterns:
            content = attributes.track(content, pattern, _NEGATED)
    return content


def _map_lines(content: bytes, token: bytes, change: Callable[[bytes, list[bytes]], list[bytes]]) -> bytes:
    """Give `change` the pattern and the attributes of every line that has `token`; a line with none left goes."""
    result = []
    for line in content.splitlines(keepends=True):
        head, rest = split_pattern(line.strip(b" \t\r\n"))
        tokens = rest.split()
        if token not in tokens or head.startswith(b"#"):
            result.append(line)
            continue
        changed = change(unquote(head), tokens)
        if changed:
            result.append(line if changed == tokens else head + b" " + b" ".join(changed) + line[len(line.rstrip()) :])
    return b"".join(result)
