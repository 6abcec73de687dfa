"""Whose file is this, and may a model be trained on it: by digest, one or ten thousand at a time; and the proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Final

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api import schemas
from api.routes.support import JSON, NDJSON, REVALIDATE, Answering, DigestPath, Registry, body_of, charge, lines_of
from ledger.encoding import digest_decode
from ledger.errors import MalformedError, RefusedError
from ledger.ports import MAX_DIGESTS
from ledger.registry.proving import prove

router = APIRouter(tags=["resolve"])

MAX_BATCH_BYTES: Final = MAX_DIGESTS * 80
DIGESTS_PER_UNIT: Final = 100
RESOLVERS: Final = 2
"""Threads that look single digests up: with more of them the interpreter's lock is what they wait for."""


@router.get("/v1/resolve/{digest}", response_model=schemas.Resolved, responses=schemas.problems(400, 429, 503))
async def resolve(digest: DigestPath, request: Request, answers: Answering) -> Response:
    """All claims on a file, live ones first. An unknown digest has no claims: that is no permission."""
    raw = digest_decode(digest)
    data = answers.kept(raw)
    if data is None:
        data = await run_sync(answers.resolve, raw, limiter=request.app.state.resolvers)
    return Response(data, 200, {"Cache-Control": REVALIDATE}, JSON)


@router.post(
    "/v1/resolve",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}}, **schemas.problems(400, 403, 408, 413, 429, 503)},
    openapi_extra=schemas.raw_body({NDJSON: "One digest per line, as a JSON string; at most 10,000."}),
)
async def resolve_many(request: Request, answers: Answering) -> Response:
    """The same answers for up to 10,000 digests, one line each, in the order they were asked for."""
    digests = _read_lines(await body_of(request))
    charge(request, max(1, len(digests) // DIGESTS_PER_UNIT), "digests")
    chunks = answers.resolve_many(digests)
    first: list[bytes] = await run_in_threadpool(next, chunks, [])  # what fails here is still told as a problem
    return StreamingResponse(_lines(chain([first], chunks)), 200, {"Cache-Control": "no-store"}, NDJSON)


def _lines(chunks: Iterable[list[bytes]]) -> Iterator[bytes]:
    for chunk in chunks:
        yield b"".join(answer + b"\n" for answer in chunk)


def _read_lines(body: bytes) -> list[bytes]:
    lines = lines_of(body)
    if len(lines) > MAX_DIGESTS:
        raise RefusedError(f"at most {MAX_DIGESTS} digests per request", code="too-many", field="body")
    digests = []
    for number, line in enumerate(lines, 1):
        try:
            digests.append(digest_decode(orjson.loads(line), f"line {number}"))
        except orjson.JSONDecodeError as e:
            raise MalformedError("expected a digest as a JSON string", field=f"line {number}") from e
    return digests


@router.get(
    "/v1/proofs/{digest}",
    response_model=schemas.ProofBundle,
    responses=schemas.problems(400, 404, 429, 503),
)
def proof(
    digest: DigestPath,
    running: Registry,
    leaf: Annotated[int | None, Query(ge=0, description="Which claim; by default the oldest that is live")] = None,
) -> Response:
    """The proof bundle of a claim, byte for byte as it is verified: it needs no trust in this server."""
    raw = digest_decode(digest)
    headers = {
        "Cache-Control": REVALIDATE,
        "Content-Disposition": f'attachment; filename="{raw.hex()[:16]}.proof.json"',
    }
    return Response(prove(running.registry, raw, leaf), 200, headers, JSON)
