"""What the use cases need of the outside, as Protocols with written rules.

An adapter keeps every rule written here; ``tests/ports`` runs one suite per port on the in-memory reference and on
each real implementation.  Every method may raise :class:`ledger.errors.BackendError`; nothing else leaks through.  An
argument that no caller may pass (a negative limit, leaves that do not lead to the head) is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from ledger.canonical import Object
from ledger.keys import Signer as Signer  # it signs notes and statements, which ports build on
from ledger.manifests import Entry
from ledger.note import Signature
from ledger.policy import Policy
from ledger.tiles import Tile

MAX_DIGESTS: Final = 10_000
"""Digests in one look-up."""
MAX_COPIES: Final = 16
"""Entries of one manifest that are found by one digest of one kind: more copies say nothing new."""


@dataclass(frozen=True, slots=True)
class ChainIdentity:
    """Which chain, contract and sender heads are anchored by; all hex is lower-case with ``0x``.

    ``chain`` is a CAIP-2 id (``eip155:<n>``), ``genesis`` the hash of block 0 (a development chain that was started
    anew keeps its number but not its genesis).
    """

    chain: str
    genesis: str
    contract: str
    publisher: str


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """Where a transaction stands: the operator's bookkeeping, not evidence.

    ``pending``: known to the node, in no block.  ``mined``: in a block that may still be reorganised away.
    ``final``: covered by the chain's ``finalized`` tag (never ``safe``).  ``lost``: the node does not know it.
    ``failed``: mined with status 0.
    """

    state: Literal["pending", "mined", "final", "lost", "failed"]
    block_number: int | None = None
    block_hash: str | None = None


class Anchor(Protocol):
    """One publisher on one chain; heads are kept there per (publisher, origin)."""

    @property
    def identity(self) -> ChainIdentity:
        """Constant for the life of the adapter."""

    def head(self, origin: bytes) -> tuple[int, bytes]:
        """Returns (size, root) the contract holds for this publisher and `origin` (32 bytes); (0, 32 zero bytes) before
        the first."""

    def submit(self, origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> str:
        """Sends ``anchor(origin, size, root, consistency)`` and returns the transaction hash (0x hex).

        It takes the place of this publisher's transaction that waits for its block, if there is one.  After a
        BackendError nobody knows whether it was sent: ``head`` and ``find`` tell.

        Raises:
            RefusedError: the contract would revert (code is the kebab-case name of its error); nothing was sent.
        """

    def find(self, origin: bytes, size: int) -> str:
        """Returns the hash of this publisher's mined transaction that anchored `size` leaves of `origin`.

        Looks at recent blocks only: it is for a sender that stopped between sending and writing down what it sent.

        Raises:
            NotFoundError: no recent block has it.
        """

    def status(self, transaction: str) -> AnchorStatus:
        """Returns where the transaction stands now."""

    def record(self, transaction: str) -> Object:
        """Returns the anchor record of docs/format.md, section 5 (``kind: evm``) of a mined transaction: block header
        and receipt proof, already checked by :mod:`ledger.receipt`.

        Raises:
            NotFoundError: not mined, or no longer, or it anchored nothing for this publisher.
        """

    def block_hash(self, number: int) -> str:
        """Returns the hash (0x hex) of the canonical block `number`. Raises NotFoundError beyond the head."""

    def close(self) -> None:
        """Releases files and connections; may be called twice."""


class Clock(Protocol):
    """The time, as whole UTC seconds since 1970."""

    def __call__(self) -> int: ...


class Entropy(Protocol):
    """Returns `size` bytes nobody can guess."""

    def __call__(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: `size` leaves, their `root`, and the signed checkpoint `note` over both.

    In an ``EntryStore`` the note is the log's own; what is published has the witnesses' cosignatures after it, and may
    be of an older size for as long as they are missing.
    """

    size: int
    root: bytes
    note: bytes


class Cosigners(Protocol):
    """The witnesses of one log."""

    @property
    def policy(self) -> Policy:
        """Who they are, and how many of them a checkpoint needs; constant for the life of the adapter."""

    def cosign(self, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> tuple[Signature, ...]:
        """Returns cosignatures over the log's checkpoint `note`: each true, one of each witness at most, and enough.

        ``consistency(size)`` gives the proof that the checkpoint extends the first `size` leaves; what it raises is
        passed on.  Takes about as long as the adapter lets a witness take, whatever the witnesses do.  May be called
        again for the same note.

        Raises:
            BackendError: ``quorum``: too few answered with a true one, or none did and one holds what the checkpoint
                does not extend; asking again may help.
        """

    def close(self) -> None:
        """Ends the connections; may be called twice."""


class EntryStore(Protocol):
    """The log's side of the database: leaves, head and what is staged for publication.

    Opening one for writing takes the log's only writer's lock, or raises ConflictError (code ``second-writer``) naming
    who holds it; the lock of a dead process is free.  One opened for reading, or closed, or that has lost its lock
    with the connection that held it, raises RefusedError (code ``not-writer``) where it would write.
    """

    def head(self) -> Head | None:
        """Returns the committed head; None before the first leaf."""

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        """Stores leaves ``old_size … head.size-1``, the new head and the tiles to publish, all or nothing.

        Durable once it returns.  Tiles staged earlier stay until ``published``.  Without leaves, the note is replaced.

        Raises:
            ConflictError: ``stale-head``: the stored size is not `old_size` (0 stands for no head); ``tile-conflict``:
                a tile of that name is staged with other bytes.
        """

    def check_writer(self) -> None:
        """Returns if this store may write now: for what is written elsewhere under the same lock.

        Raises:
            RefusedError: ``not-writer``.
        """

    def staged(self) -> list[tuple[Tile, bytes]]:
        """Returns the tiles committed and not yet ``published``, in their own order."""

    def published(self) -> None:
        """Forgets the staged tiles: they and the checkpoint are on the public side."""

    def leaf(self, index: int) -> bytes:
        """Returns a leaf. Raises NotFoundError outside the log."""

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        """Yields leaves start … end-1. Raises NotFoundError, at the call, unless all of them exist."""

    def index_of(self, digest: bytes) -> int | None:
        """Returns the index of the leaf whose SHA-256 is `digest`; the first one if it is there twice."""

    def indices_of(self, digests: Sequence[bytes]) -> Mapping[bytes, int]:
        """Returns ``index_of`` of each of at most ``MAX_DIGESTS`` digests that has one, in one question."""

    def close(self) -> None:
        """Gives the lock back; may be called twice."""


class TileStore(Protocol):
    """The log's public side: files that never change, and the one checkpoint."""

    def read(self, tile: Tile) -> bytes:
        """Returns a tile. Raises NotFoundError; a partial tile is found only under its own width."""

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        """Stores tiles, each whole or not at all; all durable once it returns.

        Raises:
            ConflictError: ``tile-conflict``: a tile of that name holds other bytes (nothing was changed there).
        """

    def read_checkpoint(self) -> bytes | None:
        """Returns the published note; None before the first."""

    def write_checkpoint(self, note: bytes) -> None:
        """Replaces the checkpoint by one atomic step, durable once it returns.

        Raises:
            ConflictError: ``second-writer``: somebody else has replaced it since this store read or wrote it last
                (nothing was changed).  Only a store that can tell raises it; the lock is the ``EntryStore``'s.
        """


class BlobStore(Protocol):
    """Bytes under their SHA-256."""

    def put(self, data: bytes) -> bytes:
        """Stores `data`, durable once it returns, and returns its digest; storing it again changes nothing."""

    def get(self, digest: bytes) -> bytes:
        """Returns the bytes, checked against `digest`. Raises NotFoundError, or BackendError ``corrupt``."""

    def has(self, digest: bytes) -> bool:
        """Returns whether the blob is there."""

    def delete(self, digest: bytes) -> None:
        """Erases the blob; nothing happens if there is none."""

    def digests(self) -> Iterator[bytes]:
        """Yields the digests of all blobs, in no order."""


class PinningNode(Protocol):
    """A node that keeps public bytes under their CID (:mod:`ledger.cid`)."""

    def put(self, data: bytes) -> None:
        """Stores and pins `data`; again changes nothing. Raises BackendError, ``corrupt`` if its CID there differs."""

    def get(self, cid: bytes) -> bytes:
        """Returns the bytes, checked against `cid`. Raises BackendError, ``corrupt`` if they are others."""

    def remove(self, cid: bytes) -> None:
        """Ends the pin; nothing happens if there is none."""

    def close(self) -> None:
        """Ends the connections; may be called twice."""


class Outbox(Protocol):
    """What is still to be brought to a ``PinningNode``, and what is there; each method is one transaction, durable once
    it returns."""

    def size(self) -> int:
        """Returns how many leaves of the log were followed."""

    def note(self, size: int, leaves: Iterable[int]) -> None:
        """Notes manifest leaves that there is something to do for, and that `size` leaves were followed."""

    def todo(self) -> list[int]:
        """Returns the manifest leaves that there is something to do for, ascending."""

    def done(self, leaf: int) -> None:
        """Forgets what there was to do for a leaf."""

    def pin(self, leaf: int, cids: Mapping[bytes, bytes]) -> None:
        """Notes that blobs of a leaf are on the node, or will be: their CIDs by their digests."""

    def drop(self, leaf: int) -> None:
        """Notes that a leaf has no blob there any more; CIDs that no leaf has become ``unpins``."""

    def forget(self, digest: bytes) -> None:
        """Notes that no leaf has this blob there any more."""

    def cid(self, digest: bytes) -> bytes | None:
        """Returns the CID of a blob that a leaf has there."""

    def digests(self) -> list[bytes]:
        """Returns the digests of all blobs that leaves have there."""

    def unpins(self) -> list[bytes]:
        """Returns the CIDs that the node should keep no more."""

    def unpinned(self, cid: bytes) -> None:
        """Forgets one of ``unpins``."""

    def close(self) -> None:
        """Releases the file; may be called twice."""


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """The payload of manifest leaf `leaf`: header bytes, and where it stands in a library; erased with its entries."""

    leaf: int
    manifest: bytes
    by: str
    header: bytes
    entries: bytes
    """Digest of the blob that holds the entries."""
    license: bytes
    place: str
    """``creator_id/dataset_id/version/part``: one offer at a time."""
    received_at: int


@dataclass(frozen=True, slots=True)
class Match:
    """A file digest found: entry `entry` of manifest `leaf` has it as `kind` (provenance, published, content)."""

    leaf: int
    entry: int
    kind: str


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An issued token: `digest` of the issuer-signed JWT, the whole SD-JWT, the exact files, and its status slot."""

    digest: bytes
    leaf: int
    creator: str
    sd_jwt: str
    files: bytes
    status_list: int
    status_index: int


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """One anchor as the operator knows it; `record` is the JSON of docs/format.md, section 5, once mined."""

    size: int
    root: bytes
    chain: str
    transaction: str
    state: str
    block_number: int | None
    block_hash: str | None
    record: bytes | None


@dataclass(frozen=True, slots=True)
class Access:
    """A bearer token, known by its SHA-256: who it speaks for, by which key (both did:key), for what, until when (UTC
    seconds)."""

    token_digest: bytes
    subject: str
    key: str
    scopes: tuple[str, ...]
    expires_at: int


class Catalog(Protocol):
    """The registry's index and the home of what may be erased; all of it but tokens and access follows from leaves and
    blobs.  Each method is one transaction: done and durable when it returns, or not done."""

    def add_manifest(self, record: ManifestRecord, entries: Sequence[Entry]) -> None:
        """Adds a payload with its entries and look-up rows; the same leaf again replaces it."""

    def remove_manifest(self, leaf: int) -> None:
        """Erases the payload, entries and look-up rows of a leaf."""

    def manifest(self, leaf: int) -> ManifestRecord | None:
        """Returns the payload of a leaf, if it is there."""

    def manifests(self, before: int | None, limit: int, by: str | None = None) -> list[ManifestRecord]:
        """Returns up to `limit` payloads (of party `by` only, if given), newest leaf first, of leaves < `before`."""

    def manifests_at(self, place: str) -> list[ManifestRecord]:
        """Returns the payloads at a place, oldest first."""

    def entry(self, leaf: int, entry: int) -> bytes:
        """Returns the canonical bytes of an entry. Raises NotFoundError."""

    def entries(self, leaf: int, start: int, limit: int) -> list[bytes]:
        """Returns up to `limit` entries from number `start` on, in order."""

    def entries_after(self, place: tuple[int, int], limit: int) -> list[tuple[int, int, bytes]]:
        """Returns up to `limit` entries of all payloads as (leaf, entry, bytes), ascending, after `place` (leaf and
        entry), where there need not be any."""

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[Match]]:
        """Returns the matches of each digest that has any, by leaf, entry, and kind in the order of ``Match``; of one
        digest and kind in one manifest the first ``MAX_COPIES``.  At most ``MAX_DIGESTS`` digests."""

    def add_license(self, license_digest: bytes, terms: bytes, text: bytes) -> None:
        """Adds terms and their text; again changes nothing."""

    def license(self, license_digest: bytes) -> tuple[bytes, bytes] | None:
        """Returns (terms, text)."""

    def licenses(self, after: bytes | None, limit: int) -> list[bytes]:
        """Returns up to `limit` license digests, ascending, after `after`."""

    def add_token(self, record: TokenRecord) -> None:
        """Adds an issued token; the same again changes nothing.

        Raises:
            NotFoundError: its status slot was not reserved before.
            ConflictError: ``token-conflict``: another record has that digest.
        """

    def token(self, digest: bytes) -> TokenRecord | None:
        """Returns a token by its digest."""

    def tokens(self, creator: str | None, before: int | None, limit: int) -> list[TokenRecord]:
        """Returns up to `limit` tokens, newest leaf first, of leaves < `before`."""

    def reserve_status(self, status_list: int, status_index: int) -> bool:
        """Reserves a status slot for ever; returns False if it was taken."""

    def set_status(self, status_list: int, status_index: int, value: int) -> None:
        """Sets the value of a reserved slot (0 valid, 1 revoked, 2 suspended, 3 refused). Raises NotFoundError if it is
        not reserved."""

    def fill_statuses(self, status_list: int, values: Sequence[int]) -> None:
        """Reserves the slots 0 … ``len(values) - 1`` of a list, where they are free, and gives all of them these
        values: for a list of which nobody knows which slots are taken."""

    def statuses(self, status_list: int) -> Mapping[int, int]:
        """Returns the values that are not 0 of a list."""

    def add_anchor(self, row: AnchorRow) -> None:
        """Adds an anchor, or replaces the one with the same transaction."""

    def anchors(self, before: int | None, limit: int) -> list[AnchorRow]:
        """Returns up to `limit` anchors, biggest size first (equal ones by transaction), of sizes < `before`."""

    def anchor_covering(self, index: int) -> AnchorRow | None:
        """Returns the smallest anchor with a record whose size is greater than `index`."""

    def use_once(self, word: str, expires_at: int, now: int) -> bool:
        """Remembers `word` until `expires_at`; returns False if it is remembered already. Forgets words and bearer
        tokens that expired (``expires_at`` ≤ `now`)."""

    def add_access(self, access: Access) -> None:
        """Adds a bearer token; the same again changes nothing. Raises ConflictError (``access-conflict``) if another
        record has its digest."""

    def access(self, token_digest: bytes, now: int) -> Access | None:
        """Returns a bearer token that has not expired."""

    def clear_derived(self) -> None:
        """Erases all that follows from leaves and blobs: manifests, entries, look-up rows, licenses."""

    def close(self) -> None:
        """Releases the connection; may be called twice."""
