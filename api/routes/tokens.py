"""Attribution tokens: issuing, handing out, revoking, and their status lists (docs/format.md, section 6).

A token says who bought what: it is given to the creator it was issued for and to the registry, to nobody else.  Status
lists are public.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response

from api import schemas
from api.access import check_access, require
from api.composition import Running
from api.routes.support import JSON, Answering, Before, DigestPath, Limit, Registry, Writes, answer, charge
from ledger.canonical import (
    Json,
    as_choice,
    as_indices,
    as_int,
    as_line,
    as_list,
    as_object,
    as_text,
    canonical,
    optional,
)
from ledger.encoding import digest_decode, digest_encode, time_decode, time_encode
from ledger.errors import MalformedError, NotFoundError
from ledger.keys import did_decode
from ledger.ports import Access, TokenRecord
from ledger.registry.grants import MAX_FILES, MAX_MANIFESTS, GrantRequest
from ledger.terms import AUDIENCES, USES
from ledger.tokens.attribution import Licensee, Price, parse_token
from ledger.tokens.status import MAX_LIST_NUMBER, REVOKED, STATUS_TTL, STATUS_WORDS, SUSPENDED, VALID

router = APIRouter(tags=["tokens"])

MAX_REQUEST_BYTES: Final = MAX_FILES * 80
ENTRIES_PER_UNIT: Final = 100
STATUS_MEDIA_TYPE: Final = "application/statuslist+jwt"
STATUS_AGE: Final = STATUS_TTL // 12
"""Seconds a proxy may keep a status list: what a revocation may take to be seen."""

_REQUEST = ("manifests", "files", "holder", "licensee", "price", "uses", "audience", "purpose", "expires_at")


@router.post(
    "/v1/tokens",
    status_code=201,
    response_model=schemas.IssuedToken,
    responses=schemas.problems(400, 401, 403, 404, 408, 413, 429, 503),
    openapi_extra=schemas.json_body(schemas.TokenIssue),
)
async def issue(
    request: Request,
    running: Registry,
    answers: Answering,
    writing: Writes,
    access: Annotated[Access, Depends(require("token"))],
) -> Response:
    """Issues a token on the party's own listed manifests, for exactly the files named (null: all of them); at
    most 100,000."""

    def work(body: bytes) -> dict[str, Any]:
        check_access(running, access)
        wanted = _read_request(body)
        charge(request, running.writer.grants.entry_count(wanted.manifests) // ENTRIES_PER_UNIT, "files")
        try:
            record = running.writer.grants.issue(wanted, access.subject)
        finally:
            answers.changed()
        return {"token": digest_encode(record.digest), "leaf": record.leaf}

    return answer(await writing.run(request, access.subject, work), 201, "no-store")


def _read_request(body: bytes) -> GrantRequest:
    value = _json(body)
    o = as_object(value, "body", _REQUEST)
    return GrantRequest(
        manifests=as_indices(o["manifests"], "manifests", MAX_MANIFESTS),
        files=optional(o["files"], _files, "files"),
        holder=optional(o["holder"], _key, "holder"),
        licensee=optional(o["licensee"], _licensee, "licensee"),
        price=optional(o["price"], _price, "price"),
        uses=tuple(as_choice(use, "uses", USES) for use in as_list(o["uses"], "uses", len(USES))),
        audience=as_choice(o["audience"], "audience", AUDIENCES),
        purpose=as_line(o["purpose"], "purpose"),
        expires_at=time_decode(o["expires_at"], "expires_at"),
    )


def _json(body: bytes) -> Json:
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise MalformedError("not JSON", field="body") from e
    canonical(value)  # no fractions, text normal
    return value


def _files(value: Json, field: str) -> tuple[bytes, ...]:
    return tuple(digest_decode(item, f"{field}[{n}]") for n, item in enumerate(as_list(value, field, MAX_FILES, 1)))


def _key(value: Json, field: str) -> bytes:
    return did_decode(as_text(value, field), field)


def _licensee(value: Json, field: str) -> Licensee:
    o = as_object(value, field, ("name", "id"))
    return Licensee(as_line(o["name"], f"{field}.name"), as_line(o["id"], f"{field}.id"))


def _price(value: Json, field: str) -> Price:
    o = as_object(value, field, ("currency", "minor"))
    return Price(as_text(o["currency"], f"{field}.currency"), as_int(o["minor"], f"{field}.minor"))


@router.get("/v1/tokens", response_model=schemas.TokenPage, responses=schemas.problems(400, 401, 403, 429, 503))
def tokens(
    running: Registry,
    access: Annotated[Access, Depends(require("token"))],
    limit: Limit = 20,
    before: Before = None,
) -> Response:
    """The party's own tokens, newest first; the registry sees all."""
    creator = None if access.subject == running.registry.did else access.subject
    found = running.registry.catalog.tokens(creator, before, limit)
    items = [_summary(running, record) for record in found]
    return answer({"items": items, "next": found[-1].leaf if len(found) == limit else None}, cache="no-store")


def _summary(running: Running, record: TokenRecord) -> dict[str, Any]:
    claims = parse_token(record.sd_jwt).token
    return {
        "token": digest_encode(record.digest),
        "leaf": record.leaf,
        "creator": record.creator,
        "license": {"id": claims.license_id, "digest": digest_encode(claims.license_digest)},
        "uses": list(claims.uses),
        "files": claims.files_count,
        "issued_at": time_encode(claims.iat),
        "expires_at": time_encode(claims.exp),
        "status": STATUS_WORDS[running.writer.grants.status(record)],
    }


@router.get(
    "/v1/tokens/{digest}", response_model=schemas.TokenBundle, responses=schemas.problems(400, 401, 403, 404, 429, 503)
)
def token(digest: DigestPath, running: Registry, access: Annotated[Access, Depends(require("token"))]) -> Response:
    """The token bundle, byte for byte as it is verified, with a status list of now."""
    record = running.writer.grants.token(digest_decode(digest))
    if access.subject not in (record.creator, running.registry.did):
        raise NotFoundError(f"no token {digest}")
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{record.digest.hex()[:16]}.token.json"',
    }
    return Response(running.writer.grants.bundle(record), 200, headers, JSON)


@router.post(
    "/v1/tokens/{digest}/status",
    response_model=schemas.TokenStatus,
    responses=schemas.problems(400, 401, 403, 404, 408, 413, 429, 503),
    openapi_extra=schemas.json_body(schemas.TokenStatus),
)
async def set_status(
    digest: DigestPath,
    request: Request,
    running: Registry,
    writing: Writes,
    access: Annotated[Access, Depends(require("token"))],
) -> Response:
    """Revokes or suspends a token, or makes it valid again; for the registry's own key."""

    def work(body: bytes) -> dict[str, Any]:
        check_access(running, access)
        o = as_object(_json(body), "body", ("status",))
        word = as_choice(o["status"], "status", [STATUS_WORDS[value] for value in (VALID, REVOKED, SUSPENDED)])
        running.writer.grants.set_status(digest_decode(digest), STATUS_WORDS.index(word), access.subject)
        return {"status": word}

    return answer(await writing.run(request, access.subject, work), cache="no-store")


@router.get(
    "/status/{number}",
    response_class=Response,
    responses={200: {"content": {STATUS_MEDIA_TYPE: {}}}, **schemas.problems(404, 429, 503)},
)
def status_list(
    number: Annotated[int, Path(ge=0, le=MAX_LIST_NUMBER, description="Number of the list")], running: Registry
) -> Response:
    """A signed status list (Token Status List, JWT), valid for a day; ask again after its `ttl`."""
    headers = {"Cache-Control": f"public, max-age={STATUS_AGE}"}
    return Response(running.writer.grants.status_list(number), 200, headers, STATUS_MEDIA_TYPE)
