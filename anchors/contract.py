"""The anchor contract as bytes: call data, results, refusals, and anchor records (docs/format.md, section 5).

Written against ``contracts/AnchorLog.sol``; what is needed of the compiler's output is shipped in
``abi/AnchorLog.json``, so no compiler runs here.  Call data follows the Solidity ABI: a selector of 4 bytes, then words
of 32.  Shared by every chain adapter; talks to none itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from ledger.canonical import Object
from ledger.errors import BackendError, MalformedError, NotFoundError, RefusedError, VerificationError, shown
from ledger.ports import ChainIdentity
from ledger.receipt import (
    ANCHORED_TOPIC,
    AnchorRecord,
    build_receipt_proof,
    hex_text,
    keccak256,
    parse_record,
    receipt_logs,
    record_value,
    rlp_encode,
    rlp_integer,
    verify_record,
)

NO_HEAD: Final = (0, bytes(32))

_ANCHOR = keccak256(b"anchor(bytes32,uint64,bytes32,bytes32[])")[:4]
_HEAD = keccak256(b"head(address,bytes32)")[:4]
_HASH = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """The compiled contract; ``errors`` maps a selector to the name and (type, name) parameters of a custom error."""

    creation: bytes
    runtime: bytes
    errors: Mapping[bytes, tuple[str, tuple[tuple[str, str], ...]]]


@cache
def artifact() -> Artifact:
    """Returns the contract as shipped."""
    value = json.loads(files("anchors").joinpath("abi/AnchorLog.json").read_bytes())
    errors = {}
    for entry in value["abi"]:
        if entry["type"] == "error":
            parameters = tuple((parameter["type"], parameter["name"]) for parameter in entry["inputs"])
            signature = f"{entry['name']}({','.join(kind for kind, _ in parameters)})"
            errors[keccak256(signature.encode("ascii"))[:4]] = (entry["name"], parameters)
    return Artifact(
        creation=bytes.fromhex(value["bytecode"].removeprefix("0x")),
        runtime=bytes.fromhex(value["deployedBytecode"].removeprefix("0x")),
        errors=MappingProxyType(errors),
    )


def anchor_call(origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> bytes:
    """Returns the call data of ``anchor``; `origin`, `root` and each hash have 32 bytes, `size` 64 bits."""
    if not 0 <= size < 2**64:
        raise ValueError(f"a size has 64 bits, not {size}")
    words = [origin, _integer(size), root, _integer(4 * 32), _integer(len(consistency)), *consistency]
    if any(len(word) != 32 for word in words):
        raise ValueError("origin, root and each hash of the proof have 32 bytes")
    return _ANCHOR + b"".join(words)


def head_call(publisher: bytes, origin: bytes) -> bytes:
    """Returns the call data of ``head``; `publisher` has 20 bytes, `origin` 32."""
    if len(publisher) != 20 or len(origin) != 32:
        raise ValueError("a publisher has 20 bytes, an origin 32")
    return _HEAD + bytes(12) + publisher + origin


def head_result(data: bytes) -> tuple[int, bytes]:
    """Returns (size, root) from what ``head`` gave back.

    Raises:
        BackendError: no answer of this contract.
    """
    if len(data) != 64 or any(data[:24]):
        raise BackendError(f"expected a size and a root from the contract, found {shown(data)}")
    return int.from_bytes(data[:32], "big"), data[32:]


def refusal(data: bytes) -> RefusedError:
    """Returns the error for the revert data of a call; its code is the kebab-case name of the contract's own error.

    Revert data that is none of the contract's errors (out of gas, another contract) has the code ``reverted``.
    """
    name, parameters = artifact().errors.get(data[:4], ("Reverted", ()))
    words = [data[at : at + 32] for at in range(4, len(data), 32)] if parameters else []
    values = ", ".join(
        f"{parameter}={hex_text(word) if kind.startswith('bytes') else int.from_bytes(word, 'big')}"
        for (kind, parameter), word in zip(parameters, words, strict=False)
    )
    return RefusedError(f"the contract refuses: {name}({values})", code=re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower())


def contract_address(sender: bytes, nonce: int) -> bytes:
    """Returns the 20 bytes of the address a contract gets that `sender` creates with its transaction `nonce`."""
    return keccak256(rlp_encode([sender, rlp_integer(nonce)]))[12:]


FIND_BLOCKS: Final = 10_000
"""How many blocks ``find`` looks back: more than a day of any chain with blocks of ten seconds."""


def transaction_hash(text: str) -> bytes:
    """Reads the hash of a transaction (0x hex).

    Raises:
        MalformedError: it is something else.
    """
    if not _HASH.fullmatch(text):
        raise MalformedError(f"expected 0x and 32 bytes of lower-case hex, found {shown(text)}", field="transaction")
    return bytes.fromhex(text[2:])


def anchored_sizes(identity: ChainIdentity, origin: bytes, receipt: bytes) -> list[int]:
    """Returns the sizes that the transaction of this encoded receipt anchored for the publisher and `origin`."""
    writer = (
        bytes.fromhex(identity.contract[2:]),
        [ANCHORED_TOPIC, bytes(12) + bytes.fromhex(identity.publisher[2:]), origin],
    )
    try:
        logs = receipt_logs(receipt)
    except VerificationError:  # it failed: it anchored nothing
        return []
    return [int.from_bytes(data[:32], "big") for address, topics, data in logs if (address, topics) == writer]


def make_record(identity: ChainIdentity, header: bytes, receipts: Sequence[bytes], index: int) -> Object:
    """Returns the anchor record of transaction `index` of a block, checked as a verifier will check it.

    `receipts` are the encoded receipts of all its transactions, in their order.

    Raises:
        NotFoundError: the transaction failed, or anchored nothing for this publisher.
        BackendError: header and receipts do not fit together, or the record is beyond the caps of the format.
    """
    writer = (bytes.fromhex(identity.contract[2:]), [ANCHORED_TOPIC, bytes(12) + bytes.fromhex(identity.publisher[2:])])
    try:
        logs = receipt_logs(receipts[index])
    except VerificationError as e:
        raise NotFoundError("the transaction failed and anchored nothing") from e
    except MalformedError as e:
        raise BackendError(f"the block has a malformed receipt: {e}") from e
    origins = {at: topics[2] for at, (address, topics, _) in enumerate(logs) if (address, topics[:2]) == writer}
    if not origins:
        raise NotFoundError(f"the transaction anchored nothing for {identity.publisher}")
    log_index, origin = next(iter(origins.items()))
    value = record_value(
        AnchorRecord(
            chain=identity.chain,
            genesis=identity.genesis,
            contract=identity.contract,
            publisher=identity.publisher,
            header=header,
            receipt_index=index,
            receipt_proof=tuple(build_receipt_proof(receipts, index)[1]),
            log_index=log_index,
        )
    )
    try:
        verify_record(parse_record(value), origin)
    except (MalformedError, VerificationError) as e:
        raise BackendError(f"the block gives no valid anchor record: {e}") from e
    return value


def _integer(number: int) -> bytes:
    return number.to_bytes(32, "big")
