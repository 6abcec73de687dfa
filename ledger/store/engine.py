"""Opening the database, its transactions, and its errors as ours.

SQLite is what there is: write-ahead log with ``synchronous=FULL``, so that a transaction is on the disk once it is
committed and readers never wait for the writer.  All that is particular to it stands here; entries and catalog are
written for any database.  The file is readable by its owner only, and what is deleted is overwritten
(``secure_delete``), since deleting is how a payload is erased.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, inspect, make_url, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlmodel import Session

from ledger.errors import BackendError, ConflictError, MalformedError
from ledger.store.files import disk_errors
from ledger.store.tables import METADATA, SCHEMA, STEPS, VERSION

BUSY_SECONDS: Final = 10
"""How long a transaction waits for another's before it fails with ``locked``."""

MAX_NUMBER: Final = 2**63 - 1

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


def open_engine(url: str) -> Engine:
    """Opens the database at `url` (``sqlite:////folder/file``), and makes it if it is not there; its folder must exist.

    One of an older version becomes one of this version, in one transaction.

    Raises:
        MalformedError: not a URL of a database that can be used.
        ConflictError: ``schema``: the database is of another version, or of something else; nothing was changed.
        BackendError: it cannot be opened.
    """
    try:
        address = make_url(url)
    except ArgumentError as e:
        raise MalformedError("expected a URL like sqlite:////folder/file", field="database") from e
    if address.get_backend_name() != "sqlite" or address.database in (None, "", ":memory:") or address.query:
        # Not shown: a URL may hold a password.
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
    try:
        with writing(engine) as session:
            _check_schema(session.connection())
    except BaseException:
        engine.dispose()
        raise
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


def _check_schema(connection: Connection) -> None:
    names = inspect(connection).get_table_names()
    if not names:
        METADATA.create_all(connection)
        connection.execute(insert(VERSION).values(version=SCHEMA))
        return
    if VERSION.name not in names:
        raise ConflictError("the file holds a database of something else", code="schema", field="database")
    found = list(connection.execute(select(VERSION.c.version)).scalars())
    if len(found) == 1 and found[0] in STEPS:
        for version in range(found[0], SCHEMA):
            for statement in STEPS[version]:
                connection.exec_driver_sql(statement)
        connection.execute(update(VERSION).values(version=SCHEMA))
        return
    if found != [SCHEMA]:
        newer = len(found) == 1 and found[0] > SCHEMA
        raise ConflictError(
            f"the database has schema {', '.join(map(str, found)) or 'unknown'}, this program {SCHEMA}"
            + ("; a newer Trainmark wrote it" if newer else ""),
            code="schema",
            field="database",
        )


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that reads one state of the database."""
    with backend_errors(), Session(engine) as session:
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that is alone in writing from its first step; durable when the block ends, undone if it raises."""
    with backend_errors(), Session(engine) as session, session.begin():
        session.connection(execution_options={"immediate": True})
        yield session


@contextmanager
def backend_errors() -> Iterator[None]:
    """Turns the database's errors into BackendError: ``disk-full``, ``read-only``, ``locked``, ``unavailable``,
    ``disk``, ``corrupt`` or ``backend``."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as e:
        cause = e.orig if isinstance(e, DBAPIError) else e
        number = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the rest says more than is of use here
        code, words = _CAUSES.get(number, ("backend", type(cause).__name__))
        raise BackendError(words, code=code, field="database") from e


def insert_many(session: Session, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    """Inserts rows whose values are in the order of the table's columns: the driver's own bulk insert."""
    if rows:
        marks = ", ".join("?" * len(table.columns))
        session.connection().exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", list(rows))


def insert_once(session: Session, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts a row; returns False, and changes nothing, if its key is there."""
    result = session.connection().execute(sqlite_insert(table).values(**row).on_conflict_do_nothing())
    return result.rowcount == 1


def overwrite_deleted(engine: Engine) -> None:
    """Empties the write-ahead log, which still holds what was deleted from the database.

    If a reader is in the way it is left as it is, until the next call or until the last connection is closed.
    """
    with backend_errors():
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout=100")  # meanwhile nobody can write
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
            cursor.close()
        finally:
            connection.close()


def number(value: int) -> int:
    """Returns `value` as the database can compare it: what is out of range becomes a number no row has."""
    return max(-1, min(value, MAX_NUMBER))
