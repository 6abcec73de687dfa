"""Statements: form, signature, limits (docs/format.md, section 1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import statements as s
from ledger.canonical import Json, Object
from ledger.encoding import b64url_encode, digest_encode
from ledger.errors import MalformedError, VerificationError
from ledger.keys import pae
from ledger.statements import Statement, parse_statement, sign_statement, verify_statement
from tests.reference import statement as reference
from tests.reference.refuted import RefutedError
from tests.simulator import ORIGIN, HandMadeLog, key, reading, writing
from tests.support.mangling import WRONG, extended, places, refusal, removed, replaced

EVA, SECOND = key("eva"), key("eva, second")
DIGEST = digest_encode(bytes(32))

BODIES: dict[str, tuple[str, Object]] = {
    "policy": ("policy", HandMadeLog().policy_body()),
    "key add": ("key", s.key_add_body(EVA.did, SECOND, recovery=True)),
    "key revoke": ("key", {"op": "revoke", "key": SECOND.did, "since": 3}),
    "manifest": ("manifest", s.manifest_body(bytes(32), (1, 5))),
    "withdraw": ("withdraw", {"leaf": 1, "effective_at": "2026-11-24T09:30:00Z"}),
    "review": ("review", {"leaf": 1, "outcome": "listed", "visibility": "public", "evidence": DIGEST}),
    "review rejected": ("review", {"leaf": 1, "outcome": "rejected", "visibility": None, "evidence": None}),
    "identity": ("identity", {"creator": EVA.did, "level": "domain", "evidence": DIGEST}),
    "dispute open": (
        "dispute",
        {"op": "open", "case": None, "leaf": 1, "entries": [0, 4], "evidence": DIGEST, "outcome": None},
    ),
    "dispute decide": (
        "dispute",
        {"op": "decide", "case": 4, "leaf": 1, "entries": [], "evidence": None, "outcome": "settled"},
    ),
    "token": ("token", {"token": DIGEST}),
    "status": ("status", {"uri": "https://r.example/status/0", "bits": 2, "count": 131072, "digest": DIGEST}),
    "snapshot": ("snapshot", {"size": 9, "bits": 3, "count": 100, "root": DIGEST}),
    "training": (
        "training",
        {"model": DIGEST, "corpus": {"root": DIGEST, "count": 7}, "tokens": [3, 9], "size": 12},
    ),
    "record": ("record", {"kind": "audit", "refs": [1], "evidence": DIGEST}),
}
BLOCK: Object = {"chain": "eip155:1", "number": 12, "hash": "0x" + "0a" * 32}


def signed(name: str, **changes: Json) -> Statement:
    """Returns a statement of each kind; `changes` are of the body."""
    kind, body = BODIES[name]
    return sign_statement(kind, EVA.did, EVA, ORIGIN, {**body, **changes}, BLOCK)


@pytest.mark.parametrize("name", BODIES)
def test_each_kind_of_statement(name: str) -> None:
    statement = signed(name)
    assert (statement.type, statement.by, statement.key, statement.log) == (BODIES[name][0], EVA.did, EVA.did, ORIGIN)
    assert not isinstance(statement.body, s.UnknownBody)
    assert statement.known_block == s.KnownBlock("eip155:1", 12, b"\n" * 32)
    assert parse_statement(statement.data) == statement
    assert verify_statement(statement) is statement
    read = reference.parse_statement(statement.data)
    reference.verify_statement(read)
    assert (read.data, read.type, read.by, read.known) == (statement.data, statement.type, EVA.did, True)


@pytest.mark.parametrize("name", BODIES)
def test_every_value_of_another_form_is_refused_by_its_name(name: str) -> None:
    """Each value of the whole statement in turn; what is accepted is of the form, and then badly signed."""
    value = reading(signed(name).data)
    refused = 0
    for path in places(value):
        for wrong in WRONG:
            changed = replaced(value, path, wrong)
            if changed == value:
                continue
            error = refusal(parse_statement, writing(changed))
            if error is None:
                with pytest.raises(VerificationError) as caught:
                    verify_statement(parse_statement(writing(changed)), "leaf 7")
                assert (caught.value.code, caught.value.field) == ("bad-signature", "leaf 7")
                continue
            refused += 1
            if path not in {("type",), ("v",), ("body", "op")}:  # which decide what the other members should be
                assert [str(name) for name in path if isinstance(name, str)][-1] in str(error), (path, wrong, error)
            assert error.field
    assert refused > 100


@pytest.mark.parametrize("name", BODIES)
def test_keys_are_exactly_those_of_the_form(name: str) -> None:
    value = reading(signed(name).data)
    for path in places(value):
        if not isinstance(path[-1], str):
            continue
        for changed, why in ((removed(value, path), "missing key"), (extended(value, path), "unknown key")):
            with pytest.raises(MalformedError) as caught:
                parse_statement(writing(changed))
            assert why in str(caught.value) or path[-1] in ("type", "op"), path
            with pytest.raises(RefutedError):
                reference.parse_statement(writing(changed))


WORDS: tuple[Json, ...] = (
    *(
        "policy",
        "key",
        "manifest",
        "royalty",
        "Policy",
        "a" * 33,
        "open",
        "decide",
        "upheld",
        "listed",
        "add",
        "revoke",
    ),
    *("log.example", "a+b", "http://", "https://x", "ftp://x", "https://" + "x" * 2041, "x" * 257, "a\u00a0b"),
    *("2027-02-29T00:00:00Z", "9999-12-31T23:59:60Z", "1969-12-31T23:59:59Z", "eip155:0", "eip155:" + "1" * 21),
    *("sha256:" + "A" * 64, "0x" + "0A" * 32, 0, 1, 2, 8, 9, 24, 25, 2**53 - 1, [1, 1], [0, 1], [EVA.did] * 9),
)


@pytest.mark.parametrize("name", BODIES)
def test_the_reference_reads_the_same(name: str) -> None:
    """Each value of the whole statement in turn, each way: both read it, or neither does."""
    value = reading(signed(name).data)
    for path in places(value):
        for other in (*WRONG, *WORDS):
            data = writing(replaced(value, path, other))
            theirs = None
            try:
                read = reference.parse_statement(data)
            except RefutedError as refuted:
                theirs = refuted
            ours = refusal(parse_statement, data)
            assert (ours is None) == (theirs is None), (path, other, ours, theirs)
            if ours is None:
                assert read.known == (not isinstance(parse_statement(data).body, s.UnknownBody))


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("policy", {"log_key": "other.example+00000000+AA=="}, "body.log_key"),
        ("policy", {"origin": "other.example/log"}, "body.log_key"),
        ("policy", {"origin": "https://r.example"}, "body.origin"),
        ("policy", {"issuer": "ftp://x"}, "body.issuer"),
        ("policy", {"token_keys": []}, "body.token_keys"),
        ("policy", {"token_keys": [EVA.did] * 9}, "body.token_keys"),
        ("key add", {"op": "remove"}, "body.op"),
        ("key add", {"recovery": 1}, "body.recovery"),
        ("key revoke", {"since": -1}, "body.since"),
        ("manifest", {"supersedes": [5, 1]}, "body.supersedes"),
        ("manifest", {"supersedes": [1, 1]}, "body.supersedes"),
        ("manifest", {"supersedes": list(range(201))}, "body.supersedes"),
        ("withdraw", {"effective_at": "2026-11-24"}, "body.effective_at"),
        ("withdraw", {"effective_at": "9999-12-31T23:59:60Z"}, "body.effective_at"),
        ("review", {"outcome": "approved"}, "body.outcome"),
        ("review", {"visibility": None}, "body.visibility"),
        ("review", {"visibility": "secret"}, "body.visibility"),
        ("review rejected", {"visibility": "public"}, "body.visibility"),
        ("identity", {"level": "very"}, "body.level"),
        ("dispute open", {"case": 1}, "body.case"),
        ("dispute open", {"outcome": "upheld"}, "body.outcome"),
        ("dispute open", {"op": "close"}, "body.op"),
        ("dispute open", {"entries": list(range(401))}, "body.entries"),
        ("dispute decide", {"case": None}, "body.case"),
        ("dispute decide", {"outcome": None}, "body.outcome"),
        ("dispute decide", {"op": "hold"}, "body.outcome"),
        ("status", {"bits": 0}, "body.bits"),
        ("status", {"bits": 9}, "body.bits"),
        ("snapshot", {"bits": 25}, "body.bits"),
        ("snapshot", {"size": 0}, "body.size"),
        ("training", {"tokens": list(range(201))}, "body.tokens"),
        ("training", {"corpus": {"root": DIGEST}}, "body.corpus"),
        ("record", {"kind": "poem"}, "body.kind"),
        ("record", {"evidence": None}, "body.evidence"),
        ("record", {"refs": list(range(201))}, "body.refs"),
    ],
)
def test_what_no_body_is(name: str, changes: dict[str, Json], field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        signed(name, **changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "Manifest"}, "statement.type"),
        ({"type": "x" * 33}, "statement.type"),
        ({"v": 0}, "statement.v"),
        ({"v": True}, "statement.v"),
        ({"by": "did:web:eva.example"}, "statement.by"),
        ({"key": EVA.did.upper()}, "statement.key"),
        ({"log": "https://r.example"}, "statement.log"),
        ({"log": None, "type": "record", "body": BODIES["record"][1]}, "statement.log"),
        ({"known_block": {**BLOCK, "chain": "eip155:0"}}, "statement.known_block.chain"),
        ({"known_block": {**BLOCK, "chain": "bip122:1"}}, "statement.known_block.chain"),
        ({"known_block": {**BLOCK, "number": -1}}, "statement.known_block.number"),
        ({"known_block": {**BLOCK, "hash": "0a" * 32}}, "statement.known_block.hash"),
        ({"known_block": {**BLOCK, "hash": "0x" + "0A" * 32}}, "statement.known_block.hash"),
        ({"sig": "A" * 85}, "statement.sig"),
        ({"sig": "A" * 88}, "statement.sig"),
        ({"sig": "A" * 84 + "=="}, "statement.sig"),
    ],
)
def test_what_no_envelope_is(changes: dict[str, Any], field: str) -> None:
    value = {**reading(signed("manifest").data), **changes}
    with pytest.raises(MalformedError) as caught:
        parse_statement(writing(value))
    assert caught.value.field == field


def test_a_manifest_may_be_signed_for_no_log() -> None:
    statement = sign_statement("manifest", EVA.did, EVA, None, BODIES["manifest"][1])
    assert statement.log is None
    verify_statement(statement)


@pytest.mark.parametrize("text", ["", ',"sig":"', '"sig":"AA"', "sig", "\\"])
def test_what_is_signed_is_all_but_the_signature_whatever_the_body_says(text: str) -> None:
    poem = sign_statement("poem", EVA.did, EVA, ORIGIN, {"lines": text, "sig": "sig", "type": {"a": 1, "sig": text}})
    value = reading(poem.data)
    del value["sig"]
    assert poem.signed == writing(value)
    verify_statement(poem)


def test_limits() -> None:
    assert signed("dispute open", entries=list(range(400))).data
    assert signed("manifest", supersedes=list(range(200))).data
    big = list(range(10**15, 10**15 + 200))
    with pytest.raises(MalformedError, match="at most 4096 bytes are allowed"):
        signed("dispute open", entries=[*big, *[n + 10**15 for n in big]])
    with pytest.raises(MalformedError, match="at most 4096 bytes"):
        parse_statement(bytes(4097))


def test_unknown_types_and_versions_are_kept_for_others() -> None:
    poem = sign_statement("poem", EVA.did, EVA, ORIGIN, {"lines": ["anything", {"goes": [1]}]})
    assert poem.body == s.UnknownBody()
    verify_statement(poem)
    later = parse_statement(writing({**reading(signed("manifest").data), "v": 2, "body": {"other": 1}}))
    assert later.body == s.UnknownBody()


# -- signatures


@pytest.mark.parametrize("name", BODIES)
def test_a_signature_covers_everything(name: str) -> None:
    statement = signed(name)
    value = reading(statement.data)
    for field, other in (
        ("by", SECOND.did),
        ("key", SECOND.did),
        ("log", "other.example/log"),
        ("known_block", None),
        ("known_block", {**BLOCK, "number": 13}),
        ("sig", "A" * 86),
    ):
        changed = parse_statement(writing({**value, field: other}))
        with pytest.raises(VerificationError) as caught:
            verify_statement(changed)
        assert caught.value.code == "bad-signature"
        with pytest.raises(RefutedError):
            reference.verify_statement(reference.parse_statement(changed.data))


def test_a_signature_of_another_kind_of_thing() -> None:
    """The payload type is signed with the payload: what a key signed as something else is no statement."""
    statement = signed("token")
    for message in (statement.signed, pae(s.POSSESSION_TYPE, statement.signed), pae("", statement.signed)):
        value = {**reading(statement.data), "sig": b64url_encode(EVA.sign(message))}
        with pytest.raises(VerificationError):
            verify_statement(parse_statement(writing(value)))


def test_a_new_key_agrees_to_be_added() -> None:
    body = s.key_add_body(EVA.did, SECOND, recovery=False)
    for wrong in (
        {**body, "key": key("somebody").did},
        {**body, "possession": s.key_add_body(EVA.did, EVA, recovery=False)["possession"]},
        {**body, "possession": s.key_add_body(SECOND.did, SECOND, recovery=False)["possession"]},
    ):
        statement = sign_statement("key", EVA.did, EVA, ORIGIN, wrong)
        with pytest.raises(VerificationError, match="possession") as caught:
            verify_statement(statement)
        assert caught.value.code == "bad-signature"
    verify_statement(sign_statement("key", EVA.did, EVA, ORIGIN, {**body, "recovery": True}))


@given(st.sampled_from(sorted(BODIES)), st.binary(min_size=32, max_size=32))
def test_signing_and_reading_back(name: str, seed: bytes) -> None:
    signer = key(seed.hex())
    kind, body = BODIES[name]
    statement = sign_statement(kind, EVA.did, signer, ORIGIN, body)
    assert parse_statement(statement.data) == statement
    assert verify_statement(statement) is statement
    assert s.statement_value(statement) == reading(statement.data)
