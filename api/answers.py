"""What the API says about files, manifests, licenses and anchors: JSON values made of the core's objects.

Every answer about state names the log ``size`` it is of.  Rendered answers to single digests are kept until the log,
the catalog or an anchor changes: the same digest asked again costs no look-up.  Answers about unknown digests are kept
like others, so asking for much that is unknown only pushes others out; what is kept is bounded in number and in bytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from api.composition import Running
from ledger.encoding import digest_encode, sha256, time_encode
from ledger.errors import NotFoundError
from ledger.library.licenses import training
from ledger.manifests import Header
from ledger.ports import AnchorRow, ManifestRecord
from ledger.receipt import verify_record
from ledger.registry.anchoring import read_record
from ledger.registry.claims import ClaimFound
from ledger.terms import parse_terms

Value: TypeAlias = dict[str, Any]
Version: TypeAlias = tuple[int, int, int]

KEPT_ANSWERS: Final = 8192
KEPT_BYTES: Final = 64 << 20
KEPT_ANSWER_BYTES: Final = 256 * 1024
"""A longer answer is made anew each time: strangers' texts are in it, and it would push many others out."""

CHUNK: Final = 500
"""Digests answered at one size; between two chunks of a request the log may grow."""

_ANSWERS: Final = {"yes": "yes", "no": "no", "under conditions": "conditions"}


class Answers:
    """Makes and keeps answers of one running registry; safe to use from several threads."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._generation = 0
        self._guard = threading.Lock()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._kept_of: Version | None = None
        self._anchor = lru_cache(maxsize=1024)(self._make_anchor)
        self._anchor_at = lru_cache(maxsize=16384)(self._find_anchor)

    def changed(self) -> None:
        """Says that the catalog changed: what was rendered before counts no more."""
        with self._guard:
            self._generation += 1

    @property
    def version(self) -> Version:
        """What an answer depends on; it differs after each change."""
        return self._generation, self.running.registry.log.head.size, self.running.beside.changes

    def kept(self, digest: bytes) -> bytes | None:
        """Returns a rendered answer that still holds; never waits for the log or the database."""
        with self._guard:
            return self._kept.get(digest) if self._kept_of == self.version else None

    def resolve(self, digest: bytes) -> bytes:
        """Renders the answer to one digest, and keeps it unless it is long."""
        before = self.version
        [answer] = next(self.resolve_many([digest]))
        with self._guard:
            if self._kept_of != before:
                self._kept.clear()
                self._kept_bytes, self._kept_of = 0, before
            if digest not in self._kept and len(answer) <= KEPT_ANSWER_BYTES:
                self._kept[digest] = answer
                self._kept_bytes += len(answer)
            while len(self._kept) > KEPT_ANSWERS or self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return answer

    def resolve_many(self, digests: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Renders the answers to up to 10,000 digests, in order, ``CHUNK`` at a time."""
        for at in range(0, len(digests), CHUNK):
            chunk = digests[at : at + CHUNK]
            size, claims = self._claims(chunk)
            anchors = {
                leaf: self.anchor_of(leaf) for leaf in {c.match.leaf for found in claims.values() for c in found}
            }
            yield [
                orjson.dumps(
                    {
                        "digest": digest_encode(digest),
                        "size": size,
                        "claims": [self._claim(claim, anchors[claim.match.leaf]) for claim in claims[digest]],
                    }
                )
                for digest in chunk
            ]

    def _claims(self, digests: Sequence[bytes]) -> tuple[int, dict[bytes, list[ClaimFound]]]:
        """Returns claims and the size they are of; the log is held only if it grows at every try."""
        registry = self.running.registry
        for _ in range(3):
            size = registry.log.head.size
            claims = registry.claims(digests)
            if registry.log.head.size == size:
                return size, claims
        with registry.log.fold_lock:
            return registry.log.head.size, registry.claims(digests)

    def _claim(self, claim: ClaimFound, anchor: Value | None) -> Value:
        header, entry, record = claim.header, claim.entry, claim.record
        return {
            "leaf": record.leaf,
            "entry": claim.match.entry,
            "kind": claim.match.kind,
            "state": claim.state,
            "contested": claim.contested,
            "creator": creator_summary(header, claim.identity),
            "manifest": self.manifest_summary(record, header),
            "license": license_summary(claim.terms.data),
            "attribution": {"text": header.required_attribution_text, "url": header.attribution_url},
            "path": entry.path,
            "media_type": entry.media_type,
            "price_tier": entry.price_tier,
            "logged_at": None,
            "anchor": anchor,
        }

    def manifest_summary(self, record: ManifestRecord, header: Header) -> Value:
        """Returns what a manifest is called, and which leaves it replaces."""
        with self.running.registry.log.fold_lock:
            state = self.running.registry.log.fold.manifests.get(record.leaf)
        return {
            "digest": digest_encode(record.manifest),
            "title": header.title,
            "version": header.version,
            "dataset_id": header.dataset_id,
            "created_at": time_encode(header.created_at),
            "supersedes": list(state.supersedes) if state else [],
        }

    def anchor_of(self, leaf: int) -> Value | None:
        """Returns the earliest anchor that covers a leaf."""
        return self._anchor_at(leaf, self.running.beside.changes)

    def _find_anchor(self, leaf: int, changes: int) -> Value | None:
        """Looks the anchor up; a change of any row is a new `changes`, and a new look-up."""
        row = self.running.registry.catalog.anchor_covering(leaf)
        return self._anchor(row) if row else None

    def anchor_value(self, row: AnchorRow) -> Value:
        """Returns an anchor as the operator knows it; `time` is its block's, null while it is in none."""
        return self._anchor(row)

    def _make_anchor(self, row: AnchorRow) -> Value:
        time = None
        if row.record is not None:
            origin = sha256(self.running.registry.log.origin.encode())
            time = time_encode(verify_record(read_record(row.record), origin).block_time)
        return {
            "size": row.size,
            "chain": row.chain,
            "transaction": row.transaction,
            "state": row.state,
            "block_number": row.block_number,
            "block_hash": row.block_hash,
            "time": time,
            "operator_class": self.running.settings.chain_class,
        }


def creator_summary(header: Header, level: str | None) -> Value:
    """Returns who a creator says to be, and what the registry vouches for (null: nothing)."""
    return {"id": header.creator_id, "name": header.creator_name, "identity": level}


@lru_cache(maxsize=1024)
def license_summary(data: bytes) -> Value:
    """Returns the license with these terms in short; the words on training are those of the license text."""
    terms = parse_terms(data)
    answer, conditions = training(terms)
    return {
        "id": terms.license_id,
        "url": terms.license_url,
        "digest": digest_encode(terms.digest),
        "uses": dict(terms.uses),
        "audience": terms.audience,
        "attribution_required": terms.attribution_required,
        "training": {"answer": _ANSWERS[answer], "conditions": list(conditions)},
    }


def public_records(running: Running, before: int | None, limit: int) -> list[tuple[ManifestRecord, str]]:
    """Returns up to `limit` public manifests with their states, newest first, of leaves < `before`."""
    found: list[tuple[ManifestRecord, str]] = []
    while len(found) < limit:
        page = running.registry.catalog.manifests(before, 100)
        for record in page:
            before = record.leaf
            try:
                found.append(running.registry.manifest(record.leaf))
            except NotFoundError:
                continue
            if len(found) == limit:
                break
        if len(page) < 100:
            break
    return found
