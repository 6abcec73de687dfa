"""The rules of :class:`ledger.ports.Anchor`, on the embedded chain, on a Hardhat node, and on the chain in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest

from anchors.embedded import EmbeddedChain
from anchors.evm import EvmAnchor, deploy
from ledger.errors import MalformedError, NotFoundError, RefusedError
from ledger.merkle import Tree, leaf_hash
from ledger.ports import Anchor
from ledger.receipt import parse_record, verify_record
from tests.support.chain import Chain, ChainAnchor
from tests.support.hardhat import KEYS, hardhat_node

TREE = Tree(leaf_hash(b"%d" % n) for n in range(300))
FORK = Tree(leaf_hash(b"fork %d" % n) for n in range(300))

# Opens the anchor of the first or second publisher on the same chain and contract; one at a time.
Open: TypeAlias = Callable[[int], AbstractContextManager[Anchor]]


@pytest.fixture(scope="module")
def hardhat() -> Iterator[tuple[str, str]]:
    with hardhat_node() as url:
        yield url, deploy(url, KEYS[0])


@pytest.fixture(params=["embedded", "memory", pytest.param("hardhat", marks=pytest.mark.e2e)])
def publisher(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "embedded":
        return lambda number: closing(EmbeddedChain(tmp_path / "chain.sqlite", KEYS[number]))
    if request.param == "memory":
        chain = Chain(is_instant=True)
        return lambda number: closing(ChainAnchor(chain, f"publisher {number}"))
    url, contract = request.getfixturevalue("hardhat")

    @contextmanager
    def evm(number: int) -> Iterator[Anchor]:
        with closing(EvmAnchor(url, KEYS[number], contract)) as anchor:
            yield anchor

    return evm


@pytest.fixture
def origin(request: pytest.FixtureRequest) -> bytes:
    """A log of its own for each test: all tests share one Hardhat node."""
    return sha256(request.node.nodeid.encode()).digest()


def anchor_tree(anchor: Anchor, origin: bytes, *sizes: int) -> list[str]:
    """Anchors the tree at these sizes, one after the other."""
    transactions, old = [], anchor.head(origin)[0]
    for size in sizes:
        transactions.append(anchor.submit(origin, size, TREE.root(size), TREE.consistency_proof(old, size)))
        old = size
    return transactions


def test_identity(publisher: Open) -> None:
    with publisher(0) as anchor:
        first = anchor.identity
        assert first.chain.startswith("eip155:")
        assert anchor.block_hash(0) == first.genesis
        assert anchor.identity == first
    with publisher(1) as anchor:
        second = anchor.identity
    with publisher(0) as anchor:
        assert anchor.identity == first
    assert (second.chain, second.genesis, second.contract) == (first.chain, first.genesis, first.contract)
    assert second.publisher != first.publisher
    for text, size in ((first.genesis, 32), (first.contract, 20), (first.publisher, 20), (second.publisher, 20)):
        assert text == text.lower()
        assert len(bytes.fromhex(text.removeprefix("0x"))) == size


def test_heads_grow(publisher: Open, origin: bytes) -> None:
    with publisher(0) as anchor:
        assert anchor.head(origin) == (0, bytes(32))
        for size in (1, 2, 3, 4, 7, 64, 65, 299):
            anchor_tree(anchor, origin, size)
            assert anchor.head(origin) == (size, TREE.root(size))
    with publisher(0) as anchor:
        assert anchor.head(origin) == (299, TREE.root(299))


_PROOF = TREE.consistency_proof(100, 150)
_REFUSED: dict[str, tuple[int, bytes, list[bytes], str]] = {
    "smaller size": (99, TREE.root(99), [], "size-below-head"),
    "same head": (100, TREE.root(100), [], "already-anchored"),
    "same size, other root": (100, FORK.root(100), [], "forked-root"),
    "no proof": (150, TREE.root(150), [], "proof-too-short"),
    "proof cut": (150, TREE.root(150), _PROOF[:-1], "proof-too-short"),
    "proof with more": (150, TREE.root(150), [*_PROOF, bytes(32)], "proof-too-long"),
    "another tree's proof": (150, TREE.root(150), FORK.consistency_proof(100, 150), "wrong-proof"),
    "another tree": (150, FORK.root(150), FORK.consistency_proof(100, 150), "wrong-proof"),
    "root of another size": (150, TREE.root(149), _PROOF, "wrong-proof"),
    "empty tree": (0, TREE.root(0), [], "empty-tree"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_no_head_but_an_extension(publisher: Open, origin: bytes, name: str) -> None:
    size, root, proof, code = _REFUSED[name]
    with publisher(0) as anchor:
        anchor_tree(anchor, origin, 100)
        with pytest.raises(RefusedError) as caught:
            anchor.submit(origin, size, root, proof)
        assert caught.value.code == code
        assert anchor.head(origin) == (100, TREE.root(100))
        anchor_tree(anchor, origin, 150)  # and nothing was sent that would be in the way
        assert anchor.head(origin) == (150, TREE.root(150))


def test_a_first_anchor_takes_no_proof(publisher: Open, origin: bytes) -> None:
    with publisher(0) as anchor:
        with pytest.raises(RefusedError) as caught:
            anchor.submit(origin, 2, TREE.root(2), [TREE.root(1)])
        assert caught.value.code == "first-anchor-with-proof"
        assert anchor.head(origin) == (0, bytes(32))


def test_a_stranger_changes_nothing(publisher: Open, origin: bytes) -> None:
    with publisher(0) as anchor:
        anchor_tree(anchor, origin, 5)
    with publisher(1) as stranger:
        assert stranger.head(origin) == (0, bytes(32))
        transaction = stranger.submit(origin, 200, FORK.root(200), [])
        assert stranger.head(origin) == (200, FORK.root(200))
    with publisher(0) as anchor:
        assert anchor.head(origin) == (5, TREE.root(5))
        anchor_tree(anchor, origin, 9)
        with pytest.raises(NotFoundError):
            anchor.record(transaction)  # it anchored nothing for this publisher


def test_logs_do_not_touch_each_other(publisher: Open, origin: bytes) -> None:
    other = sha256(origin).digest()
    with publisher(0) as anchor:
        anchor_tree(anchor, origin, 5)
        anchor_tree(anchor, other, 3)
        assert (anchor.head(origin)[0], anchor.head(other)[0]) == (5, 3)


def test_records_are_evidence(publisher: Open, origin: bytes) -> None:
    with publisher(0) as anchor:
        sizes = (1, 2, 9, 128)
        for size, transaction in zip(sizes, anchor_tree(anchor, origin, *sizes), strict=True):
            status = anchor.status(transaction)
            assert status.state == "final"
            record = parse_record(anchor.record(transaction))
            identity = anchor.identity
            assert (record.chain, record.genesis) == (identity.chain, identity.genesis)
            assert (record.contract, record.publisher) == (identity.contract, identity.publisher)
            head = verify_record(record, origin)
            assert (head.size, head.root) == (size, TREE.root(size))
            assert head.block_number == status.block_number
            assert "0x" + head.block_hash.hex() == status.block_hash == anchor.block_hash(head.block_number)


def test_what_is_not_there(publisher: Open) -> None:
    nothing = "0x" + "ab" * 32
    with publisher(0) as anchor:
        assert anchor.status(nothing).state == "lost"
        with pytest.raises(NotFoundError):
            anchor.record(nothing)
        with pytest.raises(NotFoundError):
            anchor.block_hash(10**9)
        for text in (
            "",
            "0x",
            "ab" * 32,
            "0x" + "ab" * 31,
            "0x" + "zz" * 32,
            "0x" + "ab" * 31 + "  ",
            "0x" + "ab" * 32 + "\n",
        ):
            with pytest.raises(MalformedError):
                anchor.status(text)


def test_closing_twice(publisher: Open) -> None:
    with publisher(0) as anchor:
        anchor.close()
        anchor.close()


def test_a_forgotten_transaction_is_found(publisher: Open, origin: bytes) -> None:
    with publisher(1) as stranger:
        anchor_tree(stranger, origin, 5)
    with publisher(0) as anchor:
        transactions = dict(zip((3, 5, 9), anchor_tree(anchor, origin, 3, 5, 9), strict=True))
        for size, transaction in transactions.items():
            assert anchor.find(origin, size) == transaction
        for absent in (1, 4, 10):
            with pytest.raises(NotFoundError):
                anchor.find(origin, absent)
        with pytest.raises(NotFoundError):
            anchor.find(bytes(32), 5)
