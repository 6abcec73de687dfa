"""Two pure ASGI middlewares: security headers on every answer; caps and the address quota before a body is read.

A body's cap belongs to its path.  A ``Content-Length`` beyond it is refused at once; a body without one is counted
while it arrives.  A body must come: whoever lets it trickle holds a connection and memory.  The address quota is for
what costs work (``/v1/``, ``/oauth/``, ``/status/``), not for files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.headers import SECURITY_HEADERS
from api.problems import CODE, Problem, ProblemError, problem_of, too_big, too_many, too_slow
from api.quota import Quota, network_of
from ledger.errors import MalformedError, shown

DEFAULT_BODY_BYTES: Final = 64 * 1024

GRACE_SECONDS: Final = 20
BYTES_PER_SECOND: Final = 64 * 1024
UPLOAD_SECONDS: Final = 300
"""A body takes at most ``GRACE_SECONDS``, and one more for each ``BYTES_PER_SECOND`` that have come; never over
``UPLOAD_SECONDS``.  Counted from when it is first read."""

_LENGTH = re.compile("[0-9]{1,20}")  # more digits than 20 are no length, and int() may refuse them
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


_PACE = (
    f"a body comes within {GRACE_SECONDS} seconds, or with {BYTES_PER_SECOND} bytes a second after them, and within "
    f"{UPLOAD_SECONDS} seconds in all"
)


class SecurityHeaders:
    """Adds ``SECURITY_HEADERS`` to every answer, problems included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_RAW_HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers)


class Limits:
    """Refuses what is too much: 429 by address, 413 by the cap of a path (exact path → bytes; else the default); and
    what comes too slowly: 408.

    The cost of a path is its own, else that of the folder it is in (with ``/`` at the end), else one unit.
    """

    def __init__(self, app: ASGIApp, caps: Mapping[str, int], quota: Quota, costs: Mapping[str, int]) -> None:
        self.app = app
        self.caps = caps
        self.quota = quota
        self.costs = costs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        problem = self._refusal(scope, path)
        if problem is not None:
            scope[CODE] = problem.code
            await problem.response()(scope, receive, send)
            return
        limit, seen = self.caps.get(path, DEFAULT_BODY_BYTES), 0
        began: float | None = None
        coming = True

        async def counted() -> Message:
            nonlocal seen, began, coming
            if not coming:  # what is left to come is the end of the connection
                return await receive()
            began = anyio.current_time() if began is None else began
            message = None
            with anyio.CancelScope(deadline=began + min(GRACE_SECONDS + seen / BYTES_PER_SECOND, UPLOAD_SECONDS)):
                message = await receive()
            if message is None:
                raise ProblemError(too_slow(_PACE))
            coming = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > limit:
                raise ProblemError(too_big(limit))
            return message

        try:
            await self.app(scope, counted, send)
        except ClientDisconnect:
            return  # amid its own body: nobody is left to answer, and nothing of ours went wrong

    def _refusal(self, scope: Scope, path: str) -> Problem | None:
        if path.startswith(("/v1/", "/oauth/", "/status/")):
            client = scope.get("client")
            cost = self.costs.get(path) or self.costs.get(path[: path.rindex("/") + 1], 1)
            wait = self.quota.take(network_of(client[0] if client else ""), cost)
            scope.setdefault("state", {})["taken"] = cost  # what a route takes comes on top of it
            if wait:
                return too_many("too many requests from this address", wait)
        limit = self.caps.get(path, DEFAULT_BODY_BYTES)
        try:
            length = body_length(Headers(scope=scope))
        except MalformedError as e:
            return problem_of(e)
        return too_big(limit) if length is not None and length > limit else None


def body_length(headers: Headers) -> int | None:
    """Returns how many bytes the body has as the request says; None where it does not say, or comes in chunks, which
    count whatever else is said (RFC 9112, 6.3).

    Raises:
        MalformedError: not one number.
    """
    found = headers.getlist("content-length")
    if not found:
        return None
    if len(found) > 1 or not _LENGTH.fullmatch(found[0]):
        raise MalformedError(f"expected one number of bytes, found {shown(', '.join(found))}", field="Content-Length")
    return None if "transfer-encoding" in headers else int(found[0])
