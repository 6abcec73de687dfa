"""A chain of one node inside the process: py-evm on one SQLite file (the default of docs/format.md, section 5).

Nothing to install or to start: the first start makes a genesis block of its own (random extra data, so no two folders
share a genesis) and deploys the anchor contract; each anchor is mined at once in a block of its own, and a block is one
SQL transaction.  Killed at any instant, the chain is that of the last committed block, and the next start goes on from
there; there is no other recovery.

What such a chain is worth: the same rules, receipts and records as any other, and no witness.  Its only node is run by
whoever anchors there, so every block is ``final`` as soon as it exists, and that is no evidence to a stranger of *when*
it existed.  Block times come from the clock, but each is at least a second after its parent: a burst runs ahead of it.

Thread-safe by one lock; a second process is refused.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import rlp
from eth.abc import ComputationAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import CanonicalHeadNotFound, HeaderNotFound, PyEVMError, TransactionNotFound
from eth.typing import HeaderParams
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.shanghai.withdrawals import Withdrawal
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from anchors.contract import (
    FIND_BLOCKS,
    anchor_call,
    anchored_sizes,
    artifact,
    contract_address,
    head_call,
    head_result,
    make_record,
    refusal,
    transaction_hash,
)
from anchors.sqlite_db import SqliteDB
from ledger.canonical import Object
from ledger.errors import BackendError, NotFoundError, shown
from ledger.ports import AnchorStatus, ChainIdentity
from ledger.receipt import hex_text

CHAIN_ID: Final = 0x544D524B  # "TMRK", 1414353483: no public chain has it, nor has any development node by default
GAS_LIMIT: Final = 30_000_000
BASE_FEE: Final = 10**9

_CONTRACT_KEY = b"trainmark:contract"
# Gas costs something on every chain; here each publisher is given ether by a withdrawal (EIP-4895), for which nobody
# has to sign.  One gift pays for millions of anchors.
_GIFT_GWEI = 10**15
_LOW_BALANCE_WEI = 10**18


class _Chain(MiningChain):
    chain_id = CHAIN_ID
    vm_configuration = ((BlockNumber(0), PragueVM),)


def _now() -> int:
    return int(time.time())


class EmbeddedChain:
    """The :class:`ledger.ports.Anchor` of one publisher key on the chain in one file."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        *,
        clock: Callable[[], int] = _now,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Opens the chain in `path`, or makes it; `key` is a secp256k1 key of 32 bytes, `clock` gives Unix seconds.

        Raises:
            BackendError: the file is in use, is something else, or cannot be written.
        """
        self._account: LocalAccount = Account.from_key(key)
        self._sender = Address(bytes.fromhex(self._account.address[2:]))
        self._clock = clock
        self._guard = threading.RLock()
        self._is_open = True
        self._db = SqliteDB(path)
        try:
            with self._border():
                self._chain = self._start(entropy)
                self._fund()
                self._contract = self._deployed()
                genesis = self._chain.get_canonical_block_hash(BlockNumber(0))
        except BaseException:
            self.close()
            raise
        self._identity = ChainIdentity(
            chain=f"eip155:{CHAIN_ID}",
            genesis=hex_text(genesis),
            contract=hex_text(self._contract),
            publisher=hex_text(self._sender),
        )

    @property
    def identity(self) -> ChainIdentity:
        """Constant; the genesis belongs to the file, the contract too, the publisher to the key."""
        return self._identity

    def head(self, origin: bytes) -> tuple[int, bytes]:
        """See :meth:`ledger.ports.Anchor.head`."""
        data = head_call(self._sender, origin)
        with self._border():
            vm = self._chain.get_vm()
            code = vm.state.get_code(self._contract)
            result = vm.execute_bytecode(
                self._sender, 0, GAS_LIMIT, self._contract, self._sender, 0, data, code, self._contract
            )
            return head_result(result.output)

    def submit(self, origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> str:
        """See :meth:`ledger.ports.Anchor.submit`; the block is durable when this returns."""
        data = anchor_call(origin, size, root, consistency)
        with self._border(), self._block():
            transaction, computation = self._mine(self._contract, data)
            if computation.is_error:
                raise refusal(computation.output)  # the block is rolled back: nothing was sent
            return hex_text(transaction.hash)

    def find(self, origin: bytes, size: int) -> str:
        """See :meth:`ledger.ports.Anchor.find`."""
        with self._border():
            latest = self._chain.get_canonical_head().block_number
            for number in range(latest, max(latest - FIND_BLOCKS, 0), -1):
                block = self._chain.get_canonical_block_by_number(BlockNumber(number))
                receipts = self._chain.chaindb.get_receipts(block.header, PragueVM.get_receipt_builder())
                for transaction, receipt in zip(block.transactions, receipts, strict=True):
                    if size in anchored_sizes(self._identity, origin, receipt.encode()):
                        return hex_text(transaction.hash)
        raise NotFoundError(f"no recent block anchors {size} leaves")

    def status(self, transaction: str) -> AnchorStatus:
        """See :meth:`ledger.ports.Anchor.status`; only ``final`` and ``lost`` exist here."""
        with self._border():
            try:
                number, _ = self._find(transaction)
            except TransactionNotFound:
                return AnchorStatus("lost")
            return AnchorStatus("final", number, hex_text(self._chain.get_canonical_block_hash(number)))

    def record(self, transaction: str) -> Object:
        """See :meth:`ledger.ports.Anchor.record`."""
        with self._border():
            try:
                number, index = self._find(transaction)
            except TransactionNotFound as e:
                raise NotFoundError(f"the chain has no transaction {shown(transaction)}") from e
            header = self._chain.get_canonical_block_header_by_number(number)
            receipts = self._chain.chaindb.get_receipts(header, PragueVM.get_receipt_builder())
            encoded = [receipt.encode() for receipt in receipts]
            return make_record(self._identity, rlp.encode(header), encoded, index)

    def block_hash(self, number: int) -> str:
        """See :meth:`ledger.ports.Anchor.block_hash`."""
        with self._border():
            try:
                return hex_text(self._chain.get_canonical_block_hash(BlockNumber(number)))
            except HeaderNotFound as e:
                raise NotFoundError(f"the chain has no block {number}") from e

    def close(self) -> None:
        """Closes the file; may be called twice.  Everything acknowledged is on the disk already."""
        with self._guard:
            self._is_open = False
            self._db.close()

    @contextmanager
    def _border(self) -> Iterator[None]:
        """One caller at a time; what SQLite and py-evm raise becomes a BackendError."""
        with self._guard:
            if not self._is_open:
                raise BackendError("the embedded chain is closed")
            try:
                yield
            except (sqlite3.Error, PyEVMError, ValidationError, rlp.RLPException) as e:
                raise BackendError(f"the embedded chain failed: {type(e).__name__}: {e}") from e

    @contextmanager
    def _block(self) -> Iterator[None]:
        """One SQL transaction around one block; when it fails, the chain object, which is ahead, is made anew."""
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._chain = _Chain(AtomicDB(self._db))
            raise

    def _start(self, entropy: Callable[[int], bytes]) -> _Chain:
        try:
            return _Chain(AtomicDB(self._db))
        except CanonicalHeadNotFound:
            genesis: dict[str, HeaderParams] = {
                "difficulty": 0,
                "gas_limit": GAS_LIMIT,
                "base_fee_per_gas": BASE_FEE,
                "timestamp": self._clock(),
                "extra_data": entropy(32),
            }
            with self._db.transaction():
                _Chain.from_genesis(AtomicDB(self._db), genesis)
            return _Chain(AtomicDB(self._db))

    def _fund(self) -> None:
        """Gives the publisher ether: at the first start, and when the key of an existing chain was replaced."""
        if self._chain.get_vm().state.get_balance(self._sender) >= _LOW_BALANCE_WEI:
            return
        with self._block():
            index = self._next_header()
            self._chain.mine_all([], withdrawals=[Withdrawal(index, 0, self._sender, _GIFT_GWEI)])

    def _deployed(self) -> Address:
        """Returns the address of the contract; deploys it where no start before got that far."""
        try:
            return Address(self._db[_CONTRACT_KEY])
        except KeyError:
            pass
        with self._block():
            address = contract_address(self._sender, self._nonce())
            _, computation = self._mine(None, artifact().creation)
            if computation.is_error or self._chain.get_vm().state.get_code(Address(address)) != artifact().runtime:
                raise BackendError("the anchor contract could not be deployed on the embedded chain")
            self._db[_CONTRACT_KEY] = address
        return Address(address)

    def _find(self, transaction: str) -> tuple[BlockNumber, int]:
        return self._chain.get_canonical_transaction_index(Hash32(transaction_hash(transaction)))

    def _nonce(self) -> int:
        return self._chain.get_vm().state.get_nonce(self._sender)

    def _next_header(self) -> int:
        """Prepares the header of the next block and returns its number."""
        parent = self._chain.get_canonical_head()
        header = self._chain.create_header_from_parent(parent)
        # py-evm lets the gas limit of empty blocks shrink; and it would take the time from its own clock.
        timestamp = max(self._clock(), parent.timestamp + 1)
        self._chain.header = header.copy(timestamp=timestamp, gas_limit=parent.gas_limit)
        return int(header.block_number)

    def _mine(self, to: Address | None, data: bytes) -> tuple[SignedTransactionAPI, ComputationAPI]:
        """Mines one transaction of the publisher; the caller looks at its outcome and owns the SQL transaction."""
        self._next_header()
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": CHAIN_ID,
                "nonce": self._nonce(),
                "gas": GAS_LIMIT,
                "maxFeePerGas": 2 * BASE_FEE,  # blocks are nearly empty: the base fee only falls
                "maxPriorityFeePerGas": 0,
                "value": 0,
                "data": data,
                **({} if to is None else {"to": to}),
            }
        )
        transaction = PragueVM.get_transaction_builder().decode(signed.raw_transaction)
        _, _, computations = self._chain.mine_all([transaction])
        return transaction, computations[0]
