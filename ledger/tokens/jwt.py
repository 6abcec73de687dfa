"""Compact JWS with one algorithm and one spelling (docs/format.md, section 6; RFC 7515, 9864).

The header is exactly ``{"alg":"Ed25519","kid":…,"typ":…}`` and, like the payload, in the canonical JSON form; all three
parts are base64url without padding.  So nothing of a token's header is obeyed: no other algorithm, no ``crit``, no
``b64``, no key or address that the token itself brings, no repeated member.  ``kid`` names one of the keys the verifier
has already; it is an RFC 7638 thumbprint except where a document says otherwise.  A *nameless* JWT has no ``kid``,
because only one key can be meant (``kb+jwt``).  ``parse_jwt`` checks form only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import Object, as_constant, as_object, as_text, canonical, parse
from ledger.encoding import b64url_decode, b64url_encode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import SIGNATURE_BYTES, Signer, did_decode, thumbprint, verify_signature

ALGORITHM: Final = "Ed25519"
MAX_PAYLOAD_BYTES: Final = 512 * 1024
MAX_HEADER_BYTES: Final = 256
MAX_JWT_CHARS: Final = (MAX_PAYLOAD_BYTES + MAX_HEADER_BYTES + SIGNATURE_BYTES) * 4 // 3 + 8
CLOCK_SKEW: Final = 60
"""Seconds by which another machine's clock may be ahead: how far in the future an ``iat`` may lie."""


@dataclass(frozen=True, slots=True)
class Jwt:
    """A parsed JWT, not verified: `text` is the whole of it, ASCII; `payload` an object of unknown members."""

    typ: str
    kid: str | None
    payload: Object
    signature: bytes
    text: str

    @property
    def signing_input(self) -> bytes:
        """What the signature is over: header and payload as they are written."""
        return self.text.rpartition(".")[0].encode("ascii")


def keys_by_thumbprint(dids: Iterable[str]) -> dict[str, bytes]:
    """Returns the public keys of `dids` under the ``kid`` by which a JWT names them."""
    return {thumbprint(public): public for public in map(did_decode, dids)}


def sign_jwt(typ: str, payload: Object, signer: Signer, kid: str | None = None, *, nameless: bool = False) -> str:
    """Returns the JWT of `payload` signed by `signer`; `kid` is the key's thumbprint by default.

    Raises:
        MalformedError: the payload has no canonical form.
    """
    header: Object = {"alg": ALGORITHM, "typ": typ}
    if not nameless:
        header["kid"] = thumbprint(signer.public) if kid is None else kid
    signed = f"{b64url_encode(canonical(header))}.{b64url_encode(canonical(payload, max_text=MAX_PAYLOAD_BYTES))}"
    return f"{signed}.{b64url_encode(signer.sign(signed.encode('ascii')))}"


def parse_jwt(jwt: str, typ: str, field: str = "jwt", *, nameless: bool = False) -> Jwt:
    """Reads a JWT of type `typ`; verifies no signature.  `nameless` as in ``sign_jwt``.

    Raises:
        MalformedError: too long, not three parts of base64url, another header than the one form, or a payload that is
            no object in canonical form.
    """
    if len(jwt) > MAX_JWT_CHARS:
        raise MalformedError(f"at most {MAX_JWT_CHARS} characters are allowed, found {len(jwt)}", field=field)
    parts = jwt.split(".")
    if len(parts) != 3:
        raise MalformedError(f"expected header.payload.signature, found {len(parts)} parts", field=field)
    header = b64url_decode(parts[0], f"{field}.header")
    members = ("alg", "typ") if nameless else ("alg", "kid", "typ")
    o = as_object(parse(header, f"{field}.header", MAX_HEADER_BYTES), f"{field}.header", members)
    as_constant(o["alg"], f"{field}.header.alg", ALGORITHM)
    as_constant(o["typ"], f"{field}.header.typ", typ)
    kid = (
        None if nameless else text.identifier(as_text(o["kid"], f"{field}.header.kid"), f"{field}.header.kid", high=128)
    )
    data = b64url_decode(parts[1], f"{field}.payload")
    payload = parse(data, field, MAX_PAYLOAD_BYTES, max_text=MAX_PAYLOAD_BYTES)
    if not isinstance(payload, dict):
        raise MalformedError(f"expected an object, found {shown(payload)}", field=field)
    return Jwt(typ, kid, payload, b64url_decode(parts[2], f"{field}.signature", SIGNATURE_BYTES), jwt)


def verify_jwt(jwt: Jwt, keys: Mapping[str, bytes], field: str = "jwt") -> Jwt:
    """Returns the JWT if the key it names is one of `keys` and signed it.

    Raises:
        VerificationError: ``unknown-key``, ``bad-signature``.
    """
    public = None if jwt.kid is None else keys.get(jwt.kid)
    if public is None:
        raise VerificationError(f"no trusted key is named {shown(jwt.kid)}", code="unknown-key", field=field)
    if not verify_signature(public, jwt.signing_input, jwt.signature):
        raise VerificationError("not signed by the key it names", code="bad-signature", field=field)
    return jwt
