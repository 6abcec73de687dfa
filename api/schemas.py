"""What goes in and out, described for OpenAPI; answers are written as bytes elsewhere and tested against these.

Digests are ``sha256:<64 hex>``, times ``YYYY-MM-DDTHH:MM:SSZ``, parties did:key, indices and sizes count leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from api.problems import PROBLEM_TYPE
from ledger.terms import USES

Answer = Literal["yes", "no", "ask"]
State = Literal["void", "ended", "disputed", "withdrawing", "listed", "logged"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457); `code` is stable, `detail` is for people, `instance` ends in the `X-Request-Id`."""

    type: str = Field(examples=["urn:trainmark:problem:not-found"])
    title: str
    status: int
    detail: str
    instance: str = Field(examples=["urn:trainmark:request:5f1c0ab2d3e4f607"])
    code: str = Field(examples=["not-found"])
    field: str | None


class TokenRequest(_Model):
    """Client credentials with a signed assertion (RFC 7523)."""

    grant_type: Literal["client_credentials"]
    client_assertion_type: Literal["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    client_assertion: str = Field(description="JWT signed with Ed25519 by a key of the party, used once")
    scope: str = Field(examples=["publish statement"])


class AccessToken(_Model):
    """A bearer token."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class Creator(_Model):
    """Who a creator says to be; `identity` is what the registry vouches for."""

    id: str
    name: str
    identity: Literal["self", "domain", "attested"] | None


class ManifestSummary(_Model):
    """Which manifest; `created_at` is the creator's own word and proves nothing."""

    digest: str
    title: str
    version: str
    dataset_id: str
    created_at: str
    supersedes: list[int]


class Training(_Model):
    """May I train on it: in one word, and the conditions as sentences."""

    answer: Literal["yes", "no", "conditions"]
    conditions: list[str]


class LicenseSummary(_Model):
    """A license in short; only `yes` is permission, `ask` needs an agreement."""

    id: str
    url: str
    digest: str
    uses: dict[str, Answer]
    audience: Literal["any", "non-commercial", "research"]
    attribution_required: bool
    training: Training


class AttributionText(_Model):
    """How the creator is to be named."""

    text: str
    url: str


class AnchorSummary(_Model):
    """Where a log size is anchored, as the operator knows it. `operator_class` is the operator's word for the chain; a
    verifier's own trust file decides what such an anchor is worth. `time` is the block's."""

    size: int
    chain: str
    transaction: str
    state: Literal["pending", "mined", "final", "lost", "failed"]
    block_number: int | None
    block_hash: str | None
    time: str | None
    operator_class: Literal["development", "testnet", "public"]


class ClaimAnswer(_Model):
    """One claim on a file. `logged_at` is always null: only an anchor's block bounds the time."""

    leaf: int
    entry: int
    kind: Literal["provenance", "published", "content"]
    state: State
    contested: bool
    creator: Creator
    manifest: ManifestSummary
    license: LicenseSummary
    attribution: AttributionText
    path: str
    media_type: str
    price_tier: str
    logged_at: None
    anchor: AnchorSummary | None


_DIGEST = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
_CREATOR = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
RESOLVED_EXAMPLE: dict[str, Any] = {
    "digest": _DIGEST,
    "size": 3,
    "claims": [
        {
            "leaf": 1,
            "entry": 0,
            "kind": "provenance",
            "state": "listed",
            "contested": False,
            "creator": {"id": _CREATOR, "name": "Ada Lens", "identity": None},
            "manifest": {
                "digest": _DIGEST,
                "title": "Avatars",
                "version": "1",
                "dataset_id": "urn:uuid:04c1edfd-96b9-5b43-8069-37602ad689e4",
                "created_at": "2026-11-24T09:30:00Z",
                "supersedes": [],
            },
            "license": {
                "id": "ADA-TRAIN-1",
                "url": "https://creator.example/license",
                "digest": _DIGEST,
                "uses": dict.fromkeys(USES, "no") | {"search": "yes", "train": "yes", "deploy": "ask"},
                "audience": "any",
                "attribution_required": True,
                "training": {"answer": "conditions", "conditions": ["Name the creator with the attribution text."]},
            },
            "attribution": {"text": "Pictures by Ada Lens", "url": "https://creator.example/"},
            "path": "0001.png",
            "media_type": "image/png",
            "price_tier": "standard",
            "logged_at": None,
            "anchor": None,
        }
    ],
}


class Resolved(_Model):
    """All claims on a digest at a log size, live ones first; none means unknown, which is no permission."""

    digest: str
    size: int
    claims: list[ClaimAnswer]


class ProofBundle(BaseModel):
    """`*.proof.json` (docs/format.md, section 6)."""

    trainmark: Literal["proof/v1"]


class Publication(_Model):
    """A manifest file with a statement for this log, its license terms, and the text people read."""

    manifest: dict[str, Any]
    terms: dict[str, Any]
    text: str


class LoggedStatement(_Model):
    """A leaf, and a signed checkpoint of `size` leaves that covers it."""

    leaf: int
    size: int
    checkpoint: str


class Published(LoggedStatement):
    """A logged manifest and what the rules say of it."""

    manifest: str
    decision: Literal["list", "reject", "wait"]
    reasons: list[str]


class ChainAnchor(_Model):
    """A chain, contract and publisher by which this log is anchored."""

    kind: Literal["evm"]
    operator_class: Literal["development", "testnet", "public"]
    chain: str
    genesis: str
    contract: str
    publisher: str


class Fingerprints(_Model):
    """SHA-256 of the raw public keys, to be compared by voice or on paper."""

    registry: str
    log: str


class Policy(_Model):
    """Who a registry says to be."""

    registry: str
    origin: str
    log_vkey: str = Field(description="C2SP vkey of the log")
    issuer: str
    token_keys: list[str]
    rules: str
    size: int
    anchors: list[ChainAnchor]
    fingerprints: Fingerprints


class AnchorPage(_Model):
    """Anchors; `next` is the cursor of the next page, null at the end."""

    items: list[AnchorSummary]
    next: int | None


class JsonWebKey(_Model):
    """A public key (RFC 8037)."""

    crv: Literal["Ed25519"]
    kty: Literal["OKP"]
    x: str
    alg: Literal["Ed25519"]
    kid: str
    use: Literal["sig"]


class KeySet(_Model):
    """A JWK set."""

    keys: list[JsonWebKey]


class Alive(_Model):
    """The process answers."""

    status: Literal["ok"]


class Ready(_Model):
    """The registry can be read and written."""

    status: Literal["ready"]


class Health(_Model):
    """Whether the registry runs."""

    status: Literal["ok"]
    size: int
    warning: str | None


class LicensePage(_Model):
    """Licenses by digest; `next` is the cursor of the next page, null at the end."""

    items: list[LicenseSummary]
    next: str | None


class DatasetSummary(_Model):
    """A manifest in short; `received_at` is this server's clock and proves nothing."""

    leaf: int
    state: State
    creator: Creator
    manifest: ManifestSummary
    license: LicenseSummary
    entry_count: int
    received_at: str


class Dataset(DatasetSummary):
    """A manifest with its header as it was signed, and its earliest anchor, at a log size."""

    size: int
    header: dict[str, Any]
    anchor: AnchorSummary | None


class DatasetPage(_Model):
    """Manifests; `next` is the cursor of the next page, null at the end."""

    items: list[DatasetSummary]
    next: int | None


class EntryPage(_Model):
    """Entries (docs/format.md, section 2); `next` is the cursor of the next page, null at the end."""

    items: list[dict[str, Any]]
    next: int | None


class PartyKey(_Model):
    """A key of a party: it counts for leaves after `added` (-1: from the start) up to `revoked` (null: still)."""

    key: str
    recovery: bool
    added: int
    revoked: int | None
    since: int | None


class Party(DatasetPage):
    """What the log says of a party at a size, with all its keys (at most 128) and its public manifests."""

    id: str
    name: str | None
    identity: Literal["self", "domain", "attested"] | None
    size: int
    keys: list[PartyKey]


class Waiting(_Model):
    """A manifest that no rule decides."""

    leaf: int
    title: str
    version: str
    creator: Creator
    manifest: str
    decision: Literal["list", "reject", "wait"]
    reasons: list[str]
    received_at: str


class ReviewPage(_Model):
    """What waits for a person; `next` is the cursor of the next page, null at the end."""

    items: list[Waiting]
    next: int | None


class Case(_Model):
    """A dispute, named by the leaf that opened it: over which entries of which manifest leaf (none: all of them), and
    what the registry said: the leaves at which it held and decided it, and over which entries."""

    case: int
    leaf: int
    creator: str
    by: str
    entries: list[int]
    evidence: str | None
    held: int | None
    held_entries: list[int]
    decided: int | None
    decided_entries: list[int]
    outcome: Literal["upheld", "rejected", "settled"] | None


class CasePage(_Model):
    """Cases that are not decided; `next` is the cursor of the next page, null at the end."""

    items: list[Case]
    next: int | None


class Review(_Model):
    """What the registry said of a manifest, and at which leaf."""

    statement: int
    outcome: Literal["listed", "rejected", "delisted", "erased"]
    visibility: Literal["public", "invite", "private"] | None
    evidence: str | None


class Reviewed(_Model):
    """A manifest leaf as the registry's own people see it, whoever else may: `dataset` is null without a payload."""

    leaf: int
    by: str
    state: Literal["void", "ended", "disputed", "withdrawing", "listed", "logged"]
    size: int
    reviews: list[Review]
    withdrawals: list[int]
    superseded_at: int | None
    cases: list[Case]
    reasons: list[str]
    dataset: DatasetSummary | None


class LicenseeName(_Model):
    """Who a token is issued to; disclosed only where its holder wants."""

    name: str
    id: str


class TokenPrice(_Model):
    """What was paid, in the currency's smallest unit."""

    currency: str = Field(examples=["EUR"])
    minor: int


TOKEN_EXAMPLE: dict[str, Any] = {
    "manifests": [1],
    "files": [_DIGEST],
    "holder": _CREATOR,
    "licensee": {"name": "Model Lab", "id": "lab-1"},
    "price": {"currency": "EUR", "minor": 1200},
    "uses": ["train"],
    "audience": "any",
    "purpose": "Train a model of avatars",
    "expires_at": "2027-11-24T00:00:00Z",
}


class TokenIssue(_Model):
    """What a creator grants: `files` null means all files of the manifests, 100,000 at most; `holder` is the licensee's
    did:key (null: attribution only, no uses)."""

    manifests: list[int] = Field(min_length=1, max_length=64)
    files: list[str] | None
    holder: str | None
    licensee: LicenseeName | None
    price: TokenPrice | None
    uses: list[str]
    audience: Literal["any", "non-commercial", "research"]
    purpose: str
    expires_at: str = Field(examples=["2027-11-24T00:00:00Z"])


class IssuedToken(_Model):
    """The digest of a token's issuer-signed JWT, and the leaf that logs it."""

    token: str
    leaf: int


class LicenseName(_Model):
    """Which license."""

    id: str
    digest: str


TokenWord = Literal["valid", "revoked", "suspended", "refused"]


class TokenSummary(IssuedToken):
    """A token in short."""

    creator: str
    license: LicenseName
    uses: list[str]
    files: int
    issued_at: str
    expires_at: str
    status: TokenWord


class TokenPage(_Model):
    """Tokens; `next` is the cursor of the next page, null at the end."""

    items: list[TokenSummary]
    next: int | None


class TokenStatus(_Model):
    """The status of a token."""

    status: Literal["valid", "revoked", "suspended"]


class TokenBundle(BaseModel):
    """`*.token.json` (docs/format.md, section 6)."""

    trainmark: Literal["token/v1"]


EXAMPLES: dict[str, dict[str, Any]] = {"Resolved": RESOLVED_EXAMPLE, "TokenIssue": TOKEN_EXAMPLE}
"""By schema; put into the document as they are, since FastAPI drops every null on its way."""

_PHRASES = {
    400: "Not in the format",
    401: "No token, or no proof of who asks",
    403: "A rule or permission says no",
    404: "Nothing under that name",
    408: "Too slow",
    409: "Impossible beside what is there",
    413: "Too big",
    422: "Well formed, and not true",
    429: "Too much; see Retry-After",
    503: "A part did not do its work; repeat later",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the ``responses`` of a route that may answer with these problems."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {status: {"description": _PHRASES[status], "content": {PROBLEM_TYPE: schema}} for status in statuses}


def raw_body(kinds: Mapping[str, str]) -> dict[str, Any]:
    """Returns the ``openapi_extra`` of a route that reads its body as bytes: media types, and what each holds."""
    content = {kind: {"schema": {"type": "string", "description": text}} for kind, text in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the ``openapi_extra`` of a route that reads `model` as JSON itself."""
    return _body("application/json", model)


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the ``openapi_extra`` of a route that reads `model` as a form itself."""
    return _body("application/x-www-form-urlencoded", model)


def _body(media_type: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def read_by_routes() -> dict[str, Any]:
    """Returns the schemas FastAPI does not find by itself: what ``json_body``, ``form_body`` and ``problems`` name."""
    models: tuple[type[BaseModel], ...] = (ProblemDetails, TokenRequest, Publication, TokenIssue, TokenStatus)
    _, schema = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Any] = schema["$defs"]
    return definitions
