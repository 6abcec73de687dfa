"""RLP of ``ledger.receipt``: known answers, agreement with pyrlp, and refusal of every other spelling."""

from __future__ import annotations

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedError
from ledger.receipt import MAX_RLP_DEPTH, RlpItem, keccak256, rlp_decode, rlp_encode, rlp_integer

_LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"

# The Ethereum wiki's examples (https://ethereum.org/developers/docs/data-structures-and-encoding/rlp/).
KNOWN: list[tuple[RlpItem, str]] = [
    (b"dog", "83646f67"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    (b"", "80"),
    ([], "c0"),
    (b"\x00", "00"),
    (b"\x0f", "0f"),
    (b"\x04\x00", "820400"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    (_LOREM, "b838" + _LOREM.hex()),
]

# Depth 0 is bytes; a list adds one.  Four levels are more than any block holds, and small enough to draw fast.
ITEMS: st.SearchStrategy[RlpItem] = st.recursive(
    st.binary(max_size=80), lambda inner: st.lists(inner, max_size=6), max_leaves=30
)


def _depth(item: RlpItem) -> int:
    return 0 if isinstance(item, bytes) else 1 + max(map(_depth, item), default=0)


@pytest.mark.parametrize(("item", "text"), KNOWN, ids=[text[:20] for _, text in KNOWN])
def test_known_answers(item: RlpItem, text: str) -> None:
    assert rlp_encode(item).hex() == text
    assert rlp_decode(bytes.fromhex(text)) == item


@pytest.mark.parametrize(
    ("number", "text"), [(0, ""), (1, "01"), (127, "7f"), (128, "80"), (1024, "0400"), (2**64 - 1, "ff" * 8)]
)
def test_integers_have_no_leading_zero(number: int, text: str) -> None:
    assert rlp_integer(number).hex() == text


def test_keccak_is_the_one_before_sha3() -> None:
    # The code hash of every account without code.
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@given(ITEMS)
def test_the_same_as_pyrlp(item: RlpItem) -> None:
    data = rlp_encode(item)
    assert data == rlp.encode(item)
    if _depth(item) <= MAX_RLP_DEPTH:
        assert rlp_decode(data) == item


@given(st.one_of(st.binary(max_size=40), ITEMS.map(rlp_encode).flatmap(lambda data: _mutations(data))))
def test_what_is_read_is_written_back(data: bytes) -> None:
    try:
        item = rlp_decode(data)
    except MalformedError:
        with pytest.raises(rlp.DecodingError):
            _pyrlp_within_depth(data)
    else:
        assert rlp_encode(item) == data


def _mutations(data: bytes) -> st.SearchStrategy[bytes]:
    return st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)).map(
        lambda change: data[: change[0]] + bytes([change[1]]) + data[change[0] + 1 :]
    )


def _pyrlp_within_depth(data: bytes) -> None:
    """Decodes with pyrlp, which has no limit of depth."""
    item = rlp.decode(data)
    if _depth(item) > MAX_RLP_DEPTH:
        raise rlp.DecodingError("too deep", data)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("8100", id="byte-with-prefix"),
        pytest.param("817f", id="byte-with-prefix-7f"),
        pytest.param("b800", id="long-form-of-empty"),
        pytest.param("b837" + "61" * 55, id="long-form-of-55"),
        pytest.param("b90038" + "61" * 56, id="length-with-leading-zero"),
        pytest.param("f800", id="long-form-of-empty-list"),
        pytest.param("f90038" + "61" * 56, id="list-length-with-leading-zero"),
        pytest.param("83646f", id="string-too-short"),
        pytest.param("c883636174", id="list-too-short"),
        pytest.param("c283646f67", id="item-beyond-its-list"),
        pytest.param("b8", id="length-missing"),
        pytest.param("b9ff", id="length-cut"),
        pytest.param("bfffffffffffffffff", id="length-of-exabytes"),
        pytest.param("83646f6700", id="byte-after-string"),
        pytest.param("c0c0", id="list-after-list"),
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        rlp_decode(bytes.fromhex(text))


def test_depth_is_bounded() -> None:
    item: RlpItem = []
    for _ in range(MAX_RLP_DEPTH - 1):
        item = [item]
    assert rlp_decode(rlp_encode(item)) == item
    with pytest.raises(MalformedError, match="deep"):
        rlp_decode(rlp_encode([item]))
    with pytest.raises(MalformedError):  # no recursion error either
        rlp_decode(b"\xc1" * 100_000)
