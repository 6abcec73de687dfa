"""What text may hold (docs/format.md, section 0, rule 3; section 2 for paths).

All text is NFC and uses only code points of the pinned Unicode version; identifiers are printable ASCII; names, titles
and attribution texts are one line without controls and without anything that turns the reading direction; paths are
relative, with ``/``, and unique under case folding.  Each function returns its argument or raises
:class:`ledger.errors.MalformedError`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from unicodedata import category, is_normalized, normalize

from ledger.errors import MalformedError, shown
from ledger.unicode14 import VERSION, is_assigned

MAX_TEXT_BYTES: Final = 4096
CHAIN: Final = r"eip155:[1-9][0-9]{0,19}"
"""The name of a chain by CAIP-2, as a regular expression."""

_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Form(NamedTuple):
    """What an identifier looks like: for programs, and in words for people."""

    pattern: re.Pattern[str]
    words: str


NAME: Final = Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), "letters, digits, and the signs . _ - behind the first of them"
)
"""Of the codes that people give."""

_PRINTABLE = Form(re.compile(r"[!-~]+"), "printable characters without spaces")
_CHAIN = Form(re.compile(CHAIN), "eip155: and the number of a chain")
_URL = Form(re.compile(r"https?://[!-~]+"), "an address that begins with https:// or http:// and has no spaces")


def normal(text: str, field: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Any text: NFC, code points assigned in the pinned Unicode version, at most `max_bytes` UTF-8 bytes."""
    if len(text) > max_bytes:
        raise MalformedError(f"at most {max_bytes} bytes are allowed, found {len(text)} characters", field=field)
    if text.isascii():
        return text
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise MalformedError("half of a surrogate pair", field=field)
    if len(text.encode()) > max_bytes:
        raise MalformedError(f"at most {max_bytes} bytes of UTF-8 are allowed", field=field)
    strange = next((c for c in text if not is_assigned(c)), None)
    if strange is not None:
        raise MalformedError(f"U+{ord(strange):04X} is not assigned in Unicode {VERSION}", field=field)
    if not is_normalized("NFC", text):
        raise MalformedError("the text must be in Unicode normal form NFC", field=field)
    return text


def line(text: str, field: str, *, empty: bool = False) -> str:
    """A name, title or sentence: one line, no control characters, no bidi controls, no spaces around it."""
    normal(text, field)
    if not text and not empty:
        raise MalformedError("must not be empty", field=field)
    for c in text:
        if c in _BIDI or category(c) in {"Cc", "Zl", "Zp"}:
            raise MalformedError(f"U+{ord(c):04X} is not allowed: one line, no direction marks", field=field)
    if text != text.strip():
        raise MalformedError("must not begin or end with a space", field=field)
    return text


def identifier(text: str, field: str, form: Form = _PRINTABLE, high: int = 256) -> str:
    """Printable ASCII without spaces, of `form`, at most `high` characters."""
    if len(text) > high or not text.isascii() or not form.pattern.fullmatch(text):
        raise MalformedError(
            f"expected {form.words}; ASCII, at most {high} characters; found {shown(text)}", field=field
        )
    return text


def url(text: str, field: str) -> str:
    """An http(s) address as text: it is shown and compared, never fetched."""
    return identifier(text, field, _URL, 2048)


def chain(text: str, field: str) -> str:
    """The name of an Ethereum-style chain by CAIP-2: ``eip155:`` and its number."""
    return identifier(text, field, _CHAIN, 32)


def path(text: str, field: str) -> str:
    """A relative path: ``/`` between non-empty names, no ``.`` or ``..``, no backslash, nothing invisible."""
    normal(text, field)
    if "\\" in text or any(part in ("", ".", "..") for part in text.split("/")):
        raise MalformedError(f"expected a relative path with / and without .., found {shown(text)}", field=field)
    for c in text:
        if category(c) in _INVISIBLE:
            raise MalformedError(f"U+{ord(c):04X} is invisible and not allowed in a path", field=field)
    if re.match(r"[A-Za-z]:", text):
        raise MalformedError(f"a drive letter is not allowed: {shown(text)}", field=field)
    return text


def path_key(text: str) -> str:
    """What two paths must differ in: NFC(casefold(NFC(path))), as case-blind file systems see it."""
    return normalize("NFC", normalize("NFC", text).casefold())
