"""The log's one writer: batches, folds, signs, commits and publishes, in the order that loses nothing.

Order of one batch (docs/format.md, section 4): fold the statements (what would be void is refused and never logged) →
new tiles → sign the checkpoint → compare-and-swap leaves, head and staged tiles in the database → tiles → checkpoint →
answer.  A crash before the swap leaves nothing; after it, ``Log`` finishes the publication when it opens.  Opening *is*
recovery: it compares database, tiles and published checkpoint, and refuses to run when they disagree.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
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
        self._pool: queue.Queue[_Pending | None] = queue.Queue(MAX_POOL)
        self._broken: BackendError | None = None
        self.fold_lock = threading.RLock()
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
        self.fold = Fold(self._entries.leaves(0, head.size))
        self._head = head

    def _check_signed(self, head: Head) -> None:
        checkpoint, note = parse_checkpoint(head.note)
        if checkpoint != Checkpoint(self.origin, head.size, head.root):
            raise _disagreement(f"the database's checkpoint is {checkpoint.origin} at {checkpoint.size} leaves")
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
        """
        verify_statement(statement)
        if isinstance(statement.body, UnknownBody):
            raise RefusedError("a log holds what its registry can read", code="unknown-type", field="statement.type")
        pending = _Pending(statement, Future())
        try:
            self._pool.put_nowait(pending)
        except queue.Full:
            raise ConflictError("the log's pool is full; try again in a few seconds", code="pool-full") from None
        return pending.answer.result()

    def place_of(self, statement: Statement) -> int | None:
        """Returns the index of a statement that is in the log already."""
        return self._entries.index_of(sha256(statement.data))

    def leaf(self, index: int) -> bytes:
        """Returns the bytes of a leaf."""
        return self._entries.leaf(index)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Returns the path of leaf `index` to the checkpoint of `size` leaves."""
        return tuple(inclusion_proof(index, size, TileNodes(size, self._tiles.read)))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Returns the proof that `new` leaves extend `old`."""
        return tuple(consistency_proof(old, new, TileNodes(new, self._tiles.read)))

    def root_at(self, size: int) -> bytes:
        """Returns the root the log had at `size` leaves, out of its tiles."""
        return root_at(size, TileNodes(self._head.size, self._tiles.read))

    def close(self) -> None:
        """Writes what is in the pool and stops."""
        if self._writer.is_alive():
            self._pool.put(None)
            self._writer.join()
        self._entries.close()

    def _write(self) -> None:
        while (first := self._pool.get()) is not None:
            batch = [first]
            try:
                while len(batch) < MAX_BATCH:
                    more = self._pool.get_nowait()
                    if more is None:  # closing: this batch is the last
                        self._pool.put(None)
                        break
                    batch.append(more)
            except queue.Empty:
                pass
            self._sequence(batch)

    def _sequence(self, batch: Sequence[_Pending]) -> None:
        """Runs one batch.  The lock is held from the fold to the publication, so no reader sees a state that is not
        published; a failed batch leaves the log broken and the fold as the database has it."""
        with self.fold_lock:
            if self._broken is None:
                try:
                    self._publish(self._take(batch))
                except TrainmarkError as e:
                    self._broken = BackendError(
                        f"the log stopped writing: {e}; start again to recover", code="log-stopped"
                    )
                    self.fold = Fold(self._entries.leaves(0, self._head.size))
            for pending in batch:
                if self._broken is not None and not pending.answer.done():
                    pending.answer.set_exception(self._broken)

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
                    code, _, text = reason.partition(": ")
                    pending.answer.set_exception(RefusedError(text, code=code, field="statement"))
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
            self._entries.commit(old, head, leaves, tiles)
            self._edge, self._head = edge, head
            self._tiles.write(tiles)
            self._tiles.write_checkpoint(head.note)
            self._entries.published()
        for index, waiting in taken.items():
            for pending in waiting:
                pending.answer.set_result(Logged(index, self._head.size, self._head.note))


def _disagreement(message: str) -> ConflictError:
    return ConflictError(f"{message}: refusing to run", code="log-disagreement")
