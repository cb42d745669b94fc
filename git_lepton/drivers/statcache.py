"""Hashes of work-tree files by their stat data, so that `git lepton status` need not read what did not change.

For our own commands only. The clean filter never asks: git sends other bytes than those of the file under its name.
The cache is one small SQLite file that can be deleted at any time. A file that changed within the last seconds is not
noted, since a second change within one tick of the clock would not show.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from git_lepton.closing import Closing
from git_lepton.errors import ChangedError
from git_lepton.git.repo import Repo
from git_lepton.values import Hash

FILE_NAME: Final = "stat.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    dev INTEGER, ino INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, hash BLOB NOT NULL, PRIMARY KEY (dev, ino)
) WITHOUT ROWID
"""
_RACY_NS: Final = 2 * 10**9
_BLOCK: Final = 1 << 20


class StatCache(Closing):
    """Hashes work-tree files, or remembers their hashes. Works without its file, too: slower."""

    def __init__(self, repo: Repo) -> None:
        path = repo.lepton_dir / FILE_NAME
        self._db: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=5, isolation_level=None)
            self._db.execute(_SCHEMA)

    def hash_of(self, path: Path) -> Hash:
        """BLAKE3 of the file.

        Raises:
            ChangedError: it changed while it was read.
            OSError: it cannot be read.
        """
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            known = self._get(before)
            if known is not None:
                return known
            hasher = blake3()
            buffer = memoryview(bytearray(_BLOCK))
            while count := file.readinto(buffer):
                hasher.update(buffer[:count])
            after = os.fstat(file.fileno())
        if _key(before) != _key(after):
            raise ChangedError(f"{path} changed while it was read", hint="try again when nothing writes to it")
        digest = Hash(hasher.hexdigest())
        if max(after.st_mtime_ns, after.st_ctime_ns) < time.time_ns() - _RACY_NS:
            self.put(after, digest)
        return digest

    def put(self, status: os.stat_result, digest: Hash) -> None:
        """Note the hash of a file with this stat data."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (*_key(status), bytes.fromhex(digest))
                )

    def _get(self, status: os.stat_result) -> Hash | None:
        if self._db is None:
            return None
        query = "SELECT hash FROM files WHERE dev = ? AND ino = ? AND size = ? AND mtime = ? AND ctime = ?"
        try:
            row = self._db.execute(query, _key(status)).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else Hash(row[0].hex())

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()


def _key(status: os.stat_result) -> tuple[int, int, int, int, int]:
    # SQLite's integers are signed; device and inode numbers may use all 64 bits.
    return (
        status.st_dev & (2**63 - 1),
        status.st_ino & (2**63 - 1),
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
