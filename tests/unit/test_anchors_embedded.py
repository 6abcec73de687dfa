"""``anchors.embedded`` and its file, beyond the rules of the port: starting, stopping, clocks, keys, foreign files."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from anchors.embedded import CHAIN_ID, EmbeddedChain
from anchors.sqlite_db import SqliteDB
from ledger.errors import BackendError, RefusedError, TrainmarkError
from ledger.merkle import Tree, leaf_hash
from ledger.receipt import parse_record, verify_record

KEY, OTHER_KEY = b"\1" * 32, b"\2" * 32
ORIGIN = sha256(b"log.example").digest()
TREE = Tree(leaf_hash(b"%d" % n) for n in range(100))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


def _proof(old: int, new: int) -> tuple[int, bytes, list[bytes]]:
    return new, TREE.root(new), TREE.consistency_proof(old, new)


def _block_time(chain: EmbeddedChain, transaction: str) -> int:
    return verify_record(parse_record(chain.record(transaction)), ORIGIN).block_time


def test_no_two_folders_share_a_genesis(tmp_path: Path) -> None:
    # Same clock, same key: only the random extra data differ.
    identities = []
    for name in ("a", "b"):
        with closing(EmbeddedChain(tmp_path / name, KEY, clock=lambda: 1_764_000_000)) as chain:
            identities.append(chain.identity)
    assert {identity.chain for identity in identities} == {f"eip155:{CHAIN_ID}"}
    assert len({identity.genesis for identity in identities}) == 2


def test_everything_else_is_determined(tmp_path: Path) -> None:
    records = []
    for name in ("a", "b"):
        chain = EmbeddedChain(tmp_path / name, KEY, clock=lambda: 1_764_000_000, entropy=bytes)
        with closing(chain):
            records.append(chain.record(chain.submit(ORIGIN, *_proof(0, 3))))
    assert records[0] == records[1]


def test_the_contract_outlives_the_key(path: Path) -> None:
    with closing(EmbeddedChain(path, KEY)) as chain:
        first = chain.identity
        chain.submit(ORIGIN, *_proof(0, 1))
    with closing(EmbeddedChain(path, OTHER_KEY)) as chain:
        assert chain.identity.contract == first.contract
        assert chain.identity.genesis == first.genesis
        chain.submit(ORIGIN, *_proof(0, 4))
        chain.submit(ORIGIN, *_proof(4, 5))


def test_block_times_follow_the_clock_and_never_go_back(path: Path) -> None:
    now = 1_764_000_000
    with closing(EmbeddedChain(path, KEY, clock=lambda: now)) as chain:
        times = []
        for size, seconds in ((1, 1000), (2, 0), (3, -5000), (4, 9000)):
            now = 1_764_000_000 + seconds
            times.append(_block_time(chain, chain.submit(ORIGIN, *_proof(size - 1, size))))
    assert times == [1_764_001_000, 1_764_001_001, 1_764_001_002, 1_764_009_000]


def test_one_holder_of_the_file(path: Path) -> None:
    with closing(EmbeddedChain(path, KEY)) as chain:
        with pytest.raises(BackendError, match="in use by another process") as caught:
            EmbeddedChain(path, KEY)
        assert caught.value.code == "chain-in-use"
        chain.submit(ORIGIN, *_proof(0, 1))
    with closing(EmbeddedChain(path, KEY)) as chain:
        assert chain.head(ORIGIN)[0] == 1


def test_a_closed_chain_says_so(path: Path) -> None:
    chain = EmbeddedChain(path, KEY)
    transaction = chain.submit(ORIGIN, *_proof(0, 1))
    chain.close()
    uses: list[Callable[[], object]] = [
        lambda: chain.head(ORIGIN),
        lambda: chain.submit(ORIGIN, *_proof(1, 2)),
        lambda: chain.status(transaction),
        lambda: chain.record(transaction),
        lambda: chain.block_hash(0),
    ]
    for use in uses:
        with pytest.raises(BackendError, match="closed"):
            use()
    assert chain.identity.chain == f"eip155:{CHAIN_ID}"


class StopError(Exception):
    """What the clocks below stop a start with."""


@pytest.mark.parametrize("step", [0, 1, 2], ids=["genesis", "gift", "contract"])
def test_a_start_goes_on_where_the_last_one_stopped(path: Path, step: int) -> None:
    # Each step of a first start reads the clock once; stopping there rolls back its SQL transaction.
    readings = 0

    def clock() -> int:
        nonlocal readings
        if readings == step:
            raise StopError
        readings += 1
        return 1_764_000_000

    with pytest.raises(StopError):
        EmbeddedChain(path, KEY, clock=clock)
    with closing(EmbeddedChain(path, KEY)) as chain:
        chain.submit(ORIGIN, *_proof(0, 7))
        assert chain.head(ORIGIN) == (7, TREE.root(7))
        # genesis, gift, contract, anchor: nothing twice
        assert chain.block_hash(3)
        with pytest.raises(TrainmarkError):
            chain.block_hash(4)


def test_a_block_that_stops_halfway_leaves_nothing(path: Path) -> None:
    fails = False

    def clock() -> int:
        if fails:
            raise StopError
        return 1_764_000_000

    with closing(EmbeddedChain(path, KEY, clock=clock)) as chain:
        chain.submit(ORIGIN, *_proof(0, 1))
        fails = True
        with pytest.raises(StopError):
            chain.submit(ORIGIN, *_proof(1, 2))
        assert chain.head(ORIGIN)[0] == 1
        fails = False
        chain.submit(ORIGIN, *_proof(1, 2))
        assert chain.head(ORIGIN)[0] == 2


def test_a_refused_anchor_leaves_no_block(path: Path) -> None:
    with closing(EmbeddedChain(path, KEY)) as chain:
        number = chain.status(chain.submit(ORIGIN, *_proof(0, 2))).block_number
        assert number is not None
        for proof in ([], [bytes(32)] * 5, [bytes(32)] * 2000):
            with pytest.raises(RefusedError):
                chain.submit(ORIGIN, 5, TREE.root(5), proof)
        assert chain.status(chain.submit(ORIGIN, *_proof(2, 5))).block_number == number + 1


def test_threads_take_turns(path: Path) -> None:
    outcomes: list[object] = []
    with closing(EmbeddedChain(path, KEY)) as chain:

        def work(size: int) -> None:
            try:
                chain.head(ORIGIN)
                outcomes.append(
                    verify_record(parse_record(chain.record(chain.submit(ORIGIN, *_proof(0, size)))), ORIGIN)
                )
            except RefusedError as e:
                outcomes.append(e.code)

        threads = [threading.Thread(target=work, args=(size,)) for size in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        heads = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        assert len(outcomes) == 8
        assert len(heads) == 1  # the first one needs no proof, so only one is first
        assert set(outcomes) - set(heads) <= {"proof-too-short", "size-below-head"}


def _anchor_all(chain: EmbeddedChain) -> None:
    for size in range(len(TREE)):
        chain.submit(ORIGIN, *_proof(size, size + 1))


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with closing(EmbeddedChain(path, KEY)) as chain:
        connection = chain._db._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 8}")  # as full as SQLite can be told to take a disk for
        with pytest.raises(BackendError, match="full"):
            _anchor_all(chain)
        size, root = chain.head(ORIGIN)
        assert 0 < size < len(TREE)
        assert root == TREE.root(size)
        connection.execute(f"PRAGMA max_page_count={pages + 10_000}")
        chain.submit(ORIGIN, *_proof(size, size + 1))
        assert chain.head(ORIGIN) == (size + 1, TREE.root(size + 1))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"no database at all, " * 100)
    database = tmp_path / "database"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE pictures (name TEXT)")
        connection.commit()
    before = text.read_bytes(), database.read_bytes()
    for path in (text, database):
        with pytest.raises(BackendError):
            EmbeddedChain(path, KEY)
    assert (text.read_bytes(), database.read_bytes()) == before


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    with closing(SqliteDB(path)):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=2")
    with pytest.raises(BackendError, match="version 1"):
        SqliteDB(path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="lock file"):
        EmbeddedChain(tmp_path / "missing" / "chain.sqlite", KEY)


def test_the_file_keeps_bytes_by_bytes(path: Path) -> None:
    with closing(SqliteDB(path)) as database:
        with pytest.raises(RuntimeError, match="outside a transaction"):
            database[b"a"] = b"1"
        with database.transaction():
            database[b"a"], database[b"b"] = b"1", b""
            database[b"a"] = b"2"
        with pytest.raises(RuntimeError, match="outside a transaction"):
            del database[b"a"]
        with pytest.raises(StopError):
            _stop_in_the_middle(database)
        assert (database[b"a"], database[b"b"]) == (b"2", b"")
        assert b"c" not in database
        with database.transaction():
            del database[b"b"]
            with pytest.raises(KeyError):
                del database[b"b"]
        with pytest.raises(KeyError):
            database[b"b"]
    with closing(SqliteDB(path)) as database:
        assert database[b"a"] == b"2"
        assert database.exists(b"a")


def _stop_in_the_middle(database: SqliteDB) -> None:
    with database.transaction():
        database[b"c"] = b"3"
        del database[b"a"]
        assert b"c" in database
        raise StopError


def test_commits_reach_the_disk(path: Path) -> None:
    # What WAL alone does not give: with FULL, COMMIT waits for the write-ahead log to be on the disk.
    with closing(SqliteDB(path)) as database:
        assert database._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
