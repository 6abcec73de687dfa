"""The trust file: form, and what it decides (docs/format.md, section 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ledger.encoding import b64_encode
from ledger.errors import MalformedError, VerificationError
from ledger.note import COSIGNATURE, ED25519, VerifierKey, format_vkey
from ledger.policy import format_policy, parse_policy
from ledger.proof import verify_proof
from ledger.registry.proving import prove
from ledger.trust import (
    CLASSES,
    Trust,
    TrustedAuthority,
    TrustedEvm,
    block_hash_decode,
    format_trust,
    parse_trust,
)
from tests.reference import bundle as reference
from tests.simulator import ORIGIN, World, identity, key, library, reading, trust_in, verdict, writing
from tests.support.mangling import WRONG, extended, places, refusal, removed, replaced

LINE = TrustedEvm("public", "eip155:1", "0x" + "0a" * 32, "0x" + "0b" * 20, "0x" + "0c" * 20)
AUTHORITY = TrustedAuthority("authority", (b"a certificate", b"another"))
BLOCKS = {"eip155:1/0x" + "0a" * 32: frozenset({bytes(32), b"1" * 32})}
TRUST = replace(trust_in(identity()), anchors=(LINE, AUTHORITY), blocks=BLOCKS)
DATA = format_trust(TRUST)


def test_round_trip() -> None:
    assert parse_trust(DATA) == TRUST
    assert format_trust(parse_trust(DATA)) == DATA
    read = reference.parse_trust(DATA)
    assert (read.registry, len(read.anchors), len(read.blocks)) == (TRUST.registry, 2, 1)
    assert parse_trust(format_trust(trust_in(identity()))) == trust_in(identity())


def test_every_value_of_another_form_is_refused_by_its_name() -> None:
    value = reading(DATA)
    refused = 0
    for path in places(value):
        for wrong in WRONG:
            changed = replaced(value, path, wrong)
            if changed == value:
                continue
            error = refusal(parse_trust, writing(changed))
            if error is None:
                assert parse_trust(writing(changed)) != TRUST
                continue
            refused += 1
            name = "blocks" if path[0] == "blocks" else [str(part) for part in path if isinstance(part, str)][-1]
            assert name in str(error), (path, wrong, error)
            assert (error.field or "").startswith("trust")
    assert refused > 150


def test_keys_are_exactly_those_of_the_form() -> None:
    value = reading(DATA)
    for path in places(value):
        if isinstance(path[-1], str) and (path[0] != "blocks" or len(path) == 1):
            for changed, why in ((removed(value, path), "missing key"), (extended(value, path), "unknown key")):
                with pytest.raises(MalformedError) as caught:
                    parse_trust(writing(changed))
                assert why in str(caught.value) or path[-1] == "kind"


BAD: list[tuple[tuple[str | int, ...], Any]] = [
    (("trainmark",), "trust/v2"),
    (("policy",), "quorum none\n"),
    (("registry",), "did:web:x"),
    (("anchors",), [reading(DATA)["anchors"][0]] * 65),
    (("anchors", 0, "class"), "good"),
    (("anchors", 0, "kind"), "btc"),
    (("anchors", 0, "chain"), "eip155:01"),
    (("anchors", 0, "chain"), "eip155:" + "1" * 21),
    (("anchors", 0, "genesis"), "0x" + "0A" * 32),
    (("anchors", 0, "genesis"), "0a" * 32),
    (("anchors", 0, "contract"), "0x" + "0b" * 19),
    (("anchors", 0, "publisher"), "0x" + "0B" * 20),
    (("anchors", 1, "certificates"), []),
    (("anchors", 1, "certificates"), [b64_encode(b"x")] * 9),
    (("anchors", 1, "certificates", 0), "no base64"),
    (("blocks",), {"eip155:1": []}),
    (("blocks",), {"eip155:1/0x" + "0a" * 31: []}),
    (("blocks",), {"eip155:1/0x" + "0a" * 32: ["0x" + "0" * 63]}),
    (("blocks",), {"eip155:1/0x" + "0a" * 32: ["0x" + "0" * 64] * 10_001}),
]


@pytest.mark.parametrize(("path", "wrong"), BAD)
def test_what_no_trust_file_is(path: tuple[str | int, ...], wrong: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_trust(writing(replaced(reading(DATA), path, wrong)), "x")
    name = [str(part) for part in path if isinstance(part, str)][-1]
    assert name in (caught.value.field or "")


def test_classes() -> None:
    for anchor_class in CLASSES:
        assert parse_trust(format_trust(replace(TRUST, anchors=(replace(LINE, anchor_class=anchor_class),)))).anchors


def test_a_line_matches_in_every_part() -> None:
    parts = {"chain": LINE.chain, "genesis": LINE.genesis, "contract": LINE.contract, "publisher": LINE.publisher}
    assert TRUST.evm_anchor(**parts) == LINE
    for name in parts:
        assert TRUST.evm_anchor(**{**parts, name: parts[name][:-1] + "f"}) is None
    assert replace(TRUST, anchors=(AUTHORITY,)).evm_anchor(**parts) is None


def test_blocks_are_of_one_chain_and_genesis() -> None:
    other = TRUST.with_block("eip155:1", "0x" + "ff" * 32, b"2" * 32)
    assert other.trusts_block("eip155:1", "0x" + "ff" * 32, b"2" * 32)
    assert not other.trusts_block("eip155:1", LINE.genesis, b"2" * 32)
    assert other.trusts_block("eip155:1", LINE.genesis, bytes(32))
    assert not TRUST.trusts_block("eip155:1", "0x" + "ff" * 32, b"2" * 32)  # the first is as it was
    assert other.with_block("eip155:1", LINE.genesis, b"3" * 32).trusts_block("eip155:1", LINE.genesis, bytes(32))


@pytest.mark.parametrize(
    "text", ["", "0x", "0x" + "0" * 63, "0x" + "0" * 65, "0" * 64, "0x" + "G" * 64, "0X" + "0" * 64]
)
def test_what_no_block_hash_is(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        block_hash_decode(text, "x.hash")
    assert caught.value.field == "x.hash"


# -- what it decides of a proof


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, Trust]]:
    """A proof with an anchor, and a trust file under which all of it is proved."""
    world = World()
    try:
        pictures = library("pictures", key("eva"))
        world.publish(pictures)
        row = world.anchor(tmp_path_factory.mktemp("chain"))
        yield prove(world.registry, pictures.entries[0].published_hash), world.trust(row)
    finally:
        world.close()


def test_all_is_proved(proof: tuple[bytes, Trust]) -> None:
    data, trust = proof
    assert verify_proof(data, trust).logged_before is not None
    assert verify_proof(data, parse_trust(format_trust(trust))) == verify_proof(data, trust)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("chain", "eip155:1"),
        ("genesis", "0x" + "0" * 64),
        ("contract", "0x" + "0" * 40),
        ("publisher", "0x" + "0" * 40),
    ],
)
def test_another_anchor(proof: tuple[bytes, Trust], part: str, other: str) -> None:
    data, trust = proof
    line = trust.anchors[0]
    assert isinstance(line, TrustedEvm)
    said = verdict(data, replace(trust, anchors=(replace(line, **{part: other}),)))
    assert isinstance(said, VerificationError)
    assert (said.code, said.field) == ("anchor", "anchor.record")


def test_no_anchor_and_an_authority_only(proof: tuple[bytes, Trust]) -> None:
    data, trust = proof
    for anchors in ((), (AUTHORITY,)):
        said = verdict(data, replace(trust, anchors=anchors))
        assert isinstance(said, VerificationError)
        assert said.code == "anchor"


def test_blocks_of_another_genesis_vouch_for_nothing(proof: tuple[bytes, Trust]) -> None:
    data, trust = proof
    ((chain, hashes),) = trust.blocks.items()
    said = verify_proof(data, replace(trust, blocks={chain[:-1] + ("0" if chain[-1] != "0" else "1"): hashes}))
    assert said.logged_before is None
    assert verify_proof(data, replace(trust, blocks={})).logged_before is None


def test_another_registry(proof: tuple[bytes, Trust]) -> None:
    data, trust = proof
    said = verdict(data, replace(trust, registry=key("mallory").did))
    assert isinstance(said, VerificationError)
    assert said.code == "wrong-log"
    assert trust.registry in str(said)
    assert key("mallory").did in str(said)


def test_another_log_key_and_another_log(proof: tuple[bytes, Trust]) -> None:
    data, trust = proof
    for name, public in ((ORIGIN, key("other").public), ("other.example/log", identity().log_key.public)):
        text = format_policy([VerifierKey(name, ED25519, public)])
        said = verdict(data, replace(trust, policy_text=text, policy=parse_policy(text)))
        assert isinstance(said, VerificationError)
        assert said.code == "checkpoint"


# A log that goes on under another key


LOG, NEXT = (VerifierKey("log", ED25519, key(name).public) for name in ("first", "next"))
OTHER_LOG = VerifierKey("other.example", ED25519, key("other").public)
WITNESS = format_vkey(VerifierKey("w1", COSIGNATURE, key("w1").public))
LOGS = f"log {format_vkey(LOG)} https://log.example\nlog {format_vkey(OTHER_LOG)}\n"
TEXT = f"# mine\n{LOGS}witness w1 {WITNESS}\nquorum w1\n"
FIRST = TrustedEvm("testnet", "eip155:1", "0x" + "d4" * 32, "0x" + "c0" * 20, "0x" + "aa" * 20)
SECOND = replace(FIRST, publisher="0x" + "bb" * 20)


@pytest.fixture
def known() -> Trust:
    """A trust file with a witness, two logs, an anchor and a block."""
    made = Trust(TEXT, parse_policy(TEXT), key("registry").did, (FIRST,), {})
    return made.with_block(FIRST.chain, FIRST.genesis, bytes(32))


def test_what_verifies_older_bundles_stays(known: Trust) -> None:
    after = known.following(NEXT, [SECOND])
    assert after.policy.logs == (NEXT, LOG, OTHER_LOG)
    assert after.anchors == (FIRST, SECOND)
    assert (after.policy.witnesses, after.policy.quorum) == (known.policy.witnesses, "w1")
    assert after.blocks == known.blocks
    assert after.policy_text == f"log {format_vkey(NEXT)}\n{TEXT}"
    assert parse_trust(format_trust(after)) == after
    assert after.following(NEXT, [SECOND]) == after


def test_what_counts_alone_replaces_its_own_log_only(known: Trust) -> None:
    after = known.following(NEXT, [SECOND], alone=True)
    assert after.policy.logs == (NEXT, OTHER_LOG)
    assert after.anchors == (SECOND,)
    assert (after.policy.witnesses, after.policy.quorum) == (known.policy.witnesses, "w1")
    assert after.blocks == known.blocks
    assert known.following(LOG, [FIRST], alone=True).policy.logs == (LOG, OTHER_LOG)


def test_an_anchor_takes_its_new_class(known: Trust) -> None:
    public = replace(FIRST, anchor_class="public")
    assert known.following(LOG, [public]) == replace(known, anchors=(public,))
