"""What every store refuses, in the same words, and how look-up rows are made (:mod:`ledger.ports`).

A guard that raises ValueError names a mistake of the caller; the functions that return an error say what the stored
state does not allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from ledger.encoding import HASH_BYTES
from ledger.errors import BackendError, ConflictError, NotFoundError, RefusedError
from ledger.manifests import Entry
from ledger.ports import MAX_COPIES, MAX_DIGESTS, Head
from ledger.tiles import Tile, format_path

KINDS: Final = ("provenance", "published", "content")
"""The kinds of file digest in their order; a kind is stored as its position, from 1 (docs/format.md, section 7)."""


def check_append(old_size: int, head: Head, leaves: Sequence[bytes]) -> None:
    """Checks that `leaves` are as many as lie between `old_size` and the new head, which is not of an empty log."""
    if old_size < 0 or head.size < 1 or head.size - old_size != len(leaves):
        raise ValueError(f"{len(leaves)} leaves do not lead from size {old_size} to {head.size}")


def check_range(start: int, end: int, size: int) -> None:
    """Checks that the log of `size` leaves has leaves `start` … `end`-1.

    Raises:
        NotFoundError: it does not have them all.
    """
    if start > end:
        raise ValueError(f"leaves {start} to {end} are no range")
    if start < 0 or end > size:
        raise no_leaf(start if start < 0 else end - 1, size)


def check_limit(limit: int) -> None:
    """Checks the length of a list asked for."""
    if limit < 0:
        raise ValueError(f"a limit is 0 or more, not {limit}")


def check_find(digests: Sequence[bytes]) -> None:
    """Checks the number of digests looked up at once."""
    if len(digests) > MAX_DIGESTS:
        raise ValueError(f"at most {MAX_DIGESTS} digests are looked up at once, not {len(digests)}")


def check_digest(digest: bytes) -> None:
    """Checks that `digest` can be the name of a blob."""
    if len(digest) != HASH_BYTES:
        raise ValueError(f"a digest has {HASH_BYTES} bytes, not {len(digest)}")


def check_status(value: int) -> None:
    """Checks a token's status: two bits (docs/format.md, section 6)."""
    if not 0 <= value <= 3:
        raise ValueError(f"a status is 0 to 3, not {value}")


def lookup_rows(leaf: int, entries: Sequence[Entry]) -> list[tuple[bytes, int, int, int]]:
    """Returns (digest, leaf, entry, kind) of all entries, sorted: the order in which a database takes them fastest.

    Of one digest and kind the first ``MAX_COPIES`` entries, so that nobody makes one look-up return a whole manifest.
    """
    copies: Counter[tuple[bytes, str]] = Counter()
    rows = []
    for number, entry in enumerate(entries):
        for kind, digest in entry.digests:
            copies[digest, kind] += 1
            if copies[digest, kind] <= MAX_COPIES:
                rows.append((digest, leaf, number, KINDS.index(kind) + 1))
    return sorted(rows)


def no_leaf(index: int, size: int) -> NotFoundError:
    """The log of `size` leaves has no leaf `index`."""
    return NotFoundError(f"the log has {size} leaves, no leaf {index}", field="leaf")


def no_tile(tile: Tile) -> NotFoundError:
    """The tile is not there under its width."""
    return NotFoundError(f"no {format_path(tile)}", field="tile")


def no_blob(digest: bytes) -> NotFoundError:
    """Nothing has that SHA-256."""
    return NotFoundError(f"no blob sha256:{digest.hex()}", field="blob")


def no_entry(leaf: int, entry: int) -> NotFoundError:
    """The payload of that leaf has no such entry, or is not there."""
    return NotFoundError(f"no entry {entry} of manifest leaf {leaf}", field="entry")


def no_slot(status_list: int, status_index: int) -> NotFoundError:
    """A status was set, or a token added, before its slot was reserved."""
    return NotFoundError(f"slot {status_index} of status list {status_list} is not reserved", field="status")


def stale_head(found: int, expected: int) -> ConflictError:
    """Somebody else has appended since the caller read the head."""
    return ConflictError(f"the log has {found} leaves, not {expected}", code="stale-head", field="head")


def tile_conflict(tile: Tile) -> ConflictError:
    """A file that never changes would have changed."""
    return ConflictError(f"{format_path(tile)} holds other bytes", code="tile-conflict", field="tile")


def other_checkpoint() -> ConflictError:
    """Another writer has published since this one did, or looked."""
    return ConflictError("another writer has replaced it", code="second-writer", field="checkpoint")


def second_writer(holder: str) -> ConflictError:
    """The log has a writer already; `holder` says who, as far as is known."""
    return ConflictError(f"the log is being written by {holder}; one writes at a time", code="second-writer")


def other_record(code: str, digest: bytes) -> ConflictError:
    """Something else is stored under a digest that only one thing can have; `code` names it."""
    return ConflictError(f"another record is stored under {digest.hex()}", code=code)


def not_writer() -> RefusedError:
    """A store opened for reading, or closed, was asked to write."""
    return RefusedError("the log was opened for reading only, or is closed", code="not-writer")


def shared_session() -> RefusedError:
    """The database's connection is the log's writer's already: a lock on it would be two processes'."""
    return RefusedError(
        "the database's address leads to a pooler that gives the session of the log's writer to others too; expected "
        "the server itself, or a pooler in session mode",
        code="not-writer",
        field="database",
    )


def lock_lost() -> RefusedError:
    """The connection that held the lock of the log's one writer was lost; another may be writing by now."""
    return RefusedError("the connection that made this the log's writer was lost", code="not-writer")


def corrupt_blob(digest: bytes) -> BackendError:
    """The bytes under a digest are not those that were stored."""
    return BackendError(f"the bytes of sha256:{digest.hex()} have changed", code="corrupt", field="blob")
