"""Gas of one anchor: the first, and +1 and +5000 leaves on logs of a thousand to a thousand million.

Runs the shipped contract on py-evm in memory (Prague rules, so the call data floor of EIP-7623 counts) and prints a
Markdown table.  Gas is exact and the same on every machine.  The logs consist of equal leaves: a full subtree is known
by its height, so proofs for a thousand million leaves need no leaf.  ``per file`` divides by the leaves added.

    python benchmarks/anchor_gas.py
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth_account import Account
from eth_typing import Address, BlockNumber

from anchors.contract import anchor_call, artifact, contract_address
from ledger.merkle import consistency_proof, leaf_hash, node_hash, root_at

SIZES = (10**3, 10**6, 10**9)
STEPS = (1, 5000)
_PUBLISHER = Account.from_key(sha256(b"a publisher of the benchmark").digest())
_SENDER = Address(bytes.fromhex(_PUBLISHER.address[2:]))
_GAS_LIMIT = 30_000_000
_BASE_FEE = 10**9


class _Chain(MiningChain):
    chain_id = 1
    vm_configuration = ((BlockNumber(0), PragueVM),)


@cache
def _full(level: int) -> bytes:
    """Returns the root of 2^level equal leaves."""
    if level == 0:
        return leaf_hash(b"equal")
    return node_hash(_full(level - 1), _full(level - 1))


def _node(level: int, index: int) -> bytes:
    return _full(level)


class Bench:
    """A fresh chain with the contract, and one publisher on it."""

    def __init__(self) -> None:
        db = AtomicDB()
        _Chain.from_genesis(
            db,
            {"difficulty": 0, "gas_limit": _GAS_LIMIT, "base_fee_per_gas": _BASE_FEE},
            {_SENDER: {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}},
        )
        self._chain = _Chain(db)
        self._nonce = 0
        self._contract: Address | None = None

    def deploy(self) -> int:
        """Deploys the contract; returns the gas used."""
        address = contract_address(_SENDER, self._nonce)
        gas = self._send(artifact().creation)
        self._contract = Address(address)
        return gas

    def anchor(self, origin: str, size: int, proof: list[bytes]) -> int:
        """Anchors `size` leaves; returns the gas used."""
        return self._send(anchor_call(sha256(origin.encode()).digest(), size, root_at(size, _node), proof))

    def _send(self, data: bytes) -> int:
        signed = _PUBLISHER.sign_transaction(
            {
                "type": 2,
                "chainId": _Chain.chain_id,
                "nonce": self._nonce,
                "gas": _GAS_LIMIT // 2,  # py-evm lets the limit of a block shrink a little with each
                "maxFeePerGas": 2 * _BASE_FEE,
                "maxPriorityFeePerGas": 0,
                "value": 0,
                "data": data,
                **({} if self._contract is None else {"to": self._contract}),
            }
        )
        self._nonce += 1
        transaction = PragueVM.get_transaction_builder().decode(signed.raw_transaction)
        _, receipts, computations = self._chain.mine_all([transaction])
        if computations[0].is_error:
            raise SystemExit(f"the contract refused: {computations[0].output.hex()}")
        return int(receipts[0].gas_used)


def main() -> None:
    """Prints the table."""
    bench = Bench()
    rows = [("deploy (once)", "", bench.deploy(), "")]
    rows.append(("first anchor of a log", "0", bench.anchor("first.example/log", 1000, []), ""))
    for size in SIZES:
        for step in STEPS:
            origin = f"{size}.{step}.example/log"
            bench.anchor(origin, size, [])
            proof = consistency_proof(size, size + step, _node)
            gas = bench.anchor(origin, size + step, proof)
            rows.append((f"{size:,} leaves, +{step:,}", str(len(proof)), gas, f"{gas / step:,.1f}"))
    print("| anchor | proof hashes | gas | gas per file |")
    print("|---|---:|---:|---:|")
    for name, hashes, gas, per_file in rows:
        print(f"| {name} | {hashes} | {gas:,} | {per_file} |")


if __name__ == "__main__":
    main()
