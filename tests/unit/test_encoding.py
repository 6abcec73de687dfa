"""Strict codecs: each accepts exactly what its counterpart writes (docs/format.md, section 0)."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import encoding
from ledger.errors import SHOWN_CHARS, MalformedError, shown
from tests.reference import jcs as reference


def refused(read: Callable[[object], object], text: object) -> MalformedError:
    """Asserts that a reader refuses a text and names its field."""
    with pytest.raises(MalformedError) as caught:
        read(text)
    assert caught.value.field == "x.y"
    assert str(caught.value).startswith("x.y: ")
    return caught.value


# What Python's own decoders take and a format must not.
DECIMALS = ["", "1_000", "٣", "１", "+1", "-1", "-0", "01", "00", " 1", "1 ", "1\n", "1.0", "1e3", "0x1", None, 1, True]


@pytest.mark.parametrize("text", DECIMALS)
def test_decimal_junk(text: object) -> None:
    refused(lambda t: encoding.decimal_decode(t, "x.y"), text)


def test_decimal_limits() -> None:
    assert encoding.decimal_decode("0", "x.y") == 0
    assert encoding.decimal_decode("18446744073709551615", "x.y") == encoding.MAX_UINT64
    refused(lambda t: encoding.decimal_decode(t, "x.y"), "18446744073709551616")
    assert encoding.decimal_decode("7", "x.y", 7) == 7
    refused(lambda t: encoding.decimal_decode(t, "x.y", 7), "8")


@given(st.integers(0, encoding.MAX_UINT64))
def test_decimal_round_trip(number: int) -> None:
    assert encoding.decimal_decode(str(number), "x.y") == number


HEX = ["0", "0g", "AB", "aB", "ab ", " ab", "ab cd", "0xab", "ab\n", "ａｂ", b"ab", None]


@pytest.mark.parametrize("text", HEX)
def test_hex_junk(text: object) -> None:
    refused(lambda t: encoding.hex_decode(t, "x.y"), text)


@given(st.binary(max_size=40))
def test_hex_round_trip(data: bytes) -> None:
    assert encoding.hex_decode(data.hex(), "x.y") == data


DIGESTS = [
    "",
    "0" * 64,
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "A" * 64,
    "SHA256:" + "0" * 64,
    "sha512:" + "0" * 64,
    " sha256:" + "0" * 63,
    "sha256:" + "0" * 63 + "\n",
    "sha256:" + "0" * 62 + " 0",
    None,
    7,
]


@pytest.mark.parametrize("text", DIGESTS)
def test_digest_junk(text: object) -> None:
    refused(lambda t: encoding.digest_decode(t, "x.y"), text)


@given(st.binary(min_size=32, max_size=32))
def test_digest_round_trip(data: bytes) -> None:
    text = encoding.digest_encode(data)
    assert encoding.digest_decode(text, "x.y") == data == reference.digest_bytes(text, "x.y")


def test_digest_of_another_length() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
            encoding.digest_encode(bytes(size))


# RFC 4648, section 10.
RFC4648 = {b"": "", b"f": "Zg==", b"fo": "Zm8=", b"foo": "Zm9v", b"foob": "Zm9vYg==", b"fooba": "Zm9vYmE="}


@pytest.mark.parametrize("data", RFC4648)
def test_base64_known_answers(data: bytes) -> None:
    text = RFC4648[data]
    assert encoding.b64_encode(data) == text
    assert encoding.b64_decode(text, "x.y") == data
    assert encoding.b64url_encode(data) == text.rstrip("=")
    assert encoding.b64url_decode(text.rstrip("="), "x.y") == data


BASE64URL = [
    "Zg==",
    "Zh",
    "Zm9",
    "Z",
    "Zm9vY",
    "Zg\n",
    " Zg",
    "Zg ",
    "+-__",
    "/-__",
    "Zg=",
    "ｚg",
    "Z²",
    "Zg\0",
    None,
    b"Zg",
]


@pytest.mark.parametrize("text", BASE64URL)
def test_base64url_junk(text: object) -> None:
    refused(lambda t: encoding.b64url_decode(t, "x.y"), text)


BASE64 = ["Zg", "Zg=", "Zh==", "Zm9=", "Zg==\n", "Zm9v\nZm9v", "Zm9v Zm9v", "_-==", "Zg===", "Zg==Zg==", "ｚg==", None]


@pytest.mark.parametrize("text", BASE64)
def test_base64_junk(text: object) -> None:
    refused(lambda t: encoding.b64_decode(t, "x.y"), text)


@given(st.text(max_size=12) | st.text("ABab01-_+/=", max_size=12))
def test_base64_takes_what_it_writes(text: str) -> None:
    for decode, encode in (
        (encoding.b64url_decode, encoding.b64url_encode),
        (encoding.b64_decode, encoding.b64_encode),
    ):
        try:
            data = decode(text, "x.y")
        except MalformedError:
            continue
        assert encode(data) == text


@given(st.binary(max_size=40))
def test_base64_round_trip(data: bytes) -> None:
    assert encoding.b64url_decode(encoding.b64url_encode(data), "x.y") == data
    assert encoding.b64_decode(encoding.b64_encode(data), "x.y") == data
    assert encoding.b64_encode(data) == base64.b64encode(data).decode()


def test_base64_size() -> None:
    assert encoding.b64url_decode("Zm9v", "x.y", 3) == b"foo"
    assert "expected 4 bytes, found 3" in str(refused(lambda t: encoding.b64url_decode(t, "x.y", 4), "Zm9v"))
    assert "expected 4 bytes, found 3" in str(refused(lambda t: encoding.b64_decode(t, "x.y", 4), "Zm9v"))


# draft-msporny-base58-03, section 5.
BASE58 = {
    b"Hello World!": "2NEpo7TZRRrLZSi2U",
    b"The quick brown fox jumps over the lazy dog.": "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
    b"\0\0(\x7f\xb4\xcd": "11233QC4",
}


@pytest.mark.parametrize("data", BASE58)
def test_base58_known_answers(data: bytes) -> None:
    assert encoding.base58_encode(data) == BASE58[data]
    assert encoding.base58_decode(BASE58[data], "x.y") == data


@given(st.binary(max_size=60))
def test_base58_round_trip(data: bytes) -> None:
    assert encoding.base58_decode(encoding.base58_encode(data), "x.y") == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "é", " ", "1" * 129])
def test_base58_junk(text: str) -> None:
    refused(lambda t: encoding.base58_decode(str(t), "x.y"), text)


TIMES = {"1970-01-01T00:00:00Z": 0, "2000-02-29T23:59:59Z": 951868799, "9999-12-31T23:59:59Z": 253402300799}


@pytest.mark.parametrize("text", TIMES)
def test_time_known_answers(text: str) -> None:
    assert encoding.time_decode(text, "x.y") == TIMES[text]
    assert encoding.time_encode(TIMES[text]) == text


@given(st.integers(0, 253402300799))
def test_time_round_trip(seconds: int) -> None:
    text = encoding.time_encode(seconds)
    assert encoding.time_decode(text, "x.y") == seconds
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)


BAD_TIMES = [
    "",
    "1969-12-31T23:59:59Z",
    "0000-01-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T23:60:00Z",
    "2016-12-31T23:59:60Z",
    "9999-12-31T23:59:60Z",
    "9999-12-31T24:00:00Z",
    "9999-12-31T99:99:99Z",
    "2026-1-1T00:00:00Z",
    "2026-01-01 00:00:00Z",
    "2026-01-01t00:00:00z",
    "2026-01-01T00:00:00",
    "2026-01-01T00:00:00+00:00",
    "2026-01-01T00:00:00.0Z",
    "2026-01-01T00:00:00Z\n",
    "２026-01-01T00:00:00Z",
    "+026-01-01T00:00:00Z",
    None,
    0,
]


@pytest.mark.parametrize("text", BAD_TIMES)
def test_time_junk(text: object) -> None:
    refused(lambda t: encoding.time_decode(t, "x.y"), text)


@pytest.mark.parametrize("seconds", [-1, 253402300800])
def test_time_out_of_range(seconds: int) -> None:
    with pytest.raises(ValueError, match="between 1970 and 9999"):
        encoding.time_encode(seconds)


@pytest.mark.parametrize(
    "value", ["x" * 10_000, "\x1b[31m\n\0", "\ud800", "é" * 9999, {"a": [1] * 999}, b"\xff" * 9999]
)
def test_what_a_message_shows_is_short_and_plain(value: object) -> None:
    text = shown(value)
    assert len(text) <= SHOWN_CHARS + 30
    assert text.isprintable()


@pytest.mark.parametrize("text", ["© Jörg Möller", "Ελένη", "写真家", "محمد"])
def test_a_message_shows_letters_and_signs_as_they_are(text: str) -> None:
    assert shown(text) == f"'{text}'"


def test_a_message_shows_what_is_composed_another_way_in_escapes() -> None:
    assert shown("cafe\u0301") == r"'cafe\u0301'"


@pytest.mark.parametrize(
    "c", ["\n", "\x1b", "\x9b", "\u061c", "\u200e", "\u202e", "\u2028", "\u2069", "\ufeff", "\ud800"]
)
def test_a_message_shows_no_control_and_no_direction_mark(c: str) -> None:
    assert (c in shown(f"a{c}b"), shown(f"a{c}b")[:3]) == (False, "'a\\")


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("data", [b"", b"a", bytes(100), bytes(range(100))])
def test_gunzip(data: bytes, level: int) -> None:
    assert encoding.gunzip(gzip.compress(data, level), 100, "x.y") == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a",
        gzip.compress(bytes(101)),
        gzip.compress(bytes(10_000_000)),
        gzip.compress(b"a")[:-1],
        gzip.compress(b"a") + b"a",
        gzip.compress(b"a") * 2,
        gzip.compress(b"a")[:-8] + bytes(8),  # the checksum of something else
        zlib.compress(b"a"),
    ],
    ids=["empty", "other", "long", "bomb", "cut", "followed", "two", "checksum", "zlib"],
)
def test_gunzip_takes_one_whole_stream_of_bounded_length(data: bytes) -> None:
    refused(lambda _: encoding.gunzip(data, 100, "x.y"), data)
