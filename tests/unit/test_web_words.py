"""The one verdict over all claims on a file: closed by default."""

from __future__ import annotations

from typing import Any

import pytest

from api.web.words import Offer, Verdict, amount, anchor_words, count, decide, ordinal
from ledger.library.licenses import Line

YES = Line("May I train on it?", "yes", "Any model may be trained on the pictures, without conditions.")
NO = Line("May I train on it?", "no", "No model may be trained on the pictures or adapted with them.")


def offer(answer: str, by: str = "ada", state: str = "listed", leaf: int = 1, contested: bool = False) -> Offer:
    conditions = ["Name the creator."] if answer == "conditions" else []
    claim: dict[str, Any] = {
        "leaf": leaf,
        "state": state,
        "contested": contested,
        "creator": {"id": by},
        "license": {"training": {"answer": answer, "conditions": conditions}},
    }
    return Offer(claim, [NO if answer == "no" else YES])


def word(*offers: Offer) -> str:
    return decide(offers).word


def test_unknown_is_not_permission() -> None:
    assert decide([]) == Verdict("unknown", "Nobody claims this file in this registry. Unknown is not permission.")


def test_one_listed_offer_says_what_its_license_says() -> None:
    assert decide([offer("yes")]) == Verdict("yes", YES.sentence, (), 1)
    assert decide([offer("no")]) == Verdict("no", NO.sentence, (), 1)
    assert decide([offer("conditions")]) == Verdict(
        "conditions", "The license sets these conditions:", ("Name the creator.",), 1
    )


@pytest.mark.parametrize("state", ["logged", "disputed", "withdrawing", "ended", "void"])
def test_what_is_not_listed_is_a_no(state: str) -> None:
    verdict = decide([offer("yes", state=state)])
    assert verdict.word == "no"
    assert verdict.reason != YES.sentence


def test_live_offers_of_one_creator_are_alternatives() -> None:
    assert decide([offer("no", leaf=1), offer("yes", leaf=2), offer("conditions", leaf=3)]).leaf == 2
    assert word(offer("yes", state="withdrawing"), offer("conditions", leaf=2)) == "conditions"


def test_different_creators_are_intersected() -> None:
    assert word(offer("yes"), offer("no", by="ben")) == "no"
    assert word(offer("yes"), offer("yes", by="ben", state="disputed")) == "no"
    assert word(offer("yes"), offer("yes", by="ben")) == "unsettled"


def test_claims_that_are_not_live_have_no_effect() -> None:
    assert word(offer("yes"), offer("no", by="ben", state="logged")) == "yes"
    assert word(offer("yes"), offer("no", by="ben", state="ended")) == "yes"


def test_a_contested_offer_is_not_settled() -> None:
    assert word(offer("yes", contested=True)) == "unsettled"
    assert word(offer("no", contested=True)) == "no"


def test_an_anchor_is_told_by_its_class_and_finality() -> None:
    assert "not anchored" in anchor_words(None).lower()
    final = {name: anchor_words({"operator_class": name, "state": "final"}) for name in ("development", "public")}
    assert "not the time" in final["development"]
    assert "your own trust file" in final["public"]
    assert anchor_words({"operator_class": "public", "state": "mined"}).endswith("not final yet.")


def test_numbers_are_told_to_people() -> None:
    assert [amount(size) for size in (0, 999, 1000, 1_250_000, 3 * 10**12)] == [
        *("0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "3.0 TB")
    ]
    assert [count(n, "file") for n in (0, 1, 5000)] == ["0 files", "1 file", "5,000 files"]
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th")
    ]
