"""The locks that let at most one process write a log: on a file, and in a PostgreSQL database.

The file stands for all that is in a folder, so it is taken whatever the database is; the database's lock besides where
the database is not in the folder.  Either is free once its holder is dead.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from ledger.errors import ConflictError
from ledger.store import postgres, rules
from ledger.store.engine import backend_errors
from ledger.store.files import disk_errors

_POLL_SECONDS: Final = 0.1
_NAME_BYTES: Final = 63
"""What PostgreSQL keeps of a session's name."""

_logger = logging.getLogger(__name__)
_Lock = TypeVar("_Lock")


def wait_for(take: Callable[[], _Lock], deadline: float) -> _Lock:
    """Takes a lock, and tries again until `deadline` (monotonic, may be infinite) while another holds it.

    Raises:
        ConflictError: ``second-writer``: it was held all the time.
    """
    is_told = False
    while True:
        try:
            return take()
        except ConflictError as e:
            if time.monotonic() >= deadline:
                raise
            if not is_told:
                _logger.warning("waiting: %s", e.message)
                is_told = True
        time.sleep(_POLL_SECONDS)


class FileLock:
    """A locked file (flock) that names its holder; a program that dies, however, lets it go.

    The file itself stays: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock.

        Raises:
            ConflictError: ``second-writer``: it is held, by this process or another.
        """
        with disk_errors(str(path)):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
            except BlockingIOError:
                found = os.pread(self._fd, 32, 0).strip()
                os.close(self._fd)
                holder = f"process {int(found)}" if found.isdigit() else "another process"
                raise rules.second_writer(holder) from None
            except BaseException:
                os.close(self._fd)
                raise
        self.held = True
        _LOCKS.add(self)

    def release(self) -> None:
        """Lets the lock go; may be called twice."""
        if self.held:
            self.held = False
            os.close(self._fd)

    def abandon(self) -> None:
        """Lets go, in a forked child, of what its parent holds."""
        self.release()


class SessionLock:
    """An advisory lock of PostgreSQL, held by a connection of its own and gone with it.

    The log is written on that very connection, and each transaction asks the server whether it holds the lock: a writer
    whose connection was lost, and which may have a successor, cannot write another leaf.
    """

    def __init__(self, engine: Engine) -> None:
        """Takes the lock.

        Raises:
            ConflictError: ``second-writer``: it is held, by this process or another.
            RefusedError: ``not-writer``: on a connection that several share no lock can be held.
        """
        name = f"process {os.getpid()} on {socket.gethostname()}"
        with backend_errors():
            connection = engine.connect()
            try:
                connection.detach()  # so that closing it ends it
                self._fd = connection.connection.dbapi_connection.fileno()  # type: ignore[union-attr]
                self._process = postgres.take(connection, name.encode()[:_NAME_BYTES].decode(errors="ignore"))
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        self._turn = threading.Lock()
        self.held = True
        _LOCKS.add(self)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction on the connection that holds the lock; durable when the block ends, undone if it raises.

        Raises:
            RefusedError: ``not-writer``: the lock was let go, or lost with its connection.
        """
        with self._turn:
            if not self.held:
                raise rules.not_writer()
            try:
                with backend_errors(), Session(self._connection) as session, session.begin():
                    self.held = postgres.is_held(session, self._process)
                    if not self.held:
                        raise rules.lock_lost()
                    yield session
            finally:
                self.held = self.held and not self._connection.invalidated

    def release(self) -> None:
        """Lets the lock go; may be called twice."""
        with self._turn, suppress(SQLAlchemyError, psycopg.Error):  # a connection that is lost cannot be closed
            self.held = False
            self._connection.close()

    def abandon(self) -> None:
        """Lets go, in a forked child, of what its parent holds."""
        if self.held:
            self.held = False
            os.close(self._fd)


_LOCKS: Final[weakref.WeakSet[FileLock | SessionLock]] = weakref.WeakSet()


def _abandon_in_child() -> None:
    # A forked child shares its parent's locks and would keep them beyond the parent's death.
    for lock in list(_LOCKS):
        with suppress(OSError):
            lock.abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
