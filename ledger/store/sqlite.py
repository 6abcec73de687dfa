"""What is particular to SQLite: how it is opened, its bulk statements, and what its error codes mean.

Write-ahead log with ``synchronous=FULL``: a transaction is on the disk once it is committed, and readers never wait for
the writer.  The file is readable by its owner only, and what is deleted is overwritten (``secure_delete``), since
deleting is how a payload is erased.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import URL, Column, Connection, Engine, Table, create_engine, delete, event
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session

from ledger.errors import MalformedError
from ledger.store.files import disk_errors
from ledger.store.tables import LOOKUP

BUSY_SECONDS: Final = 10

_CAUSES: Final = {
    sqlite3.SQLITE_FULL: ("disk-full", "the disk is full"),
    sqlite3.SQLITE_READONLY: ("read-only", "the database is read-only"),
    sqlite3.SQLITE_PERM: ("read-only", "permission is denied"),
    sqlite3.SQLITE_BUSY: ("locked", f"the database was locked for {BUSY_SECONDS} seconds"),
    sqlite3.SQLITE_LOCKED: ("locked", "the database is locked"),
    sqlite3.SQLITE_CANTOPEN: ("unavailable", "the file cannot be opened"),
    sqlite3.SQLITE_IOERR: ("disk", "the disk failed"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "the file is damaged"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "the file is no database"),
}


def connect(address: URL) -> Engine:
    """Returns the engine of a file, which is made if it is not there.

    Raises:
        MalformedError: not the path of a file.
        BackendError: the file cannot be opened.
    """
    if address.database in (None, "", ":memory:") or address.query:
        raise MalformedError("expected sqlite:// and the path of a file, nothing else", field="database")
    with disk_errors("database"):
        os.close(os.open(str(address.database), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(
        address.set(drivername="sqlite+pysqlite"),
        connect_args={"timeout": BUSY_SECONDS},
        max_overflow=-1,  # each thread has one connection at most, so threads are the limit
        hide_parameters=True,
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # else the driver begins transactions by itself, and late
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        raise sqlite3.OperationalError("the file system has no write-ahead log")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later could fail at once, whatever the time-out.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def begin_reading(session: Session) -> None:
    """Begins nothing: any transaction reads one state."""


def begin_writing(session: Session) -> None:
    """Begins a transaction that is alone in writing."""
    session.connection(execution_options={"immediate": True})


def cause_of(error: BaseException) -> tuple[str, str] | None:
    """Returns what an error of the driver means, as a code and in words."""
    return _CAUSES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # the rest says more than is of use here


def insert_many(session: Session, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts rows, at least one: the driver's own bulk insert."""
    marks = ", ".join("?" * len(table.columns))
    session.connection().exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", list(rows))


def insert_once(session: Session, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts a row; returns False, and changes nothing, if its key is there."""
    return session.connection().execute(insert(table).values(**row).on_conflict_do_nothing()).rowcount == 1


def look_up(session: Session, columns: Sequence[Column[Any]], digests: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Returns columns of the rows whose first of these columns is one of sorted digests."""
    # Sorted, the look-ups walk the table from one end to the other.
    wanted, marks = ", ".join(column.name for column in columns), ", ".join("?" * len(digests))
    question = f"SELECT {wanted} FROM {columns[0].table} WHERE {columns[0].name} IN ({marks})"
    return [tuple(row) for row in session.connection().exec_driver_sql(question, tuple(digests))]


def forget(session: Session, digests: Sequence[bytes], leaf: int) -> None:
    """Deletes the look-up rows that a leaf has under sorted digests."""
    session.execute(delete(LOOKUP).where(LOOKUP.c.digest.in_(digests), LOOKUP.c.leaf == leaf))


def overwrite_deleted(engine: Engine) -> None:
    """Empties the write-ahead log, which still holds what was deleted from the database.

    If a reader is in the way it is left as it is, until the next call or until the last connection is closed.
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=100")  # meanwhile nobody can write
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        cursor.close()
    finally:
        connection.close()
