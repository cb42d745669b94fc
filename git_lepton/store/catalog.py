"""What one repository has stored: refs, indexes, objects, and the cache that finds chunks by hash.

Invariant: where `refs/lepton/models/<H>` exists, every object of version H is in the object database and reachable,
so `has` is one look at a ref.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final, TypeVar

from git_lepton.closing import Closing
from git_lepton.errors import CorruptError, FrameError, MissingError
from git_lepton.git.objectid import parse_commit, parse_tree
from git_lepton.git.objects import ObjectReader, open_reader
from git_lepton.git.refs import RefReader, list_refs
from git_lepton.git.repo import Repo
from git_lepton.progress import Progress, Silent
from git_lepton.store.index import VersionIndex, parse_other
from git_lepton.store.index import parse as parse_index
from git_lepton.store.lookup import Lookup
from git_lepton.store.names import MODELS, index_ref, model_ref
from git_lepton.store.reading import ChunkReader
from git_lepton.values import Hash, Oid

Index = TypeVar("Index", VersionIndex, VersionIndex | None)

LOOKUP_FILE: Final = "lookup.sqlite"
_KEPT_INDEXES: Final = 16


class Catalog(Closing):
    """Knows what is stored in one repository. To be used from one thread."""

    def __init__(
        self, repo: Repo, *, progress: Progress | None = None, warn: Callable[[str], None] | None = None
    ) -> None:
        """Know `repo`; `warn` is told, in a sentence, of what is odd but no error."""
        self.repo = repo
        self.warn: Callable[[str], None] = warn or (lambda _: None)
        self.progress: Progress = progress or Silent()
        self._refs = RefReader(repo)
        self._indexes: dict[Hash, VersionIndex] = {}

    @cached_property
    def objects(self) -> ObjectReader:
        """Reader of the object database, opened on first use."""
        return open_reader(self.repo)

    @cached_property
    def chunks(self) -> ChunkReader:
        """Reader of chunks."""
        return ChunkReader(self.objects)

    @cached_property
    def lookup(self) -> Lookup:
        """The local cache of what is stored; filled from the refs when it is new."""
        lookup = Lookup(self.repo.lepton_dir / LOOKUP_FILE)
        if lookup.is_new:
            versions = self.versions()
            for digest in lookup.synchronise(versions):
                lookup.add(self.index(digest), versions[digest])
        return lookup

    def wrap_of(self, digest: Hash) -> Oid | None:
        """The commit W of a stored version, or None when it is not stored."""
        return self._refs.read(model_ref(digest))

    def index_commit_of(self, digest: Hash) -> Oid | None:
        """The commit I of a version whose index is here, or None."""
        return self._refs.read(index_ref(digest))

    def has(self, digest: Hash) -> bool:
        """Whether the version is stored, complete, in this repository."""
        return self.wrap_of(digest) is not None

    def versions(self) -> dict[Hash, Oid]:
        """Every stored version with its commit W. Lists all refs: not for hot paths."""
        return {Hash(ref.removeprefix(MODELS)): oid for ref, oid in list_refs(self.repo, MODELS).items()}

    def index(self, digest: Hash) -> VersionIndex:
        """The index of a version that is stored, or of which at least the index was fetched.

        Raises:
            MissingError: neither is here.
            CorruptError: what is there is not the index of this version.
        """
        if digest in self._indexes:
            return self._indexes[digest]
        index = _checked(digest, parse_index, self.index_bytes(digest))
        while len(self._indexes) >= _KEPT_INDEXES:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[digest] = index
        return index

    def other_index(self, digest: Hash) -> VersionIndex:
        """An index that can be relied on for stream 0 only, since it may have no other; raises as `index`.

        That of a model with many tensors takes far longer to read whole.
        """
        if digest in self._indexes:
            return self._indexes[digest]
        return _checked(digest, parse_other, self.index_bytes(digest)) or self.index(digest)

    def index_bytes(self, digest: Hash) -> bytes:
        """The index blob itself; raises as `index`."""
        commit = self.wrap_of(digest) or self.index_commit_of(digest)
        if commit is None:
            raise MissingError(
                f"the weights of version {digest[:12]} are not in this repository", hint="git lepton pull"
            )
        return self.index_bytes_in(commit)

    def index_bytes_in(self, commit: Oid) -> bytes:
        """The index blob that a commit W or I holds.

        Raises:
            MissingError: the commit is not here.
            CorruptError: it holds no index.
        """
        _, data = self.objects.read(commit)
        _, tree = self.objects.read(parse_commit(bytes(data)).tree)
        entry = next((e for e in parse_tree(bytes(tree), self.repo.oid_size) if e.name == b"index"), None)
        if entry is None:
            raise CorruptError(f"commit {commit} has no index")
        return bytes(self.objects.read(entry.oid)[1])

    def missing(self, index: VersionIndex) -> list[Oid]:
        """The chunks of `index` that are not in this repository, in order; never fetches."""
        wanted = list(dict.fromkeys(c.oid for c in index.chunks))
        present = self.objects.contains(wanted)
        return [oid for oid in wanted if oid not in present]

    def close(self) -> None:
        """Release processes, maps and the cache."""
        for name in ("objects", "lookup"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
        self.__dict__.pop("chunks", None)


def _checked(digest: Hash, read: Callable[[bytes], Index], data: bytes) -> Index:
    """What `read` makes of the index of a version, if it is the index of that one."""
    try:
        index = read(data)
    except FrameError as error:
        raise CorruptError(f"the index of version {digest[:12]} is damaged: {error.message}") from error
    if index is not None and index.file_hash != digest:
        raise CorruptError(f"refs/lepton/…/{digest[:12]} holds the index of another version, {index.file_hash[:12]}")
    return index
