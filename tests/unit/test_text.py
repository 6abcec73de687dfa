"""What text may hold (docs/format.md, section 0, rule 3; section 2 for paths)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import text
from ledger.errors import MalformedError
from ledger.unicode14 import VERSION, is_assigned

COMBINING = "e\u0301"  # NFC writes it as one code point


def refused(read: Callable[[str, str], str], value: str) -> str:
    """Asserts that a rule refuses a text and names its field; returns the message."""
    with pytest.raises(MalformedError) as caught:
        read(value, "x.y")
    assert caught.value.field == "x.y"
    return str(caught.value)


@pytest.mark.parametrize("value", ["", "plain", "Éva", "日本語", "🎉", "a\tb\n", "\x7f", "x" * 4096, "é" * 2048])
def test_text(value: str) -> None:
    assert text.normal(value, "x.y") == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("x" * 4097, "at most 4096 bytes"),
        ("é" * 2049, "at most 4096 bytes of UTF-8"),
        (COMBINING, "NFC"),
        ("\u212b", "NFC"),  # the angstrom sign is written as a letter
        ("\ud800", "half of a surrogate pair"),
        ("a\udfffb", "half of a surrogate pair"),
        ("\u0378", "U\\+0378 is not assigned"),
        ("\U000e0fff", "U\\+E0FFF is not assigned"),
    ],
)
def test_what_no_text_holds(value: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        text.normal(value, "x.y")


def test_a_text_may_have_another_limit() -> None:
    assert text.normal("x" * 5000, "x.y", 5000) == "x" * 5000
    with pytest.raises(MalformedError, match="at most 5000 bytes"):
        text.normal("x" * 5001, "x.y", 5000)


@given(st.characters())
def test_the_tables_are_those_of_one_version(character: str) -> None:
    """Python 3.11 has the pinned tables; later ones have assigned more, and nothing less."""
    if is_assigned(character):
        assert unicodedata.category(character) != "Cn"
    elif unicodedata.unidata_version == VERSION:
        assert unicodedata.category(character) in {"Cn", "Cs", "Co"}


def test_a_code_point_that_was_assigned_later() -> None:
    refused(text.normal, "\U0001fae8")  # SHAKING FACE, Unicode 15.0


@pytest.mark.parametrize("value", ["A library", "Éva & Söhne – 2026", "日本語", "نص", "👩‍👩‍👧"])
def test_lines(value: str) -> None:
    assert text.line(value, "x.y") == value


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", *BIDI])
def test_what_no_line_holds(character: str) -> None:
    assert f"U+{ord(character):04X}" in refused(text.line, f"a{character}b")


@pytest.mark.parametrize("value", ["", " a", "a ", "\u00a0a", "a\u3000", COMBINING])
def test_lines_are_trimmed_and_not_empty(value: str) -> None:
    refused(text.line, value)
    assert text.line("", "x.y", empty=True) == ""


@pytest.mark.parametrize("value", ["", "a b", "é", "a\n", "\x7f", "a" * 257])
def test_what_no_identifier_is(value: str) -> None:
    refused(text.identifier, value)


@pytest.mark.parametrize(
    "value", ["ftp://x", "http://", "https:x", "javascript:alert(1)", "https://é", "https://x y", ""]
)
def test_what_no_address_is(value: str) -> None:
    assert "an address that begins with https:// or http://" in refused(text.url, value)


@pytest.mark.parametrize("read", [text.identifier, text.url, text.chain])
def test_a_form_is_told_in_words(read: Callable[[str, str], str]) -> None:
    assert not set("[]{}+*?\\") & set(refused(read, "two words"))


def test_addresses() -> None:
    for value in ("https://x", "http://127.0.0.1:8000/a?b=c#d", "https://" + "x" * 2040):
        assert text.url(value, "x.y") == value
    refused(text.url, "https://" + "x" * 2041)


@pytest.mark.parametrize(
    "value", ["a.png", "a/b/c.png", "..a/b..", ".hidden", "a b/é.png", "日本/写真.jpg", "-", "a:b"][:-1]
)
def test_paths(value: str) -> None:
    assert text.path(value, "x.y") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a\\b",
        "C:/a",
        "c:a",
        "a\0b",
        "a\nb",
        "a\u200bb",
        "a\u202eb",
        "a\u2028b",
        "a\ufeffb",
        "a\u00adb",
        "a\ue000b",
        COMBINING,
        "x" * 4097,
    ],
)
def test_what_no_path_is(value: str) -> None:
    refused(text.path, value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A.png", "a.png"), ("É", "é"), ("STRASSE", "straße"), ("Å", "\u212b"), ("ﬁ", "FI"), ("Σ", "ς")],
)
def test_paths_that_are_one_where_case_does_not_count(one: str, other: str) -> None:
    assert text.path_key(one) == text.path_key(other)


@given(st.text(max_size=20))
def test_the_key_of_a_path_is_normal_and_blind_to_case(value: str) -> None:
    key = text.path_key(value)
    assert unicodedata.is_normalized("NFC", key)
    assert text.path_key(unicodedata.normalize("NFD", value)) == key
