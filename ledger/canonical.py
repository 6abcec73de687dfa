"""The one JSON form: RFC 8785 with a narrow profile (docs/format.md, section 0, rule 3).

No floats, integers within ±(2^53-1), ASCII keys, NFC text.  ``parse`` accepts only bytes that ``canonical`` would
write, so a part may be cut out of a parsed document, written again and hashed.  The ``as_*`` functions read one value
of a parsed document: each names the field in its error, so that a document's parser is a list of its fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias, TypeVar

from ledger import text as text_rules
from ledger.encoding import MAX_SAFE_INTEGER
from ledger.errors import MalformedError, shown
from ledger.text import MAX_TEXT_BYTES

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
Object: TypeAlias = "dict[str, Json]"
T = TypeVar("T")

MAX_DEPTH: Final = 8

# Possessive, and an open string ends with the text: else each of its quotes would begin another try of the rest.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CONTAINERS = (dict, list, tuple, Mapping)  # in this order: asking whether something is a Mapping is slow
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Json, *, max_text: int = MAX_TEXT_BYTES) -> bytes:
    """Writes `value` in the canonical form; a string has at most `max_text` bytes.

    ASCII keys sort alike in UTF-8 and UTF-16, which is what lets the standard encoder stand in for RFC 8785, 3.2.3.

    Raises:
        MalformedError: a float, an integer out of range, a key that is not ASCII, text that is not NFC, too deep.
    """
    _check(value, "", 0, 64, max_text)
    return _ENCODER.encode(value).encode("utf-8")


def parse(
    data: bytes, field: str, max_bytes: int, max_depth: int = MAX_DEPTH, *, max_text: int = MAX_TEXT_BYTES
) -> Json:
    """Reads canonical bytes of at most `max_bytes` and `max_depth` levels; refuses every other spelling.

    `max_text` is the bytes a string may have: more than text for people only where a document carries bytes as text.
    """
    value: Json = load_json(data, field, max_bytes, max_depth)
    _check(value, field, 0, max_depth, max_text)
    if _ENCODER.encode(value).encode("utf-8") != data:
        raise MalformedError("not in canonical form (RFC 8785): keys sorted, no spaces, no repeated key", field=field)
    return value


def load_json(data: bytes, field: str, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """Reads JSON of strangers in any spelling; the standard parser sees it only once its depth is known.

    That parser recurses in C, and a library that raises Python's recursion limit (py-evm does) turns deep nesting from
    a RecursionError into the end of the process.

    Raises:
        MalformedError: too long, too deep, or not JSON.
    """
    if len(data) > max_bytes:
        raise MalformedError(f"at most {max_bytes} bytes are allowed, found {len(data)}", field=field)
    if data.count(b"{") + data.count(b"[") > max_depth:  # else it cannot be deeper, in strings or not
        brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
        for _ in range(max_depth):
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if brackets:
            raise MalformedError(f"not JSON, or nested deeper than {max_depth} levels", field=field)
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as e:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise MalformedError(f"not JSON: {shown(str(e))}", field=field) from e


def _check(value: object, field: str, depth: int, max_depth: int, max_text: int) -> None:
    if isinstance(value, str):
        text_rules.normal(value, field, max_text)
    elif isinstance(value, _CONTAINERS):
        if depth >= max_depth:
            raise MalformedError(f"nested deeper than {max_depth} levels", field=field)
        if isinstance(value, list | tuple):
            for item in value:
                _check(item, field, depth + 1, max_depth, max_text)
            return
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise MalformedError(f"keys are ASCII, found {shown(key)}", field=field)
            if item is None or (type(item) is str and len(item) <= max_text and item.isascii()):
                continue  # what most values are; ASCII is NFC, and assigned
            _check(item, f"{field}.{key[:40]}" if field else key[:40], depth + 1, max_depth, max_text)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER):
        raise MalformedError(f"numbers are whole and within 2^53-1, found {shown(value)}", field=field)
    elif value is not None and not isinstance(value, int):
        raise MalformedError(f"not a JSON value: {type(value).__name__}", field=field)


def as_object(value: Json, field: str, keys: Sequence[str]) -> Object:
    """Reads an object with exactly `keys`."""
    if not isinstance(value, dict):
        raise MalformedError(f"expected an object, found {shown(value)}", field=field)
    missing = [k for k in keys if k not in value]
    if missing:
        raise MalformedError(f"missing key {missing[0]}", field=field)
    if len(value) != len(keys):
        unknown = next(k for k in value if k not in keys)
        raise MalformedError(f"unknown key {shown(unknown)}", field=field)
    return value


def as_list(value: Json, field: str, high: int, low: int = 0) -> list[Json]:
    """Reads an array of `low` to `high` items."""
    if not isinstance(value, list):
        raise MalformedError(f"expected an array, found {shown(value)}", field=field)
    if not low <= len(value) <= high:
        raise MalformedError(f"expected {low} to {high} items, found {len(value)}", field=field)
    return value


def as_text(value: Json, field: str) -> str:
    """Reads a string (already NFC when it comes out of ``parse``)."""
    if not isinstance(value, str):
        raise MalformedError(f"expected text, found {shown(value)}", field=field)
    return value


def as_line(value: Json, field: str) -> str:
    """Reads a non-empty line of text for people."""
    return text_rules.line(as_text(value, field), field)


def as_int(value: Json, field: str, low: int = 0, high: int = MAX_SAFE_INTEGER) -> int:
    """Reads a whole number from `low` to `high`; true and false are not numbers."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise MalformedError(f"expected a whole number from {low} to {high}, found {shown(value)}", field=field)
    return value


def as_bool(value: Json, field: str) -> bool:
    """Reads true or false."""
    if not isinstance(value, bool):
        raise MalformedError(f"expected true or false, found {shown(value)}", field=field)
    return value


def as_choice(value: Json, field: str, choices: Sequence[str]) -> str:
    """Reads one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise MalformedError(f"expected one of {', '.join(choices)}, found {shown(value)}", field=field)
    return value


def as_constant(value: Json, field: str, constant: str | int) -> None:
    """Reads exactly `constant`: the document's type or version."""
    if value != constant or isinstance(value, bool):
        raise MalformedError(f"expected {constant!r}, found {shown(value)}", field=field)


def optional(value: Json, read: Callable[[Json, str], T], field: str) -> T | None:
    """Reads null, or what `read` reads."""
    return None if value is None else read(value, field)


def as_indices(value: Json, field: str, high: int) -> tuple[int, ...]:
    """Reads a strictly ascending list of at most `high` indices."""
    indices = tuple(as_int(item, f"{field}[{n}]") for n, item in enumerate(as_list(value, field, high)))
    if any(a >= b for a, b in pairwise(indices)):
        raise MalformedError("indices must be ascending and distinct", field=field)
    return indices
