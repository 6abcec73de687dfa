"""Content identifiers of IPFS, computed here: CIDv1, SHA-256, raw leaves of 1 MiB (IPIP-499, profile unixfs-v1-2025).

Up to 1 MiB the bytes are one raw block, and their CID says their SHA-256 on every node.  More are a UnixFS file: one
dag-pb node that links the raw blocks.  Longer than ``MAX_BYTES`` is not written: beyond it nodes differ in how many
links they put into one node.

::

    CIDv1    01 ‖ codec (55 raw, 70 dag-pb) ‖ 12 20 ‖ SHA-256 of the block
    dag-pb   per block: link {1: CID, 2: "", 3: size}; then data {1: 2 (file), 3: size, 4: size of each block}
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from ledger.encoding import base58_decode, sha256
from ledger.errors import MalformedError, shown

CHUNK_BYTES: Final = 1 << 20
MAX_LINKS: Final = 174
MAX_BYTES: Final = MAX_LINKS * CHUNK_BYTES

_RAW: Final = b"\x01\x55\x12\x20"
_DAG_PB: Final = b"\x01\x70\x12\x20"
_FILE: Final = b"\x08\x02"


def cid_of(data: bytes) -> bytes:
    """Returns the CID of a file of at most ``MAX_BYTES``."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"a file has at most {MAX_BYTES} bytes here, not {len(data)}")
    if len(data) <= CHUNK_BYTES:
        return _RAW + sha256(data)
    chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    links = (_bytes(1, _RAW + sha256(chunk)) + _bytes(2, b"") + _number(3, len(chunk)) for chunk in chunks)
    file = _FILE + _number(3, len(data)) + b"".join(_number(4, len(chunk)) for chunk in chunks)
    return _DAG_PB + sha256(b"".join(_bytes(2, link) for link in links) + _bytes(1, file))


def cid_encode(cid: bytes) -> str:
    """Writes a CID as people and gateways do: ``b`` and base32."""
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def cid_decode(text: object, field: str) -> bytes:
    """Reads a CID in base32 (``b…``) or base58btc (``z…``): nodes answer in either."""
    if isinstance(text, str) and text.startswith("z"):
        return base58_decode(text[1:], field)
    if isinstance(text, str) and text.startswith("b"):
        try:
            cid = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
        except (binascii.Error, ValueError):
            cid = b""
        if cid and cid_encode(cid) == text:
            return cid
    raise MalformedError(f"expected a CID in base32 or base58btc, found {shown(text)}", field=field)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _number(field: int, value: int) -> bytes:
    """Returns a protobuf field that is a number."""
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    """Returns a protobuf field that is bytes."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value
