"""The published log as readers have it: head, state, leaves and proofs; and the log of another process, followed.

What is published is the checkpoint beside the tiles: a database may be ahead of it.  :class:`ledger.registry.log.Log`,
the writer, is ``PublicLog`` too; a ``Follower`` stands in any process beside the writer's, as many as wanted.  It takes
nothing on trust: the leaves of the database lead to the root of the checkpoint, and the checkpoint is signed by the
log's key, or it answers no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from itertools import islice
from typing import Final

from ledger.checkpoint import parse_checkpoint
from ledger.encoding import sha256
from ledger.errors import BackendError, ConflictError, NotFoundError, TrainmarkError
from ledger.merkle import EMPTY_ROOT, consistency_proof, inclusion_proof, root_at
from ledger.note import Note, format_vkey, is_signed, parse_vkey
from ledger.ports import EntryStore, Head, TileStore
from ledger.sequencer import Edge, append
from ledger.state import Fold
from ledger.statements import Statement, parse_statement, verify_statement
from ledger.tiles import TileNodes

PAGE: Final = 4096
"""Leaves that are read at once."""
BEHIND_SECONDS: Final = 5.0
"""How long a database may come after the checkpoint before that is trouble."""


class PublicLog:
    """The published log named `origin`, over its stores; safe to read from several threads."""

    def __init__(self, origin: str, entries: EntryStore, tiles: TileStore) -> None:
        self.origin = origin
        self._entries = entries
        self._tiles = tiles
        self._head = Head(0, EMPTY_ROOT, b"")
        self._fold = Fold()
        self.fold_lock = threading.RLock()

    @property
    def head(self) -> Head:
        """The published head."""
        return self._head

    @property
    def fold(self) -> Fold:
        """The state of the published leaves; to be read under ``fold_lock``, which is never held for long."""
        return self._fold

    @property
    def broken(self) -> BackendError | None:
        """Why the log does not go on, if it does not."""
        return None

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

    def close(self) -> None:
        """Closes the stores; may be called twice."""
        self._entries.close()


class Follower(PublicLog):
    """The log that another process writes, as far as ``follow`` has read it; named `origin`, if that is known.

    Raises:
        BackendError: ``not-published``: there is no checkpoint yet; ``unavailable``: the database is behind it; or a
            store cannot be used.
        ConflictError: ``log-disagreement``: database and checkpoint tell different stories.
    """

    def __init__(self, entries: EntryStore, tiles: TileStore, origin: str | None = None) -> None:
        note = tiles.read_checkpoint()
        if note is None:
            raise not_published()
        super().__init__(origin or parse_checkpoint(note)[0].origin, entries, tiles)
        self._edge = Edge()
        self._broken: BackendError | None = None
        self._behind_since: float | None = None
        self.follow()
        if not self._head.size:
            raise _behind(0, parse_checkpoint(note)[0].size)

    @property
    def broken(self) -> BackendError | None:
        """Why it follows no further (code ``log-stopped``)."""
        return self._broken

    @property
    def fold(self) -> Fold:
        """The state of the published leaves; to be read under ``fold_lock``.

        Raises:
            BackendError: ``log-stopped``: what was read last is not what was published.
        """
        if self._broken is not None:
            raise self._broken
        return self._fold

    def follow(self) -> bool:
        """Reads what was published since; returns whether that is anything.  Called from one thread at a time.

        Raises:
            ConflictError: ``log-disagreement``: and nothing is answered any more.
            BackendError: a store cannot be read now, or for ``BEHIND_SECONDS`` the database has had less than what is
                published; call it again.
        """
        if self._broken is not None:
            raise self._broken
        note = self._tiles.read_checkpoint()
        if note is None:
            raise BackendError("the checkpoint is gone", code="unavailable", field="checkpoint")
        if note == self._head.note:
            self._behind_since = None
            return False
        try:
            return self._follow_to(note)
        except ConflictError as e:
            self._broken = BackendError(f"{e}", code="log-stopped")
            raise

    def _follow_to(self, note: bytes) -> bool:
        checkpoint, parsed = parse_checkpoint(note)
        if checkpoint.origin != self.origin or checkpoint.size < self._head.size:
            raise disagreement(
                f"what was read is {self.origin} at {self._head.size} leaves, the checkpoint is {checkpoint.origin} at "
                f"{checkpoint.size}"
            )
        try:
            leaves = self._entries.leaves(self._edge.size, checkpoint.size)
        except NotFoundError:  # the database may be a copy that comes a little later
            self._behind_since = self._behind_since or time.monotonic()
            if time.monotonic() - self._behind_since < BEHIND_SECONDS:
                return False
            raise _behind(self._head.size, checkpoint.size) from None
        self._behind_since = None
        edge, read = self._edge, list[tuple[bytes, Statement | None]]()
        while page := list(islice(leaves, PAGE)):
            edge, _ = append(edge, page)
            read += [(leaf, verified(leaf)) for leaf in page]
            if not self._head.size:  # nobody reads yet
                self._take(read)
                read.clear()
        if edge.root != checkpoint.root:
            raise disagreement(f"the database's leaves have another root than the checkpoint at {checkpoint.size}")
        with self.fold_lock:
            self._take(read)
            self._check_signed(checkpoint.size, parsed)
            self._head, self._edge = Head(checkpoint.size, checkpoint.root, note), edge
        return True

    def _take(self, read: Iterable[tuple[bytes, Statement | None]]) -> None:
        for leaf, statement in read:
            fold_leaf(self._fold, leaf, statement)

    def _check_signed(self, size: int, note: Note) -> None:
        """Checks that the log key of the newest policy signed, or, while a new one comes, the one before."""
        keys = [parse_vkey(vkey) for vkey in dict.fromkeys(body.log_key for _, body in self._fold.policies)]
        if not any(is_signed(note, key) for key in keys[-2:]):
            names = " or ".join(map(format_vkey, keys[-2:])) or "any key: the log does not begin with a policy"
            raise disagreement(f"the checkpoint at {size} leaves is not signed by {names}")


def verified(leaf: bytes) -> Statement | None:
    """Returns the statement of a leaf; None if it is none, or its signature is not true."""
    try:
        return verify_statement(parse_statement(leaf))
    except TrainmarkError:
        return None


def fold_leaf(fold: Fold, leaf: bytes, statement: Statement | None) -> None:
    """Takes the next leaf, of which ``verified`` returned `statement`."""
    if statement is None:
        fold.add(leaf)  # which says why it is void
    else:
        fold.add_statement(statement)


def not_published() -> BackendError:
    """Returns the refusal to follow what has not begun."""
    return BackendError("nothing is published yet; first start the process that writes the log", code="not-published")


def _behind(size: int, published: int) -> BackendError:
    return BackendError(
        f"the database is behind what is published: {size} of {published} leaves were read", code="unavailable"
    )


def disagreement(message: str) -> ConflictError:
    """Returns the refusal of a log that is not one: `message` names both sides."""
    return ConflictError(f"{message}: refusing to run", code="log-disagreement")
