"""Client assertions (docs/format.md, section 8): what counts, and each way in which one does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.assertion import (
    JTI_BYTES,
    MAX_ASSERTION_CHARS,
    MAX_SECONDS,
    audience_of,
    make_assertion,
    verify_assertion,
)
from ledger.encoding import MAX_TIME, b64url_decode, b64url_encode
from ledger.errors import MalformedError, TrainmarkError, VerificationError
from ledger.keys import SigningKey, did_encode
from ledger.tokens.jwt import CLOCK_SKEW
from tests.support.library import signing_key

NOW = 1_790_000_000
AUDIENCE = audience_of("https://registry.example")
JTI = b64url_encode(bytes(range(JTI_BYTES)))
KEY = signing_key("assertion")
OTHER = signing_key("other")


def made(**changed: Any) -> str:
    """Returns a signed assertion with some claims or header members changed, whatever they are."""
    header = {"alg": "Ed25519", "kid": KEY.did, "typ": "JWT"}
    claims = {"iss": KEY.did, "sub": KEY.did, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 300, "jti": JTI}
    for name, value in changed.items():
        part = header if name in ("alg", "kid", "typ", "crit", "jwk") else claims
        if value is None:
            part.pop(name, None)
        else:
            part[name] = value
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{b64url_encode(KEY.sign(signed.encode()))}"


def encoded(value: object) -> str:
    return b64url_encode(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def refused(text: str, now: int = NOW) -> TrainmarkError:
    with pytest.raises(TrainmarkError) as caught:
        verify_assertion(text, AUDIENCE, now)
    return caught.value


def test_what_is_made_counts() -> None:
    assertion = verify_assertion(make_assertion(KEY, KEY.did, AUDIENCE, NOW, JTI), AUDIENCE, NOW)
    assert (assertion.subject, assertion.key, assertion.jti, assertion.expires_at) == (KEY.did, KEY.did, JTI, NOW + 300)
    assert made() == make_assertion(KEY, KEY.did, AUDIENCE, NOW, JTI)


def test_another_key_may_speak_for_a_party() -> None:
    assertion = verify_assertion(make_assertion(OTHER, KEY.did, AUDIENCE, NOW, JTI), AUDIENCE, NOW)
    assert (assertion.subject, assertion.key) == (KEY.did, OTHER.did)


@pytest.mark.parametrize("now", [NOW - CLOCK_SKEW, NOW, NOW + MAX_SECONDS + CLOCK_SKEW])
def test_it_counts_for_five_minutes_and_the_skew(now: int) -> None:
    assert verify_assertion(made(), AUDIENCE, now).subject == KEY.did


def test_it_counts_no_second_longer() -> None:
    assert refused(made(), NOW + MAX_SECONDS + CLOCK_SKEW + 1).code == "expired-assertion"
    assert refused(made(), NOW - CLOCK_SKEW - 1).code == "early-assertion"


def test_it_is_for_one_registry() -> None:
    error = refused(made(aud=audience_of("https://other.example")))
    assert isinstance(error, VerificationError)
    assert (error.code, error.field) == ("wrong-audience", "client_assertion.aud")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"alg": "HS256"}, "header.alg"),
        ({"alg": "none"}, "header.alg"),
        ({"alg": "EdDSA"}, "header.alg"),
        ({"typ": "at+jwt"}, "header.typ"),
        ({"crit": ["exp"]}, "header"),
        ({"jwk": {"kty": "OKP"}}, "header"),
        ({"kid": "key-1"}, "kid"),
        ({"kid": None}, "header"),
        ({"iss": OTHER.did}, "iss"),
        ({"sub": "did:web:example.com"}, "sub"),
        ({"aud": [AUDIENCE]}, "aud"),
        ({"jti": b64url_encode(bytes(15))}, "jti"),
        ({"jti": "x"}, "jti"),
        ({"jti": None}, "client_assertion"),
        ({"exp": NOW + 301}, "exp"),
        ({"exp": NOW}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"iat": -1}, "iat"),
        ({"iat": MAX_TIME + 1, "exp": MAX_TIME + 2}, "iat"),
        ({"iat": MAX_TIME, "exp": MAX_TIME + 1}, "exp"),
        ({"scope": "publish"}, "client_assertion"),
        ({"nbf": NOW}, "client_assertion"),
    ],
)
def test_another_form_is_malformed(changed: dict[str, Any], field: str) -> None:
    error = refused(made(**changed))
    assert isinstance(error, MalformedError)
    assert (error.field or "").endswith(field)


def test_an_unsigned_or_otherwise_signed_one_is_refused() -> None:
    signed = make_assertion(KEY, KEY.did, AUDIENCE, NOW, JTI).rpartition(".")[0]
    assert refused(f"{signed}.").code == "malformed"
    assert refused(f"{signed}.{b64url_encode(OTHER.sign(signed.encode()))}").code == "bad-signature"


def test_every_flipped_character_is_refused() -> None:
    text = make_assertion(KEY, KEY.did, AUDIENCE, NOW, JTI)
    for at, character in enumerate(text):
        changed = text[:at] + ("A" if character != "A" else "B") + text[at + 1 :]
        refused(changed)


def test_a_key_of_small_order_signs_for_nobody() -> None:
    # The point of order 1: OpenSSL would accept one signature for any message under it.
    point = b"\x01" + bytes(31)
    did = did_encode(point)
    claims = {"iss": did, "sub": did, "aud": AUDIENCE, "iat": NOW, "exp": NOW + 300, "jti": JTI}
    signed = f"{encoded({'alg': 'Ed25519', 'kid': did, 'typ': 'JWT'})}.{encoded(claims)}"
    assert isinstance(refused(f"{signed}.{b64url_encode(point + bytes(32))}"), MalformedError)


def test_a_long_one_is_not_read() -> None:
    assert refused("a" * (MAX_ASSERTION_CHARS + 1)).code == "malformed"


def test_only_well_formed_ones_are_made() -> None:
    with pytest.raises(MalformedError, match="by"):
        make_assertion(KEY, "ada", AUDIENCE, NOW, JTI)
    with pytest.raises(MalformedError, match="jti"):
        make_assertion(SigningKey(bytes(32)), KEY.did, AUDIENCE, NOW, "x")
    assert len(b64url_decode(JTI, "jti")) == JTI_BYTES
