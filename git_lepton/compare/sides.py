"""The two sides of a comparison: weight files of a revision, of the index, of the work tree, or outside git.

A side offers of every file its manifest, which costs nothing but the text, and the bytes behind it, tensor by tensor
and piece by piece, for whoever wants numbers. Pieces are the chunks of the store, so that equal ones are known by
their hash and never read; a file on disk is cut as the store would cut it.

A file is paired with its other side by its key in `Side.files`: the path from the top of the work tree or of a folder,
or "" for a file that was named alone, so that any two files can be compared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

from git_lepton import formats
from git_lepton.compare.values import TensorRef
from git_lepton.errors import ChangedError, ManifestError, MissingError, UsageError
from git_lepton.git.repo import Repo
from git_lepton.native.memory import blank
from git_lepton.progress import Progress, Silent
from git_lepton.store import manifest as manifests
from git_lepton.store.adding import manifest_of
from git_lepton.store.index import Stream, VersionIndex
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.store.reading import ChunkReader, stream_bytes
from git_lepton.store.source import FileSource
from git_lepton.store.store import Store
from git_lepton.store.survey import Survey, SurveyedStream, survey
from git_lepton.store.tracked import STAGED, files_at
from git_lepton.values import Hash

MAX_OTHER: Final = 256 << 20
"""Bytes outside tensors that are read into memory: real headers and graphs have a few megabytes."""

_STORE_LOCK: Final = Lock()  # a store is for one thread; chunks may be read from many once its index is loaded


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tensor that is read at once.

    Attributes:
        start, stop: bytes within the tensor.
        hash: BLAKE3 of the raw bytes when that is known without reading them, else None.
        number: which piece of its tensor it is, from 0.
    """

    start: int
    stop: int
    hash: Hash | None
    number: int


class FileSide(Protocol):
    """One weight file of one side. Its methods may be called from several threads."""

    @property
    def path(self) -> str:
        """How the file is shown."""

    @property
    def manifest(self) -> Manifest:
        """What git tracks, or would track, of it; tensors are in file order."""

    def other(self) -> bytes:
        """All bytes outside tensors, joined.

        Raises:
            UsageError: they are more than `MAX_OTHER`.
            MissingError: they are not in this repository.
            ChangedError: the file on disk is another one by now.
        """

    def extents(self) -> Sequence[tuple[int, int]]:
        """Where those bytes lie in the file: (offset, length) of each run. Raises as `other`."""

    def pieces(self, line: TensorLine) -> Sequence[Piece]:
        """The chunks of a tensor, in order; none when it has no bytes. Raises MissingError without its index."""

    def read(self, line: TensorLine, piece: Piece) -> memoryview | bytes:
        """The raw bytes of one of `pieces`. Raises MissingError, CorruptError, ChangedError."""


@dataclass(frozen=True, slots=True)
class Side:
    """The weight files of one side.

    Attributes:
        name: how the caller names it: "main", "index", "old.safetensors".
        files: by key, see the module's text; sorted by it.
        damaged: paths whose text begins like a manifest and is none, with what is wrong.
    """

    name: str
    files: Mapping[str, FileSide]
    damaged: Mapping[str, str] = field(default_factory=dict)
    _found: dict[str, tuple[FileSide, dict[str, TensorLine]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _lock: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def find(self, ref: TensorRef) -> tuple[FileSide, TensorLine]:
        """The file and the line that a comparison names; `ref` must be one of this side."""
        with self._lock:
            if not self._found:
                self._found.update({f.path: (f, {}) for f in self.files.values()})
            file, lines = self._found[ref.file]
            if not lines:
                lines.update({line.name: line for line in file.manifest.tensors})
            return file, lines[ref.name]


class StoredFile:
    """A weight file that a manifest names; its bytes come from the store, if they are there."""

    def __init__(self, store: Store | None, manifest: Manifest, path: str) -> None:
        """`store` is None for a manifest outside any repository: then there is nothing but its text."""
        self.path: Final = path
        self.manifest: Final = manifest
        self._store = store
        self._index: tuple[ChunkReader, VersionIndex, dict[Hash, Stream]] | None = None

    def other(self) -> bytes:
        """See `FileSide.other`."""
        _check_other(self)
        store = self._required()
        with _STORE_LOCK:
            reader, index = store.chunks, store.other_index(self.manifest.blake3)
        return stream_bytes(reader, index, index.streams[0], 0, index.streams[0].length)

    def extents(self) -> Sequence[tuple[int, int]]:
        """See `FileSide.extents`."""
        _, index, _ = self._open()
        starts = accumulate((s.length for s in index.segments), initial=0)
        return [(at, s.length) for at, s in zip(starts, index.segments, strict=False) if s.stream == 0]

    def pieces(self, line: TensorLine) -> Sequence[Piece]:
        """See `FileSide.pieces`."""
        _, index, _ = self._open()
        chunks = index.stream_chunks(self._stream(line))
        starts = accumulate((c.raw_length for c in chunks), initial=0)
        return [
            Piece(at, at + chunk.raw_length, chunk.raw_hash, number)
            for number, (at, chunk) in enumerate(zip(starts, chunks, strict=False))
        ]

    def read(self, line: TensorLine, piece: Piece) -> memoryview:
        """See `FileSide.read`."""
        reader, index, _ = self._open()
        return reader.chunk(index, self._stream(line).first + piece.number)

    def _stream(self, line: TensorLine) -> Stream:
        _, _, streams = self._open()
        if line.hash not in streams:
            raise MissingError(f"version {self.manifest.blake3[:12]} has no tensor with hash {line.hash[:12]}")
        return streams[line.hash]

    def _open(self) -> tuple[ChunkReader, VersionIndex, dict[Hash, Stream]]:
        if self._index is None:
            store = self._required()
            with _STORE_LOCK:
                index = store.index(self.manifest.blake3)
                self._index = store.chunks, index, {s.hash: s for s in index.streams[1:]}
        return self._index

    def _required(self) -> Store:
        if self._store is None:
            raise MissingError(
                f"{self.path} is a manifest, and the weights that it names are not here",
                hint="compare files of a repository that has them, or pull them",
            )
        return self._store


class FileOnDisk:
    """A weight file on disk, hashed once when it is made and not held open; a later change of it is noticed."""

    def __init__(self, file: Path, path: str | None = None, progress: Progress | None = None) -> None:
        """Read `file`, whose name tells its format where its content does not; `path` is how it is shown.

        Raises:
            ChangedError: it changed while it was read.
            OSError: it cannot be read.
        """
        self.path: Final = str(file) if path is None else path
        self._file = file
        with file.open("rb", buffering=0) as opened:
            self._stamp = _stamp(os.fstat(opened.fileno()))
        with self._source() as source:
            layout, _ = formats.parse(source.view(), file.name)
            self._survey: Survey = survey(source, layout, progress or Silent())
        with self._source():  # the same file still
            self.manifest: Final = manifest_of(layout, self._survey)

    @cached_property
    def _streams(self) -> dict[Hash, SurveyedStream]:
        return {stream.hash: stream for stream in self._survey.tensors}

    def other(self) -> bytes:
        """See `FileSide.other`."""
        _check_other(self)
        return bytes(self._bytes(self._survey.other, 0, self._survey.other.length))

    def extents(self) -> Sequence[tuple[int, int]]:
        """See `FileSide.extents`."""
        return self._survey.other.extents

    def pieces(self, line: TensorLine) -> Sequence[Piece]:
        """See `FileSide.pieces`."""
        stream = self._streams[line.hash]
        starts = accumulate(stream.chunk_lengths, initial=0)
        rows = zip(starts, stream.chunk_lengths, stream.chunk_hashes, strict=False)
        return [Piece(at, at + length, digest, number) for number, (at, length, digest) in enumerate(rows)]

    def read(self, line: TensorLine, piece: Piece) -> memoryview:
        """See `FileSide.read`."""
        return self._bytes(self._streams[line.hash], piece.start, piece.stop)

    def _bytes(self, stream: SurveyedStream, start: int, stop: int) -> memoryview:
        out = memoryview(blank(stop - start))
        if out:
            with self._source() as source:
                stream.read_into(source, start, out)
        return out

    @contextmanager
    def _source(self) -> Iterator[FileSource]:
        """The file, if it is still the one that was hashed."""
        fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _stamp(os.fstat(fd)) != self._stamp:
                raise ChangedError(f"{self.path} changed while it was compared", hint="try again when it is complete")
            with FileSource(fd) as source:
                yield source
        finally:
            os.close(fd)


def _check_other(file: FileSide) -> None:
    if file.manifest.other_size > MAX_OTHER:
        raise UsageError(f"{file.path} has {file.manifest.other_size} bytes outside tensors, too many to look at")


def _stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def at_revision(store: Store, rev: str, paths: Sequence[str] = (), *, name: str | None = None) -> Side:
    """The weight files of a revision, or of these `paths` (files and folders from the top of the work tree).

    A path whose text is a broken manifest is warned of, and is among the damaged.

    Raises:
        UsageError: `rev` leads to no tree.
    """
    listing = files_at(store.repo, store.objects, rev, paths)
    for path, error in listing.broken:
        store.warn(f"{path}: {error.message}")
    files = {f.path: StoredFile(store, f.manifest, f.path) for f in listing.files}
    damaged = {path: error.message for path, error in listing.broken}
    return replace(_side(name or rev or "index", files), damaged=damaged)


def in_index(store: Store, paths: Sequence[str] = ()) -> Side:
    """The weight files that are staged; otherwise like `at_revision`."""
    return at_revision(store, STAGED, paths)


def in_work_tree(
    repo: Repo,
    store: Store,
    paths: Sequence[str] = (),
    *,
    hash_of: Callable[[Path], Hash] | None = None,
    without: Collection[str] = (),
) -> Side:
    """What the work tree has of the weight files that the index names, as `git diff` sees it.

    A file that is not there is left out, unless a sparse checkout leaves it out on purpose. One with the content that
    the index names, or whose manifest stands in for it, comes from the store; another one from the disk.

    Args:
        repo: whose work tree.
        store: its store.
        paths: only these files and folders, from the top; empty for all.
        hash_of: BLAKE3 of a file of the work tree, for a caller that remembers hashes; None reads the file.
        without: none of these files.

    Raises:
        UsageError: the repository is bare.
        ChangedError: a file changed while it was read.
        ManifestError: a file begins like a manifest and is none.
    """
    if repo.work_tree is None:
        raise UsageError(
            "this needs a work tree, and the repository is bare", hint="git lepton diff A B compares two revisions"
        )
    files: dict[str, FileSide] = {}
    sparse: set[str] | None = None
    for tracked in files_at(repo, store.objects, STAGED, paths).files:
        if tracked.path in without:
            continue
        place = repo.work_tree / tracked.path
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            sparse = _left_out(repo) if sparse is None else sparse
            if tracked.path in sparse:
                files[tracked.path] = StoredFile(store, tracked.manifest, tracked.path)
            continue
        if stat.S_ISREG(status.st_mode):
            wanted = tracked.manifest
            if hash_of and status.st_size == wanted.size and hash_of(place) == wanted.blake3:
                files[tracked.path] = StoredFile(store, wanted, tracked.path)
            else:
                files[tracked.path] = _on_disk(store, place, tracked.path, wanted)
    return _side("work tree", files)


def _left_out(repo: Repo) -> set[str]:
    """Paths that a sparse checkout leaves out of the work tree."""
    lines = repo.git("ls-files", "-t", "-z", "--full-name").stdout.split(b"\0")
    return {os.fsdecode(line[2:]) for line in lines if line.startswith(b"S ")}


def of_path(path: Path, store: Store | None = None) -> Side:
    """A file, or the weight files of a folder, whether or not git knows them.

    A file that was named is taken whatever it is; in a folder, those whose format has tensors, and manifests.

    Args:
        path: what was named.
        store: where the weights of manifests may be; None outside a repository.

    Raises:
        UsageError: there is no such file or folder.
        ManifestError: a file begins like a manifest and is none.
        ChangedError: a file changed while it was read.
    """
    if path.is_file():
        return _side(str(path), {"": _on_disk(store, path, str(path))})
    if not path.is_dir():
        raise UsageError(f"no such file or folder: {path}", hint="name two files or two folders")
    found: dict[str, FileSide] = {}
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name != ".git"]
        for place in (Path(folder, name) for name in names):
            if place.is_file() and _is_weights(place):
                name = place.relative_to(path).as_posix()
                found[name] = _on_disk(store, place, name)
    return _side(str(path), found)


def _is_weights(file: Path) -> bool:
    with FileSource(file) as source:
        view = source.view()
        return manifests.looks_like(view) or formats.detect(view, file.name) != "raw"


def _on_disk(store: Store | None, file: Path, path: str, staged: Manifest | None = None) -> FileSide:
    """A file on disk as what it is: a manifest names stored weights, and so does content that the index has."""
    with file.open("rb", buffering=0) as opened:
        head = opened.read(len(manifests.PREFIX))
    if manifests.looks_like(head):
        text = _manifest_text(file)
        try:
            return StoredFile(store, manifests.parse(text.replace(b"\r\n", b"\n")), path)
        except ManifestError as error:
            hint = error.hint or "restore one side: git checkout --ours|--theirs -- PATH"
            raise ManifestError(f"{path}: {error.message}", hint=hint) from error
    found = FileOnDisk(file, path, store.progress if store else None)
    if staged is not None and staged.blake3 == found.manifest.blake3:
        return StoredFile(store, staged, path)
    return found


def _manifest_text(file: Path) -> bytes:
    if file.stat().st_size > manifests.MAX_BYTES:
        raise ManifestError(f"{file} begins like a manifest and is too large for one")
    return file.read_bytes()


def _side(name: str, files: Mapping[str, FileSide]) -> Side:
    return Side(name, dict(sorted(files.items())))
