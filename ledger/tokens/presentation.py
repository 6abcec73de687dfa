"""Presentations: the proof that whoever shows a token holds its key (docs/format.md, section 6; RFC 9901, 4.3).

The token, and behind its last ``~`` a ``kb+jwt`` without ``kid`` and with exactly the claims ``aud`` (one verifier's
address), ``iat`` (UTC seconds), ``nonce`` (what that verifier asked) and ``sd_hash`` (over the token with the
disclosures shown), signed by the key in ``cnf``.  Making sure that a nonce is used once is the verifier's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import Object, as_int, as_object, as_text
from ledger.encoding import HASH_BYTES, MAX_TIME, b64url_decode, b64url_encode, sha256
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import Signer, verify_signature
from ledger.tokens.attribution import SdJwt, TokenIssuer, parse_token, verify_token
from ledger.tokens.jwt import CLOCK_SKEW, Jwt, parse_jwt, sign_jwt

BINDING_TYPE: Final = "kb+jwt"
PRESENTATION_SECONDS: Final = 300
"""How old the proof may be, unless a verifier says otherwise."""

_NONCE = text.Form(re.compile(r"[A-Za-z0-9._~-]+"), "letters, digits and the signs . _ ~ -")


@dataclass(frozen=True, slots=True)
class Presentation:
    """A token and its holder's proof, not verified."""

    sd_jwt: SdJwt
    aud: str
    nonce: str
    iat: int
    sd_hash: str
    binding: Jwt


def present(sd_jwt: SdJwt, holder: Signer, aud: str, nonce: str, iat: int) -> str:
    """Returns the token with the holder's proof for the verifier `aud`, who asked with `nonce`.

    Raises:
        MalformedError: an `aud` or `nonce` that a verifier would not read.
    """
    payload: Object = {"aud": aud, "iat": iat, "nonce": nonce, "sd_hash": _sd_hash(sd_jwt)}
    presentation = sd_jwt.text + sign_jwt(BINDING_TYPE, payload, holder, nameless=True)
    parse_presentation(presentation)
    return presentation


def _sd_hash(sd_jwt: SdJwt) -> str:
    return b64url_encode(sha256(sd_jwt.text.encode("ascii")))


def parse_presentation(presentation: str, field: str = "presentation") -> Presentation:
    """Reads a token with its holder's proof; verifies nothing.

    Raises:
        MalformedError: form or schema of either.
    """
    sd_jwt, tilde, binding = presentation.rpartition("~")
    if not binding:
        raise MalformedError("no proof of holding behind the last ~", field=field)
    jwt = parse_jwt(binding, BINDING_TYPE, f"{field}.binding", nameless=True)
    o = as_object(jwt.payload, f"{field}.binding", ("aud", "iat", "nonce", "sd_hash"))
    sd_hash = as_text(o["sd_hash"], f"{field}.binding.sd_hash")
    b64url_decode(sd_hash, f"{field}.binding.sd_hash", HASH_BYTES)
    nonce = as_text(o["nonce"], f"{field}.binding.nonce")
    return Presentation(
        parse_token(sd_jwt + tilde, field),
        text.url(as_text(o["aud"], f"{field}.binding.aud"), f"{field}.binding.aud"),
        text.identifier(nonce, f"{field}.binding.nonce", _NONCE, 128),
        as_int(o["iat"], f"{field}.binding.iat", 0, MAX_TIME),
        sd_hash,
        jwt,
    )


def verify_presentation(
    presentation: Presentation,
    issuer: TokenIssuer,
    *,
    aud: str,
    nonce: str,
    now: int,
    max_age: int = PRESENTATION_SECONDS,
) -> SdJwt:
    """Returns the token if it is true and whoever presents it holds its key, for this verifier and this nonce.

    Raises:
        VerificationError: as ``verify_token``; then ``holder-missing`` (a public token),
            ``holder-signature``, ``holder-audience``, ``holder-nonce``, ``holder-hash``, ``holder-time``.
    """
    sd_jwt, binding = verify_token(presentation.sd_jwt, issuer, now), presentation.binding
    holder = sd_jwt.token.holder
    if holder is None:
        raise VerificationError("a public token has no holder", code="holder-missing", field="token.cnf")
    if not verify_signature(holder, binding.signing_input, binding.signature):
        raise VerificationError("not signed by the token's holder", code="holder-signature", field="binding")
    if presentation.aud != aud:
        raise VerificationError(f"it is for {shown(presentation.aud)}", code="holder-audience", field="binding.aud")
    if presentation.nonce != nonce:
        raise VerificationError("it answers another question", code="holder-nonce", field="binding.nonce")
    if presentation.sd_hash != _sd_hash(sd_jwt):
        raise VerificationError("it is for another token", code="holder-hash", field="binding.sd_hash")
    if not now - max_age <= presentation.iat <= now + CLOCK_SKEW:
        raise VerificationError(f"it was made at {presentation.iat}", code="holder-time", field="binding.iat")
    return sd_jwt
