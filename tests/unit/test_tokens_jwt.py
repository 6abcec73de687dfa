"""JWTs: one spelling each, and no other is read; the negative cases are vectors (test_tokens_vectors)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import Object, canonical, parse
from ledger.errors import MalformedError, TrainmarkError, VerificationError
from ledger.keys import SigningKey, thumbprint
from ledger.tokens.jwt import MAX_JWT_CHARS, parse_jwt, sign_jwt, verify_jwt

KEY = SigningKey(bytes(31) + b"\1")
KEYS = {thumbprint(KEY.public): KEY.public}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~"


def test_known_answer() -> None:
    header, payload, _ = sign_jwt("x+jwt", {"b": 1, "a": "ü"}, KEY).split(".")
    kid = thumbprint(KEY.public)
    assert base64.urlsafe_b64decode(header + "==") == f'{{"alg":"Ed25519","kid":"{kid}","typ":"x+jwt"}}'.encode()
    assert base64.urlsafe_b64decode(payload + "==") == '{"a":"ü","b":1}'.encode()


def test_round_trip_and_own_kid() -> None:
    jwt = parse_jwt(sign_jwt("JWT", {"iss": "x"}, KEY, kid=KEY.did), "JWT")
    assert (jwt.kid, jwt.payload) == (KEY.did, {"iss": "x"})
    assert verify_jwt(jwt, {KEY.did: KEY.public}) is jwt
    with pytest.raises(VerificationError) as e:
        verify_jwt(jwt, KEYS)
    assert e.value.code == "unknown-key"


@given(st.data())
def test_no_changed_character_is_accepted(data: st.DataObject) -> None:
    text = sign_jwt("x+jwt", {"exp": 12, "sub": "y"}, KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([c for c in ALPHABET if c != text[at]]))
    with pytest.raises(TrainmarkError):
        verify_jwt(parse_jwt(text[:at] + other + text[at + 1 :], "x+jwt"), KEYS)


def test_length_is_bounded_before_anything_is_read() -> None:
    with pytest.raises(MalformedError, match="at most"):
        parse_jwt("." * (MAX_JWT_CHARS + 1), "x+jwt")


def test_strings_are_longer_than_text_only_where_the_reader_says_so() -> None:
    document: Object = {"lst": "A" * 5000, "n": 1}
    data = canonical(document, max_text=5000)
    assert data == json.dumps(document, separators=(",", ":")).encode()
    assert parse(data, "doc", 6000, max_text=5000) == document
    refusals: tuple[Callable[[], object], ...] = (
        lambda: canonical(document),
        lambda: parse(data, "doc", 6000),
        lambda: parse(data, "doc", 6000, max_text=4999),
        lambda: parse(data, "doc", 5000, max_text=5000),
        lambda: parse(b'{"lst":NaN}', "doc", 99, max_text=99),
        lambda: parse(b'{"lst":"\\ud800"}', "doc", 99, max_text=99),
        lambda: parse(b"[" * 100_000, "doc", 200_000),
        lambda: parse(b'"\xff"', "doc", 99),
    )
    for refused in refusals:
        with pytest.raises(MalformedError):
            refused()
