"""Look-alikes: both codes count, each within its own number of bits, and only against the leaves asked about."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from ledger.encoding import b64url_encode, digest_encode, sha256
from ledger.manifests import PRIVACY_FLAGS, Entry, read_entry
from ledger.registry.listing import RULES, decide
from ledger.registry.lookalikes import DHASH_BITS, ISCC_BITS, MAX_FOUND, LookAlikes


def entry(path: str, iscc: bytes | None, dhash: bytes | None) -> Entry:
    digest = digest_encode(sha256(path.encode()))
    return read_entry(
        {
            "path": path,
            "media_type": "image/png",
            "size": 1,
            "provenance_hash": digest,
            "published_hash": digest,
            "content_hash": None,
            "fingerprints": {
                "iscc": None if iscc is None else iscc.hex(),
                "dhash": None if dhash is None else dhash.hex(),
                "pdq": None,
            },
            "rights_status": "owned",
            "release_status": "not-required",
            "releases": [],
            "privacy": dict.fromkeys(PRIVACY_FLAGS, "no"),
            "price_tier": "standard",
            "salt": b64url_encode(bytes(32)),
        }
    )


def flipped(code: bytes, bits: int) -> bytes:
    number = int.from_bytes(code, "big")
    for at in random.Random(bits).sample(range(256), bits):
        number ^= 1 << at
    return number.to_bytes(32, "big")


ISCC, DHASH = sha256(b"iscc"), sha256(b"dhash")


@pytest.mark.parametrize(
    ("iscc_bits", "dhash_bits", "code"),
    [
        (ISCC_BITS, 100, "iscc"),
        (ISCC_BITS + 1, 100, None),
        (100, DHASH_BITS, "dhash"),
        (100, DHASH_BITS + 1, None),
        (0, 100, "iscc"),
    ],
)
def test_either_code_within_its_bits(iscc_bits: int, dhash_bits: int, code: str | None) -> None:
    other = [entry("other.png", None, None), entry("a.png", flipped(ISCC, iscc_bits), flipped(DHASH, dhash_bits))]
    found = LookAlikes({7: other}.__getitem__).find([entry("new.png", ISCC, DHASH)], [7])
    assert [(f.path, f.leaf, f.entry, f.code) for f in found] == ([("new.png", 7, 1, code)] if code else [])


def test_null_codes_resemble_nothing() -> None:
    looks = LookAlikes({1: [entry("flat.png", None, None)]}.__getitem__)
    assert looks.find([entry("flat too.png", None, None)], [1]) == []


def test_codes_are_read_once_and_forgotten_on_request() -> None:
    asked: list[int] = []

    def entries_of(leaf: int) -> Sequence[Entry]:
        asked.append(leaf)
        return [entry("a.png", ISCC, DHASH)]

    looks = LookAlikes(entries_of)
    for _ in range(3):
        assert looks.find([entry("b.png", ISCC, None)], [1, 2])
    assert asked == [1, 2]
    looks.forget(1)
    looks.find([entry("b.png", ISCC, None)], [1, 2])
    assert asked == [1, 2, 1]


def test_what_is_found_is_bounded() -> None:
    many = [entry(f"{n:04}.png", ISCC, None) for n in range(3 * MAX_FOUND)]
    assert len(LookAlikes({1: many}.__getitem__).find(many, [1])) == MAX_FOUND


def test_a_look_alike_waits_for_a_person() -> None:
    new = [entry("new.png", ISCC, None)]
    found = LookAlikes({7: [entry("a.png", flipped(ISCC, 3), None)]}.__getitem__).find(new, [7])
    decision = decide(new, [], found)
    assert decision.outcome == "wait"
    assert decision.reasons == ("new.png looks like entry 0 of leaf 7 (iscc, 3)",)


def test_the_public_rules_name_the_limits() -> None:
    assert f"{ISCC_BITS} of 256 bits" in RULES
    assert f"within {DHASH_BITS}." in RULES
