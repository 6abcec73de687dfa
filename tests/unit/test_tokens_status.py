"""Status arrays: where each entry lies, and what is never written or unpacked."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import MAX_TIME, b64url_encode, sha256
from ledger.errors import MalformedError, VerificationError
from ledger.keys import SigningKey, thumbprint
from ledger.tokens.status import (
    STATUS_BYTES,
    STATUS_COUNT,
    STATUS_SECONDS,
    empty_status,
    pack_status,
    parse_status_list,
    sign_status_list,
    status_uri,
    status_value,
    unpack_status,
    verify_status_list,
    with_status,
)
from tests.reference import token as reference
from tests.reference.refuted import RefutedError

KEY = SigningKey(bytes(31) + b"\2")
ENTRIES = st.dictionaries(st.integers(0, STATUS_COUNT - 1), st.integers(0, 2), max_size=20)


def test_bit_order() -> None:
    # Token Status List, 4.2: the example of two-bit values 1 2 0 3 0 1 0 1 | 1 2 3 3, least significant bits first.
    values = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]
    array = bytes([0xC9, 0x44, 0xF9]) + bytes(STATUS_BYTES - 3)
    assert [status_value(array, n) for n in range(12)] == values


@given(ENTRIES)
def test_entries_are_kept_apart(entries: dict[int, int]) -> None:
    array = empty_status()
    for index, value in entries.items():
        array = with_status(array, index, value)
    slow = sum(value << 2 * index for index, value in entries.items()).to_bytes(STATUS_BYTES, "little")
    assert array == slow
    assert all(status_value(array, index) == value for index, value in entries.items())
    assert unpack_status(pack_status(array), "lst") == array


def test_an_entry_can_be_changed_back() -> None:
    array = with_status(with_status(with_status(empty_status(), 6, 2), 5, 1), 6, 1)
    assert [status_value(array, n) for n in (4, 5, 6, 7)] == [0, 1, 1, 0]
    assert with_status(with_status(array, 5, 0), 6, 0) == empty_status()


@pytest.mark.parametrize(("index", "value"), [(-1, 0), (STATUS_COUNT, 0), (0, 3), (0, 4), (0, -1)])
def test_what_is_never_written(index: int, value: int) -> None:
    with pytest.raises(ValueError, match="no entry"):
        with_status(empty_status(), index, value)


@pytest.mark.parametrize("index", [-1, STATUS_COUNT, 2**40])
def test_out_of_range_is_a_refusal(index: int) -> None:
    with pytest.raises(VerificationError) as e:
        status_value(empty_status(), index)
    assert e.value.code == "status-index"


@pytest.mark.parametrize(
    "packed",
    [
        zlib.compress(bytes(STATUS_BYTES - 1)),
        zlib.compress(bytes(STATUS_BYTES + 1)),
        zlib.compress(bytes(STATUS_BYTES)) + b"\0",
        zlib.compress(bytes(STATUS_BYTES))[:-1],
        zlib.compress(bytes(STATUS_BYTES))[2:],
        zlib.compress(bytes(16 * 1024 * 1024)),
        b"",
    ],
)
def test_only_one_whole_array_unpacks(packed: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack_status(b64url_encode(packed), "lst")


def test_a_full_random_array_fits() -> None:
    # Nothing to compress: the longest list there is.
    array = b"".join(sha256(b"%d" % n) for n in range(STATUS_BYTES // 32))
    uri = status_uri("https://registry.example", 3)
    status = parse_status_list(sign_status_list(uri, pack_status(array), 1_800_000_000, KEY))
    verify_status_list(status, {thumbprint(KEY.public): KEY.public}, uri, 1_800_000_000)
    assert (status.array, status.digest) == (array, sha256(array))
    assert uri == "https://registry.example/status/3"


def test_a_day_ends_before_the_year_10000() -> None:
    uri, last = status_uri("https://registry.example", 0), MAX_TIME - STATUS_SECONDS
    jwt = sign_status_list(uri, pack_status(empty_status()), last, KEY)
    assert parse_status_list(jwt).expires_at == MAX_TIME
    assert reference.verify_status_list(jwt, [KEY.did], uri, last) == empty_status()
    for issued_at, field in ((last + 1, "exp"), (MAX_TIME + 1, "iat"), (2**53 - 1 - STATUS_SECONDS, "iat")):
        jwt = sign_status_list(uri, pack_status(empty_status()), issued_at, KEY)
        with pytest.raises(MalformedError, match=str(MAX_TIME)) as caught:
            parse_status_list(jwt)
        assert caught.value.field == f"status.{field}"
        with pytest.raises(RefutedError) as refuted:
            reference.verify_status_list(jwt, [KEY.did], uri, None)
        assert refuted.value.code == "malformed"


def test_packing_asks_for_a_whole_array() -> None:
    with pytest.raises(ValueError, match="32768"):
        pack_status(bytes(STATUS_BYTES - 1))
