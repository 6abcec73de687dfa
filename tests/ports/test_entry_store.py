"""Rules of the EntryStore port, on the in-memory reference, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ledger.encoding import sha256
from ledger.errors import BackendError, ConflictError, NotFoundError, RefusedError
from ledger.ports import MAX_DIGESTS, EntryStore, Head
from ledger.store.engine import open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.locks import FileLock
from ledger.store.memory import MemoryEntryStore, MemoryLog
from ledger.tiles import ENTRIES, Tile
from tests.support import ROOT
from tests.support.postgres import Cluster


class Open(Protocol):
    """Opens one log again and again, as another process would."""

    def __call__(self, *, writing: bool = True) -> EntryStore: ...


class OpenMemory:
    def __init__(self) -> None:
        self._log = MemoryLog()

    def __call__(self, *, writing: bool = True) -> EntryStore:
        return MemoryEntryStore(self._log, writing=writing)


class OpenSql:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.opened: list[SqlEntryStore] = []

    def __call__(self, *, writing: bool = True) -> EntryStore:
        engine = open_engine(self.url)
        try:
            store = SqlEntryStore(engine, self.folder / "log.lock" if writing else None)
        except BaseException:
            engine.dispose()
            raise
        self.opened.append(store)
        return store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def open_sql(url: str, tmp_path: Path) -> Iterator[OpenSql]:
    opener = OpenSql(url, tmp_path)
    yield opener
    for store in opener.opened:
        store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "memory":
        yield OpenMemory()
        return
    if request.param == "sqlite":
        yield request.getfixturevalue("open_sql")
        return
    server: Cluster = request.getfixturevalue("postgres")
    opener = OpenSql(server.url(server.new_database()), tmp_path)
    yield opener
    for store in opener.opened:
        store.close()


def head(size: int, note: str = "note") -> Head:
    return Head(size, sha256(b"root %d" % size), f"{note} {size}".encode())


def leaf(index: int) -> bytes:
    return b"leaf %d" % index


def leaves(start: int, end: int) -> list[bytes]:
    return [leaf(index) for index in range(start, end)]


TILES_3 = [(Tile(ENTRIES, 0, 3), b"three leaves"), (Tile(0, 0, 3), b"three hashes")]
TILES_5 = [(Tile(ENTRIES, 0, 5), b"five leaves"), (Tile(0, 0, 5), b"five hashes")]


def state(store: EntryStore) -> tuple[Head | None, list[bytes], list[tuple[Tile, bytes]]]:
    """Returns all that a store holds."""
    found = store.head()
    return found, list(store.leaves(0, found.size if found else 0)), store.staged()


def test_an_empty_log(open_store: Open) -> None:
    store = open_store()
    assert state(store) == (None, [], [])
    assert store.index_of(sha256(leaf(0))) is None
    with pytest.raises(NotFoundError, match="0 leaves"):
        store.leaf(0)


def test_what_is_committed_is_there(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    assert state(store) == (head(3), leaves(0, 3), TILES_3)
    assert [store.leaf(n) for n in range(3)] == leaves(0, 3)
    assert [store.index_of(sha256(leaf(n))) for n in range(4)] == [0, 1, 2, None]


def test_what_is_committed_is_there_when_opened_again(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    store.close()
    again = open_store()
    assert state(again) == (head(3), leaves(0, 3), TILES_3)
    assert again.index_of(sha256(leaf(2))) == 2
    again.commit(3, head(5), leaves(3, 5), [])
    assert state(again)[:2] == (head(5), leaves(0, 5))


def test_a_commit_of_no_leaves_replaces_the_note(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), [])
    store.commit(3, head(3, "cosigned"), [], [])
    assert state(store) == (head(3, "cosigned"), leaves(0, 3), [])


@pytest.mark.parametrize("old", [0, 2, 4])
def test_a_stale_head_is_refused_and_nothing_changes(open_store: Open, old: int) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    with pytest.raises(ConflictError, match=f"3 leaves, not {old}") as caught:
        store.commit(old, head(5), leaves(old, 5), TILES_5)
    assert caught.value.code == "stale-head"
    assert state(store) == (head(3), leaves(0, 3), TILES_3)


def test_a_stale_head_of_an_empty_log(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(ConflictError) as caught:
        store.commit(1, head(2), leaves(1, 2), [])
    assert caught.value.code == "stale-head"
    assert state(store) == (None, [], [])


@pytest.mark.parametrize(("old", "size", "count"), [(0, 3, 2), (0, 3, 4), (-1, 1, 2), (0, 0, 0), (3, 2, 0)])
def test_leaves_that_do_not_lead_to_the_head(open_store: Open, old: int, size: int, count: int) -> None:
    store = open_store()
    with pytest.raises(ValueError, match="do not lead"):
        store.commit(old, head(size), leaves(0, count), [])
    assert state(store) == (None, [], [])


def test_tiles_stay_staged_until_published(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    store.commit(3, head(5), leaves(3, 5), TILES_5)
    assert sorted(store.staged()) == sorted(TILES_3 + TILES_5)
    store.close()
    again = open_store()
    assert sorted(again.staged()) == sorted(TILES_3 + TILES_5)
    again.published()
    assert state(again) == (head(5), leaves(0, 5), [])
    again.close()
    assert state(open_store()) == (head(5), leaves(0, 5), [])


def test_the_same_tile_may_be_staged_twice(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    store.commit(3, head(3, "again"), [], [*TILES_3, *TILES_3])
    assert state(store) == (head(3, "again"), leaves(0, 3), TILES_3)


def test_a_tile_with_other_bytes_undoes_the_whole_commit(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    with pytest.raises(ConflictError, match=r"tile/0/000\.p/3 holds other bytes") as caught:
        store.commit(3, head(5), leaves(3, 5), [*TILES_5, (Tile(0, 0, 3), b"other hashes")])
    assert caught.value.code == "tile-conflict"
    assert state(store) == (head(3), leaves(0, 3), TILES_3)
    assert store.index_of(sha256(leaf(3))) is None


@pytest.mark.parametrize("index", [-1, 3, 2**63 - 1, 2**63, 2**80])
def test_no_leaf_outside_the_log(open_store: Open, index: int) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), [])
    with pytest.raises(NotFoundError, match=f"no leaf {index}"):
        store.leaf(index)


@pytest.mark.parametrize(("start", "end"), [(0, 4), (-1, 2), (3, 4), (7, 9), (0, 2**80)])
def test_a_range_outside_the_log_is_refused_by_the_call(open_store: Open, start: int, end: int) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), [])
    with pytest.raises(NotFoundError, match="the log has 3 leaves"):
        store.leaves(start, end)


def test_a_range_turned_round(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), [])
    with pytest.raises(ValueError, match="no range"):
        store.leaves(2, 1)


@pytest.mark.parametrize(("start", "end"), [(0, 2500), (1023, 1026), (1024, 2048), (2499, 2500), (2500, 2500)])
def test_ranges_of_a_long_log(open_store: Open, start: int, end: int) -> None:
    store = open_store()
    store.commit(0, head(2500), leaves(0, 2500), [])
    assert list(store.leaves(start, end)) == leaves(start, end)


def test_leaves_are_any_bytes_and_the_first_of_two_equal_ones_is_found(open_store: Open) -> None:
    data = [b"", bytes(range(256)), b"twice", "ü".encode(), b"twice", b"x" * 65535]
    store = open_store()
    store.commit(0, head(5), data[:5], [])
    store.commit(5, head(7), [data[5], b"twice"], [])
    assert list(store.leaves(0, 7)) == [*data, b"twice"]
    assert [store.index_of(sha256(leaf)) for leaf in data] == [0, 1, 2, 3, 2, 5]


def test_many_leaves_are_looked_up_at_once(open_store: Open) -> None:
    store = open_store()
    assert store.indices_of([sha256(leaf(0))]) == store.indices_of([]) == {}
    store.commit(0, head(300), [*leaves(0, 299), leaf(7)], [])
    asked = [sha256(leaf(number)) for number in (298, 7, 400, 0, 7)]
    assert store.indices_of(asked) == {asked[0]: 298, asked[1]: 7, asked[3]: 0}
    most = [sha256(leaf(number)) for number in range(MAX_DIGESTS)]
    assert store.indices_of(most) == {digest: number for number, digest in enumerate(most[:299])}
    with pytest.raises(ValueError, match="at most"):
        store.indices_of([*most, b"x"])


def test_a_second_writer_is_refused_and_told_who_holds_the_log(open_store: Open) -> None:
    first = open_store()
    with pytest.raises(ConflictError, match=f"process {os.getpid()}") as caught:
        open_store()
    assert caught.value.code == "second-writer"
    first.commit(0, head(1), leaves(0, 1), [])
    with pytest.raises(ConflictError):  # the refused one has not freed it
        open_store()
    first.close()
    open_store().commit(1, head(2), leaves(1, 2), [])


def test_a_closed_store_does_not_write(open_store: Open) -> None:
    store = open_store()
    store.commit(0, head(3), leaves(0, 3), TILES_3)
    store.close()
    store.close()
    with pytest.raises(RefusedError) as caught:
        store.commit(3, head(4), leaves(3, 4), [])
    assert caught.value.code == "not-writer"
    with pytest.raises(RefusedError):
        store.published()
    with pytest.raises(RefusedError):
        store.check_writer()
    assert state(open_store()) == (head(3), leaves(0, 3), TILES_3)


def test_closing_twice_does_not_take_the_lock_from_the_next(open_store: Open) -> None:
    store = open_store()
    store.close()
    after = open_store()
    store.close()
    with pytest.raises(ConflictError):
        open_store()
    after.commit(0, head(1), leaves(0, 1), [])


def test_a_reader_sees_what_the_writer_commits_and_writes_nothing(open_store: Open) -> None:
    writer, reader = open_store(), open_store(writing=False)
    assert reader.head() is None
    writer.commit(0, head(3), leaves(0, 3), TILES_3)
    assert state(reader) == (head(3), leaves(0, 3), TILES_3)
    with pytest.raises(RefusedError):
        reader.commit(3, head(4), leaves(3, 4), [])
    with pytest.raises(RefusedError):
        reader.published()
    with pytest.raises(RefusedError):
        reader.check_writer()
    writer.check_writer()
    reader.close()
    assert state(writer) == (head(3), leaves(0, 3), TILES_3)


# What only a database and a locked file can show.


def test_two_writers_with_two_locks_cannot_fork_the_log(open_sql: OpenSql, tmp_path: Path) -> None:
    first = open_sql()
    engine = open_engine(f"sqlite:///{tmp_path / 'log.db'}")
    second = SqlEntryStore(engine, tmp_path / "other.lock")
    open_sql.opened.append(second)
    first.commit(0, head(2), leaves(0, 2), [])
    with pytest.raises(ConflictError) as caught:
        second.commit(0, head(1), [b"a fork"], [])
    assert caught.value.code == "stale-head"
    assert state(second) == (head(2), leaves(0, 2), [])


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    # The process has a child of its own, which it leaves behind: that one must not keep the lock.
    program = (
        "import os, sys, time; from pathlib import Path; from ledger.store.locks import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]))\n"
        "if not os.fork(): print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    path = tmp_path / "log.lock"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            with pytest.raises(ConflictError, match=f"process {process.pid};"):
                FileLock(path)
            process.kill()
            process.wait(10)
            FileLock(path).release()
            os.kill(child, 0)  # it was alive all the time
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_a_lock_that_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "log.lock"
    lock = FileLock(path)
    path.write_text("")
    with pytest.raises(ConflictError, match="another process"):
        FileLock(path)
    lock.release()


def test_a_lock_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such file"):
        FileLock(tmp_path / "none" / "log.lock")
