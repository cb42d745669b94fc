"""Large versions, sent piece by piece: a push that is killed leaves nothing on the server, and hosts limit one push.

Each part is a parentless commit of one flat tree of chunks, under `tmp/<H>/<number>`. It is a function of the chunks
that it lists, so a push that starts again makes the same parts and finds on the remote those that arrived. The version
goes last, together with T, a commit of the version's tree whose parents are W and all parts: git looks into the trees
of commits that the other side has only where they are parents of what is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from git_lepton.git.objectid import BLOB_MODE, TreeEntry, encode_tree, hash_object
from git_lepton.git.repo import ObjectFormat
from git_lepton.store.index import Chunk
from git_lepton.store.trees import GitObject, commit
from git_lepton.values import Oid

JOINT: Final = "t"
"""Name of the temporary ref of T."""


@dataclass(frozen=True, slots=True)
class Part:
    """Chunks that are pushed ahead of their version.

    Attributes:
        name: last component of the temporary ref.
        tree: lists the chunks.
        commit: of that tree.
        bytes: stored bytes of the chunks.
    """

    name: str
    tree: GitObject
    commit: GitObject
    bytes: int


def split(chunks: Sequence[Chunk], limit: int, algo: ObjectFormat) -> Iterator[Part]:
    """Parts of at most `limit` bytes (but at least a chunk) that hold all of `chunks`, in order."""
    for number, (group, size) in enumerate(_cut(chunks, limit)):
        # The suffix lets the attribute that keeps git from looking for deltas apply here too.
        entries = [TreeEntry(BLOB_MODE, b"%06d.lp" % at, chunk.oid) for at, chunk in enumerate(group)]
        data = encode_tree(entries)
        tree = GitObject("tree", hash_object("tree", [data], algo), data)
        yield Part(f"{number:04d}", tree, commit(tree.oid, (), algo), size)


def joint(tree: Oid, wrap: Oid, parts: Sequence[Part], algo: ObjectFormat) -> GitObject:
    """The commit T."""
    return commit(tree, (wrap, *(part.commit.oid for part in parts)), algo)


def _cut(chunks: Sequence[Chunk], limit: int) -> Iterator[tuple[list[Chunk], int]]:
    group: list[Chunk] = []
    size = 0
    for chunk in chunks:
        if group and size + chunk.stored_length > limit:
            yield group, size
            group, size = [], 0
        group.append(chunk)
        size += chunk.stored_length
    if group:
        yield group, size
