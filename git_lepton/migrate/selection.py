"""From what was asked for to patterns that `.gitattributes` can hold.

A pattern there covers all files that match it, whatever their size. So `--above` and `--exclude` are turned into the
exact paths that they leave: only then does every commit say of each file precisely whether it is tracked, which is
what git goes by when it compares a file with its blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from git_lepton.git.attributes import check_pattern, literal_pattern
from git_lepton.migrate.content import Contents
from git_lepton.migrate.plan import Request
from git_lepton.migrate.rules import Value, literal_path, matches
from git_lepton.migrate.trees import TreeReader, TreeRewriter
from git_lepton.values import Oid

PROTECTED: Final = frozenset(
    {b".gitattributes", b".gitignore", b".gitmodules", b".mailmap", b".lfsconfig", b"lepton.toml"}
)
"""Files that git, git-lfs or we read themselves: they must stay what they are."""


class Selection:
    """Which paths are meant: those of `patterns`, or (None) all that the filter in question covers."""

    def __init__(self, patterns: tuple[bytes, ...] | None) -> None:
        self.patterns = patterns
        literal = {pattern: literal_path(pattern) for pattern in patterns or ()}
        self._known = {path: True for path in literal.values() if path is not None}
        self._globs = [pattern for pattern, path in literal.items() if path is None]

    def wants(self, path: bytes) -> bool:
        """Whether one of the patterns matches; False without patterns."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = any(matches(pattern, path) for pattern in self._globs)
        return known


def patterns_of(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    """Patterns as a person types them; a folder ("models/") stands for all files below it.

    Raises:
        UsageError: git would not take it in `.gitattributes`.
    """
    result = []
    for text in texts:
        pattern = text.encode("utf-8", "surrogateescape")
        pattern += b"**" if pattern.endswith(b"/") else b""
        check_pattern(pattern)
        result.append(pattern)
    return tuple(dict.fromkeys(result))


def select(
    request: Request, reader: TreeReader, contents: Contents, trees: Iterable[Oid], tracked_by: bytes
) -> Selection:
    """Find the patterns for a request.

    Args:
        request: what was asked for.
        reader: of the repository.
        contents: tells sizes.
        trees: of the commits in question.
        tracked_by: the filter that covers what is meant when nothing is named: "lfs" or "lepton".

    Raises:
        UsageError: a pattern is none.
    """
    include, exclude = patterns_of(request.include), patterns_of(request.exclude)
    if not exclude and request.above <= 0:
        return Selection(include or None)

    def in_question(path: bytes, before: Value) -> bool:
        if any(matches(p, path) for p in exclude) or path.rpartition(b"/")[2] in PROTECTED:
            return False
        if include:
            return any(matches(p, path) for p in include)
        return before == tracked_by or (tracked_by == b"lfs" and request.above > 0)

    found: set[bytes] = set()

    def visit(path: bytes, oid: Oid, before: Value, _after: Value) -> Oid:
        if path not in found and in_question(path, before) and contents.of(oid).size >= request.above:
            found.add(path)
        return oid

    _visit_all(reader, trees, visit)
    return Selection(tuple(literal_pattern(path) for path in sorted(found)))


def _visit_all(reader: TreeReader, trees: Iterable[Oid], visit: Callable[[bytes, Oid, Value, Value], Oid]) -> None:
    """Call `visit` for every distinct file of `trees`, rewriting nothing."""
    walker = TreeRewriter(reader, lambda _kind, _content: Oid(""), lambda _base, content, _tracked: content, visit)
    for tree in trees:
        walker.rewrite(tree, tracked=False)
