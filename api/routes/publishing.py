"""Writes: manifests with their licenses, and statements of any other kind; with a bearer token."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api import schemas
from api.access import require
from api.routes.support import Answering, Registry, Writes, answer
from ledger.canonical import canonical
from ledger.encoding import digest_encode
from ledger.errors import MalformedError
from ledger.ports import Access
from ledger.registry.log import Logged
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES

router = APIRouter(tags=["publish"])

ENVELOPE_BYTES: Final = 2 * (MAX_TERMS_BYTES + MAX_LICENSE_TEXT_BYTES)
"""What a publication may be beyond its manifest: terms and text, in JSON's own escapes."""


@router.post(
    "/v1/manifests",
    status_code=201,
    response_model=schemas.Published,
    responses=schemas.problems(400, 401, 403, 408, 409, 413, 422, 429, 503),
    openapi_extra=schemas.json_body(schemas.Publication),
)
async def publish(
    request: Request,
    running: Registry,
    answers: Answering,
    writing: Writes,
    access: Annotated[Access, Depends(require("publish"))],
) -> Response:
    """Logs a manifest and reviews it by rule. The same again gives the same leaf. The answer's `checkpoint` covers the
    leaf; `decision` is `list`, `reject` or `wait` (for a person), with `reasons`."""

    def work(body: bytes) -> dict[str, Any]:
        manifest, terms, text = _read_publication(body)
        try:
            receipt = running.registry.publish(manifest, terms, text, access.subject)
        finally:  # also when it was logged and only the rest failed
            answers.changed()
        decision = receipt.decision
        return {
            **_logged(receipt.logged),
            "manifest": digest_encode(receipt.manifest),
            "decision": decision.outcome,
            "reasons": list(decision.reasons),
        }

    return answer(await writing.run(request, access.subject, work), 201, "no-store")


@router.post(
    "/v1/statements",
    status_code=201,
    response_model=schemas.LoggedStatement,
    responses=schemas.problems(400, 401, 403, 408, 413, 422, 429, 503),
    openapi_extra=schemas.raw_body("application/json", "The canonical bytes of one statement for this log."),
)
async def speak(
    request: Request,
    running: Registry,
    answers: Answering,
    writing: Writes,
    access: Annotated[Access, Depends(require("statement"))],
) -> Response:
    """Logs a statement of the token's party: keys, withdrawals, disputes, records; reviews and decisions of the
    registry itself. The same again gives the same leaf."""

    def work(body: bytes) -> dict[str, Any]:
        try:
            return _logged(running.registry.speak(body, access.subject))
        finally:
            answers.changed()

    return answer(await writing.run(request, access.subject, work), 201, "no-store")


def _read_publication(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns manifest and terms in canonical bytes, and the text.

    JSON in any spelling is taken: what is signed are digests of canonical bytes, so a value that changed on its way
    does not pass.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise MalformedError("not JSON", field="body") from e
    if not isinstance(value, dict) or set(value) != {"manifest", "terms", "text"}:
        raise MalformedError("expected an object of manifest, terms and text", field="body")
    if not isinstance(value["text"], str):
        raise MalformedError("expected text", field="text")
    return canonical(value["manifest"]), canonical(value["terms"]), value["text"].encode()


def _logged(logged: Logged) -> dict[str, Any]:
    return {"leaf": logged.index, "size": logged.size, "checkpoint": logged.note.decode()}
