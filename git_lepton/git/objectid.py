r"""git's object ids and the bytes of its trees and commits (gitformat: "Git Internals - Git Objects").

An object's id is the hash of `<type> <length>\0<content>`. `hash_object` takes the content in parts, so that nothing
large is joined; hashlib releases the interpreter lock for parts above 2 KiB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import FrameError, MissingError, UsageError
from git_lepton.git.repo import ObjectFormat
from git_lepton.native.sha1 import LANES, kernels
from git_lepton.values import Oid

Buffer = bytes | bytearray | memoryview
"""Bytes in memory, however they are held."""

TREE_MODE: Final = 0o040000
BLOB_MODE: Final = 0o100644

SIDE_BY_SIDE: Final = LANES
"""So many objects of like size are best hashed at once."""

_WORTH: Final = 4
"""Side by side takes as long as the largest: so many times its size must be there to be hashed."""
_LARGE: Final = 128 << 10
"""Fewer bytes are hashed at once, whoever does it."""

_MODES: Final = frozenset({0o040000, 0o100644, 0o100755, 0o120000, 0o160000, 0o100664})
_HEX = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MODE = re.compile(rb"[1-7][0-7]{4,5}")


def object_header(kind: str, size: int) -> bytes:
    """What git hashes before the content."""
    return f"{kind} {size}\0".encode("ascii")


def hash_object(kind: str, parts: Sequence[Buffer], algo: ObjectFormat = "sha1") -> Oid:
    """The id of the object of type `kind` whose content is `parts` after one another."""
    hasher = hashlib.new(algo, object_header(kind, sum(memoryview(p).nbytes for p in parts)), usedforsecurity=False)
    for part in parts:
        hasher.update(part)
    return Oid(hasher.hexdigest())


def hash_objects(kind: str, contents: Sequence[Sequence[Buffer]], algo: ObjectFormat = "sha1") -> list[Oid]:
    """The ids of several objects, as `hash_object` has them: large ones of like size are hashed side by side."""
    found: list[Oid] = []
    for at in range(0, len(contents), LANES):
        found += _hash_side_by_side(kind, contents[at : at + LANES], algo)
    return found


def _hash_side_by_side(kind: str, contents: Sequence[Sequence[Buffer]], algo: ObjectFormat) -> list[Oid]:
    sizes = [sum(memoryview(part).nbytes for part in parts) for parts in contents]
    worth = algo == "sha1" and sum(sizes) >= max(_WORTH * max(sizes), _LARGE)
    native = kernels() if worth else None
    messages = [[object_header(kind, size), *parts] for size, parts in zip(sizes, contents, strict=True)]
    digests = native.hash(messages) if native else None
    if digests is None:
        return [hash_object(kind, parts, algo) for parts in contents]
    return [Oid(digest.hex()) for digest in digests]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name in a tree: `mode` as git's octal number, `name` without slash, `oid` of blob, tree or commit."""

    mode: int
    name: bytes
    oid: Oid


def encode_tree(entries: Iterable[TreeEntry]) -> bytes:
    """The content of a tree, sorted as git does: by bytes, a folder's name as if it ended with "/".

    Raises:
        FrameError: an empty, forbidden or repeated name.
    """
    ordered = sorted(entries, key=lambda e: e.name + b"/" if e.mode == TREE_MODE else e.name)
    names = {entry.name for entry in ordered}
    if len(names) != len(ordered) or any(not n or b"/" in n or b"\0" in n or n in {b".", b".."} for n in names):
        raise FrameError("a tree with an empty, forbidden or repeated name")
    return b"".join(b"%o %b\0%b" % (entry.mode, entry.name, bytes.fromhex(entry.oid)) for entry in ordered)


def parse_tree(content: bytes, oid_size: int = 20) -> tuple[TreeEntry, ...]:
    """The entries of a tree's content, in order.

    Raises:
        FrameError: it is no tree.
    """
    entries = []
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 8)
        end = content.find(b"\0", space) if space >= 0 else -1
        stop = end + 1 + oid_size
        mode, name = content[position:space], content[space + 1 : end]
        if space < 0 or end < 0 or stop > len(content) or not name or b"/" in name or not _MODE.fullmatch(mode):
            raise FrameError(f"not a tree: malformed entry at byte {position}")
        if int(mode, 8) not in _MODES:
            raise FrameError(f"not a tree: mode {mode.decode('ascii')} at byte {position}")
        entries.append(TreeEntry(int(mode, 8), name, Oid(content[end + 1 : stop].hex())))
        position = stop
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says. `author` and `committer` are git's lines: name, address, seconds and zone."""

    tree: Oid
    parents: tuple[Oid, ...]
    author: str
    committer: str
    message: str


def encode_commit(commit: Commit) -> bytes:
    """The content of a commit without signature or further headers."""
    lines = [f"tree {commit.tree}", *(f"parent {p}" for p in commit.parents)]
    lines += [f"author {commit.author}", f"committer {commit.committer}", "", commit.message]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def parse_commit(content: bytes) -> Commit:
    """Read a commit's content; headers that we do not know (signatures, encodings) are passed over.

    Raises:
        FrameError: it is no commit.
    """
    head, separator, message = content.partition(b"\n\n")
    if not separator:
        head, message = content.removesuffix(b"\n"), b""
    headers: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name:  # a line that begins with a space continues a header that we pass over
            headers.setdefault(name, []).append(value)
    trees, parents = headers.get(b"tree", []), headers.get(b"parent", [])
    authors, committers = headers.get(b"author", []), headers.get(b"committer", [])
    if len(trees) != 1 or not authors or not committers or not all(_HEX.fullmatch(oid) for oid in trees + parents):
        raise FrameError("not a commit: tree, author or committer is missing or malformed")
    return Commit(
        tree=Oid(trees[0].decode("ascii")),
        parents=tuple(Oid(p.decode("ascii")) for p in parents),
        author=authors[0].decode("utf-8", "surrogateescape"),
        committer=committers[0].decode("utf-8", "surrogateescape"),
        message=message.decode("utf-8", "surrogateescape"),
    )


def check_oid(oid: str) -> None:
    """Refuse what is no full object id, so that it is never taken for a revision.

    Raises:
        UsageError: it is none.
    """
    if not _OID.fullmatch(oid):
        raise UsageError(f"not an object id: {oid!r}")


def missing_object(oid: Oid) -> MissingError:
    """The error for an object that is not here."""
    return MissingError(f"object {oid} is not in this repository")
