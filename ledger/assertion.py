"""OAuth client assertions: how a party proves to a registry that it holds one of its keys (docs/format.md, section 8).

A JWT (RFC 7523) with the header ``{"alg":"Ed25519","kid":<did:key that signs>,"typ":"JWT"}`` and exactly the claims
``iss`` = ``sub`` (the party's did), ``aud`` (the registry's ``<issuer>/oauth/token``), ``iat``, ``exp`` and ``jti``.
Times are UTC seconds; an assertion lives at most ``MAX_SECONDS``.  Two things are the registry's to check, since they
need its log and its memory: that the key counts for the party, and that the ``jti`` was not used before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.canonical import Object, as_int, as_object, as_text
from ledger.encoding import MAX_TIME, b64url_decode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import Signer, did_decode
from ledger.statements import as_did
from ledger.tokens.jwt import CLOCK_SKEW, parse_jwt, sign_jwt, verify_jwt

ASSERTION_TYPE: Final = "JWT"
GRANT_TYPE: Final = "client_credentials"
CLIENT_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_PATH: Final = "/oauth/token"
SCOPES: Final = ("publish", "statement", "token")
MAX_SECONDS: Final = 300
JTI_BYTES: Final = 16
MAX_ASSERTION_CHARS: Final = 4096

_CLAIMS = ("iss", "sub", "aud", "iat", "exp", "jti")


@dataclass(frozen=True, slots=True)
class Assertion:
    """A signed wish to speak for `subject` with `key` (both did:key); `jti` counts once until `expires_at`."""

    subject: str
    key: str
    jti: str
    expires_at: int


def audience_of(issuer: str) -> str:
    """Returns the ``aud`` of assertions for the registry whose policy names `issuer`."""
    return issuer + TOKEN_PATH


def make_assertion(key: Signer, by: str, audience: str, now: int, jti: str) -> str:
    """Makes an assertion that `key` speaks for `by`, valid for ``MAX_SECONDS`` from `now`; `jti` is 16 random bytes.

    Raises:
        MalformedError: `by` or `jti` is not of its form.
    """
    as_did(by, "by")
    b64url_decode(jti, "jti", JTI_BYTES)
    claims: Object = {"iss": by, "sub": by, "aud": audience, "iat": now, "exp": now + MAX_SECONDS, "jti": jti}
    return sign_jwt(ASSERTION_TYPE, claims, key, kid=key.did)


def verify_assertion(text: str, audience: str, now: int, field: str = "client_assertion") -> Assertion:
    """Returns the assertion if the key it names signed it for `audience` and it counts at `now`.

    Raises:
        MalformedError: another header or algorithm, other claims, a life of more than ``MAX_SECONDS``.
        VerificationError: ``bad-signature``, ``wrong-audience``, ``expired-assertion``, ``early-assertion`` (issued in
            the future).
    """
    if len(text) > MAX_ASSERTION_CHARS:
        raise MalformedError(f"at most {MAX_ASSERTION_CHARS} characters are allowed, found {len(text)}", field=field)
    jwt = parse_jwt(text, ASSERTION_TYPE, field)
    claims = as_object(jwt.payload, field, _CLAIMS)
    subject = as_did(claims["sub"], f"{field}.sub")
    if claims["iss"] != subject:
        raise MalformedError(f"iss must equal sub, found {shown(claims['iss'])}", field=f"{field}.iss")
    found = as_text(claims["aud"], f"{field}.aud")
    issued_at = as_int(claims["iat"], f"{field}.iat", 0, MAX_TIME)
    expires_at = as_int(claims["exp"], f"{field}.exp", 0, MAX_TIME)
    jti = as_text(claims["jti"], f"{field}.jti")
    b64url_decode(jti, f"{field}.jti", JTI_BYTES)
    if not issued_at < expires_at <= issued_at + MAX_SECONDS:
        raise MalformedError(
            f"an assertion lives 1 to {MAX_SECONDS} seconds, found {expires_at - issued_at}", field=f"{field}.exp"
        )
    key = as_did(jwt.kid, f"{field}.kid")
    verify_jwt(jwt, {key: did_decode(key)}, field)
    if found != audience:
        raise VerificationError(
            f"meant for {shown(found)}, this is {audience}", code="wrong-audience", field=f"{field}.aud"
        )
    if now > expires_at + CLOCK_SKEW:
        raise VerificationError(
            f"expired {now - expires_at} seconds ago", code="expired-assertion", field=f"{field}.exp"
        )
    if issued_at > now + CLOCK_SKEW:
        raise VerificationError(
            f"issued {issued_at - now} seconds in the future; compare the clocks",
            code="early-assertion",
            field=f"{field}.iat",
        )
    return Assertion(subject, key, jti, expires_at)
