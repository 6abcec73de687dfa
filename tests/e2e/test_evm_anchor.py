"""``anchors.evm`` on a real Hardhat node, and behind a proxy that makes the node worse: slow, forgetful, lying."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, TypeAlias

import pytest
from eth_account import Account

from anchors.contract import anchor_call
from anchors.evm import EvmAnchor, deploy
from anchors.rpc import GWEI
from ledger.errors import BackendError, NotFoundError
from ledger.merkle import Tree, leaf_hash
from ledger.receipt import parse_record, verify_record
from ledger.registry.anchoring import STUCK_SECONDS, Anchoring
from ledger.statements import key_add_body
from tests.simulator import World, identity, key
from tests.support.hardhat import KEYS, free_port, hardhat_node, post, rpc

TREE = Tree(leaf_hash(b"%d" % n) for n in range(300))

# What the proxy does to one method: gets the parameters and a way to ask the node; returns the result to hand on, or an
# HTTP status, or bytes to send as they are.
Change: TypeAlias = Callable[[list[Any], Callable[[], Any]], Any]


class Proxy(ThreadingHTTPServer):
    """Hands JSON-RPC requests on to a node, except where ``changes`` has something else for the method."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.changes: dict[str, Change] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)

        def ask() -> Any:
            return post(self.server.target, body)

        change = self.server.changes.get(request["method"])
        answer = ask() if change is None else change(request["params"], ask)
        status, content = 200, b""
        if isinstance(answer, int):
            status = answer
        elif isinstance(answer, bytes):
            content = answer
        else:
            content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with hardhat_node() as url:
        yield url


@pytest.fixture(scope="module")
def contract(node: str) -> str:
    return deploy(node, KEYS[0])


@pytest.fixture
def anchor(node: str, contract: str) -> Iterator[EvmAnchor]:
    with closing(EvmAnchor(node, KEYS[0], contract)) as adapter:
        yield adapter


@pytest.fixture
def proxy(node: str) -> Iterator[Proxy]:
    with Proxy(node) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def behind(proxy: Proxy, contract: str) -> Iterator[EvmAnchor]:
    """The adapter behind the proxy."""
    with closing(EvmAnchor(proxy.url, KEYS[0], contract)) as adapter:
        yield adapter


@pytest.fixture
def origin(request: pytest.FixtureRequest) -> bytes:
    return sha256(request.node.nodeid.encode()).digest()


@contextmanager
def by_hand(node: str) -> Iterator[None]:
    """Blocks are mined on request only."""
    rpc(node, "evm_setAutomine", False)
    try:
        yield
    finally:
        rpc(node, "evm_mine")
        rpc(node, "evm_setAutomine", True)


def put(anchor: EvmAnchor, origin: bytes, size: int) -> str:
    """Anchors the tree at `size` and returns the transaction."""
    return anchor.submit(origin, size, TREE.root(size), TREE.consistency_proof(anchor.head(origin)[0], size))


def anchored_size(anchor: EvmAnchor, transaction: str, origin: bytes) -> int:
    """Returns the size the transaction's record proves."""
    head = verify_record(parse_record(anchor.record(transaction)), origin)
    assert head.root == TREE.root(head.size)
    return head.size


# -- connecting --------------------------------------------------------------------------------------------------------


def test_the_contract_must_be_there_and_be_ours(node: str, contract: str, anchor: EvmAnchor) -> None:
    somewhere = "0x" + "5a" * 20
    with pytest.raises(BackendError, match="there is no contract"):
        EvmAnchor(node, KEYS[0], somewhere)
    rpc(node, "hardhat_setCode", somewhere, "0x6001")
    with pytest.raises(BackendError, match="not the anchor contract"):
        EvmAnchor(node, KEYS[0], somewhere)
    with pytest.raises(BackendError, match="not the anchor contract"):
        EvmAnchor(node, KEYS[0], contract, code_hash="0x" + "00" * 32)
    EvmAnchor(node, KEYS[0], contract, code_hash=anchor.code_hash).close()


def test_the_chain_must_be_the_expected_one(node: str, contract: str, anchor: EvmAnchor) -> None:
    EvmAnchor(node, KEYS[0], contract, genesis=anchor.identity.genesis).close()
    with pytest.raises(BackendError) as caught:
        EvmAnchor(node, KEYS[0], contract, genesis="0x" + "00" * 32)
    assert caught.value.code == "other-chain"


def test_a_node_started_anew_is_another_chain(origin: bytes) -> None:
    port = free_port()
    with hardhat_node(port) as url:
        contract = deploy(url, KEYS[0])
        anchor = EvmAnchor(url, KEYS[0], contract)
        transaction = put(anchor, origin, 1)
    time.sleep(1.1)  # the genesis differs by its time, in seconds
    with closing(anchor), hardhat_node(port) as url:
        # Same number, same contract at the same address, same publisher.
        assert deploy(url, KEYS[0]) == contract
        height = rpc(url, "eth_blockNumber")
        uses: list[Callable[[], object]] = [
            lambda: anchor.head(origin),
            lambda: anchor.submit(origin, 1, TREE.root(1), []),
            lambda: anchor.status(transaction),
            lambda: anchor.record(transaction),
        ]
        for use in uses:
            with pytest.raises(BackendError) as caught:
                use()
            assert caught.value.code == "other-chain"
        assert rpc(url, "eth_blockNumber") == height


def test_an_account_without_ether(node: str, contract: str, origin: bytes) -> None:
    with closing(EvmAnchor(node, b"\7" * 32, contract)) as anchor, pytest.raises(BackendError, match="funds"):
        put(anchor, origin, 1)


# -- sending -----------------------------------------------------------------------------------------------------------


def test_the_newest_head_replaces_what_waits(node: str, contract: str, anchor: EvmAnchor, origin: bytes) -> None:
    with by_hand(node):
        sent = [put(anchor, origin, size) for size in (1, 2, 3)]
        assert [anchor.status(transaction).state for transaction in sent] == ["lost", "lost", "pending"]
        with closing(EvmAnchor(node, KEYS[0], contract)) as restarted:  # knows nothing of the fees that were paid
            sent.append(put(restarted, origin, 4))
        assert [anchor.status(transaction).state for transaction in sent] == ["lost", "lost", "lost", "pending"]
        with pytest.raises(NotFoundError):
            anchor.record(sent[-1])
        rpc(node, "evm_mine")
        assert anchor.head(origin) == (4, TREE.root(4))
        assert anchored_size(anchor, sent[-1], origin) == 4


def test_a_replacement_pays_an_eighth_more(node: str, proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    answers: list[Any] = []

    def listening(_: list[Any], ask: Callable[[], Any]) -> Any:
        answers.append(ask())
        return answers[-1]

    proxy.changes["eth_sendRawTransaction"] = listening
    with by_hand(node):
        fees = []
        for size in (1, 2, 3):
            found = rpc(node, "eth_getTransactionByHash", put(behind, origin, size))
            assert isinstance(found, dict)
            fees.append((int(found["maxFeePerGas"], 16), int(found["maxPriorityFeePerGas"], 16)))
    for before, after in pairwise(fees):
        assert all(8 * new >= 9 * old for old, new in zip(before, after, strict=True))
    assert ["result" in answer for answer in answers] == [True] * 3  # the node was satisfied with each at once


def test_a_replacement_has_a_limit(node: str, contract: str, anchor: EvmAnchor, origin: bytes) -> None:
    with by_hand(node):
        waiting = put(anchor, origin, 1)
        found = rpc(node, "eth_getTransactionByHash", waiting)
        assert isinstance(found, dict)
        limit = int(found["maxFeePerGas"], 16)
        with closing(EvmAnchor(node, KEYS[0], contract, max_fee=limit)) as restarted:
            with pytest.raises(BackendError) as caught:
                put(restarted, origin, 2)
            assert caught.value.code == "fee-too-high"
        assert anchor.status(waiting).state == "pending"
    assert anchor.head(origin)[0] == 1


def test_fees_have_a_limit(node: str, anchor: EvmAnchor, origin: bytes) -> None:
    rpc(node, "hardhat_setNextBlockBaseFeePerGas", hex(700 * GWEI))
    rpc(node, "evm_mine")
    count = rpc(node, "eth_getTransactionCount", anchor.identity.publisher, "pending")
    with pytest.raises(BackendError) as caught:
        put(anchor, origin, 1)
    assert caught.value.code == "fee-too-high"
    assert rpc(node, "eth_getTransactionCount", anchor.identity.publisher, "pending") == count
    rpc(node, "hardhat_setNextBlockBaseFeePerGas", hex(GWEI))
    rpc(node, "evm_mine")
    assert anchored_size(anchor, put(anchor, origin, 1), origin) == 1


def test_a_transaction_that_a_reorganization_drops(node: str, anchor: EvmAnchor, origin: bytes) -> None:
    put(anchor, origin, 1)
    before = rpc(node, "evm_snapshot")
    dropped = put(anchor, origin, 2)
    assert anchored_size(anchor, dropped, origin) == 2
    assert rpc(node, "evm_revert", before) is True
    assert anchor.status(dropped).state == "lost"
    with pytest.raises(NotFoundError):
        anchor.record(dropped)
    assert anchor.head(origin)[0] == 1
    assert anchored_size(anchor, put(anchor, origin, 3), origin) == 3


def _raw(node: str, key: bytes, nonce: int, fields: dict[str, Any]) -> str:
    account = Account.from_key(key)
    fixed = {"type": 2, "chainId": 31337, "nonce": nonce, "gas": 400_000, "value": 0}
    fees = {"maxFeePerGas": 20 * GWEI, "maxPriorityFeePerGas": 2 * GWEI}
    signed = account.sign_transaction({**fixed, **fees, **fields})
    transaction = rpc(node, "eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
    assert isinstance(transaction, str)
    return transaction


def _nonce(node: str, key: bytes) -> int:
    count = rpc(node, "eth_getTransactionCount", Account.from_key(key).address, "latest")
    assert isinstance(count, str)
    return int(count, 16)


def test_a_transaction_that_fails(node: str, contract: str, anchor: EvmAnchor, origin: bytes) -> None:
    put(anchor, origin, 2)
    with by_hand(node):  # else the node would not take it
        data = anchor_call(origin, 1, TREE.root(1), [])
        failed = _raw(node, KEYS[0], _nonce(node, KEYS[0]), {"to": bytes.fromhex(contract[2:]), "data": data})
        rpc(node, "evm_mine")
    status = anchor.status(failed)
    assert status.state == "failed"
    assert status.block_hash == anchor.block_hash(status.block_number or 0)
    with pytest.raises(NotFoundError, match="failed"):
        anchor.record(failed)


def test_a_block_of_many_transactions(node: str, anchor: EvmAnchor, origin: bytes) -> None:
    first = _nonce(node, KEYS[1])
    with by_hand(node):
        for number in range(140):
            _raw(node, KEYS[1], first + number, {"to": "0x" + "11" * 20, "gas": 21_000})
        transaction = put(anchor, origin, 5)  # pays the smaller tip, so it comes last
        rpc(node, "evm_mine")
    record = parse_record(anchor.record(transaction))
    assert record.receipt_index > 127
    assert verify_record(record, origin).size == 5


# -- a log on it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A registry whose log no other test anchors."""
    name = sha256(request.node.nodeid.encode()).hexdigest()
    world = World(identity("registry", f"{name}.example/log"))
    assert world.registry.log.head.size == 1
    yield world
    world.close()


def grow(world: World) -> None:
    size = world.registry.log.head.size
    body = key_add_body(world.identity.did, key(f"key {size}"), recovery=False)
    world.speak(world.identity.key, "key", body, log=world.identity.origin)


def rows(world: World) -> list[tuple[int, str, bool]]:
    """Returns size, state and whether there is a record, smallest size first."""
    found = reversed(world.registry.catalog.anchors(None, 100))
    return [(row.size, row.state, row.record is not None) for row in found]


def test_heads_go_on_while_nothing_is_final(node: str, proxy: Proxy, behind: EvmAnchor, world: World) -> None:
    number = rpc(node, "eth_blockNumber")

    def lagging(params: list[Any], ask: Callable[[], Any]) -> Any:
        if params[0] != "finalized":
            return ask()
        return {"jsonrpc": "2.0", "id": 1, "result": rpc(node, "eth_getBlockByNumber", number, False)}

    proxy.changes["eth_getBlockByNumber"] = lagging
    anchoring = Anchoring(world.registry, behind)
    for _ in range(3):
        anchoring.step()
        grow(world)
    assert rows(world) == [(size, "mined", True) for size in (1, 2, 3)]
    del proxy.changes["eth_getBlockByNumber"]
    anchoring.follow()
    assert rows(world) == [(size, "final", True) for size in (1, 2, 3)]


def test_the_newest_head_replaces_what_is_stuck(node: str, anchor: EvmAnchor, world: World) -> None:
    anchoring = Anchoring(world.registry, anchor, world.clock)
    with by_hand(node):
        anchoring.step()
        grow(world)
        assert anchoring.step() == ()
        assert rows(world) == [(1, "pending", False)]
        world.clock.now += STUCK_SECONDS
        anchoring.step()
        anchoring.follow()
        assert rows(world) == [(1, "lost", False), (2, "pending", False)]
        rpc(node, "evm_mine")
        anchoring.follow()
    assert rows(world) == [(1, "lost", False), (2, "final", True)]
    assert anchor.head(anchoring.origin) == (2, world.registry.log.root_at(2))


def test_a_reorganization_drops_an_anchor(node: str, proxy: Proxy, behind: EvmAnchor, world: World) -> None:
    proxy.changes["eth_getBlockByNumber"] = _without_final
    anchoring = Anchoring(world.registry, behind)
    anchoring.step()
    grow(world)
    before = rpc(node, "evm_snapshot")
    anchoring.step()
    assert rows(world) == [(1, "mined", True), (2, "mined", True)]
    assert rpc(node, "evm_revert", before) is True
    grow(world)
    anchoring.step()
    assert rows(world) == [(1, "mined", True), (2, "lost", False), (3, "mined", True)]
    assert world.registry.log.broken is None


def test_an_anchor_nobody_wrote_down(anchor: EvmAnchor, world: World) -> None:
    anchoring, head = Anchoring(world.registry, anchor), world.registry.log.head
    transaction = anchor.submit(anchoring.origin, head.size, head.root, ())
    grow(world)
    assert sorted(row.size for row in anchoring.step()) == [1, 2]
    assert rows(world) == [(1, "final", True), (2, "final", True)]
    assert world.registry.catalog.anchors(2, 1)[0].transaction == transaction


# -- worse nodes -------------------------------------------------------------------------------------------------------


def _no_method(_: list[Any], __: Callable[[], Any]) -> Any:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "the method does not exist"}}


def _without_final(params: list[Any], ask: Callable[[], Any]) -> Any:
    return _no_method(params, ask) if params[0] == "finalized" else ask()


def test_without_the_tag_nothing_is_final(
    node: str, contract: str, proxy: Proxy, behind: EvmAnchor, origin: bytes
) -> None:
    transaction = put(behind, origin, 1)
    assert behind.status(transaction).state == "final"
    proxy.changes["eth_getBlockByNumber"] = _without_final
    assert behind.status(transaction).state == "mined"
    with closing(EvmAnchor(proxy.url, KEYS[0], contract, confirmations=3)) as confirming:
        states = [confirming.status(transaction).state]
        for _ in range(2):
            rpc(node, "evm_mine")
            states.append(confirming.status(transaction).state)
        assert states == ["mined", "mined", "final"]
    with pytest.raises(ValueError, match="at least 1"):
        EvmAnchor(proxy.url, KEYS[0], contract, confirmations=0)


def test_the_tag_may_lag(node: str, proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    transaction = put(behind, origin, 1)
    number = behind.status(transaction).block_number
    assert number is not None
    finalized = number - 1

    def lagging(params: list[Any], ask: Callable[[], Any]) -> Any:
        if params[0] != "finalized":
            return ask()
        return {"jsonrpc": "2.0", "id": 1, "result": rpc(node, "eth_getBlockByNumber", hex(finalized), False)}

    proxy.changes["eth_getBlockByNumber"] = lagging
    assert behind.status(transaction).state == "mined"
    finalized = number
    assert behind.status(transaction).state == "final"

    def other_branch(params: list[Any], ask: Callable[[], Any]) -> Any:
        answer = ask()
        if params[0] == hex(number):
            answer["result"]["hash"] = "0x" + "00" * 32
        return answer

    # A receipt from a branch that is not the one the tag covers.
    proxy.changes["eth_getBlockByNumber"] = other_branch
    assert behind.status(transaction).state == "mined"


def test_short_failures_are_ridden_out(proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    failures = 0

    def busy(_: list[Any], ask: Callable[[], Any]) -> Any:
        nonlocal failures
        failures += 1
        return 503 if failures % 3 else ask()

    proxy.changes = dict.fromkeys(("eth_call", "eth_getTransactionCount", "eth_sendRawTransaction"), busy)
    assert anchored_size(behind, put(behind, origin, 1), origin) == 1
    assert failures > 9


def test_lost_answers_send_nothing_twice(node: str, proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    answers: list[Any] = []

    def forgetful(_: list[Any], ask: Callable[[], Any]) -> Any:
        answers.append(ask())
        return answers[-1] if len(answers) % 2 == 0 else 503  # the first answer of two is lost

    proxy.changes["eth_sendRawTransaction"] = forgetful
    before = _nonce(node, KEYS[0])
    transaction = put(behind, origin, 1)  # mined at once: the second answer is "nonce too low"
    assert "result" in answers[0]
    assert "error" in answers[1]
    assert answers[0]["result"] == transaction
    with by_hand(node):
        waiting = put(behind, origin, 2)  # in the pool: the second answer is "already known"
        assert "error" in answers[3]
        assert behind.status(waiting).state == "pending"
    assert anchored_size(behind, waiting, origin) == 2
    assert _nonce(node, KEYS[0]) == before + 2


def test_a_key_used_by_somebody_else(node: str, proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    taken = hex(_nonce(node, KEYS[0]) - 1)
    proxy.changes["eth_getTransactionCount"] = lambda *_: {"jsonrpc": "2.0", "id": 1, "result": taken}
    with pytest.raises(BackendError) as caught:
        put(behind, origin, 1)
    assert caught.value.code == "nonce-taken"
    assert behind.head(origin)[0] == 0


def test_all_receipts_in_one_call(node: str, proxy: Proxy, behind: EvmAnchor, origin: bytes) -> None:
    transaction = put(behind, origin, 1)
    asked = []

    def receipts(params: list[Any], _: Callable[[], Any]) -> Any:
        asked.append(params)
        return {"jsonrpc": "2.0", "id": 1, "result": [rpc(node, "eth_getTransactionReceipt", transaction)]}

    proxy.changes["eth_getBlockReceipts"] = receipts
    assert anchored_size(behind, transaction, origin) == 1
    assert asked == [[behind.status(transaction).block_hash]]


def _changed(name: str, value: Any) -> Change:
    def change(_: list[Any], ask: Callable[[], Any]) -> Any:
        answer = ask()
        answer["result"][name] = value
        return answer

    return change


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("eth_getBlockByHash", "timestamp", "0x1"),
        ("eth_getBlockByHash", "receiptsRoot", "0x" + "00" * 32),
        ("eth_getBlockByHash", "requestsHash", None),
        ("eth_getBlockByHash", "transactions", []),
        ("eth_getBlockByHash", "transactions", None),
        ("eth_getTransactionReceipt", "cumulativeGasUsed", "0x1"),
        ("eth_getTransactionReceipt", "type", "0x0"),
        ("eth_getTransactionReceipt", "transactionIndex", "0x1"),
        ("eth_getTransactionReceipt", "transactionHash", "0x" + "00" * 32),
        ("eth_getTransactionReceipt", "blockHash", "0x00"),
        ("eth_getTransactionReceipt", "logsBloom", "0x" + "00" * 256),
    ],
)
def test_no_record_from_a_lying_node(
    proxy: Proxy, behind: EvmAnchor, origin: bytes, method: str, name: str, value: Any
) -> None:
    transaction = put(behind, origin, 1)
    assert anchored_size(behind, transaction, origin) == 1
    proxy.changes[method] = _changed(name, value)
    with pytest.raises(BackendError):
        behind.record(transaction)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"",
        b"\xff",
        b"null",
        b"[]",
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":"1"}',
        404,
    ],
)
def test_answers_that_are_none(proxy: Proxy, behind: EvmAnchor, origin: bytes, answer: bytes | int) -> None:
    proxy.changes["eth_call"] = lambda *_: answer
    with pytest.raises(BackendError):
        behind.head(origin)
