"""Whether what a registry keeps tells one story: database, tiles, published checkpoint and anchors; changes nothing.

It looks where opening a log looks, and goes on where that stops: every disagreement is named, with both sides.  `deep`
makes every tile anew out of the leaves, folds them, and makes every catalog row of a manifest anew out of blobs.  A
registry may run meanwhile: what is published is read first, and nothing that was published ever changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol, TypeAlias

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import digest_encode
from ledger.errors import MalformedError, NotFoundError, TrainmarkError, VerificationError
from ledger.manifests import Entry
from ledger.merkle import Tree, leaf_hashes
from ledger.note import VerifierKey, verify_note
from ledger.ports import MAX_COPIES, BlobStore, Catalog, EntryStore, Head, ManifestRecord
from ledger.registry import payloads
from ledger.registry.agreement import Disagreement, disagreements
from ledger.registry.claims import is_erased
from ledger.sequencer import Edge, append, check_edge, load_edge
from ledger.state import Fold, ManifestState
from ledger.tiles import WIDTH, Tile, format_path, tile_of

PAGE: Final = 100
ENTRIES_AT_ONCE: Final = 2000

Progress: TypeAlias = Callable[[int, int], None]


class Published(Protocol):
    """The public side of a log, read only."""

    def checkpoint(self) -> bytes:
        """Returns the published note. Raises NotFoundError before the first."""

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile. Raises NotFoundError."""


@dataclass(slots=True)
class Check:
    """What was found: the sizes of both sides, disagreements, and `open`, which the next start finishes by itself."""

    size: int = 0
    published: int = 0
    anchored: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def differ(self, what: str, one: str, other: str) -> None:
        """Notes a disagreement."""
        self.disagreements.append(Disagreement(what, one, other))


def fsck(
    entries: EntryStore,
    tiles: Published,
    catalog: Catalog,
    blobs: BlobStore,
    key: VerifierKey | None,
    *,
    deep: bool,
    report: Progress | None = None,
) -> Check:
    """Compares the parts of one registry; `key` is the log's, where it is known, `report` is told of the leaves read.

    Raises:
        BackendError: something cannot be read at all.
    """
    return _Fsck(entries, tiles, catalog, blobs, Check(), report).run(key, deep)


@dataclass(slots=True)
class _Fsck:
    entries: EntryStore
    tiles: Published
    catalog: Catalog
    blobs: BlobStore
    found: Check
    report: Progress | None

    def run(self, key: VerifierKey | None, deep: bool) -> Check:
        published = self._published(key)  # before the head: what is published was committed before
        head = self.entries.head()
        if head is None:
            if published is not None:
                self.found.differ("log", "the database has no leaf", f"{published.size} leaves are published")
            return self.found
        self.found.size = head.size
        origin = self._check_note(head, key)
        if published is None:
            self.found.differ("checkpoint", f"the database is at {head.size} leaves", "none is published")
        tree = Tree(leaf_hashes(self.entries.leaves(0, head.size)))
        self.found.disagreements += disagreements(origin, tree, head, published)
        if published is not None and published.size <= head.size and not deep:
            self._check_edge(published, tree.levels[0][: published.size])
        if published is None or published.size < head.size:
            count = len(self.entries.staged())
            self.found.open.append(f"leaves {self.found.published} to {head.size - 1} and {count} tiles to publish")
        self._check_anchors(tree, deep)
        if deep:
            fold = self._check_tiles(head, published)
            self._check_manifests(fold)
            self._check_tokens(fold)
        return self.found

    # -- the log

    def _published(self, key: VerifierKey | None) -> Checkpoint | None:
        try:
            checkpoint, note = parse_checkpoint(self.tiles.checkpoint())
            if key is not None:
                verify_note(note, key)
        except NotFoundError:
            return None
        except MalformedError as e:
            self.found.differ("checkpoint", "the published file", f"is no note ({e.message})")
            return None
        except VerificationError as e:
            self.found.differ("checkpoint", "the published note", e.message)
        self.found.published = checkpoint.size
        return checkpoint

    def _check_note(self, head: Head, key: VerifierKey | None) -> str | None:
        """Returns the name of the log: the key's, else what the database's note says, if it can be read."""
        origin = None if key is None else key.name
        try:
            checkpoint, note = parse_checkpoint(head.note)
            origin = origin or checkpoint.origin
            if checkpoint != Checkpoint(origin, head.size, head.root):
                self.found.differ(
                    "database",
                    f"its head is {origin} at {head.size} leaves, root {head.root.hex()}",
                    f"its note {checkpoint}",
                )
            if key is not None:
                verify_note(note, key)
        except (MalformedError, VerificationError) as e:
            self.found.differ("database", "its note", e.message)
        return origin

    def _check_edge(self, published: Checkpoint, hashes: Sequence[bytes]) -> None:
        """Compares the tiles at the right edge of what is published with the leaves that have these `hashes`."""
        try:
            check_edge(load_edge(published.size, self.tiles.tile), hashes)
        except VerificationError as e:
            self.found.differ(e.field or "tiles", f"the database has {published.size} leaves", f"it {e.message}")
        except (NotFoundError, MalformedError) as e:
            self.found.differ("tiles", f"the published checkpoint is of {published.size} leaves", str(e))

    def _check_anchors(self, tree: Tree, deep: bool) -> None:
        """Compares the last anchor row, `deep` all of them, with the leaves."""
        before: int | None = None
        while rows := self.catalog.anchors(before, PAGE if deep else 1):
            self.found.anchored = max(self.found.anchored, rows[0].size)
            for row in rows:
                if row.size > len(tree):
                    self.found.differ(
                        "anchor", f"{row.size} leaves are anchored", f"the database is at {len(tree)} leaves"
                    )
                elif tree.root(row.size) != row.root:
                    self.found.differ(
                        f"root at {row.size} leaves",
                        f"the database's leaves have {tree.root(row.size).hex()}",
                        f"the anchor {row.root.hex()}",
                    )
            before = rows[-1].size
            if not deep:
                return

    def _check_tiles(self, head: Head, published: Checkpoint | None) -> Fold:
        """Makes every tile of the published size anew out of the leaves, and folds all leaves."""
        fold, edge, size = Fold(), Edge(), 0 if published is None else min(published.size, head.size)
        leaves = self.entries.leaves(0, head.size)
        while part := list(islice(leaves, WIDTH)):
            for leaf in part:
                reason = fold.add(leaf)
                if reason is not None:
                    self.found.differ(f"leaf {fold.size - 1}", "a registry logs nothing void", reason)
            part = part[: max(0, size - edge.size)]
            edge, made = append(edge, part)
            for tile, data in made:
                if tile == _as_published(tile, size):
                    self._compare_tile(tile, data)
            if self.report is not None:
                self.report(fold.size, head.size)
        return fold

    def _compare_tile(self, tile: Tile, data: bytes) -> None:
        try:
            found = self.tiles.tile(tile)
        except (NotFoundError, MalformedError) as e:
            self.found.differ(format_path(tile), "the leaves give it", e.message)
            return
        if found != data:
            pairs = zip(found, data, strict=False)
            at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(data)))
            self.found.differ(
                format_path(tile),
                f"it has {len(found)} bytes",
                f"the leaves give {len(data)}, others from byte {at} on",
            )

    # -- the catalog

    def _check_manifests(self, fold: Fold) -> None:
        shown = set()
        for record in payloads.records(self.catalog):
            shown.add(record.leaf)
            logged = fold.manifests.get(record.leaf)
            what = f"manifest leaf {record.leaf}"
            if logged is None:
                self.found.differ(what, "it is in the catalog", "the log has no such leaf that counts")
            elif is_erased(logged):
                self.found.open.append(f"{what} is erased in the log and still in the catalog")
            elif (logged.manifest, logged.by) != (record.manifest, record.by):
                self.found.differ(
                    what,
                    f"the catalog has {digest_encode(record.manifest)} by {record.by}",
                    f"the log {digest_encode(logged.manifest)} by {logged.by}",
                )
            else:
                self._check_payload(record, what)
        for leaf, logged in fold.manifests.items():
            if leaf not in shown and not is_erased(logged) and self._has_own_header(logged):
                self.found.open.append(f"manifest leaf {leaf} has its blobs and is not in the catalog")

    def _has_own_header(self, logged: ManifestState) -> bool:
        try:
            return payloads.own_header(logged, self.blobs) is not None
        except TrainmarkError:
            return False

    def _check_payload(self, record: ManifestRecord, what: str) -> None:
        """Makes the rows of one manifest anew out of its blobs."""
        try:
            made = payloads.load(record.manifest, record.entries, self.blobs)
        except TrainmarkError as e:
            self.found.differ(what, "it is in the catalog", f"its blobs are not whole ({e})")
            return
        header = made.header
        for name, own, wanted in (
            ("header", record.header, header.data),
            ("license", record.license, header.license_digest),
            ("place", record.place, payloads.place_of(header)),
            ("terms and text", self.catalog.license(header.license_digest), (made.terms.data, made.text)),
        ):
            if own != wanted:
                self.found.differ(f"{what}, {name}", "the catalog has another", "than the blobs")
        for start in range(0, len(made.entries) + 1, ENTRIES_AT_ONCE):
            part = made.entries[start : start + ENTRIES_AT_ONCE]
            rows = self.catalog.entries(record.leaf, start, ENTRIES_AT_ONCE)
            if rows != [entry.data for entry in part]:
                at = next((n for n, (a, b) in enumerate(zip(rows, part, strict=False)) if a != b.data), len(rows))
                self.found.differ(f"{what}, entry {start + at}", "the catalog has another", "than the blobs")
            self._check_lookup(record.leaf, start, part, what)

    def _check_lookup(self, leaf: int, start: int, part: Sequence[Entry], what: str) -> None:
        """Checks that each digest finds its entry; of many copies of one digest only the first ones are kept."""
        matches = self.catalog.find([digest for entry in part for _, digest in entry.digests])
        for at, entry in enumerate(part, start):
            for kind, digest in entry.digests:
                own = {match.entry for match in matches.get(digest, ()) if (match.leaf, match.kind) == (leaf, kind)}
                if at not in own and len(own) < MAX_COPIES:
                    self.found.differ(f"{what}, entry {at}", f"its {kind} hash", "finds nothing in the catalog")

    def _check_tokens(self, fold: Fold) -> None:
        before: int | None = None
        while page := self.catalog.tokens(None, before, PAGE):
            for record in page:
                if fold.tokens.get(record.digest) != record.leaf:
                    self.found.differ(
                        f"token {digest_encode(record.digest)}",
                        f"the catalog has it at leaf {record.leaf}",
                        f"the log at {fold.tokens.get(record.digest)}",
                    )
            before = page[-1].leaf


def _as_published(tile: Tile, size: int) -> Tile | None:
    """Returns the tile of that place as a log of `size` leaves has it."""
    try:
        return tile_of(tile.level, size, tile.index)
    except ValueError:
        return None
