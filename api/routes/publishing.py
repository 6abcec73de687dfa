"""Writes: manifests with their licenses, and statements of any other kind; with a bearer token.

Writes run in threads of their own, so that reads never wait for a thread behind them; big uploads take turns before
they are read, which bounds the memory they need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final
from weakref import WeakValueDictionary

import anyio
import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response

from api import schemas
from api.access import require
from api.middleware import body_length
from api.quota import network_of
from api.routes.support import Answering, Registry, answer, body_of
from ledger.canonical import canonical
from ledger.encoding import digest_encode
from ledger.errors import MalformedError
from ledger.ports import Access
from ledger.registry.log import Logged
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES

router = APIRouter(tags=["publish"])

ENVELOPE_BYTES: Final = 2 * (MAX_TERMS_BYTES + MAX_LICENSE_TEXT_BYTES)
"""What a publication may be beyond its manifest: terms and text, in JSON's own escapes."""

WRITERS: Final = 16
BIG_BYTES: Final = 1 << 20
BIG_AT_ONCE: Final = 3


class BigUploads:
    """Turns for bodies that need much memory: ``BIG_AT_ONCE`` at a time, and one of each name; the others wait."""

    def __init__(self) -> None:
        self._slots = anyio.CapacityLimiter(BIG_AT_ONCE)
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()  # while somebody holds or awaits it

    @asynccontextmanager
    async def turn(self, *names: str) -> AsyncIterator[None]:
        """Waits for a turn and gives it back at the end of the block; slots are for those who wait for nobody else."""
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self._locks.setdefault(name, anyio.Lock()))
            async with self._slots:
                yield


@router.post(
    "/v1/manifests",
    status_code=201,
    response_model=schemas.Published,
    responses=schemas.problems(400, 401, 403, 408, 409, 413, 422, 429, 503),
    openapi_extra=schemas.json_body(schemas.Publication),
)
async def publish(
    request: Request, running: Registry, answers: Answering, access: Annotated[Access, Depends(require("publish"))]
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

    async with AsyncExitStack() as stack:
        length = body_length(request.headers)
        if length is None or length >= BIG_BYTES:
            uploads: BigUploads = request.app.state.big_uploads
            # Also by address: anybody may call themselves as many parties as they like.
            address = network_of(request.client.host if request.client else "")
            await stack.enter_async_context(uploads.turn(f"party {access.subject}", f"address {address}"))
        body = await body_of(request)
        return answer(await run_sync(work, body, limiter=request.app.state.writers), 201, "no-store")


@router.post(
    "/v1/statements",
    status_code=201,
    response_model=schemas.LoggedStatement,
    responses=schemas.problems(400, 401, 403, 408, 413, 422, 429, 503),
    openapi_extra=schemas.raw_body("application/json", "The canonical bytes of one statement for this log."),
)
async def speak(
    request: Request, running: Registry, answers: Answering, access: Annotated[Access, Depends(require("statement"))]
) -> Response:
    """Logs a statement of the token's party: keys, withdrawals, disputes, records; reviews and decisions of the
    registry itself. The same again gives the same leaf."""

    def work(body: bytes) -> dict[str, Any]:
        try:
            return _logged(running.registry.speak(body, access.subject))
        finally:
            answers.changed()

    return answer(await run_sync(work, await body_of(request), limiter=request.app.state.writers), 201, "no-store")


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
