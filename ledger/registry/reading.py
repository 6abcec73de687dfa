"""What a registry lets everybody read: claims, terms, manifests and their entries, at the state that is published.

It needs no key and writes nothing: a process beside the writer's reads just the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ledger.canonical import parse
from ledger.encoding import digest_encode
from ledger.errors import BackendError, NotFoundError
from ledger.manifests import Entry, Header, parse_entry, read_header
from ledger.merkle import Tree, leaf_hashes
from ledger.ports import Catalog, Clock, ManifestRecord, TileStore
from ledger.registry import payloads
from ledger.registry.claims import ClaimFound, Claims, hidden
from ledger.registry.public import PublicLog
from ledger.statements import PolicyBody
from ledger.terms import Terms, parse_terms

ENTRY_TREES: Final = 16
"""Trees of entries that are kept, of up to 100,000 entries and some 20 MB each."""


class Reading:
    """The public side of one registry over its stores; safe to use from several threads."""

    def __init__(self, log: PublicLog, tiles: TileStore, catalog: Catalog, clock: Clock) -> None:
        self.log = log
        self.tiles = tiles
        self.catalog = catalog
        self.clock = clock
        self._entry_tree = lru_cache(maxsize=ENTRY_TREES)(self._make_entry_tree)
        self._terms = lru_cache(maxsize=1024)(self._read_terms)
        self._header = lru_cache(maxsize=4096)(_read_header)
        self._claims = Claims(log, catalog, self.header, self._terms)

    def close(self) -> None:
        """Ends what writes, if anything does, and closes the stores."""
        self.log.close()
        self.catalog.close()

    @property
    def did(self) -> str:
        """Who runs the registry, as its log says."""
        return self._began[0]

    @property
    def policy(self) -> PolicyBody:
        """What the log says of the registry now: keys, issuer, rules."""
        return self._began[1]

    @property
    def _began(self) -> tuple[str, PolicyBody]:
        with self.log.fold_lock:
            did, policy = self.log.fold.registry, self.log.fold.policy
        if did is None or policy is None:
            raise BackendError("the log has not begun", code="not-published")
        return did, policy

    def claims(self, digests: Sequence[bytes], leaf: int | None = None) -> dict[bytes, list[ClaimFound]]:
        """Returns the public claims on each digest (in manifest `leaf` only, if given).

        Live ones come first.  Raises RefusedError (``too-many``) beyond 10,000 digests.
        """
        return self._claims.find(digests, leaf)

    def terms(self, license_digest: bytes) -> tuple[Terms, bytes]:
        """Returns terms and their text. Raises NotFoundError."""
        found = self.catalog.license(license_digest)
        if found is None:
            raise NotFoundError(f"no license {digest_encode(license_digest)}")
        return parse_terms(found[0]), found[1]

    def _read_terms(self, license_digest: bytes) -> Terms:
        return self.terms(license_digest)[0]

    def header(self, record: ManifestRecord) -> Header:
        """Returns a record's parsed header."""
        return self._header(record.header)

    def manifest(self, leaf: int) -> tuple[ManifestRecord, str]:
        """Returns a public payload and its state.

        Raises:
            NotFoundError: no such manifest leaf, or its payload is hidden, erased or kept back.
        """
        record = self.catalog.manifest(leaf)
        with self.log.fold_lock:
            state = self.log.fold.manifests.get(leaf)
            name = self.log.fold.manifest_state(leaf)
        if record is None or state is None or hidden(state):
            raise NotFoundError(f"no public manifest at leaf {leaf}")
        return record, name

    def all_entries(self, leaf: int) -> list[Entry]:
        """Returns all entries of a payload, in order."""
        entries: list[Entry] = []
        while page := self.catalog.entries(leaf, len(entries), 10_000):
            entries += [parse_entry(data) for data in page]
        return entries

    def entry_path(self, leaf: int, entry: int) -> tuple[bytes, ...]:
        """Returns the path of an entry to its header's root. Raises NotFoundError when the payload is gone."""
        try:
            return tuple(self._entry_tree(leaf).inclusion_proof(entry))
        except ValueError as e:
            self._entry_tree.cache_clear()  # it was read while it was being erased
            raise NotFoundError(f"no entry {entry} of manifest leaf {leaf}") from e

    def _make_entry_tree(self, leaf: int) -> Tree:
        data: list[bytes] = []
        while page := self.catalog.entries(leaf, len(data), 10_000):
            data += page
        return Tree(leaf_hashes(data))


def _read_header(data: bytes) -> Header:
    return read_header(parse(data, "header", payloads.MAX_HEADER_BYTES))
