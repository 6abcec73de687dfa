"""Anchoring the log's head on a chain: one anchor at a time, whatever the volume.

``Anchoring.step`` does the next thing there is to do and may be called again and again: follow the transaction that is
under way, or send one for the newest head.  What was sent is in the catalog before anything waits for it.  The state of
a transaction (pending, mined, final) is the operator's bookkeeping; evidence is the record, which is collected when the
transaction is mined and collected again when its block turns out to have been replaced.
"""

from __future__ import annotations

from typing import Final

from ledger.canonical import canonical, parse
from ledger.encoding import sha256
from ledger.errors import BackendError, ConflictError, NotFoundError
from ledger.ports import Anchor, AnchorRow
from ledger.receipt import AnchorRecord, parse_record
from ledger.registry.service import Registry

OPEN_STATES = ("pending", "mined")
MAX_RECORD_BYTES: Final = 1 << 20


def read_record(data: bytes) -> AnchorRecord:
    """Reads the record of an ``AnchorRow``.

    Raises:
        MalformedError: not what ``Anchoring`` writes there.
    """
    return parse_record(parse(data, "record", MAX_RECORD_BYTES, max_text=MAX_RECORD_BYTES))


class Anchoring:
    """Anchors `registry`'s log through `anchor`; called from one thread at a time.

    Raises:
        ConflictError: ``log-disagreement``: the chain holds a head that this log does not contain.
    """

    def __init__(self, registry: Registry, anchor: Anchor) -> None:
        self.registry = registry
        self.anchor = anchor
        self.origin = sha256(registry.identity.origin.encode())
        self.warning: str | None = None
        try:
            self._compare()
        except BackendError as e:
            self.warning = f"the chain could not be asked, so the log was not compared with it: {e}"

    def _compare(self) -> None:
        """A head on the chain that the log does not contain means a rolled back or forked log."""
        size, root = self.anchor.head(self.origin)
        log = self.registry.log
        if size > log.head.size:
            raise ConflictError(
                f"the chain holds {size} leaves, the log has {log.head.size}: refusing to run", code="log-disagreement"
            )
        if size and log.root_at(size) != root:
            raise ConflictError(
                f"the chain holds another root for {size} leaves than the log: refusing to run",
                code="log-disagreement",
            )

    def step(self) -> AnchorRow | None:
        """Follows the open anchor, or starts one for a head that is not anchored; returns its row, None if all is done.

        Raises:
            BackendError: the chain could not be asked; nothing is lost, call again.
            RefusedError: the contract refused the head.
        """
        catalog, log = self.registry.catalog, self.registry.log
        recent = catalog.anchors(None, 1)
        latest = recent[0] if recent else None
        if latest is not None and latest.state in OPEN_STATES:
            return self._follow(latest)
        head = log.head
        size, anchored = self.anchor.head(self.origin)
        if size and (latest is None or latest.size < size):
            recalled = self._recall(size, anchored)
            if recalled is not None:
                return recalled
        if head.size == size:
            return None
        root = log.root_at(head.size)
        transaction = self.anchor.submit(self.origin, head.size, root, log.consistency(size, head.size) if size else ())
        row = AnchorRow(head.size, root, self.anchor.identity.chain, transaction, "pending", None, None, None)
        catalog.add_anchor(row)
        return self._follow(row)

    def _recall(self, size: int, root: bytes) -> AnchorRow | None:
        """Writes down an anchor that was sent by a process that did not live to write it down."""
        try:
            transaction = self.anchor.find(self.origin, size)
        except NotFoundError:
            return None  # too long ago; the next head gets its own anchor
        row = AnchorRow(size, root, self.anchor.identity.chain, transaction, "pending", None, None, None)
        self.registry.catalog.add_anchor(row)
        return self._follow(row)

    def _follow(self, row: AnchorRow) -> AnchorRow:
        status = self.anchor.status(row.transaction)
        record = row.record
        if status.state in ("mined", "final") and (record is None or status.block_hash != row.block_hash):
            try:
                record = canonical(self.anchor.record(row.transaction), max_text=MAX_RECORD_BYTES)
            except NotFoundError:
                return row  # the block went away between two questions; the next step asks again
        elif status.state in ("pending", "lost", "failed"):
            record = None
        new = AnchorRow(
            row.size,
            row.root,
            row.chain,
            row.transaction,
            status.state,
            status.block_number,
            status.block_hash,
            record,
        )
        if new != row:
            self.registry.catalog.add_anchor(new)
        return new

    def run(self, limit: int = 100) -> AnchorRow | None:
        """Calls ``step`` until the newest head is mined or final, or `limit` is reached; returns the last row."""
        row = None
        for _ in range(limit):
            row = self.step()
            if row is None or row.state in ("final", "lost", "failed"):
                break
        return row
