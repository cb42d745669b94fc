"""New commits and tags for old ones.

Commits come in an order in which parents precede their children. A commit whose tree and parents stay is left alone,
and so keeps its id and its signature. Of any other, every byte of the header and the message is kept except the lines
`tree` and `parent`, and what can no longer hold: `gpgsig` and `mergetag`, which sign the old content. The same goes for
the object and the signature of an annotated tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from git_lepton.errors import FrameError
from git_lepton.migrate.trees import Put, TreeReader
from git_lepton.values import Oid

_DROPPED: Final = frozenset({b"gpgsig", b"gpgsig-sha256", b"mergetag"})
_SIGNATURE = re.compile(rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE|SIGNED MESSAGE)-----$", re.MULTILINE)
_OID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")

NewTree = Callable[[Oid, bool], Oid]
"""(tree, tracked) -> the tree that takes its place."""


def split_headers(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers of a commit or tag as (name, whole lines with their continuations), and the rest from the blank line.

    Raises:
        FrameError: a continuation of nothing.
    """
    head, blank, message = content.partition(b"\n\n")
    headers: list[tuple[bytes, bytes]] = []
    for line in head.removesuffix(b"\n").split(b"\n"):
        if line.startswith(b" "):
            if not headers:
                raise FrameError("a commit or tag begins with a continued line")
            name, value = headers[-1]
            headers[-1] = (name, value + line + b"\n")
        else:
            headers.append((line.partition(b" ")[0], line + b"\n"))
    return headers, b"\n" + message if blank else b""


def header_oids(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> tuple[Oid, ...]:
    """The object ids of all headers `name`.

    Raises:
        FrameError: one is none.
    """
    values = [line.removeprefix(name + b" ").removesuffix(b"\n") for found, line in headers if found == name]
    if not all(_OID.fullmatch(value) for value in values):
        raise FrameError(f"not a commit or tag: malformed {name.decode()} header")
    return tuple(Oid(value.decode("ascii")) for value in values)


def replace_commit(content: bytes, tree: Oid, parents: Sequence[Oid]) -> bytes:
    """A commit with another tree and other parents, unsigned."""
    headers, rest = split_headers(content)
    kept = [line for name, line in headers if name not in _DROPPED and name not in {b"tree", b"parent"}]
    first = [f"tree {tree}\n".encode(), *(f"parent {parent}\n".encode() for parent in parents)]
    return b"".join((*first, *kept, rest))


def replace_tag(content: bytes, target: Oid) -> bytes:
    """An annotated tag of another object, unsigned."""
    headers, rest = split_headers(content)
    lines = [
        f"object {target}\n".encode() if name == b"object" else line for name, line in headers if name not in _DROPPED
    ]
    return b"".join((*lines, unsigned(rest)))


def unsigned(message: bytes) -> bytes:
    """A tag's message without the signature at its end."""
    starts = [match.start() for match in _SIGNATURE.finditer(message)]
    return message[: starts[-1]] if starts else message


class HistoryRewriter:
    """Gives new ids to commits and tags.

    Attributes:
        mapped: old id to new id of every commit and annotated tag that changed, in order.
        oldest: commits that changed though none of their parents did.
        signed: how many of them were signed.
    """

    def __init__(self, reader: TreeReader, put: Put, new_tree: NewTree, begins: Callable[[Oid], bool]) -> None:
        """`begins` says of a tree that tracking starts with it, unless it started in a parent."""
        self.mapped: dict[Oid, Oid] = {}
        self.oldest: list[Oid] = []
        self.signed = 0
        self._reader = reader
        self._put = put
        self._new_tree = new_tree
        self._begins = begins
        self._tracked: set[Oid] = set()

    def commit(self, oid: Oid) -> None:
        """Rewrite one commit, whose parents came before."""
        content = self._reader.content(oid, "commit")
        headers, _ = split_headers(content)
        trees, parents = header_oids(headers, b"tree"), header_oids(headers, b"parent")
        if len(trees) != 1:
            raise FrameError(f"commit {oid} has no tree, or more than one")
        tracked = not self._tracked.isdisjoint(parents) or self._begins(trees[0])
        if tracked:
            self._tracked.add(oid)
        tree = self._new_tree(trees[0], tracked)
        new_parents = tuple(self.mapped.get(parent, parent) for parent in parents)
        if (tree, new_parents) != (trees[0], parents):
            if new_parents == parents:
                self.oldest.append(oid)
            self.signed += any(name in _DROPPED - {b"mergetag"} for name, _ in headers)
            self.mapped[oid] = self._put("commit", replace_commit(content, tree, new_parents))

    def ref_target(self, oid: Oid) -> Oid:
        """What a ref to `oid` must point to now: the new commit, or a new tag object, or `oid` itself."""
        if oid in self.mapped:
            return self.mapped[oid]
        kind, data = self._reader.objects.read(oid)
        if kind != "tag":
            return oid
        content = bytes(data)
        targets = header_oids(split_headers(content)[0], b"object")
        if len(targets) != 1:
            raise FrameError(f"tag {oid} has no object, or more than one")
        target = self.ref_target(targets[0])
        if target == targets[0]:
            return oid
        new = replace_tag(content, target)
        self.signed += _SIGNATURE.search(content) is not None
        self.mapped[oid] = self._put("tag", new)
        return self.mapped[oid]
