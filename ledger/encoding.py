"""Strict codecs for everything that crosses a border as text (docs/format.md, section 0).

Python's own decoders accept junk (``int("1_000")``, ``int("٣")``, base64 with newlines or stray bits); each function
here accepts exactly what its counterpart writes: ``x_decode(x_encode(v)) == v`` and the other way round, else
:class:`ledger.errors.MalformedError` naming the field (``gunzip`` alone has no counterpart).  Digests are 32 raw bytes
inside the program and ``sha256:<64 lower-case hex>`` in JSON; times are UTC seconds since 1970 inside and
``YYYY-MM-DDTHH:MM:SSZ`` in JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from calendar import timegm
from time import gmtime, strftime
from typing import Final

from ledger.errors import MalformedError, shown

HASH_BYTES: Final = 32
MAX_SAFE_INTEGER: Final = 2**53 - 1
MAX_UINT64: Final = 2**64 - 1
MAX_TIME: Final = 253_402_300_799
"""9999-12-31T23:59:59Z: whoever reads a time as a number refuses a later one, which no text could show."""
DIGEST_PREFIX: Final = "sha256:"

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # Bitcoin's alphabet, multibase `z`
_BASE58_VALUES = {c: n for n, c in enumerate(_BASE58)}
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def sha256(data: bytes) -> bytes:
    """Returns the 32 bytes of SHA-256."""
    return hashlib.sha256(data).digest()


def digest_encode(digest: bytes) -> str:
    """Writes 32 bytes as ``sha256:<hex>``."""
    if len(digest) != HASH_BYTES:
        raise ValueError(f"a digest has 32 bytes, not {len(digest)}")
    return DIGEST_PREFIX + digest.hex()


def digest_decode(text: object, field: str = "digest") -> bytes:
    """Reads ``sha256:<64 lower-case hex>``; another prefix is another version of the format."""
    if not isinstance(text, str) or not text.startswith(DIGEST_PREFIX) or len(text) != 71:
        raise MalformedError(f"expected sha256: and 64 hex digits, found {shown(text)}", field=field)
    return hex_decode(text[7:], field)


def hex_decode(text: object, field: str) -> bytes:
    """Reads lower-case hex of whole bytes, no prefix."""
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise MalformedError(f"expected lower-case hex digits, found {shown(text)}", field=field)
    return bytes.fromhex(text)


def b64url_encode(data: bytes) -> str:
    """Writes base64url without padding (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: object, field: str, size: int | None = None) -> bytes:
    """Reads base64url without padding; `size` is the expected number of bytes where it is fixed."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise MalformedError(f"expected base64url without padding, found {shown(text)}", field=field)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as e:
        raise MalformedError(f"expected base64url without padding, found {shown(text)}", field=field) from e
    if b64url_encode(data) != text:
        raise MalformedError("stray bits at the end of base64url", field=field)
    return _sized(data, field, size)


def b64_encode(data: bytes) -> str:
    """Writes standard base64 with padding (RFC 4648, 4), as signed notes use it."""
    return base64.b64encode(data).decode("ascii")


def b64_decode(text: object, field: str, size: int | None = None) -> bytes:
    """Reads standard base64 with padding."""
    if not isinstance(text, str) or not text.isascii():
        raise MalformedError(f"expected base64, found {shown(text)}", field=field)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise MalformedError(f"expected base64, found {shown(text)}", field=field) from e
    if b64_encode(data) != text:
        raise MalformedError("stray bits at the end of base64", field=field)
    return _sized(data, field, size)


def _sized(data: bytes, field: str, size: int | None) -> bytes:
    if size is not None and len(data) != size:
        raise MalformedError(f"expected {size} bytes, found {len(data)}", field=field)
    return data


def base58_encode(data: bytes) -> str:
    """Writes base58btc without a multibase prefix."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        digits = _BASE58[rest] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def base58_decode(text: str, field: str) -> bytes:
    """Reads base58btc of at most 128 characters."""
    if len(text) > 128 or any(c not in _BASE58_VALUES for c in text):
        raise MalformedError(f"expected base58btc, found {shown(text)}", field=field)
    number = 0
    for c in text:
        number = number * 58 + _BASE58_VALUES[c]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def gunzip(data: bytes, limit: int, field: str) -> bytes:
    """Unpacks one whole gzip stream (RFC 1952) of at most `limit` bytes; they may be packed in several ways."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(data, limit + 1)
    except zlib.error as e:
        raise MalformedError("not a gzip stream", field=field) from e
    if len(found) > limit or not stream.eof or stream.unused_data:
        raise MalformedError(f"expected one gzip stream of at most {limit} bytes", field=field)
    return found


def decimal_decode(text: object, field: str, high: int = MAX_UINT64) -> int:
    """Reads ASCII decimal 0…`high` without sign, spaces or leading zeros."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text) or int(text) > high:
        raise MalformedError(f"expected a decimal number from 0 to {high}, found {shown(text)}", field=field)
    return int(text)


def time_encode(seconds: int) -> str:
    """Writes UTC seconds since 1970 as ``YYYY-MM-DDTHH:MM:SSZ``; years 1970 to 9999."""
    if not 0 <= seconds <= MAX_TIME:
        raise ValueError(f"{seconds} is not a time between 1970 and 9999")
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))


def time_decode(text: object, field: str) -> int:
    """Reads ``YYYY-MM-DDTHH:MM:SSZ`` (no fraction, no leap second) into UTC seconds since 1970."""
    if isinstance(text, str) and _TIME.fullmatch(text):
        parts = [int(p) for p in re.split(r"[-T:Z]", text)[:6]]
        if parts[0] >= 1970 and 1 <= parts[1] <= 12 and 1 <= parts[2] <= 31:
            seconds = timegm((*parts, 0, 0, 0))
            if seconds <= MAX_TIME and time_encode(seconds) == text:
                return seconds
    raise MalformedError(f"expected a time like 2026-11-24T09:30:00Z, found {shown(text)}", field=field)
