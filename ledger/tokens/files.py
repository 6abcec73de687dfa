"""The exact set of files a token permits (docs/format.md, section 6).

A work is named by its provenance hash, 32 raw bytes.  The list, ``*.files``, is those hashes one after the other,
ascending and distinct, nothing else; ``files.root`` is the RFC 6962 root with each hash as one leaf's data.  The list
travels beside the token, so that a token tells nobody which files it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from ledger.encoding import HASH_BYTES
from ledger.errors import MalformedError
from ledger.merkle import leaf_hashes, root

MAX_FILES: Final = 64 * 100_000
"""Sixty-four manifests of the largest size."""


def files_root(provenance_hashes: Iterable[bytes]) -> bytes:
    """Returns the root over a set of hashes, whatever their order."""
    return root(leaf_hashes(sorted(set(provenance_hashes))))


def encode_files(provenance_hashes: Iterable[bytes]) -> bytes:
    """Writes the list of a set of 32-byte hashes, whatever their order."""
    hashes = sorted(set(provenance_hashes))
    if any(len(h) != HASH_BYTES for h in hashes):
        raise ValueError(f"a provenance hash has {HASH_BYTES} bytes")
    return b"".join(hashes)


def decode_files(data: bytes, field: str = "files") -> tuple[bytes, ...]:
    """Reads a list of 1 to ``MAX_FILES`` hashes.

    Raises:
        MalformedError: empty, too long, not whole hashes, or not ascending and distinct.
    """
    count, rest = divmod(len(data), HASH_BYTES)
    if rest or not 1 <= count <= MAX_FILES:
        raise MalformedError(
            f"expected 1 to {MAX_FILES} hashes of {HASH_BYTES} bytes, found {len(data)} bytes", field=field
        )
    hashes = tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
    if any(a >= b for a, b in pairwise(hashes)):
        raise MalformedError("hashes must be ascending and distinct", field=field)
    return hashes
