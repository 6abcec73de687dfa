"""Canonical JSON: RFC 8785 in the profile of docs/format.md, section 0, rule 3; digests and base64url beside it.

``canonical`` writes RFC 8785 for values without floats; ``parse`` reads bytes and accepts only what ``canonical`` would
have written, with ASCII keys, NFC text, assigned code points and integers up to 2^53-1.  The shapes of documents are
checked where the documents are.

The profile pins one version of the Unicode tables without naming it; this module takes the tables of the running
Python (14.0 in 3.11), so that a newer Python accepts code points that were assigned later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from .refuted import RefutedError, require

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64

# RFC 8785, 3.2.2.2: two-character escapes where JSON has them, \u00xx in lower case for other control characters.
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def canonical(value: Json) -> bytes:
    """Writes a value as RFC 8785 does.

    Raises:
        RefutedError: a float, an integer beyond 2^53-1, a lone surrogate, or no JSON value at all.
    """
    try:
        return _write(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise RefutedError("malformed", "text holds a lone surrogate") from error


def parse(data: bytes) -> Json:
    """Reads canonical JSON of the profile, nothing else.

    Raises:
        RefutedError: not UTF-8, not JSON, a key twice, a float, or other bytes than ``canonical`` gives for the value.
    """
    _check_depth(data)
    try:
        value: Json = json.loads(
            data.decode("utf-8"), object_pairs_hook=_pairs, parse_float=_no_float, parse_constant=_no_float
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise RefutedError("malformed", f"not JSON: {error}") from error
    _check_profile(value, 0)
    require(canonical(value) == data, "malformed", "not the canonical form of its value")
    return value


def _check_depth(data: bytes, most: int = 64) -> None:
    """Looks at the nesting before the parser does: it recurses in C, and too deep a text ends the whole process."""
    depth, in_text, escaped = 0, False, False
    for byte in data:
        if in_text:
            in_text = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            in_text = True
        elif byte in b"[{":
            depth += 1
            require(depth <= most, "malformed", "nested too deep")
        elif byte in b"]}":
            depth -= 1


def digest(data: bytes) -> str:
    """SHA-256 as JSON holds it: ``sha256:<64 lower-case hex>`` (section 0, rule 1)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_bytes(value: object, field: str) -> bytes:
    """The raw 32 bytes of ``sha256:<hex>``.

    Raises:
        RefutedError: another form.
    """
    require(isinstance(value, str) and _DIGEST.fullmatch(value) is not None, "malformed", f"{field}: not a digest")
    return bytes.fromhex(str(value)[7:])


def digest_list(value: object, field: str, most: int = 64) -> list[bytes]:
    """A list of digests, such as a Merkle path."""
    items = as_list(value, field)
    require(len(items) <= most, "malformed", f"{field}: more than {most}")
    return [digest_bytes(item, field) for item in items]


def b64url_encode(data: bytes) -> str:
    """RFC 4648, section 5, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: object, field: str, length: int | None = None) -> bytes:
    """Strict base64url without padding; ``length`` is the number of bytes it must give.

    Raises:
        RefutedError: other characters, padding, bits left over, another length.
    """
    require(isinstance(text, str) and _BASE64URL.fullmatch(text) is not None, "malformed", f"{field}: not base64url")
    encoded = str(text)
    require(len(encoded) % 4 != 1, "malformed", f"{field}: not base64url")
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    require(b64url_encode(data) == encoded, "malformed", f"{field}: base64url with bits left over")
    require(length is None or len(data) == length, "malformed", f"{field}: {len(data)} bytes, not {length}")
    return data


def b64_decode(text: str, field: str) -> bytes:
    """Strict standard base64 with padding (RFC 4648, section 4).

    Raises:
        RefutedError: anything that encoding the result would not give back.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise RefutedError("malformed", f"{field}: not base64") from error
    require(base64.b64encode(data).decode("ascii") == text, "malformed", f"{field}: not the canonical base64")
    return data


def as_object(value: object, keys: Sequence[str], field: str) -> dict[str, Json]:
    """An object with exactly these keys (section 0, rule 3).

    Raises:
        RefutedError: another type, an unknown or a missing key.
    """
    require(isinstance(value, dict), "malformed", f"{field}: not an object")
    assert isinstance(value, dict)
    require(set(value) == set(keys), "malformed", f"{field}: keys {sorted(value)}, not {sorted(keys)}")
    return value


def as_list(value: object, field: str) -> list[Json]:
    """A list.

    Raises:
        RefutedError: another type.
    """
    require(isinstance(value, list), "malformed", f"{field}: not a list")
    assert isinstance(value, list)
    return value


def as_text(value: object, field: str) -> str:
    """A string.

    Raises:
        RefutedError: another type.
    """
    require(isinstance(value, str), "malformed", f"{field}: not a string")
    return str(value)


def as_integer(value: object, field: str, least: int = 0, most: int = MAX_INTEGER) -> int:
    """An integer of a range; true and false are none.

    Raises:
        RefutedError: another type, out of range.
    """
    require(isinstance(value, int) and not isinstance(value, bool), "malformed", f"{field}: not an integer")
    assert isinstance(value, int)
    require(least <= value <= most, "malformed", f"{field}: {value} is not in {least}..{most}")
    return value


def as_boolean(value: object, field: str) -> bool:
    """True or false.

    Raises:
        RefutedError: another type.
    """
    require(isinstance(value, bool), "malformed", f"{field}: neither true nor false")
    return bool(value)


def as_word(value: object, words: Sequence[str], field: str) -> str:
    """One of some words.

    Raises:
        RefutedError: another value.
    """
    require(isinstance(value, str) and value in words, "malformed", f"{field}: not one of {list(words)}")
    return str(value)


def as_pattern(value: object, pattern: str, field: str) -> str:
    """A string that a regular expression matches whole.

    Raises:
        RefutedError: another type or text.
    """
    require(isinstance(value, str) and re.fullmatch(pattern, value) is not None, "malformed", f"{field}: not {pattern}")
    return str(value)


def as_origin(value: object, field: str) -> str:
    """The name of a log: printable ASCII without plus, no scheme.

    Raises:
        RefutedError: another form.
    """
    text = as_pattern(value, "[!-*,-~]{1,256}", field)
    require("://" not in text, "malformed", f"{field}: with a scheme")
    return text


def as_address(value: object, field: str) -> str:
    """An address: ``http://`` or ``https://``, printable ASCII.

    Raises:
        RefutedError: another form.
    """
    text = as_pattern(value, "https?://[!-~]+", field)
    require(len(text) <= 2048, "malformed", f"{field}: too long")
    return text


def as_time(value: object, field: str) -> int:
    """A time ``YYYY-MM-DDTHH:MM:SSZ`` of the years 1970 to 9999, as seconds since 1970.

    Raises:
        RefutedError: another form, or no such day or time.
    """
    text = as_pattern(value, _TIME, field)
    try:
        seconds = int(datetime.fromisoformat(text[:-1] + "+00:00").timestamp())
    except ValueError as error:
        raise RefutedError("malformed", f"{field}: no such time") from error
    require(seconds >= 0, "malformed", f"{field}: before 1970")
    return seconds


def _write(value: object) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        require(abs(value) <= MAX_INTEGER, "malformed", "an integer beyond 2^53-1")
        return str(value)
    if isinstance(value, str):
        return _write_text(value)
    if isinstance(value, list):
        return "[" + ",".join(_write(item) for item in value) + "]"
    if isinstance(value, dict):
        # RFC 8785, 3.2.3: by the UTF-16 code units of the keys.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(_write_text(key) + ":" + _write(value[key]) for key in keys) + "}"
    raise RefutedError("malformed", f"{type(value).__name__} is no value of the profile")


def _write_text(text: str) -> str:
    characters = (_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text)
    return '"' + "".join(characters) + '"'


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    require(len(found) == len(pairs), "malformed", "an object holds a key twice")
    return found


def _no_float(text: str) -> Json:
    raise RefutedError("malformed", f"{text}: a number of the profile is an integer")


def _check_profile(value: Json, depth: int) -> None:
    require(depth <= MAX_DEPTH, "malformed", f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_profile(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            require(key.isascii(), "malformed", "a key that is not ASCII")
            _check_profile(item, depth + 1)


def _check_text(text: str) -> None:
    if text.isascii():
        return
    require(unicodedata.normalize("NFC", text) == text, "malformed", "text that is not NFC")
    for character in text:
        category = unicodedata.category(character)
        require(category not in {"Cn", "Cs"}, "malformed", f"U+{ord(character):04X} is not assigned")
