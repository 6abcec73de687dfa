"""Writes: manifests with their licenses, and statements of any other kind; with a bearer token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Request, Response

from api import schemas
from api.access import charge_party, require
from api.problems import problem_of
from api.routes.support import (
    JSON,
    NDJSON,
    Answering,
    Registry,
    Writes,
    answer,
    charge,
    lines_of,
    media_type_of,
)
from ledger.canonical import canonical
from ledger.encoding import digest_encode
from ledger.errors import MalformedError, RefusedError, TrainmarkError
from ledger.ports import Access
from ledger.registry.log import Answer, Logged
from ledger.statements import MAX_STATEMENT_BYTES
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES

router = APIRouter(tags=["publish"])

MAX_STATEMENTS: Final = 1024
"""Statements in one request."""
MAX_STATEMENTS_BYTES: Final = MAX_STATEMENTS * (MAX_STATEMENT_BYTES + 1)

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
            receipt = running.writer.registry.publish(manifest, terms, text, access.subject)
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
    responses={
        200: {"content": {NDJSON: {}}, "description": "The answers to many, one per line, in their order."},
        **schemas.problems(400, 401, 403, 408, 413, 422, 429, 503),
    },
    openapi_extra=schemas.raw_body(
        {
            JSON: "The canonical bytes of one statement for this log.",
            NDJSON: f"The same of up to {MAX_STATEMENTS} statements, one per line.",
        }
    ),
)
async def speak(
    request: Request,
    running: Registry,
    answers: Answering,
    writing: Writes,
    access: Annotated[Access, Depends(require("statement"))],
) -> Response:
    """Logs statements of the token's party: keys, withdrawals, disputes, records; reviews and decisions of the
    registry itself. The same again gives the same leaf. One is answered by its place in the log. Many are logged
    together and answered with 200, a line each: its place (with the `checkpoint`, unless a line before has that of the
    same `size`), or the problem of that statement, which stops none of the others."""

    def work(body: bytes) -> dict[str, Any]:
        try:
            return _logged(running.writer.registry.speak(body, access.subject))
        finally:
            answers.changed()

    def work_on_many(body: bytes) -> bytes:
        statements = lines_of(body)
        if not statements:
            raise MalformedError("expected a statement in each line", field="body")
        if len(statements) > MAX_STATEMENTS:
            raise RefusedError(f"at most {MAX_STATEMENTS} statements per request", code="too-many", field="body")
        charge_party(request, access, len(statements) - 1, taken=1)
        charge(request, len(statements) - 1, "statements")
        try:
            return _answer_lines(running.writer.registry.speak_many(statements, access.subject))
        finally:
            answers.changed()

    if media_type_of(request) != NDJSON:
        return answer(await writing.run(request, access.subject, work), 201, "no-store")
    lines = await writing.run(request, access.subject, work_on_many)
    return Response(lines, 200, {"Cache-Control": "no-store"}, NDJSON)


def _answer_lines(answers: Iterable[Answer]) -> bytes:
    lines, sizes = [], set()
    for one in answers:
        if isinstance(one, TrainmarkError):
            value = problem_of(one).value()
        else:
            value = _logged(one)
            if one.size in sizes:
                del value["checkpoint"]
            sizes.add(one.size)
        lines.append(orjson.dumps(value) + b"\n")
    return b"".join(lines)


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
