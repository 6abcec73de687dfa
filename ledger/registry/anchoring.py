"""Anchoring the log's head on a chain: one anchor for each head that is sent, whatever the volume.

``Anchoring.step`` does what there is to do and may be called again and again: follow the transactions that are under
way, compare the chain's head with the log, send a transaction for the newest head.  Nothing is sent, and nothing found
on the chain is written down, unless the log was compared in the same step; a log that the chain contradicts is stopped,
since whatever it wrote would be a fork.

One transaction at a time waits for its block.  Those in a block that is not final yet are followed beside it, so heads
are anchored as often as ``step`` is called, however long the chain takes to finalize.  A transaction that waits for
``STUCK_SECONDS`` is replaced by one for the newest head (:meth:`ledger.ports.Anchor.submit` takes the place of what
waits).

What was sent is in the catalog before anything waits for it.  The state of a transaction (pending, mined, final) is the
operator's bookkeeping; evidence is the record, which is collected when the transaction is mined and collected again
when its block turns out to have been replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ledger.canonical import canonical, parse
from ledger.encoding import sha256
from ledger.errors import ConflictError, NotFoundError, TrainmarkError, VerificationError
from ledger.ports import Anchor, AnchorRow, AnchorStatus, Catalog
from ledger.receipt import AnchorRecord, hex_text, parse_record, verify_record
from ledger.registry.service import Registry

OPEN_STATES: Final = ("pending", "mined")
MINED_STATES: Final = ("mined", "final")
FOLLOWED: Final = 64
"""Transactions under way that are followed; of a chain that finalizes nothing, the newest."""
STUCK_SECONDS: Final = 600
"""How long a transaction may wait for its block before the newest head takes its place."""
MAX_RECORD_BYTES: Final = 1 << 20


def read_record(data: bytes) -> AnchorRecord:
    """Reads the record of an ``AnchorRow``.

    Raises:
        MalformedError: not what ``Anchoring`` writes there.
    """
    return parse_record(parse(data, "record", MAX_RECORD_BYTES, max_text=MAX_RECORD_BYTES))


class Anchoring:
    """Anchors `registry`'s log through `anchor`; called from one thread at a time.  `steady` measures how long a
    transaction waits, in seconds, whatever happens to the time of day.

    `changes` counts what was written to the catalog, also by a step that raised an error later; `warning` says what the
    last step could not do while it did the rest.
    """

    def __init__(self, registry: Registry, anchor: Anchor, steady: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        self.anchor = anchor
        self._steady = steady
        self.origin = sha256(registry.identity.origin.encode())
        self.warning: str | None = None
        self.changes = 0
        # The rows in an open state, oldest first: nobody else writes any.
        self._open = {row.transaction: row for row in _open_rows(registry.catalog, anchor.identity.chain)}
        # When the transaction that waits was sent; after a start nobody knows, so it is given its time again.
        self._sent_at = steady()

    @property
    def under_way(self) -> bool:
        """Whether a transaction is not decided yet."""
        return bool(self._open)

    def compare(self) -> tuple[int, bytes]:
        """Returns the chain's head, which the log contains.

        Raises:
            ConflictError: ``log-disagreement``: the chain holds what the log does not, so the log was rolled back or
                forked; it is stopped.
            BackendError: the chain could not be asked.
        """
        size, root = self.anchor.head(self.origin)
        log = self.registry.log
        held = log.head.size
        if size > held:
            found = f"the chain holds {size} leaves, the log has {held}"
        elif size and log.root_at(size) != root:
            found = f"the chain holds another root for {size} leaves than the log"
        else:
            return size, root
        error = ConflictError(f"{found}: refusing to run", code="log-disagreement")
        log.stop(error)
        raise error

    def follow(self, limit: int = FOLLOWED) -> tuple[AnchorRow, ...]:
        """Looks at the newest `limit` transactions under way, oldest first; returns the rows that changed.

        Raises:
            BackendError: the chain could not be asked; nothing is lost, call again.
        """
        rows = list(self._open.values())[-limit:]
        return tuple(new for row in rows if (new := self._follow(row)) != row)

    def step(self) -> tuple[AnchorRow, ...]:
        """Follows what is under way, then sends the newest head if the chain does not have it and nothing waits;
        returns the rows that changed, as they are now.

        Raises:
            ConflictError: ``log-disagreement``, see ``compare``; nothing was sent.
            BackendError: the chain could not be asked; nothing is lost, call again.
            RefusedError: the contract refused the head.
            VerificationError: what the chain found for its own head does not anchor it; nothing was written down.
        """
        self.warning = None
        changed = {row.transaction: row for row in self.follow()}
        size, root = self.compare()
        if self.registry.log.head.size > size and not self._waits():
            sent = self._send(size)
            changed[sent.transaction] = sent
        # Last, because a node that does not answer this must not keep heads from the chain.
        for found in self._recall(size, root):
            changed[found.transaction] = found
        return tuple(changed.values())

    def _waits(self) -> bool:
        """Whether a transaction waits for its block that should have more time for it."""
        is_pending = any(row.state == "pending" for row in self._open.values())
        return is_pending and self._steady() - self._sent_at < STUCK_SECONDS

    def _send(self, size: int) -> AnchorRow:
        """Sends the newest head to the chain, which holds `size` leaves of this log."""
        log = self.registry.log
        head = log.head
        proof = log.consistency(size, head.size) if size else ()
        transaction = self.anchor.submit(self.origin, head.size, head.root, proof)
        self._sent_at = self._steady()
        row = AnchorRow(head.size, head.root, self.anchor.identity.chain, transaction, "pending", None, None, None)
        self._write(row)
        return self._follow(row)

    def _recall(self, size: int, root: bytes) -> tuple[AnchorRow, ...]:
        """Writes down the anchor of the head that ``compare`` gave, if nobody knows it: it was sent by a process that
        did not live to write it down, or given up as lost and mined after all."""
        if not size or any((row.size, row.state) == (size, "mined") for row in self._open.values()):
            return ()
        known = self.registry.catalog.anchor_covering(size - 1)
        if known is not None and known.size == size:
            return ()
        try:
            transaction = self.anchor.find(self.origin, size)
            status = self.anchor.status(transaction)
            row = AnchorRow(size, root, self.anchor.identity.chain, transaction, "pending", None, None, None)
            if status.state not in MINED_STATES:
                return ()
            new = _seen(row, status, self._collect(row, status.block_hash))
        except NotFoundError:
            return ()  # too long ago, so the next head gets its own anchor; or away again, and the next step asks
        self._write(new)
        return (new,)

    def _follow(self, row: AnchorRow) -> AnchorRow:
        """Returns the row as the chain has it now, written down if it changed."""
        status = self.anchor.status(row.transaction)
        record = row.record
        if status.state not in MINED_STATES:
            record = None
        elif record is None or status.block_hash != row.block_hash:
            try:
                record = self._collect(row, status.block_hash)
            except NotFoundError:
                return row  # the block went away between two questions; the next step asks again
            except TrainmarkError as e:
                # Without its record an anchor is worth nothing, so it stays under way; the others do not wait for it.
                self.warning = f"the record of the anchor of {row.size} leaves could not be collected: {e}"
                status, record = replace(status, state="mined"), None
        new = _seen(row, status, record)
        if new != row:
            self._write(new)
        return new

    def _collect(self, row: AnchorRow, block_hash: str | None) -> bytes:
        """Returns the record of a mined transaction.

        Raises:
            NotFoundError: it is in no block, or no longer in that of `block_hash`.
            VerificationError: the transaction did not anchor the row's head.
            BackendError: the chain could not be asked, or gives no record.
        """
        value = self.anchor.record(row.transaction)
        head = verify_record(parse_record(value), self.origin)
        if hex_text(head.block_hash) != block_hash:
            raise NotFoundError(f"the transaction is in block {hex_text(head.block_hash)} now, not in {block_hash}")
        if (head.size, head.root) != (row.size, row.root):
            raise VerificationError(
                f"the transaction anchored {head.size} leaves with the root {head.root.hex()}, "
                f"expected {row.size} with {row.root.hex()}",
                code="anchor",
            )
        return canonical(value, max_text=MAX_RECORD_BYTES)

    def _write(self, row: AnchorRow) -> None:
        self.registry.catalog.add_anchor(row)
        self.changes += 1
        if row.state not in OPEN_STATES:
            self._open.pop(row.transaction, None)
            return
        self._open[row.transaction] = row
        if len(self._open) > FOLLOWED:
            del self._open[next(iter(self._open))]


def _seen(row: AnchorRow, status: AnchorStatus, record: bytes | None) -> AnchorRow:
    """Returns the row with where its transaction stands."""
    return replace(
        row, state=status.state, block_number=status.block_number, block_hash=status.block_hash, record=record
    )


def _open_rows(catalog: Catalog, chain: str) -> list[AnchorRow]:
    """Returns the newest ``FOLLOWED`` rows of `chain` that are in an open state, smallest size first.

    Read page by page: transactions that were replaced may be many.  What is older than a page without such a row, but
    with a final one, was decided before.
    """
    rows: list[AnchorRow] = []
    before = None
    while len(rows) < FOLLOWED:
        page = catalog.anchors(before, FOLLOWED)
        found = [row for row in page if row.state in OPEN_STATES and row.chain == chain]
        rows += found
        if len(page) < FOLLOWED or (not found and any(row.state == "final" for row in page)):
            break
        before = page[-1].size
    return rows[:FOLLOWED][::-1]
