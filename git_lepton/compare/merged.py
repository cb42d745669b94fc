"""The merged file: a decision list as bytes that the store takes like any file, or that are written anywhere.

Nothing of it is written down but the bytes outside tensors, which lie in an unlinked sparse file with the shape of the
merged one, so that a parser can look at it as at a whole file. Tensors are copied from a side or made, chunk by chunk,
whenever they are asked for, on a few threads and in order.

The survey of such a file needs no hashing of chunks that are copied, since their hashes are known; the hash of the file
as a whole takes one pass over all of it. In that pass each chunk that was made can be encoded in the thread that made
it, while it and the chunk that it descends from are in memory (`store.begun`).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from blake3 import blake3

from git_lepton import formats
from git_lepton.closing import Closing
from git_lepton.codec.chunking import CHUNK_BYTES, chunk_lengths
from git_lepton.compare.making import Files, MadeTensor, TensorBytes, keeps_rows
from git_lepton.compare.merge import growths, wants_metadata
from git_lepton.compare.mergevalues import Decision, Facts, Merge, Three
from git_lepton.errors import FormatError
from git_lepton.formats.base import byte_size
from git_lepton.formats.safetensors import read_metadata, write_header
from git_lepton.progress import Progress
from git_lepton.store.begun import BegunPack
from git_lepton.store.reading import chunk_pool, in_order
from git_lepton.store.source import FileSource
from git_lepton.store.survey import OtherHasher, Survey, SurveyedStream, TensorHasher, gaps
from git_lepton.values import Hash, Tensor


@dataclass(frozen=True, slots=True)
class _Part:
    """A run of the file that is read at once: chunk `number` of a tensor, or bytes outside tensors (tensor -1)."""

    tensor: int
    number: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Content:
    """Bytes of a part; the hash of a chunk that was made."""

    raw: memoryview | bytes
    made: Hash | None = None


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
        """Lay the file out.

        Args:
            merge: has no conflicts.
            files: all sides that there are.
            path: its name, for the choice of a parser.
            folder: where the bytes outside tensors lie; made when it is not there.
            progress: told of bytes.

        Raises:
            FormatError: the parts do not make a file of their format.
            MissingError, CorruptError, ChangedError: of the sides.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._files, self._progress = files, progress
        self._frame: BinaryIO = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - `close` closes it
        try:
            self.size = self._write_frame(merge)
            with FileSource(self._frame.fileno()) as source:
                self.layout: Final = formats.parse(source.view(), path)[0]
            _check(self.layout.tensors, merge)
            self._tensors = [_tensor(decision, files) for decision in merge.kept]
            self._lines = [decision.line for decision in merge.kept]
            for decision, tensor, place in zip(merge.kept, self._tensors, self.layout.tensors, strict=True):
                if tensor.size != place.stop - place.start:
                    raise FormatError(self.layout.format, f"tensor {decision.name!r} has {tensor.size} bytes")
        except BaseException:
            self._frame.close()
            raise
        self._source = FileSource(self._frame.fileno())
        self._starts = [tensor.start for tensor in self.layout.tensors]

    def read_into(self, offset: int, out: memoryview) -> None:
        """See `Source.read_into`."""
        done = 0
        while done < len(out):
            tensor, stop = self._run(offset + done)
            length = min(stop - offset - done, len(out) - done)
            place = out[done : done + length]
            if tensor >= 0:
                start = offset + done - self._starts[tensor]
                place[:] = self._tensors[tensor].read(start, start + length)
            else:
                self._source.read_into(offset + done, place)
            done += length

    def view(self) -> memoryview:
        """The file with zeros for tensors: all that a parser looks at."""
        return self._source.view()

    @property
    def made(self) -> list[int]:
        """Numbers of the tensors that are on no side."""
        return [at for at, tensor in enumerate(self._tensors) if isinstance(tensor, MadeTensor)]

    def blocks(self) -> Iterator[memoryview | bytes]:
        """All bytes in order."""
        for _, content in self._contents(lambda part: _Content(self._read(part))):
            yield content.raw

    def survey(self, begun: BegunPack | None = None) -> Survey:
        """All hashes; reads, or makes, the file once, for the hash of the whole.

        Args:
            begun: takes the chunks that are made, if given.

        Raises:
            MissingError, CorruptError, ChangedError: of the sides.
        """
        whole = blake3()
        made: dict[int, list[Hash]] = {at: [] for at in self.made}
        hashers = {at: blake3() for at in made}
        for part, content in self._contents(lambda part: self._encoded(part, begun)):
            whole.update(content.raw)
            if content.made is not None:
                made[part.tensor].append(content.made)
                if len(self._tensors[part.tensor].lengths) > 1:
                    hashers[part.tensor].update(content.raw)
        other = OtherHasher(())
        runs = list(gaps(self.layout))
        for start, length in runs:
            data = bytearray(length)
            self._source.read_into(start, memoryview(data))
            other.update(memoryview(data))
        tensors = (self._surveyed(at, hashes=made.get(at), hasher=hashers.get(at)) for at in range(len(self._tensors)))
        return Survey(Hash(whole.hexdigest()), self.layout, other.result(runs), tuple(tensors))

    def close(self) -> None:
        """Let the bytes go."""
        self._source.close()
        self._frame.close()

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
        self._frame.truncate(size)
        for start, length in runs:
            _write(self._frame, start, data[:length])
            data = data[length:]
        return size

    def _contents(self, task: Callable[[_Part], _Content]) -> Iterator[tuple[_Part, _Content]]:
        """What `task` makes of every part, on a few threads, in file order."""
        parts = list(self._parts())
        self._progress.start("merging", self.size)
        try:
            with chunk_pool() as pool, ThreadPoolExecutor(1, thread_name_prefix="look") as ahead:
                rows = self._looked(parts, pool, ahead)
                for part, content in zip(parts, in_order(lambda at: task(parts[at]), rows, pool), strict=True):
                    yield part, content
                    self._progress.advance(len(content.raw))
        finally:
            self._progress.finish()

    def _looked(self, parts: list[_Part], pool: ThreadPoolExecutor, ahead: ThreadPoolExecutor) -> Iterator[int]:
        """The numbers of the parts, each when its tensor was looked at; the next tensor is looked at meanwhile."""
        waiting = deque(self.made)
        looks: dict[int, Future[None]] = {}

        def look() -> None:
            if waiting:
                at = waiting.popleft()
                tensor = self._tensors[at]
                assert isinstance(tensor, MadeTensor)
                looks[at] = ahead.submit(tensor.look, pool)

        look()
        for number, part in enumerate(parts):
            if (looked := looks.pop(part.tensor, None)) is not None:
                looked.result()
                look()
            yield number

    def _read(self, part: _Part) -> memoryview | bytes:
        if part.tensor < 0:
            data = memoryview(bytearray(part.stop - part.start))
            self._source.read_into(part.start, data)
            return data
        tensor = self._tensors[part.tensor]
        return tensor.chunk(part.number).raw if isinstance(tensor, MadeTensor) else tensor.read(part.start, part.stop)

    def _encoded(self, part: _Part, begun: BegunPack | None) -> _Content:
        """A part; if it is a chunk that is made, hashed and encoded."""
        tensor = self._tensors[part.tensor] if part.tensor >= 0 else None
        if not isinstance(tensor, MadeTensor):
            return _Content(self._read(part))
        made = tensor.chunk(part.number)
        digest = Hash(blake3(made.raw).hexdigest())
        if begun is not None:
            begun.add(part.tensor, part.number, digest, made.raw, made.kin)
        return _Content(made.raw, digest)

    def _surveyed(self, at: int, hashes: list[Hash] | None, hasher: blake3 | None) -> SurveyedStream:
        """The survey of a tensor: of one that was made from its hashes, else from what its side knows."""
        place, tensor, line = self.layout.tensors[at], self._tensors[at], self._lines[at]
        length = place.stop - place.start
        if hasher is not None and hashes is not None and isinstance(tensor, MadeTensor):
            digest = hashes[0] if len(hashes) == 1 else Hash(hasher.hexdigest())
            extents = ((place.start, length),)
            return SurveyedStream(place.dtype, digest, length, (0,), extents, tensor.lengths, tuple(hashes))
        assert isinstance(tensor, TensorBytes)
        assert line is not None
        lengths = tensor.lengths
        known = tuple(piece.hash for piece in tensor.pieces if piece.hash is not None)
        if lengths != chunk_lengths(place.dtype, length) or len(known) < len(lengths):
            whole = TensorHasher(place.dtype, place.start, length)
            for piece in tensor.pieces:
                whole.update(memoryview(tensor.read(piece.start, piece.stop)))
            return whole.result()
        return SurveyedStream(place.dtype, line.hash, length, (0,), ((place.start, length),), lengths, known)

    def _run(self, offset: int) -> tuple[int, int]:
        """The tensor that has this byte, or -1, and where that run ends."""
        at = bisect_right(self._starts, offset) - 1
        tensors = self.layout.tensors
        if at >= 0 and offset < tensors[at].stop:
            return at, tensors[at].stop
        return -1, tensors[at + 1].start if at + 1 < len(tensors) else self.size

    def _parts(self) -> Iterator[_Part]:
        """All parts in file order; those of tensors begin and end within the tensor."""
        runs = [(start, -1, start + length) for start, length in gaps(self.layout)]
        runs += [(tensor.start, at, tensor.stop) for at, tensor in enumerate(self.layout.tensors)]
        for start, at, stop in sorted(runs):
            within = at >= 0
            cuts = [0, *accumulate(self._tensors[at].lengths)] if within else [*range(start, stop, CHUNK_BYTES), stop]
            yield from (_Part(at, number, *cut) for number, cut in enumerate(pairwise(cuts)))


def _tensor(decision: Decision, files: Files) -> TensorBytes | MadeTensor:
    if decision.is_made:
        return MadeTensor(decision, files)
    assert decision.line is not None
    return TensorBytes(files[decision.whose], decision.line)


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


def _write(file: BinaryIO, offset: int, data: memoryview | bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file.fileno(), rest, offset)
        offset, rest = offset + written, rest[written:]
