"""Who may write: bearer tokens, given for client assertions (docs/format.md, section 8; RFC 6749 and 7523).

A token is 32 random bytes, stored as its SHA-256 only, for ten minutes and the scopes asked for.  Whoever holds a key
of a party speaks for it; a recovery key gets the scope ``statement`` alone, enough to add and revoke keys.  A token is
good for as long as the key that asked for it: the log is asked at every use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.composition import Running
from api.problems import Problem, ProblemError, too_many
from api.quota import Quota
from ledger.assertion import (
    CLIENT_ASSERTION_TYPE,
    GRANT_TYPE,
    SCOPES,
    Assertion,
    audience_of,
    verify_assertion,
)
from ledger.encoding import b64url_decode, b64url_encode, sha256
from ledger.errors import MalformedError, TrainmarkError, VerificationError, shown
from ledger.ports import Access
from ledger.tokens.jwt import CLOCK_SKEW

ACCESS_SECONDS: Final = 600
TOKEN_BYTES: Final = 32

BEARER: Final = HTTPBearer(auto_error=False, description="A token from /oauth/token")
"""For OpenAPI only: it reads the header leniently, and we read it ourselves."""

_RECOVERY_SCOPES = ("statement",)
_FORM_FIELDS = ("grant_type", "client_assertion_type", "client_assertion", "scope")


@dataclass(frozen=True, slots=True)
class Grant:
    """A bearer token just given out; `token` is shown once and kept nowhere."""

    token: str
    scopes: tuple[str, ...]


def grant_access(running: Running, body: bytes) -> Grant:
    """Answers a token request (a form, as bytes).

    Raises:
        ProblemError: any refusal, with its code and OAuth's own ``error`` beside it: ``malformed``,
            ``unsupported-grant``, ``invalid-scope``, ``bad-signature``, ``wrong-audience``, ``expired-assertion``,
            ``early-assertion``, ``key-invalid``, ``replayed-assertion``.
        RefusedError: ``only-reads``: this process gives out no tokens.
    """
    entropy = running.writer.registry.entropy
    try:
        form = _read_form(body)
        if form["grant_type"] != GRANT_TYPE:
            raise MalformedError(
                f"expected {GRANT_TYPE}, found {shown(form['grant_type'])}",
                code="unsupported-grant",
                field="grant_type",
            )
        if form["client_assertion_type"] != CLIENT_ASSERTION_TYPE:
            raise MalformedError(f"expected {CLIENT_ASSERTION_TYPE}", field="client_assertion_type")
        scopes = _read_scopes(form["scope"])
        issuer, now = running.registry.policy.issuer, running.registry.clock()
        assertion = verify_assertion(form["client_assertion"], audience_of(issuer), now)
        _check_key(running, assertion, scopes)
        # Last, so that only an assertion that would count is used up.
        if not running.registry.catalog.use_once(
            f"assertion {assertion.subject} {assertion.jti}", assertion.expires_at + CLOCK_SKEW + 1, now
        ):
            raise VerificationError(
                "this assertion was used before; make a new one for each token",
                code="replayed-assertion",
                field="client_assertion.jti",
            )
    except (MalformedError, VerificationError) as e:
        raise ProblemError(_oauth_problem(e)) from e
    token = entropy(TOKEN_BYTES)
    access = Access(sha256(token), assertion.subject, assertion.key, scopes, now + ACCESS_SECONDS)
    running.registry.catalog.add_access(access)
    return Grant(b64url_encode(token), scopes)


def _read_form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError as e:
        raise MalformedError("expected application/x-www-form-urlencoded", field="body") from e
    form = dict(pairs)
    missing = [name for name in _FORM_FIELDS if name not in form]
    if missing or len(form) != len(pairs):
        raise MalformedError(
            f"expected each of {', '.join(_FORM_FIELDS)} once", field=missing[0] if missing else "body"
        )
    return form


def _read_scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(sorted(set(text.split(" "))))
    if any(scope not in SCOPES for scope in scopes):
        raise MalformedError(
            f"expected some of {' '.join(SCOPES)}, found {shown(text)}", code="invalid-scope", field="scope"
        )
    return scopes


def _check_key(running: Running, assertion: Assertion, scopes: tuple[str, ...]) -> None:
    if _counts(running, assertion.subject, assertion.key, scopes):
        return
    if _counts(running, assertion.subject, assertion.key, _RECOVERY_SCOPES):
        raise MalformedError("a recovery key is given the scope statement only", code="invalid-scope", field="scope")
    raise VerificationError(
        f"{assertion.key} does not count for {assertion.subject} at {running.registry.log.head.size} leaves",
        code="key-invalid",
        field="client_assertion.kid",
    )


def _counts(running: Running, subject: str, key: str, scopes: tuple[str, ...]) -> bool:
    """Returns whether `key` speaks for `subject` in `scopes` now."""
    with running.registry.log.fold_lock:
        fold = running.registry.log.fold
        return fold.key_valid(subject, key, fold.size, for_key_statement=scopes == _RECOVERY_SCOPES)


def _oauth_problem(error: TrainmarkError) -> Problem:
    """RFC 6749, 5.2: 401 and ``invalid_client`` when the client is not who it says, 400 for the request's form."""
    if isinstance(error, VerificationError):
        headers = {"WWW-Authenticate": 'Bearer error="invalid_client"'}
        return Problem(401, error.code, error.message, error.field, headers, {"error": "invalid_client"})
    words = {"invalid-scope": "invalid_scope", "unsupported-grant": "unsupported_grant_type"}
    word = words.get(error.code, "invalid_request")
    return Problem(400, error.code, error.message, error.field, {}, {"error": word})


def require(scope: str) -> Callable[..., Access]:
    """Returns a dependency: whoever comes with a bearer token of `scope`, counted against the party's quota.

    It runs before any body is read.  Its answers: 401 without a token that counts, 403 ``insufficient-scope`` or
    ``only-reads``, 429.
    """

    def access_of(
        request: Request, _described: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
    ) -> Access:
        running: Running = request.app.state.running
        _ = running.writer  # a process that only reads takes no tokens
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("no-token", "a bearer token from /oauth/token is needed")
        try:
            digest = sha256(b64url_decode(token, "token", TOKEN_BYTES))
        except MalformedError:
            raise _unauthorized("invalid-token", "not a token of this registry") from None
        access = running.registry.catalog.access(digest, running.registry.clock())
        if access is None:
            raise _unauthorized("invalid-token", "the token is unknown or has expired; ask for a new one")
        check_access(running, access)
        if scope not in access.scopes:
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
            raise ProblemError(Problem(403, "insufficient-scope", f"the scope {scope} is needed", None, headers))
        charge_party(request, access, 1)
        return access

    return access_of


def charge_party(request: Request, access: Access, writes: int, taken: int = 0) -> None:
    """Takes `writes` from the quota of the party that writes, beyond those `taken` for this request.

    Raises:
        ProblemError: 429: they are not there.
    """
    quota: Quota = request.app.state.subject_quota
    wait = quota.take(access.subject, writes, taken)
    if wait:
        raise ProblemError(too_many(f"too many writes of {access.subject}", wait))


def check_access(running: Running, access: Access) -> None:
    """Checks that the key that asked for a token still counts; again after a long body, where nothing else is signed.

    Raises:
        ProblemError: 401 ``invalid-token`` (RFC 6750, 3.1: a token that was revoked).
    """
    if not _counts(running, access.subject, access.key, access.scopes):
        raise _unauthorized(
            "invalid-token", f"the token was given to {access.key}, which no longer counts for {access.subject}"
        )


def _unauthorized(code: str, detail: str) -> ProblemError:
    error = "" if code == "no-token" else ' error="invalid_token"'
    return ProblemError(Problem(401, code, detail, "Authorization", {"WWW-Authenticate": f"Bearer{error}"}))
