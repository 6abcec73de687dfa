"""The log's leaves, head and staged tiles in a database: ``EntryStore`` (docs/format.md, section 4).

One process writes, held to it by a locked file (flock) that the system frees with the process.  The lock guards
sequencing as a whole, tiles and signing included; each commit is besides a transaction that compares the size, so that
not even a broken lock forks the log.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, insert, select
from sqlmodel import Session

from ledger.encoding import sha256
from ledger.ports import Head
from ledger.store import rules
from ledger.store.engine import insert_many, reading, writing
from ledger.store.files import disk_errors
from ledger.store.tables import HEAD, LEAF, STAGED
from ledger.tiles import WIDTH, Tile

_PAGE: Final = 4 * WIDTH


class SqlEntryStore:
    """``EntryStore`` on a database opened by ``open_engine``; the engine may be shared.

    With `lock_path` it is opened for writing.  Without, for reading beside a writer, and ``commit`` and ``published``
    raise RefusedError (``not-writer``), as they do after ``close``.
    """

    def __init__(self, engine: Engine, lock_path: Path | None) -> None:
        self._engine = engine
        self._lock = WriterLock(lock_path) if lock_path else None

    def head(self) -> Head | None:
        with reading(self._engine) as session:
            return _head(session)

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        rules.check_append(old_size, head, leaves)
        self._check_writer()
        with writing(self._engine) as session:
            found = _head(session)
            size = found.size if found else 0
            if size != old_size:
                raise rules.stale_head(size, old_size)
            insert_many(session, LEAF, [(n, sha256(leaf), leaf) for n, leaf in enumerate(leaves, old_size)])
            _stage(session, tiles)
            session.execute(delete(HEAD))
            session.execute(insert(HEAD).values(id=1, size=head.size, root=head.root, note=head.note))

    def staged(self) -> list[tuple[Tile, bytes]]:
        with reading(self._engine) as session:
            return sorted(_staged(session).items())

    def published(self) -> None:
        self._check_writer()
        with writing(self._engine) as session:
            session.execute(delete(STAGED))

    def leaf(self, index: int) -> bytes:
        return next(self.leaves(index, index + 1))

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        head = self.head()
        rules.check_range(start, end, head.size if head else 0)
        return self._leaves(start, end)

    def _leaves(self, start: int, end: int) -> Iterator[bytes]:
        """Yields leaves that are there; a transaction for each page, since leaves never change."""
        for first in range(start, end, _PAGE):
            wanted = select(LEAF.c.data).where(LEAF.c.number >= first, LEAF.c.number < min(end, first + _PAGE))
            with reading(self._engine) as session:
                page = session.execute(wanted.order_by(LEAF.c.number)).scalars().all()
            yield from page

    def index_of(self, digest: bytes) -> int | None:
        wanted = select(LEAF.c.number).where(LEAF.c.digest == digest).order_by(LEAF.c.number).limit(1)
        with reading(self._engine) as session:
            found: int | None = session.execute(wanted).scalar()
            return found

    def close(self) -> None:
        if self._lock:
            self._lock.release()
        self._engine.dispose()

    def _check_writer(self) -> None:
        if self._lock is None or not self._lock.held:
            raise rules.not_writer()


def _head(session: Session) -> Head | None:
    row = session.execute(select(HEAD.c.size, HEAD.c.root, HEAD.c.note)).first()
    return Head(*row) if row else None


def _staged(session: Session) -> dict[Tile, bytes]:
    rows = session.execute(select(STAGED.c.level, STAGED.c.number, STAGED.c.width, STAGED.c.data))
    return {Tile(level, index, width): data for level, index, width, data in rows}


def _stage(session: Session, tiles: Sequence[tuple[Tile, bytes]]) -> None:
    staged = _staged(session)
    new = []
    for tile, data in tiles:
        if tile not in staged:
            staged[tile] = data
            new.append((tile.level, tile.index, tile.width, data))
        elif staged[tile] != data:
            raise rules.tile_conflict(tile)
    insert_many(session, STAGED, new)


class WriterLock:
    """A locked file that names its holder; a program that dies, however, lets it go.

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


_LOCKS: Final[weakref.WeakSet[WriterLock]] = weakref.WeakSet()


def _release_in_child() -> None:
    # A forked child shares its parent's lock and would keep it beyond the parent's death.
    for lock in list(_LOCKS):
        with suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_release_in_child)
