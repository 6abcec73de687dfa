"""What routes share: the running registry, JSON answers, digests in paths, bodies, cursors."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Path, Query, Request, Response

from api.answers import Answers
from api.composition import Running
from api.problems import ProblemError, too_many
from api.quota import Quota, network_of
from api.writing import Writing

MAX_PAGE: Final = 100
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"


async def running_of(request: Request) -> Running:
    """Returns the open registry of the application."""
    running: Running = request.app.state.running
    return running


async def answers_of(request: Request) -> Answers:
    """Returns the application's maker of answers."""
    answers: Answers = request.app.state.answers
    return answers


async def writing_of(request: Request) -> Writing:
    """Returns the application's turns of those who write."""
    writing: Writing = request.app.state.writing
    return writing


Registry = Annotated[Running, Depends(running_of)]
Answering = Annotated[Answers, Depends(answers_of)]
Writes = Annotated[Writing, Depends(writing_of)]
DigestPath = Annotated[
    str,
    Path(
        description="`sha256:` and 64 lower-case hex digits",
        examples=["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many at most")]
Before = Annotated[int | None, Query(ge=0, description="The cursor of the page before")]


def answer(value: Any, status: int = 200, cache: str = REVALIDATE) -> Response:
    """Returns a JSON answer."""
    return Response(orjson.dumps(value), status, {"Cache-Control": cache}, JSON)


def lines_of(body: bytes) -> list[bytes]:
    """Returns the lines of a body; the last one may end without a line feed."""
    lines = body.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def media_type_of(request: Request) -> str:
    """Returns what the request says its body is, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request) -> bytes:
    """Reads the whole body; the caps of :mod:`api.middleware` hold."""
    return await request.body()


def charge(request: Request, units: int, what: str) -> None:
    """Takes `units` of the address quota, beyond what the path costs, for that much of `what`.

    Raises:
        ProblemError: 429: they are not there.
    """
    quota: Quota = request.app.state.address_quota
    wait = quota.take(network_of(request.client.host if request.client else ""), units, request.state.taken)
    if wait:
        raise ProblemError(too_many(f"too many {what} for this address", wait))
