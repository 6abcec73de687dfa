"""An anchor on an Ethereum chain: RLP, receipt tries and the event, docs/format.md, section 5.

From the yellow paper, appendices B (RLP), C (hex-prefix) and D (the trie), and EIP-2718 (typed receipts).  Whether the
block hash is one that the verifier trusts is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from Crypto.Hash import keccak

from .jcs import Json, as_integer, as_list, as_object, as_pattern, as_text, as_word
from .refuted import require

Rlp: TypeAlias = "bytes | list[Rlp]"

EVENT = "Anchored(address,bytes32,uint64,bytes32)"
RECEIPTS_ROOT, NUMBER, TIMESTAMP = 5, 8, 11  # positions in a block header

_RECORD = ["kind", "chain", "genesis", "contract", "publisher", "header", "receipt_index", "receipt_proof", "log_index"]


@dataclass(frozen=True, slots=True)
class Anchored:
    """What a record proves to whoever trusts the block hash; ``time`` is the block's, in seconds since 1970."""

    block_hash: str
    block_number: int
    time: int
    publisher: str
    contract: str
    origin: bytes
    size: int
    root: bytes


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (before the padding of SHA-3)."""
    return keccak.new(digest_bits=256, data=data).digest()


def rlp_encode(value: Rlp) -> bytes:
    """RLP of bytes or of a list."""
    if isinstance(value, bytes):
        if len(value) == 1 and value[0] < 0x80:
            return value
        return _rlp_length(0x80, len(value)) + value
    data = b"".join(rlp_encode(item) for item in value)
    return _rlp_length(0xC0, len(data)) + data


def rlp_decode(data: bytes) -> Rlp:
    """Reads RLP that ``rlp_encode`` would have written, nothing behind it.

    Raises:
        RefutedError: another form.
    """
    value, end = _rlp_item(data, 0, 0)
    require(end == len(data), "malformed", "RLP with bytes left over")
    require(rlp_encode(value) == data, "malformed", "RLP that is not canonical")
    return value


def verify_trie(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes:
    """The value at ``key`` of the trie with that root; each node is used exactly once, root first.

    Raises:
        RefutedError: ``anchor``.
    """
    left = list(nodes)
    node = _next_node(root, left, is_root=True)
    nibbles = _nibbles(key)
    while True:
        if len(node) == 17:
            if not nibbles:
                value = node[16]
                break
            reference, nibbles = node[nibbles[0]], nibbles[1:]
        else:
            require(len(node) == 2, "anchor", "a trie node of neither 2 nor 17 items")
            prefix, is_leaf = _hex_prefix(node[0])
            require(nibbles[: len(prefix)] == prefix, "anchor", "the trie holds another key here")
            nibbles = nibbles[len(prefix) :]
            if is_leaf:
                require(not nibbles, "anchor", "the trie ends before the key does")
                value = node[1]
                break
            reference = node[1]
        if isinstance(reference, list):
            require(len(rlp_encode(reference)) < 32, "anchor", "a long node inside another")
            node = reference
        else:
            require(len(reference) == 32, "anchor", "the trie holds nothing here")
            node = _next_node(reference, left)
    require(not left, "anchor", "a node that leads nowhere")
    require(isinstance(value, bytes) and value != b"", "anchor", "the trie holds no value here")
    assert isinstance(value, bytes)
    return value


def trie_proof(items: dict[bytes, bytes], key: bytes) -> tuple[bytes, list[bytes]]:
    """The root of the trie of these items and the nodes from it towards ``key``: the definition of appendix D."""
    pairs = [(_nibbles(k), v) for k, v in items.items()]
    nodes: list[bytes] = []
    encoded = rlp_encode(_structure(pairs, _nibbles(key), nodes))
    return keccak256(encoded), [encoded, *nodes]


def read_record(value: Json) -> dict[str, Json]:
    """The fields of an ``evm`` record, of the exact shape.

    Raises:
        RefutedError: ``malformed``.
    """
    record = as_object(value, _RECORD, "record")
    as_word(record["kind"], ["evm"], "record.kind")
    as_pattern(record["chain"], "eip155:[1-9][0-9]{0,31}", "record.chain")
    as_pattern(record["genesis"], "0x[0-9a-f]{64}", "record.genesis")
    as_pattern(record["contract"], "0x[0-9a-f]{40}", "record.contract")
    as_pattern(record["publisher"], "0x[0-9a-f]{40}", "record.publisher")
    as_pattern(record["header"], "0x([0-9a-f]{2})+", "record.header")
    as_integer(record["receipt_index"], "record.receipt_index")
    for node in as_list(record["receipt_proof"], "record.receipt_proof"):
        as_pattern(node, "0x([0-9a-f]{2})+", "record.receipt_proof")
    as_integer(record["log_index"], "record.log_index")
    return record


def verify_record(value: Json) -> Anchored:
    """The anchor that a record proves, up to the trust in its block hash.

    Raises:
        RefutedError: ``malformed`` for the record itself, ``anchor`` for what it holds.
    """
    record = read_record(value)
    encoded = _unhex(record["header"])
    header = rlp_decode(encoded)
    require(isinstance(header, list) and len(header) >= 15, "anchor", "a block header has at least 15 fields")
    assert isinstance(header, list)
    receipts_root = _word(header[RECEIPTS_ROOT], 32, "receiptsRoot")
    index = as_integer(record["receipt_index"], "record.receipt_index")
    nodes = [_unhex(node) for node in as_list(record["receipt_proof"], "record.receipt_proof")]
    receipt = verify_trie(receipts_root, rlp_encode(_scalar_bytes(index)), nodes)
    logs = _logs(receipt)
    position = as_integer(record["log_index"], "record.log_index")
    require(position < len(logs), "anchor", f"log {position} of a receipt of {len(logs)}")
    contract, publisher, origin, size, root = _event(logs[position])
    require(contract == record["contract"], "anchor", f"the event of the contract {contract}")
    require(publisher == record["publisher"], "anchor", f"an anchor by {publisher}")
    return Anchored(
        "0x" + keccak256(encoded).hex(),
        _scalar(header[NUMBER], "number"),
        _scalar(header[TIMESTAMP], "timestamp"),
        publisher,
        contract,
        origin,
        size,
        root,
    )


def _logs(receipt: bytes) -> list[Rlp]:
    """The logs of a receipt that succeeded; a typed receipt begins with a byte below 0x80 (EIP-2718)."""
    decoded = rlp_decode(receipt[1:] if receipt[0] < 0x80 else receipt)
    require(isinstance(decoded, list) and len(decoded) == 4, "anchor", "a receipt has four fields")
    assert isinstance(decoded, list)
    require(decoded[0] == b"\x01", "anchor", "a receipt of a transaction that failed")
    logs = decoded[3]
    require(isinstance(logs, list), "anchor", "a receipt without a list of logs")
    assert isinstance(logs, list)
    return logs


def _event(log: Rlp) -> tuple[str, str, bytes, int, bytes]:
    require(isinstance(log, list) and len(log) == 3, "anchor", "a log has address, topics and data")
    assert isinstance(log, list)
    contract, topics, data = _word(log[0], 20, "the address"), log[1], _word(log[2], 64, "the data of the event")
    require(isinstance(topics, list) and len(topics) == 3, "anchor", "the event has three topics")
    assert isinstance(topics, list)
    name, publisher, origin = (_word(topic, 32, "a topic") for topic in topics)
    require(name == keccak256(EVENT.encode()), "anchor", "another event")
    require(publisher[:12] == bytes(12), "anchor", "a publisher of more than 20 bytes")
    size = int.from_bytes(data[:32], "big")
    require(size < 2**64, "anchor", "a size beyond 64 bits")
    return "0x" + contract.hex(), "0x" + publisher[12:].hex(), origin, size, data[32:]


def _rlp_length(offset: int, length: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(size)]) + size


def _rlp_item(data: bytes, at: int, depth: int) -> tuple[Rlp, int]:
    require(depth <= 16 and at < len(data), "malformed", "RLP that ends too early or nests too deep")
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    offset = 0x80 if first < 0xC0 else 0xC0
    length, start = first - offset, at + 1
    if length > 55:
        start += length - 55
        require(start <= len(data), "malformed", "RLP that ends too early")
        length = int.from_bytes(data[at + 1 : start], "big")
    end = start + length
    require(end <= len(data), "malformed", "RLP that ends too early")
    if offset == 0x80:
        return data[start:end], end
    items: list[Rlp] = []
    while start < end:
        item, start = _rlp_item(data, start, depth + 1)
        items.append(item)
    require(start == end, "malformed", "an RLP list whose items are longer than it")
    return items, end


def _scalar_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _scalar(value: Rlp, field: str) -> int:
    require(isinstance(value, bytes) and value[:1] != b"\0" and len(value) <= 8, "anchor", f"{field}: not a number")
    assert isinstance(value, bytes)
    return int.from_bytes(value, "big")


def _word(value: Rlp, length: int, field: str) -> bytes:
    require(isinstance(value, bytes) and len(value) == length, "anchor", f"{field}: not {length} bytes")
    assert isinstance(value, bytes)
    return value


def _unhex(value: Json) -> bytes:
    return bytes.fromhex(as_text(value, "record")[2:])


def _nibbles(key: bytes) -> list[int]:
    return [nibble for byte in key for nibble in (byte >> 4, byte & 15)]


def _hex_prefix(value: Rlp) -> tuple[list[int], bool]:
    require(isinstance(value, bytes) and value != b"", "anchor", "a trie node without a path")
    assert isinstance(value, bytes)
    flag, *rest = _nibbles(value)
    require(flag < 4, "anchor", "the flag of a path in the trie")
    if flag & 1 == 0:
        require(rest[0] == 0, "anchor", "the padding of a path in the trie")
        rest = rest[1:]
    require(flag >= 2 or bool(rest), "anchor", "an extension of no length")
    return rest, flag >= 2


def _write_prefix(nibbles: list[int], is_leaf: bool) -> bytes:
    flag = 2 * is_leaf + len(nibbles) % 2
    full = [flag, *nibbles] if len(nibbles) % 2 else [flag, 0, *nibbles]
    return bytes(16 * full[i] + full[i + 1] for i in range(0, len(full), 2))


def _next_node(expected: bytes, left: list[bytes], is_root: bool = False) -> list[Rlp]:
    require(bool(left), "anchor", "a node is missing from the proof")
    encoded = left.pop(0)
    require(keccak256(encoded) == expected, "anchor", "a node with another hash than its parent says")
    require(is_root or len(encoded) >= 32, "anchor", "a short node that is not inside its parent")
    node = rlp_decode(encoded)
    require(isinstance(node, list), "anchor", "a trie node is a list")
    assert isinstance(node, list)
    return node


def _structure(pairs: list[tuple[list[int], bytes]], towards: list[int], nodes: list[bytes]) -> Rlp:
    """c(J, i) of appendix D; collects the nodes on the way to ``towards``, the nearest to the root first."""
    if len(pairs) == 1:
        return [_write_prefix(pairs[0][0], True), pairs[0][1]]
    first = pairs[0][0]
    common = 0
    while all(len(k) > common and k[common] == first[common] for k, _ in pairs):
        common += 1
    if common:
        rest = [(k[common:], v) for k, v in pairs]
        return [_write_prefix(first[:common], False), _reference(rest, towards[common:], nodes, True)]
    branch: list[Rlp] = []
    for nibble in range(16):
        rest = [(k[1:], v) for k, v in pairs if k and k[0] == nibble]
        branch.append(_reference(rest, towards[1:], nodes, towards[:1] == [nibble]) if rest else b"")
    return [*branch, next((v for k, v in pairs if not k), b"")]


def _reference(pairs: list[tuple[list[int], bytes]], towards: list[int], nodes: list[bytes], is_on_path: bool) -> Rlp:
    below: list[bytes] = []
    node = _structure(pairs, towards, below)
    encoded = rlp_encode(node)
    if len(encoded) < 32:
        return node
    if is_on_path:
        nodes += [encoded, *below]
    return keccak256(encoded)
