"""Errors as problem details (RFC 9457): one shape for everything that goes wrong, from our own errors to a wrong path.

``{"type":"urn:trainmark:problem:<code>","title","status","detail","instance","code","field"}``; `code` is the stable
word for programs, `field` what of the request it is about, or null, `instance` names the request in the server's log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.headers import SECURITY_HEADERS
from api.logs import REQUEST_ID
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
)

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
CODE: Final = "trainmark.code"
"""Under which the scope of a request says which problem was its answer."""

API_PATHS: Final = ("/v1/", "/oauth/", "/status/", "/tile/", "/.well-known/")

_STATUSES: Final[tuple[tuple[type[TrainmarkError], int], ...]] = (
    (MalformedError, 400),
    (VerificationError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (RefusedError, 403),
    (BackendError, 503),
)
_CODES: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-big", 415: "media-type", 500: "internal"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What the client is told."""

    status: int
    code: str
    detail: str
    field: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    def value(self) -> dict[str, object]:
        """Returns the members of the problem details."""
        return {
            "type": f"urn:trainmark:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:trainmark:request:{REQUEST_ID.get()}",
            "code": self.code,
            "field": self.field,
            **self.extra,
        }

    def response(self) -> Response:
        """Returns the answer."""
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(orjson.dumps(self.value()), self.status, headers, PROBLEM_TYPE)


Page: TypeAlias = Callable[[Request, Problem], Response]
"""Shows a problem to people, with its status and headers."""


class ProblemError(TrainmarkError):
    """An answer that no error of the core stands for: 401, 413, 429 and OAuth's own."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, code=problem.code, field=problem.field)
        self.problem = problem


def problem_of(error: TrainmarkError) -> Problem:
    """Returns what an error of ours is told as."""
    if isinstance(error, ProblemError):
        return error.problem
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if error.code == "pool-full":
        status = 429
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    return Problem(status, error.code, error.message, error.field, headers)


def too_many(detail: str, seconds: int, *, closes: bool = False) -> Problem:
    """Returns the answer to whoever used up a quota; amid a body the connection `closes`, the rest is not read."""
    headers = {"Retry-After": str(seconds), **({"Connection": "close"} if closes else {})}
    return Problem(429, "too-many-requests", detail, None, headers)


def too_big(limit: int) -> Problem:
    """Returns the answer to a body beyond its cap; the connection is closed, the rest of the body is not read."""
    return Problem(413, "too-big", f"at most {limit} bytes are taken here", "body", {"Connection": "close"})


def too_slow(detail: str) -> Problem:
    """Returns the answer to a body that does not come; the connection is closed, the rest of the body is not read."""
    return Problem(408, "too-slow", detail, "body", {"Connection": "close"})


def _validation(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    return Problem(400, "malformed", str(first["msg"]), ".".join(str(part) for part in first["loc"]))


def _http(error: HTTPException) -> Problem:
    code = _CODES.get(error.status_code, "http")
    return Problem(error.status_code, code, str(error.detail), None, error.headers or {})


def _problem(error: Exception) -> Problem:
    match error:
        case TrainmarkError():
            return problem_of(error)
        case HTTPException():
            return _http(error)
        case RequestValidationError():
            return _validation(error)
        case _:
            return Problem(500, "internal", "an error of this server; it was written to its log")


def add_problem_handlers(app: FastAPI, page: Page | None = None) -> None:
    """Makes every error of `app` a problem; outside the API, whoever prefers HTML gets it as `page` shows it."""

    async def handle(request: Request, error: Exception) -> Response:
        problem = _problem(error)
        request.scope[CODE] = problem.code
        is_page = not request.url.path.startswith(API_PATHS) and "text/html" in request.headers.get("accept", "")
        response = page(request, problem) if page is not None and is_page else problem.response()
        if problem.status == 500:  # made outside of all middlewares
            response.headers.update({**SECURITY_HEADERS, "X-Request-Id": REQUEST_ID.get()})
        return response

    for kind in (TrainmarkError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, handle)
