"""A registry's use cases: publish, speak, resolve, prove, review.  Knows ports only.

Order of a publication: cheap checks → blobs → log → catalog → review by rule.  A crash between two of them is finished
by ``Registry.open``, which looks for logged manifests that are not in the catalog, or have no review though a rule
decides them.  Nothing here asks the network; the anchoring of heads is :mod:`ledger.registry.anchoring`, the issuing of
tokens :mod:`ledger.registry.grants`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

from ledger.canonical import Object, parse
from ledger.encoding import digest_encode, time_encode
from ledger.errors import ConflictError, NotFoundError, RefusedError
from ledger.keys import SigningKey
from ledger.manifests import Entry, Header, parse_manifest, read_entry, read_header
from ledger.merkle import Tree, leaf_hashes
from ledger.ports import BlobStore, Catalog, Clock, Entropy, EntryStore, ManifestRecord, Match, TileStore
from ledger.registry import payloads
from ledger.registry.listing import RULES_DIGEST, Decision, Outcome, decide
from ledger.registry.log import Log, Logged
from ledger.registry.lookalikes import LookAlikes
from ledger.state import ManifestState
from ledger.statements import (
    DisputeBody,
    IdentityBody,
    KeyAddBody,
    KeyRevokeBody,
    ManifestBody,
    PolicyBody,
    RecordBody,
    ReviewBody,
    Statement,
    TrainingBody,
    WithdrawBody,
    parse_statement,
    sign_statement,
    verify_statement,
)
from ledger.terms import Terms, parse_terms, verify_text

MAX_DIGESTS: Final = 10_000
MAX_CLAIMS: Final = 100
MAX_DEAD_CLAIMS: Final = 10
LIVE: Final = ("listed", "disputed", "withdrawing")
CREATORS_SAY: Final = (KeyAddBody, KeyRevokeBody, ManifestBody, WithdrawBody, DisputeBody, TrainingBody, RecordBody)
REGISTRY_SAYS: Final = (KeyAddBody, KeyRevokeBody, ReviewBody, DisputeBody, IdentityBody, PolicyBody, RecordBody)
DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a registry is: its did, the keys it signs with, its log's origin and its tokens' issuer."""

    origin: str
    issuer: str
    did: str
    key: SigningKey
    log_key: SigningKey
    token_key: SigningKey


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgment of a publication: logged for ever, and what the review said (None: it waits for a person)."""

    logged: Logged
    manifest: bytes
    decision: Decision


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


class Registry:
    """One registry over its stores; safe to use from several threads."""

    def __init__(
        self,
        identity: Identity,
        entries: EntryStore,
        tiles: TileStore,
        blobs: BlobStore,
        catalog: Catalog,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self.identity = identity
        self.tiles = tiles
        self.blobs = blobs
        self.catalog = catalog
        self.clock = clock
        self.entropy = entropy
        self.log = Log(identity.origin, identity.log_key, entries, tiles)
        self._review_lock = threading.RLock()
        self._look_alikes = LookAlikes(self.all_entries)
        self._entry_tree = lru_cache(maxsize=64)(self._make_entry_tree)
        self._terms = lru_cache(maxsize=1024)(self._read_terms)
        self._header = lru_cache(maxsize=4096)(_read_header)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Begins the log with the policy, or checks that the log is this registry's; then finishes what was cut off."""
        if self.log.head.size == 0:
            self.log.append(self.sign("policy", self.policy_body()))
        if self.log.fold.registry != self.identity.did:
            raise ConflictError(
                f"the log is run by {self.log.fold.registry}, the keys are of {self.identity.did}",
                code="log-disagreement",
            )
        self.reconcile()

    def policy_body(self) -> Object:
        """Returns the body of this registry's policy statement."""
        return {
            "origin": self.identity.origin,
            "log_key": self.log.vkey,
            "issuer": self.identity.issuer,
            "token_keys": [self.identity.token_key.did],
            "rules": digest_encode(RULES_DIGEST),
        }

    def sign(self, kind: str, body: Object) -> Statement:
        """Makes a statement of the registry for its own log."""
        return sign_statement(kind, self.identity.did, self.identity.key, self.identity.origin, body)

    def close(self) -> None:
        """Stops the writer and closes the stores."""
        self.log.close()
        self.catalog.close()

    def reconcile(self) -> list[int]:
        """Enters logged payloads the catalog lacks, erases what is erased, and reviews what a rule decides."""
        with self.log.fold_lock:
            leaves = list(self.log.fold.manifests.values())
        missing = [m for m in leaves if self.catalog.manifest(m.index) is None and not _erased(m.review)]
        entered = payloads.rebuild(missing, self.blobs, self.catalog, self.clock())
        for leaf in leaves:
            record = self.catalog.manifest(leaf.index)
            if record is not None and _erased(leaf.review):
                self._erase(record)
            elif record is not None and leaf.review is None:
                self._review_by_rule(record)
        return entered

    def rebuild(self) -> list[int]:
        """Makes the derived part of the catalog anew out of leaves and blobs; returns the manifests entered."""
        self.catalog.clear_derived()
        return self.reconcile()

    # -- writing

    def publish(self, manifest: bytes, terms: bytes, text: bytes, subject: str) -> Receipt:
        """Takes a manifest file with its license for the creator `subject`; returns when it is logged and reviewed.

        Publishing the same again returns the same leaf.

        Raises:
            MalformedError, VerificationError: the upload is not what it says to be.
            RefusedError: ``wrong-log`` no statement for this log; ``forbidden`` somebody else's manifest; ``erased``
                the manifest was; ``void``.
            ConflictError: ``version-conflict``; ``pool-full``.
        """
        read = parse_manifest(manifest)
        header = read.header
        if header.creator_id != subject:
            raise RefusedError(f"{subject} may publish only its own manifests", code="forbidden", field="manifest")
        own = [s for s in read.statements if s.log == self.identity.origin and s.by == header.creator_id]
        if not own:
            raise RefusedError(
                f"no statement of the creator for {self.identity.origin}", code="wrong-log", field="statements"
            )
        statement = verify_statement(own[0], "statements")
        license_ = parse_terms(terms)
        verify_text(license_, text)
        if (license_.digest, license_.license_id, license_.license_url) != (
            header.license_digest,
            header.license_id,
            header.license_url,
        ):
            raise RefusedError("the terms are not those the header names", code="terms-digest", field="terms")
        self._check_place(header, statement)
        payload = payloads.Payload(header, read.entries, license_, text)
        entries = payloads.store(payload, self.blobs)
        logged = self.log.append(statement)
        if self.catalog.manifest(logged.index) is None:
            payloads.enter(payload, entries, logged.index, self.clock(), self.catalog)
        record = self.catalog.manifest(logged.index)
        assert record is not None
        return Receipt(logged, header.digest, self._review_by_rule(record))

    def _check_place(self, header: Header, statement: Statement) -> None:
        assert isinstance(statement.body, ManifestBody)
        with self.log.fold_lock:
            for leaf in self.log.fold.by_digest.get(header.digest, ()):
                known = self.log.fold.manifests[leaf]
                if known.by == header.creator_id and _erased(known.review):
                    raise RefusedError(f"leaf {leaf}, this manifest, was erased", code="erased", field="manifest")
            for leaf in statement.body.supersedes:
                old = self.log.fold.manifests.get(leaf)
                if old is None or old.by != header.creator_id:
                    raise RefusedError(
                        f"leaf {leaf} is not an earlier manifest of this creator", code="void", field="supersedes"
                    )
        for other in self.catalog.manifests_at(payloads.place_of(header)):
            if other.manifest != header.digest and other.leaf not in statement.body.supersedes:
                raise ConflictError(
                    f"leaf {other.leaf} is another manifest of this dataset, version and part; "
                    f"give it a new version, or supersede that leaf",
                    code="version-conflict",
                    field="header.version",
                )

    def speak(self, data: bytes, subject: str) -> Logged:
        """Logs any statement that `subject` may make: creators their own, the registry its reviews and decisions.

        Raises:
            RefusedError: ``forbidden``, ``notice`` (a withdrawal before its notice is over), ``void``, ``key-invalid``.
        """
        statement = verify_statement(parse_statement(data))
        allowed = REGISTRY_SAYS if subject == self.identity.did else CREATORS_SAY
        if statement.by != subject or not isinstance(statement.body, allowed):
            raise RefusedError(f"{subject} may not make this statement", code="forbidden", field="statement")
        if isinstance(statement.body, WithdrawBody):
            self._check_notice(statement.body)
        logged = self.log.append(statement)
        body = statement.body
        if isinstance(body, ReviewBody) and body.outcome == "erased":
            record = self.catalog.manifest(body.leaf)
            if record is not None:
                self._erase(record)
        return logged

    def _erase(self, record: ManifestRecord) -> None:
        payloads.erase(record, self.blobs, self.catalog)
        self._look_alikes.forget(record.leaf)

    def _check_notice(self, body: WithdrawBody) -> None:
        record = self.catalog.manifest(body.leaf)
        if record is None:
            return
        earliest = self.clock() + self._terms(record.license).notice_days * DAY
        if body.effective_at < earliest:
            raise RefusedError(
                f"the license's notice runs until {time_encode(earliest)}", code="notice", field="effective_at"
            )

    # -- review

    def _review_by_rule(self, record: ManifestRecord) -> Decision:
        """Decides by rule what can be and logs the review; returns the decision, or what a review said earlier.

        One at a time: of two that collide and come at once, the second must see the first one listed.
        """
        with self._review_lock:
            decision = self.decide(record)
            with self.log.fold_lock:
                state = self.log.fold.manifests.get(record.leaf)
                review = None if state is None else state.review
            if review is not None:
                outcome: Outcome = "list" if review.outcome == "listed" else "reject"
                return decision if decision.outcome == outcome else Decision(outcome, ())
            if state is not None and decision.outcome != "wait":
                listed = decision.outcome == "list"
                body: Object = {
                    "leaf": record.leaf,
                    "outcome": "listed" if listed else "rejected",
                    "visibility": "public" if listed else None,
                    "evidence": None,
                }
                self.log.append(self.sign("review", body))
            return decision

    def decide(self, record: ManifestRecord) -> Decision:
        """Returns what the rules say of a manifest now."""
        entries = self.all_entries(record.leaf)
        digests = list({digest for entry in entries for _, digest in entry.digests})
        rivals: list[tuple[bytes, int]] = []
        for at in range(0, len(digests), MAX_DIGESTS):
            for digest, matches in self.catalog.find(digests[at : at + MAX_DIGESTS]).items():
                rivals += [(digest, m.leaf) for m in matches if self._is_live_rival(m, record.by)]
        with self.log.fold_lock:
            others = [m.index for m in self.log.fold.manifests.values() if m.by != record.by and self._is_live(m.index)]
        return decide(entries, sorted(set(rivals)), [] if rivals else self._look_alikes.find(entries, others))

    def _is_live(self, leaf: int) -> bool:
        return self.log.fold.manifest_state(leaf) in LIVE

    def _is_live_rival(self, match: Match, by: str) -> bool:
        with self.log.fold_lock:
            other = self.log.fold.manifests.get(match.leaf)
            return (
                other is not None and other.by != by and self.log.fold.manifest_state(match.leaf, match.entry) in LIVE
            )

    def waiting(self, before: int | None = None, limit: int = 100) -> list[tuple[ManifestRecord, Decision]]:
        """Returns the manifests that wait for a person, newest first, with the reasons."""
        found: list[tuple[ManifestRecord, Decision]] = []
        while len(found) < limit:
            records = self.catalog.manifests(before, 100)
            for record in records:
                with self.log.fold_lock:
                    logged = self.log.fold.manifest_state(record.leaf) == "logged"
                if logged and len(found) < limit:
                    found.append((record, self.decide(record)))
            if len(records) < 100:
                break
            before = records[-1].leaf
        return found

    # -- reading

    def claims(self, digests: Sequence[bytes], leaf: int | None = None) -> dict[bytes, list[ClaimFound]]:
        """Returns the public claims on each digest (in manifest `leaf` only, if given).

        Live ones come first, at most 100, then at most 10 others, each group oldest first: what nobody listed never
        hides what somebody did.
        """
        if len(digests) > MAX_DIGESTS:
            raise RefusedError(f"at most {MAX_DIGESTS} digests per request", code="too-many", field="digests")
        found: dict[bytes, list[ClaimFound]] = {digest: [] for digest in digests}
        for digest, matches in self.catalog.find(digests).items():
            places: dict[tuple[int, int], Match] = {}
            for match in matches:
                if leaf in (None, match.leaf):
                    places.setdefault((match.leaf, match.entry), match)
            live: list[Match] = []
            dead: list[Match] = []
            with self.log.fold_lock:
                for match in places.values():
                    state = self.log.fold.manifest_state(match.leaf, match.entry)
                    (live if state in LIVE else dead).append(match)
            for group, most in ((live, MAX_CLAIMS), (dead, MAX_DEAD_CLAIMS)):
                public = (claim for match in group if (claim := self._claim(match)) is not None)
                found[digest] += islice(public, most)
        return found

    def _claim(self, match: Match) -> ClaimFound | None:
        record = self.catalog.manifest(match.leaf)
        with self.log.fold_lock:
            leaf = self.log.fold.manifests.get(match.leaf)
            state = self.log.fold.manifest_state(match.leaf, match.entry)
            level = self.log.fold.identities.get(record.by) if record else None
        if record is None or leaf is None or _hidden(leaf):
            return None
        entry = read_entry(parse(self.catalog.entry(match.leaf, match.entry), "entry", payloads.MAX_ENTRY_BYTES))
        return ClaimFound(
            match,
            record,
            self._header(record.header),
            entry,
            self._terms(record.license),
            state,
            state == "listed" and self._is_contested(entry, record.by),
            level[1].level if level else None,
        )

    def _is_contested(self, entry: Entry, by: str) -> bool:
        found = self.catalog.find([digest for _, digest in entry.digests])
        return any(self._is_live_rival(match, by) for matches in found.values() for match in matches)

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
        if record is None or state is None or _hidden(state):
            raise NotFoundError(f"no public manifest at leaf {leaf}")
        return record, name

    def all_entries(self, leaf: int) -> list[Entry]:
        """Returns all entries of a payload, in order."""
        entries: list[Entry] = []
        while page := self.catalog.entries(leaf, len(entries), 10_000):
            entries += [read_entry(parse(data, "entry", payloads.MAX_ENTRY_BYTES)) for data in page]
        return entries

    def entry_path(self, leaf: int, entry: int) -> tuple[bytes, ...]:
        """Returns the path of an entry to its header's root."""
        return tuple(self._entry_tree(leaf).inclusion_proof(entry))

    def _make_entry_tree(self, leaf: int) -> Tree:
        data: list[bytes] = []
        while page := self.catalog.entries(leaf, len(data), 10_000):
            data += page
        return Tree(leaf_hashes(data))


def _read_header(data: bytes) -> Header:
    return read_header(parse(data, "header", payloads.MAX_HEADER_BYTES))


def _hidden(manifest: ManifestState) -> bool:
    """Whether the latest listing was not for the public; taking it off the list opens it to nobody."""
    return manifest.visibility in ("invite", "private")


def _erased(review: ReviewBody | None) -> bool:
    return review is not None and review.outcome == "erased"
