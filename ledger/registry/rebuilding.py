"""The database of a registry brought forward, from nothing or from a backup, to what is published: the log is no loss.

Leaves come from the tiles, payloads and status lists from the blobs.  Nothing is changed before all that is published
was found whole and to contain what the database has.  Cut off, it is done again; until it is through, no log opens.

What is nowhere else does not come back: tokens, with what they disclose, and bearer tokens; when a manifest was
received; which transactions anchored the log, but for the newest, which is found again on the chain.  Whoever holds a
forgotten token keeps it, so its slot stays taken: each list is filled up, and new tokens get new lists.  A list whose
array is gone too is revoked as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import sha256
from ledger.errors import ConflictError, NotFoundError
from ledger.merkle import Tree, leaf_hash
from ledger.note import Note, VerifierKey, format_note, is_signed, names_key, parse_vkey, verify_note
from ledger.ports import BlobStore, Catalog, EntryStore, Head, TileStore
from ledger.registry import payloads
from ledger.registry.claims import is_erased
from ledger.state import Fold
from ledger.statements import PolicyBody, StatusBody
from ledger.tiles import read_leaves
from ledger.tokens.status import REVOKED, STATUS_COUNT, empty_status, status_array, status_value

LEAVES_AT_ONCE: Final = 4096
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done: the database's size before and now, manifests entered anew, and what could not be found.

    `lacking` are manifest leaves without a payload (never published, or their blobs are gone), `forgotten` counts
    tokens, `revoked` are lists that had to be revoked as a whole.
    """

    old_size: int
    size: int
    entered: tuple[int, ...]
    lacking: tuple[int, ...]
    forgotten: int
    revoked: tuple[str, ...]


def rebuild(
    tiles: TileStore,
    entries: EntryStore,
    catalog: Catalog,
    blobs: BlobStore,
    key: VerifierKey,
    now: int,
    report: Progress | None = None,
) -> Rebuilt:
    """Brings the database forward to the published checkpoint, which `key` signed; no registry may run meanwhile.

    Raises:
        NotFoundError: no checkpoint, or a tile is missing.
        MalformedError, VerificationError: the checkpoint is not of that key, or a leaf is not the one its tile holds.
        ConflictError: ``log-disagreement``: tiles and checkpoint, or they and the database, tell different stories.
        BackendError: a store cannot be used; ``corrupt``: a blob is damaged, and counts as lost once it is removed.
    """
    checkpoint, shown = _published(tiles, key)
    old = entries.head()
    old_size = 0 if old is None else old.size
    if old_size > checkpoint.size:
        raise _disagreement(f"the database is at {old_size} leaves, the published checkpoint at {checkpoint.size}")

    # 1. All that is published, against its checkpoint and what the database has of it.
    tree, fold = _read(tiles, checkpoint, entries.leaves(0, old_size), report)
    if old is not None and tree.root(old_size) != old.root:
        raise _disagreement(f"the database has another root at {old_size} leaves than the tiles")

    # 2. What the catalog has of manifests and status lists; first, since a log that opened without would sign others.
    manifests = [m for m in fold.manifests.values() if not is_erased(m)]
    entered = payloads.rebuild([m for m in manifests if catalog.manifest(m.index) is None], blobs, catalog, now)
    lacking = [m.index for m in manifests if catalog.manifest(m.index) is None]
    forgotten = sum(catalog.token(digest) is None for digest in fold.tokens)
    revoked = [uri for uri, (_, body) in fold.statuses.items() if not _restore(uri, body, forgotten, catalog, blobs)]

    # 3. The leaves that are missing.  The note is of the whole log from the first part on: cut off, no log opens.
    leaves = islice(read_leaves(checkpoint.size, tiles.read), old_size, None)
    note, at = _own_note(shown, key, (policy for _, policy in fold.policies)), old_size
    while part := list(islice(leaves, LEAVES_AT_ONCE)):
        entries.commit(at, Head(at + len(part), tree.root(at + len(part)), note), part, [])
        at += len(part)
    return Rebuilt(old_size, checkpoint.size, tuple(entered), tuple(lacking), forgotten, tuple(revoked))


def _published(tiles: TileStore, key: VerifierKey) -> tuple[Checkpoint, Note]:
    """Returns the published checkpoint and its note."""
    data = tiles.read_checkpoint()
    if data is None:
        raise NotFoundError("nothing was published there", field="checkpoint")
    checkpoint, note = parse_checkpoint(data)
    verify_note(note, key)
    return checkpoint, note


def _own_note(note: Note, key: VerifierKey, policies: Iterable[PolicyBody]) -> bytes:
    """Returns the note as the log itself signed it, by `key` and by those that its policies name: while its key changes
    there are two."""
    keys = {key, *(parse_vkey(policy.log_key) for policy in policies)}
    own = {one for one in keys if is_signed(note, one)}
    lines = tuple(line for line in note.signatures if any(names_key(line, one) for one in own))
    return format_note(Note(note.text, lines))


def _read(
    tiles: TileStore, checkpoint: Checkpoint, known: Iterator[bytes], report: Progress | None
) -> tuple[Tree, Fold]:
    """Returns the tree and the state of all published leaves, the first of which are `known`."""
    hashes, fold = [], Fold()
    for index, leaf in enumerate(read_leaves(checkpoint.size, tiles.read)):
        if next(known, leaf) != leaf:
            raise _disagreement(f"the database has another leaf {index} than the tiles")
        hashes.append(leaf_hash(leaf))
        fold.add(leaf)
        if report is not None:
            report(index + 1, checkpoint.size)
    tree = Tree(hashes)
    if tree.root() != checkpoint.root:
        raise _disagreement(f"the leaves in the tiles have another root than the checkpoint at {checkpoint.size}")
    return tree, fold


def _restore(uri: str, body: StatusBody, forgotten: int, catalog: Catalog, blobs: BlobStore) -> bool:
    """Makes a status list what the log says; returns False if nobody knows any more what that was."""
    number = int(uri.rpartition("/")[2])
    if not forgotten and sha256(status_array(catalog.statuses(number))) == body.digest:
        return True  # what the database has is the newest
    array = _array(body.digest, blobs)
    values = [REVOKED] * STATUS_COUNT if array is None else [status_value(array, n) for n in range(STATUS_COUNT)]
    catalog.fill_statuses(number, values)
    return array is not None


def _array(digest: bytes, blobs: BlobStore) -> bytes | None:
    try:
        return empty_status() if digest == sha256(empty_status()) else blobs.get(digest)
    except NotFoundError:
        return None


def _disagreement(message: str) -> ConflictError:
    return ConflictError(f"{message}: nothing was changed", code="log-disagreement")
