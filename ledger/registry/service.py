"""A registry over its stores: publishing, speaking, erasing, and reading what is public.  Knows ports only.

Order of a publication: cheap checks → blobs → log → catalog → review by rule.  A crash between two of them is finished
when the registry is opened: it looks for logged manifests that are not in the catalog, or have no review though a rule
decides them.  What is left when the witnesses' quorum comes too late for whoever waited is finished before the next
thing is logged.  Nothing here asks the network.  Beside it: :mod:`ledger.registry.speaking` (statements by
themselves), :mod:`ledger.registry.claims` (who claims a file), :mod:`ledger.registry.reviews`,
:mod:`ledger.registry.proving`, :mod:`ledger.registry.grants` (tokens) and :mod:`ledger.registry.anchoring`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger.canonical import Object, parse
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError, NotFoundError, RefusedError, TrainmarkError
from ledger.keys import SigningKey
from ledger.manifests import Entry, Header, parse_entry, parse_manifest, read_header
from ledger.merkle import Tree, leaf_hashes
from ledger.ports import BlobStore, Catalog, Clock, Cosigners, Entropy, EntryStore, ManifestRecord, TileStore
from ledger.registry import payloads
from ledger.registry.claims import ClaimFound, Claims, hidden, is_erased
from ledger.registry.listing import RULES_DIGEST, Decision
from ledger.registry.log import QUORUM_SECONDS, Log, Logged, void_error
from ledger.registry.reviews import Reviews
from ledger.registry.speaking import Answer, Speaking
from ledger.registry.turns import Turns
from ledger.statements import (
    ManifestBody,
    Statement,
    sign_statement,
    verify_statement,
)
from ledger.terms import Terms, parse_terms, verify_text

ENTRY_TREES: Final = 16
"""Trees of entries that are kept, of up to 100,000 entries and some 20 MB each."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a registry is: its did, the keys it signs with, its log's origin and its tokens' issuer."""

    origin: str
    issuer: str
    did: str
    key: SigningKey
    log_key: SigningKey
    token_key: SigningKey
    further: tuple[SigningKey, ...] = ()
    """More statement keys, the oldest first: the newest that counts in the log signs."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgment of a publication: logged for ever, and what the rules say of it (``wait``: a person will)."""

    logged: Logged
    manifest: bytes
    decision: Decision


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
        cosigners: Cosigners | None = None,
        quorum_seconds: float = QUORUM_SECONDS,
    ) -> None:
        self.identity = identity
        self.tiles = tiles
        self.blobs = blobs
        self.catalog = catalog
        self.clock = clock
        self.entropy = entropy
        self.log = Log(identity.origin, identity.log_key, entries, tiles, cosigners, quorum_seconds)
        self.turns = Turns()
        self._is_behind = False
        self._entry_tree = lru_cache(maxsize=ENTRY_TREES)(self._make_entry_tree)
        self._terms = lru_cache(maxsize=1024)(self._read_terms)
        self._header = lru_cache(maxsize=4096)(_read_header)
        self._claims = Claims(self.log, catalog, self.header, self._terms)
        self.reviews = Reviews(self.log, catalog, self.all_entries, self.sign)
        self._speaking = Speaking(
            identity.did, self.log, catalog, self.turns, clock, self._terms, self.all_entries, self._erase
        )
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
        """Makes a statement of the registry for its own log, with the newest of its keys that counts there.

        Raises:
            RefusedError: ``key-invalid``: none of them does.
        """
        key = self._statement_key()
        if key is None:
            raise RefusedError(
                f"no statement key of {self.identity.did} here counts in its log; add one with its recovery key",
                code="key-invalid",
                field="keys",
            )
        return sign_statement(kind, self.identity.did, key, self.identity.origin, body)

    def _statement_key(self) -> SigningKey | None:
        identity = self.identity
        with self.log.fold_lock:
            fold = self.log.fold
            keys = (*reversed(identity.further), identity.key)
            return next((key for key in keys if fold.key_valid(identity.did, key.did, fold.size)), None)

    def close(self) -> None:
        """Stops the writer and closes the stores."""
        self.log.close()
        self.catalog.close()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Remembers a statement that may be published when nobody waits for it any more."""
        try:
            yield
        except BackendError as e:
            self._is_behind |= e.code == "quorum"
            raise

    def _catch_up(self) -> None:
        """Finishes what was left when the quorum was not reached, once it is: else the place of a manifest would be
        free, or an erased payload stay, until the next start."""
        if not self._is_behind or self.log.broken is not None:
            return
        with self.turns.of_all():
            if self._is_behind:
                self.reconcile()
                self._is_behind = False

    def reconcile(self) -> list[int]:
        """Enters logged payloads the catalog lacks, erases what is erased, and reviews what a rule decides.

        A registry whose keys are all revoked reviews nothing, and opens: a recovery key adds one over HTTP.
        """
        with self.log.fold_lock:
            leaves = list(self.log.fold.manifests.values())
        missing = [m for m in leaves if self.catalog.manifest(m.index) is None and not is_erased(m)]
        entered = payloads.rebuild(missing, self.blobs, self.catalog, self.clock())
        for index in entered:
            self.reviews.entered(index, self.all_entries(index))
        for leaf in leaves:
            record = self.catalog.manifest(leaf.index)
            if record is not None and is_erased(leaf):
                self._erase(record)
            elif record is not None and leaf.review is None and self._statement_key() is not None:
                self.reviews.by_rule(record, self.all_entries(leaf.index))
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
        payload = payloads.Payload(header, read.entries, license_, text)
        self._catch_up()
        with self._remembering():
            with self.turns.of(subject):
                self._check_place(header, statement)
                entries = payloads.store(payload, self.blobs)
                logged = self.log.append(statement)
                record = self.catalog.manifest(logged.index)
                if record is None:
                    record = payloads.enter(payload, entries, logged.index, self.clock(), self.catalog)
                    self.reviews.entered(logged.index, read.entries)
            return Receipt(logged, header.digest, self.reviews.by_rule(record, read.entries))

    def _check_place(self, header: Header, statement: Statement) -> None:
        assert isinstance(statement.body, ManifestBody)
        with self.log.fold_lock:
            leaf = self.log.fold.leaf_of.get((header.digest, header.creator_id))
            if leaf is None:
                self._check_void(statement)
            elif is_erased(self.log.fold.manifests[leaf]):
                raise RefusedError(f"leaf {leaf}, this manifest, was erased", code="erased", field="manifest")
            for leaf in statement.body.supersedes:
                old = self.log.fold.manifests.get(leaf)
                if old is None or old.by != header.creator_id:
                    raise RefusedError(
                        f"leaf {leaf} is not an earlier manifest of this creator", code="void", field="supersedes"
                    )
        other = payloads.rival_at(header, statement.body.supersedes, self.catalog)
        if other is not None:
            raise ConflictError(
                f"leaf {other.leaf} is another manifest of this dataset, version and part; "
                f"give it a new version, or supersede that leaf",
                code="version-conflict",
                field="header.version",
            )

    def _check_void(self, statement: Statement) -> None:
        """Refuses what the log would refuse, before anything is stored for it."""
        reason = self.log.fold.why_void(statement)
        if reason is not None:
            raise void_error(reason)

    def speak(self, data: bytes, subject: str) -> Logged:
        """Logs any statement that `subject` may make: creators their own, the registry its reviews and decisions.

        Raises:
            RefusedError: ``forbidden``, ``notice`` (a withdrawal before its notice is over), ``not-listable``,
                ``too-many-keys``, ``void``, ``key-invalid``.
        """
        [answer] = self.speak_many([data], subject)
        if isinstance(answer, TrainmarkError):
            raise answer
        return answer

    def speak_many(self, statements: Sequence[bytes], subject: str) -> list[Answer]:
        """Logs many statements as ``speak`` does one, in their order; answers each with its place, or why it has none.

        Up to ``MAX_POOL`` of them find a place in the log's pool.
        """
        self._catch_up()
        answers = self._speaking.say(statements, subject)
        self._is_behind |= any(isinstance(answer, BackendError) and answer.code == "quorum" for answer in answers)
        return answers

    def _erase(self, record: ManifestRecord) -> None:
        payloads.erase(record, self.blobs, self.catalog)
        self.reviews.erased(record.leaf)

    # -- reading

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
