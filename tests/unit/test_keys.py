"""Ed25519 with nothing let through at the door; did:key; DSSE; thumbprints (docs/format.md, section 0, rule 2)."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import base58_encode
from ledger.errors import MalformedError
from ledger.keys import (
    SigningKey,
    check_public,
    did_decode,
    did_encode,
    jwk,
    pae,
    thumbprint,
    verify_signature,
)
from tests.reference import ed25519 as reference
from tests.reference.refuted import RefutedError

# RFC 8032, 7.1: seed, public key, message, signature.
RFC8032 = {
    "test 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "test 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "test 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
}
KEY = SigningKey(bytes(range(32)))


@pytest.mark.parametrize("name", RFC8032)
def test_rfc_8032(name: str) -> None:
    seed, public, message, signature = (bytes.fromhex(part) for part in RFC8032[name])
    key = SigningKey(seed)
    assert key.public == public
    assert key.sign(message) == signature
    assert verify_signature(public, message, signature)
    reference.verify(public, message, signature)
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify_signature(public, message, bytes(changed))
    for bit in range(256):
        changed = bytearray(public)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify_signature(bytes(changed), message, signature)
    assert not verify_signature(public, message + b"\0", signature)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 63, 65, 128])
def test_signatures_have_64_bytes(size: int) -> None:
    signature = (KEY.sign(b"m") * 2)[:size]
    assert not verify_signature(KEY.public, b"m", signature)


def test_s_is_below_l() -> None:
    """The same signature with S + L satisfies the equation and is another spelling (RFC 8032, 5.1.7)."""
    signature = KEY.sign(b"m")
    number = int.from_bytes(signature[32:], "little")
    for times in range(1, 16):
        other = number + times * reference.L
        if other >= 2**256:
            break
        assert not verify_signature(KEY.public, b"m", signature[:32] + other.to_bytes(32, "little"))
    assert times > 8


# -- small order, computed from the curve alone (RFC 8032, 5.1)

P, L = reference.P, reference.L
Point = tuple[int, int]


def times(number: int, point: Point) -> Point:
    """Returns a multiple of a point, by doubling and adding."""
    result, double = (0, 1), point
    while number:
        if number & 1:
            result = reference._add(result, double)
        double, number = reference._add(double, double), number >> 1
    return result


def encoded(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """Returns the eight points of small order: L times any point has an order that divides 8."""
    number = 2
    while True:
        point = reference._decode_point(number.to_bytes(32, "little"))
        number += 1
        if point is not None:
            generator = times(L, point)
            found = [times(n, generator) for n in range(8)]
            if len(set(found)) == 8:
                return found


def test_keys_of_small_order() -> None:
    points = torsion()
    assert all(times(8, point) == (0, 1) for point in points)
    keys = {encoded(point) for point in points}
    assert len(keys) == 8
    # With the sign of x turned as well: for x = 0 that is no point at all, and OpenSSL lets it pass.
    for key in keys | {bytes([*k[:31], k[31] ^ 0x80]) for k in keys}:
        with pytest.raises(MalformedError, match="small order"):
            check_public(key, "k")
        with pytest.raises(MalformedError):
            did_decode(did_encode(key))
        for signer in keys:  # R of small order and S = 0 fit one message in eight or all
            assert not verify_signature(key, b"any message", signer + bytes(32))


def test_the_guard_is_needed() -> None:
    """Without it, a key of small order has signed every message."""
    identity = encoded((0, 1))
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"any message")
    except InvalidSignature:
        pytest.skip("this OpenSSL refuses it as well")
    assert not verify_signature(identity, b"any message", identity + bytes(32))


def test_keys_that_are_not_canonical() -> None:
    for y in range(P, 2**255):
        for sign in (0, 1):
            key = (y | sign << 255).to_bytes(32, "little")
            with pytest.raises(MalformedError, match="not a canonical"):
                check_public(key, "k")
            assert not verify_signature(key, b"m", KEY.sign(b"m"))
    assert len(range(P, 2**255)) == 19


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_have_32_bytes(size: int) -> None:
    with pytest.raises(MalformedError, match=f"32 bytes, found {size}"):
        check_public(bytes(size), "k")
    assert not verify_signature(bytes(size), b"m", KEY.sign(b"m"))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=20))
def test_signing_and_verifying(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    assert verify_signature(key.public, message, key.sign(message))
    assert did_decode(key.did) == key.public == reference.did_decode(key.did, "k")
    assert reference.did_encode(key.public) == key.did


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_junk_is_refused_as_the_reference_refuses(public: bytes, signature: bytes) -> None:
    with pytest.raises(RefutedError):
        reference.verify(public, b"m", signature)
    assert not verify_signature(public, b"m", signature)


# -- did:key


def test_did_key_known_answer() -> None:
    """did:key method, test vectors for Ed25519: the key of a seed of zeros."""
    assert SigningKey(bytes(32)).did == "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
    assert did_decode("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")  # did:key method, section 1


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:",
        "did:key:z",
        KEY.did[:-1],
        KEY.did + "1",
        KEY.did + " ",
        KEY.did.upper(),
        KEY.did.replace("did:key:z", "did:key:u"),
        KEY.did.replace("did:key:", "did:web:"),
        KEY.did.replace("did:key:z", "did:key:z1"),
        "did:key:z" + base58_encode(b"\xec\x01" + KEY.public),  # X25519
        "did:key:z" + base58_encode(b"\xe7\x01" + b"\2" + KEY.public),  # secp256k1
        "did:key:z" + base58_encode(b"\xed\x01" + KEY.public[:31]),
        "did:key:z" + base58_encode(b"\xed\x01" + KEY.public + b"\0"),
        "did:key:z" + "1" * 200,
        KEY.did + "#" + KEY.did,
    ],
)
def test_what_no_did_is(did: str) -> None:
    with pytest.raises(MalformedError) as caught:
        did_decode(did, "x.key")
    assert caught.value.field == "x.key"
    with pytest.raises(RefutedError):
        reference.did_decode(did, "x.key")


def test_a_key_does_not_show_its_seed() -> None:
    assert repr(KEY) == f"SigningKey({KEY.did})"
    assert not hasattr(KEY, "__dict__")


# -- envelopes


def test_dsse_known_answer() -> None:
    """DSSE protocol, "Signature Definition": its example."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_dsse_of_two_pairs_differs() -> None:
    assert pae("ab", b"c") != pae("a", b"bc")
    assert pae("a", b"1 b") != pae("a 1", b"b")


def test_thumbprint_known_answer() -> None:
    """RFC 8037, appendix A.3."""
    public = bytes.fromhex(RFC8032["test 1"][1])
    assert jwk(public) == {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
