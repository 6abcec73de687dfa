"""The log's leaves, head and staged tiles in a database: ``EntryStore`` (docs/format.md, section 4).

One process writes, held to it by locks that are free once it is dead (:mod:`ledger.store.locks`).  They guard
sequencing as a whole, tiles and signing included; each commit is besides a transaction that compares the size, so that
not even a broken lock forks the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, insert, select
from sqlmodel import Session

from ledger.encoding import sha256
from ledger.ports import Head
from ledger.store import rules
from ledger.store.engine import insert_many, look_up, reading, writing
from ledger.store.locks import FileLock, SessionLock, wait_for
from ledger.store.tables import HEAD, LEAF, STAGED
from ledger.tiles import WIDTH, Tile

_PAGE: Final = 4 * WIDTH


class SqlEntryStore:
    """``EntryStore`` on a database opened by ``open_engine``; the engine may be shared.

    With `lock_path` it is opened for writing; it waits up to `patience` seconds for another writer to end.  Without, it
    is for reading beside a writer: what needs a writer raises RefusedError (``not-writer``), as it does after
    ``close``, and once the connection that holds a database's lock is lost.  Opening it reads no table.
    """

    def __init__(self, engine: Engine, lock_path: Path | None, patience: float = 0.0) -> None:
        self._engine = engine
        self._file = self._session = None
        if lock_path is None:
            return
        deadline = time.monotonic() + patience
        self._file = wait_for(lambda: FileLock(lock_path), deadline)
        if engine.dialect.name == "postgresql":
            try:
                self._session = wait_for(lambda: SessionLock(engine), deadline)
            except BaseException:
                self._file.release()
                raise

    def head(self) -> Head | None:
        with reading(self._engine) as session:
            return _head(session)

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        rules.check_append(old_size, head, leaves)
        with self._writing() as session:
            found = _head(session)
            size = found.size if found else 0
            if size != old_size:
                raise rules.stale_head(size, old_size)
            insert_many(session, LEAF, [(n, sha256(leaf), leaf) for n, leaf in enumerate(leaves, old_size)])
            _stage(session, tiles)
            session.execute(delete(HEAD))
            session.execute(insert(HEAD).values(id=1, size=head.size, root=head.root, note=head.note))

    def check_writer(self) -> None:
        with self._writing():
            pass

    def staged(self) -> list[tuple[Tile, bytes]]:
        with reading(self._engine) as session:
            return sorted(_staged(session).items())

    def published(self) -> None:
        with self._writing() as session:
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
        # Not the first in order: PostgreSQL may walk through all leaves in that order, as if one were soon found.
        wanted = select(LEAF.c.number).where(LEAF.c.digest == digest)
        with reading(self._engine) as session:
            return min(session.execute(wanted).scalars(), default=None)

    def indices_of(self, digests: Sequence[bytes]) -> Mapping[bytes, int]:
        rules.check_find(digests)
        found: dict[bytes, int] = {}
        with reading(self._engine) as session:
            for digest, index in look_up(session, [LEAF.c.digest, LEAF.c.number], sorted(set(digests))):
                found[digest] = min(index, found.get(digest, index))
        return found

    def close(self) -> None:
        for lock in (self._session, self._file):
            if lock:
                lock.release()
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        if self._file is None or not self._file.held:
            raise rules.not_writer()
        with self._session.writing() if self._session else writing(self._engine) as session:
            yield session


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
