"""Attribution tokens: the permission to train, as an SD-JWT (docs/format.md, section 6; RFC 9901, type ``dc+sd-jwt``).

A token is ``<issuer-signed JWT>~`` and behind it any of two disclosures, each ended by ``~``: who the licensee is, and
the price.  A disclosure is base64url of the canonical array ``[salt, name, value]`` with a salt of 16 bytes; its digest
stands in ``_sd``, so a holder who leaves it out gives nothing away.

``parse_token`` checks form and schema, ``verify_token`` the rest in this order: key and signature, issuer, disclosures,
time.  Times are UTC seconds; clock, salts and keys are arguments.  That the holder is who shows the token is
:mod:`ledger.tokens.presentation`; that it is in the log and has not been revoked, :mod:`ledger.tokens.bundle`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ledger import text
from ledger.canonical import Json, Object, as_choice, as_int, as_line, as_list, as_object, as_text, canonical, parse
from ledger.encoding import b64url_decode, b64url_encode, sha256, time_encode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import Signer
from ledger.statements import PolicyBody
from ledger.tokens.claims import MAX_DISCLOSURES, AttributionToken, claims_value, read_claims
from ledger.tokens.jwt import CLOCK_SKEW, Jwt, keys_by_thumbprint, parse_jwt, sign_jwt, verify_jwt

TOKEN_TYPE: Final = "dc+sd-jwt"
DISCLOSURES: Final = ("licensee", "price")
MAX_DISCLOSURE_CHARS: Final = 8192
SALT_BYTES: Final = 16

_CURRENCY = text.Form(re.compile(r"[A-Z]{3}"), "three capital letters, like EUR")


@dataclass(frozen=True, slots=True)
class Licensee:
    """Who got the permission; `id` is whatever the registry knows them by."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class Price:
    """What was paid: `minor` units of an ISO 4217 currency."""

    currency: str
    minor: int


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One disclosure: `encoded` as it stands in the token, and what it says."""

    name: str
    value: Licensee | Price
    encoded: str

    @property
    def digest(self) -> str:
        """What ``_sd`` holds of it."""
        return b64url_encode(sha256(self.encoded.encode("ascii")))


@dataclass(frozen=True, slots=True)
class SdJwt:
    """A parsed token, not verified: its claims and the disclosures that came along."""

    jwt: Jwt
    token: AttributionToken
    disclosures: tuple[Disclosure, ...]

    @property
    def text(self) -> str:
        """The token as it is handed on."""
        return "".join(f"{part}~" for part in (self.jwt.text, *(d.encoded for d in self.disclosures)))

    @property
    def digest(self) -> bytes:
        """By which log and people name the token: SHA-256 of the issuer-signed JWT, whatever is disclosed."""
        return sha256(self.jwt.text.encode("ascii"))

    @property
    def licensee(self) -> Licensee | None:
        """The licensee, if disclosed."""
        return next((d.value for d in self.disclosures if isinstance(d.value, Licensee)), None)

    @property
    def price(self) -> Price | None:
        """The price, if disclosed."""
        return next((d.value for d in self.disclosures if isinstance(d.value, Price)), None)


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Whose tokens a verifier takes: an issuer, its log, and its keys by thumbprint."""

    iss: str
    origin: str
    keys: Mapping[str, bytes]


def issuer_of(policy: PolicyBody) -> TokenIssuer:
    """Returns the issuer that a registry's policy describes."""
    return TokenIssuer(policy.issuer, policy.origin, keys_by_thumbprint(policy.token_keys))


def issue(
    token: AttributionToken,
    signer: Signer,
    *,
    licensee: Licensee | None,
    price: Price | None,
    salts: Sequence[bytes],
) -> SdJwt:
    """Signs `token` (its `sd` is filled here) with the disclosures given, each under its own of `salts`.

    Raises:
        ValueError: not as many distinct salts of 16 bytes as disclosures.
        MalformedError: a claim or a disclosure breaks its rule.
    """
    values: list[tuple[str, Object]] = []
    if licensee is not None:
        values.append(("licensee", {"id": licensee.id, "name": licensee.name}))
    if price is not None:
        values.append(("price", {"currency": price.currency, "minor": price.minor}))
    if len(set(salts)) != len(values) or len(salts) != len(values) or any(len(s) != SALT_BYTES for s in salts):
        raise ValueError(f"{len(values)} distinct salts of {SALT_BYTES} bytes are needed")
    disclosures = [
        _read_disclosure(b64url_encode(canonical([b64url_encode(salt), name, value])), f"token.{name}")
        for salt, (name, value) in zip(salts, values, strict=True)
    ]
    signed = sign_jwt(TOKEN_TYPE, claims_value(replace(token, sd=tuple(sorted(d.digest for d in disclosures)))), signer)
    return parse_token("".join(f"{part}~" for part in (signed, *(d.encoded for d in disclosures))))


def parse_token(sd_jwt: str, field: str = "token") -> SdJwt:
    """Reads a token without a proof of holding; verifies no signature and no time.

    Raises:
        MalformedError: form or schema: any part of it, the disclosures included.
    """
    signed, *encoded = sd_jwt.split("~", MAX_DISCLOSURES + 1)  # what has more parts ends in one that is not empty
    if not encoded or encoded.pop() or len(encoded) > MAX_DISCLOSURES:
        message = f"expected a JWT and at most {MAX_DISCLOSURES} disclosures, each ended by ~"
        raise MalformedError(f"{message}, found {shown(sd_jwt)}", field=field)
    jwt = parse_jwt(signed, TOKEN_TYPE, field)
    disclosures = tuple(_read_disclosure(part, f"{field}.disclosures[{n}]") for n, part in enumerate(encoded))
    return SdJwt(jwt, read_claims(jwt.payload, field), disclosures)


def _read_disclosure(encoded: str, field: str) -> Disclosure:
    if len(encoded) > MAX_DISCLOSURE_CHARS:
        raise MalformedError(f"at most {MAX_DISCLOSURE_CHARS} characters are allowed", field=field)
    data = b64url_decode(encoded, field)
    salt, name, value = as_list(parse(data, field, MAX_DISCLOSURE_CHARS, 2), field, 3, 3)
    b64url_decode(salt, f"{field}.salt", SALT_BYTES)
    if as_choice(name, f"{field}.name", DISCLOSURES) == "licensee":
        return Disclosure("licensee", _read_licensee(value, f"{field}.licensee"), encoded)
    return Disclosure("price", _read_price(value, f"{field}.price"), encoded)


def _read_licensee(value: Json, field: str) -> Licensee:
    o = as_object(value, field, ("id", "name"))
    name = as_line(o["name"], f"{field}.name")
    return Licensee(name, text.identifier(as_text(o["id"], f"{field}.id"), f"{field}.id"))


def _read_price(value: Json, field: str) -> Price:
    o = as_object(value, field, ("currency", "minor"))
    currency = as_text(o["currency"], f"{field}.currency")
    text.identifier(currency, f"{field}.currency", _CURRENCY)
    return Price(currency, as_int(o["minor"], f"{field}.minor"))


def select_disclosures(sd_jwt: SdJwt, names: Collection[str]) -> SdJwt:
    """Returns the token with only the disclosures of these names; one it does not carry cannot be asked for.

    Raises:
        ValueError: a name that the token does not carry.
    """
    missing = set(names) - {d.name for d in sd_jwt.disclosures}
    if missing:
        raise ValueError(f"the token carries no disclosure {', '.join(sorted(missing))}")
    return replace(sd_jwt, disclosures=tuple(d for d in sd_jwt.disclosures if d.name in names))


def verify_token(sd_jwt: SdJwt, issuer: TokenIssuer, now: int, field: str = "token") -> SdJwt:
    """Returns the token if `issuer` signed it, each disclosure is in it, once, and it permits a start at `now`.

    Raises:
        VerificationError: in this order: ``unknown-key``, ``bad-signature``, ``wrong-issuer``, ``disclosure``,
            ``not-yet-valid``, ``expired``.
    """
    token = verify_signed(sd_jwt, issuer, field).token
    if token.iat > now + CLOCK_SKEW:
        raise VerificationError(f"it begins at {time_encode(token.iat)}", code="not-yet-valid", field=f"{field}.iat")
    if now >= token.exp:
        raise VerificationError(f"it ended at {time_encode(token.exp)}", code="expired", field=f"{field}.exp")
    return sd_jwt


def verify_signed(sd_jwt: SdJwt, issuer: TokenIssuer, field: str = "token") -> SdJwt:
    """Like ``verify_token``, at no particular time."""
    verify_jwt(sd_jwt.jwt, issuer.keys, field)
    token = sd_jwt.token
    if (token.iss, token.log) != (issuer.iss, issuer.origin):
        message = f"expected {issuer.iss} and {issuer.origin}, found {shown(token.iss)} and {shown(token.log)}"
        raise VerificationError(message, code="wrong-issuer", field=f"{field}.iss")
    names = [d.name for d in sd_jwt.disclosures]
    if len(set(names)) != len(names):
        raise VerificationError("a disclosure comes twice", code="disclosure", field=field)
    stray = next((d for d in sd_jwt.disclosures if d.digest not in token.sd), None)
    if stray is not None:
        raise VerificationError(f"the disclosure of {stray.name} is not of this token", code="disclosure", field=field)
    return sd_jwt
