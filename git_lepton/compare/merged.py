"""The merged file: a decision list as bytes that the store takes like any file, or that are written anywhere.

What is new lies in a *spool*, an unlinked sparse file with the shape of the merged one: the bytes outside tensors and
the tensors that were made are where they belong, and those that are copied from a side are holes. So a parser can look
at it as at a whole file, and nothing but what is new is ever written.

The survey of such a file needs no reading of tensors that are copied, since their hashes are known; only the hash of
the file as a whole takes one pass over all of it, decoded on a few threads. The store then finds the copied tensors by
their hashes, and encodes what is new.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from blake3 import blake3

from git_lepton import formats
from git_lepton.closing import Closing
from git_lepton.codec.chunking import CHUNK_BYTES, chunk_lengths
from git_lepton.compare.making import Files, TensorBytes, keeps_rows, made
from git_lepton.compare.merge import growths, wants_metadata
from git_lepton.compare.mergevalues import Decision, Facts, Merge, Three
from git_lepton.errors import FormatError
from git_lepton.formats.base import byte_size
from git_lepton.formats.safetensors import read_metadata, write_header
from git_lepton.progress import Progress
from git_lepton.store.manifest import TensorLine
from git_lepton.store.reading import decoding_pool, in_order
from git_lepton.store.source import FileSource
from git_lepton.store.survey import OtherHasher, Survey, SurveyedStream, TensorHasher, gaps
from git_lepton.values import Hash, Tensor


def facts_of(three: Three, files: Files) -> Facts:
    """What a merge must know besides the manifests.

    Raises:
        MissingError, CorruptError, ChangedError: of the sides.
    """
    kept = {decision.name for decision in growths(three) if keeps_rows(decision, files)}
    if not wants_metadata(three):
        return Facts(kept_rows=kept)
    metadata = {whose: read_metadata(file.other()) for whose, file in files.items()}
    return Facts(metadata.get("base", {}), metadata["ours"], metadata["theirs"], kept)


class MergedFile(Closing):
    """A merge without conflicts as a file that is not on disk; a `store.source.Source`. To be closed.

    Attributes:
        size: bytes.
        layout: where its tensors lie.
    """

    def __init__(self, merge: Merge, files: Files, path: str, folder: Path, progress: Progress) -> None:
        """Make what is new.

        Args:
            merge: has no conflicts.
            files: all sides that there are.
            path: its name, for the choice of a parser.
            folder: where the spool lies; made when it is not there.
            progress: told of bytes.

        Raises:
            FormatError: the parts do not make a file of their format.
            MissingError, CorruptError, ChangedError: of the sides.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._files, self._progress = files, progress
        self._spool: BinaryIO = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - `close` closes it
        self._copies: dict[int, tuple[TensorBytes, TensorLine]] = {}
        self._made: dict[int, SurveyedStream] = {}
        try:
            self.size = self._write_frame(merge)
            with FileSource(self._spool.fileno()) as source:
                self.layout: Final = formats.parse(source.view(), path)[0]
            _check(self.layout.tensors, merge)
            self._fill(merge)
        except BaseException:
            self._spool.close()
            raise
        self._source = FileSource(self._spool.fileno())
        self._starts = [tensor.start for tensor in self.layout.tensors]

    def read_into(self, offset: int, out: memoryview) -> None:
        """See `Source.read_into`."""
        done = 0
        while done < len(out):
            tensor, stop = self._run(offset + done)
            length = min(stop - offset - done, len(out) - done)
            place = out[done : done + length]
            if tensor in self._copies:
                start = offset + done - self.layout.tensors[tensor].start
                place[:] = self._copies[tensor][0].read(start, start + length)
            else:
                self._source.read_into(offset + done, place)
            done += length

    def view(self) -> memoryview:
        """The file with zeros where tensors are copied: all that a parser looks at."""
        return self._source.view()

    def blocks(self) -> Iterator[memoryview | bytes]:
        """All bytes in order."""
        parts = list(self._parts())

        def one(at: int) -> memoryview | bytes:
            tensor, start, stop = parts[at]
            if tensor in self._copies:
                return self._copies[tensor][0].read(start, stop)
            data = bytearray(stop - start)
            self._source.read_into(start, memoryview(data))
            return memoryview(data)

        for block in in_order(one, range(len(parts))):
            self._progress.advance(len(block))
            yield block

    def survey(self) -> Survey:
        """All hashes; reads the file once, for the hash of the whole."""
        whole = blake3()
        self._progress.start("hashing the merged file", self.size)
        try:
            for block in self.blocks():
                whole.update(block)
        finally:
            self._progress.finish()
        other = OtherHasher(())
        runs = list(gaps(self.layout))
        for start, length in runs:
            data = bytearray(length)
            self._source.read_into(start, memoryview(data))
            other.update(memoryview(data))
        tensors = tuple(self._made.get(at) or self._copied(at) for at in range(len(self.layout.tensors)))
        return Survey(Hash(whole.hexdigest()), self.layout, other.result(runs), tensors)

    def close(self) -> None:
        """Let the spool go."""
        self._source.close()
        self._spool.close()

    def _write_frame(self, merge: Merge) -> int:
        """Put the bytes outside tensors where they belong; the size of the whole."""
        if merge.frame.outcome == "new":
            head = write_header(merge.frame.metadata, (_header_row(decision) for decision in merge.kept))
            runs, data = [(0, len(head))], memoryview(head)
            size = len(head) + sum(row[3] for row in map(_header_row, merge.kept))
        else:
            assert merge.frame.side
            file = self._files[merge.frame.side]
            runs, data, size = list(file.extents()), memoryview(file.other()), file.manifest.size
        self._spool.truncate(size)
        for start, length in runs:
            _write(self._spool, start, data[:length])
            data = data[length:]
        return size

    def _fill(self, merge: Merge) -> None:
        """Note where each tensor comes from, or make it."""
        tensors = self.layout.tensors
        fresh = [at for at, decision in enumerate(merge.kept) if decision.is_made]
        self._progress.start("merging tensors", sum(tensors[at].stop - tensors[at].start for at in fresh))
        try:
            with decoding_pool() as pool:
                for at in fresh:
                    self._make(at, merge.kept[at], pool)
        finally:
            self._progress.finish()
        for at, decision in enumerate(merge.kept):
            if not decision.is_made and decision.line is not None:
                self._copies[at] = TensorBytes(self._files[decision.whose], decision.line), decision.line

    def _make(self, at: int, decision: Decision, pool: ThreadPoolExecutor) -> None:
        """Make one tensor."""
        place = self.layout.tensors[at]
        hasher = TensorHasher(place.dtype, place.start, place.stop - place.start)
        end = place.start
        for block in made(decision, self._files, pool):
            _write(self._spool, end, block)
            hasher.update(memoryview(block))
            self._progress.advance(len(block))
            end += len(block)
        if end != place.stop:
            raise FormatError(self.layout.format, f"tensor {decision.name!r} was made with {end - place.start} bytes")
        self._made[at] = hasher.result()

    def _copied(self, at: int) -> SurveyedStream:
        """The survey of a tensor that is copied, from what its side knows."""
        tensor, (source, line) = self.layout.tensors[at], self._copies[at]
        length = tensor.stop - tensor.start
        lengths = tuple(piece.stop - piece.start for piece in source.pieces)
        hashes = tuple(piece.hash for piece in source.pieces if piece.hash is not None)
        if lengths != chunk_lengths(tensor.dtype, length) or len(hashes) < len(lengths):
            hasher = TensorHasher(tensor.dtype, tensor.start, length)
            for piece in source.pieces:
                hasher.update(memoryview(source.read(piece.start, piece.stop)))
            return hasher.result()
        return SurveyedStream(tensor.dtype, line.hash, length, (0,), ((tensor.start, length),), lengths, hashes)

    def _run(self, offset: int) -> tuple[int, int]:
        """The tensor that has this byte, or -1, and where that run ends."""
        at = bisect_right(self._starts, offset) - 1
        tensors = self.layout.tensors
        if at >= 0 and offset < tensors[at].stop:
            return at, tensors[at].stop
        return -1, tensors[at + 1].start if at + 1 < len(tensors) else self.size

    def _parts(self) -> Iterator[tuple[int, int, int]]:
        """(tensor or -1, start, stop) of all parts in file order; within the tensor, or else the file."""
        runs = [(start, -1, start + length) for start, length in gaps(self.layout)]
        runs += [(tensor.start, at, tensor.stop) for at, tensor in enumerate(self.layout.tensors)]
        for start, tensor, stop in sorted(runs):
            if tensor in self._copies:
                yield from ((tensor, piece.start, piece.stop) for piece in self._copies[tensor][0].pieces)
            else:
                yield from ((-1, at, min(at + CHUNK_BYTES, stop)) for at in range(start, stop, CHUNK_BYTES))


def _header_row(decision: Decision) -> tuple[str, str, tuple[int, ...], int]:
    line = decision.line
    assert line is not None
    size = byte_size(line.dtype, line.shape)
    if size is None:
        raise FormatError("safetensors", f"tensor {decision.name!r} has the unknown dtype {line.dtype}")
    return decision.name, line.dtype, line.shape, size


def _check(tensors: tuple[Tensor, ...], merge: Merge) -> None:
    found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
    wanted = [(d.name, d.line.dtype, d.line.shape) for d in merge.kept if d.line]
    if found != wanted:
        raise FormatError("merged", "the bytes outside tensors do not fit the tensors")


def _write(spool: BinaryIO, offset: int, data: memoryview | bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(spool.fileno(), rest, offset)
        offset, rest = offset + written, rest[written:]
