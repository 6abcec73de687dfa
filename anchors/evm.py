"""Anchoring on any chain whose node speaks Ethereum's JSON-RPC (docs/format.md, section 5).

The chain is told apart by its genesis, not by its number alone: a development node that was started anew is another
chain with the same number, and nothing is sent to it.  The contract must have the code shipped with this release,
unless the operator names another code hash.

Anchor records are made here, not asked for: the header is written from the block's fields and must have the block's
hash, the receipts trie is built from all receipts of the block and must have the header's root; the record is then
checked as a verifier checks it.  Headers of London to Osaka are known; one with fields added by a later fork fails
clearly.  The contract itself needs a chain that has Shanghai.

``final`` is what the ``finalized`` tag covers.  For chains without that tag a number of confirmations can be given;
without one, a transaction there stays ``mined``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Final

from anchors.contract import (
    FIND_BLOCKS,
    anchor_call,
    artifact,
    head_call,
    head_result,
    make_record,
    refusal,
    transaction_hash,
)
from anchors.rpc import (
    MAX_FEE,
    MIN_TIP,
    Node,
    NodeError,
    read_bytes,
    read_integer,
    read_list,
    read_object,
    read_quantity,
)
from ledger.canonical import Object
from ledger.errors import BackendError, MalformedError, NotFoundError, shown
from ledger.ports import AnchorStatus, ChainIdentity
from ledger.receipt import ANCHORED_TOPIC, RlpItem, hex_text, keccak256, rlp_encode

# In the order of the header's RLP; the second part came one fork after the other (EIP-1559, 4895, 4844, 4788, 7685).
_FIELDS: Final = (
    ("parentHash", 32), ("sha3Uncles", 32), ("miner", 20), ("stateRoot", 32), ("transactionsRoot", 32),
    ("receiptsRoot", 32), ("logsBloom", 256), ("difficulty", 0), ("number", 0), ("gasLimit", 0), ("gasUsed", 0),
    ("timestamp", 0), ("extraData", None), ("mixHash", 32), ("nonce", 8),
)  # fmt: skip
_LATER_FIELDS: Final = (
    ("baseFeePerGas", 0), ("withdrawalsRoot", 32), ("blobGasUsed", 0), ("excessBlobGas", 0),
    ("parentBeaconBlockRoot", 32), ("requestsHash", 32),
)  # fmt: skip
# Each block of an OP-stack chain begins with a deposit, and since their fork Canyon its receipt has two more fields.
_OP_DEPOSIT = 0x7E
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class EvmAnchor:
    """The :class:`ledger.ports.Anchor` of one key and one contract on the chain of one node."""

    def __init__(
        self,
        rpc_url: str,
        key: bytes,
        contract: str,
        *,
        genesis: str | None = None,
        code_hash: str | None = None,
        confirmations: int | None = None,
        min_tip: int = MIN_TIP,
        max_fee: int = MAX_FEE,
        timeout: float = 30.0,
    ) -> None:
        """Connects, and reads chain number, genesis and the contract's code.

        `key` is a secp256k1 key of 32 bytes.  `genesis` is the one the operator expects (0x hex); `code_hash` the
        Keccak-256 of the contract's code where it is not this release's; `confirmations` (at least 1, which is the
        transaction's own block) stand for the ``finalized`` tag where the node has none.  Fees are in wei for each
        unit of gas, `timeout` in seconds for each try of a request.

        Raises:
            MalformedError: `contract` is no address.
            BackendError: no node, another chain (code ``other-chain``), or no such contract.
        """
        if not _ADDRESS.fullmatch(contract):
            raise MalformedError(f"expected 0x and 20 bytes of hex, found {shown(contract)}", field="contract")
        if confirmations is not None and confirmations < 1:
            raise ValueError("a transaction in a block has at least 1 confirmation")
        self._contract = bytes.fromhex(contract[2:])
        self._confirmations = confirmations
        self._node = Node(rpc_url, key, min_tip=min_tip, max_fee=max_fee, timeout=timeout)
        try:
            self._identity = ChainIdentity(
                chain=f"eip155:{read_quantity(self._node.call('eth_chainId'), 'chain id')}",
                genesis=self.block_hash(0),
                contract=hex_text(self._contract),
                publisher=hex_text(self._node.sender),
            )
            if genesis not in (None, self._identity.genesis):
                raise BackendError(
                    f"the node's chain begins with {self._identity.genesis}, expected {shown(genesis)}",
                    code="other-chain",
                )
            code = read_bytes(self._node.call("eth_getCode", self._identity.contract, "latest"), "code")
            self.code_hash = hex_text(keccak256(code))
            if not code:
                raise BackendError(f"there is no contract at {self._identity.contract}")
            if self.code_hash != (code_hash or hex_text(keccak256(artifact().runtime))):
                raise BackendError(f"the code at {self._identity.contract} is not the anchor contract's")
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> ChainIdentity:
        """What was read when connecting; constant."""
        return self._identity

    def head(self, origin: bytes) -> tuple[int, bytes]:
        """See :meth:`ledger.ports.Anchor.head`; the state of the latest block."""
        self._same_chain()
        request = self._node.request(self._contract, head_call(self._node.sender, origin))
        return head_result(read_bytes(self._node.call("eth_call", request, "latest"), "head"))

    def submit(self, origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> str:
        """See :meth:`ledger.ports.Anchor.submit`.

        One transaction of the key is in flight: a second call before the first is mined replaces it, so the newest
        head wins and the other hash ends ``lost``.  A BackendError may come after the node has taken the transaction
        (its answer was lost): look at :meth:`head` before repeating.

        Raises:
            BackendError: also ``fee-too-high``, ``nonce-taken``, ``other-chain``.
        """
        data = anchor_call(origin, size, root, consistency)
        self._same_chain()
        try:
            self._node.call("eth_call", self._node.request(self._contract, data), "latest")
        except NodeError as e:
            if e.data is None:
                raise
            raise refusal(e.data) from e
        return self._node.send(self._contract, data)

    def find(self, origin: bytes, size: int) -> str:
        """See :meth:`ledger.ports.Anchor.find`."""
        self._same_chain()
        latest = read_quantity(self._node.call("eth_blockNumber"), "block number")
        wanted = {
            "address": self._identity.contract,
            "topics": [
                hex_text(ANCHORED_TOPIC),
                hex_text(bytes(12) + bytes.fromhex(self._identity.publisher[2:])),
                hex_text(origin),
            ],
            "fromBlock": hex(max(latest - FIND_BLOCKS, 0)),
            "toBlock": "latest",
        }
        for item in read_list(self._node.call("eth_getLogs", wanted), "logs"):
            log = read_object(item, "log")
            data = read_bytes(log.get("data"), "log data", 64)
            if int.from_bytes(data[:32], "big") == size:
                return hex_text(read_bytes(log.get("transactionHash"), "transaction hash", 32))
        raise NotFoundError(f"no recent block anchors {size} leaves")

    def status(self, transaction: str) -> AnchorStatus:
        """See :meth:`ledger.ports.Anchor.status`."""
        self._same_chain()
        receipt = self._receipt(transaction)
        if receipt is None:
            known = self._node.call("eth_getTransactionByHash", transaction)
            return AnchorStatus("lost" if known is None else "pending")
        number = read_quantity(receipt.get("blockNumber"), "block number")
        block_hash = hex_text(read_bytes(receipt.get("blockHash"), "block hash", 32))
        if read_quantity(receipt.get("status"), "status") != 1:
            return AnchorStatus("failed", number, block_hash)
        if self._is_final(number) and self.block_hash(number) == block_hash:
            return AnchorStatus("final", number, block_hash)
        return AnchorStatus("mined", number, block_hash)

    def record(self, transaction: str) -> Object:
        """See :meth:`ledger.ports.Anchor.record`."""
        self._same_chain()
        receipt = self._receipt(transaction)
        block = (
            None if receipt is None else self._node.block(hex_text(read_bytes(receipt.get("blockHash"), "hash", 32)))
        )
        if receipt is None or block is None:
            raise NotFoundError(f"no block has the transaction {transaction}")
        receipts = [encode_receipt(item) for item in self._receipts(block)]
        index = read_quantity(receipt.get("transactionIndex"), "transaction index")
        if index >= len(receipts):
            raise BackendError(f"the node gives {len(receipts)} receipts for the block of transaction {index}")
        return make_record(self._identity, encode_header(block), receipts, index)

    def block_hash(self, number: int) -> str:
        """See :meth:`ledger.ports.Anchor.block_hash`."""
        block = self._node.block(number)
        if block is None:
            raise NotFoundError(f"the chain has no block {number}")
        return hex_text(read_bytes(block.get("hash"), "block hash", 32))

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._node.close()

    def _same_chain(self) -> None:
        """Nothing is sent to, or believed of, a node that has been started anew on another chain."""
        genesis = self.block_hash(0)
        if genesis != self._identity.genesis:
            raise BackendError(
                f"the node's chain begins with {genesis} now, it was {self._identity.genesis}", code="other-chain"
            )

    def _receipt(self, transaction: str) -> dict[str, Any] | None:
        value = self._node.call("eth_getTransactionReceipt", hex_text(transaction_hash(transaction)))
        return None if value is None else read_object(value, "receipt")

    def _is_final(self, number: int) -> bool:
        try:
            block = self._node.block("finalized")
        except NodeError:  # the node does not know the tag
            block = None
        if block is not None:
            return number <= read_quantity(block.get("number"), "block number")
        if self._confirmations is None:
            return False
        return read_quantity(self._node.call("eth_blockNumber"), "block number") - number + 1 >= self._confirmations

    def _receipts(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the receipts of all transactions of a block; asks one by one where the node has no call for it."""
        hashes = read_list(block.get("transactions"), "transactions")
        try:
            values = read_list(self._node.call("eth_getBlockReceipts", block.get("hash")), "receipts")
        except NodeError:
            values = [self._node.call("eth_getTransactionReceipt", hash_) for hash_ in hashes]
        receipts = [read_object(value, "receipt") for value in values]
        if [receipt.get("transactionHash") for receipt in receipts] != hashes:
            raise BackendError("the node's receipts are not those of the block's transactions")
        return receipts


def deploy(rpc_url: str, key: bytes, *, wait: float = 120.0, timeout: float = 30.0) -> str:
    """Deploys the anchor contract, waits up to `wait` seconds for its block, and returns its address (0x hex).

    Anchoring with this contract needs no right: whoever deploys it has no power over it.

    Raises:
        BackendError: no node, no ether, or no block in time (the transaction may still be mined).
    """
    node = Node(rpc_url, key, timeout=timeout)
    try:
        transaction = node.send(None, artifact().creation)
        end = time.monotonic() + wait
        while (receipt := node.call("eth_getTransactionReceipt", transaction)) is None:
            if time.monotonic() > end:
                raise BackendError(f"the transaction {transaction} is in no block after {wait:g} seconds")
            time.sleep(0.25)
        receipt = read_object(receipt, "receipt")
        if read_quantity(receipt.get("status"), "status") != 1:
            raise BackendError(f"the deployment {transaction} failed")
        return hex_text(read_bytes(receipt.get("contractAddress"), "contract address", 20))
    finally:
        node.close()


def encode_header(block: dict[str, Any]) -> bytes:
    """Returns the RLP of a block's header, from its JSON-RPC fields.

    Raises:
        BackendError: it has not the block's hash: a field is wrong, or from a fork after Prague.
    """
    fields = [*_FIELDS, *((name, size) for name, size in _LATER_FIELDS if block.get(name) is not None)]
    items: list[RlpItem] = [
        read_integer(block.get(name), name) if size == 0 else read_bytes(block.get(name), name, size)
        for name, size in fields
    ]
    header = rlp_encode(items)
    if keccak256(header) != read_bytes(block.get("hash"), "block hash", 32):
        number = read_quantity(block.get("number"), "number")
        raise BackendError(f"the fields of block {number} do not have its hash: its header is of an unknown fork")
    return header


def encode_receipt(receipt: dict[str, Any]) -> bytes:
    """Returns the bytes the receipts trie holds (EIP-2718), from a receipt's JSON-RPC fields."""
    logs: list[RlpItem] = []
    for log in (read_object(value, "log") for value in read_list(receipt.get("logs"), "logs")):
        topics: list[RlpItem] = [read_bytes(topic, "topic", 32) for topic in read_list(log.get("topics"), "topics")]
        logs.append([read_bytes(log.get("address"), "address", 20), topics, read_bytes(log.get("data"), "data")])
    items: list[RlpItem] = [
        read_integer(receipt.get("status"), "status"),
        read_integer(receipt.get("cumulativeGasUsed"), "cumulative gas"),
        read_bytes(receipt.get("logsBloom"), "bloom", 256),
        logs,
    ]
    kind = read_quantity(receipt.get("type", "0x0"), "receipt type")
    if kind > 0x7F:
        raise BackendError(f"expected a receipt type below 128 from the node, found {kind}")
    if kind == _OP_DEPOSIT and receipt.get("depositReceiptVersion") is not None:
        items += [read_integer(receipt.get(name), name) for name in ("depositNonce", "depositReceiptVersion")]
    return bytes([kind]) + rlp_encode(items) if kind else rlp_encode(items)
