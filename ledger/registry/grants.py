"""Issuing attribution tokens and keeping their status lists (docs/format.md, section 6).

A creator asks for a token on its own listed manifests; the registry checks the request against state and terms,
reserves a random status slot for ever, signs, logs the token's digest and keeps the rest off the log.  A status list is
logged when its array changes, before anything that depends on it.

A list is known by its number, and keeps the address it was first logged under: tokens name it, also after the issuer's
address has changed.  A new address gets numbers of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

from ledger.canonical import Object, load_json
from ledger.encoding import b64url_encode, digest_decode, digest_encode, sha256
from ledger.errors import BackendError, NotFoundError, RefusedError
from ledger.manifests import MAX_ENTRY_BYTES, Header
from ledger.ports import ManifestRecord, TokenRecord
from ledger.registry.proving import carried_indices, carry, carry_anchors
from ledger.registry.service import Registry
from ledger.registry.speaking import DAY
from ledger.terms import Terms
from ledger.tokens.attribution import Licensee, Price, SdJwt, issue, parse_token
from ledger.tokens.bundle import format_token_bundle
from ledger.tokens.claims import Attribution, AttributionToken, TokenManifest
from ledger.tokens.files import decode_files, encode_files, files_root
from ledger.tokens.status import (
    STATUS_BITS,
    STATUS_COUNT,
    VALID,
    pack_status,
    sign_status_list,
    status_array,
    status_uri,
)

MAX_MANIFESTS: Final = 64
MAX_FILES: Final = 100_000
"""Files in one token issued here; the format has room for more."""

MONTH_DAYS: Final = 31
SLOT_TRIES: Final = 64
TRIES_PER_LIST: Final = 8


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What a creator grants: `files` None means every file of the manifests; `holder` is the licensee's public key."""

    manifests: tuple[int, ...]
    files: tuple[bytes, ...] | None
    holder: bytes | None
    licensee: Licensee | None
    price: Price | None
    uses: tuple[str, ...]
    audience: str
    purpose: str
    expires_at: int


class Grants:
    """Issues tokens for `registry`; one status list after the other, each used to half so that slots stay random."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._status_lock = threading.Lock()

    def issue(self, request: GrantRequest, subject: str) -> TokenRecord:
        """Issues and logs a token for the creator `subject`.

        Raises:
            NotFoundError: no such public manifest.
            RefusedError: ``forbidden``, ``not-listed``, ``use-refused``, ``audience``, ``expiry``, ``files``.
            MalformedError: a claim breaks its rule.
        """
        with self.registry.turns.of(subject):
            return self._issue(request, subject)

    def _issue(self, request: GrantRequest, subject: str) -> TokenRecord:
        now = self.registry.clock()
        if not 1 <= len(request.manifests) <= MAX_MANIFESTS or list(request.manifests) != sorted(
            set(request.manifests)
        ):
            raise RefusedError(
                f"1 to {MAX_MANIFESTS} ascending leaves are needed", code="not-listed", field="manifests"
            )
        records = [self._record(leaf, subject) for leaf in request.manifests]
        if len({record.license for record in records}) > 1:
            raise RefusedError("one token carries one license", code="use-refused", field="manifests")
        terms, _ = self.registry.terms(records[0].license)
        _check_permission(request, terms, now)
        files = self._files(request, records)
        token = self._token(request, records, terms, files, now)
        self._sign(request, token)  # a claim that breaks its rule costs no slot
        number, slot = self._reserve()
        sd_jwt = self._sign(request, replace(token, status_uri=self._uri(number), status_index=slot))
        logged = self.registry.log.append(self.registry.sign("token", {"token": digest_encode(sd_jwt.digest)}))
        record = TokenRecord(sd_jwt.digest, logged.index, subject, sd_jwt.text, encode_files(files), number, slot)
        self.registry.catalog.add_token(record)
        return record

    def _sign(self, request: GrantRequest, token: AttributionToken) -> SdJwt:
        salts = [self.registry.entropy(16) for given in (request.licensee, request.price) if given is not None]
        return issue(token, self.registry.token_key, licensee=request.licensee, price=request.price, salts=salts)

    def _record(self, leaf: int, subject: str) -> ManifestRecord:
        record, state = self.registry.manifest(leaf)
        if record.by != subject:
            raise RefusedError("a creator grants its own works only", code="forbidden", field="manifests")
        if state != "listed":
            raise RefusedError(
                f"leaf {leaf} is {state}, not listed: no new grant", code="not-listed", field="manifests"
            )
        return record

    def entry_count(self, leaves: Sequence[int]) -> int:
        """Returns how many entries the manifests at these leaves have, as their headers say: what a grant on them reads
        at most."""
        records = [record for leaf in leaves if (record := self.registry.catalog.manifest(leaf)) is not None]
        return sum(self.registry.header(record).entry_count for record in records)

    def _files(self, request: GrantRequest, records: Sequence[ManifestRecord]) -> list[bytes]:
        leaves = [record.leaf for record in records]
        count = self.entry_count(leaves) if request.files is None else len(request.files)
        if count > MAX_FILES:
            raise RefusedError(
                f"a token is on at most {MAX_FILES} files, these are {count}: name fewer files, or fewer manifests",
                code="files",
                field="files",
            )
        listed = (file for leaf in leaves for file in self._listed(leaf))
        if request.files is None:
            files = set(listed)
            if not files:
                raise RefusedError("no file of these manifests is listed", code="files", field="files")
            return sorted(files)
        files, missing = set(request.files), set(request.files)
        while missing and (file := next(listed, None)) is not None:  # what comes after the last of them is not read
            missing.discard(file)
        if missing or not files:
            what = digest_encode(min(missing)) if missing else "an empty set"
            raise RefusedError(f"{what} is not among the listed files of these manifests", code="files", field="files")
        return sorted(files)

    def _listed(self, leaf: int) -> Iterator[bytes]:
        """Yields the provenance hashes of a manifest's listed entries; the rest of them was checked when it came."""
        read = 0
        while page := self.registry.catalog.entries(leaf, read, 10_000):
            with self.registry.log.fold_lock:
                fold = self.registry.log.fold
                listed = [fold.manifest_state(leaf, read + n) == "listed" for n in range(len(page))]
            for data in compress(page, listed):
                yield digest_decode(load_json(data, "entry", MAX_ENTRY_BYTES)["provenance_hash"])
            read += len(page)

    def _lists(self) -> dict[int, str]:
        """Returns the address of each list that was logged, by its number."""
        with self.registry.log.fold_lock:
            return {int(uri.rpartition("/")[2]): uri for uri in self.registry.log.fold.statuses}

    def _uri(self, number: int) -> str:
        return self._lists().get(number, status_uri(self.registry.identity.issuer, number))

    def _reserve(self) -> tuple[int, int]:
        """Reserves a random slot; a list is left when random tries keep hitting taken slots, at about half full."""
        lists = self._lists()
        following = max(lists, default=-1) + 1
        own = [number for number, uri in lists.items() if uri == status_uri(self.registry.identity.issuer, number)]
        number = max(own, default=following)
        for tries in range(1, SLOT_TRIES + 1):
            slot = int.from_bytes(self.registry.entropy(4), "big") % STATUS_COUNT
            if self.registry.catalog.reserve_status(number, slot):
                with self._status_lock:
                    self._log_status(number)
                return number, slot
            if tries % TRIES_PER_LIST == 0:
                number = max(number + 1, following)
        raise BackendError("no free status slot was found")

    def status(self, record: TokenRecord) -> int:
        """Returns the status of a token: 0 valid, 1 revoked, 2 suspended."""
        return self.registry.catalog.statuses(record.status_list).get(record.status_index, VALID)

    def array(self, number: int) -> bytes:
        """Returns the unpacked array of a status list."""
        return status_array(self.registry.catalog.statuses(number))

    def _log_status(self, number: int) -> tuple[int, str]:
        """Logs a list if its array changed; returns its leaf and the signed list.  Under ``_status_lock``: of two
        changes at once, the array that is logged last is the one with both."""
        uri, array = self._uri(number), self.array(number)
        with self.registry.log.fold_lock:
            logged = self.registry.log.fold.statuses.get(uri)
        if logged is not None and logged[1].digest == sha256(array):
            leaf = logged[0]
        else:
            # Found by the log when the database is lost. Older ones stay, for copies of an older checkpoint.
            digest = self.registry.blobs.put(array)
            body: Object = {"uri": uri, "bits": STATUS_BITS, "count": STATUS_COUNT, "digest": digest_encode(digest)}
            leaf = self.registry.log.append(self.registry.sign("status", body)).index
        signed = sign_status_list(uri, pack_status(array), self.registry.clock(), self.registry.token_key)
        return leaf, signed

    def set_status(self, token: bytes, value: int, subject: str) -> None:
        """Sets the status of a token (0 valid, 1 revoked, 2 suspended, 3 refused) and logs the changed list.

        Raises:
            NotFoundError: no such token.
            RefusedError: ``forbidden``: only the registry changes a status.
        """
        if subject != self.registry.identity.did:
            raise RefusedError("only the registry changes a token's status", code="forbidden")
        record = self.token(token)
        with self._status_lock:
            self.registry.catalog.set_status(record.status_list, record.status_index, value)
            self._log_status(record.status_list)

    def status_list(self, number: int) -> str:
        """Returns a signed status list of now. Raises NotFoundError for one that was never logged."""
        if number not in self._lists():
            raise NotFoundError(f"no status list {number}")
        with self._status_lock:
            return self._log_status(number)[1]

    def token(self, digest: bytes) -> TokenRecord:
        """Returns a token. Raises NotFoundError."""
        record = self.registry.catalog.token(digest)
        if record is None:
            raise NotFoundError(f"no token {digest_encode(digest)}")
        return record

    def bundle(self, record: TokenRecord) -> bytes:
        """Returns the ``*.token.json`` of a token: all that verifies it with the server off."""
        sd_jwt = parse_token(record.sd_jwt)
        with self._status_lock:
            status_leaf, status_list = self._log_status(record.status_list)
        head = self.registry.log.head
        indices = carried_indices(
            self.registry, [m.index for m in sd_jwt.token.manifests], head.size, [record.leaf, status_leaf]
        )
        return format_token_bundle(
            sd_jwt,
            decode_files(record.files),
            head.note,
            carry(self.registry, indices, head.size),
            status_list,
            carry_anchors(self.registry, record.leaf, head.size),
        )

    def _token(
        self,
        request: GrantRequest,
        records: Sequence[ManifestRecord],
        terms: Terms,
        files: Sequence[bytes],
        now: int,
    ) -> AttributionToken:
        headers: list[Header] = [self.registry.header(record) for record in records]
        attribution = {
            h.creator_id: Attribution(h.creator_id, h.required_attribution_text, h.attribution_url) for h in headers
        }
        return AttributionToken(
            iss=self.registry.identity.issuer,
            jti=b64url_encode(self.registry.entropy(16)),
            iat=now,
            exp=request.expires_at,
            holder=request.holder,
            status_index=0,
            status_uri=status_uri(self.registry.identity.issuer, 0),
            license_id=terms.license_id,
            license_digest=terms.digest,
            uses=tuple(sorted(set(request.uses))),
            audience=request.audience,
            purpose=request.purpose,
            attribution=tuple(attribution[creator] for creator in sorted(attribution)),
            log=self.registry.identity.origin,
            manifests=tuple(TokenManifest(record.manifest, record.leaf) for record in records),
            files_root=files_root(files),
            files_count=len(files),
        )


def _check_permission(request: GrantRequest, terms: Terms, now: int) -> None:
    refused = [use for use in request.uses if terms.uses.get(use) not in ("yes", "ask")]
    if refused:
        raise RefusedError(f"the license says no to {refused[0]}", code="use-refused", field="uses")
    if request.holder is None and request.uses:
        raise RefusedError("a token without holder carries attribution only, no uses", code="use-refused", field="uses")
    if terms.audience not in ("any", request.audience):
        raise RefusedError(f"the license is for {terms.audience} only", code="audience", field="audience")
    latest = now + terms.term_months * MONTH_DAYS * DAY if terms.term_months else None
    if request.expires_at <= now or (latest is not None and request.expires_at > latest):
        raise RefusedError("the expiry must be in the future and within the license's term", code="expiry", field="exp")
