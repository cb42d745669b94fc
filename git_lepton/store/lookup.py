"""What is stored already, by hash: a local cache in SQLite that can be deleted at any time.

It maps the hash of a stream or a chunk to one stored version that lists it. It is only ever a hint: whoever reuses a
chunk verifies, in the ref transaction that publishes the new version, that the version which lists it is still
there. Rows of versions that are gone, or were wrapped anew, are dropped when they are met.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from git_lepton.store.index import VersionIndex
from git_lepton.values import Hash, Oid

_FORMAT: Final = 1
_SCHEMA: Final = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE IF NOT EXISTS versions (id INTEGER PRIMARY KEY, hash BLOB UNIQUE NOT NULL, wrap TEXT NOT NULL,
    since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS streams (hash BLOB PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (hash BLOB PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_FORMAT};
COMMIT;
"""
_BATCH: Final = 500


class Lookup:
    """The cache of one repository, to be used by one thread at a time.

    Attributes:
        is_new: it was made just now, and knows nothing yet.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the database; one that SQLite cannot read is deleted and made anew.

        On a full disk, or where nothing may be written, it is held in memory and is new each time.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._open(path)
        except sqlite3.OperationalError:
            self._open(":memory:")
        except sqlite3.DatabaseError:
            self._remove()
            self._open(path)

    def _open(self, where: Path | str) -> None:
        self._db = sqlite3.connect(where, timeout=30, check_same_thread=False)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        self.is_new = version == 0
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError("another format")
        if self.is_new:  # what is lost with the power now is made again
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_SCHEMA)
        self._db.execute("PRAGMA synchronous = NORMAL")

    def _remove(self) -> None:
        with suppress(AttributeError):
            self._db.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def synchronise(self, live: Mapping[Hash, Oid]) -> list[Hash]:
        """Drop every version that `live` (hash to W) does not hold as it is; return those of `live` not known yet."""
        known = {h.hex(): wrap for h, wrap in self._db.execute("SELECT hash, wrap FROM versions")}
        dead = [h for h, wrap in known.items() if live.get(Hash(h)) != wrap]
        self.forget(Hash(h) for h in dead)
        return [h for h in live if known.get(h) != live[h]]

    def forget(self, hashes: Iterable[Hash]) -> None:
        """Drop versions and what only they listed.

        Raises:
            OSError: the disk is full.
        """
        with self._writing(), self._db:
            for digest in hashes:
                row = self._db.execute("SELECT id FROM versions WHERE hash = ?", (bytes.fromhex(digest),)).fetchone()
                if row:
                    for table, column in (("streams", "version"), ("chunks", "version"), ("versions", "id")):
                        self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", row)  # noqa: S608 - literals

    def add(self, index: VersionIndex, wrap: Oid) -> None:
        """Note everything that a stored version lists; it becomes the version named for all of it.

        Raises:
            OSError: the disk is full.
        """
        with self._writing(), self._db:
            row = self._db.execute(
                "INSERT INTO versions (hash, wrap, since) VALUES (?, ?, ?)"
                " ON CONFLICT (hash) DO UPDATE SET wrap = excluded.wrap RETURNING id",
                (bytes.fromhex(index.file_hash), wrap, int(time.time())),
            ).fetchone()
            number = row[0]
            put = "INSERT OR REPLACE INTO {} (hash, version) VALUES (?, ?)"
            self._db.executemany(
                put.format("streams"), ((bytes.fromhex(s.hash), number) for s in index.streams if s.count)
            )
            self._db.executemany(put.format("chunks"), ((bytes.fromhex(c.raw_hash), number) for c in index.chunks))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(errno.EIO, f"{self._path.name} cannot be written: {error}") from error

    def since(self) -> dict[Hash, int]:
        """When each known version was first seen here, in Unix seconds; a new cache sees them all anew."""
        return {Hash(h.hex()): since for h, since in self._db.execute("SELECT hash, since FROM versions")}

    def streams(self, hashes: Iterable[Hash]) -> dict[Hash, Hash]:
        """For each of these stream hashes that is known, the version that lists it."""
        return self._find("streams", hashes)

    def chunks(self, hashes: Iterable[Hash]) -> dict[Hash, Hash]:
        """For each of these chunk hashes that is known, the version that lists it."""
        return self._find("chunks", hashes)

    def _find(self, table: str, hashes: Iterable[Hash]) -> dict[Hash, Hash]:
        wanted = list(dict.fromkeys(hashes))
        found: dict[Hash, Hash] = {}
        for at in range(0, len(wanted), _BATCH):
            batch = [bytes.fromhex(h) for h in wanted[at : at + _BATCH]]
            query = (
                f"SELECT t.hash, v.hash FROM {table} t JOIN versions v ON v.id = t.version"  # noqa: S608 - literals
                f" WHERE t.hash IN ({','.join('?' * len(batch))})"
            )
            for digest, version in self._db.execute(query, batch):
                found[Hash(digest.hex())] = Hash(version.hex())
        return found

    def close(self) -> None:
        """Close the database."""
        self._db.close()
