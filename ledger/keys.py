"""Keys and signatures: Ed25519, did:key, DSSE's PAE, JWK thumbprints (docs/format.md, section 0, rule 2).

Verification is RFC 8032's cofactorless one, with the encodings that OpenSSL would let pass refused at the door:
non-canonical points and points of small order, under which one signature fits any message.  A ``did:key`` holds the
public key itself (multicodec ``ed01``, base58btc), so no look-up stands between a statement and its key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.encoding import b64url_encode, base58_decode, base58_encode, sha256
from ledger.errors import MalformedError, shown

DID_PREFIX: Final = "did:key:z"
SIGNATURE_BYTES: Final = 64

_MULTICODEC_ED25519 = b"\xed\x01"
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
# y-coordinates of the eight points of small order on edwards25519 (each with either sign of x): the multiples of
# L·P for any point P, computed once by hand and again in the tests.
_SMALL_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _SMALL_ORDER_8, _P - _SMALL_ORDER_8})


class Signer(Protocol):
    """What signs with one Ed25519 key, wherever its private half is: in this process, an agent, a module of its own.

    ``SigningKey`` holds it in memory.  An adapter of :mod:`ledger.ports`; it stands here because what signs does.
    """

    @property
    def public(self) -> bytes:
        """The 32-byte public key, which ``check_public`` accepts; constant for the life of the adapter."""

    @property
    def did(self) -> str:
        """The same key as a did:key."""

    def sign(self, message: bytes) -> bytes:
        """Returns the 64-byte signature over `message` (pure Ed25519, so the same each time); from any thread.

        Raises:
            BackendError: ``signer``: who holds the key does not sign now; asking again may help.
        """


class SigningKey:
    """An Ed25519 private key, made from its 32-byte seed; prints as its public did, never as its seed."""

    __slots__ = ("_key", "did", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.did = did_encode(self.public)

    def sign(self, message: bytes) -> bytes:
        """Returns the 64-byte signature over `message`."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.did})"


def check_public(public: bytes, field: str) -> bytes:
    """Returns a 32-byte public key unless its encoding is not canonical or its point is of small order.

    Bytes that encode no point at all pass: under such a key ``verify_signature`` finds no signature true.
    """
    if len(public) != 32:
        raise MalformedError(f"an Ed25519 key has 32 bytes, found {len(public)}", field=field)
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if y >= _P:
        raise MalformedError("not a canonical Ed25519 key", field=field)
    if y in _SMALL_ORDER_Y:
        raise MalformedError("an Ed25519 key of small order verifies anything", field=field)
    return public


def did_encode(public: bytes) -> str:
    """Writes a public key as did:key."""
    return DID_PREFIX + base58_encode(_MULTICODEC_ED25519 + public)


def did_decode(did: str, field: str = "key") -> bytes:
    """Reads the 32-byte public key of a did:key; refuses other key types and other spellings."""
    try:
        return _public_of(did)
    except MalformedError as e:
        raise MalformedError(e.message, field=field) from e


@lru_cache(maxsize=4096)
def _public_of(did: str) -> bytes:
    """Without the field, so that a key is read once wherever it stands: most logs have few parties."""
    if not did.startswith(DID_PREFIX) or len(did) > 80:
        raise MalformedError(f"expected did:key:z6Mk…, found {shown(did)}")
    data = base58_decode(did[len(DID_PREFIX) :], "did")
    if data[:2] != _MULTICODEC_ED25519 or len(data) != 34 or did_encode(data[2:]) != did:
        raise MalformedError("expected a did:key of an Ed25519 key")
    return check_public(data[2:], "did")


def verify_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Returns whether `signature` is `public`'s over `message` (RFC 8032, 5.1.7, cofactorless, S < L)."""
    if len(signature) != SIGNATURE_BYTES or int.from_bytes(signature[32:], "little") >= _L:
        return False
    try:
        check_public(public, "key")
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, MalformedError, ValueError):
        return False
    return True


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def jwk(public: bytes) -> dict[str, str]:
    """Returns the public key as a JWK (RFC 8037)."""
    return {"crv": "Ed25519", "kty": "OKP", "x": b64url_encode(public)}


def thumbprint(public: bytes) -> str:
    """Returns the RFC 7638 thumbprint of the key, base64url."""
    members = jwk(public)
    return b64url_encode(sha256(f'{{"crv":"{members["crv"]}","kty":"{members["kty"]}","x":"{members["x"]}"}}'.encode()))
