"""``anchors.evm`` and ``anchors.rpc`` without a node: headers and receipts against py-evm, and strict readers."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from eth.abc import BlockHeaderAPI
from eth.rlp.logs import Log
from eth.rlp.receipts import Receipt
from eth.vm.base import VM
from eth.vm.forks.cancun import CancunVM
from eth.vm.forks.london import LondonVM
from eth.vm.forks.london.receipts import LondonReceiptBuilder
from eth.vm.forks.paris import ParisVM
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.shanghai import ShanghaiVM

from anchors.evm import EvmAnchor, encode_header, encode_receipt
from anchors.rpc import NodeError, read_bytes, read_list, read_object, read_quantity
from ledger.errors import BackendError, MalformedError
from tests.support.hardhat import free_port

# JSON-RPC's names of py-evm's header fields; both name the same places of the header.
NAMES = {
    "parent_hash": "parentHash",
    "uncles_hash": "sha3Uncles",
    "coinbase": "miner",
    "state_root": "stateRoot",
    "transaction_root": "transactionsRoot",
    "receipt_root": "receiptsRoot",
    "block_number": "number",
    "gas_limit": "gasLimit",
    "gas_used": "gasUsed",
    "extra_data": "extraData",
    "mix_hash": "mixHash",
    "base_fee_per_gas": "baseFeePerGas",
    "withdrawals_root": "withdrawalsRoot",
    "blob_gas_used": "blobGasUsed",
    "excess_blob_gas": "excessBlobGas",
    "parent_beacon_block_root": "parentBeaconBlockRoot",
    "requests_hash": "requestsHash",
}
FORKS: list[type[VM]] = [LondonVM, ParisVM, ShanghaiVM, CancunVM, PragueVM]


def _header(fork: type[VM]) -> BlockHeaderAPI:
    """Returns a header in which every field differs from the others, and numbers have zero bytes where they can."""
    header = fork.create_genesis_header(difficulty=0, gas_limit=30_000_000, timestamp=1_764_000_000)
    changes: dict[str, Any] = {"block_number": 20_000_000, "extra_data": b"\0extra", "bloom": 1 << 2000}
    for number, name in enumerate(map(str, header.as_dict())):
        if name.endswith(("_hash", "_root")):
            changes[name] = bytes([0, number]) * 16
    return header.copy(**changes)


def _json(header: BlockHeaderAPI) -> dict[str, Any]:
    """Returns the block as a node gives it."""
    block: dict[str, Any] = {"hash": "0x" + header.hash.hex(), "size": "0x220", "totalDifficulty": "0x0", "uncles": []}
    for field, value in header.as_dict().items():
        name = str(field)
        if name == "bloom":
            block["logsBloom"] = "0x" + value.to_bytes(256, "big").hex()
        else:
            block[NAMES.get(name, name)] = "0x" + value.hex() if isinstance(value, bytes) else hex(value)
    return block


@pytest.mark.parametrize("fork", FORKS, ids=lambda fork: str(fork.fork))
def test_headers_of_the_forks(fork: type[VM]) -> None:
    header = _header(fork)
    assert encode_header(_json(header)) == rlp.encode(header)


def test_fields_a_node_gives_as_null_are_not_there() -> None:
    block = _json(_header(LondonVM)) | {"withdrawalsRoot": None, "requestsHash": None}
    assert encode_header(block) == rlp.encode(_header(LondonVM))


def test_headers_that_do_not_have_their_hash_are_refused() -> None:
    block = _json(_header(PragueVM))
    for name, value in block.items():
        if name in ("hash", "size", "totalDifficulty", "uncles"):
            continue
        other = value[:-1] + ("1" if value[-1] != "1" else "2")
        with pytest.raises(BackendError, match="do not have its hash"):
            encode_header(block | {name: other})
        with pytest.raises(BackendError):
            encode_header({key: found for key, found in block.items() if key != name})
    with pytest.raises(BackendError, match="do not have its hash"):
        encode_header(block | {"hash": "0x" + "00" * 32})


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_receipts_of_every_type(kind: int) -> None:
    log = Log(b"\xc0" * 20, (1, 2**255), b"data")
    receipt = Receipt(b"\1", 54321, [log, Log(b"\1" * 20, (), b"")])
    expected = LondonReceiptBuilder.typed_receipt_class(kind, receipt).encode() if kind else receipt.encode()
    value = {
        "status": "0x1",
        "cumulativeGasUsed": hex(54321),
        "logsBloom": "0x" + receipt.bloom.to_bytes(256, "big").hex(),
        "logs": [
            {
                "address": "0x" + "C0" * 20,
                "topics": ["0x" + n.to_bytes(32, "big").hex() for n in (1, 2**255)],
                "data": "0x" + b"data".hex(),
            },
            {"address": "0x" + "01" * 20, "topics": [], "data": "0x"},
        ],
        "type": hex(kind),
    }
    assert encode_receipt(value) == expected
    if not kind:
        del value["type"]  # before EIP-2718 nodes did not name it
        assert encode_receipt(value) == expected


def test_receipts_of_deposits() -> None:
    # From the tests of reth and op-alloy, decode_deposit_receipt_canyon_roundtrip.
    value = {
        "status": "0x1",
        "cumulativeGasUsed": hex(46913),
        "logsBloom": "0x" + "00" * 256,
        "logs": [],
        "type": "0x7e",
        "depositNonce": hex(4012991),
        "depositReceiptVersion": "0x1",
    }
    assert encode_receipt(value).hex() == "7ef9010d0182b741b90100" + "00" * 256 + "c0833d3bbf01"
    # Before Canyon nodes named the nonce, and the trie did not hold it.
    del value["depositReceiptVersion"]
    assert encode_receipt(value).hex() == "7ef901080182b741b90100" + "00" * 256 + "c0"


@pytest.mark.parametrize("name", ["status", "cumulativeGasUsed", "logsBloom", "logs"])
def test_receipts_that_lack_something_are_refused(name: str) -> None:
    value: dict[str, Any] = {
        "status": "0x1",
        "cumulativeGasUsed": "0x1",
        "logsBloom": "0x" + "00" * 256,
        "logs": [],
        "type": "0x2",
    }
    assert encode_receipt(value)
    others: list[object] = [None, 1, "1", [None], "0xzz", {}]
    for other in others:
        with pytest.raises(BackendError):
            encode_receipt(value | {name: other})
    with pytest.raises(BackendError, match="below 128"):
        encode_receipt(value | {"type": "0x80"})


@pytest.mark.parametrize("value", [None, 1, "", "0x", "1", "0xg", "0x1\n", " 0x1", "0x1_0", "-0x1", "0x" + "1" * 65])
def test_quantities_are_read_strictly(value: object) -> None:
    with pytest.raises(BackendError):
        read_quantity(value, "value")


@pytest.mark.parametrize("value", [None, 1, "", "00", "0x0", "0xzz", "0x00\n", "0x 00", b"0x00"])
def test_bytes_are_read_strictly(value: object) -> None:
    with pytest.raises(BackendError):
        read_bytes(value, "value")


def test_what_nodes_write() -> None:
    assert [read_quantity(text, "value") for text in ("0x0", "0x01", "0xFf", "0x" + "f" * 64)] == [
        0,
        1,
        255,
        2**256 - 1,
    ]
    assert [read_bytes(text, "value") for text in ("0x", "0x00Ff")] == [b"", b"\0\xff"]
    assert read_bytes("0xabcd", "value", 2) == b"\xab\xcd"
    with pytest.raises(BackendError, match="expected 3 bytes"):
        read_bytes("0xabcd", "value", 3)
    with pytest.raises(BackendError):
        read_object([], "value")
    with pytest.raises(BackendError):
        read_list({}, "value")


@pytest.mark.parametrize(
    ("error", "data"),
    [
        pytest.param(
            {"code": 3, "message": "execution reverted", "data": "0xa4420a95"}, b"\xa4\x42\x0a\x95", id="geth"
        ),
        pytest.param({"code": 3, "message": "execution reverted", "data": "0x"}, b"", id="geth-empty"),
        pytest.param({"code": -32000, "message": "execution reverted"}, b"", id="without-data"),
        pytest.param(
            {"code": -32603, "message": "Error: VM Exception", "data": {"message": "…", "data": "0xa4420a95"}},
            b"\xa4\x42\x0a\x95",
            id="hardhat-2",
        ),
        pytest.param(
            {"message": "VM execution error.", "data": "Reverted 0xa4420a95"}, b"\xa4\x42\x0a\x95", id="parity"
        ),
        pytest.param({"code": -32601, "message": "the method does not exist"}, None, id="no-method"),
        pytest.param({"code": -32000, "message": "nonce too low", "data": None}, None, id="no-revert"),
        pytest.param({"code": -32000, "message": "insufficient funds", "data": "0x"}, None, id="no-revert-empty"),
        pytest.param("a text", None, id="no-object"),
    ],
)
def test_reverts_of_different_nodes(error: object, data: bytes | None) -> None:
    assert NodeError("eth_call", error).data == data


def test_a_contract_that_is_no_address() -> None:
    for contract in ("", "0x", "c0" * 20, "0x" + "c0" * 19, "0x" + "c0" * 21, "0x" + "c0" * 20 + "\n"):
        with pytest.raises(MalformedError):
            EvmAnchor("http://127.0.0.1:9", b"\1" * 32, contract)


def test_no_node_is_an_error_that_keeps_the_access_key() -> None:
    url = f"http://127.0.0.1:{free_port()}/v3/secret-access-key"
    with pytest.raises(BackendError, match="does not answer eth_chainId") as caught:
        EvmAnchor(url, b"\1" * 32, "0x" + "c0" * 20)
    assert "secret-access-key" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
