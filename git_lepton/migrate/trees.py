"""Walking and rewriting trees, each distinct one once.

A tree is told apart by its id and the folder that it stands in, since patterns look at whole paths; for a rewrite also
by the attribute rules in force above it. History repeats itself, so the work is that of the distinct trees, not that
of the commits.

`TreeRewriter` knows nothing of weights: it asks `edit` for the new content of every `.gitattributes`, and `visit` for
the new id of every regular file, telling it the filter that the path had and has. Symbolic links and submodules pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from git_lepton.errors import CorruptError, UsageError
from git_lepton.git.objectid import BLOB_MODE, TREE_MODE, TreeEntry, encode_tree, parse_tree
from git_lepton.git.objects import ObjectReader
from git_lepton.migrate.rules import Rules, Value
from git_lepton.values import Oid

ATTRIBUTES: Final = b".gitattributes"
_REGULAR: Final = 0o100000
_KIND: Final = 0o170000
_MAX_DEPTH: Final = 200

Edit = Callable[[bytes, bytes, bool], bytes]
"""(folder, content, tracked) -> new content of its `.gitattributes`; empty content stands for no file."""

Visit = Callable[[bytes, Oid, Value, Value], Oid]
"""(path, blob, filter before, filter after) -> the blob that takes its place."""

Put = Callable[[str, bytes], Oid]
"""(type, content) -> id: writes an object, or only names it."""


def is_regular(entry: TreeEntry) -> bool:
    """Whether the entry is a file, executable or not."""
    return entry.mode & _KIND == _REGULAR


@dataclass(slots=True)
class TreeReader:
    """Reads trees and small blobs. One tree is often read for several purposes in a row, so the last ones are kept."""

    objects: ObjectReader
    oid_size: int
    _kept: dict[Oid, tuple[TreeEntry, ...]] = field(default_factory=dict)

    def tree(self, oid: Oid) -> tuple[TreeEntry, ...]:
        """The entries of a tree.

        Raises:
            MissingError: it is not here.
            CorruptError, FrameError: it is no tree.
        """
        entries = self._kept.get(oid)
        if entries is None:
            entries = parse_tree(self.content(oid, "tree"), self.oid_size)
            if len(self._kept) >= 1024:
                self._kept.clear()
            self._kept[oid] = entries
        return entries

    def content(self, oid: Oid, kind: str) -> bytes:
        """The content of an object that must be of type `kind`."""
        found, data = self.objects.read(oid)
        if found != kind:
            raise CorruptError(f"object {oid} should be a {kind} and is a {found}")
        return bytes(data)


class TreeSearch:
    """Answers whether a tree has a regular file whose path `wanted` takes."""

    def __init__(self, reader: TreeReader, wanted: Callable[[bytes], bool]) -> None:
        self._reader = reader
        self._wanted = wanted
        self._known: dict[tuple[Oid, bytes], bool] = {}

    def finds(self, tree: Oid, base: bytes = b"") -> bool:
        """See the class."""
        _check_depth(base)
        known = self._known.get((tree, base))
        if known is None:
            known = self._known[tree, base] = any(
                self.finds(entry.oid, base + entry.name + b"/")
                if entry.mode == TREE_MODE
                else is_regular(entry) and self._wanted(base + entry.name)
                for entry in self._reader.tree(tree)
            )
        return known


class TreeRewriter:
    """Rewrites trees; see the module's text."""

    def __init__(self, reader: TreeReader, put: Put, edit: Edit, visit: Visit, *, ignore_case: bool = False) -> None:
        self._reader = reader
        self._put = put
        self._edit = edit
        self._visit = visit
        self._rules = [Rules(ignore_case=ignore_case)]
        self._numbers: dict[Rules, int] = {self._rules[0]: 0}
        self._steps: dict[tuple[int, bytes, bytes], int] = {}
        self._done: dict[tuple[Oid, bytes, int, int, bool], Oid] = {}

    def rewrite(self, tree: Oid, *, tracked: bool) -> Oid:
        """The tree that takes the place of a commit's tree; `tracked` is handed on to `edit`."""
        new = self._rewrite(tree, b"", 0, 0, tracked)
        return self._put("tree", b"") if new is None else new

    def _rewrite(self, tree: Oid, base: bytes, before: int, after: int, tracked: bool) -> Oid | None:
        """None when nothing is left in the tree; git keeps no empty folders. Rules go by their numbers."""
        _check_depth(base)
        key = (tree, base, before, after, tracked)
        if key in self._done:
            return self._done[key]
        entries = {entry.name: entry for entry in self._reader.tree(tree)}
        old = self._attributes(entries.get(ATTRIBUTES), base)
        new = self._edit(base, old, tracked)
        before, after = self._step(before, base, old), self._step(after, base, new)
        changed = new != old
        for name, entry in list(entries.items()):
            oid = self._entry(entry, base + name, before, after, tracked)
            if oid is None:
                del entries[name]
                changed = True
            elif oid != entry.oid:
                entries[name] = TreeEntry(entry.mode, name, oid)
                changed = True
        if new and new != old:
            mode = entries[ATTRIBUTES].mode if ATTRIBUTES in entries else BLOB_MODE
            entries[ATTRIBUTES] = TreeEntry(mode, ATTRIBUTES, self._put("blob", new))
        elif new != old:
            del entries[ATTRIBUTES]
        if changed and not entries:
            return None
        self._done[key] = result = self._put("tree", encode_tree(entries.values())) if changed else tree
        return result

    def _entry(self, entry: TreeEntry, path: bytes, before: int, after: int, tracked: bool) -> Oid | None:
        if entry.mode == TREE_MODE:
            return self._rewrite(entry.oid, path + b"/", before, after, tracked)
        if not is_regular(entry):
            return entry.oid
        old, new = self._rules[before].filter_of(path), self._rules[after].filter_of(path)
        return entry.oid if entry.name == ATTRIBUTES and not new else self._visit(path, entry.oid, old, new)

    def _step(self, number: int, base: bytes, content: bytes) -> int:
        """The number of the rules below rules `number` and an attribute file; equal rules have one number."""
        if not content:
            return number
        key = (number, base, content)
        if key not in self._steps:
            rules = self._rules[number].below(base, content)
            self._steps[key] = self._numbers.setdefault(rules, len(self._rules))
            if self._steps[key] == len(self._rules):
                self._rules.append(rules)
        return self._steps[key]

    def _attributes(self, entry: TreeEntry | None, base: bytes) -> bytes:
        if entry is None:
            return b""
        if not is_regular(entry):
            where = (base + ATTRIBUTES).decode("utf-8", "backslashreplace")
            raise UsageError(f"{where} is not a regular file in some commit", hint="git does not read it either")
        return self._reader.content(entry.oid, "blob")


def _check_depth(base: bytes) -> None:
    if base.count(b"/") > _MAX_DEPTH:
        raise UsageError(f"folders are nested more than {_MAX_DEPTH} deep")
