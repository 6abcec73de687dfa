"""Attribution tokens: issuing, disclosing, presenting; the negative cases are vectors (test_tokens_vectors)."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import MAX_TIME, b64url_encode, sha256
from ledger.errors import MalformedError, TrainmarkError, VerificationError
from ledger.keys import thumbprint
from ledger.statements import PolicyBody
from ledger.tokens.attribution import (
    TOKEN_TYPE,
    Licensee,
    Price,
    TokenIssuer,
    issue,
    issuer_of,
    parse_token,
    select_disclosures,
    verify_signed,
    verify_token,
)
from ledger.tokens.claims import claims_value, read_claims
from ledger.tokens.jwt import sign_jwt
from ledger.tokens.presentation import parse_presentation, present, verify_presentation
from scripts import make_token_vectors as vectors
from tests.reference import token as reference
from tests.reference.refuted import RefutedError
from tests.simulator import writing
from tests.support.mangling import WRONG, places, refusal, replaced

ISSUER = TokenIssuer(vectors.ISSUER, vectors.ORIGIN, {thumbprint(vectors.TOKEN.public): vectors.TOKEN.public})
GOOD = vectors.good_token()


def test_what_is_issued_is_what_was_asked_for() -> None:
    assert replace(GOOD.token, sd=()) == vectors.CLAIMS
    assert (GOOD.licensee, GOOD.price) == (vectors.LICENSEE, vectors.PRICE)
    assert verify_token(parse_token(GOOD.text), ISSUER, vectors.NOW) == GOOD
    assert read_claims(claims_value(GOOD.token)) == GOOD.token


def test_the_digest_does_not_depend_on_what_is_disclosed() -> None:
    hidden = select_disclosures(GOOD, [])
    assert hidden.digest == GOOD.digest == sha256(GOOD.text.partition("~")[0].encode())
    assert (hidden.licensee, hidden.price) == (None, None)
    assert "Zo" not in hidden.text
    assert parse_token(hidden.text) == hidden


def test_only_a_disclosure_that_is_there_can_be_chosen() -> None:
    price_only = select_disclosures(GOOD, ["price"])
    assert [d.name for d in price_only.disclosures] == ["price"]
    with pytest.raises(ValueError, match="licensee"):
        select_disclosures(price_only, ["licensee"])


def test_digests_hide_what_they_are_of() -> None:
    # The same licensee and price under other salts: nothing in the signed part is equal.
    salts = [sha256(b"other 1")[:16], sha256(b"other 2")[:16]]
    other = issue(vectors.CLAIMS, vectors.TOKEN, licensee=vectors.LICENSEE, price=vectors.PRICE, salts=salts)
    assert set(other.token.sd).isdisjoint(GOOD.token.sd)


@pytest.mark.parametrize(
    "salts",
    [(), (bytes(16),), (bytes(16), bytes(16)), (bytes(15), bytes(16)), (bytes(16), b"\1" * 16, b"\2" * 16)],
)
def test_each_disclosure_has_a_salt_of_its_own(salts: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="2 distinct salts"):
        issue(vectors.CLAIMS, vectors.TOKEN, licensee=vectors.LICENSEE, price=vectors.PRICE, salts=salts)


@pytest.mark.parametrize(
    "changes",
    [{"purpose": ""}, {"exp": vectors.ISSUED}, {"uses": ("train", "evaluate")}, {"manifests": ()}, {"holder": None}],
)
def test_nothing_malformed_is_issued(changes: dict[str, object]) -> None:
    token = replace(vectors.CLAIMS, **changes)  # type: ignore[arg-type]
    with pytest.raises(MalformedError):
        issue(token, vectors.TOKEN, licensee=None, price=None, salts=())


@pytest.mark.parametrize("licensee", [Licensee("", "x"), Licensee("a\nb", "x"), Licensee("x", "a b")])
def test_no_malformed_licensee_is_issued(licensee: Licensee) -> None:
    with pytest.raises(MalformedError):
        issue(vectors.CLAIMS, vectors.TOKEN, licensee=licensee, price=None, salts=[bytes(16)])


@pytest.mark.parametrize("price", [Price("eur", 1), Price("EUR", -1)])
def test_no_malformed_price_is_issued(price: Price) -> None:
    with pytest.raises(MalformedError):
        issue(vectors.CLAIMS, vectors.TOKEN, licensee=None, price=price, salts=[bytes(16)])


@given(st.data())
def test_no_changed_character_is_accepted(data: st.DataObject) -> None:
    text = GOOD.text
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != text[at]))
    with pytest.raises(TrainmarkError):
        verify_token(parse_token(text[:at] + other + text[at + 1 :]), ISSUER, vectors.NOW)


WORDS = (
    *(
        "train",
        "any",
        "x",
        "Ed25519",
        "a+b",
        "http://",
        "ftp://x",
        "https://x",
        " x",
        "x\u2028y",
        "A" * 600,
        "5",
        "A" * 43,
    ),
    *("0", "00", f"{vectors.ISSUER}/status/", f"{vectors.ISSUER}/status/00", f"{vectors.ISSUER}/status/{2**32}"),
    *("sha256:" + "0" * 64, 0, 1, MAX_TIME, MAX_TIME + 1, 131_072, 6_400_001, ["train"], ["train", "evaluate"]),
)


def test_the_reference_reads_the_same_claims() -> None:
    """Each value of the claims in turn, each way: both read them, or neither does."""
    value, read = dict(claims_value(GOOD.token)), 0
    for path in places(value):
        for other in (*WRONG, *WORDS):
            changed = replaced(value, path, other)
            theirs = None
            payload = b64url_encode(writing(changed))
            text = f"{GOOD.jwt.text.split('.')[0]}.{payload}.{b64url_encode(bytes(64))}~"
            try:
                reference.parse_token(text)
            except RefutedError as refuted:
                theirs = refuted
            ours = refusal(lambda data: parse_token(data.decode()), text.encode())
            assert (ours is None) == (theirs is None), (path, other, ours, theirs)
            read += ours is None
    assert read > 50


@pytest.mark.parametrize("uri", ["5", "https://other.example/status/5", f"{vectors.ISSUER}/status/", "/status/5"])
def test_a_status_list_is_at_the_issuer(uri: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_claims(claims_value(replace(vectors.CLAIMS, status_uri=uri)))
    assert caught.value.field == "token.status.status_list.uri"


def test_a_text_of_tildes_costs_no_more_than_itself() -> None:
    """A bundle may carry 100 MiB of text where its token belongs."""
    text = GOOD.jwt.text + "~" * 4_000_000
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError, match="at most 2 disclosures"):
            parse_token(text)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(text)
    finally:
        tracemalloc.stop()


def test_at_no_particular_time() -> None:
    assert verify_signed(GOOD, ISSUER) is GOOD
    with pytest.raises(VerificationError) as e:
        verify_signed(GOOD, replace(ISSUER, keys={}))
    assert e.value.code == "unknown-key"


def test_the_issuer_is_what_the_policy_says() -> None:
    policy = PolicyBody(vectors.ORIGIN, "", vectors.ISSUER, (vectors.TOKEN.did, vectors.TOKEN_2.did), bytes(32))
    keys = {thumbprint(k.public): k.public for k in (vectors.TOKEN, vectors.TOKEN_2)}
    assert issuer_of(policy) == TokenIssuer(vectors.ISSUER, vectors.ORIGIN, keys)


def test_a_presentation_carries_the_token_that_was_presented() -> None:
    chosen = select_disclosures(GOOD, ["licensee"])
    text = present(chosen, vectors.HOLDER, vectors.AUDIENCE, vectors.NONCE, vectors.NOW)
    asked = {"aud": vectors.AUDIENCE, "nonce": vectors.NONCE}
    assert verify_presentation(parse_presentation(text), ISSUER, now=vectors.NOW, **asked) == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(("iat", "exp", "field"), [(MAX_TIME + 1, 2**53 - 1, "iat"), (7, MAX_TIME + 1, "exp")])
def test_no_token_begins_or_ends_after_the_year_9999(iat: int, exp: int, field: str) -> None:
    with pytest.raises(MalformedError, match=str(MAX_TIME)) as caught:
        read_claims(claims_value(replace(vectors.CLAIMS, iat=iat, exp=exp)))
    assert caught.value.field == f"token.{field}"
    last = issue(replace(vectors.CLAIMS, exp=MAX_TIME), vectors.TOKEN, licensee=None, price=None, salts=())
    assert verify_token(last, ISSUER, MAX_TIME - 1) is last
    with pytest.raises(VerificationError, match="9999-12-31T23:59:59Z"):
        verify_token(last, ISSUER, MAX_TIME)
    claims = dict(claims_value(vectors.CLAIMS)) | {"iat": iat, "exp": exp}
    with pytest.raises(RefutedError) as refuted:
        reference.parse_token(sign_jwt(TOKEN_TYPE, claims, vectors.TOKEN) + "~")
    assert refuted.value.code == "malformed"


def test_no_presentation_is_of_a_later_year() -> None:
    with pytest.raises(MalformedError, match=str(MAX_TIME)) as caught:
        present(GOOD, vectors.HOLDER, vectors.AUDIENCE, vectors.NONCE, MAX_TIME + 1)
    assert caught.value.field == "presentation.binding.iat"
    assert parse_presentation(present(GOOD, vectors.HOLDER, vectors.AUDIENCE, vectors.NONCE, MAX_TIME)).iat == MAX_TIME


@pytest.mark.parametrize(("aud", "nonce"), [("x", "n"), (vectors.AUDIENCE, ""), (vectors.AUDIENCE, "a b")])
def test_no_presentation_is_made_that_nobody_reads(aud: str, nonce: str) -> None:
    with pytest.raises(MalformedError):
        present(GOOD, vectors.HOLDER, aud, nonce, vectors.NOW)
