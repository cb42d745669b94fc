"""A pack that is begun before the file is whole: chunks are encoded by whoever makes them, while they are in memory.

`early` does this for content that somebody else sends. Here the caller makes the chunks, on several threads, and knows
what they descend from: the encoder gets the chunk to subtract if the caller has just read it. What was encoded is taken
over, with the versions that it relies upon, when the whole is stored; else the pack goes, and nothing refers to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from blake3 import blake3

from git_lepton.closing import Closing
from git_lepton.codec.chunking import CONTENT_MIN, chunk_lengths
from git_lepton.git.packfile import PackWriter
from git_lepton.store.assemble import StoredChunk
from git_lepton.store.bases import find_bases
from git_lepton.store.catalog import Catalog
from git_lepton.store.encoding import Choice, ChunkEncoder, Shelf
from git_lepton.store.index import VersionIndex
from git_lepton.store.manifest import Manifest
from git_lepton.store.source import Source
from git_lepton.store.survey import gaps
from git_lepton.store.trees import object_count
from git_lepton.values import Hash, Layout, Oid


def live_shelf(catalog: Catalog) -> Shelf:
    """A shelf of what is stored now."""

    def load(version: Hash) -> tuple[VersionIndex, Oid] | None:
        wrap = catalog.wrap_of(version)
        if wrap is None:
            catalog.lookup.forget([version])
            return None
        return catalog.index(version), wrap

    return Shelf(load)


def expected_objects(layout: Layout, numbers: Collection[int], *, bases: int = 0) -> int | None:
    """How many objects a pack will have if what is encoded into it is new and nothing repeats.

    Args:
        layout: of the file.
        numbers: of the tensors that are encoded.
        bases: how many tensors of other versions only deltas need.

    Returns:
        The count, or None where the cuts are not known yet.
    """
    places = [place for place in map(layout.tensors.__getitem__, numbers) if place.stop > place.start]
    chunks = sum(len(chunk_lengths(place.dtype, place.stop - place.start)) for place in places)
    other = sum(length for _, length in gaps(layout))
    if other > CONTENT_MIN:
        return None
    folders = len(places) + (other > 0) + bases
    return object_count(chunks + (other > 0), folders, tensors=bool(places), bases=bases > 0)


class BegunPack(Closing):
    """Takes chunks from any thread, until somebody takes the pack. To be closed; that abandons what was not taken."""

    def __init__(
        self,
        catalog: Catalog,
        source: Source,
        layout: Layout,
        numbers: Collection[int],
        candidates: Sequence[Manifest],
    ) -> None:
        """Prepare; nothing is written yet, and the catalog may not be used otherwise until the pack is taken.

        Args:
            catalog: where the version will be stored.
            source: the file that the chunks are of.
            layout: its tensors.
            numbers: of these the chunks will come.
            candidates: manifests of versions that they may descend from, the closest first.
        """
        self._catalog, self._source, self._lookup = catalog, source, catalog.lookup
        here = [c for c in candidates if numbers and catalog.has(c.blake3)]
        self._shelf = live_shelf(catalog)
        for manifest in here:
            self._shelf.index(manifest.blake3)
        self._layout, self._numbers = layout, numbers
        self._options = find_bases(layout.tensors, numbers, here)
        self._pack: PackWriter | None = None
        self._encoder: ChunkEncoder | None = None
        self._seen: set[Hash] = set()
        self._chunks: dict[Hash, StoredChunk] = {}
        self._choices: dict[int, Choice] = {}
        self._lock = Lock()

    @property
    def shelf(self) -> Shelf | None:
        """The versions that deltas in the pack rely upon; None when there is nothing to take."""
        return self._shelf if self._pack is not None else None

    @property
    def size(self) -> int:
        """Raw bytes of the chunks that are encoded."""
        return sum(chunk.raw_length for chunk in self._chunks.values())

    def add(self, tensor: int, number: int, digest: Hash, raw: memoryview, kin: Mapping[Hash, memoryview]) -> None:
        """Encode a chunk unless it is stored. Once the first one of a tensor is, it has decided about the others.

        Args:
            tensor: which of the file.
            number: which of the tensor.
            digest: BLAKE3 of `raw`.
            raw: its bytes, in memory that nobody writes to.
            kin: chunks that need not be read again if one of them is the base, by their hash.

        Raises:
            OSError: the disk is full.
            MissingError, CorruptError: the chunk to subtract cannot be read.
        """
        with self._lock:
            if digest in self._seen or self._lookup.chunks([digest]):
                return
            self._seen.add(digest)
            encoder = self._opened()
            known = self._choices.get(tensor)
        options = self._options.get(tensor, ()) if known is None else known.options
        choice = Choice() if known is None else replace(known)
        dtype = self._layout.tensors[tensor].dtype
        chunk = encoder.encode_chunk(raw, dtype, bytes.fromhex(digest), number, options, kin, choice)
        with self._lock:
            self._chunks[digest] = chunk
            if number == 0:
                self._choices[tensor] = choice

    def _opened(self) -> ChunkEncoder:
        if self._encoder is None:
            self._pack = PackWriter(self._catalog.repo, objects=self._expected_objects())
            catalog = self._catalog
            self._encoder = ChunkEncoder(self._source, self._pack, self._shelf, catalog.chunks, catalog.progress)
        return self._encoder

    def _expected_objects(self) -> int | None:
        """Right as a rule: all chunks are new, and deltas where they can be; what is beside tensors is looked up."""
        bases = {options[0].stream for options in self._options.values()}
        count = expected_objects(self._layout, self._numbers, bases=len(bases))
        if count is None:
            return None
        other = blake3()
        for start, length in gaps(self._layout):
            data = memoryview(bytearray(length))
            self._source.read_into(start, data)
            other.update(data)
        return count - len(self._lookup.chunks([Hash(other.hexdigest())]))

    def take(self) -> tuple[PackWriter | None, dict[Hash, StoredChunk]]:
        """The pack, the caller's from now on, and its chunks; nothing when there is none, or the second time."""
        pack, chunks, self._pack, self._chunks = self._pack, self._chunks, None, {}
        return pack, chunks

    def close(self) -> None:
        """Give up what was not taken."""
        if self._pack is not None:
            self._pack.abandon()
            self._pack = None
