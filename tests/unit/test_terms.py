"""License terms and the text people read: form, and bound both ways (docs/format.md, section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.canonical import Object, canonical
from ledger.encoding import digest_encode, sha256
from ledger.errors import MalformedError, VerificationError
from ledger.terms import (
    ANSWERS,
    MAX_LICENSE_TEXT_BYTES,
    USES,
    Terms,
    bind_text,
    check_license_id,
    check_price_tier,
    parse_terms,
    read_terms,
    untexted_digest,
    verify_text,
)
from tests.reference import documents as reference
from tests.reference.refuted import RefutedError
from tests.simulator import license_of, reading, terms_fields, writing
from tests.support.mangling import WRONG, extended, places, refusal, removed, replaced

TERMS, TEXT = license_of()


def test_terms_are_read_back() -> None:
    assert parse_terms(TERMS.data) == TERMS
    assert TERMS.digest == sha256(TERMS.data)
    assert reference.check_terms(reading(TERMS.data)) == reading(TERMS.data)


def test_the_code_of_the_uses() -> None:
    """Two bits each: 0 no, 1 yes, 2 ask, in the order of the numbers."""
    assert license_of(uses={**dict.fromkeys(USES, "no"), "search": "yes"})[0].uses_code == 1
    assert license_of(uses=dict.fromkeys(USES, "ask"))[0].uses_code == sum(2 << 2 * n for n in range(11))
    for number, use in enumerate(USES):
        for code, answer in enumerate(ANSWERS):
            uses: Object = {**dict.fromkeys(USES, "no"), use: answer}
            terms, _ = license_of(uses=uses)
            assert terms.uses_code == code << 2 * number == reference.uses_code(reading(terms.data)["uses"])


def test_text_and_terms_name_each_other() -> None:
    assert verify_text(TERMS, TEXT).endswith(f"\n{digest_encode(untexted_digest(TERMS))}\n")
    assert TERMS.text_digest == sha256(TEXT)


def test_another_text_or_other_terms() -> None:
    other, other_text = license_of(audit_per_year=1)
    same_terms, longer = bind_text(terms_fields(), "Another prose.")
    changed = TEXT.replace(b"Train", b"Thank", 1)
    for terms, text, why in (
        (TERMS, other_text, "belongs to other terms"),
        (other, TEXT, "belongs to other terms"),
        (TERMS, longer, "the terms belong to another text"),
        (same_terms, TEXT, "the terms belong to another text"),
        (TERMS, changed, "the terms belong to another text"),
    ):
        with pytest.raises(VerificationError, match=why) as caught:
            verify_text(terms, text)
        assert caught.value.code == "terms-digest"
        assert caught.value.field


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "must end with a line"),
        (TEXT[:-1], "must end with a line"),
        (TEXT + b"\n", "must end with a line"),
        (TEXT + b"more\n", "must end with a line"),
        (TEXT.replace(b"\nsha256:", b" sha256:"), "must end with a line"),
        (b"\xff" + TEXT, "not UTF-8"),
        (b"x" * MAX_LICENSE_TEXT_BYTES + TEXT, "at most 262144 bytes"),
    ],
)
def test_what_no_license_text_is(text: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why) as caught:
        verify_text(TERMS, text)
    assert caught.value.field == "text"


def test_terms_without_text_are_for_binding_only() -> None:
    draft = read_terms({**terms_fields(), "text_digest": None})
    assert draft.text_digest is None
    with pytest.raises(VerificationError, match="another text"):
        verify_text(draft, TEXT)


def test_every_value_of_another_form_is_refused_by_its_name() -> None:
    value = reading(TERMS.data)
    names, accepted = set(), 0
    for path in places(value):
        for wrong in WRONG:
            changed = replaced(value, path, wrong)
            if changed == value:
                continue
            error = refusal(parse_terms, writing(changed))
            if error is None:
                accepted += 1
                assert parse_terms(writing(changed)).digest != TERMS.digest
                continue
            named = [str(name) for name in path if isinstance(name, str)][-1]
            assert named in str(error), (path, wrong, error)
            assert (error.field or "").startswith("terms")
            names.add(named)
    assert names == {str(path[-1]) for path in places(value) if isinstance(path[-1], str)}
    assert accepted < 25  # a number for a number, no text for a text


def test_keys_are_exactly_those_of_the_form() -> None:
    value = reading(TERMS.data)
    for path in places(value):
        if not isinstance(path[-1], str) or path[-2:-1] == ("tiers",):
            continue
        for changed, why in ((removed(value, path), "missing key"), (extended(value, path), "unknown key")):
            with pytest.raises(MalformedError, match=why):
                parse_terms(writing(changed))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"license_id": "a b"}, "license_id"),
        ({"license_id": "-a"}, "license_id"),
        ({"license_id": "a" * 129}, "license_id"),
        ({"license_url": "javascript:alert(1)"}, "license_url"),
        ({"exclusive_months": 1201}, "exclusive_months"),
        ({"term_months": -1}, "term_months"),
        ({"audit_per_year": 53}, "audit_per_year"),
        ({"territory": []}, "territory"),
        ({"territory": ["world", "DE"]}, "territory"),
        ({"territory": ["FR", "DE"]}, "territory"),
        ({"territory": ["DE", "DE"]}, "territory"),
        ({"territory": ["de"]}, "territory"),
        ({"require": ["token", "manifest"]}, "require"),
        ({"require": ["token", "token"]}, "require"),
        ({"require": ["receipt"]}, "require"),
        ({"revocation": {"notice_days": 3651, "trained_models": "keep"}}, "revocation.notice_days"),
        ({"revocation": {"notice_days": 1, "trained_models": "burn"}}, "revocation.trained_models"),
    ],
)
def test_what_no_terms_are(change: Object, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        license_of(**change)
    assert caught.value.field == f"terms.{field}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currency": "eur"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"model": "barter"}, "model"),
        ({"share_bp": 10_001}, "share_bp"),
        ({"cadence": "daily"}, "cadence"),
        ({"escrow": 1}, "escrow"),
        ({"tiers": {"A": "1"}}, "tiers"),
        ({"tiers": {"a" * 33: "1"}}, "tiers"),
        ({"tiers": {f"t{n}": "1" for n in range(65)}}, "tiers"),
        ({"tiers": []}, "tiers"),
        *[({"minimum": m}, "minimum") for m in ("", "-1", "01", "1.", ".5", "1e3", "1,5", "1.1234567", "+1", "٣", 1)],
        ({"termination": "x"}, "termination"),
        ({"tiers": {"standard": "free"}}, "tiers.standard"),
    ],
)
def test_what_no_payment_is(change: dict[str, Any], field: str) -> None:
    payment = {**reading(TERMS.data)["payment"], **change}
    with pytest.raises(MalformedError) as caught:
        license_of(payment=payment)
    assert caught.value.field == f"terms.payment.{field}"


@pytest.mark.parametrize("price", ["0", "0.5", "12.50", "999999999999.999999"])
def test_prices(price: str) -> None:
    payment = {**reading(TERMS.data)["payment"], "tiers": {"standard": price, "a-1": "0"}, "minimum": price}
    terms, text = license_of(payment=payment)
    assert terms.payment.tiers == {"standard": price, "a-1": "0"}
    verify_text(terms, text)
    reference.check_terms(reading(terms.data))


def test_what_the_reference_refuses_is_refused() -> None:
    value = reading(TERMS.data)
    for path in places(value):
        for wrong in WRONG:
            changed = replaced(value, path, wrong)
            try:
                reference.check_terms(changed)
            except RefutedError:
                with pytest.raises(MalformedError):
                    _read(changed)


def _read(value: Any) -> Terms:
    terms = read_terms(value)
    if terms.text_digest is None:  # a draft, which the reference does not know
        raise MalformedError("a draft")
    return terms


def test_names_of_licenses_and_tiers() -> None:
    for name in ("A", "CREATOR-TRAIN-2026-v1", "CC-BY-4.0", "a_b.c-d"):
        assert check_license_id(name, "x") == name
    for name in ("", "-a", "a/b", "é", "a\n"):
        with pytest.raises(MalformedError):
            check_license_id(name, "x")
    assert check_price_tier("gold-2", "x") == "gold-2"
    assert canonical(reading(TERMS.data)) == TERMS.data
