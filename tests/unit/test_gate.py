"""The gate's decision (docs/format.md, section 8): offers, what could not be verified, what is wanted, and tokens.

Offers are made here as a verified proof would show them; how proofs become offers is in the tests of attacks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from ledger.canonical import Json, Object
from ledger.encoding import digest_encode
from ledger.gate.folder import MAX_FILE_BYTES, corpus_files, hash_file
from ledger.gate.verdict import REASONS, Covering, Offer, Verdict, Wanted, covering, decide, why_not
from ledger.images.content import content_hash
from ledger.proof import ProofResult
from ledger.state import StateName
from ledger.terms import USES
from tests.simulator import START, Library, digest, entry, key, license_of, terms_fields

EVA, BOB = key("eva"), key("bob")
TRAIN = Wanted(("train",))
FREE: Object = {"require": []}
STATES = get_args(StateName)


def uses(**answers: str) -> Object:
    """Returns terms that say yes to everything but `answers`, and want nothing for it."""
    changed = {use.replace("_", "-"): answer for use, answer in answers.items()}
    return {"uses": {**dict.fromkeys(USES, "yes"), **changed}, "require": []}


def priced(**changed: Json) -> Object:
    payment = terms_fields()["payment"]
    assert isinstance(payment, dict)
    return {"require": [], "payment": {**payment, **changed}}


def offer(
    terms: Object = FREE, state: StateName = "listed", creator: str = "eva", leaf: int = 7, version: str = "1"
) -> Offer:
    """Returns the claim of `creator` on one work, in `state`, at `leaf`."""
    library = Library.of(key(creator), [entry("work")], license_of(**terms), {"version": version})
    [own] = library.entries
    proof = ProofResult(
        digest=own.provenance_hash,
        kind="provenance",
        creator_id=library.header.creator_id,
        creator_name=library.header.creator_name,
        license_id=library.terms.license_id,
        uses=dict(library.terms.uses),
        log="registry.example/log",
        leaf=leaf,
        size=leaf + 5,
        state=state,
        state_replayed=False,
        witnesses=(),
        anchors=(),
        proved=(),
        asserted=(),
        replayed=(),
        not_checked=(),
    )
    return Offer(library.header, own, 0, library.terms, proof)


def token(on: Offer, *permitted: str) -> Covering:
    """Returns a token granted on that claim."""
    return Covering(
        digest("token"),
        permitted,
        frozenset([(on.proof.leaf, on.header.digest)]),
        frozenset([on.entry.provenance_hash]),
    )


NO, ASK, NC = uses(train="no"), uses(train="ask"), {**FREE, "audience": "non-commercial"}
TOKEN: Object = {"require": ["token"]}
MANIFEST: Object = {"require": ["manifest"]}


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (FREE, None),
        (MANIFEST, None),
        (NO, "use-refused"),
        (ASK, "needs-agreement"),
        ({**FREE, "exclusive_months": 6}, "needs-agreement"),
        (NC, "audience"),
        ({**FREE, "audience": "research"}, "audience"),
        ({**FREE, "territory": ["NZ"]}, "territory"),
        (TOKEN, "needs-token"),
        (priced(model="dataset", minimum="10"), "needs-token"),
        (priced(model="per-use"), "needs-token"),
        (priced(share_bp=1), "needs-token"),
    ],
)
def test_what_a_listed_offer_alone_permits(terms: Object, reason: str | None) -> None:
    assert why_not(offer(terms), TRAIN) == reason
    assert decide([offer(terms)], [], TRAIN) == (("deny", (reason,)) if reason else ("allow", ("licensed",)))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("logged", "not-listed"),
        ("ended", "ended"),
        ("disputed", "disputed"),
        ("withdrawing", "withdrawing"),
        ("void", "void"),
    ],
)
def test_only_a_listed_claim_permits(state: StateName, reason: str) -> None:
    assert decide([offer(FREE, state)], [], TRAIN) == ("deny", (reason,))


def test_the_states_above_are_all_there_are() -> None:
    assert set(STATES) == {"listed", "logged", "ended", "disputed", "withdrawing", "void"}


@pytest.mark.parametrize("use", USES)
def test_each_use_is_asked_of_the_terms(use: str) -> None:
    other = "search" if use != "search" else "mine"
    for answer, expected in (("no", "use-refused"), ("ask", "needs-agreement")):
        terms = offer({"uses": {**dict.fromkeys(USES, "yes"), use: answer}, "require": []})
        assert decide([terms], [], Wanted((use,))) == ("deny", (expected,))
        assert decide([terms], [], Wanted((other, use))) == ("deny", (expected,))
        assert decide([terms], [], Wanted((other,))) == ("allow", ("licensed",))


def test_no_is_said_before_ask() -> None:
    both = offer(uses(train="ask", finetune="no"))
    assert decide([both], [], Wanted(("train", "finetune"))) == ("deny", ("use-refused",))


@pytest.mark.parametrize(
    ("audience", "asked", "permitted"),
    [
        (audience, asked, audience in ("any", asked))
        for audience, asked in itertools.product(("any", "non-commercial", "research"), repeat=2)
    ],
)
def test_a_license_for_one_audience_is_no_license_for_another(audience: str, asked: str, permitted: bool) -> None:
    word, reasons = decide([offer({**FREE, "audience": audience})], [], Wanted(("train",), asked))
    assert (word, reasons) == (("allow", ("licensed",)) if permitted else ("deny", ("audience",)))


ROWS: list[tuple[str, Sequence[Offer], Sequence[str], str, tuple[str, ...]]] = [
    ("nobody claims it", [], [], "deny", ("unknown",)),
    ("nobody could be asked", [], ["error"], "deny", ("error",)),
    ("a proof that fails beats a good one", [offer()], ["proof-refused"], "deny", ("proof-refused",)),
    ("each failure is named once", [offer()], ["stale", "error", "stale"], "deny", ("error", "stale")),
    ("one creator's offers are alternatives", [offer(NO), offer(version="2", leaf=9)], [], "allow", ("licensed",)),
    ("no alternative fits", [offer(NO), offer(ASK, version="2")], [], "deny", ("needs-agreement", "use-refused")),
    ("the old version ended", [offer(state="ended"), offer(version="2")], [], "allow", ("licensed",)),
    ("the new version is not listed", [offer(), offer(NO, "logged", version="2")], [], "allow", ("licensed",)),
    ("both are over", [offer(state="ended"), offer(state="logged", version="2")], [], "deny", ("ended", "not-listed")),
    ("two creators permit it", [offer(), offer(creator="bob")], [], "review", ("contested",)),
    ("another creator forbids it", [offer(), offer(NO, creator="bob")], [], "deny", ("use-refused",)),
    ("another creator wants a token", [offer(), offer(TOKEN, creator="bob")], [], "deny", ("needs-token",)),
    ("a claim that is over does not count", [offer(), offer(NO, "ended", "bob")], [], "allow", ("licensed",)),
    ("nor one that was never listed", [offer(), offer(NO, "logged", "bob")], [], "allow", ("licensed",)),
    ("a dispute over another's claim", [offer(), offer(FREE, "disputed", "bob")], [], "deny", ("disputed",)),
    ("two manifests of one version", [offer(), offer(NC)], [], "deny", ("version-conflict",)),
    ("the same manifest twice", [offer(), offer(leaf=9)], [], "allow", ("licensed",)),
    ("one of two manifests of a version is over", [offer(), offer(NC, "ended")], [], "allow", ("licensed",)),
]


@pytest.mark.parametrize(
    ("offers", "refusals", "word", "reasons"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_decisions_without_a_token(
    offers: Sequence[Offer], refusals: Sequence[str], word: str, reasons: tuple[str, ...]
) -> None:
    assert decide(offers, refusals, TRAIN) == (word, reasons)
    assert decide(list(reversed(offers)), list(reversed(refusals)), TRAIN) == (word, reasons)


PAID = offer(TOKEN)
NOT_FOR_ALL = offer({**TOKEN, "audience": "research", "territory": ["NZ"]})


@pytest.mark.parametrize(
    ("offers", "refusals", "tokens", "word", "reasons"),
    [
        ([PAID], [], [token(PAID, "train")], "allow", ("token",)),
        ([PAID], [], [token(PAID, "mine", "train")], "allow", ("token",)),
        ([PAID], [], [token(PAID, "mine")], "deny", ("needs-token",)),
        ([PAID], [], [token(PAID)], "deny", ("needs-token",)),
        ([PAID], [], [token(offer(leaf=9), "train")], "deny", ("needs-token",)),
        ([PAID], [], [token(offer(version="2"), "train")], "deny", ("needs-token",)),
        ([offer(ASK)], [], [token(offer(ASK), "train")], "allow", ("token",)),
        ([offer(NO)], [], [token(offer(NO), "train")], "allow", ("token",)),
        ([NOT_FOR_ALL], [], [token(NOT_FOR_ALL, "train")], "deny", ("territory",)),
        ([offer(TOKEN, "ended")], [], [token(PAID, "train")], "allow", ("token",)),
        ([offer(TOKEN, "disputed")], [], [token(PAID, "train")], "allow", ("token",)),
        ([offer(TOKEN, "withdrawing")], [], [token(PAID, "train")], "allow", ("token",)),
        ([offer(TOKEN, "ended"), offer(TOKEN)], [], [], "deny", ("needs-token",)),
        ([PAID], ["proof-refused"], [token(PAID, "train")], "deny", ("proof-refused",)),
        ([], [], [token(PAID, "train")], "deny", ("unknown",)),
        ([PAID, offer(NO, creator="bob")], [], [token(PAID, "train")], "deny", ("use-refused",)),
        ([PAID, offer(creator="bob")], [], [token(PAID, "train")], "review", ("contested",)),
        ([PAID, offer(NC)], [], [token(PAID, "train")], "deny", ("version-conflict",)),
    ],
)
def test_decisions_with_a_token(
    offers: Sequence[Offer],
    refusals: Sequence[str],
    tokens: Sequence[Covering],
    word: str,
    reasons: tuple[str, ...],
) -> None:
    assert decide(offers, refusals, TRAIN, tokens) == (word, reasons)


def test_a_token_permits_where_its_license_is_for() -> None:
    held = [token(NOT_FOR_ALL, "train")]
    assert decide([NOT_FOR_ALL], [], Wanted(("train",), territory="NZ"), held) == ("allow", ("token",))
    assert decide([NOT_FOR_ALL], [], Wanted(("train",), territory="AU"), held) == ("deny", ("territory",))


def test_tokens_do_not_add_up() -> None:
    both = Wanted(("train", "mine"))
    paid = offer({**uses(mine="ask"), "require": ["token"]})
    apart = [token(paid, "train"), token(paid, "mine")]
    assert decide([paid], [], both, apart) == ("deny", ("needs-agreement",))
    assert covering(paid, both, apart) is None
    together = token(paid, "mine", "train")
    assert covering(paid, both, [*apart, together]) == together
    assert decide([paid], [], both, [*apart, together]) == ("allow", ("token",))


def test_whatever_comes_in_only_four_answers_say_yes_or_maybe() -> None:
    """Every mixture of two claims: what is allowed has a live claim that permits it, and none that forbids it."""
    kinds = [
        offer(terms, state, who, version=version)
        for terms in (FREE, NO, TOKEN)
        for state in STATES
        for who, version in (("eva", "1"), ("eva", "2"), ("bob", "1"))
    ]
    allowed = 0
    for pair in itertools.product(kinds, repeat=2):
        word, reasons = decide(pair, [], TRAIN)
        assert word in ("allow", "review", "deny")
        assert reasons
        if word == "deny":
            continue
        allowed += 1
        assert reasons == (("licensed",) if word == "allow" else ("contested",))
        for one in pair:
            others = [o for o in pair if o.header.creator_id == one.header.creator_id]
            permits = any(o.proof.state == "listed" and o.terms.data == license_of(**FREE)[0].data for o in others)
            assert permits or all(o.proof.state in ("ended", "logged") for o in others)
        assert any(o.proof.state == "listed" for o in pair)
    assert 0 < allowed < len(kinds) ** 2


@pytest.mark.parametrize(("words", "audience"), [((), "any"), (("paint",), "any"), (("train",), "everybody")])
def test_what_is_wanted_is_in_words_of_the_format(words: tuple[str, ...], audience: str) -> None:
    with pytest.raises(ValueError, match=r"docs/format\.md, section 3"):
        Wanted(words, audience)


def test_the_line_of_the_report() -> None:
    made = offer()
    verdict = Verdict(
        "a/b.png",
        made.entry.provenance_hash,
        "provenance",
        "https://registry.example",
        "allow",
        ("token",),
        made,
        digest("token"),
        12,
        START,
    )
    assert verdict.value() == {
        "file": "a/b.png",
        "digest": digest_encode(made.entry.provenance_hash),
        "matched": "provenance",
        "distance": 0,
        "registry": "https://registry.example",
        "verdict": "allow",
        "reasons": ["token"],
        "manifest": digest_encode(made.header.digest),
        "entry": 0,
        "uses": dict(made.terms.uses),
        "token": digest_encode(digest("token")),
        "as_of": {"size": 12, "time": "2027-01-15T08:00:00Z"},
    }
    empty = Verdict("a", None, None, "https://registry.example", "deny", ("unreadable",)).value()
    absent = ("digest", "matched", "distance", "manifest", "entry", "uses", "token", "as_of")
    assert [name for name in absent if empty[name] is not None] == []


def test_every_reason_of_the_table_is_explained() -> None:
    said = {reason for row in ROWS for reason in row[4]} | {"licensed", "token", "contested", "territory", "audience"}
    assert said <= REASONS.keys()


def test_a_file_is_read_or_its_problem_named(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"no picture")
    (tmp_path / "b.png").symlink_to(picture)
    big = tmp_path / "c.png"
    with big.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse
    assert hash_file(picture, "a").problem is None
    assert hash_file(picture, "a").content == content_hash(b"no picture")
    assert [hash_file(tmp_path / f"{name}.png", name).problem for name in "bcd"] == ["link", "unreadable", "unreadable"]
    assert hash_file(tmp_path / "b.png", "b").digest is None
    assert [path.name for path in corpus_files(tmp_path)] == ["a.png", "b.png", "c.png"]
