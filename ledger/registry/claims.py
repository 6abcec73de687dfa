"""Who claims a file: all public claims on digests, their states, and whether they are contested.

Each thing is read once, whatever the number of digests: manifests by leaf, entries in runs, rivals in bulk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ledger.errors import RefusedError
from ledger.manifests import Entry, Header, parse_entry
from ledger.ports import MAX_DIGESTS, Catalog, ManifestRecord, Match
from ledger.registry.public import PublicLog
from ledger.state import ManifestState, StateName
from ledger.terms import Terms

MAX_CLAIMS: Final = 100
MAX_DEAD_CLAIMS: Final = 10
MAX_OF_CREATOR: Final = 10
"""Live claims that one creator has on one digest in an answer: more say nothing new."""
MAX_GAP: Final = 32
"""Entries read in passing between two that are wanted, rather than asking the database again."""
LIVE: Final = ("listed", "disputed", "withdrawing")

Place: TypeAlias = tuple[int, int]
"""Manifest leaf and entry number."""


@dataclass(frozen=True, slots=True)
class ClaimFound:
    """One claim on a digest: which entry of which manifest, its state, and whether others claim the same file."""

    match: Match
    record: ManifestRecord
    header: Header
    entry: Entry
    terms: Terms
    state: str
    contested: bool
    identity: str | None


class Claims:
    """Reads claims out of a log's state and a catalog; `header_of` and `terms_of` read what a record names."""

    def __init__(
        self,
        log: PublicLog,
        catalog: Catalog,
        header_of: Callable[[ManifestRecord], Header],
        terms_of: Callable[[bytes], Terms],
    ) -> None:
        self._log = log
        self._catalog = catalog
        self._header_of = header_of
        self._terms_of = terms_of

    def find(self, digests: Sequence[bytes], leaf: int | None = None) -> dict[bytes, list[ClaimFound]]:
        """Returns the public claims on each digest (in manifest `leaf` only, if given).

        Live ones come first, at most 100 and 10 of one creator, then at most 10 others, each group oldest first: what
        nobody listed never hides what somebody did.

        Raises:
            RefusedError: ``too-many``: more than 10,000 digests.
        """
        if len(digests) > MAX_DIGESTS:
            raise RefusedError(f"at most {MAX_DIGESTS} digests per request", code="too-many", field="digests")
        found: dict[bytes, list[ClaimFound]] = {digest: [] for digest in digests}
        states: dict[Place, StateName] = {}
        chosen: dict[bytes, list[Match]] = {}
        for digest, matches in self._catalog.find(digests).items():
            with self._log.fold_lock:
                chosen[digest] = self._choose(matches, leaf, states)
        places = {(match.leaf, match.entry) for matches in chosen.values() for match in matches}
        records = self._records({leaf for leaf, _ in places})
        entries = self._entries({place for place in places if place[0] in records})
        with self._log.fold_lock:
            levels = {by: self._log.fold.identities.get(by) for by in {record.by for record in records.values()}}
        contested = self._contested({at: e for at, e in entries.items() if states[at] == "listed"}, records)
        for digest, matches in chosen.items():
            for match in matches:
                at = (match.leaf, match.entry)
                if at not in entries:
                    continue  # it was erased in between
                record = records[match.leaf]
                level = levels[record.by]
                found[digest].append(
                    ClaimFound(
                        match,
                        record,
                        self._header_of(record),
                        entries[at],
                        self._terms_of(record.license),
                        states[at],
                        at in contested,
                        level[1].level if level else None,
                    )
                )
        return found

    def live(self, digests: Sequence[bytes]) -> dict[bytes, dict[int, str]]:
        """Returns the live claims on each digest that has any: manifest leaf → creator."""
        states: dict[Place, StateName] = {}
        found: dict[bytes, dict[int, str]] = {}
        for at in range(0, len(digests), MAX_DIGESTS):
            for digest, matches in self._catalog.find(digests[at : at + MAX_DIGESTS]).items():
                with self._log.fold_lock:
                    fold = self._log.fold
                    live = {
                        match.leaf: fold.manifests[match.leaf].by
                        for match in matches
                        if self._state(match, states) in LIVE
                    }
                if live:
                    found[digest] = live
        return found

    def _state(self, match: Match, states: dict[Place, StateName]) -> StateName:
        """Returns the state of an entry, and remembers it in `states`."""
        at = (match.leaf, match.entry)
        if at not in states:
            states[at] = self._log.fold.manifest_state(*at)
        return states[at]

    def _choose(self, matches: Iterable[Match], leaf: int | None, states: dict[Place, StateName]) -> list[Match]:
        """Returns what is shown of the matches of one digest: of each entry the first, live ones before others."""
        live: dict[Place, Match] = {}
        dead: dict[Place, Match] = {}
        of_creator: Counter[str] = Counter()
        for match in matches:
            at = (match.leaf, match.entry)
            manifest = self._log.fold.manifests.get(match.leaf)
            if leaf not in (None, match.leaf) or manifest is None or hidden(manifest) or at in live or at in dead:
                continue
            if self._state(match, states) not in LIVE:
                if len(dead) < MAX_DEAD_CLAIMS:
                    dead[at] = match
            elif len(live) < MAX_CLAIMS and of_creator[manifest.by] < MAX_OF_CREATOR:
                of_creator[manifest.by] += 1
                live[at] = match
        return [*live.values(), *dead.values()]

    def _records(self, leaves: Iterable[int]) -> dict[int, ManifestRecord]:
        found = {leaf: self._catalog.manifest(leaf) for leaf in leaves}
        return {leaf: record for leaf, record in found.items() if record is not None}

    def _entries(self, places: Iterable[Place]) -> dict[Place, Entry]:
        """Returns the entries that are there, read in runs that leave out at most ``MAX_GAP`` between two of them."""
        runs: list[list[Place]] = []
        for leaf, number in sorted(places):
            if runs and runs[-1][-1][0] == leaf and number - runs[-1][-1][1] <= MAX_GAP:
                runs[-1].append((leaf, number))
            else:
                runs.append([(leaf, number)])
        found: dict[Place, Entry] = {}
        for run in runs:
            (leaf, first), (_, last) = run[0], run[-1]
            page = self._catalog.entries(leaf, first, last - first + 1)
            for at in run:
                if at[1] - first < len(page):
                    found[at] = parse_entry(page[at[1] - first])
        return found

    def _contested(self, entries: Mapping[Place, Entry], records: Mapping[int, ManifestRecord]) -> set[Place]:
        """Returns which of the listed `entries` another creator has a live claim on, by a digest of any kind."""
        live = self.live(list({digest for entry in entries.values() for _, digest in entry.digests}))
        creators = {digest: set(claims.values()) for digest, claims in live.items()}
        return {
            at
            for at, entry in entries.items()
            if any(creators.get(digest, set()) - {records[at[0]].by} for _, digest in entry.digests)
        }


def hidden(manifest: ManifestState) -> bool:
    """Returns whether the latest listing was not for the public (taking it off the list opens it to nobody), or the
    payload is erased: the leaf says so, also while the disk still holds it."""
    return manifest.visibility in ("invite", "private") or is_erased(manifest)


def is_erased(manifest: ManifestState) -> bool:
    """Returns whether a review said that the payload is gone: none after it brings it back."""
    return any(review.outcome == "erased" for _, review in manifest.reviews)
