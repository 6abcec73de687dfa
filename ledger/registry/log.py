"""The log's one writer: batches, folds, signs, commits and publishes, in the order that loses nothing.

Order of one batch (docs/format.md, section 4): fold the statements (what would be void is refused and never logged) →
new tiles → sign the checkpoint → compare-and-swap leaves, head and staged tiles in the database → tiles → checkpoint →
answer.  A crash before the swap leaves nothing; after it, ``Log`` finishes the publication when it opens.  Opening *is*
recovery: it compares database, tiles and published checkpoint, and refuses to run when they disagree.

Whatever goes wrong in a batch stops the log: nobody is left waiting, nothing more is taken, and what is published stays
readable.  Starting again recovers.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from ledger.encoding import sha256
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
)
from ledger.keys import SigningKey
from ledger.merkle import EMPTY_ROOT, consistency_proof, inclusion_proof, leaf_hashes, root, root_at
from ledger.note import ED25519, VerifierKey, format_vkey, verify_note
from ledger.ports import EntryStore, Head, TileStore
from ledger.sequencer import append, load_edge
from ledger.state import Fold
from ledger.statements import Statement, UnknownBody, verify_statement
from ledger.tiles import TileNodes

MAX_BATCH: Final = 1024
MAX_POOL: Final = 8192

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement's place: leaf `index`, covered by the published checkpoint `note` of `size` leaves."""

    index: int
    size: int
    note: bytes


@dataclass(slots=True)
class _Pending:
    statement: Statement
    answer: Future[Logged]


class Log:
    """An append-only log named `origin`; one instance writes, from one thread of its own.

    Raises:
        ConflictError: ``log-disagreement``: database, tiles and checkpoint tell different stories.
    """

    def __init__(self, origin: str, key: SigningKey, entries: EntryStore, tiles: TileStore) -> None:
        self.origin = origin
        self._key = key
        self._entries = entries
        self._tiles = tiles
        self._pool: deque[_Pending] = deque()
        self._pool_changed = threading.Condition()
        self._stopped_by: str | None = None
        self._closed = False
        self.fold_lock = threading.RLock()
        self._fold: Fold | None = None
        self._recover()
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def vkey(self) -> str:
        """The log's public key, as a C2SP vkey."""
        return format_vkey(VerifierKey(self.origin, ED25519, self._key.public))

    @property
    def head(self) -> Head:
        """The published head."""
        return self._head

    @property
    def broken(self) -> BackendError | None:
        """Why the log takes nothing any more (code ``log-stopped``); None while it does."""
        if self._stopped_by is None:
            return None
        return BackendError(f"the log stopped writing: {self._stopped_by}", code="log-stopped")

    @property
    def fold(self) -> Fold:
        """The state of the published leaves; to be read under ``fold_lock``.

        Raises:
            BackendError: ``log-stopped``: the log stopped, and its leaves could not be read again.
        """
        if self._fold is None:
            raise self.broken or BackendError("the log is not open", code="log-stopped")
        return self._fold

    def _recover(self) -> None:
        """Compares database, tiles and published checkpoint, then finishes the publication that was cut off, if any.

        Nothing is published before all three agree: a checkpoint that does not extend the published one would fork.
        """
        head, published = self._entries.head(), self._tiles.read_checkpoint()
        if head is None:
            if published is not None:
                raise _disagreement("the tile folder has a checkpoint, the database has no leaf")
            empty = Checkpoint(self.origin, 0, EMPTY_ROOT)
            head = Head(0, empty.root, sign_checkpoint(empty, self._key))
        self._check_signed(head)
        try:
            self._check_leaves(head, published)
            self._tiles.write(self._entries.staged())
            self._edge = load_edge(head.size, self._tiles.read)
        except (NotFoundError, MalformedError) as e:
            raise _disagreement(f"the database is at {head.size} leaves, and the tile folder: {e}") from e
        if self._edge.root != head.root:
            raise _disagreement(f"the tiles' root at size {head.size} is not the database's")
        if head.size:
            self._tiles.write_checkpoint(head.note)
            self._entries.published()
        self._fold = Fold(self._entries.leaves(0, head.size))
        self._head = head

    def _check_signed(self, head: Head) -> None:
        checkpoint, note = parse_checkpoint(head.note)
        if checkpoint != Checkpoint(self.origin, head.size, head.root):
            raise _disagreement(
                f"the database's checkpoint is of {checkpoint.origin} at {checkpoint.size} leaves, expected "
                f"{self.origin} at {head.size}: another database, another log key, or another origin setting"
            )
        try:
            verify_note(note, VerifierKey(self.origin, ED25519, self._key.public))
        except VerificationError as e:
            signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in note.signatures)
            raise _disagreement(f"the database's checkpoint is signed by {signers}, the key is {self.vkey}") from e

    def _check_leaves(self, head: Head, published: bytes | None) -> None:
        """Checks that the database's leaves lead to its head, and on the way there to the published checkpoint."""
        hashes = leaf_hashes(self._entries.leaves(0, head.size))
        if root(hashes) != head.root:
            raise _disagreement(f"the database's leaves have another root than the log at {head.size}")
        if published is None:
            return
        shown, _ = parse_checkpoint(published)
        if shown.origin != self.origin or shown.size > head.size:
            raise _disagreement(
                f"the published checkpoint is {shown.origin} at {shown.size} leaves, "
                f"the database is {self.origin} at {head.size}"
            )
        if root(hashes[: shown.size]) != shown.root:
            raise _disagreement(
                f"the published checkpoint at {shown.size} leaves has another root than the database's leaves"
            )

    def append(self, statement: Statement) -> Logged:
        """Logs a statement whose signature is checked here.

        The same statement again gives its first place, so that a request may be repeated; but it is logged anew when it
        says again what another statement has changed since (:meth:`ledger.state.Fold.is_overtaken`).  Returns when a
        published checkpoint covers it.

        Raises:
            RefusedError: it would be void (code ``void``, ``key-invalid`` or ``wrong-log``), or ``unknown-type``.
            ConflictError: ``pool-full``: try again later.
            BackendError: ``log-stopped``: it is unknown whether this statement is in the log; saying it again is safe.
        """
        verify_statement(statement)
        if isinstance(statement.body, UnknownBody):
            raise RefusedError("a log holds what its registry can read", code="unknown-type", field="statement.type")
        pending = _Pending(statement, Future())
        with self._pool_changed:
            if self.broken is not None:
                raise self.broken
            if self._closed:
                raise BackendError("the log is closed", code="log-stopped")
            if len(self._pool) >= MAX_POOL:
                raise ConflictError("the log's pool is full; try again in a few seconds", code="pool-full")
            self._pool.append(pending)
            self._pool_changed.notify()
        return pending.answer.result()

    def place_of(self, statement: Statement) -> int | None:
        """Returns the index of a statement that is in the log already."""
        return self._entries.index_of(sha256(statement.data))

    def leaf(self, index: int) -> bytes:
        """Returns the bytes of a leaf."""
        return self._entries.leaf(index)

    def inclusions(self, indices: Iterable[int], size: int) -> list[tuple[bytes, ...]]:
        """Returns the paths of leaves to the checkpoint of `size` leaves; each tile is read once."""
        nodes = TileNodes(size, self._tiles.read)
        return [tuple(inclusion_proof(index, size, nodes)) for index in indices]

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Returns the proof that `new` leaves extend `old`."""
        return tuple(consistency_proof(old, new, TileNodes(new, self._tiles.read)))

    def root_at(self, size: int) -> bytes:
        """Returns the root the log had at `size` leaves, out of its tiles."""
        return root_at(size, TileNodes(self._head.size, self._tiles.read))

    def stop(self, reason: TrainmarkError) -> None:
        """Takes nothing from now on: whoever waits or comes gets a BackendError (``log-stopped``) that says `reason`.

        For a reason that starting again may not mend, a chain that holds another history for one.  The first counts.
        """
        self._stop(f"{reason}", ())

    def close(self) -> None:
        """Writes what is in the pool and stops; may be called twice."""
        with self._pool_changed:
            self._closed = True
            self._pool_changed.notify()
        self._writer.join()
        self._entries.close()

    def _stop(self, reason: str, batch: Iterable[_Pending]) -> None:
        """Stops the log and answers everybody who waits: those of `batch`, then those in the pool."""
        with self._pool_changed:
            if self._stopped_by is None:
                self._stopped_by = reason
            waiting = [*batch, *self._pool]
            self._pool.clear()
            self._pool_changed.notify()
        for pending in waiting:
            if not pending.answer.done():
                pending.answer.set_exception(self.broken)

    def _write(self) -> None:
        """The writer's thread: batch after batch until the log is closed or stopped."""
        while batch := self._next_batch():
            self._sequence(batch)

    def _next_batch(self) -> list[_Pending]:
        """Waits for statements; returns none when the log is closed, and all of them are written, or stopped."""
        with self._pool_changed:
            self._pool_changed.wait_for(lambda: self._pool or self._closed or self._stopped_by is not None)
            return [self._pool.popleft() for _ in range(min(len(self._pool), MAX_BATCH))]

    def _sequence(self, batch: Sequence[_Pending]) -> None:
        """Runs one batch.  The lock is held from the fold to the publication, so no reader sees a state that is not
        published; after a failure the fold is made anew of the leaves that are.

        The top of a thread: a defect of this program is caught here like any failure, else all would wait for ever.
        """
        with self.fold_lock:
            if self._stopped_by is not None:  # stopped between the pool and here
                self._stop(self._stopped_by, batch)
                return
            try:
                self._publish(self._take(batch))
            except Exception as e:
                if not isinstance(e, TrainmarkError):
                    _logger.exception("the log's writer failed")
                self._fold_again()
                # What a defect says of itself may name paths and values of this machine, and readers are strangers.
                said = str(e) if isinstance(e, TrainmarkError) else type(e).__name__
                self._stop(f"{said}; start again to recover", batch)

    def _fold_again(self) -> None:
        """Makes the fold anew of the published leaves; without them there is none, rather than one that is ahead."""
        self._fold = None
        try:
            self._fold = Fold(self._entries.leaves(0, self._head.size))
        except Exception:
            _logger.exception("the log's leaves cannot be read")

    def _take(self, batch: Sequence[_Pending]) -> dict[int, list[_Pending]]:
        """Folds what may be logged and answers what may not; returns who waits for which index, in order."""
        taken: dict[int, list[_Pending]] = {}
        places: dict[bytes, int] = {}
        for pending in batch:
            statement = pending.statement
            index = places.get(statement.data, self.place_of(statement))
            if index is not None and self.fold.is_overtaken(statement):
                index = None
            if index is None:
                reason = self.fold.why_void(statement)
                if reason is not None:
                    pending.answer.set_exception(void_error(reason))
                    continue
                index = places[statement.data] = self.fold.size
                self.fold.add_statement(statement)
            taken.setdefault(index, []).append(pending)
        return taken

    def _publish(self, taken: dict[int, list[_Pending]]) -> None:
        old = self._head.size
        leaves = [waiting[0].statement.data for index, waiting in sorted(taken.items()) if index >= old]
        if leaves:
            edge, tiles = append(self._edge, leaves)
            checkpoint = Checkpoint(self.origin, edge.size, edge.root)
            head = Head(edge.size, edge.root, sign_checkpoint(checkpoint, self._key))
            if self.broken is not None:  # stopped meanwhile: nothing of this batch is there yet
                raise self.broken
            self._entries.commit(old, head, leaves, tiles)
            self._tiles.write(tiles)
            self._tiles.write_checkpoint(head.note)
            self._edge, self._head = edge, head
            self._entries.published()
        for index, waiting in taken.items():
            for pending in waiting:
                pending.answer.set_result(Logged(index, self._head.size, self._head.note))


def void_error(reason: str) -> RefusedError:
    """Returns the refusal of a statement that would be void for a reason of ``Fold.why_void``."""
    code, _, text = reason.partition(": ")
    return RefusedError(text, code=code, field="statement")


def _disagreement(message: str) -> ConflictError:
    return ConflictError(f"{message}: refusing to run", code="log-disagreement")
