"""Reviewing by rule: what a manifest collides with or resembles, and the review that follows (rules: listing.py).

Comparing a big library takes long, so it is done before the lock that decides one manifest after the other is taken;
under it only what was entered since is compared, and what was found is looked at again: of two that collide and come at
once, the second sees the first one listed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ledger.canonical import Object
from ledger.manifests import Entry, parse_entry
from ledger.ports import MAX_DIGESTS, Catalog, ManifestRecord
from ledger.registry.claims import LIVE
from ledger.registry.listing import Decision, Outcome, decide
from ledger.registry.log import Log
from ledger.registry.lookalikes import LookAlike, LookAlikes
from ledger.statements import Statement

ENTRIES: Final = 10_000
"""Entries that are asked for at once."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What others have that is the same, as (digest, leaf, entry), or looks alike, whatever its state."""

    same: tuple[tuple[bytes, int, int], ...]
    look_alikes: tuple[LookAlike, ...]


class Reviews:
    """Reviews the manifests of one registry; `entries_of` reads a manifest, `sign` makes the registry's statements."""

    def __init__(
        self,
        log: Log,
        catalog: Catalog,
        entries_of: Callable[[int], Sequence[Entry]],
        sign: Callable[[str, Object], Statement],
    ) -> None:
        self._log = log
        self._catalog = catalog
        self._entries_of = entries_of
        self._sign = sign
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._look_alikes: LookAlikes | None = None

    def entered(self, leaf: int, entries: Sequence[Entry]) -> None:
        """Says that the catalog has the payload of manifest `leaf` now; to be called before its review."""
        with self._reading:
            if self._look_alikes is not None:
                self._look_alikes.add(leaf, entries)

    def erased(self, leaf: int) -> None:
        """Says that the payload of manifest `leaf` is gone."""
        with self._reading:
            if self._look_alikes is not None:
                self._look_alikes.forget(leaf)

    def _known(self) -> LookAlikes:
        """Returns the codes of all manifests entered so far; the first call reads them."""
        with self._reading:
            if self._look_alikes is None:
                look_alikes = LookAlikes()
                for leaf, entries in groupby(self._all_entries(), lambda each: each[0]):
                    look_alikes.add(leaf, [entry for _, entry in entries])
                self._look_alikes = look_alikes  # whole, or an error of the store would leave a part that counts as all
            return self._look_alikes

    def _all_entries(self) -> Iterator[tuple[int, Entry]]:
        place = (-1, 0)
        while page := self._catalog.entries_after(place, ENTRIES):
            yield from ((leaf, parse_entry(data)) for leaf, _, data in page)
            place = page[-1][:2]

    def decide(self, record: ManifestRecord) -> Decision:
        """Returns what the rules say of a manifest now."""
        entries = self._entries_of(record.leaf)
        return self._judge(record, entries, self._search(entries))

    def by_rule(self, record: ManifestRecord, entries: Sequence[Entry]) -> Decision:
        """Decides by rule what can be of a manifest with these `entries` and logs the review; returns the decision, or
        what a review said earlier."""
        earlier = self._earlier(record, entries)
        if earlier is not None:
            return earlier
        start = len(self._known())
        found = self._search(entries)
        with self._lock:
            earlier = self._earlier(record, entries)
            if earlier is not None:
                return earlier
            new = self._search_since(entries, start)
            found = _Found(found.same + new.same, found.look_alikes + new.look_alikes)
            decision = self._judge(record, entries, found)
            if decision.outcome != "wait":
                listed = decision.outcome == "list"
                body: Object = {
                    "leaf": record.leaf,
                    "outcome": "listed" if listed else "rejected",
                    "visibility": "public" if listed else None,
                    "evidence": None,
                }
                self._log.append(self._sign("review", body))
            return decision

    def _earlier(self, record: ManifestRecord, entries: Sequence[Entry]) -> Decision | None:
        """Returns what a review said of a manifest, with the reasons it can have had; None if there is none."""
        with self._log.fold_lock:
            review = self._log.fold.manifests[record.leaf].review
        if review is None:
            return None
        outcome: Outcome = "list" if review.outcome == "listed" else "reject"
        decision = decide(entries, [])
        return decision if decision.outcome == outcome else Decision(outcome, ())

    def _search(self, entries: Sequence[Entry]) -> _Found:
        """Compares `entries` with all that was entered."""
        look_alikes = self._known().find(entries)
        digests = list({digest for entry in entries for _, digest in entry.digests})
        same: list[tuple[bytes, int, int]] = []
        for at in range(0, len(digests), MAX_DIGESTS):
            for digest, matches in self._catalog.find(digests[at : at + MAX_DIGESTS]).items():
                same += [(digest, match.leaf, match.entry) for match in matches]
        return _Found(tuple(same), tuple(look_alikes))

    def _search_since(self, entries: Sequence[Entry], start: int) -> _Found:
        """Compares `entries` with what was entered as number `start` and later."""
        known = self._known()
        digests = {digest for entry in entries for _, digest in entry.digests}
        same = [
            (digest, leaf, number)
            for leaf in known.leaves(start)
            for number, entry in enumerate(self._entries_of(leaf))
            for _, digest in entry.digests
            if digest in digests
        ]
        return _Found(tuple(same), tuple(known.find(entries, start)))

    def _judge(self, record: ManifestRecord, entries: Sequence[Entry], found: _Found) -> Decision:
        """Applies the rules to what was found: only other creators' live claims count."""
        with self._log.fold_lock:
            fold = self._log.fold

            def is_rival(leaf: int, entry: int | None) -> bool:
                other = fold.manifests.get(leaf)
                return other is not None and other.by != record.by and fold.manifest_state(leaf, entry) in LIVE

            rivals = sorted({(digest, leaf) for digest, leaf, entry in found.same if is_rival(leaf, entry)})
            look_alikes = [like for like in found.look_alikes if is_rival(like.leaf, None)]
        return decide(entries, rivals, look_alikes)

    def waiting(self, before: int | None = None, limit: int = 100) -> list[tuple[ManifestRecord, Decision]]:
        """Returns up to `limit` manifests below leaf `before` that wait for a person, newest first, with reasons."""
        with self._log.fold_lock:
            fold = self._log.fold
            logged = [leaf for leaf in reversed(fold.manifests) if fold.manifest_state(leaf) == "logged"]
        found: list[tuple[ManifestRecord, Decision]] = []
        for leaf in logged:
            if len(found) == limit:
                break
            if before is None or leaf < before:
                record = self._catalog.manifest(leaf)
                if record is not None:
                    found.append((record, self.decide(record)))
        return found
