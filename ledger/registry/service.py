"""A registry over its stores: publishing, speaking, erasing.  Knows ports only.

Order of a publication: cheap checks → blobs → log → catalog → review by rule.  A crash between two of them is finished
when the registry begins: it looks for logged manifests that are not in the catalog, or have no review though a rule
decides them.  What is left when a store fails after the log has a statement, or the witnesses' quorum comes too late
for whoever waited, is finished before the next thing is logged.  Nothing here asks the network.  Beside it:
:mod:`ledger.registry.reading` (what is public), :mod:`ledger.registry.speaking` (statements by themselves),
:mod:`ledger.registry.claims` (who claims a file), :mod:`ledger.registry.reviews`, :mod:`ledger.registry.proving`,
:mod:`ledger.registry.grants` (tokens) and :mod:`ledger.registry.anchoring`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.canonical import Object
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError, RefusedError, TrainmarkError
from ledger.keys import Signer
from ledger.manifests import Header, parse_manifest
from ledger.ports import BlobStore, Catalog, Clock, Cosigners, Entropy, EntryStore, ManifestRecord, TileStore
from ledger.registry import payloads
from ledger.registry.claims import is_erased
from ledger.registry.listing import RULES_DIGEST, Decision
from ledger.registry.log import QUORUM_SECONDS, Answer, Log, Logged, void_error
from ledger.registry.reading import Reading
from ledger.registry.reviews import Reviews
from ledger.registry.rotation import to_sign, token_keys
from ledger.registry.speaking import Speaking
from ledger.registry.turns import Turns
from ledger.state import ManifestState
from ledger.statements import (
    ManifestBody,
    Statement,
    sign_statement,
    verify_statement,
)
from ledger.terms import parse_terms, verify_text


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a registry is: its did, the keys it signs with, its log's origin and its tokens' issuer."""

    origin: str
    issuer: str
    did: str
    key: Signer
    log_key: Signer
    token_key: Signer
    further: tuple[Signer, ...] = ()
    """More statement keys, the oldest first: the newest that counts in the log signs."""
    further_log: tuple[Signer, ...] = ()
    """Log keys made after `log_key`, the oldest first; :mod:`ledger.registry.rotation` says which signs."""
    further_token: tuple[Signer, ...] = ()
    """Token keys made after `token_key`, likewise."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The acknowledgment of a publication: logged for ever, and what the rules say of it (``wait``: a person will)."""

    logged: Logged
    manifest: bytes
    decision: Decision


class Registry(Reading):
    """One registry over its stores; safe to use from several threads.  It logs nothing by itself before ``begin``.

    Raises:
        ConflictError: ``log-disagreement``: the stores tell different stories, or that of another registry.
    """

    log: Log

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
        self.log = Log(
            identity.origin, identity.log_key, entries, tiles, cosigners, quorum_seconds, identity.further_log
        )
        super().__init__(self.log, tiles, catalog, clock)
        self.identity = identity
        self.blobs = blobs
        self.entropy = entropy
        self.turns = Turns()
        self._is_behind = self._policy_waits = False
        self.reviews = Reviews(self.log, catalog, self.all_entries, self.sign)
        self._speaking = Speaking(
            identity.did, self.log, catalog, self.turns, clock, self._terms, self.all_entries, self._erase
        )
        if self.log.fold.registry not in (None, identity.did):
            self.close()
            raise ConflictError(
                f"the log is run by {self.log.fold.registry}, the keys are of {identity.did}", code="log-disagreement"
            )

    def begin(self) -> None:
        """Logs what a start logs: reviews that were cut off, and the policy where the log has none, or another one.

        To be called once, after the head was compared with what others know of the log (an anchor): one that was rolled
        back forks with the first leaf it takes.
        """
        self.policy_body()  # refuses a log without its keys before anything is written
        self.reconcile()
        self._renew_policy()

    def _renew_policy(self) -> None:
        """Logs the policy if it is another than the log's last; where no statement key counts any more it waits until a
        recovery key has added one, which is said over HTTP."""
        last, body = self.log.fold.policy, self.policy_body()
        self._policy_waits = False
        if last is not None and (last.log_key, last.issuer, list(last.token_keys), digest_encode(last.rules)) == (
            body["log_key"],
            body["issuer"],
            body["token_keys"],
            body["rules"],
        ):
            return
        if last is not None and self._statement_key() is None:
            self._policy_waits = True
            return
        self.log.append(self.sign("policy", body))

    @property
    def warning(self) -> str | None:
        """What is wrong though the registry runs, for people."""
        if not self._policy_waits:
            return None
        return (
            f"another policy waits to be logged, and no statement key of {self.identity.did} counts: add one with its "
            "recovery key (trainmark keys add)"
        )

    def policy_body(self) -> Object:
        """Returns the body of this registry's policy statement.

        Raises:
            RefusedError: ``keys-incomplete``: a log or token key that must sign is not here.
        """
        return {
            "origin": self.identity.origin,
            "log_key": self.log.vkey,
            "issuer": self.identity.issuer,
            "token_keys": [self.token_key.did],
            "rules": digest_encode(RULES_DIGEST),
        }

    @property
    def token_key(self) -> Signer:
        """The key that signs tokens and status lists.

        Raises:
            RefusedError: ``keys-incomplete``: it is not here.
        """
        with self.log.fold_lock:
            named = token_keys(policy for _, policy in self.log.fold.policies)
        return to_sign((self.identity.token_key, *self.identity.further_token), named, "token")

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

    def _statement_key(self) -> Signer | None:
        identity = self.identity
        with self.log.fold_lock:
            fold = self.log.fold
            keys = (*reversed(identity.further), identity.key)
            return next((key for key in keys if fold.key_valid(identity.did, key.did, fold.size)), None)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Remembers, if anything fails, that what follows from the log may not be done."""
        try:
            yield
        except BaseException:
            self._is_behind = True
            raise

    def _catch_up(self) -> None:
        """Finishes what was left when a store failed after something was logged, or the quorum came late: else the
        place of a manifest would be free, or an erased payload stay, until the next start; and logs a policy that
        waited for a key."""
        if self.log.broken is not None:
            return
        if self._policy_waits and self._statement_key() is not None:
            self._renew_policy()
        if not self._is_behind:
            return
        with self.turns.of_all(), self._remembering():
            if self._is_behind:
                self._is_behind = False
                self.reconcile()

    def reconcile(self) -> list[int]:
        """Enters logged payloads the catalog lacks, erases what is erased, and reviews what a rule decides.

        A registry whose keys are all revoked reviews nothing, and opens: a recovery key adds one over HTTP.
        """
        with self.log.fold_lock:
            leaves = dict(self.log.fold.manifests)
        missing, todo = set(leaves), dict[int, ManifestRecord | None]()
        for record in payloads.records(self.catalog):  # not leaf by leaf: they are many, and most need nothing
            missing.discard(record.leaf)
            leaf = leaves.get(record.leaf)
            if leaf is not None and (leaf.review is None or is_erased(leaf)):
                todo[record.leaf] = record
        todo |= {index: None for index in missing if is_erased(leaves[index])}
        lacking = [leaves[index] for index in sorted(missing - todo.keys())]
        entered = payloads.rebuild(lacking, self.blobs, self.catalog, self.clock())
        for index in entered:
            self.reviews.entered(index, self.all_entries(index))
            todo[index] = self.catalog.manifest(index)
        for index in sorted(todo):
            leaf, known = leaves[index], todo[index]
            if is_erased(leaf):
                self._erase_payload(leaf, known)
            elif known is not None and leaf.review is None and self._statement_key() is not None:
                self.reviews.by_rule(known, self.all_entries(index))
        return entered

    def rebuild(self) -> list[int]:
        """Makes the derived part of the catalog anew out of leaves and blobs; returns the manifests entered."""
        self.catalog.clear_derived()
        return self.reconcile()

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
        stored: bytes | None = None
        try:
            with self.turns.of(subject):
                self._check_place(header, statement)
                stored = payloads.store(payload, self.blobs)
                logged = self._append(statement)
                with self._remembering():
                    record = self.catalog.manifest(logged.index)
                    if record is None:
                        record = payloads.enter(payload, stored, logged.index, self.clock(), self.catalog)
                        self.reviews.entered(logged.index, read.entries)
        except (RefusedError, ConflictError):
            if stored is not None:
                self._discard(payload, stored)
            raise
        with self._remembering():
            return Receipt(logged, header.digest, self.reviews.by_rule(record, read.entries))

    def _append(self, statement: Statement) -> Logged:
        try:
            return self.log.append(statement)
        except BackendError:
            self._is_behind = True  # it may be in the log
            raise

    def _discard(self, payload: payloads.Payload, entries: bytes) -> None:
        """Removes the blobs of an upload that the log refused after all (``pool-full``): no erasure would find them."""
        header = payload.header
        with self.turns.of_all():  # somebody else may store the same entries
            with self.log.fold_lock:
                is_logged = (header.digest, header.creator_id) in self.log.fold.leaf_of
            if not is_logged:
                payloads.discard(payload, entries, self.blobs, self.catalog)

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
        with self._remembering():
            answers = self._speaking.say(statements, subject)
        self._is_behind |= any(isinstance(answer, BackendError) for answer in answers)
        return answers

    def _erase(self, leaf: int) -> None:
        with self.log.fold_lock:
            logged = self.log.fold.manifests[leaf]
        self._erase_payload(logged, self.catalog.manifest(leaf))

    def _erase_payload(self, leaf: ManifestState, record: ManifestRecord | None) -> None:
        if record is not None:
            payloads.erase(record, self.blobs, self.catalog)
        else:
            payloads.erase_unentered(leaf, self.blobs, self.catalog)
        self.reviews.erased(leaf.index)
