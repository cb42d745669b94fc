"""The git objects of a stored version, as a pure function of its index (docs/formats.md, "Objects").

    W  refs/lepton/models/<H>   tree T, parents O(H) and O(B) for each version B whose chunks are reused
    O  (no ref of its own)      tree T, no parents: names the version on both sides of a push
    I  refs/lepton/index/<H>    tree {index}, no parents

Author, date and message are fixed, so all of these can be remade byte for byte by whoever holds the index. The two
commits W and O are why git sends only what is new: its negotiation looks at commits alone, and O(B) is an ancestor
of what the other side has, while nothing keeps B's own ref alive (docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from git_lepton.git.objectid import BLOB_MODE, TREE_MODE, Commit, TreeEntry, encode_commit, encode_tree, hash_object
from git_lepton.git.repo import ObjectFormat
from git_lepton.store.index import Chunk, VersionIndex
from git_lepton.values import Oid

IDENTITY: Final = "git-lepton <> 946684800 +0000"
"""Author and committer of every commit: 2000-01-01, so that they sort last wherever git walks by date."""
MESSAGE: Final = "git-lepton: a stored version of model weights\n"


@dataclass(frozen=True, slots=True)
class GitObject:
    """One object to write."""

    type: Literal["blob", "tree", "commit"]
    oid: Oid
    data: bytes


@dataclass(frozen=True, slots=True)
class VersionObjects:
    """All objects of a version except its chunks.

    Attributes:
        index: the index blob.
        trees: every tree that the two commits reach, the top trees last.
        stream_trees: oid of the folder of each stored stream, by stream number.
        own: commit O.
        wrap: commit W with all parents that the index names.
        index_commit: commit I.
    """

    index: GitObject
    trees: tuple[GitObject, ...]
    stream_trees: dict[int, Oid]
    own: GitObject
    wrap: GitObject
    index_commit: GitObject

    @property
    def tree(self) -> Oid:
        """The top tree T."""
        return self.trees[-1].oid


def build(index: VersionIndex, algo: ObjectFormat) -> VersionObjects:
    """Compute the objects of the version that `index` describes.

    Args:
        index: the index; its oids must be of `algo`.
        algo: the repository's object format, "sha1" or "sha256".
    """
    blob = _object("blob", index.to_bytes(), algo)
    trees: list[GitObject] = []
    stream_trees: dict[int, Oid] = {}
    top = [TreeEntry(BLOB_MODE, b"index", blob.oid)]
    tensor_entries = []
    for number, stream in enumerate(index.streams):
        if not stream.count:
            continue
        tree = _chunk_tree(list(enumerate(index.stream_chunks(stream))), algo)
        trees.append(tree)
        stream_trees[number] = tree.oid
        if number == 0:
            top.append(TreeEntry(TREE_MODE, b"other", tree.oid))
        else:
            tensor_entries.append(TreeEntry(TREE_MODE, stream.hash.encode(), tree.oid))
    base_entries = _base_entries(index, trees, algo)
    for name, entries in ((b"tensors", tensor_entries), (b"bases", base_entries)):
        if entries:
            tree = _object("tree", encode_tree(entries), algo)
            trees.append(tree)
            top.append(TreeEntry(TREE_MODE, name, tree.oid))
    index_tree = _object("tree", encode_tree(top[:1]), algo)
    whole = _object("tree", encode_tree(top), algo)
    trees += [index_tree, whole]
    own = commit(whole.oid, (), algo)
    return VersionObjects(
        index=blob,
        trees=tuple(trees),
        stream_trees=stream_trees,
        own=own,
        wrap=commit(whole.oid, (own.oid, *index.parents), algo),
        index_commit=commit(index_tree.oid, (), algo),
    )


def object_count(chunks: int, folders: int, *, tensors: bool, bases: bool = False) -> int:
    """How many objects a pack gets with a version.

    Args:
        chunks: that the pack has.
        folders: of chunks.
        tensors: whether there are any.
        bases: whether there are chunks that only deltas need.
    """
    index_blob, top_trees, commits = 1, 2, 3
    return chunks + folders + tensors + bases + index_blob + top_trees + commits


def commit(tree: Oid, parents: Sequence[Oid], algo: ObjectFormat) -> GitObject:
    """A commit of the store: a function of tree and parents alone."""
    return _object("commit", encode_commit(Commit(tree, tuple(parents), IDENTITY, IDENTITY, MESSAGE)), algo)


def _base_entries(index: VersionIndex, trees: list[GitObject], algo: ObjectFormat) -> list[TreeEntry]:
    rows = index.chunks[len(index.chunks) - len(index.bases) :]
    folders: dict[str, list[tuple[int, Chunk]]] = {}
    for base, chunk in zip(index.bases, rows, strict=True):
        folders.setdefault(base.stream_hash, []).append((base.number, chunk))
    entries = []
    for name, chunks in folders.items():
        tree = _chunk_tree(chunks, algo)
        trees.append(tree)
        entries.append(TreeEntry(TREE_MODE, name.encode(), tree.oid))
    return entries


def _chunk_tree(chunks: list[tuple[int, Chunk]], algo: ObjectFormat) -> GitObject:
    return _object("tree", encode_tree([TreeEntry(BLOB_MODE, b"%04d.lp" % n, c.oid) for n, c in chunks]), algo)


def _object(kind: Literal["blob", "tree", "commit"], data: bytes, algo: ObjectFormat) -> GitObject:
    return GitObject(kind, hash_object(kind, [data], algo), data)
