"""What is to be brought to an IPFS node, and what is there, in an SQLite file of its own.

Each method is one transaction, durable once it returns (WAL, FULL).  Threads share one connection, one at a time.

::

    progress   how many leaves of the log were looked at
    todo       manifest leaves that something happened to since
    pin        which leaf has which blob on the node, under which CID; written before the node is asked
    unpin      CIDs that no leaf has any more, and the node may still have
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from ledger.errors import BackendError, ConflictError
from ledger.store.files import disk_errors

_VERSION: Final = 1
_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE progress (size INTEGER NOT NULL);
INSERT INTO progress VALUES (0);
CREATE TABLE todo (leaf INTEGER PRIMARY KEY);
CREATE TABLE pin (digest BLOB NOT NULL, leaf INTEGER NOT NULL, cid BLOB NOT NULL, PRIMARY KEY (digest, leaf));
CREATE INDEX pin_leaf ON pin (leaf);
CREATE INDEX pin_cid ON pin (cid);
CREATE TABLE unpin (cid BLOB PRIMARY KEY);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class SqliteOutbox:
    """``Outbox`` in a file, which is made if it is not there."""

    def __init__(self, path: Path) -> None:
        """Opens it.

        Raises:
            ConflictError: ``schema``: it is of another version.
            BackendError: the file cannot be used.
        """
        with disk_errors("outbox"):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = Lock()
        with _errors():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                _prepare(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def size(self) -> int:
        return int(self._ask("SELECT size FROM progress")[0][0])

    def note(self, size: int, leaves: Iterable[int]) -> None:
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO todo VALUES (?)", [(leaf,) for leaf in leaves])
            connection.execute("UPDATE progress SET size = ?", (size,))

    def todo(self) -> list[int]:
        return [leaf for (leaf,) in self._ask("SELECT leaf FROM todo ORDER BY leaf")]

    def done(self, leaf: int) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM todo WHERE leaf = ?", (leaf,))

    def pin(self, leaf: int, cids: Mapping[bytes, bytes]) -> None:
        with self._writing() as connection:
            rows = [(digest, leaf, cid) for digest, cid in cids.items()]
            connection.executemany("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", rows)
            connection.executemany("DELETE FROM unpin WHERE cid = ?", [(cid,) for cid in cids.values()])

    def drop(self, leaf: int) -> None:
        self._forget("leaf", leaf)

    def forget(self, digest: bytes) -> None:
        self._forget("digest", digest)

    def _forget(self, column: str, value: int | bytes) -> None:
        with self._writing() as connection:
            gone = connection.execute(f"DELETE FROM pin WHERE {column} = ? RETURNING cid", (value,)).fetchall()
            connection.executemany(
                "INSERT OR IGNORE INTO unpin SELECT ?1 WHERE NOT EXISTS (SELECT * FROM pin WHERE cid = ?1)", gone
            )

    def cid(self, digest: bytes) -> bytes | None:
        found = self._ask("SELECT cid FROM pin WHERE digest = ? LIMIT 1", digest)
        return found[0][0] if found else None

    def digests(self) -> list[bytes]:
        return [digest for (digest,) in self._ask("SELECT DISTINCT digest FROM pin")]

    def unpins(self) -> list[bytes]:
        return [cid for (cid,) in self._ask("SELECT cid FROM unpin")]

    def unpinned(self, cid: bytes) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM unpin WHERE cid = ?", (cid,))

    def close(self) -> None:
        self._connection.close()

    def _ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, _errors():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(_TABLES)
    elif version != _VERSION:
        raise ConflictError(f"is of version {version}, expected {_VERSION}", code="schema", field="outbox")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise BackendError(f"cannot be used: {e}", code="disk", field="outbox") from e
