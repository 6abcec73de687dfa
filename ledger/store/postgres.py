"""What is particular to PostgreSQL: how it is opened, its locks and bulk statements, and what its error codes mean.

A writing transaction takes an advisory lock first and so is alone in writing, as on SQLite: what it has read stays true
until it commits, and none fails because another was first.  A reading one sees one state (``REPEATABLE READ``).  Locks
are named by a number of ours and the schema in which the tables are, so several registries may share a database, each
in a schema of its own.

What is deleted is given free by ``VACUUM``, not overwritten; the write-ahead log, replicas and backups keep it for as
long as the operator keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session

from ledger.errors import ConflictError, MalformedError
from ledger.store import rules
from ledger.store.tables import ERASABLE, LOOKUP

BUSY_SECONDS: Final = 10
CONNECT_SECONDS: Final = 10
GONE_SECONDS: Final = 30
"""After so long without an answer either side takes the other for gone."""

WRITING: Final = 0x544D_0001
WRITER: Final = 0x544D_0002
"""The locks: of each writing transaction, and of the log's one writer for as long as it lives."""

_SCHEMA: Final = "quote_ident(current_schema())::regnamespace::oid"
_KEYS: Final = f"{{}}, {_SCHEMA}::int4"
_BINARY: Final = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (LargeBinary, "bytea"),
    (String, "text"),
)

_DISK: Final = "the server's disk failed"
_CAUSES: Final = {
    "53100": ("disk-full", "the server's disk is full"),
    "25006": ("read-only", "the database is read-only"),
    "42501": ("read-only", "permission is denied, or the disk is read-only"),
    "40001": ("locked", "another transaction was first"),
    "40P01": ("locked", "another transaction was first"),
    "55P03": ("locked", f"the database was locked for {BUSY_SECONDS} seconds"),
    "58030": ("disk", _DISK),
    "58P01": ("disk", _DISK),
    "XX001": ("corrupt", "the server's files are damaged"),
    "XX002": ("corrupt", "an index of the server is damaged"),
    "57P01": ("unavailable", "the server ended the connection"),
    "57P02": ("unavailable", "the server is restarting"),
    "57P05": ("unavailable", "the server ended the connection"),
}


def connect(address: URL) -> Engine:
    """Returns the engine of a database, which must exist; tables are found in the first schema of its search path.

    Raises:
        MalformedError: not the URL of a database.
    """
    if address.drivername not in ("postgresql", "postgresql+psycopg") or not address.database:
        raise MalformedError("expected postgresql://user@host/database", field="database")
    known = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": GONE_SECONDS // 3,
        "keepalives_interval": GONE_SECONDS // 6,
        "keepalives_count": 3,
        "tcp_user_timeout": GONE_SECONDS * 1000,
        "application_name": "trainmark",
        "client_encoding": "utf8",
    }
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        connect_args={name: value for name, value in known.items() if name not in address.query},
        isolation_level="READ COMMITTED",
        max_overflow=-1,  # each thread has one connection at most, so threads are the limit
        pool_pre_ping=True,  # a server that was started anew has ended those of before
        hide_parameters=True,
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: psycopg.Connection[Any], _: object) -> None:
    if connection.info.parameter_status("server_encoding") != "UTF8":
        connection.close()
        raise ConflictError("the database's encoding is not UTF8", code="schema", field="database")
    settings = (
        "SELECT current_schema(),"
        f" set_config('lock_timeout', '{BUSY_SECONDS}s', false),"
        # `off` would lose what was acknowledged.
        " set_config('synchronous_commit',"
        " replace(current_setting('synchronous_commit'), 'off', 'on'), false),"
        # How soon the server notices that this machine is gone, and frees its locks.
        f" set_config('tcp_keepalives_idle', '{GONE_SECONDS // 3}', false),"
        f" set_config('tcp_keepalives_interval', '{GONE_SECONDS // 6}', false),"
        " set_config('tcp_keepalives_count', '3', false),"
        f" set_config('tcp_user_timeout', '{GONE_SECONDS}s', false)"
    )
    found = connection.execute(settings).fetchone()
    connection.commit()
    if found is None or found[0] is None:
        connection.close()
        raise ConflictError("the search path names no schema of the database", code="schema", field="database")


def begin_reading(session: Session) -> None:
    """Begins a transaction that reads one state."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})


def begin_writing(session: Session) -> None:
    """Begins a transaction that is alone in writing."""
    session.connection().exec_driver_sql(f"SELECT pg_advisory_xact_lock({_KEYS.format(WRITING)})")


def cause_of(error: BaseException) -> tuple[str, str] | None:
    """Returns what an error of the driver means, as a code and in words."""
    if not isinstance(error, psycopg.Error):
        return None
    code = error.sqlstate or ""
    if not code and isinstance(error, psycopg.OperationalError):
        # Why a connection was refused is said in words only, and those name host and user.
        return "unavailable", "the server cannot be reached, refuses the connection, or has ended it"
    if code.startswith("08"):
        return "unavailable", "the connection was lost"
    return _CAUSES.get(code)


def insert_many(session: Session, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts rows, at least one, by ``COPY`` in its binary form."""
    types = [next(name for kind, name in _BINARY if isinstance(column.type, kind)) for column in table.columns]
    driver: psycopg.Connection[Any] = _driver(session)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def insert_once(session: Session, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts a row; returns False, and changes nothing, if its key is there."""
    added = insert(table).values(**row).on_conflict_do_nothing().returning(text("1"))
    return session.execute(added).first() is not None


def look_up(session: Session, columns: Sequence[Column[Any]], digests: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Returns columns of the rows whose first of these columns is one of sorted digests."""
    # A join with the array is an index look-up for each; `= ANY` would be a scan on some plans.
    wanted, table = ", ".join(f"t.{column.name}" for column in columns), columns[0].table
    question = f"SELECT {wanted} FROM unnest(%(digests)b::bytea[]) AS q (d) JOIN {table} t ON t.{columns[0].name} = q.d"
    with _driver(session).cursor(binary=True) as cursor:
        return cursor.execute(question, {"digests": list(digests)}).fetchall()


def forget(session: Session, digests: Sequence[bytes], leaf: int) -> None:
    """Deletes the look-up rows that a leaf has under sorted digests."""
    question = (
        f"DELETE FROM {LOOKUP.name} l USING unnest(%(digests)b::bytea[]) AS q (d)"
        " WHERE l.digest = q.d AND l.leaf = %(leaf)s"
    )
    with _driver(session).cursor() as cursor:
        cursor.execute(question, {"digests": list(digests), "leaf": leaf})


def overwrite_deleted(engine: Engine) -> None:
    """Gives free what was deleted; what another ``VACUUM`` is busy with is left to it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {', '.join(table.name for table in ERASABLE)}")


def take(connection: Connection, application_name: str) -> int:
    """Takes the log's one writer's lock for this connection, which is named, until it ends or gives it back.

    Returns the number of the server's process behind the connection: whoever has the lock writes on that one.

    Raises:
        ConflictError: ``second-writer``: another has it.
        RefusedError: ``not-writer``: that process has it already, and so serves another connection too.
    """
    connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": application_name})
    process = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    if _holds(connection, process):  # taking it again would succeed
        raise rules.shared_session()
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_KEYS.format(WRITER)})").scalar():
        holder = connection.exec_driver_sql(f"SELECT a.application_name {_HOLDERS} LIMIT 1").scalar()
        raise rules.second_writer(holder or "another process")
    connection.commit()
    return process


def is_held(session: Session, process: int) -> bool:
    """Returns whether this very connection is still of that process of the server, and it holds the log's one writer's
    lock: the server's word, not a memory of it."""
    return _holds(session.connection(), process)


def _holds(connection: Connection, process: int) -> bool:
    question = f"SELECT count(*) {_HOLDERS} AND a.pid = pg_backend_pid() AND a.pid = {process}"
    return connection.exec_driver_sql(question).scalar() == 1


_HOLDERS: Final = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.database"
    " WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
    f" AND l.classid = {WRITER} AND l.objid = {_SCHEMA}"
)


def _driver(session: Session) -> psycopg.Connection[Any]:
    """Returns the driver's connection under a session whose transaction has begun."""
    driver: psycopg.Connection[Any] = session.connection().connection.dbapi_connection  # type: ignore[assignment]
    return driver
