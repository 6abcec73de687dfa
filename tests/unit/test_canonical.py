"""The one JSON form: RFC 8785 in a narrow profile (docs/format.md, section 0, rule 3)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import canonical as c
from ledger.canonical import Json, canonical, parse
from ledger.errors import MalformedError
from ledger.unicode14 import is_assigned
from tests.reference import jcs as reference
from tests.reference.refuted import RefutedError

MAX = 2**53 - 1


def test_known_answers() -> None:
    # RFC 8785, 3.2.2: its example, with what the profile leaves out (numbers with a fraction) left out.
    value: Json = {
        "string": '\u20ac$\u000f\u000aA\'B"\\\\"/',
        "literals": [None, True, False],
        "numbers": [333333333, 4],
    }
    expected = '{"literals":[null,true,false],"numbers":[333333333,4],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert canonical(value) == expected.encode()
    # RFC 8785, 3.2.2.2: the escapes.
    assert canonical("\b\t\n\f\r\x00\x1f\x7f/") == b'"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f/"'
    # RFC 8785, 3.2.3: sorted, and in objects within objects.
    assert canonical({"b": {"d": 1, "c": 2}, "a": []}) == b'{"a":[],"b":{"c":2,"d":1}}'
    assert (
        canonical({"1": 0, "10": 0, "2": 0, "A": 0, "a": 0, "_": 0, "": 0})
        == b'{"":0,"1":0,"10":0,"2":0,"A":0,"_":0,"a":0}'
    )


SPELLINGS = [
    b"",
    b" 1",
    b"1 ",
    b"1\n",
    b"\xef\xbb\xbf1",
    b"01",
    b"+1",
    b"-0",
    b"1.0",
    b"1e0",
    b"1E2",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"9007199254740992",
    b"-9007199254740992",
    b"1" * 5000,
    b'{"b":0,"a":0}',
    b'{"a":0,"a":0}',
    b'{"a":0,"a":1}',
    b'{"a": 0}',
    b'{"a":0, "b":0}',
    b"[1, 2]",
    b"[1,]",
    b"{,}",
    b"{'a':1}",
    b'"\\u0061"',
    b'"\\/"',
    b'"\\u000A"',
    b'"\\u000a"',
    b'"\\u20ac"',
    b'"\\ud83d\\ude00"',
    b'"\\ud800"',
    b'"e\xcc\x81"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\n"',
    b'{"\xc3\xa9":0}',
    b"tru",
    b"null null",
    b"[" * 9 + b"]" * 9,
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", SPELLINGS, ids=lambda d: repr(d[:24]))
def test_other_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(data, "x", 1 << 20)
    assert caught.value.field is not None
    assert caught.value.field.startswith("x")


@pytest.mark.parametrize(
    "data", [b"0", b"-1", b"9007199254740991", b'""', b"[]", b"{}", b"null", b"true", b'"\xc3\xa9"']
)
def test_canonical_bytes_are_read(data: bytes) -> None:
    assert canonical(parse(data, "x", 99)) == data == reference.canonical(reference.parse(data))


def test_limits() -> None:
    assert parse(b"[" * 8 + b"]" * 8, "x", 99) == [[[[[[[[]]]]]]]]
    assert parse(b"[" * 9 + b"]" * 9, "x", 99, 9)
    with pytest.raises(MalformedError, match="nested deeper than 8 levels"):
        parse(b"[" * 9 + b"]" * 9, "x", 99)
    assert parse(b'"abc"', "x", 5) == "abc"
    with pytest.raises(MalformedError, match="at most 4 bytes are allowed, found 5"):
        parse(b'"abc"', "x", 4)
    assert parse(b'"' + b"x" * 4096 + b'"', "x", 9999) == "x" * 4096
    with pytest.raises(MalformedError, match="at most 4096 bytes"):
        parse(b'"' + b"x" * 4097 + b'"', "x", 9999)
    assert parse(b'"' + b"x" * 4097 + b'"', "x", 9999, max_text=5000) == "x" * 4097


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), MAX + 1, -MAX - 1, {"é": 1}, {1: 1}, "e\u0301", "\ud800", "x" * 4097, object(), b"x", {1}],
)
def test_what_is_not_written(value: Json) -> None:
    with pytest.raises(MalformedError):
        canonical({"a": [value]})


def test_an_error_names_its_place() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(b'{"a":{"b":[0,1e1]}}', "doc", 99)
    assert caught.value.field == "doc.a.b"
    with pytest.raises(MalformedError) as caught:
        parse(b'{"a":{"b":["e\xcc\x81"]}}', "doc", 99)
    assert caught.value.field == "doc.a.b"


def _plain(text: str) -> bool:
    return all(map(is_assigned, text)) and unicodedata.is_normalized("NFC", text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(_plain)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX, MAX) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=5), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_written_as_the_reference_writes(value: Json) -> None:
    data = canonical(value)
    assert data == reference.canonical(value)  # type: ignore[arg-type]
    assert json.loads(data) == value
    assert parse(data, "x", 1 << 20, 64) == value


@given(st.binary(max_size=40) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_read_as_the_reference_reads(data: bytes) -> None:
    try:
        expected: object = reference.parse(data)
    except RefutedError:
        with pytest.raises(MalformedError):
            parse(data, "x", 1 << 20, 64)
    else:
        assert parse(data, "x", 1 << 20, 64) == expected


READERS: dict[str, tuple[Callable[[Json, str], object], list[Json], list[Json]]] = {
    "object": (
        lambda v, f: c.as_object(v, f, ("a", "b")),
        [{"a": 1, "b": 2}],
        [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, [], 1],
    ),
    "list": (lambda v, f: c.as_list(v, f, 2, 1), [[1], [1, 2]], [[], [1, 2, 3], {}, "ab", None]),
    "text": (c.as_text, ["", "a"], [1, None, [], True]),
    "line": (c.as_line, ["a"], ["", "a\nb", 1]),
    "int": (lambda v, f: c.as_int(v, f, 1, 3), [1, 3], [0, 4, True, "1", None, []]),
    "bool": (c.as_bool, [True, False], [0, 1, "true", None]),
    "choice": (lambda v, f: c.as_choice(v, f, ("a", "b")), ["a"], ["c", "", 1, None, ["a"]]),
    "constant 1": (lambda v, f: c.as_constant(v, f, 1), [1], [True, 2, "1", None]),
    "constant a": (lambda v, f: c.as_constant(v, f, "a"), ["a"], ["b", 1, None, True]),
    "optional": (lambda v, f: c.optional(v, c.as_text, f), [None, "a"], [1, []]),
    "indices": (
        lambda v, f: c.as_indices(v, f, 3),
        [[], [0], [0, 5, 9]],
        [[1, 1], [2, 1], [-1], [True], [0, 1, 2, 3], None, ["0"]],
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_of_values(name: str) -> None:
    read, good, bad = READERS[name]
    for value in good:
        read(value, "x.y")
    for value in bad:
        with pytest.raises(MalformedError) as caught:
            read(value, "x.y")
        assert (caught.value.field or "").startswith("x.y")
