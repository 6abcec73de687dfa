"""Receipts tries of ``ledger.receipt``: the same roots as the ``trie`` library, and no proof but the right one."""

from __future__ import annotations

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st
from trie.hexary import HexaryTrie

from ledger.errors import MalformedError, TrainmarkError, VerificationError
from ledger.receipt import RlpItem, build_receipt_proof, keccak256, rlp_decode, rlp_encode, verify_receipt


def reference_root(receipts: list[bytes]) -> bytes:
    """Returns the root the ``trie`` library computes."""
    trie = HexaryTrie({})
    for index, receipt in enumerate(receipts):
        trie[rlp.encode(index)] = receipt
    return bytes(trie.root_hash)


def long_receipts(count: int) -> list[bytes]:
    """Returns different receipts, each long enough to be a node of its own."""
    return [b"\x02" + index.to_bytes(2, "big") * 30 for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 127, 128, 129, 130, 255, 256, 257, 300])
@pytest.mark.parametrize("length", [1, 20, 60], ids=["inline", "short", "long"])
def test_roots_and_proofs(count: int, length: int) -> None:
    receipts = [bytes([1 + index % 255]) * length for index in range(count)]
    root = reference_root(receipts)
    for index in {0, 1, count // 2, 127, 128, 255, 256, count - 1}:
        if index < count:
            built, nodes = build_receipt_proof(receipts, index)
            assert built == root
            assert verify_receipt(root, index, nodes) == receipts[index]


@given(st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=140), st.data())
def test_any_receipts(receipts: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(receipts) - 1))
    root, nodes = build_receipt_proof(receipts, index)
    assert root == reference_root(receipts)
    assert verify_receipt(root, index, nodes) == receipts[index]


def test_proofs_of_the_library_are_taken() -> None:
    receipts = long_receipts(200)
    trie = HexaryTrie({})
    for index, receipt in enumerate(receipts):
        trie[rlp.encode(index)] = receipt
    for index in (0, 1, 127, 128, 199):
        nodes = [rlp.encode(node) for node in trie.get_proof(rlp.encode(index))]  # type: ignore[no-untyped-call]
        assert nodes == build_receipt_proof(receipts, index)[1]
        assert verify_receipt(trie.root_hash, index, nodes) == receipts[index]


@pytest.mark.parametrize("index", [0, 1, 127, 128, 199])
def test_every_flipped_bit_is_refused(index: int) -> None:
    root, nodes = build_receipt_proof(long_receipts(200), index)
    for at, node in enumerate(nodes):
        for position in range(len(node)):
            changed = node[:position] + bytes([node[position] ^ 1 << position % 8]) + node[position + 1 :]
            with pytest.raises(VerificationError):
                verify_receipt(root, index, [*nodes[:at], changed, *nodes[at + 1 :]])
    for position in range(32):
        with pytest.raises(VerificationError):
            verify_receipt(root[:position] + bytes([root[position] ^ 1]) + root[position + 1 :], index, nodes)


@pytest.mark.parametrize("index", [0, 5, 128])
def test_the_nodes_are_exactly_the_way(index: int) -> None:
    receipts = long_receipts(200)
    root, nodes = build_receipt_proof(receipts, index)
    probes = {
        "none": [],
        "first missing": nodes[1:],
        "last missing": nodes[:-1],
        "one left over": [*nodes, nodes[-1]],
        "another tree's left over": [*nodes, build_receipt_proof(receipts, 6)[1][-1]],
        "twice": [nodes[0], *nodes],
        "backwards": nodes[::-1],
    }
    for name, probe in probes.items():
        with pytest.raises(VerificationError) as caught:
            verify_receipt(root, index, probe)
        assert (caught.value.code, caught.value.field) == ("anchor", "receipt_proof"), name


def test_a_proof_shows_its_own_index_only() -> None:
    receipts = long_receipts(200)
    for index in (0, 1, 127, 128, 199):
        root, nodes = build_receipt_proof(receipts, index)
        for other in {0, 1, 127, 128, 199, 200, index + 1} - {index}:
            with pytest.raises(VerificationError):
                verify_receipt(root, other, nodes)


def test_beyond_the_last_receipt_there_is_nothing() -> None:
    with pytest.raises(ValueError, match="no receipt 3"):
        build_receipt_proof([b"a", b"b", b"c"], 3)
    root, nodes = build_receipt_proof(long_receipts(1), 0)
    with pytest.raises(VerificationError, match="no receipt 1"):
        verify_receipt(root, 1, nodes)


def _leaf(path: str, value: bytes) -> RlpItem:
    return [bytes.fromhex(path), value]


# Trees by hand: each root is true, the node is not one a trie holds.  Key 0 is rlp(0) = 80, nibbles 8 and 0.
_LONG = bytes(range(1, 41))
_CRAFTED: dict[str, tuple[list[RlpItem], type[TrainmarkError]]] = {
    "bytes instead of a node": ([b"\x20" * 40], MalformedError),
    "three items": ([[b"\x20\x80", _LONG, b""]], MalformedError),
    "empty path": ([[b"", _LONG]], MalformedError),
    "list as path": ([[[b"\x20"], _LONG]], MalformedError),
    "flag 4": ([_leaf("4080", _LONG)], MalformedError),
    "padding not zero": ([_leaf("2180", _LONG)], MalformedError),
    "leaf elsewhere": ([_leaf("2081", _LONG)], VerificationError),
    "leaf too long": ([_leaf("208000", _LONG)], VerificationError),
    "leaf too short": ([_leaf("38", _LONG)], VerificationError),
    "empty value": ([_leaf("2080", b"")], VerificationError),
    "list as value": ([[bytes.fromhex("2080"), [_LONG]]], VerificationError),
    "extension without a path": ([[b"\x00", keccak256(rlp_encode(_leaf("2080", _LONG)))]], MalformedError),
    "hash of 31 bytes": ([[b"\x00\x80", _LONG[:31]]], MalformedError),
    "inline of 32 bytes": ([[b"\x18", [b"\x30", _LONG[:29]]]], MalformedError),
    "hash of a short node": ([[b"\x18", keccak256(rlp_encode(_leaf("30", b"x")))], _leaf("30", b"x")], MalformedError),
    "branch without the key": ([[*[b""] * 16, _LONG]], VerificationError),
    "branch without a value": ([[b"\x00\x80", keccak256(rlp_encode([_LONG[:32], *[b""] * 16]))],
                                [_LONG[:32], *[b""] * 16]], VerificationError),
}  # fmt: skip


@pytest.mark.parametrize("name", _CRAFTED)
def test_nodes_no_trie_holds(name: str) -> None:
    items, error = _CRAFTED[name]
    nodes = [rlp_encode(item) for item in items]
    with pytest.raises(error):
        verify_receipt(keccak256(nodes[0]), 0, nodes)


def test_nodes_a_trie_holds() -> None:
    # The counterparts of the crafted ones above, so that they fail for their reason and for no other.
    branch: list[RlpItem] = [*[b""] * 16, b"value"]
    trees: list[list[RlpItem]] = [
        [_leaf("2080", _LONG)],
        [[b"\x18", _leaf("30", b"x")]],
        [[b"\x00\x80", keccak256(rlp_encode([_LONG[:32], *branch[1:]]))], [_LONG[:32], *branch[1:]]],
    ]
    for items in trees:
        nodes = [rlp_encode(item) for item in items]
        value = verify_receipt(keccak256(nodes[0]), 0, nodes)
        assert value in (_LONG, b"x", b"value")
        assert rlp_decode(nodes[0]) == items[0]
