"""The log's one writer: batches, folds, signs, commits and publishes, in the order that loses nothing.

Order of one batch (docs/format.md, section 4): fold the statements (what would be void is refused and never logged) →
new tiles → sign the checkpoint → compare-and-swap leaves, head and staged tiles in the database → tiles → witnesses →
checkpoint → answer.  A crash before the swap leaves nothing; after it, ``Log`` finishes the publication when it opens.
Opening *is* recovery: it compares database, tiles and published checkpoint, and refuses to run when they disagree.

Witnesses are asked for a checkpoint that is committed, so that a log never shows a witness what it might not keep, and
before anybody else sees it.  The head in the database is the log's own note; the published one has the cosignatures
too.  Without the quorum the commit stays as it is: readers have the old head and the state at it, the log takes nothing
more (``quorum``), and the witnesses are asked again until they answer; the next start asks as well.

Whatever else goes wrong in a batch stops the log: nobody is left waiting, nothing more is taken, and what is published
stays readable.  Starting again recovers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

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
from ledger.keys import Signer
from ledger.merkle import EMPTY_ROOT, Tree, leaf_hashes
from ledger.note import ED25519, Note, Signature, VerifierKey, format_vkey, is_signed, names_key, parse_note
from ledger.policy import verify_checkpoint
from ledger.ports import Cosigners, EntryStore, Head, TileStore
from ledger.registry.agreement import disagreements
from ledger.registry.public import PublicLog, disagreement, fold_leaf, verified
from ledger.registry.rotation import checkpoint_signers, log_keys, to_sign
from ledger.sequencer import append, check_edge, load_edge
from ledger.state import Fold
from ledger.statements import Statement, UnknownBody, parse_statement, verify_statement
from ledger.witnessing import add_cosignatures, true_cosignatures

MAX_BATCH: Final = 1024
MAX_POOL: Final = 8192
QUORUM_SECONDS: Final = 10.0
"""How long statements wait for the witnesses' quorum before they are told that it is not reached."""
FIRST_PAUSE: Final = 0.25
MAX_PAUSE: Final = 15.0
"""Seconds before the witnesses are asked again: the first pause, and the longest of those that double from there."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Logged:
    """A statement's place: leaf `index`, covered by the published checkpoint `note` of `size` leaves."""

    index: int
    size: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What was done to publish a head: `leaves` new ones made it `size`, in `seconds`, witnesses included."""

    leaves: int
    size: int
    seconds: float


Answer: TypeAlias = Logged | TrainmarkError
"""The place of a statement, or why it has none."""


class _Submission:
    """`count` statements that came together; `done` has the answers once there is one to each."""

    def __init__(self, count: int) -> None:
        self.done: Future[list[Answer]] = Future()
        self._guard = threading.Lock()
        self._answers: dict[int, Answer] = {}
        self._count = count

    def answer(self, number: int, answer: Answer) -> None:
        """Answers statement `number`; its first answer counts."""
        with self._guard:
            self._answers.setdefault(number, answer)
            if len(self._answers) == self._count and not self.done.done():
                self.done.set_result([self._answers[n] for n in range(self._count)])


@dataclass(slots=True)
class _Pending:
    statement: Statement
    submission: _Submission
    number: int

    def answer(self, answer: Answer) -> None:
        """Answers whoever waits for this statement."""
        self.submission.answer(self.number, answer)


class Log(PublicLog):
    """An append-only log named `origin`; one instance writes, from one thread of its own.

    `further` are log keys made after `key`, the oldest first; :mod:`ledger.registry.rotation` says which of all signs.
    With `cosigners` no checkpoint is published that lacks what their policy asks for; a statement waits for it up to
    about `quorum_seconds`.  `observer` is told of each publication, in the writer's thread.

    Raises:
        ConflictError: ``log-disagreement``: database, tiles and checkpoint tell different stories.
    """

    def __init__(
        self,
        origin: str,
        key: Signer,
        entries: EntryStore,
        tiles: TileStore,
        cosigners: Cosigners | None = None,
        quorum_seconds: float = QUORUM_SECONDS,
        further: Sequence[Signer] = (),
    ) -> None:
        super().__init__(origin, entries, tiles)
        self.observer: Callable[[Batch], None] | None = None
        self._keys = (key, *further)
        self._cosigners = cosigners
        self._quorum_seconds = quorum_seconds
        self._lacking: BackendError | None = None
        self._pool: deque[_Pending] = deque()
        self._pool_changed = threading.Condition()
        self._stopped_by: str | None = None
        self._closed = False
        self._ahead = Fold()
        self._unpublished: Head | None = None
        began = time.monotonic()
        self._recover()
        recovered = {"leaves": self._head.size, "milliseconds": _milliseconds(time.monotonic() - began)}
        _logger.info("the log is open: database, tiles and checkpoint agree", extra=recovered)
        self._writer = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def vkey(self) -> str:
        """The log's public key, as a C2SP vkey: that of the policy that is logged, or is to be logged next.

        Raises:
            RefusedError: ``keys-incomplete``: the private half of none of the two is here.
        """
        with self.fold_lock:
            named = log_keys(policy for _, policy in self.fold.policies)
        return format_vkey(self._verifier(to_sign(self._keys, named, "log")))

    def _verifier(self, key: Signer) -> VerifierKey:
        return VerifierKey(self.origin, ED25519, key.public)

    @property
    def waiting(self) -> int:
        """How many statements are in the pool."""
        return len(self._pool)

    @property
    def broken(self) -> BackendError | None:
        """Why the log takes nothing: for good (code ``log-stopped``), or until the witnesses answer (``quorum``)."""
        if self._stopped_by is None:
            return self._lacking
        return BackendError(f"the log stopped writing: {self._stopped_by}", code="log-stopped")

    def _recover(self) -> None:
        """Compares database, tiles and published checkpoint, then finishes the publication that was cut off, if any.

        Nothing is published before all three agree: a checkpoint that does not extend the published one would fork.
        """
        head, published = self._entries.head(), self._tiles.read_checkpoint()
        if head is None:
            if published is not None:
                raise disagreement("the tile folder has a checkpoint, the database has no leaf")
            head = self._empty_head()
        self._check_signed(head)
        try:
            hashes = self._check_leaves(head, published)
            self._tiles.write(self._entries.staged())
            self._edge = load_edge(head.size, self._tiles.read)
            check_edge(self._edge, hashes)
        except (NotFoundError, MalformedError, VerificationError) as e:
            raise disagreement(f"the database is at {head.size} leaves, and the tile folder: {e}") from e
        self._open_at(head, published)

    def _open_at(self, head: Head, published: bytes | None) -> None:
        """Publishes the committed `head`; without the quorum stays at the published one and leaves it to the writer."""
        try:
            self._head = self._publishable(head, published) if head.size else head
        except BackendError as e:
            if e.code != "quorum":
                raise
            self._unpublished, self._lacking = head, e
            self._head = self._old_head(published)
        else:
            if head.size:
                self._show(self._head)
                self._entries.published()
        for index, leaf in enumerate(self._entries.leaves(0, head.size)):
            statement = verified(leaf)
            fold_leaf(self._ahead, leaf, statement)
            if index < self._head.size:
                fold_leaf(self._fold, leaf, statement)

    def _old_head(self, published: bytes | None) -> Head:
        if published is None:
            return self._empty_head()
        checkpoint, note = parse_checkpoint(published)
        self._check_own(note, "the published checkpoint")
        return Head(checkpoint.size, checkpoint.root, published)

    def _empty_head(self) -> Head:
        empty = Checkpoint(self.origin, 0, EMPTY_ROOT)
        return Head(0, empty.root, sign_checkpoint(empty, *checkpoint_signers(self._keys, [])))

    def _check_signed(self, head: Head) -> None:
        checkpoint, note = parse_checkpoint(head.note)
        if checkpoint != Checkpoint(self.origin, head.size, head.root):
            raise disagreement(
                f"the database's checkpoint is of {checkpoint.origin} at {checkpoint.size} leaves, expected "
                f"{self.origin} at {head.size}: another database, another log key, or another origin setting"
            )
        self._check_own(note, "the database's checkpoint")

    def _check_own(self, note: Note, what: str) -> None:
        """Checks that one of the log's keys at hand signed the note: while its key changes, two did."""
        own = [self._verifier(key) for key in self._keys]
        if not any(is_signed(note, key) for key in own):
            signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in note.signatures)
            raise disagreement(f"{what} is signed by {signers}, the key is {' or '.join(map(format_vkey, own))}")

    def _check_leaves(self, head: Head, published: bytes | None) -> Sequence[bytes]:
        """Checks that the database's leaves lead to its head, and on the way there to the published checkpoint; returns
        their hashes."""
        tree = Tree(leaf_hashes(self._entries.leaves(0, head.size)))
        shown = None if published is None else parse_checkpoint(published)[0]
        for found in disagreements(self.origin, tree, head, shown):
            raise disagreement(f"{found}")
        return tree.levels[0]

    def append(self, statement: Statement) -> Logged:
        """Logs a statement whose signature is checked here.

        Returns when a published checkpoint covers it; what else of it is as ``submit`` says.

        Raises:
            VerificationError: ``bad-signature``.
            RefusedError, ConflictError, BackendError: as ``submit``, and its answer.
        """
        [answer] = self.submit([verify_statement(statement)])
        if isinstance(answer, TrainmarkError):
            raise answer
        return answer

    def submit(self, statements: Sequence[Statement]) -> list[Answer]:
        """Logs statements whose signatures have been verified, all or none of them taken; each is answered for itself.

        They are logged in their order, in one batch or several.  The same statement again gives its first place, so
        that a request may be repeated; but it is logged anew when it says again what another statement has changed
        since (:meth:`ledger.state.Fold.is_overtaken`).  Returns when a published checkpoint covers what is logged.
        Else an answer is a RefusedError, as the statement would be void (code ``void``, ``key-invalid`` or
        ``wrong-log``), or a BackendError (``log-stopped``, ``quorum``): then it is unknown whether the statement is or
        will be in the log, and saying it again is safe.

        Raises:
            RefusedError: ``unknown-type``.
            ConflictError: ``pool-full``: try again later.
            BackendError: ``log-stopped``, ``quorum``.
        """
        if any(isinstance(statement.body, UnknownBody) for statement in statements):
            raise RefusedError("a log holds what its registry can read", code="unknown-type", field="statement.type")
        if not statements:
            return []
        submission = _Submission(len(statements))
        with self._pool_changed:
            if (broken := self.broken) is not None:
                raise broken
            if self._closed:
                raise BackendError("the log is closed", code="log-stopped")
            if len(self._pool) + len(statements) > MAX_POOL:
                raise ConflictError("the log's pool is full; try again in a few seconds", code="pool-full")
            self._pool.extend(_Pending(statement, submission, n) for n, statement in enumerate(statements))
            self._pool_changed.notify()
        return submission.done.result()

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
            is_first = self._stopped_by is None
            if is_first:
                self._stopped_by = reason
        if is_first:
            _logger.error("the log stopped writing: %s", reason)
        self._refuse(batch)

    def _refuse(self, batch: Iterable[_Pending]) -> None:
        """Tells everybody who waits why the log is ``broken``: those of `batch`, then those in the pool."""
        with self._pool_changed:
            waiting = [*batch, *self._pool]
            self._pool.clear()
            self._pool_changed.notify()
        if (broken := self.broken) is not None:
            for pending in waiting:
                pending.answer(broken)

    def _write(self) -> None:
        """The writer's thread: batch after batch until the log is closed or stopped."""
        if self._unpublished is not None:
            began = time.monotonic()
            with self._stopping_on_error([]):
                size = self._head.size
                leaves = self._entries.leaves(size, self._unpublished.size)
                self._publish(self._unpublished, [verify_statement(parse_statement(leaf)) for leaf in leaves], [])
                self._tell(self._unpublished.size - size, began)
        while batch := self._next_batch():
            self._sequence(batch)

    def _next_batch(self) -> list[_Pending]:
        """Waits for statements; returns none when the log is closed, and all of them are written, or stopped."""
        with self._pool_changed:
            self._pool_changed.wait_for(lambda: self._pool or self._closed or self._stopped_by is not None)
            return [self._pool.popleft() for _ in range(min(len(self._pool), MAX_BATCH))]

    def _sequence(self, batch: Sequence[_Pending]) -> None:
        """Runs one batch: it is folded ahead of what readers see, and again when it is published, so that no reader
        sees a state that is not, or waits for a disk or a witness."""
        began = time.monotonic()
        with self._stopping_on_error(batch):
            if self._stopped_by is not None:  # stopped between the pool and here
                self._stop(self._stopped_by, batch)
                return
            taken = self._take(batch)
            leaves = [waiting[0].statement for index, waiting in sorted(taken.items()) if index >= self._head.size]
            if leaves:
                self._publish(self._commit(leaves), leaves, batch)
                self._tell(len(leaves), began)
            for index, waiting in taken.items():
                logged = Logged(index, self._head.size, self._head.note)
                for pending in waiting:
                    pending.answer(logged)

    def _tell(self, leaves: int, began: float) -> None:
        published = Batch(leaves, self._head.size, time.monotonic() - began)
        extra = {"leaves": leaves, "size": published.size, "milliseconds": _milliseconds(published.seconds)}
        _logger.debug("published", extra=extra)
        if self.observer is not None:
            self.observer(published)

    @contextmanager
    def _stopping_on_error(self, batch: Sequence[_Pending]) -> Iterator[None]:
        """Stops the log on any failure: what was folded ahead may be in no log.

        The top of a thread: a defect of this program is caught here like any failure, else all would wait for ever.
        """
        try:
            yield
        except Exception as e:
            if not isinstance(e, TrainmarkError):
                _logger.exception("the log's writer failed")
            # What a defect says of itself may name paths and values of this machine, and readers are strangers.
            said = str(e) if isinstance(e, TrainmarkError) else type(e).__name__
            self._stop(f"{said}; start again to recover", batch)

    def _take(self, batch: Sequence[_Pending]) -> dict[int, list[_Pending]]:
        """Folds what may be logged and answers what may not; returns who waits for which index, in order."""
        taken: dict[int, list[_Pending]] = {}
        digests = [sha256(pending.statement.data) for pending in batch]
        places = dict(self._entries.indices_of(digests))
        for pending, digest in zip(batch, digests, strict=True):
            statement = pending.statement
            index = places.get(digest)
            if index is not None and self._ahead.is_overtaken(statement):
                index = None
            if index is None:
                reason = self._ahead.why_void(statement)
                if reason is not None:
                    pending.answer(void_error(reason))
                    continue
                index = places[digest] = self._ahead.size
                self._ahead.add_statement(statement)
            taken.setdefault(index, []).append(pending)
        return taken

    def _commit(self, statements: Sequence[Statement]) -> Head:
        """Appends to the log: once this returns they are in it for ever, and nobody has seen them."""
        old, leaves = self._edge.size, [statement.data for statement in statements]
        edge, tiles = append(self._edge, leaves)
        checkpoint = Checkpoint(self.origin, edge.size, edge.root)
        named = log_keys(policy for _, policy in self._ahead.policies)
        head = Head(edge.size, edge.root, sign_checkpoint(checkpoint, *checkpoint_signers(self._keys, named)))
        if self._stopped_by is not None:  # stopped meanwhile: nothing of this batch is there yet
            raise BackendError(self._stopped_by, code="log-stopped")
        self._entries.commit(old, head, leaves, tiles)
        self._tiles.write(tiles)
        self._edge = edge
        return head

    def _publish(self, committed: Head, statements: Sequence[Statement], batch: Sequence[_Pending]) -> None:
        """Shows the committed head to everybody, once the witnesses cosigned it; `batch` waits for that.

        `statements` are its leaves beyond the published head.

        Raises:
            BackendError: ``quorum``: the log was closed or stopped before the witnesses answered.
        """
        head = self._witnessed(committed, batch)
        self._show(head)
        with self.fold_lock:
            for statement in statements:
                self._fold.add_statement(statement)
            self._head, self._lacking = head, None
        self._entries.published()

    def _show(self, head: Head) -> None:
        """Replaces the published checkpoint.  Witnesses take their time, in which this may cease to be the one writer.

        Raises:
            RefusedError: ``not-writer``.
            ConflictError: ``log-disagreement``: more is published, so another process writes or has written.
        """
        self._entries.check_writer()
        shown = self._tiles.read_checkpoint()
        if shown is not None and (size := parse_checkpoint(shown)[0].size) > head.size:
            raise disagreement(f"{size} leaves are published, and the next checkpoint is of {head.size}")
        self._tiles.write_checkpoint(head.note)

    def _witnessed(self, committed: Head, batch: Sequence[_Pending]) -> Head:
        """Asks the witnesses until the quorum is reached; tells everybody who waits when that takes too long."""
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return self._publishable(committed)
            except BackendError as e:
                if e.code != "quorum":
                    raise
                lacking = e
            if self._lacking is not None or time.monotonic() - began >= self._quorum_seconds:
                self._lacking = lacking
                self._refuse(batch)
            if self._lacking is None:  # they are told in time, whatever the pause
                pause = min(pause, began + self._quorum_seconds - time.monotonic())
            with self._pool_changed:
                if self._pool_changed.wait_for(lambda: self._closed or self._stopped_by is not None, max(0.0, pause)):
                    raise lacking
            pause = min(max(2 * pause, FIRST_PAUSE), MAX_PAUSE)

    def _publishable(self, committed: Head, published: bytes | None = None) -> Head:
        """Returns the head with the note that may be published: with witnesses, one that their policy accepts.

        What `published` has of it already counts.

        Raises:
            BackendError: ``quorum``.
        """
        if self._cosigners is None:
            return committed
        policy, own = self._cosigners.policy, parse_note(committed.note)
        lines: tuple[Signature, ...] = ()
        if published is not None and parse_note(published).text == own.text:
            lines = true_cosignatures(own.text, parse_note(published).signatures, policy.witnesses.values())
        names = [name for name, key in policy.witnesses.items() if any(names_key(line, key) for line in lines)]
        if not names or not policy.is_reached(names):
            lines = self._cosigners.cosign(committed.note, lambda old: self.consistency(old, committed.size))
        note = add_cosignatures(committed.note, lines)
        verify_checkpoint(parse_note(note), policy)  # whatever the adapter says
        return Head(committed.size, committed.root, note)


def void_error(reason: str) -> RefusedError:
    """Returns the refusal of a statement that would be void for a reason of ``Fold.why_void``."""
    code, _, text = reason.partition(": ")
    return RefusedError(text, code=code, field="statement")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
