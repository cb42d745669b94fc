r"""git's index: what is staged, and cached stat data put right without running a filter (gitformat-index(5)).

When we write a file that git checked out as something else, the size and times in the index are wrong, and git then
believes it modified for ever, or runs the clean filter over all of it. `patch_stat` puts the stat fields right in the
file itself, under git's own lock, where the entry still has the object id that the caller means. Nothing moves:
entries keep their length, so all extensions stay valid; only the checksum at the end is made anew.

    DIRC, version 2-4, number of entries
    an entry: 10 x u32 (ctime s, ns; mtime s, ns; dev; ino; mode; uid; gid; size), object id, u16 flags,
              u16 more flags if the flags say so, path
              versions 2, 3: 1 to 8 zero bytes, to a multiple of 8;   version 4: path as a cut of the last one, \0
    extensions: name, u32 length, data.  A name in lower case must be understood: "link" (split index) is not here.
    checksum, or zeros (index.skipHash)

Racy entries. git trusts an entry only if its mtime is older than the index file; otherwise the file might have changed
in the same tick after it was looked at, and git compares contents. A rewrite makes the index file younger, so the
entries that were in doubt before are marked as git marks them (size 0), which keeps them in doubt. For the same reason
a file patched in the second in which it was written costs one clean later: set its mtime a second or more into the past
before taking the stat data, and it costs none.
"""

from __future__ import annotations

import hashlib
import os
import stat as stat_bits
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from git_lepton.atomic import LockFile
from git_lepton.errors import FrameError, RaceLostError
from git_lepton.git.repo import Repo
from git_lepton.values import Oid

_HEADER: Final = struct.Struct(">4sII")
_STAT: Final = struct.Struct(">10I")
_SIZE_AT: Final = 36
_MTIME_AT: Final = 8
_EXTENDED: Final = 0x4000
_STAGE: Final = 0x3000
_INTENT_TO_ADD: Final = 0x2000
_LOCK_SECONDS: Final = 3.0
_UNDERSTOOD: Final = (b"sdir",)
_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One staged path: `stage` is 0, or 1 to 3 during a conflict (base, ours, theirs)."""

    mode: int
    oid: Oid
    stage: int
    path: bytes


def ls_files(repo: Repo, pathspecs: Sequence[str | bytes] = ()) -> list[IndexEntry]:
    """What the index in force holds, sorted by path; `pathspecs` are git's, relative to the top."""
    output = repo.git("ls-files", "--stage", "-z", "--full-name", "--", *pathspecs).stdout
    entries = []
    for line in output.split(b"\0")[:-1]:
        head, _, path = line.partition(b"\t")
        mode, oid, stage = head.decode("ascii").split()
        entries.append(IndexEntry(int(mode, 8), Oid(oid), int(stage), path))
    return entries


def refresh(repo: Repo, paths: Iterable[bytes]) -> None:
    """Let git look at `paths` anew: always right, and one clean of each."""
    stdin = b"".join(path + b"\0" for path in paths)
    if stdin:
        repo.git("update-index", "-q", "--refresh", "-z", "--stdin", input=stdin, check=False)


def patch_stat(repo: Repo, stats: Mapping[bytes, os.stat_result], expected: Mapping[bytes, Oid]) -> frozenset[bytes]:
    """Write stat data into the index where it stands for the content that the caller wrote.

    Args:
        repo: its index in force is changed.
        stats: path relative to the top -> what lstat says of the file that was written.
        expected: the object id that the index must have for that path.

    Returns:
        The paths that were not patched: no such entry, another object id, a conflict, an index that we do not
        understand (split index) or that another process keeps locked. `refresh` is for them.
    """
    wanted = frozenset(stats)
    if not wanted:
        return wanted
    try:
        with LockFile(repo.index_file, timeout=_LOCK_SECONDS) as lock:
            data, status = _read(repo.index_file)
            patched = _patch(data, repo, stats, expected, int(status.st_mtime))
            if patched:
                lock.commit(data, mode=stat_bits.S_IMODE(status.st_mode))
            return wanted - patched
    except (FrameError, RaceLostError, FileNotFoundError):
        return wanted


def _read(path: Path) -> tuple[bytearray, os.stat_result]:
    with path.open("rb") as stream:
        return bytearray(stream.read()), os.fstat(stream.fileno())


def _patch(
    data: bytearray,
    repo: Repo,
    stats: Mapping[bytes, os.stat_result],
    expected: Mapping[bytes, Oid],
    index_mtime: int,
) -> set[bytes]:
    """Patch `data` in place; returns the paths that were. Raises FrameError before any change is made."""
    width = repo.oid_size
    body = len(data) - width
    algo = repo.object_format
    checked = any(data[body:])
    if checked and hashlib.new(algo, memoryview(data)[:body], usedforsecurity=False).digest() != data[body:]:
        raise FrameError("index: wrong checksum")
    entries = list(_entries(data, width))
    done: set[bytes] = set()
    for start, path, plain in entries:
        mtime = int.from_bytes(data[start + _MTIME_AT : start + _MTIME_AT + 4])
        oid = data[start + _STAT.size : start + _STAT.size + width].hex()
        if plain and path in stats and expected.get(path) == oid:
            _STAT.pack_into(data, start, *_stat_fields(stats[path], data, start))
            done.add(path)
        elif mtime >= index_mtime:
            data[start + _SIZE_AT : start + _STAT.size] = bytes(4)
    if checked:
        data[body:] = hashlib.new(algo, memoryview(data)[:body], usedforsecurity=False).digest()
    return done


def _stat_fields(status: os.stat_result, data: bytearray, start: int) -> list[int]:
    """The ten numbers of an entry as git fills them; the mode stays what it is."""
    mode = int.from_bytes(data[start + 24 : start + 28])
    ctime, mtime = divmod(status.st_ctime_ns, 10**9), divmod(status.st_mtime_ns, 10**9)
    numbers = (*ctime, *mtime, status.st_dev, status.st_ino, mode, status.st_uid, status.st_gid, status.st_size)
    return [number & _MASK for number in numbers]


def _entries(data: bytearray, width: int) -> Iterator[tuple[int, bytes, bool]]:
    """Start, path and plainness (no conflict, not only intended) of each entry; checks the extensions after them.

    Raises:
        FrameError: not an index that we understand.
    """
    if len(data) < _HEADER.size + width:
        raise FrameError("index: too short")
    magic, version, count = _HEADER.unpack_from(data)
    stop = len(data) - width
    if magic != b"DIRC" or version not in {2, 3, 4}:
        raise FrameError("index: unknown version")
    position, path = _HEADER.size, b""
    for _ in range(count):
        start, position = position, position + _STAT.size + width + 2
        if position + 2 > stop:
            raise FrameError("index: cut short")
        flags, more = int.from_bytes(data[position - 2 : position]), 0
        if flags & _EXTENDED:
            more = int.from_bytes(data[position : position + 2])
            position += 2
        if version == 4:
            strip, position = _varint(data, position, stop)
            path = path[: len(path) - strip] if strip <= len(path) else b""
        else:
            path = b""
        end = data.find(0, position, stop)
        if end < 0:
            raise FrameError("index: path without end")
        path += data[position:end]
        position = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        yield start, path, not flags & _STAGE and not more & _INTENT_TO_ADD
    _check_extensions(data, position, stop)


def _varint(data: bytearray, position: int, stop: int) -> tuple[int, int]:
    """Read git's offset encoding: 7 bits a byte, each further byte adds one first."""
    value = 0
    for place in range(position, min(position + 10, stop)):
        byte = data[place]
        value = (value << 7) + (byte & 0x7F)
        if byte < 0x80:
            return value, place + 1
        value += 1
    raise FrameError("index: malformed number")


def _check_extensions(data: bytearray, position: int, stop: int) -> None:
    while position < stop:
        name, size = bytes(data[position : position + 4]), int.from_bytes(data[position + 4 : position + 8])
        position += 8 + size
        if position > stop or len(name) != 4:
            raise FrameError("index: extension cut short")
        if name[:1].islower() and name not in _UNDERSTOOD:
            raise FrameError(f"index: extension {name!r} is not understood")
