"""Reading objects straight out of packs: no process, no lock, no copy that can be spared.

Chunks are written as whole objects of stored zlib blocks (`packfile`), so where each byte lies follows from the length,
and one `preadv` scatters an object into place: block heads into a scrap area, content where it belongs, the
interpreter lock released meanwhile. The heads are checked afterwards; the content's own check is the BLAKE3 that the
store verifies. Deflated objects go through zlib. Deltas and loose objects are left to git (`CatFile`).

The list of packs is only a belief: a repack deletes packs and adds others at any time. A read that finds nothing, or
whose pack is gone, looks at the folders again before it gives up; `contains` looks first. A pack that is open stays
readable after it was deleted. Folders are those that git would search: the object folder, then the alternates of
`info/alternates` and of the environment.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from git_lepton.closing import Closing
from git_lepton.errors import FrameError
from git_lepton.git.catfile import CatFile
from git_lepton.git.objectid import Buffer, check_oid, missing_object
from git_lepton.git.packfile import STORED_BLOCK, TYPES
from git_lepton.git.packindex import PackIndex
from git_lepton.git.quoting import unquote
from git_lepton.git.repo import Repo
from git_lepton.native.memory import blank
from git_lepton.values import Oid

_KINDS: Final = {number: name for name, number in TYPES.items()}
_PEEK: Final = 32
_BLOCK_HEAD: Final = 5
_MAX_BLOCKS: Final = 500  # preadv takes 1,024 buffers
_MAP_FROM: Final = 4 << 20
_OPEN_PACKS: Final = 100
_ALTERNATE_DEPTH: Final = 5  # git's own limit
_OBJECT_CAP: Final = 1 << 40


class _Pack:
    """One pack: its index in memory, its file open once it was read. Closes with its last reader."""

    def __init__(self, base: Path, oid_size: int) -> None:
        self._path = base.with_suffix(".pack")
        self.index = PackIndex(_load(base.with_suffix(".idx")), oid_size)
        self.file: io.FileIO | None = None

    def open(self, *, keep: bool) -> io.FileIO:
        """The pack's file. Raises FileNotFoundError when it was deleted."""
        if self.file is not None:
            return self.file
        file = io.FileIO(self._path)
        if keep:
            self.file = file
        return file

    def read(self, file: io.FileIO, offset: int) -> tuple[str, Buffer] | None:
        """Type and content of the object at `offset`; None for a delta.

        Raises:
            FrameError: there is no well-formed object.
        """
        number, size, head = self._head(file, offset)
        if number not in _KINDS:
            return None
        start = offset + head
        fd = file.fileno()
        content: Buffer | None = _read_stored(fd, start, size) if _blocks(size) <= _MAX_BLOCKS else None
        if content is None:
            # deflate makes nothing longer than this; the next object may follow much earlier
            longest = min(size + (size >> 8) + 64, os.fstat(fd).st_size - start)
            packed = os.pread(fd, max(longest, 0), start)
            content = zlib.decompressobj().decompress(packed, size) if size else b""
            if len(content) != size:
                raise FrameError(f"{self._path.name}: object at byte {offset} is cut short")
        return _KINDS[number], content

    def size(self, file: io.FileIO, offset: int) -> int | None:
        """Size of the object at `offset`; None for a delta. Raises FrameError as `read`."""
        number, size, _ = self._head(file, offset)
        return size if number in _KINDS else None

    def _head(self, file: io.FileIO, offset: int) -> tuple[int, int, int]:
        """Type number, size, and length of these in the pack."""
        data = os.pread(file.fileno(), _PEEK, offset)
        size, shift = (data[0] & 15 if data else 0), 4
        for position, byte in enumerate(data):
            if position:
                size |= (byte & 0x7F) << shift
                shift += 7
            if byte < 0x80:
                if size > _OBJECT_CAP:
                    break
                return data[0] >> 4 & 7, size, position + 1
        raise FrameError(f"{self._path.name}: no object at byte {offset}")


def _load(path: Path) -> Buffer:
    """A small file as bytes, a large one mapped: every map holds a descriptor."""
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size < _MAP_FROM:
            return stream.read()
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _blocks(size: int) -> int:
    return max(1, -(-size // STORED_BLOCK))


def _read_stored(fd: int, start: int, size: int) -> bytearray | None:
    """The content of a zlib stream of full stored blocks at `start`, or None when it is something else."""
    first = os.pread(fd, 2 + _BLOCK_HEAD, start)
    blocks = _blocks(size)
    length = min(size, STORED_BLOCK)
    if len(first) < 7 or first[0] & 15 != 8 or first[2:] != struct.pack("<BHH", blocks == 1, length, length ^ 0xFFFF):
        return None
    content, heads = blank(size), bytearray(blocks * _BLOCK_HEAD)
    place, scrap = memoryview(content), memoryview(heads)
    vector: list[memoryview] = []
    for block in range(blocks):
        vector.append(scrap[block * _BLOCK_HEAD : (block + 1) * _BLOCK_HEAD])
        vector.append(place[block * STORED_BLOCK : (block + 1) * STORED_BLOCK])
    if os.preadv(fd, vector, start + 2) != size + len(heads):
        return None
    last = size - (blocks - 1) * STORED_BLOCK
    full = struct.pack("<BHH", 0, STORED_BLOCK, 0) * (blocks - 1)
    return content if heads == full + struct.pack("<BHH", 1, last, last ^ 0xFFFF) else None


class PackReader(Closing):
    """An `ObjectReader` over packs; see the module's text."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._git = CatFile(repo)
        self._lock = threading.Lock()
        self._packs: dict[Path, _Pack] = {}
        self._order: list[_Pack] = []
        self._folders: tuple[Path, ...] = ()
        self._opened = 0

    def read(self, oid: Oid) -> tuple[str, Buffer]:
        """See `ObjectReader.read`."""
        check_oid(oid)
        with suppress(FrameError, zlib.error):  # another copy may be whole; if not, git says what is wrong
            found = self._search(oid)
            if found is None and not self._is_loose(oid):
                # A loose object may have been packed between our look at the packs and at the loose files.
                if not self.contains([oid]):
                    raise missing_object(oid)
            elif found is not None:
                pack, file, offset = found
                whole = pack.read(file, offset)
                if whole is not None:
                    return whole
        return self._git.read(oid)

    def contains(self, oids: Iterable[Oid]) -> set[Oid]:
        """See `ObjectReader.contains`."""
        wanted = set(oids)
        for oid in wanted:
            check_oid(oid)
        present: set[Oid] = set()
        names = {oid: bytes.fromhex(oid) for oid in wanted}
        for pack in self._scan():
            hits = [oid for oid, name in names.items() if pack.index.row(name) is not None]
            present.update(hits)
            for oid in hits:
                del names[oid]
        return present | {oid for oid in names if self._is_loose(oid)}

    def size(self, oid: Oid) -> int:
        """See `ObjectReader.size`."""
        check_oid(oid)
        with suppress(FrameError):
            found = self._search(oid)
            if found is not None:
                pack, file, offset = found
                size = pack.size(file, offset)
                if size is not None:
                    return size
            elif not self.contains([oid]):
                raise missing_object(oid)
        return self._git.size(oid)

    def close(self) -> None:
        """See `ObjectReader.close`."""
        with self._lock:
            self._packs, self._order, self._opened = {}, [], 0
        self._git.close()

    def _search(self, oid: Oid) -> tuple[_Pack, io.FileIO, int] | None:
        """The pack that holds `oid`, open, and where; looks at the folders again before it says None."""
        name = bytes.fromhex(oid)
        for fresh in (False, True):
            if fresh:
                self._scan()
            order = self._order
            for position, pack in enumerate(order):
                offset = pack.index.find(name)
                if offset is None:
                    continue
                try:
                    file = self._open(pack)
                except FileNotFoundError:
                    continue
                if position > 8:  # neighbours in a model are neighbours in a pack: look there first the next time
                    self._order = [pack, *order[:position], *order[position + 1 :]]
                return pack, file, offset
        return None

    def _open(self, pack: _Pack) -> io.FileIO:
        if pack.file is not None:
            return pack.file
        with self._lock:
            keep = self._opened < _OPEN_PACKS
            file = pack.open(keep=keep)
            self._opened += keep
        return file

    def _is_loose(self, oid: Oid) -> bool:
        return any((folder / oid[:2] / oid[2:]).exists() for folder in self._folders)

    def _scan(self) -> list[_Pack]:
        """Look at the folders again: take up new packs, forget those that are gone. Returns the packs."""
        with self._lock:
            self._folders = tuple(object_folders(self._repo))
            packs = {}
            for folder in self._folders:
                with suppress(FileNotFoundError, NotADirectoryError):
                    names = {entry.name for entry in os.scandir(folder / "pack")}
                    for name in sorted(names):
                        if name.endswith(".idx") and f"{name[:-4]}.pack" in names:
                            base = folder / "pack" / name[:-4]
                            packs[base] = self._packs.get(base)
            known: dict[Path, _Pack] = {}
            for base, pack in packs.items():
                with suppress(FileNotFoundError, FrameError):
                    known[base] = pack or _Pack(base, self._repo.oid_size)
            self._packs = known
            self._order = list(known.values())
            self._opened = sum(pack.file is not None for pack in known.values())
            return list(known.values())


def object_folders(repo: Repo) -> Iterator[Path]:
    """The folders in which git looks for objects: ours, then alternates, theirs too, each once."""
    seen: set[Path] = set()

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        real = folder.resolve()
        if real in seen:
            return
        seen.add(real)
        yield folder
        if depth == _ALTERNATE_DEPTH:
            return
        try:
            lines = (folder / "info" / "alternates").read_bytes().split(b"\n")
        except OSError:
            return
        for line in lines:
            if line and not line.startswith(b"#"):
                yield from walk(folder / os.fsdecode(unquote(line)), depth + 1)

    yield from walk(repo.object_dir, 0)
    for folder in repo.alternates:
        yield from walk(folder, 0)
