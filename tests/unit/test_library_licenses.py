"""License presets, the words for people, and what is derived from terms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import Object
from ledger.errors import MalformedError
from ledger.images.xmp import DATA_MINING
from ledger.library.licenses import (
    PRESETS,
    attribution_text,
    data_mining,
    explain,
    make_license,
    preset,
    prose,
    short_header,
    training,
    usage_line,
)
from ledger.terms import ANSWERS, USES, Terms, read_terms, verify_text

ID, URL = "SAM-TRAIN-2026-v1", "https://sam.example/licenses/train"
OPEN = PRESETS["open"].fields(ID, URL)
PAID: Object = {
    "model": "per-sample",
    "currency": "EUR",
    "tiers": {"hero": "12.50", "standard": "0.40"},
    "share_bp": 525,
    "cadence": "quarterly",
    "minimum": "100",
    "termination": "250",
    "escrow": True,
}


def terms_of(**changed: Any) -> Terms:
    return read_terms({**OPEN, "text_digest": None, **changed})


def uses(default: str, **changed: str) -> dict[str, str]:
    return {use: changed.get(use.replace("-", "_"), default) for use in USES}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_becomes_a_bound_license(name: str) -> None:
    terms, text = make_license(preset(name).fields(ID, URL), "Sam Rivers")
    assert verify_text(terms, text).startswith(f"License {ID}\n")
    assert (terms.license_id, terms.license_url) == (ID, URL)
    assert preset(name).title
    assert preset(name).summary


def test_presets_say_what_their_titles_say() -> None:
    answers = {name: read_terms({**p.fields(ID, URL), "text_digest": None}) for name, p in PRESETS.items()}
    assert answers["train"].uses["train"] == answers["train"].uses["train-generative"] == "yes"
    assert answers["train"].uses["share-data"] == "no"
    assert all(answers["train"].uses[use] == "ask" for use in ("deploy", "share-model", "sell-outputs"))
    assert answers["train-commercial"].uses["deploy"] == answers["train-commercial"].uses["sell-outputs"] == "yes"
    assert answers["research"].audience == "research"
    assert set(answers["ask-first"].uses.values()) == {"yes", "ask", "no"}
    assert [use for use, answer in answers["no-training"].uses.items() if answer != "no"] == ["search"]
    assert set(answers["open"].uses.values()) == {"yes"}
    assert {name: training(terms)[0] for name, terms in answers.items()} == {
        "train": "under conditions",
        "train-commercial": "under conditions",
        "research": "under conditions",
        "ask-first": "under conditions",
        "no-training": "no",
        "open": "under conditions",
    }


def test_an_unknown_preset_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(MalformedError, match=r"preset: expected one of train, .*, open, found 'free'"):
        preset("free")


def test_a_preset_refuses_a_malformed_id() -> None:
    with pytest.raises(MalformedError, match="license_id"):
        PRESETS["train"].fields("no spaces here", URL)


CHANGES: list[tuple[str, Callable[[Object], Object]]] = [
    ("license_id", lambda f: {**f, "license_id": "OTHER"}),
    ("license_url", lambda f: {**f, "license_url": "https://other.example/"}),
    *(
        (f"uses.{use}={answer}", lambda f, use=use, answer=answer: {**f, "uses": {**f["uses"], use: answer}})
        for use in USES
        for answer in ("no", "ask")
    ),
    ("audience", lambda f: {**f, "audience": "non-commercial"}),
    ("audience", lambda f: {**f, "audience": "research"}),
    ("attribution_required", lambda f: {**f, "attribution_required": False}),
    ("exclusive_months", lambda f: {**f, "exclusive_months": 6}),
    ("exclusive_after", lambda f: {**f, "exclusive_after": "delist"}),
    ("term_months", lambda f: {**f, "term_months": 1}),
    ("territory", lambda f: {**f, "territory": ["AT", "DE"]}),
    ("notice_days", lambda f: {**f, "revocation": {"notice_days": 31, "trained_models": "keep"}}),
    ("trained_models", lambda f: {**f, "revocation": {"notice_days": 30, "trained_models": "retire"}}),
    *(
        (f"payment.{key}", lambda f, key=key, value=value: {**f, "payment": {**f["payment"], key: value}})
        for key, value in {
            "model": "dataset",
            "currency": "USD",
            "tiers": {"standard": "0.41"},
            "share_bp": 524,
            "cadence": "yearly",
            "minimum": "99",
            "termination": "0",
            "escrow": False,
        }.items()
    ),
    ("audit_per_year", lambda f: {**f, "audit_per_year": 3}),
    ("require", lambda f: {**f, "require": ["manifest"]}),
]


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=[name for name, _ in CHANGES])
def test_the_text_tells_every_field(name: str, change: Callable[[Object], Object]) -> None:
    # A field that has an effect only beside another one gets that other one first.
    base: Object = {**OPEN, "payment": PAID}
    if name == "exclusive_after":
        base = {**base, "exclusive_months": 6}
    assert prose(change(base), "Sam") != prose(base, "Sam")


def test_the_text_tells_the_creator_and_every_use_by_name() -> None:
    text = prose(PRESETS["train"].fields(ID, URL), "Sam Rivers")
    assert "Sam Rivers (the creator)" in text
    for use, answer in read_terms({**PRESETS["train"].fields(ID, URL), "text_digest": None}).uses.items():
        assert f"\n* {use}: {answer}. " in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_text_is_the_same_each_time() -> None:
    assert prose(OPEN, "Sam") == prose(dict(reversed(OPEN.items())), "Sam")


def test_a_creator_of_two_lines_is_refused() -> None:
    with pytest.raises(MalformedError, match="creator_name"):
        prose(OPEN, "Sam\nevil: yes")


def test_only_yes_is_told_as_permission() -> None:
    lines = {line.label: line for line in explain(terms_of(uses=uses("ask", train="yes", deploy="no")))}
    assert lines["train"] == ("train", "yes", "You may train a model on the pictures.")
    assert lines["deploy"].sentence.startswith("You may not offer")
    assert lines["infer"].sentence.startswith("Only after a separate agreement with the creator may you give")


def test_explaining_starts_with_the_question_and_has_a_line_for_all() -> None:
    labels = [line.label for line in explain(terms_of())]
    assert labels == [
        "May I train on it?",
        *USES,
        *("audience", "attribution", "exclusivity", "term", "territory", "revocation", "payment", "audits", "to keep"),
    ]


def test_paid_terms_tell_all_amounts() -> None:
    line = next(line for line in explain(terms_of(payment=PAID)) if line.label == "payment")
    assert line.answer == "per picture, and 5.25 % of revenue"
    assert line.sentence == (
        "A price is due for each picture, by its price tier. Prices: hero 12.50 EUR, standard 0.40 EUR. A share of"
        " 5.25 % of the revenue of models trained on the pictures is due. Accounts are settled quarterly. At least 100"
        " EUR is due each time. If the license is revoked early, 250 EUR is due. Payments are held in escrow until both"
        " sides have delivered."
    )


UNCONDITIONAL: dict[str, Any] = {"attribution_required": False}
CONDITIONS: list[dict[str, Any]] = [
    {"audience": "research"},
    {"audience": "non-commercial"},
    {"exclusive_months": 1},
    {"term_months": 1},
    {"territory": ["AT"]},
    {"revocation": {"notice_days": 30, "trained_models": "retire"}},
    {"payment": {**PAID, "model": "free"}},
    {"payment": {**PAID, "share_bp": 0, "minimum": "0", "termination": "0"}},
    {"audit_per_year": 1},
    {"require": ["token"]},
]


def test_training_is_yes_only_without_any_condition() -> None:
    assert training(terms_of(**UNCONDITIONAL)) == ("yes", ())
    assert explain(terms_of(**UNCONDITIONAL))[0].answer == "yes"
    assert training(terms_of())[0] == "under conditions"
    for condition in CONDITIONS:
        answer, told = training(terms_of(**UNCONDITIONAL, **condition))
        assert (answer, len(told)) == ("under conditions", 1), condition


@pytest.mark.parametrize("use", ["train", "train-generative", "finetune", "deploy", "share-model", "sell-outputs"])
@pytest.mark.parametrize("answer", ["no", "ask"])
def test_training_names_what_is_not_allowed(use: str, answer: str) -> None:
    word, told = training(terms_of(**UNCONDITIONAL, uses={**uses("yes"), use: answer}))
    assert (word, len(told)) == ("under conditions", 1)


def test_training_is_no_when_each_kind_is_no() -> None:
    none = {"train": "no", "train-generative": "no", "finetune": "no"}
    assert training(terms_of(uses={**uses("yes"), **none})) == ("no", ())
    assert training(terms_of(uses={**uses("no"), "finetune": "ask"}))[0] == "under conditions"


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ("DMI-ALLOWED", uses("yes")),
        ("DMI-PROHIBITED", uses("no")),
        ("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", uses("no", search="yes")),
        ("DMI-PROHIBITED-AIMLTRAINING", uses("yes", train="no", train_generative="no", finetune="no")),
        ("DMI-PROHIBITED-GENAIMLTRAINING", uses("yes", train_generative="no")),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", uses("yes", share_data="no")),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", uses("yes", train="no")),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", uses("yes", search="ask")),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", uses("no", train="ask")),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", uses("ask")),
    ],
)
def test_data_mining_value(value: str, answers: dict[str, str]) -> None:
    assert data_mining(terms_of(uses=answers)) == value


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_sends_readers_to_the_license(condition: dict[str, Any]) -> None:
    linked = "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR"
    for answers in (uses("yes"), uses("no", search="yes"), uses("yes", train_generative="no")):
        assert data_mining(terms_of(uses=answers, **condition)) == linked
    assert data_mining(terms_of(uses=uses("no"), **condition)) == "DMI-PROHIBITED"


def permitted(value: str) -> set[str]:
    """What a reader who knows only the PLUS word may take as permitted (docs/format.md, section 3)."""
    return {
        "DMI-ALLOWED": set(USES),
        "DMI-PROHIBITED-AIMLTRAINING": set(USES) - {"train", "train-generative", "finetune"},
        "DMI-PROHIBITED-GENAIMLTRAINING": set(USES) - {"train-generative"},
        "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING": {"search"},
    }.get(value, set())


@given(st.lists(st.sampled_from(ANSWERS), min_size=len(USES), max_size=len(USES)), st.sampled_from([*CONDITIONS, {}]))
def test_the_data_mining_value_never_permits_more(answers: list[str], condition: dict[str, Any]) -> None:
    terms = terms_of(uses=dict(zip(USES, answers, strict=True)), **condition)
    value = data_mining(terms)
    assert value in DATA_MINING
    assert permitted(value) <= {use for use in USES if terms.uses[use] == "yes"}
    assert not (permitted(value) and condition)


def test_short_header() -> None:
    fields = {**PRESETS["no-training"].fields(ID, URL), "uses": uses("no", train="yes", evaluate="yes", deploy="ask")}
    assert short_header(read_terms({**fields, "text_digest": None})) == {
        "license_id": ID,
        "license_url": URL,
        "scope": "internal evaluation, training",
        "attribution_required": True,
        "revocation_notice": "30 days",
    }
    assert short_header(terms_of(uses=uses("ask")))["scope"] == "none"
    one_day = {"notice_days": 1, "trained_models": "keep"}
    assert short_header(terms_of(revocation=one_day))["revocation_notice"] == "1 day"


def test_the_usage_line_says_all_uses_and_fits_metadata() -> None:
    for answers in itertools.product(("yes", "no", "ask"), repeat=2):
        mixed = uses("yes", train=answers[0], share_data=answers[1])
        line = usage_line(terms_of(uses=mixed, audience="research"))
        assert "\n" not in line
        assert len(line) < 4096
        assert line.endswith(f"Full terms: {URL}")
    assert usage_line(terms_of(uses=uses("no", train="yes", deploy="ask"), audience="research")).startswith(
        f"License {ID}. Allowed: training. Only by agreement: commercial deployment. Not allowed: search, data mining,"
    )


def test_the_usual_attribution_text_names_creator_license_and_place() -> None:
    text = attribution_text("Sam", "did:key:z6Mk", ID, "https://sam.example")
    assert text == (
        f"Image assets from Sam (creator_id: did:key:z6Mk). Licensed under {ID}. See https://sam.example for details."
    )
