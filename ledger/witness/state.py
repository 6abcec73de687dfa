"""What a witness remembers: of each log the checkpoint that it cosigned last, in one SQLite file.

A witness that forgets may cosign two histories of one log.  So the file says whose it is before there is a key, a key
without a file that says so is refused, and a copy of an older day must never take the file's place: whoever lost it
starts a new witness, with another key.

What was cosigned is in this one file, never in another beside it, which a copy may leave behind: a rollback journal
holds only what was there before.  Its end is the commit, so the folder is synced as well (``synchronous = EXTRA``).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.errors import BackendError, RefusedError
from ledger.files import shown_path
from ledger.note import check_name
from ledger.witnessing import Seen

STATE_FILE: Final = "witness.db"
BUSY_SECONDS: Final = 10.0

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS witness (name TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, "
    "at INTEGER NOT NULL, note BLOB NOT NULL) STRICT",
)


def forgotten(why: str) -> RefusedError:
    """Returns the refusal (``witness-state``) of a witness that lost its state or its key."""
    return RefusedError(
        f"{why}: a witness that does not know what it cosigned must not go on under its key; "
        "start another one in another folder",
        code="witness-state",
        field="folder",
    )


class WitnessState:
    """The file of the witness `name`, begun with `create`; safe to use from several threads, and beside other
    processes.

    Raises:
        RefusedError: ``witness-state``: it is missing, or nobody's, and is not to be begun; ``other-witness``: it is
            that of a witness of another name.  Nothing is changed.
        BackendError: the file cannot be used.
    """

    def __init__(self, path: Path, name: str, *, create: bool) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()
        check_name(name, "name")
        if not create and not path.exists():
            raise forgotten(f"{path.name} is missing")
        with self._errors():
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._db.execute("PRAGMA journal_mode = DELETE")
                self._db.execute("PRAGMA synchronous = EXTRA")
                with self._transaction():
                    self._begin(name, create)
        except BaseException:
            self._db.close()
            raise

    def _begin(self, name: str, create: bool) -> None:
        for table in _TABLES:
            self._db.execute(table)
        row = self._db.execute("SELECT name FROM witness").fetchone()
        if row is None and not create:
            raise forgotten(f"{self._path.name} is empty")
        if row is None:
            self._db.execute("INSERT INTO witness VALUES (?)", (name,))
        elif row[0] != name:
            raise RefusedError(
                f"{shown_path(self._path)} is the state of {row[0]}, not of {name}", code="other-witness", field="name"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as e:
            raise BackendError(f"cannot use {shown_path(self._path)}: {e}", code="witness-state") from e

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a failed COMMIT may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    def is_empty(self) -> bool:
        """Returns whether nothing was cosigned yet."""
        with self._one_at_a_time, self._errors():
            return self._db.execute("SELECT 1 FROM seen LIMIT 1").fetchone() is None

    def seen(self, origin: str) -> Seen:
        """Returns what is held of the log `origin`: nothing of an unknown one."""
        with self._one_at_a_time, self._errors():
            return self._read(origin)

    def _read(self, origin: str) -> Seen:
        row = self._db.execute("SELECT size, root, at FROM seen WHERE origin = ?", (origin,)).fetchone()
        return Seen() if row is None else Seen(*row)

    def advance(self, origin: str, note: bytes, decide: Callable[[Seen], Seen]) -> Seen:
        """Puts what `decide` makes of what is held in its place, and returns it, durable; `note` is the checkpoint.

        Nothing comes between: neither another request nor another process.  Whatever `decide` raises changes nothing.
        """
        with self._one_at_a_time, self._errors(), self._transaction():
            new = decide(self._read(origin))
            self._db.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", (origin, new.size, new.root, new.at, note)
            )
        return new

    def close(self) -> None:
        """Closes the file; may be called twice."""
        with self._one_at_a_time:
            self._db.close()
