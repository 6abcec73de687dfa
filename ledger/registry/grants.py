"""Issuing attribution tokens and keeping their status lists (docs/format.md, section 6).

A creator asks for a token on its own listed manifests; the registry checks the request against state and terms,
reserves a random status slot for ever, signs, logs the token's digest and keeps the rest off the log.  A status list is
logged when its array changes, before anything that depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.canonical import Object
from ledger.encoding import b64url_encode, digest_encode, sha256
from ledger.errors import BackendError, NotFoundError, RefusedError
from ledger.manifests import Header
from ledger.ports import ManifestRecord, TokenRecord
from ledger.registry.proving import carried_indices, carry, carry_anchors
from ledger.registry.service import DAY, Registry
from ledger.terms import Terms
from ledger.tokens.attribution import Licensee, Price, issue, parse_token
from ledger.tokens.bundle import format_token_bundle
from ledger.tokens.claims import Attribution, AttributionToken, TokenManifest
from ledger.tokens.files import decode_files, encode_files, files_root
from ledger.tokens.status import (
    STATUS_BITS,
    STATUS_COUNT,
    empty_status,
    sign_status_list,
    status_uri,
    with_status,
)

MAX_MANIFESTS: Final = 64
MONTH_DAYS: Final = 31
SLOT_TRIES: Final = 64


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

    def issue(self, request: GrantRequest, subject: str) -> TokenRecord:
        """Issues and logs a token for the creator `subject`.

        Raises:
            NotFoundError: no such public manifest.
            RefusedError: ``forbidden``, ``not-listed``, ``use-refused``, ``audience``, ``expiry``, ``files``.
        """
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
        number, slot = self._reserve()
        token = self._token(
            request, records, terms, files, status_uri(self.registry.identity.issuer, number), slot, now
        )
        salts = [self.registry.entropy(16) for given in (request.licensee, request.price) if given is not None]
        sd_jwt = issue(
            token, self.registry.identity.token_key, licensee=request.licensee, price=request.price, salts=salts
        )
        logged = self.registry.log.append(self.registry.sign("token", {"token": digest_encode(sd_jwt.digest)}))
        record = TokenRecord(sd_jwt.digest, logged.index, subject, sd_jwt.text, encode_files(files), number, slot)
        self.registry.catalog.add_token(record)
        return record

    def _record(self, leaf: int, subject: str) -> ManifestRecord:
        record, state = self.registry.manifest(leaf)
        if record.by != subject:
            raise RefusedError("a creator grants its own works only", code="forbidden", field="manifests")
        if state != "listed":
            raise RefusedError(
                f"leaf {leaf} is {state}, not listed: no new grant", code="not-listed", field="manifests"
            )
        return record

    def _files(self, request: GrantRequest, records: Sequence[ManifestRecord]) -> list[bytes]:
        fold = self.registry.log.fold
        known: set[bytes] = set()
        for record in records:
            for number, entry in enumerate(self.registry.all_entries(record.leaf)):
                with self.registry.log.fold_lock:
                    if fold.manifest_state(record.leaf, number) == "listed":
                        known.add(entry.provenance_hash)
        wanted = known if request.files is None else set(request.files)
        missing = wanted - known
        if missing or not wanted:
            what = digest_encode(min(missing)) if missing else "an empty set"
            raise RefusedError(f"{what} is not among the listed files of these manifests", code="files", field="files")
        return sorted(wanted)

    def _reserve(self) -> tuple[int, int]:
        """Reserves a random slot; a list is left when random tries keep hitting taken slots, at about half full."""
        catalog, number = self.registry.catalog, 0
        with self.registry.log.fold_lock:
            prefix = status_uri(self.registry.identity.issuer, 0)[:-1]
            number = max((int(uri[len(prefix) :]) for uri in self.registry.log.fold.statuses), default=0)
        for tries in range(1, SLOT_TRIES + 1):
            slot = int.from_bytes(self.registry.entropy(4), "big") % STATUS_COUNT
            if catalog.reserve_status(number, slot):
                self._log_status(number)
                return number, slot
            if tries % 8 == 0:
                number += 1
        raise BackendError("no free status slot was found")

    def array(self, number: int) -> bytes:
        """Returns the unpacked array of a status list."""
        array = empty_status()
        for slot, value in self.registry.catalog.statuses(number).items():
            array = with_status(array, slot, value)
        return array

    def _log_status(self, number: int) -> None:
        uri, digest = status_uri(self.registry.identity.issuer, number), sha256(self.array(number))
        with self.registry.log.fold_lock:
            logged = self.registry.log.fold.statuses.get(uri)
        if logged is None or logged[1].digest != digest:
            body: Object = {"uri": uri, "bits": STATUS_BITS, "count": STATUS_COUNT, "digest": digest_encode(digest)}
            self.registry.log.append(self.registry.sign("status", body))

    def set_status(self, token: bytes, value: int, subject: str) -> None:
        """Sets the status of a token (0 valid, 1 revoked, 2 suspended, 3 refused) and logs the changed list.

        Raises:
            NotFoundError: no such token.
            RefusedError: ``forbidden``: only the registry changes a status.
        """
        if subject != self.registry.identity.did:
            raise RefusedError("only the registry changes a token's status", code="forbidden")
        record = self.token(token)
        self.registry.catalog.set_status(record.status_list, record.status_index, value)
        self._log_status(record.status_list)

    def status_list(self, number: int) -> str:
        """Returns a signed status list of now. Raises NotFoundError for one that was never logged."""
        uri = status_uri(self.registry.identity.issuer, number)
        with self.registry.log.fold_lock:
            if uri not in self.registry.log.fold.statuses:
                raise NotFoundError(f"no status list {number}")
        return sign_status_list(uri, self.array(number), self.registry.clock(), self.registry.identity.token_key)

    def token(self, digest: bytes) -> TokenRecord:
        """Returns a token. Raises NotFoundError."""
        record = self.registry.catalog.token(digest)
        if record is None:
            raise NotFoundError(f"no token {digest_encode(digest)}")
        return record

    def bundle(self, record: TokenRecord) -> bytes:
        """Returns the ``*.token.json`` of a token: all that verifies it with the server off."""
        sd_jwt = parse_token(record.sd_jwt)
        self._log_status(record.status_list)
        head, fold = self.registry.log.head, self.registry.log.fold
        uri = sd_jwt.token.status_uri
        with self.registry.log.fold_lock:
            extra = [record.leaf, fold.statuses[uri][0]]
            indices = carried_indices(fold, [m.index for m in sd_jwt.token.manifests], head.size, extra)
        return format_token_bundle(
            sd_jwt,
            decode_files(record.files),
            head.note,
            carry(self.registry, indices, head.size),
            self.status_list(record.status_list),
            carry_anchors(self.registry, record.leaf, head.size),
        )

    def _token(
        self,
        request: GrantRequest,
        records: Sequence[ManifestRecord],
        terms: Terms,
        files: Sequence[bytes],
        uri: str,
        slot: int,
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
            status_index=slot,
            status_uri=uri,
            license_id=terms.license_id,
            license_digest=terms.digest,
            uses=request.uses,
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
