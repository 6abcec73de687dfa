"""The strict check of Ed25519 signatures, and did:key: docs/format.md, section 0, rule 2.

The equation (RFC 8032, 5.1.7, without the cofactor, S below L, R compared as bytes) is left to ``cryptography``; what
OpenSSL does not refuse is refused here by the arithmetic of RFC 8032, 5.1.3 and 5.1.4: a key whose y is not below p, a
key with x = 0 and the sign set, a key of small order.
"""

from __future__ import annotations

import functools

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .refuted import RefutedError, require

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
L = 2**252 + 27742317777372353535851937790883648493

# base58btc (the Bitcoin alphabet) and the multicodec of an Ed25519 public key, 0xed as an unsigned varint.
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MULTICODEC = bytes([0xED, 0x01])
_PREFIX = "did:key:z"


def verify(public: bytes, message: bytes, signature: bytes, code: str = "bad-signature") -> None:
    """Checks a signature over a message.

    Raises:
        RefutedError: with ``code``: a key or signature that is not canonical, a key of small order, a false signature.
    """
    require(len(public) == 32 and _has_form(public), code, "not a canonical key of full order")
    require(_decode_point(public) is not None, code, "a key that is no point of the curve")
    require(len(signature) == 64, code, f"a signature of {len(signature)} bytes")
    require(int.from_bytes(signature[32:], "little") < L, code, "S is not below L")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as error:
        raise RefutedError(code, "the signature does not fit the bytes and the key") from error


def did_encode(public: bytes) -> str:
    """The did:key of an Ed25519 public key."""
    return _PREFIX + _base58_encode(_MULTICODEC + public)


def did_decode(did: object, field: str) -> bytes:
    """The 32 bytes of the Ed25519 public key that a did:key names.

    Raises:
        RefutedError: another did method, another kind of key, another spelling, a key that ``check_form`` refuses.
    """
    require(isinstance(did, str) and did.startswith(_PREFIX), "malformed", f"{field}: not a did:key")
    decoded = _base58_decode(str(did)[len(_PREFIX) :], field)
    require(len(decoded) == 34 and decoded[:2] == _MULTICODEC, "malformed", f"{field}: not an Ed25519 key")
    require(did_encode(decoded[2:]) == did, "malformed", f"{field}: not the canonical did:key")
    return check_form(decoded[2:], field)


def check_form(public: bytes, field: str) -> bytes:
    """A key as it is read: canonical and not of small order.  Bytes of no point pass, and ``verify`` refuses them.

    Raises:
        RefutedError: ``malformed``.
    """
    require(_has_form(public), "malformed", f"{field}: not a canonical key of full order")
    return public


def _base58_encode(data: bytes) -> str:
    zeros = len(data) - len(data.lstrip(b"\0"))
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * zeros + text


def _base58_decode(text: str, field: str) -> bytes:
    require(len(text) <= 64 and all(c in _BASE58 for c in text), "malformed", f"{field}: not base58btc")
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


@functools.lru_cache(maxsize=4096)
def _has_form(public: bytes) -> bool:
    if int.from_bytes(public, "little") & (2**255 - 1) >= P:
        return False
    point = _decode_point(public[:31] + bytes([public[31] & 0x7F]))  # x = 0 with the sign set is as x = 0
    if point is None:
        return True
    for _ in range(3):  # eight times the point: the neutral element exactly for the eight points of small order
        point = _add(point, point)
    return point != (0, 1)


def _decode_point(encoded: bytes) -> tuple[int, int] | None:
    """RFC 8032, 5.1.3, refusing all but the canonical encoding of a point on the curve."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square or (x == 0 and sign == 1):
        return None
    return (P - x if x & 1 != sign else x), y


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The addition of the twisted Edwards curve in affine coordinates (RFC 8032, 5.1.4, before projecting)."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P)
    return x % P, y % P
