"""The four stores in memory: the reference whose behaviour every other store has to match.

Nothing is durable.  What a log holds is a separate value (:class:`MemoryLog`), so that a test may close its store and
open it again, as after a crash.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from ledger.encoding import sha256
from ledger.manifests import Entry
from ledger.ports import Access, AnchorRow, Head, ManifestRecord, Match, TokenRecord
from ledger.store import rules
from ledger.tiles import Tile


@dataclass
class MemoryLog:
    """What stays of a log when its store is closed."""

    head: Head | None = None
    leaves: list[bytes] = field(default_factory=list)
    staged: dict[Tile, bytes] = field(default_factory=dict)
    first: dict[bytes, int] = field(default_factory=dict)
    """The index of the first leaf with a SHA-256."""
    writer: MemoryEntryStore | None = None


class MemoryEntryStore:
    """``EntryStore`` over a :class:`MemoryLog`; several may read one log, one may write."""

    def __init__(self, log: MemoryLog | None = None, *, writing: bool = True) -> None:
        self._log = MemoryLog() if log is None else log
        if writing:
            if self._log.writer is not None:
                raise rules.second_writer(f"process {os.getpid()}")
            self._log.writer = self

    def head(self) -> Head | None:
        return self._log.head

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        rules.check_append(old_size, head, leaves)
        log = self._writing()
        if len(log.leaves) != old_size:
            raise rules.stale_head(len(log.leaves), old_size)
        staged = dict(log.staged)
        for tile, data in tiles:
            if staged.setdefault(tile, data) != data:
                raise rules.tile_conflict(tile)
        for index, leaf in enumerate(leaves, old_size):
            log.first.setdefault(sha256(leaf), index)
        log.leaves.extend(leaves)
        log.head, log.staged = head, staged

    def check_writer(self) -> None:
        self._writing()

    def staged(self) -> list[tuple[Tile, bytes]]:
        return sorted(self._log.staged.items())

    def published(self) -> None:
        self._writing().staged.clear()

    def leaf(self, index: int) -> bytes:
        return next(self.leaves(index, index + 1))

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        rules.check_range(start, end, len(self._log.leaves))
        return iter(self._log.leaves[start:end])

    def index_of(self, digest: bytes) -> int | None:
        return self._log.first.get(digest)

    def indices_of(self, digests: Sequence[bytes]) -> Mapping[bytes, int]:
        rules.check_find(digests)
        return {digest: self._log.first[digest] for digest in digests if digest in self._log.first}

    def close(self) -> None:
        if self._log.writer is self:
            self._log.writer = None

    def _writing(self) -> MemoryLog:
        if self._log.writer is not self:
            raise rules.not_writer()
        return self._log


class MemoryTileStore:
    """``TileStore`` in a dictionary."""

    def __init__(self) -> None:
        self._tiles: dict[Tile, bytes] = {}
        self._checkpoint: bytes | None = None

    def read(self, tile: Tile) -> bytes:
        if tile not in self._tiles:
            raise rules.no_tile(tile)
        return self._tiles[tile]

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        for tile, data in tiles:
            if self._tiles.setdefault(tile, data) != data:
                raise rules.tile_conflict(tile)

    def read_checkpoint(self) -> bytes | None:
        return self._checkpoint

    def write_checkpoint(self, note: bytes) -> None:
        self._checkpoint = note


class MemoryBlobStore:
    """``BlobStore`` in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}

    def put(self, data: bytes) -> bytes:
        digest = sha256(data)
        self._blobs[digest] = data
        return digest

    def get(self, digest: bytes) -> bytes:
        rules.check_digest(digest)
        if digest not in self._blobs:
            raise rules.no_blob(digest)
        return self._blobs[digest]

    def has(self, digest: bytes) -> bool:
        rules.check_digest(digest)
        return digest in self._blobs

    def delete(self, digest: bytes) -> None:
        rules.check_digest(digest)
        self._blobs.pop(digest, None)

    def digests(self) -> Iterator[bytes]:
        return iter(list(self._blobs))


class MemoryCatalog:
    """``Catalog`` in dictionaries; one lock makes each method one step."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._manifests: dict[int, tuple[ManifestRecord, list[bytes]]] = {}
        self._lookup: dict[bytes, list[tuple[int, int, int]]] = {}
        self._licenses: dict[bytes, tuple[bytes, bytes]] = {}
        self._tokens: dict[bytes, TokenRecord] = {}
        self._statuses: dict[tuple[int, int], int] = {}
        self._anchors: dict[str, AnchorRow] = {}
        self._once: dict[str, int] = {}
        self._access: dict[bytes, Access] = {}

    def add_manifest(self, record: ManifestRecord, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._remove(record.leaf)
            self._manifests[record.leaf] = (record, [entry.data for entry in entries])
            for digest, leaf, entry, kind in rules.lookup_rows(record.leaf, entries):
                self._lookup.setdefault(digest, []).append((leaf, entry, kind))

    def remove_manifest(self, leaf: int) -> None:
        with self._lock:
            self._remove(leaf)

    def _remove(self, leaf: int) -> None:
        if self._manifests.pop(leaf, None) is None:
            return
        kept = {digest: [row for row in rows if row[0] != leaf] for digest, rows in self._lookup.items()}
        self._lookup = {digest: rows for digest, rows in kept.items() if rows}

    def manifest(self, leaf: int) -> ManifestRecord | None:
        found = self._manifests.get(leaf)
        return found[0] if found else None

    def manifests(self, before: int | None, limit: int, by: str | None = None) -> list[ManifestRecord]:
        rules.check_limit(limit)
        with self._lock:
            found = [
                record
                for record, _ in self._manifests.values()
                if by in (None, record.by) and (before is None or record.leaf < before)
            ]
        return sorted(found, key=lambda record: record.leaf, reverse=True)[:limit]

    def manifests_at(self, place: str) -> list[ManifestRecord]:
        with self._lock:
            return [record for _, (record, _) in sorted(self._manifests.items()) if record.place == place]

    def entry(self, leaf: int, entry: int) -> bytes:
        found = self._manifests.get(leaf)
        if found is None or not 0 <= entry < len(found[1]):
            raise rules.no_entry(leaf, entry)
        return found[1][entry]

    def entries(self, leaf: int, start: int, limit: int) -> list[bytes]:
        rules.check_limit(limit)
        found = self._manifests.get(leaf)
        return found[1][max(start, 0) :][:limit] if found else []

    def entries_after(self, place: tuple[int, int], limit: int) -> list[tuple[int, int, bytes]]:
        rules.check_limit(limit)
        with self._lock:
            found = [
                (leaf, number, data)
                for leaf, (_, entries) in sorted(self._manifests.items())
                for number, data in enumerate(entries)
                if (leaf, number) > place
            ]
        return found[:limit]

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[Match]]:
        rules.check_find(digests)
        with self._lock:
            return {
                digest: [
                    Match(leaf, entry, rules.KINDS[kind - 1]) for leaf, entry, kind in sorted(self._lookup[digest])
                ]
                for digest in digests
                if digest in self._lookup
            }

    def add_license(self, license_digest: bytes, terms: bytes, text: bytes) -> None:
        self._licenses.setdefault(license_digest, (terms, text))

    def license(self, license_digest: bytes) -> tuple[bytes, bytes] | None:
        return self._licenses.get(license_digest)

    def licenses(self, after: bytes | None, limit: int) -> list[bytes]:
        rules.check_limit(limit)
        digests = sorted(self._licenses)
        return digests[bisect_right(digests, after) if after is not None else 0 :][:limit]

    def add_token(self, record: TokenRecord) -> None:
        with self._lock:
            if (record.status_list, record.status_index) not in self._statuses:
                raise rules.no_slot(record.status_list, record.status_index)
            if self._tokens.setdefault(record.digest, record) != record:
                raise rules.other_record("token-conflict", record.digest)

    def token(self, digest: bytes) -> TokenRecord | None:
        return self._tokens.get(digest)

    def tokens(self, creator: str | None, before: int | None, limit: int) -> list[TokenRecord]:
        rules.check_limit(limit)
        with self._lock:
            found = [
                record
                for record in self._tokens.values()
                if creator in (None, record.creator) and (before is None or record.leaf < before)
            ]
        return sorted(found, key=lambda record: record.leaf, reverse=True)[:limit]

    def reserve_status(self, status_list: int, status_index: int) -> bool:
        with self._lock:
            if (status_list, status_index) in self._statuses:
                return False
            self._statuses[status_list, status_index] = 0
            return True

    def set_status(self, status_list: int, status_index: int, value: int) -> None:
        rules.check_status(value)
        with self._lock:
            if (status_list, status_index) not in self._statuses:
                raise rules.no_slot(status_list, status_index)
            self._statuses[status_list, status_index] = value

    def fill_statuses(self, status_list: int, values: Sequence[int]) -> None:
        for value in values:
            rules.check_status(value)
        with self._lock:
            self._statuses.update({(status_list, slot): value for slot, value in enumerate(values)})

    def statuses(self, status_list: int) -> Mapping[int, int]:
        with self._lock:
            return {index: value for (n, index), value in self._statuses.items() if n == status_list and value}

    def add_anchor(self, row: AnchorRow) -> None:
        with self._lock:
            self._anchors[row.transaction] = row

    def anchors(self, before: int | None, limit: int) -> list[AnchorRow]:
        rules.check_limit(limit)
        with self._lock:
            found = [row for row in self._anchors.values() if before is None or row.size < before]
        return sorted(found, key=lambda row: (-row.size, row.transaction))[:limit]

    def anchor_covering(self, index: int) -> AnchorRow | None:
        with self._lock:
            found = [row for row in self._anchors.values() if row.size > index and row.record is not None]
        return min(found, key=lambda row: (row.size, row.transaction), default=None)

    def use_once(self, word: str, expires_at: int, now: int) -> bool:
        with self._lock:
            self._once = {known: until for known, until in self._once.items() if until > now}
            self._access = {digest: access for digest, access in self._access.items() if access.expires_at > now}
            if word in self._once:
                return False
            self._once[word] = expires_at
            return True

    def add_access(self, access: Access) -> None:
        with self._lock:
            if self._access.setdefault(access.token_digest, access) != access:
                raise rules.other_record("access-conflict", access.token_digest)

    def access(self, token_digest: bytes, now: int) -> Access | None:
        found = self._access.get(token_digest)
        return found if found is not None and found.expires_at > now else None

    def clear_derived(self) -> None:
        with self._lock:
            self._manifests, self._lookup, self._licenses = {}, {}, {}

    def close(self) -> None:
        pass
