"""What only a PostgreSQL can show: its lock, its errors as ours, what it does with what is erased."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.encoding import b64url_encode, sha256
from ledger.errors import BackendError, ConflictError, RefusedError
from ledger.manifests import Entry
from ledger.ports import Head
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import backend_errors, connect, open_engine, reading, writing
from ledger.store.entries import SqlEntryStore
from ledger.store.locks import SessionLock
from ledger.store.postgres import take
from tests.ports.test_catalog import digest, entry, record
from tests.support import ROOT
from tests.support.postgres import MISSING, USER, Cluster, cluster, program

HEAD = Head(1, bytes(32), b"note")
BIG = Head(400, bytes(32), b"note")
WRITER = "application_name LIKE 'process %'"


@pytest.fixture
def name(postgres: Cluster) -> str:
    return postgres.new_database()


@pytest.fixture
def url(postgres: Cluster, name: str) -> str:
    return postgres.url(name)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


def test_without_a_server_the_tests_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match=r"apt-get install .*postgresql"):
        program("no-such-program")
    assert "postgresql" in MISSING


# The lock.


def test_the_lock_is_of_the_database_whatever_the_folder(url: str, tmp_path: Path) -> None:
    first = SqlEntryStore(open_engine(url), tmp_path / "first.lock")
    with pytest.raises(ConflictError, match=f"process {os.getpid()} on ") as caught:
        SqlEntryStore(connect(url), tmp_path / "second.lock")
    assert caught.value.code == "second-writer"
    first.close()
    second = SqlEntryStore(connect(url), tmp_path / "second.lock")  # and the folder's lock was given back
    second.commit(0, HEAD, [b"leaf"], [])
    second.close()


def test_two_schemas_of_a_database_are_two_logs(postgres: Cluster, name: str, tmp_path: Path) -> None:
    stores = []
    for schema in ("one", "Two-2"):
        postgres.execute(f'CREATE SCHEMA "{schema}"', name)
        engine = open_engine(f"{postgres.url(name)}&options=-csearch_path%3D%22{schema}%22")
        stores.append(SqlEntryStore(engine, tmp_path / schema))
        stores[-1].commit(0, Head(1, bytes(32), schema.encode()), [schema.encode()], [])
    assert [store.leaf(0) for store in stores] == [b"one", b"Two-2"]
    for store in stores:
        store.close()


def test_a_writer_whose_connection_is_ended_writes_no_more(
    postgres: Cluster, engine: Engine, name: str, url: str, tmp_path: Path
) -> None:
    old = SqlEntryStore(engine, tmp_path / "old.lock")
    old.commit(0, HEAD, [b"leaf"], [])
    assert postgres.end_connections(name, WRITER) == 1
    new = SqlEntryStore(open_engine(url), tmp_path / "new.lock", patience=10)
    with pytest.raises(BackendError) as caught:
        old.commit(1, Head(2, bytes(32), b"of the old"), [b"old"], [])
    assert caught.value.code == "unavailable"
    for _ in range(2):  # now it knows, and asks no more
        with pytest.raises(RefusedError) as refused:
            old.published()
        assert refused.value.code == "not-writer"
    with pytest.raises(RefusedError):
        old.check_writer()
    assert old.head() == HEAD  # reading goes on
    new.check_writer()
    new.commit(1, Head(2, bytes(32), b"of the new"), [b"new"], [])
    with pytest.raises(RefusedError):
        old.commit(2, Head(3, bytes(32), b"of the old"), [b"old"], [])
    assert list(new.leaves(0, 2)) == [b"leaf", b"new"]
    old.close()
    new.close()


def test_a_lock_that_the_server_does_not_know_of_is_none(engine: Engine, tmp_path: Path) -> None:
    # A pooler between us and the server may hand the connection, and with it the lock, to somebody else.
    store = SqlEntryStore(engine, tmp_path / "lock")
    assert store._session is not None
    with engine.connect() as _, store._session._connection.begin():
        store._session._connection.execute(text("SELECT pg_advisory_unlock_all()"))
    with pytest.raises(RefusedError, match="was lost"):
        store.commit(0, HEAD, [b"leaf"], [])
    with pytest.raises(RefusedError):
        store.published()
    assert store.head() is None
    store.close()


def test_a_session_that_several_share_is_not_locked_twice(engine: Engine) -> None:
    """A pooler that hands out sessions by the transaction may give two processes the same one."""
    with engine.connect() as shared:
        assert take(shared, "process 1") == shared.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with pytest.raises(RefusedError, match="pooler that gives the session of the log's writer") as caught:
            take(shared, "process 2")
        assert (caught.value.code, caught.value.field) == ("not-writer", "database")


def test_a_lock_that_another_session_holds_is_none(engine: Engine, tmp_path: Path) -> None:
    """Such a pooler may hand over the session of the writer that came after."""
    store = SqlEntryStore(engine, tmp_path / "lock")
    assert store._session is not None
    store._session._connection.close()
    with engine.connect() as other:
        take(other, "process 2")
        store._session._connection = other
        with pytest.raises(RefusedError, match="was lost"):
            store.commit(0, HEAD, [b"leaf"], [])
    store.close()


def test_the_lock_of_a_dead_process_is_free_though_its_child_lives(url: str, tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from ledger.store.engine import connect; from ledger.store.locks import SessionLock\n"
        "lock = SessionLock(connect(sys.argv[1]))\n"
        "if not os.fork(): print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        engine = connect(url)
        try:
            with pytest.raises(ConflictError, match=f"process {process.pid} on "):
                SessionLock(engine)
            process.kill()
            process.wait(10)
            store = SqlEntryStore(engine, tmp_path / "lock", patience=5)
            os.kill(child, 0)  # it was alive all the time
            store.close()
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_who_waits_gets_the_lock_when_it_is_given_back(url: str, tmp_path: Path) -> None:
    first = SqlEntryStore(open_engine(url), tmp_path / "first.lock")
    threading.Timer(0.3, first.close).start()
    begun = time.monotonic()
    second = SqlEntryStore(connect(url), tmp_path / "second.lock", patience=10)
    assert 0.2 < time.monotonic() - begun < 8
    second.commit(0, HEAD, [b"leaf"], [])
    second.close()


def test_patience_has_an_end(url: str, tmp_path: Path) -> None:
    first = SqlEntryStore(open_engine(url), tmp_path / "first.lock")
    begun = time.monotonic()
    with pytest.raises(ConflictError):
        SqlEntryStore(connect(url), tmp_path / "second.lock", patience=0.3)
    assert time.monotonic() - begun < 5
    first.close()


def test_a_long_catalog_transaction_does_not_hold_up_the_log(engine: Engine, tmp_path: Path) -> None:
    store = SqlEntryStore(engine, tmp_path / "lock")
    with writing(engine):
        store.commit(0, HEAD, [b"leaf"], [])
    assert store.head() == HEAD
    store.close()


# Transactions, and errors as ours.


def check_unwritten(engine: Engine, lock: Path, code: str, message: str) -> None:
    """A commit fails for that reason, tells nothing of what was written, and leaves nothing behind."""
    store = SqlEntryStore(engine, lock)
    with pytest.raises(BackendError, match=message) as caught:
        store.commit(0, BIG, [os.urandom(50_000) + b"confidential" for _ in range(BIG.size)], [])
    assert caught.value.code == code
    assert "confidential" not in f"{caught.value} {caught.value.__cause__}"
    assert store.head() is None
    assert list(store.leaves(0, 0)) == []
    store.close()


def test_each_transaction_is_durable_and_waits_so_long(postgres: Cluster, name: str, url: str) -> None:
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine = open_engine(url)
    with reading(engine) as session:
        found = [session.execute(text(f"SHOW {name}")).scalar() for name in ("synchronous_commit", "lock_timeout")]
    assert found == ["on", "10s"]
    engine.dispose()


def test_a_reader_sees_one_state(engine: Engine) -> None:
    catalog = SqlCatalog(engine)
    question = text("SELECT count(*) FROM license")
    with reading(engine) as session:
        assert session.execute(question).scalar() == 0
        catalog.add_license(digest("license"), b"terms", b"text")
        assert session.execute(question).scalar() == 0
        with pytest.raises(BackendError) as caught, backend_errors():
            session.execute(text("DELETE FROM license"))
        assert caught.value.code == "read-only"


def test_whatever_the_databases_default_no_transaction_fails_because_another_was_first(
    postgres: Cluster, name: str, url: str
) -> None:
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    catalog = SqlCatalog(open_engine(url))
    failed: list[BaseException] = []

    def add(party: int) -> None:
        try:
            for number in range(20):
                catalog.use_once(f"{party} {number}", 10, 0)
                catalog.reserve_status(0, number)
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=add, args=(party,)) for party in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    catalog.close()


def test_a_serialization_failure_is_told_as_locked(postgres: Cluster, engine: Engine, name: str) -> None:
    SqlCatalog(engine).reserve_status(0, 1)
    with postgres.connect(name) as first, postgres.connect(name) as second:
        for connection in (first, second):
            connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            connection.execute("SELECT * FROM status")
        first.execute("UPDATE status SET value = 1")
        first.execute("COMMIT")
        with pytest.raises(BackendError, match="another transaction was first") as caught, backend_errors():
            second.execute("UPDATE status SET value = 2")
    assert caught.value.code == "locked"


def test_a_locked_database(postgres: Cluster, name: str, url: str) -> None:
    open_engine(url).dispose()
    engine = connect(f"{url}&options=-clock_timeout%3D1s")
    with postgres.connect(name) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE license IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackendError, match="locked for 10 seconds") as caught:
            SqlCatalog(engine).add_license(digest("license"), b"terms", b"text")
        other.execute("ROLLBACK")
    assert caught.value.code == "locked"
    SqlCatalog(engine).add_license(digest("license"), b"terms", b"text")
    assert SqlCatalog(engine).licenses(None, 10) == [digest("license")]
    engine.dispose()


def test_a_read_only_database(postgres: Cluster, name: str, url: str, tmp_path: Path) -> None:
    open_engine(url).dispose()
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    engine = connect(url)
    check_unwritten(engine, tmp_path / "lock", "read-only", "read-only")
    engine.dispose()


def test_a_user_who_may_not_write(postgres: Cluster, name: str, url: str, tmp_path: Path) -> None:
    open_engine(url).dispose()
    postgres.execute("CREATE ROLE reader LOGIN")
    postgres.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", name)
    engine = connect(url.replace("postgres@", "reader@"))
    check_unwritten(engine, tmp_path / "lock", "read-only", "permission is denied")
    engine.dispose()


def test_a_database_of_another_encoding(postgres: Cluster) -> None:
    name = postgres.new_database("TEMPLATE template0 ENCODING SQL_ASCII")
    with pytest.raises(ConflictError, match="encoding is not UTF8"):
        open_engine(postgres.url(name))


def test_a_search_path_that_leads_nowhere(url: str) -> None:
    with pytest.raises(ConflictError, match="names no schema") as caught:
        open_engine(f"{url}&options=-csearch_path%3Dnowhere")
    assert caught.value.code == "schema"


def test_a_leaf_is_not_looked_for_one_by_one(engine: Engine, tmp_path: Path) -> None:
    # With an order and a limit the server walks through the log, which takes longer with each leaf.
    store = SqlEntryStore(engine, tmp_path / "lock")
    store.commit(0, Head(20_000, bytes(32), b"note"), [b"%0100d" % number for number in range(20_000)], [])
    scans = "SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = 'leaf'"
    with engine.connect() as connection:
        before = int(connection.execute(text(scans)).scalar() or 0)
    assert store.index_of(sha256(b"nothing")) is None
    store.close()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(1)"))  # those that ended report what they read
        read = int(connection.execute(text(scans)).scalar() or 0) - before
    assert read < 1_000


def test_a_connection_that_is_ended_while_rows_are_copied(postgres: Cluster, engine: Engine, name: str) -> None:
    catalog = SqlCatalog(engine)
    given_up = threading.Event()
    ended: list[bool] = []

    def end() -> None:
        while not ended and not given_up.is_set():
            if postgres.end_connections(name, "query LIKE 'COPY%' AND state = 'active'"):
                ended.append(True)

    thread = threading.Thread(target=end)
    thread.start()

    def add_for_ever() -> None:
        while True:
            catalog.add_manifest(record(7), [_with_path(number) for number in range(3_000)])

    try:
        with pytest.raises(BackendError) as caught:
            add_for_ever()
    finally:
        given_up.set()
        thread.join()
    assert caught.value.code == "unavailable"
    assert ended
    catalog.add_manifest(record(8), [entry("a")])
    assert len(catalog.entries(7, 0, 10_000)) in (0, 3_000)
    catalog.close()


def _with_path(number: int) -> Entry:
    return entry(f"file {number}")


# Disks.


def _need_mounts() -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a disk")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server with a small disk of its own, in a mount namespace of its own: nothing is left of it."""
    _need_mounts()
    mount = (
        'mkdir -p "$0/disk" && mount -t tmpfs -o size=16m tmpfs "$0/disk" && head -c 2M /dev/zero > "$0/disk/ballast"'
        ' && mkdir "$0/disk/space" && chown -R postgres "$0/disk" && exec "$@"'
    )
    with cluster(mount=mount) as server:
        server.execute(f"CREATE TABLESPACE small LOCATION '{server.folder}/disk/space'")
        yield server


def test_a_full_disk(small: Cluster, tmp_path: Path) -> None:
    name = small.new_database("TABLESPACE small")
    engine = open_engine(small.url(name))
    check_unwritten(engine, tmp_path / "lock", "disk-full", "disk is full")
    store = SqlEntryStore(engine, tmp_path / "lock")
    small.execute(f"COPY (SELECT 1) TO PROGRAM 'rm {small.folder}/disk/ballast'")
    store.commit(0, HEAD, [b"leaf"], [])
    assert store.head() == HEAD
    store.close()
    small.execute(f"DROP DATABASE {name}")


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    _need_mounts()
    with cluster() as own:
        (own.folder / "disk").mkdir()
        shutil.chown(own.folder / "disk", USER)
        own.execute(f"CREATE TABLESPACE other LOCATION '{own.folder}/disk'")
        name = own.new_database()
        engine = open_engine(own.url(name))
        own.execute("ALTER TABLE leaf SET TABLESPACE other", name)
        own.stop()
        own.start('mount --bind "$0/disk" "$0/disk" && mount -o remount,bind,ro "$0/disk" && exec "$@"')
        store = SqlEntryStore(engine, tmp_path / "lock")
        with pytest.raises(BackendError, match="the disk is read-only") as caught:
            store.commit(0, HEAD, [b"leaf"], [])
        assert caught.value.code == "read-only"
        assert store.head() is None
        store.close()
        own.stop()
        own.start()
        store = SqlEntryStore(engine, tmp_path / "lock")
        assert store.head() is None
        store.commit(0, HEAD, [b"leaf"], [])
        assert store.leaf(0) == b"leaf"
        store.close()


def test_damaged_pages(tmp_path: Path) -> None:
    with cluster() as own:
        name = own.new_database()
        catalog = SqlCatalog(open_engine(own.url(name)))
        catalog.add_license(digest("license"), b"terms", b"text")
        [[path]] = own.execute("SELECT pg_relation_filepath('license')", name)
        own.stop()
        file = own.folder / "data" / str(path)
        with file.open("r+b") as damaged:
            damaged.write(b"\xff" * 8192)
        own.start()
        with pytest.raises(BackendError, match="damaged") as caught:
            catalog.license(digest("license"))
        assert caught.value.code == "corrupt"
        catalog.close()


# Look-up and erasing.


def test_digests_are_found_by_the_index(postgres: Cluster, engine: Engine, name: str) -> None:
    catalog = SqlCatalog(engine)
    catalog.add_manifest(record(7), [_with_path(number) for number in range(3_000)])
    postgres.execute("ANALYZE", name)
    asked = [digest(f"file {number}") for number in range(0, 6_000, 600)]
    assert set(catalog.find(asked)) == {digest(f"file {number}") for number in range(0, 3_000, 600)}
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(
            "EXPLAIN SELECT l.* FROM unnest(%s::bytea[]) AS q (d) JOIN lookup l ON l.digest = q.d", (sorted(asked),)
        )
        plan = str(cursor.fetchall())
    assert "pk_lookup" in plan
    assert "Seq Scan" not in plan
    catalog.close()


def test_what_is_erased_and_what_the_files_still_hold(postgres: Cluster, engine: Engine, name: str) -> None:
    """As the operator's guide says: free at once, gone from the tables' files after ``VACUUM FULL``."""
    catalog = SqlCatalog(engine)
    salt = b64url_encode(digest("salt of secret")).encode()
    catalog.add_manifest(record(7), [entry("secret"), entry("other")])
    catalog.add_manifest(record(8), [entry("kept")])
    catalog.remove_manifest(7)
    [[oid]] = postgres.execute(f"SELECT oid FROM pg_database WHERE datname = '{name}'")
    rows = postgres.execute(
        "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname IN ('entry', 'lookup')", name
    )
    assert int(rows[0][0]) == 0

    def files_with(needle: bytes) -> bool:
        postgres.execute("CHECKPOINT")
        folder = postgres.folder / "data" / "base" / str(oid)
        return any(needle in path.read_bytes() for path in folder.iterdir())

    assert files_with(b"kept.jpg")
    postgres.execute("VACUUM FULL", name)
    assert not files_with(salt)
    assert not files_with(digest("secret"))
    assert files_with(b"kept.jpg")
    catalog.close()


def test_erasing_while_a_vacuum_runs_does_not_wait(postgres: Cluster, engine: Engine, name: str) -> None:
    catalog = SqlCatalog(engine)
    catalog.add_manifest(record(7), [entry("a")])
    with postgres.connect(name) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE entry IN SHARE UPDATE EXCLUSIVE MODE")  # what VACUUM holds
        begun = time.monotonic()
        catalog.remove_manifest(7)
        assert time.monotonic() - begun < 5
        other.execute("ROLLBACK")
    assert catalog.manifest(7) is None
    catalog.close()
