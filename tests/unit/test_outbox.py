"""The outbox: what is noted is there also after a crash; what two leaves share stays for the other one."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ledger.errors import BackendError, ConflictError
from ledger.store.outbox import SqliteOutbox


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], SqliteOutbox]]:
    """Opens the same outbox again and again, as after a crash."""
    with ExitStack() as stack:

        def open_again() -> SqliteOutbox:
            outbox = SqliteOutbox(tmp_path / "outbox.db")
            stack.callback(outbox.close)
            return outbox

        yield open_again


def test_a_new_one_is_empty_and_for_its_owner_only(opened: Callable[[], SqliteOutbox], tmp_path: Path) -> None:
    outbox = opened()
    assert (outbox.size(), outbox.todo(), outbox.unpins(), outbox.digests(), outbox.cid(b"a")) == (0, [], [], [], None)
    assert stat.S_IMODE((tmp_path / "outbox.db").stat().st_mode) == 0o600


def test_what_is_to_be_done_stays_until_it_is_done(opened: Callable[[], SqliteOutbox]) -> None:
    opened().note(10, [7, 3])
    opened().note(12, [3])
    assert (opened().size(), opened().todo()) == (12, [3, 7])
    opened().done(3)
    assert opened().todo() == [7]


def test_a_shared_blob_is_unpinned_with_the_last_leaf(opened: Callable[[], SqliteOutbox]) -> None:
    opened().pin(1, {b"license": b"L", b"one": b"1"})
    opened().pin(2, {b"license": b"L", b"two": b"2"})
    assert sorted(opened().digests()) == [b"license", b"one", b"two"]
    opened().drop(1)
    assert (opened().unpins(), opened().cid(b"license"), opened().cid(b"one")) == ([b"1"], b"L", None)
    opened().drop(2)
    assert sorted(opened().unpins()) == [b"1", b"2", b"L"]
    opened().unpinned(b"1")
    opened().pin(3, {b"license": b"L"})
    assert opened().unpins() == [b"2"]


def test_an_erased_blob_is_forgotten_for_all_leaves(opened: Callable[[], SqliteOutbox]) -> None:
    opened().pin(1, {b"entries": b"E"})
    opened().pin(2, {b"entries": b"E"})
    opened().forget(b"entries")
    assert (opened().cid(b"entries"), opened().unpins()) == (None, [b"E"])


def test_a_file_that_is_no_outbox(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"something else" * 100)
    with pytest.raises(BackendError, match="outbox: cannot be used") as caught:
        SqliteOutbox(tmp_path / "outbox.db")
    assert caught.value.code == "disk"


def test_one_of_another_version(opened: Callable[[], SqliteOutbox], tmp_path: Path) -> None:
    opened().close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConflictError, match="is of version 2, expected 1") as caught:
        opened()
    assert caught.value.code == "schema"
