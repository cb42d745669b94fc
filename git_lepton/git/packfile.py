"""Writing a pack ourselves (gitformat-pack(5)), because git's own writers compress what is compressed already.

A pack is `PACK`, version, number of objects, the objects, and the hash of all this. An object is a type and a size in a
variable-length number, then its content as a zlib stream. Weights are encoded before they come here, so the stream
consists of *stored* blocks (RFC 1951, 3.2.4), built by hand: 5 bytes before each 65,535.

One pack an add, in this order, since gc and repack run at any moment (docs/git-protocol.md has the losses that each
step prevents):

1. written outside `objects/pack` (gc deletes temporary files there), with 16 random bytes as its first object, so that
   its name, the hash of its content, is nobody else's;
2. `finish`: flushed to the disk, index built beside it;
3. `publish`: `.keep` with our owner token, then `.pack`, then `.idx`, folder flushed; a pack without index is garbage
   to a repack, so it is looked at again and put back if it went;
4. the caller moves its refs, then `release` removes the `.keep`.

Several threads may `add` at once. An object's hash and its check sums need no lock: its place is reserved under it. The
hash of the whole pack goes through the objects in order and must begin with the header, so it can run along as they are
written (`packtail`) only if the number of objects was promised; otherwise the file is read once more at the end.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import struct
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from zlib_ng import zlib_ng

from git_lepton import atomic
from git_lepton.errors import ChangedError, RaceLostError, UsageError
from git_lepton.git.objectid import Buffer, hash_object, hash_objects
from git_lepton.git.packindex import PackedObject, encode_index
from git_lepton.git.packtail import PackTail, pwrite_all
from git_lepton.git.repo import Repo
from git_lepton.native.stored import kernels
from git_lepton.values import Oid

TYPES: Final = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
"""Type numbers of whole objects in a pack; 6 and 7 are deltas, which we read through git and never write."""

STORED_BLOCK: Final = 65535
ZLIB_STORED_HEADER: Final = b"\x78\x01"

_HEADER: Final = struct.Struct(">4sII")
_BLOCK_HEAD: Final = struct.Struct("<BHH")
_CHECK: Final = 4
_READ: Final = 4 << 20
_LARGE: Final = 128 << 10
"""From this size on, laying out is worth letting other threads have the interpreter."""
_PUBLISH_TRIES: Final = 3
_PACK_MODE: Final = 0o444


def encode_object_header(number: int, size: int) -> bytes:
    """Type and size as a pack writes them: 4 bits of size in the first byte, then 7 a byte, lowest first."""
    byte, size = number << 4 | size & 15, size >> 4
    result = bytearray()
    while size:
        result.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    result.append(byte)
    return bytes(result)


def stored_length(size: int) -> int:
    """Bytes of the zlib stream of stored blocks that has `size` bytes of content."""
    return len(ZLIB_STORED_HEADER) + size + _BLOCK_HEAD.size * max(1, -(-size // STORED_BLOCK)) + _CHECK


def store_zlib(parts: Sequence[Buffer], out: memoryview) -> None:
    """Fill `out` with the zlib stream of stored blocks whose content is `parts` after one another.

    Every block but the last is full, so that the place of each byte is known from the length alone.
    """
    views = [memoryview(part).cast("B") for part in parts]
    check = 1
    for view in views:
        check = zlib_ng.adler32(view, check)
    begin, end = len(ZLIB_STORED_HEADER), len(out) - _CHECK
    out[:begin], out[end:] = ZLIB_STORED_HEADER, check.to_bytes(_CHECK)
    native = kernels() if len(out) >= _LARGE else None
    (native.store if native else _store_blocks)(views, out[begin:end])


def _store_blocks(views: Sequence[memoryview], out: memoryview) -> None:
    """Fill `out` with stored blocks, as the kernel does."""
    left = sum(map(len, views))
    at = room = 0
    if not left:
        _BLOCK_HEAD.pack_into(out, 0, True, 0, STORED_BLOCK)
    for view in views:
        done = 0
        while done < len(view):
            if not room:
                room = min(left, STORED_BLOCK)
                _BLOCK_HEAD.pack_into(out, at, room == left, room, room ^ 0xFFFF)
                at += _BLOCK_HEAD.size
            taken = min(room, len(view) - done)
            out[at : at + taken] = view[done : done + taken]
            at, done, room, left = at + taken, done + taken, room - taken, left - taken


def temporary_folder(repo: Repo) -> Path:
    """A folder for packs in the making on the file system of the objects, created when needed.

    That is ours in the common folder, unless objects live elsewhere (a mount, `GIT_OBJECT_DIRECTORY`).
    """
    device = _make_folder(repo.object_dir / "pack").stat().st_dev
    for folder in _temporary_folders(repo):
        if folder.is_dir():
            found = folder.stat().st_dev
        elif folder.parent.is_dir() or folder.parent == repo.lepton_dir:
            found = _make_folder(folder).stat().st_dev
        else:
            continue
        if found == device:
            return folder
    raise UsageError(f"no folder on the file system of {repo.object_dir} can take a pack in the making")


def _temporary_folders(repo: Repo) -> tuple[Path, ...]:
    return repo.lepton_dir / "tmp", repo.object_dir.parent / "lepton-tmp", repo.object_dir / "lepton-tmp"


def _make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def clean_stale(repo: Repo) -> list[Path]:
    """Remove what killed writers left: temporary files, and `.keep` files of ours whose owner is dead."""
    removed = [path for folder in _temporary_folders(repo) for path in atomic.clean_owned(folder)]
    for keep in sorted((repo.object_dir / "pack").glob("pack-*.keep")):
        with suppress(OSError):
            with keep.open("rb") as stream:
                token = stream.read(512).decode("ascii", "replace")
            if atomic.owner_is_dead(token):
                keep.unlink(missing_ok=True)
                removed.append(keep)
    return removed


class PackWriter:
    """One pack in the making. Use it as a context manager: what was not finished by the end is removed."""

    def __init__(self, repo: Repo, *, objects: int | None = None) -> None:
        """Begin a pack. `objects` promises how many different ones `add` will get; it saves a pass over the file."""
        self._repo = repo
        self._folder = temporary_folder(repo)
        self._path = self._folder / atomic.owned_name(".pack-part")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PACK_MODE)
        self._lock = threading.Lock()
        self._entries: dict[Oid, PackedObject] = {}
        self._promised = None if objects is None else objects + 1
        hasher = None if objects is None else hashlib.new(repo.object_format, usedforsecurity=False)
        self._trailer = hasher
        self._tail = PackTail(self._fd, _HEADER.pack(b"PACK", 2, self._promised or 0), hasher)
        self._open = True
        self.add("blob", [secrets.token_bytes(16)])

    @property
    def size(self) -> int:
        """Bytes reserved so far, the trailer not counted."""
        return self._tail.size

    def add(self, kind: str, parts: Sequence[Buffer], *, compress: bool = False) -> Oid:
        """Append an object unless this pack has it. Safe to call from several threads.

        Args:
            kind: "blob", "tree", "commit" or "tag".
            parts: the content, in pieces; they may be reused once this returns.
            compress: deflate it (level 6), for trees, commits and text; otherwise it is stored.
        """
        oid = hash_object(kind, parts, self._repo.object_format)
        self._append(oid, kind, parts, compress=compress)
        return oid

    def add_all(self, kind: str, contents: Sequence[Sequence[Buffer]]) -> list[Oid]:
        """Append objects as `add` does; the ids of many large ones take less time."""
        oids = hash_objects(kind, contents, self._repo.object_format)
        for oid, parts in zip(oids, contents, strict=True):
            self._append(oid, kind, parts)
        return oids

    def _append(self, oid: Oid, kind: str, parts: Sequence[Buffer], *, compress: bool = False) -> None:
        if oid in self._entries:
            return
        size = sum(memoryview(part).nbytes for part in parts)
        room = self._laid_out(kind, size, parts, compress=compress)
        check = zlib_ng.crc32(room)
        with self._lock:
            if not self._open or oid in self._entries:
                self._tail.give_back(room)
                if not self._open:
                    raise UsageError("an object was added to a pack that is finished")
                return
            self._entries[oid] = PackedObject(bytes.fromhex(oid), check, self._tail.append(room))
        self._tail.write()

    def _laid_out(self, kind: str, size: int, parts: Sequence[Buffer], *, compress: bool) -> memoryview:
        """An object as it lies in a pack, in one piece: that costs each hash one turn of the interpreter lock."""
        header = encode_object_header(TYPES[kind], size)
        packed = _deflated(parts) if compress else None
        room = self._tail.room(len(header) + (stored_length(size) if packed is None else len(packed)))
        try:
            room[: len(header)] = header
            if packed is None:
                store_zlib(parts, room[len(header) :])
            else:
                room[len(header) :] = packed
        except BaseException:
            self._tail.give_back(room)
            raise
        return room

    def finish(self) -> PendingPack:
        """Complete pack and index on the disk; all `add` calls must have returned.

        Raises:
            UsageError: finished or abandoned before, or an `add` failed half-way.
        """
        with self._lock:
            if not self._open or self._tail.is_torn:
                raise UsageError("a pack cannot be finished twice, or after an object of it could not be written")
            self._open = False
        self._tail.join()
        index_path = self._folder / atomic.owned_name(".index-part")  # gc deletes an .idx whose pack it cannot see
        try:
            digest = self._digest()
            pwrite_all(self._fd, digest, self._tail.size)
            os.fchmod(self._fd, _PACK_MODE)
            with ThreadPoolExecutor(1) as pool, index_path.open("xb") as stream:  # two flushes take as long as one
                flush = pool.submit(atomic.fsync_file, self._fd)
                index = encode_index(list(self._entries.values()), digest, self._repo.object_format)
                stream.write(index)
                stream.flush()
                os.fchmod(stream.fileno(), _PACK_MODE)
                atomic.fsync_file(stream.fileno())
                flush.result()
        except BaseException:
            index_path.unlink(missing_ok=True)
            self._discard()
            raise
        parts = {".pack": self._path, ".idx": index_path}
        oids = frozenset(self._entries)
        return PendingPack(self._repo, digest.hex(), fd=self._fd, index=index, parts=parts, oids=oids)

    def _digest(self) -> bytes:
        """The hash of the whole pack: ready if the promise was kept, otherwise by reading it once more."""
        if self._trailer is not None and len(self._entries) == self._promised:
            return self._trailer.digest()
        os.pwrite(self._fd, _HEADER.pack(b"PACK", 2, len(self._entries)), 0)
        return _hash_file(self._fd, self._tail.size, self._repo.object_format)

    def abandon(self) -> None:
        """Give an unfinished pack up and remove its file."""
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._discard()

    def _discard(self) -> None:
        self._tail.join()
        os.close(self._fd)
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()


class PendingPack:
    """A complete pack beside the object store. Publish it, move the refs, then release it.

    As a context manager it is abandoned when the block raises, and released when it ends.

    Attributes:
        name: `pack-<hash>`.
        oids: the objects in it, the random first one among them.
    """

    def __init__(
        self, repo: Repo, digest: str, *, fd: int, index: bytes, parts: dict[str, Path], oids: frozenset[Oid]
    ) -> None:
        self.name = f"pack-{digest}"
        self.oids = oids
        self._fd: int | None = fd
        self._index = index
        self._parts = parts
        self._base = repo.object_dir / "pack" / self.name
        self._published = False

    def path(self, suffix: str) -> Path:
        """Where the published file with `suffix` (".pack", ".idx", ".keep") is."""
        return self._base.with_name(self.name + suffix)

    def publish(self) -> None:
        """Make the objects visible to git, protected from gc by a `.keep` until `release`.

        Raises:
            RaceLostError: something keeps deleting the pack.
        """
        assert self._fd is not None
        _make_folder(self._base.parent)
        keep = self.path(".keep")
        atomic.write_file(keep, atomic.owner_token().encode("ascii") + b"\n", durable=False)
        self._published = True
        for suffix in (".pack", ".idx"):
            self._parts[suffix].replace(self.path(suffix))
        with keep.open("rb") as stream:
            atomic.fsync_file(stream.fileno())
        atomic.fsync_dir(self._base.parent)
        for _ in range(_PUBLISH_TRIES):
            gone = [suffix for suffix in self._parts if not self.path(suffix).exists()]
            if not gone:
                return
            for suffix in gone:
                self._put_back(suffix)
        raise RaceLostError(f"another process deletes {self.name} while it is published")

    def _put_back(self, suffix: str) -> None:
        """Write a published file again: the index from memory, the pack from the file that is still open."""
        assert self._fd is not None
        with atomic.writer(self.path(suffix), mode=_PACK_MODE) as target:
            if suffix == ".idx":
                target.write(self._index)
            else:
                with os.fdopen(os.dup(self._fd), "rb") as source:
                    source.seek(0)
                    shutil.copyfileobj(source, target, _READ)

    def release(self) -> None:
        """Remove the `.keep`: from here on only refs keep the objects alive."""
        self.path(".keep").unlink(missing_ok=True)
        self._close()

    def abandon(self) -> None:
        """Give up: unpublished files are removed, published objects are left to gc."""
        if self._published:
            self.release()
        else:
            for part in self._parts.values():
                part.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._published:
            self.release()
        else:
            self.abandon()


def _deflated(parts: Sequence[Buffer]) -> bytes:
    packer = zlib.compressobj(6)
    return b"".join([*map(packer.compress, parts), packer.flush()])


def _hash_file(fd: int, size: int, algo: str) -> bytes:
    hasher = hashlib.new(algo, usedforsecurity=False)
    buffer = bytearray(_READ)
    position = 0
    while position < size:
        got = os.preadv(fd, [memoryview(buffer)[: min(_READ, size - position)]], position)
        if not got:
            raise ChangedError("a pack in the making was cut short by another process")
        hasher.update(memoryview(buffer)[:got])
        position += got
    return hasher.digest()
