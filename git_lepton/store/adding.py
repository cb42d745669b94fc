"""Storing a file: parse, survey, reuse, encode, publish; and the manifest of what is stored already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from blake3 import blake3

from git_lepton import formats
from git_lepton.errors import ChangedError, FrameError, RaceLostError
from git_lepton.git.objectid import parse_commit
from git_lepton.git.packfile import PackWriter
from git_lepton.store.assemble import StoredChunk, StoredStream, assemble
from git_lepton.store.bases import BaseStream, find_bases
from git_lepton.store.begun import BegunPack, expected_objects, live_shelf
from git_lepton.store.catalog import Catalog
from git_lepton.store.early import EarlyEncoder
from git_lepton.store.encoding import ChunkEncoder, Shelf
from git_lepton.store.index import MAX_PARENTS, Segment, VersionIndex
from git_lepton.store.index import parse as parse_index
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.store.publishing import publish, write_objects
from git_lepton.store.source import Source
from git_lepton.store.survey import OTHER_DTYPE, Survey, SurveyedStream, gaps, survey
from git_lepton.store.trees import build, object_count
from git_lepton.values import Hash, Layout, Oid

_TRIES: Final = 5
_GATHER: Final = 4 << 20


def lay_out(catalog: Catalog, source: Source, path: str, cuts: Sequence[int]) -> Layout:
    """Where the tensors of a file lie; a file that its parser refuses has none, and the user is told why."""
    layout, warning = formats.parse(source.view(), path)
    if warning:
        catalog.warn(f"{path}: {warning}")
    return layout if layout.tensors else replace(layout, cuts=tuple(cuts))


def early_encoder(catalog: Catalog, layout: Layout, path: str, candidates: Sequence[Manifest]) -> EarlyEncoder | None:
    """What encodes chunks while the file is surveyed; None for a file without tensors, whose chunks are cut later."""
    if not layout.tensors:
        return None
    here = [c for c in candidates if catalog.has(c.blake3)]
    waiting = find_bases(layout.tensors, range(len(layout.tensors)), here)
    objects = None if waiting else expected_objects(layout, range(len(layout.tensors)))
    catalog.progress.start(f"storing {path}", layout.size)
    return EarlyEncoder(catalog.repo, catalog.lookup, catalog.progress, waiting=waiting, objects=objects)


def add(
    catalog: Catalog,
    source: Source,
    path: str,
    file_hash: Hash | None,
    candidates: Sequence[Manifest],
    cuts: Sequence[int],
    surveyed: Survey | None,
    begun: BegunPack | None,
) -> Manifest:
    """See `Store.add`."""
    layout = surveyed.layout if surveyed else lay_out(catalog, source, path, cuts)
    if file_hash is not None and catalog.has(file_hash):
        known = _known_manifest(source, layout, file_hash, catalog.index(file_hash))
        if known is not None:
            return known
    early = surveyed.early if surveyed else None
    left = layout.size - (early.size if early else 0) - (begun.size if begun else 0)
    catalog.progress.start(f"storing {path}", left if surveyed else 2 * layout.size)
    try:
        found = surveyed or survey(source, layout, catalog.progress)
        # The parser looked before the bytes were hashed: what it saw must still be there.
        looked_again = formats.parse(source.view(), path)[0].tensors if layout.tensors else ()
        if (file_hash is not None and found.file_hash != file_hash) or looked_again != layout.tensors:
            raise ChangedError(f"{path} changed while it was read", hint="add it again when nothing writes to it")
        manifest = manifest_of(layout, found)
        if not catalog.has(found.file_hash):
            _store(catalog, source, layout, found, manifest, candidates, begun)
    finally:
        catalog.progress.finish()
    return manifest


def agrees(manifest: Manifest, index: VersionIndex) -> bool:
    """Whether a manifest tells of its version what the index tells: size, other bytes, tensors in order."""
    return (
        (manifest.blake3, manifest.size) == (index.file_hash, index.size)
        and (manifest.other_hash, manifest.other_size) == (index.streams[0].hash, index.streams[0].length)
        and [t.hash for t in manifest.tensors] == [index.streams[s.stream].hash for s in index.segments if s.stream]
    )


def manifest_of(layout: Layout, found: Survey) -> Manifest:
    """What git is to track of a file that was surveyed."""
    return Manifest(
        layout.format,
        layout.size,
        found.file_hash,
        found.other.hash,
        found.other.length,
        tuple(TensorLine(t.dtype, t.shape, s.hash, t.name) for t, s in zip(layout.tensors, found.tensors, strict=True)),
    )


def _known_manifest(source: Source, layout: Layout, file_hash: Hash, index: VersionIndex) -> Manifest | None:
    """The manifest of a stored file from its index and its header; None when its index was made by another parser.

    The header is read again here, so it is compared with the hash that the index has for it.
    """
    segments = [s for s in index.segments if s.stream]
    if [s.length for s in segments] != [t.stop - t.start for t in layout.tensors] or layout.size != index.size:
        return None
    if layout.tensors:
        other = blake3()
        for start, length in gaps(layout):
            for at in range(start, start + length, _GATHER):
                block = memoryview(bytearray(min(_GATHER, start + length - at)))
                source.read_into(at, block)
                other.update(block)
        if other.hexdigest() != index.streams[0].hash:
            return None
    lines = (
        TensorLine(t.dtype, t.shape, index.streams[s.stream].hash, t.name)
        for t, s in zip(layout.tensors, segments, strict=True)
    )
    return Manifest(layout.format, index.size, file_hash, index.streams[0].hash, index.streams[0].length, tuple(lines))


def _store(
    catalog: Catalog,
    source: Source,
    layout: Layout,
    found: Survey,
    manifest: Manifest,
    candidates: Sequence[Manifest],
    begun: BegunPack | None,
) -> None:
    """Encode and publish; start over when a version relied upon goes meanwhile, without deltas if they do not fit."""
    for attempt in range(_TRIES):
        try:
            _Attempt(catalog, source, layout, found, manifest, candidates, begun).run()
            return
        except FrameError:
            # Chunks reused from several versions can bring deltas that form too long a chain together.
            if not candidates and attempt:
                raise
            candidates = ()
        except RaceLostError:
            if catalog.has(found.file_hash):
                return
            if attempt == _TRIES - 1:
                raise


@dataclass(slots=True)
class _Attempt:
    """One try at storing a surveyed file."""

    catalog: Catalog
    source: Source
    layout: Layout
    found: Survey
    manifest: Manifest
    candidates: Sequence[Manifest]
    begun: BegunPack | None

    def run(self) -> None:
        catalog = self.catalog
        shelf = (self.begun and self.begun.shelf) or live_shelf(catalog)
        streams = {s.hash: s for s in self.found.tensors}
        reused = self._reuse_streams(shelf, [*streams])
        fresh = [s for s in (self.found.other, *streams.values()) if s is self.found.other or s.hash not in reused]
        known = self._reuse_chunks(shelf, fresh)
        options = self._options(streams.keys() - reused.keys())
        ahead = self.begun or self.found.early
        early, encoded = ahead.take() if ahead else (None, {})
        with early or PackWriter(catalog.repo, objects=None if options else _count_objects(fresh, known)) as pack:
            encoder = ChunkEncoder(self.source, pack, shelf, catalog.chunks, catalog.progress)
            chunks = encoder.encode_streams(fresh, known | encoded, options)
            index = self._index(shelf, reused, chunks)
            objects = build(index, catalog.repo.object_format)
            numbers = {s.hash: n for n, s in enumerate(index.streams) if n}
            write_objects(pack, objects, {objects.stream_trees[numbers[h]] for h in reused})
            publish(
                catalog,
                pack,
                index,
                objects,
                relied={v: shelf.wraps[v] for v in shelf.relied},
                parents=index.parents,
            )

    def _reuse_streams(self, shelf: Shelf, hashes: Sequence[Hash]) -> dict[Hash, StoredStream]:
        reused = {}
        for digest, version in self.catalog.lookup.streams(hashes).items():
            stream = shelf.stream(version, digest)
            if stream is not None:
                reused[digest] = stream
        return reused

    def _reuse_chunks(self, shelf: Shelf, fresh: Sequence[SurveyedStream]) -> dict[Hash, StoredChunk]:
        known = {}
        for digest, version in self.catalog.lookup.chunks(h for s in fresh for h in s.chunk_hashes).items():
            chunk = shelf.chunk(version, digest)
            if chunk is not None:
                known[digest] = chunk
        return known

    def _options(self, fresh: set[Hash]) -> dict[Hash, tuple[BaseStream, ...]]:
        here = [c for c in self.candidates if self.catalog.has(c.blake3)]
        wanted = [n for n, t in enumerate(self.manifest.tensors) if t.hash in fresh]
        found = find_bases(self.manifest.tensors, wanted, here)
        return {self.manifest.tensors[number].hash: bases for number, bases in found.items()}

    def _index(self, shelf: Shelf, reused: dict[Hash, StoredStream], chunks: dict[Hash, StoredChunk]) -> VersionIndex:
        tables: dict[Hash, StoredStream] = dict(reused)
        for stream in self.found.tensors:
            if stream.hash not in tables:
                tables[stream.hash] = _stored(stream, chunks)
        streams = (_stored(self.found.other, chunks), *tables.values())
        numbers = {digest: number for number, digest in enumerate(tables, start=1)}
        index = assemble(
            self.found.file_hash,
            self.layout.size,
            tuple(self._segments(numbers)),
            streams,
            self._parents(shelf),
        )
        return parse_index(index.to_bytes())  # what readers will make of it, or an error now

    def _segments(self, numbers: dict[Hash, int]) -> Iterator[Segment]:
        at = 0
        for tensor, stream in zip(self.layout.tensors, self.found.tensors, strict=True):
            if tensor.start > at:
                yield Segment(0, tensor.start - at)
            yield Segment(numbers[stream.hash], stream.length)
            at = tensor.stop
        if at < self.layout.size:
            yield Segment(0, self.layout.size - at)

    def _parents(self, shelf: Shelf) -> tuple[Oid, ...]:
        """The commits O(B) of the versions that most bytes come from."""
        parents = []
        for version, _ in shelf.relied.most_common(MAX_PARENTS):
            _, data = self.catalog.objects.read(shelf.wraps[version])
            parents.append(parse_commit(bytes(data)).parents[0])
        return tuple(dict.fromkeys(parents))


def _count_objects(fresh: Sequence[SurveyedStream], known: Mapping[Hash, StoredChunk]) -> int:
    """How many objects the pack will have if nothing becomes a delta: a promise that spares it a second reading."""
    chunks = {digest for stream in fresh for digest in stream.chunk_hashes} - known.keys()
    folders = sum(1 for stream in fresh if stream.length)
    tensors = any(stream.length for stream in fresh if stream.dtype != OTHER_DTYPE)
    return object_count(len(chunks), folders, tensors=tensors)


def _stored(stream: SurveyedStream, chunks: dict[Hash, StoredChunk]) -> StoredStream:
    return StoredStream(stream.hash, stream.length, tuple(chunks[h] for h in stream.chunk_hashes))
