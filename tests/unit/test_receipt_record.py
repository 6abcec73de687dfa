"""Anchor records of ``ledger.receipt``: blocks made by pyrlp and the ``trie`` library, and every change refused."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest
import rlp
from trie.hexary import HexaryTrie

from ledger.errors import MalformedError, VerificationError
from ledger.receipt import (
    MAX_HEADER_BYTES,
    MAX_RECEIPT_PROOF_BYTES,
    MAX_RECEIPT_PROOF_NODES,
    AnchoredHead,
    AnchorRecord,
    build_receipt_proof,
    keccak256,
    parse_record,
    record_value,
    verify_record,
)

ORIGIN = sha256(b"log.example").digest()
ROOT = sha256(b"root").digest()
CONTRACT, PUBLISHER = "0x" + "c0" * 20, "0x" + "ab" * 20
# keccak256("Anchored(address,bytes32,uint64,bytes32)"), as the compiler's ABI has it.
TOPIC = bytes.fromhex("3d0c97912257c6ad70e8f6fc81ae518ad3e14734d308b512c2729cc637a4b0b1")
NUMBER, TIME, SIZE = 20_000_000, 1_764_000_000, 123_456

Log = tuple[bytes, list[bytes], bytes]


def anchored(
    contract: str = CONTRACT,
    publisher: str = PUBLISHER,
    origin: bytes = ORIGIN,
    size: int = SIZE,
    topic: bytes = TOPIC,
) -> Log:
    """Returns the log of an anchor."""
    topics = [topic, bytes(12) + bytes.fromhex(publisher[2:]), origin]
    return bytes.fromhex(contract[2:]), topics, size.to_bytes(32, "big") + ROOT


def receipt(logs: list[Log], kind: int = 2, status: bytes = b"\1") -> bytes:
    """Returns an encoded receipt; kind 0 is a legacy one."""
    body = bytes(rlp.encode([status, 21000, bytes(256), logs]))
    return bytes([kind]) + body if kind else body


def header(receipts: list[bytes], *, number: int = NUMBER, time: int = TIME, later: int = 6) -> bytes:
    """Returns a header over these receipts, with `later` fields of later forks."""
    trie = HexaryTrie({})
    for index, item in enumerate(receipts):
        trie[rlp.encode(index)] = item
    fields: list[bytes | int] = [bytes(32), bytes(32), bytes(20), bytes(32), bytes(32), trie.root_hash]
    fields += [bytes(256), 0, number, 30_000_000, 21_000, time, b"extra", bytes(32), bytes(8)]
    return bytes(rlp.encode(fields + [10**9, b"\6" * 32, 0, 0, b"\7" * 32, b"\x08" * 32, b"\x09" * 32][:later]))


def record(receipts: list[bytes], index: int = 0, log_index: int = 0, **header_fields: int) -> AnchorRecord:
    """Returns the record of a transaction in a block of these receipts."""
    return AnchorRecord(
        chain="eip155:1",
        genesis="0x" + "d4" * 32,
        contract=CONTRACT,
        publisher=PUBLISHER,
        header=header(receipts, **header_fields),
        receipt_index=index,
        receipt_proof=tuple(build_receipt_proof(receipts, index)[1]),
        log_index=log_index,
    )


def check(value: object) -> tuple[AnchoredHead, AnchorRecord]:
    """Returns what a record says, after the way of all foreign bytes: JSON, parse, verify."""
    parsed = parse_record(value)
    return verify_record(parsed, ORIGIN), parsed


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 127])
def test_receipts_of_every_type(kind: int) -> None:
    given = record([receipt([anchored()], kind)])
    assert verify_record(given, ORIGIN) == AnchoredHead(
        block_hash=keccak256(given.header),
        block_number=NUMBER,
        block_time=TIME,
        size=SIZE,
        root=ROOT,
        publisher=PUBLISHER,
        contract=CONTRACT,
        origin=ORIGIN,
    )


@pytest.mark.parametrize("later", [0, 1, 2, 4, 5, 6, 7], ids=lambda later: f"{15 + later}-fields")
def test_headers_of_every_fork(later: int) -> None:
    head = verify_record(record([receipt([anchored()])], later=later), ORIGIN)
    assert (head.block_number, head.block_time) == (NUMBER, TIME)


@pytest.mark.parametrize("index", [0, 1, 15, 16, 127, 128, 200, 255, 256, 299])
def test_blocks_of_many_receipts(index: int) -> None:
    receipts = [receipt([anchored(size=n + 1)], n % 3) for n in range(300)]
    assert verify_record(record(receipts, index), ORIGIN).size == index + 1


def test_the_log_is_the_named_one() -> None:
    foreign: Log = (b"\1" * 20, [], b"")
    receipts = [receipt([foreign, anchored(size=7), anchored(size=8)])]
    assert [verify_record(record(receipts, log_index=at), ORIGIN).size for at in (1, 2)] == [7, 8]
    for at in (0, 3):
        with pytest.raises(VerificationError):
            verify_record(record(receipts, log_index=at), ORIGIN)


def test_the_first_and_the_last_size() -> None:
    for size in (1, 2**64 - 1):
        assert verify_record(record([receipt([anchored(size=size)])]), ORIGIN).size == size


_GOOD = anchored()
_REFUSED: dict[str, tuple[AnchorRecord, str]] = {
    "failed transaction": (record([receipt([anchored()], status=b"")]), "status is not 1"),
    "status before Byzantium": (record([receipt([anchored()], status=bytes(32))]), "status is not 1"),
    "type 0 written out": (record([b"\0" + receipt([anchored()], 0)]), "bytes follow"),
    "no list": (record([b"\2" + b"\x83abc" * 20]), "bytes follow"),
    "five fields": (record([b"\2" + rlp.encode([b"\1", 1, bytes(256), [anchored()], b""])]), "expected status, gas"),
    "logs no list": (record([b"\2" + rlp.encode([b"\1", 1, bytes(256), b"logs"])]), "list of logs"),
    "no logs": (record([receipt([])]), "has 0 logs"),
    "log out of range": (record([receipt([anchored()])], log_index=1), "has 1 logs"),
    "another contract": (record([receipt([anchored(contract="0x" + "c1" * 20)])]), "expected the contract"),
    "another publisher": (record([receipt([anchored(publisher="0x" + "ac" * 20)])]), "expected the publisher"),
    "another origin": (record([receipt([anchored(origin=sha256(b"else").digest())])]), "anchors another log"),
    "another event": (record([receipt([anchored(topic=bytes(32))])]), "expected the event"),
    "topic missing": (record([receipt([(_GOOD[0], _GOOD[1][:2], _GOOD[2])])]), "expected the event"),
    "topic too many": (record([receipt([(_GOOD[0], [*_GOOD[1], ORIGIN], _GOOD[2])])]), "expected the event"),
    "topic of 31 bytes": (record([receipt([(_GOOD[0], [TOPIC, ORIGIN[1:]], _GOOD[2])])]), "topics of 32 bytes"),
    "address of 19 bytes": (record([receipt([(_GOOD[0][1:], _GOOD[1], _GOOD[2])])]), "expected logs of an address"),
    "publisher padded otherwise": (
        record([receipt([(_GOOD[0], [TOPIC, b"\1" + bytes(11) + b"\xab" * 20, ORIGIN], _GOOD[2])])]),
        "expected the publisher",
    ),
    "data too short": (record([receipt([(_GOOD[0], _GOOD[1], _GOOD[2][:-1])])]), "found 63 bytes"),
    "data too long": (record([receipt([(_GOOD[0], _GOOD[1], _GOOD[2] + b"\0")])]), "found 65 bytes"),
    "size of 65 bits": (record([receipt([anchored(size=2**64)])]), "64 bits"),
    "size 0": (record([receipt([anchored(size=0)])]), "empty tree"),
    "time after 9999": (record([receipt([anchored()])], time=253402300800), "timestamp"),
    "number of 65 bits": (record([receipt([anchored()])], number=2**64), "number at position 8"),
    "header of 14 fields": (
        replace(record([receipt([anchored()])]), header=rlp.encode([b"\1" * 32] * 14)),
        "15 fields",
    ),
    "header no list": (replace(record([receipt([anchored()])]), header=rlp.encode(b"\1" * 600)), "15 fields"),
    "receiptsRoot of 31 bytes": (
        replace(record([receipt([anchored()])]), header=rlp.encode([b"\1" * 31] * 15)),
        "receiptsRoot",
    ),
    "receiptsRoot a list": (
        replace(record([receipt([anchored()])]), header=rlp.encode([[b"\1"]] * 15)),
        "receiptsRoot",
    ),
    "number with a leading zero": (
        replace(record([receipt([anchored()])]), header=rlp.encode([b"\1" * 32] * 8 + [b"\0\1"] + [b"\1"] * 6)),
        "number at position 8",
    ),
    "another block": (
        replace(record([receipt([anchored()])]), header=header([receipt([anchored()]), receipt([])])),
        "receiptsRoot",
    ),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_not_such_an_anchor_is_refused(name: str) -> None:
    given, message = _REFUSED[name]
    with pytest.raises(VerificationError, match=message) as caught:
        verify_record(given, ORIGIN)
    assert caught.value.code == "anchor"


def test_every_changed_character_is_refused_or_says_something_else() -> None:
    receipts = [receipt([anchored(size=n + 1)], 2) for n in range(130)]
    text = json.dumps(record_value(record(receipts, 129)), separators=(",", ":"), sort_keys=True)
    meaning = check(json.loads(text))
    refused = other = 0
    for position, character in enumerate(text):
        for change in (1, 2, 0x10, 0x20):
            changed = chr(ord(character) ^ change)
            try:
                value = json.loads(text[:position] + changed + text[position + 1 :])
            except ValueError:
                continue
            try:
                found = check(value)
            except (MalformedError, VerificationError):
                refused += 1
            else:
                # Another block hash, another chain or another genesis: nothing a verifier has pinned.
                block_hash, chain, genesis = found[0].block_hash, found[1].chain, found[1].genesis
                pinned = meaning[0].block_hash, meaning[1].chain, meaning[1].genesis
                assert (block_hash, chain, genesis) != pinned, f"position {position}"
                other += 1
    assert refused > 1000
    assert other > 100


def test_a_record_is_written_as_it_was_read() -> None:
    value = record_value(record([receipt([anchored()])]))
    assert record_value(parse_record(value)) == value
    assert parse_record(json.loads(json.dumps(value))) == record([receipt([anchored()])])


_VALUE = record_value(record([receipt([anchored()])]))
_MALFORMED: dict[str, object] = {
    "null": None,
    "list": [_VALUE],
    "text": "evm",
    "another kind": _VALUE | {"kind": "rfc3161"},
    "no kind": {key: value for key, value in _VALUE.items() if key != "kind"},
    "key missing": {key: value for key, value in _VALUE.items() if key != "log_index"},
    "key too many": _VALUE | {"note": ""},
    "key no text": _VALUE | {1: ""},
    "chain a number": _VALUE | {"chain": 1},
    "chain of another namespace": _VALUE | {"chain": "cosmos:1"},
    "chain with a leading zero": _VALUE | {"chain": "eip155:01"},
    "chain 0": _VALUE | {"chain": "eip155:0"},
    "chain in other digits": _VALUE | {"chain": "eip155:١"},
    "chain and newline": _VALUE | {"chain": "eip155:1\n"},
    "chain of 21 digits": _VALUE | {"chain": "eip155:" + "1" * 21},
    "genesis in capitals": _VALUE | {"genesis": "0x" + "D4" * 32},
    "genesis without 0x": _VALUE | {"genesis": "d4" * 32},
    "genesis of 31 bytes": _VALUE | {"genesis": "0x" + "d4" * 31},
    "genesis of 33 bytes": _VALUE | {"genesis": "0x" + "d4" * 33},
    "genesis and newline": _VALUE | {"genesis": "0x" + "d4" * 31 + "d\n"},
    "contract with a checksum": _VALUE | {"contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3"},
    "contract of 32 bytes": _VALUE | {"contract": "0x" + "c0" * 32},
    "publisher null": _VALUE | {"publisher": None},
    "header empty": _VALUE | {"header": "0x"},
    "header of half a byte": _VALUE | {"header": "0x1"},
    "header too long": _VALUE | {"header": "0x" + "00" * (MAX_HEADER_BYTES + 1)},
    "header bytes": _VALUE | {"header": b"\0"},
    "receipt index true": _VALUE | {"receipt_index": True},
    "receipt index negative": _VALUE | {"receipt_index": -1},
    "receipt index a float": _VALUE | {"receipt_index": 0.0},
    "receipt index a text": _VALUE | {"receipt_index": "0"},
    "receipt index of 25 bits": _VALUE | {"receipt_index": 2**24},
    "log index of 17 bits": _VALUE | {"log_index": 2**16},
    "proof empty": _VALUE | {"receipt_proof": []},
    "proof a text": _VALUE | {"receipt_proof": "0x00"},
    "proof of an empty node": _VALUE | {"receipt_proof": ["0x"]},
    "proof of too many nodes": _VALUE | {"receipt_proof": ["0x00"] * (MAX_RECEIPT_PROOF_NODES + 1)},
    "proof of too many bytes": _VALUE | {"receipt_proof": ["0x" + "00" * (MAX_RECEIPT_PROOF_BYTES // 2 + 1)] * 2},
}


@pytest.mark.parametrize("name", _MALFORMED)
def test_what_is_no_record_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_record(_MALFORMED[name])
    assert caught.value.field is not None
    assert caught.value.field.startswith("record")


def test_the_caps_themselves_are_allowed() -> None:
    value = _VALUE | {
        "chain": "eip155:" + "9" * 20,
        "header": "0x" + "00" * MAX_HEADER_BYTES,
        "receipt_index": 2**24 - 1,
        "receipt_proof": ["0x00"] * (MAX_RECEIPT_PROOF_NODES - 1)
        + ["0x" + "00" * (MAX_RECEIPT_PROOF_BYTES - MAX_RECEIPT_PROOF_NODES + 1)],
        "log_index": 2**16 - 1,
    }
    assert record_value(parse_record(value)) == value
    with pytest.raises(VerificationError):
        verify_record(parse_record(value), ORIGIN)
