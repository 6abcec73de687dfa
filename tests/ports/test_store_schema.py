"""The database's versions: migrations up and down with data in, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from ledger.encoding import sha256
from ledger.errors import BackendError, ConflictError
from ledger.ports import Access, Head, Match
from ledger.store import engine as store_engine
from ledger.store import schema
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import connect, migrate, open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.schema import REVISIONS, SCHEMA
from ledger.store.tables import METADATA
from ledger.tiles import ENTRIES, Tile
from tests.support import VECTORS
from tests.support.postgres import Cluster

BEFORE = VECTORS / "store" / "schema-2.sql"
"""A database with a row in each table, as the program wrote it before there were migrations (sqlite3's ``.dump``)."""

BEFORE_1 = (
    "DROP INDEX ix_manifest_by_leaf",
    "DROP TABLE access",
    "CREATE TABLE access (token_digest BLOB NOT NULL, subject VARCHAR NOT NULL, scopes JSON NOT NULL, "
    "expires_at BIGINT NOT NULL, CONSTRAINT pk_access PRIMARY KEY (token_digest))",
    "CREATE INDEX ix_access_expires_at ON access (expires_at)",
    "INSERT INTO access VALUES (x'00', 'did:key:z6Mk', '[\"publish\"]', 9999999999)",
    "UPDATE schema_version SET version = 1",
)
"""What makes it one of the version before."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trainmark.db"


def write(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def execute(path: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def contents(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Returns all rows of all tables."""
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        return {
            name: sorted((tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))), key=str)
            for name in names
        }


def layout(path: Path) -> list[tuple[object, ...]]:
    """Returns all tables with their columns, and all indices, as SQLite understands them."""
    tables = "SELECT m.name, m.sql LIKE '%WITHOUT ROWID%', c.* FROM sqlite_master m, pragma_table_xinfo(m.name) c"
    indices = "SELECT m.name, i.* FROM sqlite_master m, pragma_index_list(m.name) l, pragma_index_xinfo(l.name) i"
    keys = "SELECT m.name, k.* FROM sqlite_master m, pragma_foreign_key_list(m.name) k"
    rows = [row for question in (tables, indices, keys) for row in execute(path, question)]
    return sorted((row for row in rows if row[0] != REVISIONS), key=str)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    server: Cluster = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def fill(engine: Engine) -> None:
    """Puts rows of the dump into each table."""
    source = sqlite3.connect(":memory:")
    source.executescript(BEFORE.read_text())
    with engine.begin() as connection:
        for table in METADATA.sorted_tables:
            names = [column.name for column in table.columns]
            rows = source.execute(f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table.name)}").fetchall()
            assert rows, table.name
            values = [dict(zip(names, row, strict=True)) for row in rows]
            if table.name == "access":
                values = [{**value, "scopes": ["publish"]} for value in values]
            connection.execute(table.insert(), values)
    source.close()


def quoted(name: str) -> str:
    return f'"{name}"'


def test_the_migrations_lead_to_the_tables_there_are(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": REVISIONS, "target_metadata": METADATA}
        )
        assert compare_metadata(context, METADATA) == []


def test_the_last_migration_is_of_this_version() -> None:
    folder = Path(schema.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == f"{SCHEMA:04}"


def test_sqlite_has_the_tables_exactly(path: Path, tmp_path: Path) -> None:
    open_engine(f"sqlite:///{path}").dispose()
    plain = create_engine(f"sqlite:///{tmp_path / 'plain.db'}")
    METADATA.create_all(plain)
    plain.dispose()
    assert layout(path) == layout(tmp_path / "plain.db")


def test_down_and_up_keep_what_both_versions_have(engine: Engine) -> None:
    fill(engine)
    before = contents(engine)
    migrate(engine, 1)
    down = contents(engine)
    assert down[REVISIONS] == [("0001",)]
    assert down["access"] == []
    with engine.connect() as connection:
        assert "key" not in {column["name"] for column in inspect(connection).get_columns("access")}
        assert "ix_manifest_by_leaf" not in {index["name"] for index in inspect(connection).get_indexes("manifest")}
    store_engine.prepare(engine)
    assert contents(engine) == {**before, "access": []}
    with engine.connect() as connection:
        assert "ix_manifest_by_leaf" in {index["name"] for index in inspect(connection).get_indexes("manifest")}


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    fill(engine)
    migrate(engine, 0)
    assert contents(engine) == {REVISIONS: []}
    store_engine.prepare(engine)
    assert set(contents(engine)) == {*METADATA.tables, REVISIONS}
    fill(engine)


@pytest.mark.parametrize("version", [-1, SCHEMA + 1])
def test_no_version_that_is_not_known(engine: Engine, version: int) -> None:
    with pytest.raises(ValueError, match=f"a version is 0 to {SCHEMA}"):
        migrate(engine, version)


def test_a_step_that_fails_undoes_all_steps(engine: Engine, url: str) -> None:
    fill(engine)
    migrate(engine, 1)
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_manifest_by_leaf ON manifest (place)"))  # in the way of the last step
    before = contents(engine)
    with pytest.raises(BackendError):
        open_engine(url)
    assert contents(engine) == before
    with engine.connect() as connection:
        assert "key" not in {column["name"] for column in inspect(connection).get_columns("access")}


def check_before(engine: Engine, tmp_path: Path, access: bool) -> None:
    """Checks that what the dump holds is found through the ports."""
    entries = SqlEntryStore(engine, tmp_path / "lock")
    assert entries.head() == Head(2, bytes(32), b"note of 2")
    assert list(entries.leaves(0, 2)) == [b"leaf 0", b"leaf 1"]
    assert entries.staged() == [(Tile(ENTRIES, 0, 2), b"two leaves")]
    catalog = SqlCatalog(engine)
    record = catalog.manifest(0)
    assert record is not None
    assert (record.by, record.place, record.license) == ("did:key:z6Mk", "place/a/1/1", sha256(b"license"))
    [first, second] = catalog.entries(0, 0, 10)
    assert b'"a.jpg"' in first
    assert b'"b.jpg"' in second
    assert catalog.find([sha256(b"x")]) == {sha256(b"x"): [Match(0, 0, "content")]}
    assert catalog.license(sha256(b"license")) == (b"terms", b"text")
    assert catalog.statuses(0) == {5: 1}
    [token] = catalog.tokens(None, None, 10)
    assert (token.leaf, token.sd_jwt) == (1, "jwt.1.sig~disclosure~")
    assert [row.transaction for row in catalog.anchors(None, 10)] == ["0x1"]
    assert not catalog.use_once("word", 4_000_000_000, 1)
    found = catalog.access(sha256(b"bearer"), 1)
    assert found == (
        Access(sha256(b"bearer"), "did:key:z6Mk", "did:key:z6MkKey", ("publish",), 4_000_000_000) if access else None
    )
    entries.commit(2, Head(3, sha256(b"3"), b"note of 3"), [b"leaf 2"], [])
    entries.close()


def test_a_database_from_before_the_migrations(path: Path, tmp_path: Path) -> None:
    write(path, BEFORE.read_text())
    check_before(open_engine(f"sqlite:///{path}"), tmp_path, access=True)
    open_engine(f"sqlite:///{tmp_path / 'new.db'}").dispose()
    assert layout(path) == layout(tmp_path / "new.db")


def test_a_database_of_the_first_version(path: Path, tmp_path: Path) -> None:
    write(path, BEFORE.read_text() + ";\n".join(BEFORE_1))
    engine = open_engine(f"sqlite:///{path}")
    assert SqlCatalog(engine).access(b"\0", 0) is None  # it named no key
    check_before(engine, tmp_path, access=False)
    open_engine(f"sqlite:///{tmp_path / 'new.db'}").dispose()
    assert layout(path) == layout(tmp_path / "new.db")


def test_taking_over_a_database_that_fails_changes_nothing(path: Path) -> None:
    write(path, BEFORE.read_text() + ";\n".join(BEFORE_1) + ";DROP TABLE access")
    before = layout(path)
    with pytest.raises(BackendError):
        open_engine(f"sqlite:///{path}")
    assert execute(path, "SELECT version FROM schema_version") == [(1,)]
    assert layout(path) == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE schema_version SET version = 3", "schema 3, this program"),
        ("DELETE FROM schema_version", "schema unknown, this program"),
        ("UPDATE schema_version SET version = 0", f"schema 0, this program {SCHEMA}"),
        ("INSERT INTO schema_version VALUES (7)", f"schema 2, 7, this program {SCHEMA}"),
        ("DROP TABLE schema_version", "something else"),
    ],
)
def test_a_database_from_before_of_an_unknown_version(path: Path, statement: str, message: str) -> None:
    write(path, BEFORE.read_text() + statement)
    before = layout(path)
    with pytest.raises(ConflictError, match=message):
        open_engine(f"sqlite:///{path}")
    assert layout(path) == before


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (f"UPDATE {REVISIONS} SET version_num = '0003'", f"schema 3, this program {SCHEMA}; a newer Trainmark"),
        (f"UPDATE {REVISIONS} SET version_num = 'ae1027a6acf'", f"schema 0, this program {SCHEMA}"),
        (f"DELETE FROM {REVISIONS}", f"schema unknown, this program {SCHEMA}"),
        (f"INSERT INTO {REVISIONS} VALUES ('0007')", f"schema 2, 7, this program {SCHEMA}"),
        (f"DROP TABLE {REVISIONS}", "something else"),
    ],
)
def test_a_database_of_an_unknown_version_is_left_alone(engine: Engine, url: str, statement: str, message: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))
    before = contents(engine)
    with pytest.raises(ConflictError, match=message) as caught:
        open_engine(url)
    assert caught.value.code == "schema"
    assert contents(engine) == before


def test_a_database_of_something_else_gets_no_tables(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (x INTEGER)"))
    with pytest.raises(ConflictError, match="something else"):
        open_engine(url)
    assert contents(engine) == {"theirs": []}
    engine.dispose()
