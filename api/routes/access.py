"""``POST /oauth/token``: a bearer token for a signed assertion."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api import schemas
from api.access import ACCESS_SECONDS, grant_access
from api.routes.support import Registry, answer, body_of
from ledger.assertion import TOKEN_PATH

router = APIRouter(tags=["access"])


@router.post(
    TOKEN_PATH,
    response_model=schemas.AccessToken,
    responses=schemas.problems(400, 401, 408, 413, 429),
    openapi_extra=schemas.form_body(schemas.TokenRequest),
)
async def token(request: Request, running: Registry) -> Response:
    """Gives a bearer token for ten minutes to whoever signs an assertion with a key of the party it speaks for
    (client credentials, RFC 7523). Each assertion counts once."""
    grant = await run_in_threadpool(grant_access, running, await body_of(request))
    value = {
        "access_token": grant.token,
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
        "scope": " ".join(grant.scopes),
    }
    return answer(value, cache="no-store")
