"""A py-evm key-value store on one SQLite file that survives SIGKILL and loss of power.

Write-ahead log with ``synchronous=FULL``: a transaction is on the disk once ``COMMIT`` returns.  Writes outside
:meth:`SqliteDB.transaction` are refused, so that nobody stores half a block by mistake.  One process holds the file, by
an ``flock`` on ``<file>.lock``, which the system drops with the process; the lock file itself stays.  Not thread-safe.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eth.db.backends.base import BaseDB

from ledger.errors import BackendError

_APPLICATION_ID = 0x544D524B  # "TMRK"
_VERSION = 1


class SqliteDB(BaseDB):
    """Bytes by bytes; a missing key is a ``KeyError``, as py-evm expects."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it (its folder must exist).

        Raises:
            BackendError: another process (or another object here) has it open; it is another kind of file; the disk.
        """
        try:
            with ExitStack() as undo:
                self._lock = undo.enter_context(_hold(path))
                self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                undo.callback(self._connection.close)
                self._prepare(path)
                undo.pop_all()
        except sqlite3.Error as e:
            raise BackendError(f"{path} cannot be used as a chain file: {e}") from e

    def _prepare(self, path: Path) -> None:
        connection = self._connection
        found = connection.execute("PRAGMA application_id").fetchone()[0], self._version()
        if found not in ((0, 0), (_APPLICATION_ID, _VERSION)):
            raise BackendError(f"{path} is no chain file of version {_VERSION}")
        if found == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise BackendError(f"{path} is a database of something else")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if found == (0, 0):
            # One transaction: a crash leaves a new file or a prepared one.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE chain (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
            connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={_VERSION}")
            connection.execute("COMMIT")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together when the block ends, or none do when it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # after some errors SQLite has rolled back by itself
                self._connection.execute("ROLLBACK")
            raise

    def __getitem__(self, key: bytes) -> bytes:
        row = self._connection.execute("SELECT value FROM chain WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._writable()
        self._connection.execute("INSERT OR REPLACE INTO chain VALUES (?, ?)", (key, value))

    def __delitem__(self, key: bytes) -> None:
        self._writable()
        if not self._connection.execute("DELETE FROM chain WHERE key = ?", (key,)).rowcount:
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._connection.execute("SELECT 1 FROM chain WHERE key = ?", (key,)).fetchone() is not None

    def _writable(self) -> None:
        if not self._connection.in_transaction:
            raise RuntimeError("a write outside a transaction")

    def close(self) -> None:
        """Closes the file and lets it go; may be called twice."""
        self._connection.close()
        self._lock.close()


def _hold(path: Path) -> BinaryIO:
    """Returns the open lock file; closing it lets the lock go."""
    try:
        lock = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as e:
        raise BackendError(f"the lock file beside {path} cannot be opened: {e.strerror}") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        lock.close()
        raise BackendError(f"{path} is in use by another process", code="chain-in-use") from e
    return lock
