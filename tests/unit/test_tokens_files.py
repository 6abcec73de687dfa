"""The list of files a token is about: a set, one spelling, one root."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedError
from ledger.tokens import files as module
from ledger.tokens.files import decode_files, encode_files, files_root

SETS = st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=20)


def slow_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(hashes) == 1:
        return sha256(b"\0" + hashes[0]).digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\1" + slow_root(hashes[:split]) + slow_root(hashes[split:])).digest()


@given(SETS, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(hashes: set[bytes], random: object) -> None:
    ordered = sorted(hashes)
    mixed = [*reversed(ordered), ordered[0]]
    assert files_root(mixed) == slow_root(ordered)
    assert encode_files(mixed) == b"".join(ordered)
    assert decode_files(encode_files(mixed)) == tuple(ordered)


@pytest.mark.parametrize(
    "data",
    [b"", bytes(31), bytes(33), bytes(64), b"\1" * 32 + b"\0" * 32, bytes(32) + b"\1" * 31],
)
def test_other_lists_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_files(data)


def test_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 1)
    assert decode_files(bytes(32)) == (bytes(32),)
    with pytest.raises(MalformedError):
        decode_files(bytes(32) + b"\1" * 32)


def test_a_hash_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        encode_files([bytes(31)])
