"""Status lists: which tokens are revoked or suspended (docs/format.md, section 6; Token Status List, JWT form).

A list is an array of 131,072 two-bit values, 32 KiB, least significant bits first: entry i is in bits 2·(i mod 4) and
2·(i mod 4)+1 of byte ⌊i/4⌋.  It is published compressed (zlib) and signed for a day at a time by a token key of the
registry, under the address that the tokens name; the log holds the digest of the *unpacked* array whenever it changes.
All times are UTC seconds.  Which entry belongs to which token is in the token; drawing entries is the registry's.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import Object, as_constant, as_int, as_object, as_text
from ledger.encoding import MAX_TIME, b64url_decode, b64url_encode, sha256
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import Signer
from ledger.tokens.jwt import CLOCK_SKEW, Jwt, parse_jwt, sign_jwt, verify_jwt

STATUS_TYPE: Final = "statuslist+jwt"
STATUS_BITS: Final = 2
STATUS_COUNT: Final = 131_072
STATUS_BYTES: Final = STATUS_COUNT * STATUS_BITS // 8
STATUS_SECONDS: Final = 24 * 60 * 60
STATUS_TTL: Final = 3600
MAX_LIST_NUMBER: Final = 2**32 - 1

VALID: Final = 0
REVOKED: Final = 1
SUSPENDED: Final = 2
STATUS_WORDS: Final = ("valid", "revoked", "suspended", "refused")
"""The values by number; 3 is never written, and refused where it is found."""

_REASONS = ("", "revoked", "suspended", "status-refused")


@dataclass(frozen=True, slots=True)
class StatusList:
    """A parsed list: `array` is unpacked, ``STATUS_BYTES`` long; `issued_at` ≤ t < `expires_at` is its day."""

    uri: str
    array: bytes
    issued_at: int
    expires_at: int
    jwt: Jwt

    @property
    def digest(self) -> bytes:
        """What the log holds: SHA-256 of the unpacked array."""
        return sha256(self.array)


def status_uri(issuer: str, number: int) -> str:
    """Returns the address of list `number` (from 0) of an issuer."""
    return f"{issuer}/status/{number}"


def empty_status() -> bytes:
    """Returns the array in which every entry is valid."""
    return bytes(STATUS_BYTES)


def status_value(array: bytes, index: int) -> int:
    """Returns the value of entry `index`, 0 to 3.

    Raises:
        VerificationError: ``status-index``: the list has no such entry.
    """
    if not 0 <= index < STATUS_COUNT:
        raise VerificationError(f"the list has no entry {index}", code="status-index", field="status_list.idx")
    return array[index // 4] >> index % 4 * 2 & 3


def with_status(array: bytes, index: int, value: int) -> bytes:
    """Returns the array with entry `index` set to valid, revoked or suspended.

    Raises:
        ValueError: no such entry, or no such value to write.
    """
    _check_entry(index, value)
    shift = index % 4 * 2
    changed = array[index // 4] & ~(3 << shift) | value << shift
    return array[: index // 4] + bytes([changed]) + array[index // 4 + 1 :]


def status_array(values: Mapping[int, int]) -> bytes:
    """Returns the array with these entries set to valid, revoked or suspended; the others are valid.

    Raises:
        ValueError: no such entry, or no such value to write.
    """
    array = bytearray(STATUS_BYTES)
    for index, value in values.items():
        _check_entry(index, value)
        array[index // 4] |= value << index % 4 * 2
    return bytes(array)


def check_status(array: bytes, index: int) -> None:
    """Checks that entry `index` is valid.

    Raises:
        VerificationError: ``revoked``, ``suspended``, ``status-refused``, ``status-index``.
    """
    value = status_value(array, index)
    if value != VALID:
        message = f"entry {index} of the status list says {STATUS_WORDS[value]}"
        raise VerificationError(message, code=_REASONS[value], field="status")


def pack_status(array: bytes) -> str:
    """Writes an array as the ``lst`` of a list; the same array may be packed in several ways."""
    if len(array) != STATUS_BYTES:
        raise ValueError(f"a status array has {STATUS_BYTES} bytes, not {len(array)}")
    return b64url_encode(zlib.compress(array, 9))


def unpack_status(lst: object, field: str) -> bytes:
    """Reads an ``lst``, never unpacking more than ``STATUS_BYTES``.

    Raises:
        MalformedError: not base64url, not one whole zlib stream, or another size.
    """
    packed = b64url_decode(lst, field)
    stream = zlib.decompressobj()
    try:
        array = stream.decompress(packed, STATUS_BYTES + 1)
    except zlib.error as e:
        raise MalformedError("not a zlib stream", field=field) from e
    if len(array) != STATUS_BYTES or not stream.eof or stream.unused_data:
        raise MalformedError(f"expected one zlib stream of {STATUS_BYTES} bytes", field=field)
    return array


def sign_status_list(uri: str, lst: str, iat: int, signer: Signer) -> str:
    """Returns the JWT that publishes `lst`, an array as ``pack_status`` writes it, under `uri` for the day from `iat`.

    Signing the same array for another day needs no packing again.
    """
    payload: Object = {
        "exp": iat + STATUS_SECONDS,
        "iat": iat,
        "status_list": {"bits": STATUS_BITS, "lst": lst},
        "sub": uri,
        "ttl": STATUS_TTL,
    }
    return sign_jwt(STATUS_TYPE, payload, signer)


def parse_status_list(jwt: str, field: str = "status") -> StatusList:
    """Reads a status list; verifies no signature and no time.

    Raises:
        MalformedError: not a JWT of this type, other claims, another size, or not a day long.
    """
    parsed = parse_jwt(jwt, STATUS_TYPE, field)
    o = as_object(parsed.payload, field, ("sub", "iat", "exp", "ttl", "status_list"))
    packed = as_object(o["status_list"], f"{field}.status_list", ("bits", "lst"))
    as_constant(packed["bits"], f"{field}.status_list.bits", STATUS_BITS)
    as_int(packed["bits"], f"{field}.status_list.bits")
    as_constant(o["ttl"], f"{field}.ttl", STATUS_TTL)
    issued_at = as_int(o["iat"], f"{field}.iat", 0, MAX_TIME)
    expires_at = as_int(o["exp"], f"{field}.exp", 0, MAX_TIME)
    if expires_at != issued_at + STATUS_SECONDS:
        raise MalformedError(f"expected iat + {STATUS_SECONDS}, found {expires_at}", field=f"{field}.exp")
    return StatusList(
        text.url(as_text(o["sub"], f"{field}.sub"), f"{field}.sub"),
        unpack_status(packed["lst"], f"{field}.status_list.lst"),
        issued_at,
        expires_at,
        parsed,
    )


def verify_status_list(
    status: StatusList, keys: Mapping[str, bytes], uri: str, now: int | None, field: str = "status"
) -> StatusList:
    """Returns the list if one of `keys` signed it for `uri` and it counts at `now`; at any time if `now` is None.

    Raises:
        VerificationError: ``unknown-key``, ``bad-signature``, ``status-subject``, ``status-not-yet-valid``,
            ``status-expired``.
    """
    verify_jwt(status.jwt, keys, field)
    if status.uri != uri:
        message = f"the token names {shown(uri)}, the list is for {shown(status.uri)}"
        raise VerificationError(message, code="status-subject", field=f"{field}.sub")
    if now is not None and status.issued_at > now + CLOCK_SKEW:
        raise VerificationError("the list is from the future", code="status-not-yet-valid", field=f"{field}.iat")
    if now is not None and now >= status.expires_at:
        raise VerificationError("the list is out of date", code="status-expired", field=f"{field}.exp")
    return status


def _check_entry(index: int, value: int) -> None:
    if not 0 <= index < STATUS_COUNT or value not in (VALID, REVOKED, SUSPENDED):
        raise ValueError(f"no entry {index}, or not a value to write: {value}")
