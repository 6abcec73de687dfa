"""A chain in memory that does nothing by itself: blocks, finality and reorganizations come when a test says so.

It keeps the rules of :class:`ledger.ports.Anchor` as the contract does (``tests/ports`` runs them on it too), and is
stricter where the port leaves room: a transaction waits until ``mine``, is final only after ``finalize``, and a
publisher has one transaction for each nonce, so that what is sent next takes the place of what waits.  Records are real
ones: a header and a receipt trie that verify.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from anchors.contract import NO_HEAD, make_record, transaction_hash
from ledger.canonical import Object
from ledger.encoding import sha256
from ledger.errors import BackendError, NotFoundError, RefusedError, VerificationError
from ledger.merkle import consistency_proof, verify_consistency
from ledger.ports import AnchorStatus, ChainIdentity
from ledger.receipt import ANCHORED_TOPIC, RlpItem, build_receipt_proof, hex_text, keccak256, rlp_encode, rlp_integer

CHAIN = "eip155:1337"
CONTRACT = sha256(b"contract")[:20]


@dataclass(frozen=True)
class Sent:
    """A signed transaction."""

    publisher: bytes
    nonce: int
    origin: bytes
    size: int
    root: bytes
    proof: tuple[bytes, ...]

    @property
    def hash(self) -> str:
        parts = (self.publisher, self.origin, self.root, *self.proof, b"%d %d" % (self.nonce, self.size))
        return hex_text(sha256(b"".join(parts)))


@dataclass(frozen=True)
class Block:
    """A header and its transactions, each with whether it succeeded."""

    header: bytes
    receipts: tuple[bytes, ...]
    transactions: tuple[tuple[Sent, bool], ...]

    @property
    def hash(self) -> str:
        return hex_text(keccak256(self.header))


def _refusal(head: tuple[int, bytes], size: int, root: bytes, proof: Sequence[bytes]) -> str | None:
    """Returns the code of the contract's error, as contracts/AnchorLog.sol checks."""
    old, old_root = head
    if size == 0:
        return "empty-tree"
    if old == 0:
        return "first-anchor-with-proof" if proof else None
    if size <= old:
        return "size-below-head" if size < old else "already-anchored" if root == old_root else "forked-root"
    length = len(consistency_proof(old, size, lambda *_: bytes(32)))
    if len(proof) != length:
        return "proof-too-short" if len(proof) < length else "proof-too-long"
    try:
        verify_consistency(old, size, old_root, root, proof)
    except VerificationError:
        return "wrong-proof"
    return None


@dataclass
class Chain:
    """The chain of one node; `is_instant` mines and finalizes each transaction at once, `extra` is in each header."""

    is_instant: bool = False
    extra: bytes = b""
    is_down: bool = False
    blocks: list[Block] = field(default_factory=list)
    pool: dict[tuple[bytes, int], Sent] = field(default_factory=dict)
    submitted: list[int] = field(default_factory=list)
    _final: int = 0
    _made: int = 0

    def __post_init__(self) -> None:
        self.mine()

    def mine(self) -> Block:
        """Puts into a block what waits and has its publisher's next nonce."""
        transactions: list[tuple[Sent, bool]] = []
        for sent in sorted(self.pool.values(), key=lambda sent: sent.nonce):
            done = [other for other, _ in transactions if other.publisher == sent.publisher]
            if sent.nonce == self.nonce(sent.publisher) + len(done):
                head = self.head(sent.publisher, sent.origin, transactions)
                transactions.append((sent, _refusal(head, sent.size, sent.root, sent.proof) is None))
                del self.pool[sent.publisher, sent.nonce]
        receipts = [_receipt(sent, succeeded) for sent, succeeded in transactions]
        root = build_receipt_proof(receipts, 0)[0] if receipts else bytes(32)
        self._made += 1  # so that no two blocks are the same
        number, time = rlp_integer(len(self.blocks)), rlp_integer(1_800_000_000 + self._made)
        fields = [b"", b"", b"", b"", b"", root, b"", b"", number, b"", b"", time, self.extra, b"", b""]
        block = Block(rlp_encode(list(fields)), tuple(receipts), tuple(transactions))
        self.blocks.append(block)
        return block

    def finalize(self) -> None:
        """Makes all blocks final."""
        self._final = len(self.blocks) - 1

    def reorganize(self, count: int) -> None:
        """Takes the last `count` blocks away; their transactions wait again."""
        assert len(self.blocks) - count > self._final
        for block in self.blocks[-count:]:
            for sent, _ in block.transactions:
                self.pool.setdefault((sent.publisher, sent.nonce), sent)
        del self.blocks[-count:]

    def nonce(self, publisher: bytes) -> int:
        return sum(sent.publisher == publisher for block in self.blocks for sent, _ in block.transactions)

    def head(self, publisher: bytes, origin: bytes, more: Sequence[tuple[Sent, bool]] = ()) -> tuple[int, bytes]:
        found = NO_HEAD
        for sent, succeeded in [item for block in self.blocks for item in block.transactions] + list(more):
            if succeeded and (sent.publisher, sent.origin) == (publisher, origin):
                found = sent.size, sent.root
        return found

    def find(self, transaction: str) -> tuple[int, int] | None:
        """Returns block and index of a transaction."""
        for number, block in enumerate(self.blocks):
            for index, (sent, _) in enumerate(block.transactions):
                if sent.hash == transaction:
                    return number, index
        return None


class ChainAnchor:
    """The :class:`ledger.ports.Anchor` of one publisher on `chain`."""

    def __init__(self, chain: Chain, name: str = "publisher") -> None:
        self.chain = chain
        self._publisher = sha256(name.encode())[:20]
        self._identity = ChainIdentity(CHAIN, chain.blocks[0].hash, hex_text(CONTRACT), hex_text(self._publisher))

    @property
    def identity(self) -> ChainIdentity:
        return self._identity

    def head(self, origin: bytes) -> tuple[int, bytes]:
        self._ask()
        return self.chain.head(self._publisher, origin)

    def submit(self, origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> str:
        self._ask()
        code = _refusal(self.head(origin), size, root, consistency)
        if code is not None:
            raise RefusedError("the contract refuses", code=code)
        sent = Sent(self._publisher, self.chain.nonce(self._publisher), origin, size, root, tuple(consistency))
        self.chain.pool[self._publisher, sent.nonce] = sent
        self.chain.submitted.append(size)
        if self.chain.is_instant:
            self.chain.mine()
            self.chain.finalize()
        return sent.hash

    def find(self, origin: bytes, size: int) -> str:
        self._ask()
        for block in self.chain.blocks:
            for sent, succeeded in block.transactions:
                if succeeded and (sent.publisher, sent.origin, sent.size) == (self._publisher, origin, size):
                    return sent.hash
        raise NotFoundError(f"no recent block anchors {size} leaves")

    def status(self, transaction: str) -> AnchorStatus:
        self._ask()
        transaction_hash(transaction)
        if transaction in [sent.hash for sent in tuple(self.chain.pool.values())]:
            return AnchorStatus("pending")
        place = self.chain.find(transaction)
        if place is None:
            return AnchorStatus("lost")
        number, index = place
        block = self.chain.blocks[number]
        if not block.transactions[index][1]:
            return AnchorStatus("failed", number, block.hash)
        return AnchorStatus("final" if number <= self.chain._final else "mined", number, block.hash)

    def record(self, transaction: str) -> Object:
        self._ask()
        place = self.chain.find(transaction)
        if place is None:
            raise NotFoundError("no block has the transaction")
        block = self.chain.blocks[place[0]]
        return make_record(self._identity, block.header, block.receipts, place[1])

    def block_hash(self, number: int) -> str:
        self._ask()
        if number >= len(self.chain.blocks):
            raise NotFoundError(f"the chain has no block {number}")
        return self.chain.blocks[number].hash

    def close(self) -> None:
        pass

    def _ask(self) -> None:
        if self.chain.is_down:
            raise BackendError("the node does not answer")


def _receipt(sent: Sent, succeeded: bool) -> bytes:
    topics: list[RlpItem] = [ANCHORED_TOPIC, bytes(12) + sent.publisher, sent.origin]
    log: list[RlpItem] = [CONTRACT, topics, sent.size.to_bytes(32, "big") + sent.root]
    return b"\x02" + rlp_encode([rlp_integer(succeeded), rlp_integer(21_000), bytes(256), [log] if succeeded else []])
