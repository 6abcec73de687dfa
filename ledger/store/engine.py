"""Opening the database, its transactions, and its errors as ours; the same for SQLite and PostgreSQL.

What differs stands in :mod:`ledger.store.sqlite` and :mod:`ledger.store.postgres`; entries and catalog are written for
any database that is here.  No message ever holds a URL, a user or a password.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import URL, Column, Connection, Engine, Table, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, TimeoutError
from sqlmodel import Session

from ledger.errors import BackendError, MalformedError
from ledger.store import postgres, schema, sqlite

MAX_NUMBER: Final = 2**63 - 1
MAX_COUNT: Final = 2**31 - 1


class _Database(Protocol):
    """What there is of each kind of database."""

    def connect(self, address: URL) -> Engine: ...
    def begin_reading(self, session: Session) -> None: ...
    def begin_writing(self, session: Session) -> None: ...
    def cause_of(self, error: BaseException) -> tuple[str, str] | None: ...
    def insert_many(self, session: Session, table: Table, rows: Sequence[tuple[Any, ...]]) -> None: ...
    def insert_once(self, session: Session, table: Table, row: Mapping[str, Any]) -> bool: ...
    def look_up(
        self, session: Session, columns: Sequence[Column[Any]], digests: Sequence[bytes]
    ) -> list[tuple[Any, ...]]: ...
    def forget(self, session: Session, digests: Sequence[bytes], leaf: int) -> None: ...
    def overwrite_deleted(self, engine: Engine) -> None: ...


_DATABASES: Final[Mapping[str, _Database]] = {"sqlite": sqlite, "postgresql": postgres}


def _of(bound: Engine | Session) -> _Database:
    return _DATABASES[(bound.get_bind() if isinstance(bound, Session) else bound).dialect.name]


def connect(url: str) -> Engine:
    """Returns the engine of the database at `url`, whose tables were not looked at: ``sqlite:////folder/file``, in a
    folder that exists, or ``postgresql://user@host/database``.

    Raises:
        MalformedError: not a URL of a database that can be used.
        BackendError: the file cannot be opened.
    """
    try:
        address = make_url(url)
        database = _DATABASES[address.get_backend_name()]
    except (ArgumentError, KeyError, ValueError) as e:
        # Not shown: a URL may hold a password.
        raise MalformedError("expected sqlite:////folder/file or postgresql://user@host/name", field="database") from e
    return database.connect(address)


def open_engine(url: str) -> Engine:
    """Opens the database at `url` and makes its tables if there are none.

    One of an older version becomes one of this version, in one transaction.

    Raises:
        MalformedError: not a URL of a database that can be used.
        ConflictError: ``schema``: the database is of another version, or of something else; nothing was changed.
        BackendError: it cannot be opened.
    """
    engine = connect(url)
    try:
        prepare(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def prepare(engine: Engine) -> None:
    """Makes the tables, or brings them to this version (:func:`ledger.store.schema.prepare`)."""
    with writing(engine) as session:
        schema.prepare(session.connection())


def check(engine: Engine) -> None:
    """Checks that the tables are of this version, and changes nothing (:func:`ledger.store.schema.check`)."""
    with reading(engine) as session:
        schema.check(session.connection())


def migrate(engine: Engine, version: int) -> None:
    """Brings the tables to `version`, up or down (:func:`ledger.store.schema.migrate`)."""
    with writing(engine) as session:
        schema.migrate(session.connection(), version)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that reads one state of the database."""
    with backend_errors(), Session(engine) as session:
        _of(engine).begin_reading(session)
        yield session


@contextmanager
def writing(bind: Engine | Connection) -> Iterator[Session]:
    """A transaction that is alone in writing from its first step; durable when the block ends, undone if it raises."""
    with backend_errors(), Session(bind) as session, session.begin():
        _of(session).begin_writing(session)
        yield session


@contextmanager
def backend_errors() -> Iterator[None]:
    """Turns the database's errors into BackendError: ``disk-full``, ``read-only``, ``locked``, ``unavailable``,
    ``disk``, ``corrupt`` or ``backend``."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as e:
        code, words = _cause_of(e)
        raise BackendError(words, code=code, field="database") from e


def _cause_of(error: Exception) -> tuple[str, str]:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, TimeoutError):
        return "unavailable", "no connection became free"
    known = next((known for each in _DATABASES.values() if (known := each.cause_of(cause))), None)
    return known or ("backend", type(cause).__name__)


def insert_many(session: Session, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts rows whose values are in the order of the table's columns, in bulk."""
    if rows:
        _of(session).insert_many(session, table, rows)


def insert_once(session: Session, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts a row; returns False, and changes nothing, if its key is there."""
    return _of(session).insert_once(session, table, row)


def look_up(session: Session, columns: Sequence[Column[Any]], digests: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Returns columns of the rows whose first of these columns is one of sorted digests, in no order."""
    return _of(session).look_up(session, columns, digests)


def forget(session: Session, digests: Sequence[bytes], leaf: int) -> None:
    """Deletes the look-up rows that a leaf has under sorted digests."""
    _of(session).forget(session, digests, leaf)


def overwrite_deleted(engine: Engine) -> None:
    """Makes what was deleted disappear from the database's files, as far as it can (see each kind of database)."""
    with backend_errors():
        _of(engine).overwrite_deleted(engine)


def number(value: int, most: int = MAX_NUMBER) -> int:
    """Returns `value` as the database can compare it: what is out of range becomes a number no row has."""
    return max(-1, min(value, most))
