"""``anchors.contract``: call data against eth-abi, refusals by name, records from blocks that fit, or do not."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from anchors.contract import (
    anchor_call,
    artifact,
    contract_address,
    head_call,
    head_result,
    make_record,
    refusal,
    transaction_hash,
)
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.ports import ChainIdentity
from ledger.receipt import (
    ANCHORED_TOPIC,
    MAX_RECEIPT_PROOF_BYTES,
    RlpItem,
    build_receipt_proof,
    keccak256,
    parse_record,
    rlp_encode,
    verify_record,
)

ORIGIN: Final = sha256(b"log.example").digest()
ROOT: Final = sha256(b"root").digest()
IDENTITY: Final = ChainIdentity("eip155:1", "0x" + "d4" * 32, "0x" + "c0" * 20, "0x" + "ab" * 20)

WORD = st.binary(min_size=32, max_size=32)


@given(WORD, st.integers(0, 2**64 - 1), WORD, st.lists(WORD, max_size=70))
def test_anchor_call_is_what_the_abi_says(origin: bytes, size: int, root: bytes, proof: list[bytes]) -> None:
    selector = function_signature_to_4byte_selector("anchor(bytes32,uint64,bytes32,bytes32[])")
    values = encode(["bytes32", "uint64", "bytes32", "bytes32[]"], [origin, size, root, proof])
    assert anchor_call(origin, size, root, proof) == selector + values


@given(st.binary(min_size=20, max_size=20), WORD)
def test_head_call_is_what_the_abi_says(publisher: bytes, origin: bytes) -> None:
    selector = function_signature_to_4byte_selector("head(address,bytes32)")
    assert head_call(publisher, origin) == selector + encode(["address", "bytes32"], [publisher, origin])


@pytest.mark.parametrize(
    ("origin", "size", "root", "proof"),
    [
        pytest.param(ORIGIN[1:], 1, ROOT, [], id="short-origin"),
        pytest.param(ORIGIN, -1, ROOT, [], id="negative-size"),
        pytest.param(ORIGIN, 2**64, ROOT, [], id="size-of-65-bits"),
        pytest.param(ORIGIN, 1, ROOT + b"\0", [], id="long-root"),
        pytest.param(ORIGIN, 1, ROOT, [ROOT, b""], id="empty-hash"),
    ],
)
def test_no_call_is_made_of_wrong_lengths(origin: bytes, size: int, root: bytes, proof: list[bytes]) -> None:
    # The ABI would pad short words with zeros, silently.
    with pytest.raises(ValueError, match=r"32 bytes|64 bits"):
        anchor_call(origin, size, root, proof)


def test_no_head_call_is_made_of_wrong_lengths() -> None:
    for publisher, origin in ((bytes(19), ORIGIN), (bytes(20), ORIGIN[1:])):
        with pytest.raises(ValueError, match="20 bytes"):
            head_call(publisher, origin)


def test_heads_are_read_strictly() -> None:
    assert head_result(bytes(24) + b"\xff" * 8 + ROOT) == (2**64 - 1, ROOT)
    for data in (b"", bytes(32), bytes(63), bytes(65), bytes(23) + b"\1" + bytes(40)):
        with pytest.raises(BackendError):
            head_result(data)


# Every custom error of the contract, and the code programs see.
CODES: Final = {
    "AlreadyAnchored": "already-anchored",
    "EmptyTree": "empty-tree",
    "FirstAnchorWithProof": "first-anchor-with-proof",
    "ForkedRoot": "forked-root",
    "ProofTooLong": "proof-too-long",
    "ProofTooShort": "proof-too-short",
    "SizeBelowHead": "size-below-head",
    "WrongProof": "wrong-proof",
}


def test_every_error_of_the_contract_has_a_code() -> None:
    errors = artifact().errors
    assert {name: refusal(selector).code for selector, (name, _) in errors.items()} == CODES


def test_refusals_say_what_the_contract_said() -> None:
    below = function_signature_to_4byte_selector("SizeBelowHead(uint64,uint64)") + encode(["uint64"] * 2, [9, 3])
    assert refusal(below).message == "the contract refuses: SizeBelowHead(head=9, size=3)"
    wrong = function_signature_to_4byte_selector("WrongProof(bytes32,bytes32)") + ROOT + ORIGIN
    assert f"impliedHead=0x{ROOT.hex()}, impliedRoot=0x{ORIGIN.hex()}" in refusal(wrong).message


@pytest.mark.parametrize("data", [b"", b"\1", b"\x08\xc3\x79\xa0" + bytes(64)], ids=["empty", "short", "Error(string)"])
def test_other_reverts_have_one_code(data: bytes) -> None:
    assert refusal(data).code == "reverted"


def test_addresses_of_created_contracts() -> None:
    # The well-known first contract of the first account of every Hardhat node.
    sender = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")
    assert contract_address(sender, 0).hex() == "5fbdb2315678afecb367f032d93f642f64180aa3"
    assert contract_address(sender, 1).hex() == "e7f1725e7734ce288f8367e1bb143e90bb3f0512"


@pytest.mark.parametrize("text", ["", "0x", "ab" * 32, "0x" + "AB" * 32, "0x" + "ab" * 33, "0x" + "ab" * 31 + " \n"])
def test_hashes_of_transactions_are_read_strictly(text: str) -> None:
    with pytest.raises(MalformedError):
        transaction_hash(text)


def _receipt(*, publisher: str = IDENTITY.publisher, status: bytes = b"\1", more: bytes = b"") -> bytes:
    """Returns a receipt with a foreign log before the anchor."""
    topics: list[RlpItem] = [ANCHORED_TOPIC, bytes(12) + bytes.fromhex(publisher[2:]), ORIGIN]
    log: list[RlpItem] = [bytes.fromhex(IDENTITY.contract[2:]), topics, bytes(31) + b"\7" + ROOT]
    foreign: list[RlpItem] = [bytes(20), [ANCHORED_TOPIC], more]
    return b"\2" + rlp_encode([status, b"\x52\x08", bytes(256), [foreign, log]])


def _header(receipts: list[bytes]) -> bytes:
    root, _ = build_receipt_proof(receipts, 0)
    fields: list[RlpItem] = [bytes(32), bytes(32), bytes(20), bytes(32), bytes(32), root, bytes(256), b""]
    return rlp_encode([*fields, b"\x09", b"", b"", b"\x64", b"", bytes(32), bytes(8)])


def test_records_are_made_of_blocks_that_fit() -> None:
    receipts = [_receipt(publisher="0x" + "cd" * 20), _receipt()]
    value = make_record(IDENTITY, _header(receipts), receipts, 1)
    assert value["log_index"] == 1
    head = verify_record(parse_record(value), ORIGIN)
    assert (head.size, head.root, head.block_number, head.block_time) == (7, ROOT, 9, 100)
    assert head.block_hash == keccak256(_header(receipts))


def test_no_record_is_made_of_other_blocks() -> None:
    receipts = [_receipt(publisher="0x" + "cd" * 20), _receipt()]
    header = _header(receipts)
    with pytest.raises(NotFoundError):
        make_record(IDENTITY, header, receipts, 0)
    with pytest.raises(BackendError, match="receiptsRoot"):
        make_record(IDENTITY, _header(receipts[::-1]), receipts, 1)
    with pytest.raises(BackendError, match="ends early"):
        make_record(IDENTITY, header[:-1], receipts, 1)
    failed = [_receipt(status=b"")]
    with pytest.raises(NotFoundError, match="failed"):
        make_record(IDENTITY, _header(failed), failed, 0)
    garbled = [receipts[1][:-1]]
    with pytest.raises(BackendError, match="malformed receipt"):
        make_record(IDENTITY, _header(garbled), garbled, 0)
    large = [_receipt(more=bytes(MAX_RECEIPT_PROOF_BYTES))]
    with pytest.raises(BackendError, match="receipt_proof"):
        make_record(IDENTITY, _header(large), large, 0)
