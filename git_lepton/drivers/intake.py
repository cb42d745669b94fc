"""One file as git pours it into the clean filter: hashed on the way, and written down only if it must be.

Nearly always git sends what lies in the work tree under the same name, so the bytes are compared with that file as
they pass; as long as they agree there is nothing to spool, and the file itself is what gets stored. The first
difference (`stash`, `add -p`, `hash-object --path`, a file being written) starts a spool: an unlinked file with the
part that agreed, copied from the work tree, and everything after it. The bytes of the pipe are the truth: their hash is
taken here, and the store refuses a source that does not have it. Blocks of a large file that agree go through the
store's surveyor on their way, in a second thread, so that storing the file does not begin by reading it again; who
reads the pipe may compare them itself, into the surveyor's memory (`expected`, `agreed`).

Where the surveyor needs no byte twice, it is enough that the file is laid out as the one in the work tree: blocks
behind that (`Surveyor.settled`) are taken as they are. Content that then ends too early or too late cannot be had again
and is refused: that file is just being written.

Text that begins like a manifest is kept in memory instead. A full disk must not stop the reading, since git sends the
whole file before it listens: the error is kept for the end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from blake3 import blake3

from git_lepton.errors import ChangedError, LeptonError, ManifestError
from git_lepton.native.pipe import Twin
from git_lepton.store.manifest import MAX_BYTES, PREFIX
from git_lepton.store.source import FileSource
from git_lepton.store.survey import Survey, Surveyor
from git_lepton.values import Hash

_COPY: Final = 1 << 20
_STEP: Final = 256 << 10

SURVEYED_FROM: Final = 8 << 20
"""Content from this size on is surveyed while it passes, so that storing it reads the file once less."""

MakeSurveyor = Callable[[FileSource], Surveyor]


class Intake:
    """Takes the content in pieces of any size; `close` it in the end."""

    def __init__(self, twin: Path | None, spool_folder: Path, make_surveyor: MakeSurveyor | None = None) -> None:
        """Prepare for a file that may equal the one at `twin`; a spool goes to `spool_folder`, made when needed."""
        self.size = 0
        self._make_surveyor = make_surveyor
        self._surveyor: Surveyor | None = None
        self._surveyed: Survey | None = None
        self._block = bytearray()
        self._at = self._filled = self._due = 0
        self._compares, self._compared = True, True  # this block, and all before it
        self._hasher = blake3()
        self._head = bytearray()
        self._text: bytearray | None = None
        self._spool_folder = spool_folder
        self._spool: BinaryIO | None = None
        self._error: LeptonError | OSError | None = None
        self._twin = None if twin is None else _open_regular(twin)

    @property
    def text(self) -> bytes | None:
        """The whole content where it begins like a manifest, else None."""
        return None if self._text is None else bytes(self._text)

    @property
    def surveyed(self) -> Survey | None:
        """The survey of the content, if it was large and is what the work tree has."""
        return self._surveyed

    @property
    def hash(self) -> Hash:
        """BLAKE3 of what came."""
        return Hash(self._hasher.hexdigest())

    def feed(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; never raises."""
        if self._text is None and len(self._head) < len(PREFIX):
            self._head += piece
            if len(self._head) < len(PREFIX):
                return
            if self._head.startswith(PREFIX):
                self._text = bytearray()
            piece = bytes(self._head)
        if self._text is not None:
            self._feed_text(piece)
        else:
            self._feed_weights(memoryview(piece))

    def expected(self) -> Twin | None:
        """What the work tree's file has next, to be compared up to the end of a block: only where it is surveyed."""
        if self._twin is None or self._surveyor is None or self._error is not None or self._is_surveyed():
            return None
        self._begin_block()
        return Twin(self._twin if self._compares else None, self.size, memoryview(self._block)[self._at : self._due])

    def agreed(self, count: int) -> None:
        """So many bytes came through the pipe that are those of the work tree's file, and are in the block."""
        self.size += count
        self._at += count
        self._filled = self._at
        if self._at == self._due:
            self._confirm()

    def finish(self) -> None:
        """Hear that all is there.

        Raises:
            ChangedError: the file in the work tree is of another length.
            ManifestError: text that begins like a manifest is too long for one.
            OSError: the disk is full, or another error of the spool.
        """
        if self._text is None and 0 < len(self._head) < len(PREFIX):
            self._feed_weights(memoryview(bytes(self._head)))
        if self._twin is not None and self._error is None:
            if self._at != self._filled or os.fstat(self._twin).st_size != self.size or not self._is_surveyed():
                self._differ()
            elif self._surveyor is not None:
                self._surveyed = self._surveyor.finish()
                self._hasher = self._surveyor.whole
        if self._error is not None:
            raise self._error

    def source(self) -> FileSource:
        """Where the bytes can be read again: the work-tree file, or the spool."""
        if self._spool is not None:
            return FileSource(self._spool.fileno())
        assert self._twin is not None
        return FileSource(self._twin)

    def close(self) -> None:
        """Give back files; a spool is gone then."""
        self._leave_twin()
        if self._surveyor is not None:
            self._surveyor.close()
            self._surveyor = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _feed_text(self, piece: bytes | bytearray | memoryview) -> None:
        assert self._text is not None
        if len(self._text) + len(piece) > MAX_BYTES:
            self._error = ManifestError(f"text that begins like a manifest is larger than {MAX_BYTES} bytes")
        if self._error is None:
            self._text += piece
            self.size += len(piece)

    def _feed_weights(self, piece: memoryview) -> None:
        if self.size == 0 and self._twin is not None:
            self._begin_comparing(self._twin)
        while len(piece) and self._twin is not None and self._error is None:
            if self._at == self._filled and not self._load():
                self._differ()
                break
            part = piece[: self._filled - self._at]
            if not self._compares:
                self._block[self._at : self._at + len(part)] = part
            # startswith compares with memcmp; == between two memoryviews goes item by item.
            elif not self._block.startswith(part, self._at):
                self._differ()
                break
            self._at += len(part)
            self.size += len(part)
            piece = piece[len(part) :]
            if self._at == self._due:
                self._confirm()
        if len(piece):
            self._hasher.update(piece)
            if self._spool is None and self._error is None:
                self._try_spool()
            if self._error is None:
                self._try_write(piece)
            self.size += len(piece)

    def _begin_comparing(self, twin: int) -> None:
        if self._make_surveyor is not None and os.fstat(twin).st_size >= SURVEYED_FROM:
            with suppress(LeptonError), FileSource(twin) as source:  # it changes just now: then it is only compared
                self._surveyor = self._make_surveyor(source)

    def _is_surveyed(self) -> bool:
        """Whether the surveyor, if there is one, has had the whole file that it was made for."""
        return self._surveyor is None or self._surveyor.size == self._surveyor.layout.size

    def _load(self) -> bool:
        """Read on in the work tree's file, as much as is still in the cache when it is compared; False at its end."""
        assert self._twin is not None
        self._begin_block()
        if not self._compares:
            self._filled = self._due
            return self._filled > self._at
        try:
            rest = memoryview(self._block)[self._at : min(self._at + _STEP, self._due)]
            self._filled += os.preadv(self._twin, [rest], self.size)
        except OSError:
            return False
        if self._surveyor is None:
            self._due = self._filled
        return self._filled > self._at

    def _begin_block(self) -> None:
        """Have memory for what is compared next, and know how much."""
        if not self._due:
            surveyor = self._surveyor
            self._block = surveyor.buffer() if surveyor else self._block or bytearray(_STEP)
            self._due = surveyor.due if surveyor else _STEP
            self._compares = surveyor is None or self.size < surveyor.settled
            self._compared = self._compared and (self._compares or not self._due)

    def _confirm(self) -> None:
        """All that was due in the block came through the pipe, too."""
        if self._surveyor is None:
            self._hasher.update(memoryview(self._block)[: self._filled])
        else:
            self._surveyor.take(self._block, self._filled)
        self._at = self._filled = self._due = 0

    def _differ(self) -> None:
        """The content is not what the work tree has: keep what agreed, and from now on write down what comes."""
        if not self._compared:
            self._error = ChangedError("it changed while it was read", hint="add it again when nothing writes to it")
        if self._surveyor is not None:
            self._surveyor.close()
            self._hasher, self._surveyor = self._surveyor.whole, None
        self._hasher.update(memoryview(self._block)[: self._at])
        self._at = self._filled = self._due = 0
        if self._error is None:
            self._try_spool()

    def _try_spool(self) -> None:
        """From now on write down what comes, after what agreed so far."""
        try:
            self._spool_folder.mkdir(parents=True, exist_ok=True)
            self._spool = TemporaryFile(dir=self._spool_folder, buffering=0)  # noqa: SIM115 - closed by close()
            at = 0
            while self._twin is not None and at < self.size:
                block = os.pread(self._twin, min(_COPY, self.size - at), at)
                if not block:
                    break  # cut short meanwhile: the hash will not hold, and the store says so
                self._write(block)
                at += len(block)
        except OSError as error:
            self._error = error
        self._leave_twin()

    def _try_write(self, piece: memoryview) -> None:
        try:
            self._write(piece)
        except OSError as error:
            self._error = error

    def _write(self, data: bytes | memoryview) -> None:
        assert self._spool is not None
        view = memoryview(data)
        while view:
            view = view[self._spool.write(view) :]

    def _leave_twin(self) -> None:
        if self._twin is not None:
            os.close(self._twin)
            self._twin = None


def _open_regular(path: Path) -> int | None:
    """A descriptor of the regular file at `path`, links not followed; None where there is none to be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd
