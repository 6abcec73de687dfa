"""The log's writer when something goes wrong: everybody gets an answer, and nothing is shown that is not published."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ledger.canonical import Object
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError
from ledger.note import Signature
from ledger.policy import parse_policy
from ledger.ports import Head
from ledger.registry.log import Batch, Log
from ledger.statements import Statement, sign_statement
from ledger.store.memory import MemoryEntryStore, MemoryLog, MemoryTileStore
from ledger.tiles import Tile
from tests.simulator import ORIGIN, HandMadeLog, digest, identity, key, policy_text

REGISTRY = identity()
WAIT = 20.0
"""Seconds after which a test gives up; nothing here takes one."""


class Disk(MemoryEntryStore):
    """A database that stops at one of its calls: by an error of its own, or by a defect nobody foresaw."""

    def __init__(self) -> None:
        super().__init__()
        self.commit_raises: Exception | None = None
        self.committing = threading.Event()
        self.commits_again = threading.Event()
        self.commits_again.set()

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        self.committing.set()
        assert self.commits_again.wait(WAIT)
        if self.commit_raises is not None:
            raise self.commit_raises
        super().commit(old_size, head, leaves, tiles)


@pytest.fixture
def disk() -> Disk:
    """A disk that works until a test says otherwise."""
    return Disk()


@pytest.fixture
def log(disk: Disk) -> Iterator[Log]:
    """A log of one leaf, its policy."""
    log = Log(ORIGIN, REGISTRY.log_key, disk, MemoryTileStore())
    log.append(HandMadeLog().leaves[0])
    yield log
    disk.commits_again.set()
    log.close()


def record(number: int) -> Statement:
    """Returns a statement that any log takes."""
    eva = key("eva")
    body: Object = {"kind": "audit", "refs": [], "evidence": digest_encode(digest(f"record {number}"))}
    return sign_statement("record", eva.did, eva, ORIGIN, body)


def refused(future: Future[object]) -> BackendError:
    """Returns the error a waiting thread got."""
    error = future.exception(WAIT)
    assert isinstance(error, BackendError)
    assert error.code == "log-stopped"
    return error


@pytest.mark.parametrize("raised", [BackendError("the disk stopped"), ValueError("a defect"), MemoryError()])
def test_whatever_is_raised_everybody_gets_an_answer(log: Log, disk: Disk, raised: Exception) -> None:
    disk.commits_again.clear()
    disk.commit_raises = raised
    with ThreadPoolExecutor(8) as threads:
        waiting: list[Future[object]] = [threads.submit(log.append, record(n)) for n in range(8)]
        disk.commits_again.set()
        for future in waiting:
            said = str(raised) if isinstance(raised, BackendError) else type(raised).__name__
            assert said in refused(future).message
    with pytest.raises(BackendError):
        log.append(record(9))
    assert (log.head.size, log.fold.size, disk.head()) == (1, 1, log.head)


def test_a_defect_is_told_to_the_operator(log: Log, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.commit_raises = ValueError("a defect")
    with caplog.at_level(logging.ERROR), pytest.raises(BackendError):
        log.append(record(1))
    assert "Traceback" in caplog.text


def test_nobody_waits_for_the_disk_or_sees_what_is_not_published(log: Log, disk: Disk) -> None:
    disk.committing.clear()
    disk.commits_again.clear()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(log.append, record(0))
        assert disk.committing.wait(WAIT)
        assert log.fold_lock.acquire(timeout=WAIT)
        assert (log.head.size, log.fold.size) == (1, 1)
        log.fold_lock.release()
        disk.commits_again.set()
        assert first.result(WAIT).index == 1
    assert (log.head.size, log.fold.size) == (2, 2)


def test_one_statement_twice_in_a_batch_is_one_leaf(log: Log, disk: Disk) -> None:
    disk.committing.clear()
    disk.commits_again.clear()
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(log.append, record(0))
        assert disk.committing.wait(WAIT)  # what comes now waits together for the next batch
        twice = [threads.submit(log.append, record(1)) for _ in range(2)]
        while len(log._pool) < 2:
            assert not any(future.done() for future in twice)
        disk.commits_again.set()
        assert [future.result(WAIT).index for future in (first, *twice)] == [1, 2, 2]
    assert log.head.size == 3


def test_what_a_log_does_is_reported(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ledger.registry.log")
    seen: list[Batch] = []
    log.observer = seen.append
    log.append(record(1))
    log.append(record(1))  # the same leaf: nothing new is published
    for reason in ("first", "second"):
        log.stop(ConflictError(reason))
    [published, stopped] = caplog.records
    assert (published.getMessage(), published.levelname) == ("published", "DEBUG")
    assert (published.__dict__["leaves"], published.__dict__["size"]) == (1, log.head.size)
    assert (stopped.getMessage(), stopped.levelname) == ("the log stopped writing: first", "ERROR")
    assert [(each.leaves, each.size) for each in seen] == [(1, log.head.size)]
    assert seen[0].seconds > 0


def test_a_stopped_log_says_why(log: Log, disk: Disk) -> None:
    assert log.broken is None
    disk.committing.clear()
    disk.commits_again.clear()
    with ThreadPoolExecutor(4) as threads:
        under_way = threads.submit(log.append, record(0))
        assert disk.committing.wait(WAIT)
        log.stop(ConflictError("the chain holds another history", code="log-disagreement"))
        log.stop(ConflictError("something else"))
        with pytest.raises(BackendError, match="the chain holds another history"):
            log.append(record(1))
        disk.commits_again.set()
        assert under_way.result(WAIT).index == 1  # what was being committed is published and acknowledged
    assert log.broken is not None
    assert "another history" in log.broken.message
    assert log.head == disk.head()
    assert log.fold.size == log.head.size
    assert log.leaf(0)


def test_nobody_waits_for_a_log_that_closes(disk: Disk, log: Log) -> None:
    """Statements that come while it closes are written, or refused: none is lost without a word."""
    start = threading.Barrier(5)

    def say(first: int) -> list[Statement]:
        start.wait(WAIT)
        said = []
        try:
            for number in range(first, first + 1000):
                statement = record(number)
                log.append(statement)
                said.append(statement)
        except BackendError as e:
            if e.code != "log-stopped":
                raise
        return said

    with ThreadPoolExecutor(4) as threads:
        speakers = [threads.submit(say, 1000 * n) for n in range(4)]
        start.wait(WAIT)
        log.close()
        said = [statement for speaker in speakers for statement in speaker.result(WAIT)]
    head = disk.head()
    assert head is not None
    kept = set(disk.leaves(0, head.size))
    assert all(statement.data in kept for statement in said)
    with pytest.raises(BackendError):
        log.append(record(9999))


class SlowWitnesses:
    """No witness at all, for whom a log waits all the same."""

    def __init__(self) -> None:
        self.policy = parse_policy(policy_text(REGISTRY))
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.answer.set()

    def cosign(self, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> tuple[Signature, ...]:
        self.asked.set()
        assert self.answer.wait(WAIT)
        return ()

    def close(self) -> None: ...


@pytest.mark.parametrize("is_lost", [True, False], ids=["it lost the lock", "both hold a lock"])
def test_who_waited_for_witnesses_replaces_no_checkpoint_of_another_writer(is_lost: bool) -> None:
    memory, tiles, witnesses = MemoryLog(), MemoryTileStore(), SlowWitnesses()
    store = MemoryEntryStore(memory)
    log = Log(ORIGIN, REGISTRY.log_key, store, tiles, witnesses)
    log.append(HandMadeLog().leaves[0])
    witnesses.asked.clear()
    witnesses.answer.clear()
    with ThreadPoolExecutor(1) as threads:
        waiting: Future[object] = threads.submit(log.append, record(0))
        assert witnesses.asked.wait(WAIT)  # it is committed
        memory.writer = None  # as when the connection is lost that held the lock
        other = Log(ORIGIN, REGISTRY.log_key, MemoryEntryStore(memory), tiles)
        note = other.append(record(1)).note
        if not is_lost:
            memory.writer = store
        witnesses.answer.set()
        why = "opened for reading only" if is_lost else "3 leaves are published, and the next checkpoint is of 2"
        assert why in refused(waiting).message
    assert tiles.read_checkpoint() == note
    assert log.head.size == 1
    log.close()
    other.close()
