"""Opening a SQLite database, and what its errors become."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest
from sqlalchemy import Engine, event

from ledger.errors import BackendError, ConflictError, MalformedError
from ledger.ports import Head
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.schema import REVISIONS, SCHEMA
from ledger.store.tables import METADATA


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainmark.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def set_on_connect(engine: Engine, pragma: str) -> None:
    """Makes all connections from now on begin with a setting."""
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))


def test_a_new_database_holds_all_tables_and_its_version(engine: Engine, path: Path) -> None:
    names = {name for (name,) in execute(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert names == {*METADATA.tables, REVISIONS}
    assert execute(path, "SELECT version_num FROM schema_revision") == [(f"{SCHEMA:04}",)]
    assert S_IMODE(path.stat().st_mode) == 0o600


def test_each_connection_is_durable_and_keeps_keys(engine: Engine) -> None:
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            settings = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in settings]
            assert found == ["wal", 2, 1, 1]


def test_the_look_up_table_is_its_own_index(engine: Engine) -> None:
    # Half the size and no second look-up.
    with engine.connect() as connection:
        plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM lookup WHERE digest IN (x'00', x'01')")
        assert "USING PRIMARY KEY (digest=?)" in str(plan.all())


def test_a_partys_manifests_are_found_by_an_index(engine: Engine) -> None:
    with engine.connect() as connection:
        page = "SELECT * FROM manifest WHERE by = 'x' AND leaf < 9 ORDER BY leaf DESC LIMIT 2"
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {page}").all())
    assert "ix_manifest_by_leaf (by=? AND leaf<?)" in plan
    assert "SORT" not in plan.replace("_", " ").upper()


@pytest.mark.parametrize(
    "url",
    [
        *("", "trainmark.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:////tmp/x.db?mode=memory"),
        *("nonsense://me:secret@host/x", "://", "mysql://me:secret@host/x", "postgresql://me:secret@host"),
        *("postgresql+asyncpg://me:secret@host/x", "postgresql://me:secret@host:port/x"),
    ],
)
def test_what_is_no_address_of_a_database(url: str) -> None:
    with pytest.raises(MalformedError, match="database: expected") as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


def test_a_database_of_something_else_gets_no_tables(path: Path) -> None:
    execute(path, "CREATE TABLE theirs (x)")
    with pytest.raises(ConflictError, match="something else"):
        open_engine(f"sqlite:///{path}")
    assert execute(path, "SELECT name FROM sqlite_master") == [("theirs",)]


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database, but longer than a header " * 10)
    with pytest.raises(BackendError, match="no database") as caught:
        open_engine(f"sqlite:///{path}")
    assert caught.value.code == "corrupt"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such file"):
        open_engine(f"sqlite:///{tmp_path}/none/trainmark.db")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="Is a directory"):
        open_engine(f"sqlite:///{tmp_path}")


HEAD = Head(1, bytes(32), b"note")


def check_unwritten(engine: Engine, path: Path, code: str, message: str) -> None:
    """A commit fails for that reason, tells nothing of what was written, and leaves nothing behind."""
    store = SqlEntryStore(engine, path.with_suffix(".lock"))
    with pytest.raises(BackendError, match=message) as caught:
        store.commit(0, HEAD, [b"confidential" * 5_000], [])
    assert caught.value.code == code
    assert "confidential" not in f"{caught.value} {caught.value.__cause__}"
    assert store.head() is None
    assert list(store.leaves(0, 0)) == []
    store.close()


def test_a_full_disk(engine: Engine, path: Path) -> None:
    set_on_connect(engine, "max_page_count=1")  # SQLite lifts it to the size the file has: not one page more
    check_unwritten(engine, path, "disk-full", "the disk is full")


def test_a_read_only_database(engine: Engine, path: Path) -> None:
    set_on_connect(engine, "query_only=ON")
    check_unwritten(engine, path, "read-only", "read-only")


def test_a_locked_database(engine: Engine, path: Path) -> None:
    set_on_connect(engine, "busy_timeout=50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    check_unwritten(engine, path, "locked", "locked")
    other.execute("ROLLBACK")
    other.close()
    store = SqlEntryStore(engine, path.with_suffix(".lock"))
    store.commit(0, HEAD, [b"leaf"], [])
    assert store.head() == HEAD
    store.close()


def test_a_damaged_database(engine: Engine, path: Path) -> None:
    engine.dispose()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(BackendError, match="damaged") as caught:
        SqlCatalog(engine).manifests(None, 10)
    assert caught.value.code == "corrupt"
