"""CIDs: known answers (js-ipfs and ``ipfs-unixfs-importer`` gave them), and spellings."""

from __future__ import annotations

import pytest

from ledger.cid import CHUNK_BYTES, MAX_BYTES, cid_decode, cid_encode, cid_of
from ledger.encoding import sha256
from ledger.errors import MalformedError

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def pattern(size: int) -> bytes:
    """Returns bytes that differ from block to block."""
    return b"".join(sha256(b"%d" % n) for n in range(size // 32 + 1))[:size]


def test_a_small_file_is_one_raw_block_under_its_sha256() -> None:
    assert cid_encode(cid_of(b"")) == EMPTY
    for data in (b"", b"a", pattern(CHUNK_BYTES)):
        assert cid_of(data) == b"\x01\x55\x12\x20" + sha256(data)


def test_longer_than_is_written() -> None:
    with pytest.raises(ValueError, match="a file has at most"):
        cid_of(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("data", [b"", b"a", pattern(CHUNK_BYTES + 1)])
def test_text_and_back(data: bytes) -> None:
    assert cid_decode(cid_encode(cid_of(data)), "x") == cid_of(data)


def test_a_node_may_answer_in_base58() -> None:
    assert cid_decode("zb2rhmy65F3REf8SZp7De11gxtECBGgUKaLdiDj7MCGCHxbDW", "x") == cid_of(b"")


@pytest.mark.parametrize(
    "text", ["", "b", "z!", "Qm" + "a" * 44, EMPTY[:-1], EMPTY + "a", EMPTY.upper(), EMPTY + "=", "b1", "bä", 7, None]
)
def test_what_is_no_cid(text: object) -> None:
    with pytest.raises(MalformedError, match="x: expected"):
        cid_decode(text, "x")
