"""What is seen of each request: an id that its answer, its problem and its log records share, and one record of it.

A request that the server breaks off when it ends is answered here too: nothing further in may do that any more.

The id comes from the client, or from a proxy before us, if it is well-formed; else it is made here.  A path may name
somebody's file by its digest, so the record has the template of the route instead; paths of no route are all the same.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.logs import REQUEST_ID
from api.problems import CODE, Problem

HEADER: Final = "X-Request-Id"
NO_ROUTE: Final = "none"
OTHER_METHOD: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_GONE: Final = 499
"""The status of a request whose client left before it was answered, by nginx's habit."""

_ID: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_CUT_OFF: Final = Problem(
    503, "shutting-down", "the registry is shutting down; if this was a write, say it again: it may have been done"
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """One request as it is counted, with the `seconds` until all of its answer was sent; of the rest there are few."""

    method: str
    route: str
    status: int
    seconds: float


Observer: TypeAlias = Callable[[Served], None]


class Observing:
    """Gives each request its id, writes the record of it, and tells `observer`; the outermost middleware."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app = app
        self.observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        id_ = given if _ID.fullmatch(given) else secrets.token_hex(8)
        REQUEST_ID.set(id_)  # for good: each request has a context of its own, in which an error of ours is told later
        began, status = time.perf_counter(), CLIENT_GONE

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = id_
            await send(message)

        try:
            await self.app(scope, receive, with_id)
        except asyncio.CancelledError:  # by a server that ends and has waited long enough
            if status == CLIENT_GONE:
                scope[CODE] = _CUT_OFF.code
                await _CUT_OFF.response()(scope, receive, with_id)
        except Exception:
            status = 500
            raise
        finally:
            self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        served = Served(method, getattr(scope.get("route"), "path", NO_ROUTE), status, seconds)
        code = "internal" if status == 500 else scope.get(CODE)
        extra = {
            "method": served.method,
            "route": served.route,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            **({"code": code} if code else {}),
        }
        _logger.info("request", extra=extra)
        self.observer(served)
