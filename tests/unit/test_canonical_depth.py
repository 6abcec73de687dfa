"""Nesting is bounded before the standard parser recurses, whatever Python's recursion limit is by then."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ledger.canonical import MAX_DEPTH, load_json
from ledger.errors import MalformedError


@pytest.fixture(autouse=True)
def _raised_recursion_limit() -> Iterator[None]:
    """As a process has it that runs the embedded chain: the parser would end it rather than raise."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b"[" * 500_000 + b"]" * 500_000,
        b'"' + b"[" * 500_000,
        b'["\\"' + b"[" * 500_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[}",
        b"]",
    ],
)
def test_too_deep(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"nested deeper than 8 levels|not JSON"):
        load_json(data, "x", 1 << 24)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, [[[[[[[[]]]]]]]]),
        (b'{"a":"[[[[[[[[[[[[","b":["\\"[{",{}]}', {"a": "[[[[[[[[[[[[", "b": ['"[{', {}]}),
        (b'"\\\\"', "\\"),
        ('["ü["]'.encode(), ["ü["]),
    ],
)
def test_brackets_in_text_are_no_nesting(data: bytes, value: object) -> None:
    assert load_json(data, "x", 1 << 24) == value


def test_bytes_are_bounded_first() -> None:
    with pytest.raises(MalformedError, match="at most 3 bytes"):
        load_json(b"[[[[", "x", 3)


@pytest.mark.parametrize("unit", [b'\\"', b"\\\\", b'"'])
@pytest.mark.parametrize("before", [b'"', b'["'])
def test_a_string_that_never_ends_is_read_once(before: bytes, unit: bytes) -> None:
    """A reader that tries again from each of its quotes would take days for this text."""
    with pytest.raises(MalformedError):
        load_json(before + unit * (1 << 21), "text", 1 << 23)
