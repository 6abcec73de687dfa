"""Sharing: the blobs of manifests that are for the public are kept on an IPFS node as well, and of no others.

The log is the queue: each review says what becomes of a manifest, and how far it was followed is in the outbox, with
what is still to be done.  So nothing is lost while the node is away, or when this process ends, and nobody who
publishes waits for it.  What is hidden or erased is unpinned.  What others have fetched meanwhile nobody can take back:
docs/guides/operator.md says so to whoever turns this on.

``SharedBlobStore`` reads a blob that is missing here from the node, checks it and keeps it; it forgets an erased one
before it is gone here, so that it does not come back that way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from ledger.cid import cid_of
from ledger.encoding import sha256
from ledger.errors import BackendError, NotFoundError, TrainmarkError
from ledger.ports import BlobStore, ManifestRecord, Outbox, PinningNode
from ledger.registry.claims import hidden
from ledger.registry.service import Registry
from ledger.statements import ReviewBody, parse_statement

PART: Final = 1000
"""Leaves that are followed in one step of the outbox."""


@dataclass(slots=True)
class Sharing:
    """Brings a node to what the log says; from one thread at a time."""

    registry: Registry
    outbox: Outbox
    node: PinningNode

    def step(self) -> None:
        """Does all there is to do now.

        Raises:
            BackendError: the node or a store did not do its part; what is left stays to be done.
            NotFoundError: a blob that is to be shared is lost.
        """
        self._follow()
        public = [leaf for leaf in self.outbox.todo() if not self._is_dropped(leaf)]
        trouble: TrainmarkError | None = None
        # What is to go goes first: a node that takes nothing more may lack the space.
        work = [partial(self._unpin, cid) for cid in self.outbox.unpins()]
        for do in (*work, *(partial(self._share, leaf) for leaf in public)):
            try:
                do()
            except TrainmarkError as e:
                if e.code == "unavailable":  # then for the next one too
                    raise
                trouble = e
        if trouble is not None:
            raise trouble

    def _unpin(self, cid: bytes) -> None:
        self.node.remove(cid)
        self.outbox.unpinned(cid)

    def _is_dropped(self, leaf: int) -> bool:
        """Forgets what the node has of a manifest, unless it is public."""
        with self.registry.log.fold_lock:
            manifest = self.registry.log.fold.manifests.get(leaf)
            if manifest is not None and manifest.visibility == "public" and not hidden(manifest):
                return False
        self.outbox.drop(leaf)
        self.outbox.done(leaf)
        return True

    def _follow(self) -> None:
        """Notes the manifests that the leaves since the last time say something about."""
        log = self.registry.log
        end = log.head.size
        for start in range(self.outbox.size(), end, PART):
            part = range(start, min(start + PART, end))
            bodies = [parse_statement(log.leaf(index)).body for index in part]
            self.outbox.note(part.stop, [body.leaf for body in bodies if isinstance(body, ReviewBody)])

    def _share(self, leaf: int) -> None:
        record = self.registry.catalog.manifest(leaf)
        if record is None:
            return  # it is being made anew
        blobs = self._blobs(record)
        self.outbox.pin(leaf, {sha256(blob): cid_of(blob) for blob in blobs})
        for blob in blobs:
            self.node.put(blob)
        self.outbox.done(leaf)

    def _blobs(self, record: ManifestRecord) -> tuple[bytes, ...]:
        terms = self.registry.catalog.license(record.license) or ()
        return (self.registry.blobs.get(record.manifest), self.registry.blobs.get(record.entries), *terms)


class SharedBlobStore:
    """``BlobStore`` over another one and the blobs that the node has of it."""

    def __init__(self, blobs: BlobStore, outbox: Outbox, node: PinningNode) -> None:
        self._blobs, self._outbox, self._node = blobs, outbox, node

    def put(self, data: bytes) -> bytes:
        return self._blobs.put(data)

    def get(self, digest: bytes) -> bytes:
        try:
            return self._blobs.get(digest)
        except NotFoundError:
            cid = self._outbox.cid(digest)
            if cid is None:
                raise
        data = self._node.get(cid)
        if sha256(data) != digest:
            raise BackendError("the outbox has the CID of another blob", code="corrupt", field="outbox")
        self._blobs.put(data)
        if self._outbox.cid(digest) is None:  # erased meanwhile
            self._blobs.delete(digest)
            raise NotFoundError(f"no blob sha256:{digest.hex()}", field="blob")
        return data

    def has(self, digest: bytes) -> bool:
        return self._blobs.has(digest)

    def delete(self, digest: bytes) -> None:
        self._outbox.forget(digest)
        self._blobs.delete(digest)

    def digests(self) -> Iterator[bytes]:
        yield from dict.fromkeys([*self._blobs.digests(), *self._outbox.digests()])
