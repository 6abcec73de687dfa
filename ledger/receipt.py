"""Proof, without a node, that a block of an Ethereum-style chain holds an anchored head (docs/format.md, section 5).

An *anchor record* carries a block header and the path of one transaction receipt in that header's receipts trie.
:func:`verify_record` follows it, in this order:

1. the header is RLP (Ethereum yellow paper, appendix B) and has ``receiptsRoot`` at position 5, ``number`` at 8 and
   ``timestamp`` at 11; Keccak-256 of its bytes is the block hash;
2. the trie nodes (yellow paper, appendix D), root first, lead from ``receiptsRoot`` along the key
   ``rlp(receipt_index)`` to the receipt; each carried node is used exactly once, nodes under 32 bytes are inline;
3. the receipt, ``rlp([status, gas, bloom, logs])``, with one type byte before it unless it is a legacy one
   (EIP-2718), has status 1;
4. ``logs[log_index]`` was written by the contract and is ``Anchored(publisher, origin, size, root)``.

What it does *not* decide: whether that block is on a chain somebody trusts (compare ``block_hash``), and whether
chain, genesis, contract and publisher are the ones the verifier pinned: nothing in the record proves them.

Hashes and roots are 32 raw bytes, times are Unix seconds as the block states them, sizes count leaves.  Everything
here takes bytes and gives values: no network, no disk, no chain library.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias, Union

from Crypto.Hash import keccak

from ledger import text
from ledger.canonical import Object
from ledger.encoding import MAX_TIME
from ledger.errors import MalformedError, VerificationError, shown

RlpItem: TypeAlias = Union[bytes, list["RlpItem"]]  # noqa: UP007 - `bytes | list["…"]` fails before Python 3.14

# Headers have about 600 bytes; proof-of-authority chains add 20 for each signer.
MAX_HEADER_BYTES: Final = 4096
# A receipt index of three bytes is 8 nibbles of key: 8 branches and a leaf.  A gigagas block holds 50,000 receipts.
MAX_RECEIPT_INDEX: Final = 2**24 - 1
MAX_RECEIPT_PROOF_NODES: Final = 9
# Our own receipt has 440 bytes; a publisher that is a contract may write other logs in the same transaction.
MAX_RECEIPT_PROOF_BYTES: Final = 64 * 1024
MAX_LOG_INDEX: Final = 2**16 - 1  # more logs than that do not fit into MAX_RECEIPT_PROOF_BYTES
# Our deepest value is receipt > logs > log > topics > topic.
MAX_RLP_DEPTH: Final = 8

_RECEIPTS_ROOT, _NUMBER, _TIMESTAMP = 5, 8, 11
_LEGACY_HEADER_FIELDS = 15
_RECORD_KEYS = frozenset(
    ("kind", "chain", "genesis", "contract", "publisher", "header", "receipt_index", "receipt_proof", "log_index")
)
_HEX = re.compile(r"0x(?:[0-9a-f]{2})+")


def keccak256(data: bytes) -> bytes:
    """Returns the 32 bytes of Keccak-256 (Ethereum's, not SHA3-256)."""
    return keccak.new(digest_bits=256, data=data).digest()


ANCHORED_TOPIC: Final = keccak256(b"Anchored(address,bytes32,uint64,bytes32)")


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """The members of an ``evm`` anchor record; hex texts are lower-case with ``0x``, the rest is decoded."""

    chain: str
    genesis: str
    contract: str
    publisher: str
    header: bytes
    receipt_index: int
    receipt_proof: tuple[bytes, ...]
    log_index: int


@dataclass(frozen=True, slots=True)
class AnchoredHead:
    """What a record shows, provided that `block_hash` is a block of the pinned chain.

    ``block_time`` is the block's own timestamp in Unix seconds; ``size`` is at least 1.
    """

    block_hash: bytes
    block_number: int
    block_time: int
    size: int
    root: bytes
    publisher: str
    contract: str
    origin: bytes


def parse_record(value: object) -> AnchorRecord:
    """Reads the parsed JSON of an ``evm`` record: exactly its keys, lower-case hex, numbers within the caps above.

    Raises:
        MalformedError: it is anything else, a record of another kind included.
    """
    if not isinstance(value, dict):
        raise MalformedError(f"expected an object, found {shown(value)}", field="record")
    if value.get("kind") != "evm":
        raise MalformedError(f"expected evm, found {shown(value.get('kind'))}", field="record.kind")
    if set(value) != _RECORD_KEYS:
        expected = ", ".join(sorted(_RECORD_KEYS))
        raise MalformedError(f"expected exactly {expected}, found {shown(list(value))}", field="record")
    chain = value["chain"]
    if not isinstance(chain, str):
        raise MalformedError(f"expected text, found {shown(chain)}", field="record.chain")
    proof = value["receipt_proof"]
    if not isinstance(proof, list) or not 1 <= len(proof) <= MAX_RECEIPT_PROOF_NODES:
        raise MalformedError(
            f"expected 1 to {MAX_RECEIPT_PROOF_NODES} nodes, found {shown(proof)}", field="record.receipt_proof"
        )
    nodes = tuple(_hex(node, "record.receipt_proof", 1, MAX_RECEIPT_PROOF_BYTES) for node in proof)
    if sum(map(len, nodes)) > MAX_RECEIPT_PROOF_BYTES:
        raise MalformedError(f"more than {MAX_RECEIPT_PROOF_BYTES} bytes in all", field="record.receipt_proof")
    return AnchorRecord(
        chain=text.chain(chain, "record.chain"),
        genesis=hex_text(_hex(value["genesis"], "record.genesis", 32, 32)),
        contract=hex_text(_hex(value["contract"], "record.contract", 20, 20)),
        publisher=hex_text(_hex(value["publisher"], "record.publisher", 20, 20)),
        header=_hex(value["header"], "record.header", 1, MAX_HEADER_BYTES),
        receipt_index=_index(value["receipt_index"], "record.receipt_index", MAX_RECEIPT_INDEX),
        receipt_proof=nodes,
        log_index=_index(value["log_index"], "record.log_index", MAX_LOG_INDEX),
    )


def record_value(record: AnchorRecord) -> Object:
    """Returns the JSON value :func:`parse_record` reads back as `record`."""
    return {
        "kind": "evm",
        "chain": record.chain,
        "genesis": record.genesis,
        "contract": record.contract,
        "publisher": record.publisher,
        "header": hex_text(record.header),
        "receipt_index": record.receipt_index,
        "receipt_proof": [hex_text(node) for node in record.receipt_proof],
        "log_index": record.log_index,
    }


def verify_record(record: AnchorRecord, origin: bytes) -> AnchoredHead:
    """Checks steps 1 to 4 of the module text for the log with this `origin` (32 bytes: SHA-256 of its text).

    Raises:
        VerificationError: code ``anchor``; the message says which step failed and on what.
    """
    try:
        root, number, time = _header(record.header)
        logs = receipt_logs(verify_receipt(root, record.receipt_index, record.receipt_proof))
    except MalformedError as e:
        raise VerificationError(e.message, code="anchor", field=e.field) from e
    if not 0 <= record.log_index < len(logs):
        _refuse("log_index", f"the receipt has {len(logs)} logs, found position {record.log_index}")
    address, topics, data = logs[record.log_index]
    if hex_text(address) != record.contract:
        _refuse("log", f"written by {hex_text(address)}, expected the contract {record.contract}")
    if len(topics) != 3 or topics[0] != ANCHORED_TOPIC:
        _refuse("log", "expected the event Anchored(address,bytes32,uint64,bytes32) with two indexed values")
    if topics[1] != bytes(12) + bytes.fromhex(record.publisher[2:]):
        _refuse("log", f"anchored by {shown(hex_text(topics[1][12:]))}, expected the publisher {record.publisher}")
    if topics[2] != origin:
        _refuse("log", f"anchors another log: its origin is {topics[2].hex()}, expected {origin.hex()}")
    if len(data) != 64 or any(data[:24]):
        _refuse("log", f"expected a size of 64 bits and a root of 32 bytes, found {len(data)} bytes")
    size = int.from_bytes(data[:32], "big")
    if size == 0:
        _refuse("log", "anchors an empty tree, which the contract never does")
    return AnchoredHead(
        block_hash=keccak256(record.header),
        block_number=number,
        block_time=time,
        size=size,
        root=data[32:],
        publisher=record.publisher,
        contract=record.contract,
        origin=origin,
    )


def hex_text(data: bytes) -> str:
    """Writes bytes as ``0x`` and lower-case hex."""
    return "0x" + data.hex()


def rlp_encode(item: RlpItem) -> bytes:
    """Writes an item in RLP (yellow paper, appendix B)."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _rlp_prefix(0x80, len(item)) + item
    body = b"".join(map(rlp_encode, item))
    return _rlp_prefix(0xC0, len(body)) + body


def rlp_integer(number: int) -> bytes:
    """Returns a non-negative integer as RLP holds it: big-endian without leading zeros, zero is empty."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def rlp_decode(data: bytes, field: str = "rlp") -> RlpItem:
    """Reads exactly one item: only the shortest form of each length, no bytes after it, at most 8 lists deep.

    Raises:
        MalformedError: the bytes are not what :func:`rlp_encode` would write.
    """
    item, end = _rlp_item(data, 0, len(data), MAX_RLP_DEPTH, field)
    if end != len(data):
        raise MalformedError(f"{len(data) - end} bytes follow the RLP item", field=field)
    return item


def verify_receipt(root: bytes, index: int, nodes: Sequence[bytes]) -> bytes:
    """Returns the value under ``rlp(index)`` in the trie with `root`, following `nodes` from the root down.

    Raises:
        VerificationError: code ``anchor``; a node is not the one its parent names, is missing or left over, or there
            is no such key.
        MalformedError: a node is not RLP, or not a trie node.
    """
    path = _nibbles(rlp_encode(rlp_integer(index)))
    rest = list(reversed(nodes))
    reference: RlpItem = root
    while True:
        node = _follow(reference, rest, is_root=len(rest) == len(nodes))
        if len(node) == 17:
            if not path:
                value = node[16]
                break
            reference, path = node[path[0]], path[1:]
            if reference == b"":
                _refuse("receipt_proof", f"the block has no receipt {index}")
            continue
        part, is_leaf = _compact(node[0])
        if path[: len(part)] != part or (is_leaf and path != part):
            _refuse("receipt_proof", f"the block has no receipt {index}")
        if is_leaf:
            value = node[1]
            break
        reference, path = node[1], path[len(part) :]
    if rest:
        _refuse("receipt_proof", f"{len(rest)} nodes are left over")
    if not isinstance(value, bytes) or not value:
        _refuse("receipt_proof", f"the block has no receipt {index}")
    return value


def build_receipt_proof(receipts: Sequence[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """Returns the root of the receipts trie of a block, and the nodes that lead to receipt `index`, root first.

    `receipts` are the encoded receipts of all transactions of the block, in their order, none empty.
    """
    if not 0 <= index < len(receipts):
        raise ValueError(f"no receipt {index} among {len(receipts)}")
    keys = [_nibbles(rlp_encode(rlp_integer(i))) for i in range(len(receipts))]
    proof: list[bytes] = []
    node = _build(sorted(zip(keys, receipts, strict=True)), 0, keys[index], proof)
    data = rlp_encode(node)
    if len(data) < 32:
        proof.append(data)  # the root is hashed and carried whatever its length
    proof.reverse()
    return keccak256(data), proof


def receipt_logs(receipt: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Returns the logs (address, topics, data) of an encoded receipt with status 1.

    Raises:
        MalformedError: not a receipt.
        VerificationError: code ``anchor``; the transaction failed.
    """
    if not receipt:
        raise MalformedError("expected a receipt, found no bytes", field="receipt")
    typed = 1 <= receipt[0] < 0x80
    item = rlp_decode(receipt[1:] if typed else receipt, "receipt")
    if not isinstance(item, list) or len(item) != 4:
        raise MalformedError("expected status, gas, bloom and logs", field="receipt")
    status, _, _, logs = item
    if not isinstance(logs, list):
        raise MalformedError("expected a list of logs", field="receipt")
    if status != b"\1":
        _refuse("receipt", "the transaction failed: its status is not 1")
    return [_log(log) for log in logs]


def _refuse(field: str, message: str) -> NoReturn:
    raise VerificationError(message, code="anchor", field=field)


def _hex(text: object, field: str, low: int, high: int) -> bytes:
    """Reads `low` to `high` bytes of hex."""
    size = f"{low}" if low == high else f"{low} to {high}"
    if not isinstance(text, str) or not 2 * low + 2 <= len(text) <= 2 * high + 2 or not _HEX.fullmatch(text):
        raise MalformedError(f"expected 0x and {size} bytes of lower-case hex, found {shown(text)}", field=field)
    return bytes.fromhex(text[2:])


def _index(value: object, field: str, high: int) -> int:
    if type(value) is not int or not 0 <= value <= high:  # True is an int to isinstance
        raise MalformedError(f"expected an integer from 0 to {high}, found {shown(value)}", field=field)
    return value


def _rlp_prefix(base: int, length: int) -> bytes:
    if length < 56:
        return bytes([base + length])
    size = rlp_integer(length)
    return bytes([base + 55 + len(size)]) + size


def _rlp_item(data: bytes, start: int, end: int, depth: int, field: str) -> tuple[RlpItem, int]:
    """Reads the item at `start`, which must end at or before `end`; returns it and where it ends."""
    if start >= end:
        raise MalformedError("the RLP ends early", field=field)
    first = data[start]
    if first < 0x80:
        return data[start : start + 1], start + 1
    base = 0x80 if first < 0xC0 else 0xC0
    body, length = start + 1, first - base
    if length > 55:
        size = data[body : min(body + length - 55, end)]
        body, length = body + length - 55, int.from_bytes(size, "big")
        if not size or size[0] == 0 or length < 56:
            raise MalformedError("an RLP length is not in its shortest form", field=field)
    stop = body + length
    if stop > end:
        raise MalformedError("the RLP ends early", field=field)
    if base == 0x80:
        if length == 1 and data[body] < 0x80:
            raise MalformedError("an RLP byte is not in its shortest form", field=field)
        return data[body:stop], stop
    if depth == 0:
        raise MalformedError(f"RLP lists more than {MAX_RLP_DEPTH} deep", field=field)
    items: list[RlpItem] = []
    while body < stop:
        item, body = _rlp_item(data, body, stop, depth - 1, field)
        items.append(item)
    return items, stop


def _header(header: bytes) -> tuple[bytes, int, int]:
    """Returns receiptsRoot, number and timestamp; the other fields, and those a later fork adds, are not read."""
    fields = rlp_decode(header, "header")
    if not isinstance(fields, list) or len(fields) < _LEGACY_HEADER_FIELDS:
        raise MalformedError(f"expected a block header of at least {_LEGACY_HEADER_FIELDS} fields", field="header")
    root = fields[_RECEIPTS_ROOT]
    if not isinstance(root, bytes) or len(root) != 32:
        raise MalformedError("expected a receiptsRoot of 32 bytes at position 5", field="header")
    number = _rlp_number(fields[_NUMBER], 2**64 - 1, "number at position 8")
    return root, number, _rlp_number(fields[_TIMESTAMP], MAX_TIME, "timestamp at position 11")


def _rlp_number(item: RlpItem, high: int, name: str) -> int:
    if not isinstance(item, bytes) or item[:1] == b"\0" or int.from_bytes(item, "big") > high:
        raise MalformedError(f"expected a {name}, from 0 to {high}", field="header")
    return int.from_bytes(item, "big")


def _log(log: RlpItem) -> tuple[bytes, list[bytes], bytes]:
    if isinstance(log, list) and len(log) == 3:
        address, topics, data = log
        if isinstance(address, bytes) and isinstance(data, bytes) and isinstance(topics, list) and len(address) == 20:
            words = [topic for topic in topics if isinstance(topic, bytes) and len(topic) == 32]
            if len(words) == len(topics):
                return address, words, data
    raise MalformedError("expected logs of an address, topics of 32 bytes and data", field="receipt")


def _nibbles(data: bytes) -> bytes:
    """Returns the half-bytes of `data`, one each byte."""
    return bytes(nibble for byte in data for nibble in (byte >> 4, byte & 15))


def _compact(item: RlpItem) -> tuple[bytes, bool]:
    """Reads the hex-prefix encoding (yellow paper, appendix C) of a path and whether it is a leaf's."""
    if not isinstance(item, bytes) or not item:
        raise MalformedError("expected a path in a trie node", field="receipt_proof")
    nibbles = _nibbles(item)
    is_leaf, is_odd = divmod(nibbles[0], 2)
    if is_leaf > 1 or (not is_odd and nibbles[1] != 0):
        raise MalformedError("a path in a trie node has a wrong prefix", field="receipt_proof")
    path = nibbles[1:] if is_odd else nibbles[2:]
    if not path and not is_leaf:
        raise MalformedError("an extension node without a path", field="receipt_proof")
    return path, is_leaf == 1


def _compact_encode(path: bytes, *, is_leaf: bool) -> bytes:
    flag = 2 * is_leaf + len(path) % 2
    nibbles = bytes([flag]) + path if len(path) % 2 else bytes([flag, 0]) + path
    return bytes(high << 4 | low for high, low in zip(nibbles[::2], nibbles[1::2], strict=True))


def _follow(reference: RlpItem, rest: list[bytes], *, is_root: bool) -> list[RlpItem]:
    """Returns the node a parent names: inline, or the next one of `rest` (a stack), which it takes away."""
    if isinstance(reference, list):
        if len(rlp_encode(reference)) >= 32:
            raise MalformedError("a trie node of 32 bytes or more is inline", field="receipt_proof")
        node: RlpItem = reference
    else:
        if len(reference) != 32:
            raise MalformedError(
                f"expected a hash of 32 bytes in a trie node, found {len(reference)}", field="receipt_proof"
            )
        if not rest:
            _refuse("receipt_proof", "a node is missing")
        data = rest.pop()
        if keccak256(data) != reference:
            name = "the header's receiptsRoot" if is_root else "the hash in its parent"
            _refuse("receipt_proof", f"a node's Keccak-256 is not {name}")
        if len(data) < 32 and not is_root:
            raise MalformedError("a trie node under 32 bytes is not inline", field="receipt_proof")
        node = rlp_decode(data, "receipt_proof")
    if not isinstance(node, list) or len(node) not in (2, 17):
        raise MalformedError("expected a trie node of 2 or 17 items", field="receipt_proof")
    return node


def _build(items: Sequence[tuple[bytes, bytes]], depth: int, target: bytes, proof: list[bytes]) -> RlpItem:
    """Returns the node over `items` (sorted by key), whose keys agree in the first `depth` nibbles.

    Appends to `proof`, from the leaf up, each node of 32 bytes or more on the way to `target`.  No key of a receipts
    trie is the beginning of another (RLP says where an item ends), so branches hold no value of their own.
    """
    first, last = items[0][0], items[-1][0]
    if len(items) == 1:
        node: list[RlpItem] = [_compact_encode(first[depth:], is_leaf=True), items[0][1]]
    else:
        shared = depth
        while first[shared] == last[shared]:
            shared += 1
        if shared > depth:
            child = _build(items, shared, target, proof)
            node = [_compact_encode(first[depth:shared], is_leaf=False), _reference(child)]
        else:
            node = []
            for nibble in range(16):
                group = [item for item in items if item[0][depth] == nibble]
                node.append(_reference(_build(group, depth + 1, target, proof)) if group else b"")
            node.append(b"")
    if first[:depth] == target[:depth]:
        data = rlp_encode(node)
        if len(data) >= 32:
            proof.append(data)
    return node


def _reference(node: RlpItem) -> RlpItem:
    """Returns how a parent names `node`: itself when its encoding is under 32 bytes, else the hash of it."""
    data = rlp_encode(node)
    return node if len(data) < 32 else keccak256(data)
