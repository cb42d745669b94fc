"""The store of one repository: versions of weight files under `refs/lepton`, complete or not there at all.

Everything that creates a version's refs keeps the order of docs/git-protocol.md, "Writing": reuse only what live refs
list, one pack with `.keep`, one transaction that verifies every ref relied upon, then the `.keep` goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from blake3 import blake3

from git_lepton import atomic
from git_lepton.errors import CorruptError, MissingError
from git_lepton.store import adding, publishing, reading
from git_lepton.store.begun import BegunPack
from git_lepton.store.catalog import Catalog
from git_lepton.store.index import VersionIndex
from git_lepton.store.manifest import Manifest
from git_lepton.store.reading import Problem
from git_lepton.store.source import Source
from git_lepton.store.survey import Survey, Surveyor
from git_lepton.values import Hash


class Store(Catalog):
    """Reads and writes the stored versions of one repository. To be used from one thread; it starts its own."""

    # Writing

    def agrees(self, manifest: Manifest) -> bool:
        """Whether a manifest tells of its version what the stored index tells."""
        return adding.agrees(manifest, self.index(manifest.blake3))

    def surveyor(
        self, source: Source, path: str, *, cuts: Sequence[int] = (), candidates: Sequence[Manifest] | None = None
    ) -> Surveyor:
        """For a caller that reads the file anyway: what goes through this, `add` need not read again to survey it.

        With `candidates`, those that `add` will get, what has no base among them is encoded on the way; the store may
        then not be used for anything else until the survey is finished.
        """
        layout = adding.lay_out(self, source, path, cuts)
        return Surveyor(layout, None if candidates is None else adding.early_encoder(self, layout, path, candidates))

    def add(
        self,
        source: Source,
        path: str,
        *,
        file_hash: Hash | None = None,
        candidates: Sequence[Manifest] = (),
        cuts: Sequence[int] = (),
        surveyed: Survey | None = None,
        begun: BegunPack | None = None,
    ) -> Manifest:
        """Store the file and return its manifest; a version that is stored already is not encoded again.

        Args:
            source: its bytes.
            path: its name, for the choice of a parser and for messages.
            file_hash: BLAKE3 of the bytes, when the caller has it; then `source` must still have it.
            candidates: manifests of versions that it may descend from, the closest first.
            cuts: offsets at which chunks of a file without tensors had better end: where the tensors of an ONNX
                external-data file lie, as the graph beside it tells.
            surveyed: what a `surveyor` found out, when the file went through one already.
            begun: has chunks of it that are encoded already.

        Raises:
            ChangedError: the bytes changed meanwhile; nothing is stored.
        """
        return adding.add(self, source, path, file_hash, candidates, cuts, surveyed, begun)

    def anchor(self, index_bytes: bytes) -> None:
        """Make a version whose chunks were fetched by object id a stored one: trees, commits, refs.

        Raises:
            FrameError: the bytes are no index.
            MissingError: chunks are not here (any more).
        """
        publishing.anchor(self, index_bytes)

    # Reading

    def restore_to(self, digest: Hash, write: Callable[[memoryview], object]) -> None:
        """Write the file in order and compare the whole with its hash.

        Raises:
            MissingError, CorruptError: possibly after some of it was written.
        """
        index = self.index(digest)
        whole = blake3()
        for piece in reading.file_bytes(self.chunks, index):
            whole.update(piece)
            write(piece)
            self.progress.advance(len(piece))
        if whole.hexdigest() != digest:
            for problem in reading.check_chunks(self.chunks, index, lambda _: None):
                raise problem.error
            raise CorruptError(f"version {digest[:12]} does not restore to its own hash", hint="git lepton fsck")

    def restore_file(self, digest: Hash, path: Path, *, mode: int | None = None) -> os.stat_result:
        """Restore to `path`: written beside it, verified, then renamed over it; returns the stat data of the file."""
        with atomic.writer(path, mode=mode, durable=False) as out:
            self.restore_to(digest, out.write)
        return path.stat()

    def restore_temporary(self, digest: Hash) -> BinaryIO:
        """Restore to a file without a name, verified, positioned at its beginning; it goes when it is closed."""
        folder = self.repo.lepton_dir / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        out: BinaryIO = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the caller closes it
        try:
            self.restore_to(digest, out.write)
        except BaseException:
            out.close()
            raise
        out.seek(0)
        return out

    def read_stream(self, digest: Hash, stream_hash: Hash, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes `start` to `stop` of one tensor of a version, reading only the chunks that hold them.

        Raises:
            MissingError: a chunk is not here, or the version has no such tensor.
        """
        index = self.index(digest)
        stream = next((s for s in index.streams if s.hash == stream_hash), None)
        if stream is None:
            raise MissingError(f"version {digest[:12]} has no tensor with hash {stream_hash[:12]}")
        return reading.stream_bytes(self.chunks, index, stream, start, stream.length if stop is None else stop)

    def verify(self, digest: Hash) -> Iterator[Problem]:
        """Decode everything of a stored version and yield each problem; nothing is yielded for a sound one."""
        index = self.index(digest)
        sound = True
        for problem in reading.check_chunks(self.chunks, index, self.progress.advance):
            sound = False
            yield problem
        if sound:
            yield from self._verify_whole(digest, index)

    def _verify_whole(self, digest: Hash, index: VersionIndex) -> Iterator[Problem]:
        whole = blake3()
        try:
            for piece in reading.file_bytes(self.chunks, index):
                whole.update(piece)
        except (MissingError, CorruptError) as error:
            yield Problem(None, None, error)
            return
        if whole.hexdigest() != digest:
            yield Problem(None, None, CorruptError(f"version {digest[:12]} does not restore to its own hash"))
