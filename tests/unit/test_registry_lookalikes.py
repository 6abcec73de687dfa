"""Look-alikes: both codes count, each within its own number of bits, and a plain loop finds the same."""

from __future__ import annotations

import random

import pytest

from ledger.encoding import b64url_encode, digest_encode, sha256
from ledger.manifests import PRIVACY_FLAGS, Entry, read_entry
from ledger.registry.listing import RULES, decide
from ledger.registry.lookalikes import BLOCK, DHASH_BITS, ISCC_BITS, ROWS, LookAlikes


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


def known(*manifests: tuple[int, list[Entry]]) -> LookAlikes:
    looks = LookAlikes()
    for leaf, entries in manifests:
        looks.add(leaf, entries)
    return looks


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
    found = known((7, other)).find([entry("new.png", ISCC, DHASH)])
    assert [(f.path, f.leaf, f.entry, f.code) for f in found] == ([("new.png", 7, 1, code)] if code else [])


def test_null_codes_resemble_nothing() -> None:
    assert known((1, [entry("flat.png", None, None)])).find([entry("flat too.png", None, None)]) == []


def test_the_blocks_find_what_a_plain_loop_finds() -> None:
    """Many manifests, more codes than a block and more rows than are compared at once, some of them near."""
    rng = random.Random(7)
    new = [entry(f"new {n}.png", rng.randbytes(32), None) for n in range(2 * ROWS + 3)]
    manifests = []
    for leaf in range(40):
        codes = [rng.randbytes(32) for _ in range(BLOCK // 16)]
        for at in rng.sample(range(len(codes)), 3):
            near = bytes.fromhex(dict(rng.choice(new).fingerprints)["iscc"])
            codes[at] = flipped(near, rng.choice([0, ISCC_BITS, ISCC_BITS + 1, 60]))
        manifests.append((leaf, [entry(f"{leaf}-{n}.png", code, None) for n, code in enumerate(codes)]))
    looks = known(*manifests)
    slow = {
        (leaf, mine.path, n): distance
        for leaf, entries in manifests
        for n, theirs in enumerate(entries)
        for mine in new
        if (distance := bits_between(mine, theirs)) <= ISCC_BITS
    }
    assert {leaf for leaf, _, _ in slow} == {found.leaf for found in looks.find(new)}
    for found in looks.find(new):
        assert slow[found.leaf, found.path, found.entry] == found.distance
    assert {found.leaf for found in looks.find(new, 20)} == {leaf for leaf, _, _ in slow if leaf >= 20}


def bits_between(one: Entry, other: Entry) -> int:
    first, second = (int(dict(e.fingerprints)["iscc"], 16) for e in (one, other))
    return (first ^ second).bit_count()


def test_what_is_forgotten_is_not_found() -> None:
    looks = known((1, [entry("a.png", ISCC, DHASH)]), (2, [entry("b.png", ISCC, None)]))
    looks.forget(1)
    assert {found.leaf for found in looks.find([entry("c.png", ISCC, DHASH)])} == {2}


def test_a_manifest_is_added_once_and_has_its_position() -> None:
    looks = known((5, [entry("a.png", ISCC, None)]), (5, [entry("b.png", ISCC, None)]), (3, []))
    assert len(looks) == 2
    assert [looks.leaves(at) for at in range(3)] == [[5, 3], [3], []]
    assert [found.leaf for found in looks.find([entry("c.png", ISCC, None)], 0)] == [5]
    assert looks.find([entry("c.png", ISCC, None)], 1) == []
    assert looks.find([entry("c.png", ISCC, None)], 2) == []


def test_one_of_a_manifest_is_enough() -> None:
    many = [entry(f"{n:04}.png", ISCC, None) for n in range(300)]
    assert len(known((1, many), (2, many)).find(many)) == 2


def test_a_look_alike_waits_for_a_person() -> None:
    new = [entry("new.png", ISCC, None)]
    found = known((7, [entry("a.png", flipped(ISCC, 3), None)])).find(new)
    decision = decide(new, [], found)
    assert decision.outcome == "wait"
    assert decision.reasons == ("new.png looks like entry 0 of leaf 7 (iscc, 3)",)


def test_the_public_rules_name_the_limits() -> None:
    assert f"{ISCC_BITS} of 256 bits" in RULES
    assert f"within {DHASH_BITS}." in RULES
