"""An Ethereum node over JSON-RPC: requests with retries, strict readers of its answers, and sending transactions.

Transport and retries are web3.py's ``HTTPProvider``; its formatters are not used: what a node says is read by the
functions below or refused with a BackendError.  A node is trusted for the operator's own bookkeeping only; evidence is
checked apart (``ledger.receipt``).

Sending follows three rules, because nodes and libraries give none: one transaction of a key in flight (the nonce is
that of the *latest* block, so the next one replaces what is stuck), EIP-1559 fees with a floor and a cap, and a
replacement pays at least an eighth more, which is what nodes ask for.
"""

from __future__ import annotations

import re
import threading
from typing import Any, Final

import requests
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider
from web3.exceptions import Web3Exception
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import RPCEndpoint

from ledger.errors import BackendError, shown
from ledger.receipt import hex_text, rlp_integer

GWEI: Final = 10**9
MIN_TIP: Final = GWEI // 1000  # web3.py never goes below 1 gwei, a hundred times what many chains ask for
MAX_FEE: Final = 500 * GWEI

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BUMPS = 8  # an eighth more each time: 2.6 times in all


class NodeError(BackendError):
    """The node answered with an error; ``data`` is what a contract reverted with, None when it did not revert."""

    def __init__(self, method: str, error: object) -> None:
        said = error.get("message") if isinstance(error, dict) else error
        self.text = str(said).lower()
        self.data = _revert_data(error, self.text)
        super().__init__(f"the node refuses {method}: {shown(said)}")


class Node:
    """One node and one key (secp256k1, 32 bytes).  One request at a time, from any thread."""

    def __init__(
        self, rpc_url: str, key: bytes, *, min_tip: int = MIN_TIP, max_fee: int = MAX_FEE, timeout: float = 30.0
    ) -> None:
        """Connects to nothing yet; fees are in wei for each unit of gas, `timeout` is in seconds for each try."""
        self._account: LocalAccount = Account.from_key(key)
        self.sender = bytes.fromhex(self._account.address[2:])
        self._min_tip = min_tip
        self._max_fee = max_fee
        self._session = requests.Session()
        self._provider = HTTPProvider(
            rpc_url,
            request_kwargs={"timeout": timeout},
            session=self._session,
            # A refused connection is no builtin ConnectionError to requests, so web3.py's own list does not retry it.
            exception_retry_configuration=ExceptionRetryConfiguration(
                errors=(requests.ConnectionError, requests.Timeout, requests.HTTPError), method_allowlist=("eth",)
            ),
        )
        self._guard = threading.RLock()
        self._last: tuple[int, int, int] | None = None  # nonce, tip, fee of what was sent last

    def call(self, method: str, *params: object) -> Any:
        """Returns the result of a request, as parsed JSON.

        Raises:
            NodeError: the node answers with an error.
            BackendError: no answer after 5 tries (1.9 s of pauses), or one that is not JSON-RPC.
        """
        try:
            with self._guard:
                response: object = self._provider.make_request(RPCEndpoint(method), list(params))
        except (requests.RequestException, Web3Exception, ValueError, UnicodeError) as e:
            # `from None`: the text of requests' errors has the URL, and with it the access key of many providers.
            raise BackendError(f"the node does not answer {method}: {type(e).__name__}") from None
        if isinstance(response, dict) and response.get("error") is not None:
            raise NodeError(method, response["error"])
        if not isinstance(response, dict) or "result" not in response:
            raise BackendError(f"the answer to {method} is no JSON-RPC: {shown(response)}")
        return response["result"]

    def block(self, tag: str | int) -> dict[str, Any] | None:
        """Returns a block without its transactions' bodies, by tag, number or hash; None when there is none."""
        if isinstance(tag, str) and tag.startswith("0x"):
            value = self.call("eth_getBlockByHash", tag, False)
        else:
            value = self.call("eth_getBlockByNumber", hex(tag) if isinstance(tag, int) else tag, False)
        return None if value is None else read_object(value, "block")

    def send(self, to: bytes | None, data: bytes) -> str:
        """Signs and sends a transaction that has been simulated, and returns its hash.

        What this key has in the node's pool is replaced: only the newest head counts.

        Raises:
            BackendError: code ``fee-too-high``, ``nonce-taken`` (the key was used at the same time: look at the head
                and repeat), or the node's own.
        """
        with self._guard:
            request = self.request(to, data)
            gas = read_quantity(self.call("eth_estimateGas", request, "latest"), "gas") * 6 // 5
            nonce = read_quantity(self.call("eth_getTransactionCount", request["from"], "latest"), "nonce")
            tip, fee = self._fees()
            if self._last and self._last[0] == nonce:
                tip, fee = max(tip, _bumped(self._last[1])), max(fee, _bumped(self._last[2]))
            chain = read_quantity(self.call("eth_chainId"), "chain id")
            for _ in range(_BUMPS):
                if fee > self._max_fee:
                    raise BackendError(
                        f"a fee of {fee} wei is needed, the limit is {self._max_fee}", code="fee-too-high"
                    )
                signed = self._account.sign_transaction(
                    {
                        "type": 2,
                        "chainId": chain,
                        "nonce": nonce,
                        "gas": gas,
                        "maxFeePerGas": fee,
                        "maxPriorityFeePerGas": tip,
                        "value": 0,
                        "data": data,
                        **({} if to is None else {"to": to}),
                    }
                )
                self._last = (nonce, tip, fee)
                try:
                    self.call("eth_sendRawTransaction", hex_text(signed.raw_transaction))
                except NodeError as e:
                    # A retry after a lost answer meets the transaction in the pool, or in a block already.
                    if self.call("eth_getTransactionByHash", hex_text(signed.hash)) is not None:
                        return hex_text(signed.hash)
                    if "nonce too low" in e.text:
                        raise BackendError("the key was used for another transaction", code="nonce-taken") from e
                    if "underpriced" not in e.text:
                        raise
                    tip, fee = _bumped(tip), _bumped(fee)
                else:
                    return hex_text(signed.hash)
            raise BackendError(f"the node refuses to replace a transaction, even for {fee} wei", code="fee-too-high")

    def request(self, to: bytes | None, data: bytes) -> dict[str, str]:
        """Returns the call object of ``eth_call`` and ``eth_estimateGas``."""
        value = {"from": hex_text(self.sender), "data": hex_text(data)}
        return value if to is None else value | {"to": hex_text(to)}

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        self._session.close()

    def _fees(self) -> tuple[int, int]:
        """Returns tip and highest fee: room for six full blocks in a row, each of which adds an eighth to the base."""
        latest = self.block("latest")
        if latest is None or "baseFeePerGas" not in latest:
            raise BackendError("the node has no block with a base fee (EIP-1559)")
        base = read_quantity(latest.get("baseFeePerGas"), "base fee")
        try:
            tip = read_quantity(self.call("eth_maxPriorityFeePerGas"), "tip")
        except NodeError:
            tip = self._min_tip
        tip = max(tip, self._min_tip)
        if base + tip > self._max_fee:
            raise BackendError(
                f"a fee of {base + tip} wei is needed, the limit is {self._max_fee}", code="fee-too-high"
            )
        return tip, min(2 * base + tip, self._max_fee)


def read_object(value: object, name: str) -> dict[str, Any]:
    """Reads a JSON object."""
    if not isinstance(value, dict):
        raise BackendError(f"expected an object as {name} from the node, found {shown(value)}")
    return value


def read_list(value: object, name: str) -> list[Any]:
    """Reads a JSON array."""
    if not isinstance(value, list):
        raise BackendError(f"expected a list as {name} from the node, found {shown(value)}")
    return value


def read_quantity(value: object, name: str) -> int:
    """Reads a JSON-RPC quantity (``0x1a``); leading zeros, which some nodes write, are read too."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise BackendError(f"expected a quantity as {name} from the node, found {shown(value)}")
    return int(value, 16)


def read_bytes(value: object, name: str, size: int | None = None) -> bytes:
    """Reads JSON-RPC data (``0x`` and whole bytes), of `size` bytes where that is fixed."""
    if not isinstance(value, str) or not _HEX.fullmatch(value) or (size is not None and len(value) != 2 * size + 2):
        raise BackendError(f"expected {size or 'some'} bytes as {name} from the node, found {shown(value)}")
    return bytes.fromhex(value[2:])


def read_integer(value: object, name: str) -> bytes:
    """Reads a quantity into the bytes RLP has for it."""
    return rlp_integer(read_quantity(value, name))


def _bumped(fee: int) -> int:
    return fee + fee // 8 + 1


def _revert_data(error: object, text: str) -> bytes | None:
    """Returns the revert data, which nodes put into ``data``, ``data.data`` or after ``Reverted``, or leave away."""
    data = error.get("data") if isinstance(error, dict) else None
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str):
        found = data.removeprefix("Reverted ").strip()
        if _HEX.fullmatch(found) and (found != "0x" or "revert" in text):
            return bytes.fromhex(found[2:])
    return b"" if "revert" in text else None
