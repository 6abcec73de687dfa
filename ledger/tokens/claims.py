"""The claims of an attribution token (docs/format.md, section 6): what is permitted, to whom, on what, until when.

The set of claims is exact.  A token names manifests by digest and leaf, files by the root over their provenance hashes
(:mod:`ledger.tokens.files`), its entry in a status list of the issuer, and the licensee by a key only; who that is, and
the price, are disclosures (:mod:`ledger.tokens.attribution`).  Times are UTC seconds.  Nothing is verified here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ledger import text
from ledger.canonical import (
    Json,
    Object,
    as_choice,
    as_constant,
    as_int,
    as_line,
    as_list,
    as_object,
    as_text,
    optional,
)
from ledger.checkpoint import MAX_LOG_SIZE, check_origin
from ledger.encoding import HASH_BYTES, MAX_TIME, b64url_decode, digest_decode, digest_encode
from ledger.errors import MalformedError, shown
from ledger.keys import check_public, jwk
from ledger.statements import as_did
from ledger.terms import AUDIENCES, USES, check_license_id
from ledger.tokens.files import MAX_FILES
from ledger.tokens.status import MAX_LIST_NUMBER, STATUS_COUNT, status_uri

VCT: Final = "urn:trainmark:vct:attribution:1"
SD_ALG: Final = "sha-256"
MAX_DISCLOSURES: Final = 2
MAX_MANIFESTS: Final = 64
MAX_PURPOSE_CHARS: Final = 500
JTI_BYTES: Final = 16

_CLAIMS = (
    *("iss", "jti", "iat", "exp", "vct", "cnf", "status", "license", "uses", "audience", "purpose", "attribution"),
    *("log", "manifests", "files", "parent", "renews", "_sd_alg", "_sd"),
)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom to name, with which text, linked to where."""

    creator_id: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class TokenManifest:
    """A manifest by its digest, and the index of its leaf in the log."""

    digest: bytes
    index: int


@dataclass(frozen=True, slots=True)
class AttributionToken:
    """The claims of a token.

    `holder` is the licensee's 32-byte public key, None in a public token (attribution only, no uses).  `iat` and `exp`
    bound the permission to *start* training.  `status_index` is an entry of list `status_uri`; `sd` are the digests of
    the disclosures as base64url; `parent` and `renews` are digests of other tokens.
    """

    iss: str
    jti: str
    iat: int
    exp: int
    holder: bytes | None
    status_index: int
    status_uri: str
    license_id: str
    license_digest: bytes
    uses: tuple[str, ...]
    audience: str
    purpose: str
    attribution: tuple[Attribution, ...]
    log: str
    manifests: tuple[TokenManifest, ...]
    files_root: bytes
    files_count: int
    parent: bytes | None = None
    renews: bytes | None = None
    sd: tuple[str, ...] = ()


def claims_value(token: AttributionToken) -> Object:
    """Returns the payload of a token."""
    cnf: Json = None if token.holder is None else {"jwk": dict(jwk(token.holder))}
    return {
        "iss": token.iss,
        "jti": token.jti,
        "iat": token.iat,
        "exp": token.exp,
        "vct": VCT,
        "cnf": cnf,
        "status": {"status_list": {"idx": token.status_index, "uri": token.status_uri}},
        "license": {"id": token.license_id, "digest": digest_encode(token.license_digest)},
        "uses": list(token.uses),
        "audience": token.audience,
        "purpose": token.purpose,
        "attribution": [{"creator_id": a.creator_id, "text": a.text, "url": a.url} for a in token.attribution],
        "log": token.log,
        "manifests": [{"digest": digest_encode(m.digest), "index": m.index} for m in token.manifests],
        "files": {"root": digest_encode(token.files_root), "count": token.files_count},
        "parent": None if token.parent is None else digest_encode(token.parent),
        "renews": None if token.renews is None else digest_encode(token.renews),
        "_sd_alg": SD_ALG,
        "_sd": list(token.sd),
    }


def read_claims(value: Json, field: str = "token") -> AttributionToken:
    """Reads the payload of a token.

    Raises:
        MalformedError: not exactly the claims, or one that breaks its rule.
    """
    o = as_object(value, field, _CLAIMS)
    as_constant(o["vct"], f"{field}.vct", VCT)
    as_constant(o["_sd_alg"], f"{field}._sd_alg", SD_ALG)
    iss = text.url(as_text(o["iss"], f"{field}.iss"), f"{field}.iss")
    jti = as_text(o["jti"], f"{field}.jti")
    b64url_decode(jti, f"{field}.jti", JTI_BYTES)
    iat = as_int(o["iat"], f"{field}.iat", 0, MAX_TIME)
    index, uri = _status(o["status"], iss, f"{field}.status")
    license_ = as_object(o["license"], f"{field}.license", ("id", "digest"))
    purpose = as_line(o["purpose"], f"{field}.purpose")
    if len(purpose) > MAX_PURPOSE_CHARS:
        raise MalformedError(f"at most {MAX_PURPOSE_CHARS} characters are allowed", field=f"{field}.purpose")
    files = as_object(o["files"], f"{field}.files", ("root", "count"))
    holder = optional(o["cnf"], _holder, f"{field}.cnf")
    uses = _sorted(o["uses"], f"{field}.uses", len(USES), lambda item, at: as_choice(item, at, USES))
    if holder is None and uses:
        raise MalformedError("a token without a holder (cnf) permits no uses", field=f"{field}.uses")
    return AttributionToken(
        iss=iss,
        jti=jti,
        iat=iat,
        exp=as_int(o["exp"], f"{field}.exp", iat + 1, MAX_TIME),
        holder=holder,
        status_index=index,
        status_uri=uri,
        license_id=check_license_id(as_text(license_["id"], f"{field}.license.id"), f"{field}.license.id"),
        license_digest=digest_decode(license_["digest"], f"{field}.license.digest"),
        uses=uses,
        audience=as_choice(o["audience"], f"{field}.audience", AUDIENCES),
        purpose=purpose,
        attribution=_attribution(o["attribution"], f"{field}.attribution"),
        log=check_origin(as_text(o["log"], f"{field}.log"), f"{field}.log"),
        manifests=_manifests(o["manifests"], f"{field}.manifests"),
        files_root=digest_decode(files["root"], f"{field}.files.root"),
        files_count=as_int(files["count"], f"{field}.files.count", 1, MAX_FILES),
        parent=optional(o["parent"], digest_decode, f"{field}.parent"),
        renews=optional(o["renews"], digest_decode, f"{field}.renews"),
        sd=_sorted(o["_sd"], f"{field}._sd", MAX_DISCLOSURES, _sd_digest),
    )


def _sorted(value: Json, field: str, high: int, read: Callable[[Json, str], str]) -> tuple[str, ...]:
    found = tuple(read(item, f"{field}[{n}]") for n, item in enumerate(as_list(value, field, high)))
    if any(a >= b for a, b in pairwise(found)):
        raise MalformedError("must be sorted and distinct", field=field)
    return found


def _sd_digest(value: Json, field: str) -> str:
    b64url_decode(value, field, HASH_BYTES)
    return as_text(value, field)


def _status(value: Json, iss: str, field: str) -> tuple[int, str]:
    o = as_object(as_object(value, field, ("status_list",))["status_list"], f"{field}.status_list", ("idx", "uri"))
    field += ".status_list"
    uri, lists = as_text(o["uri"], f"{field}.uri"), status_uri(iss, 0)[:-1]
    number = uri.removeprefix(lists)
    if number == uri or not re.fullmatch(r"0|[1-9][0-9]{0,9}", number) or int(number) > MAX_LIST_NUMBER:
        raise MalformedError(f"expected {lists}<number>, found {shown(uri)}", field=f"{field}.uri")
    return as_int(o["idx"], f"{field}.idx", 0, STATUS_COUNT - 1), uri


def _holder(value: Json, field: str) -> bytes:
    o = as_object(as_object(value, field, ("jwk",))["jwk"], f"{field}.jwk", ("crv", "kty", "x"))
    as_constant(o["crv"], f"{field}.jwk.crv", "Ed25519")
    as_constant(o["kty"], f"{field}.jwk.kty", "OKP")
    return check_public(b64url_decode(o["x"], f"{field}.jwk.x", 32), f"{field}.jwk.x")


def _attribution(value: Json, field: str) -> tuple[Attribution, ...]:
    found = []
    for n, item in enumerate(as_list(value, field, MAX_MANIFESTS, 1)):
        at = f"{field}[{n}]"
        o = as_object(item, at, ("creator_id", "text", "url"))
        creator_id = as_did(o["creator_id"], f"{at}.creator_id")
        line = as_line(o["text"], f"{at}.text")
        found.append(Attribution(creator_id, line, text.url(as_text(o["url"], f"{at}.url"), f"{at}.url")))
    if any(a.creator_id >= b.creator_id for a, b in pairwise(found)):
        raise MalformedError("must be sorted by creator_id, each once", field=field)
    return tuple(found)


def _manifests(value: Json, field: str) -> tuple[TokenManifest, ...]:
    found = []
    for n, item in enumerate(as_list(value, field, MAX_MANIFESTS, 1)):
        o = as_object(item, f"{field}[{n}]", ("digest", "index"))
        digest = digest_decode(o["digest"], f"{field}[{n}].digest")
        found.append(TokenManifest(digest, as_int(o["index"], f"{field}[{n}].index", 1, MAX_LOG_SIZE)))
    if any(a.index >= b.index for a, b in pairwise(found)):
        raise MalformedError("must be sorted by index, each once", field=field)
    return tuple(found)
