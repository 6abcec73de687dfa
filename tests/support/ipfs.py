"""An IPFS node of the tests' own: js-ipfs without a network, its RPC API on a port of 127.0.0.1, ended by its id.

It runs on the Node.js of the Hardhat project; ``tests/ipfs-node`` has the lock of its packages.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import ipfshttpclient

from ledger.cid import cid_decode
from tests.support import ROOT, node
from tests.support.process import free_port, wait_for

PROJECT = ROOT / "tests" / "ipfs-node"


class IpfsServer:
    """A node over `folder`, started and ended as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where its RPC API is."""
        return f"/ip4/127.0.0.1/tcp/{self._port}"

    def start(self) -> None:
        """Starts the node and waits until it answers."""
        node.install()
        if not (PROJECT / "node_modules/.package-lock.json").is_file():  # the last that npm writes
            node.install_packages(PROJECT)
        for leftover in ("repo.lock", "api"):  # of a node that was killed
            shutil.rmtree(self.folder / "repo" / leftover, ignore_errors=True)
            (self.folder / "repo" / leftover).unlink(missing_ok=True)
        output = self.folder / "output"
        with output.open("ab") as written:
            self._process = subprocess.Popen(
                [*node.node_command(), str(PROJECT / "node.mjs"), str(self.folder / "repo"), str(self._port)],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
            )
        wait_for(self._process, self._port, output)

    def stop(self) -> None:
        """Ends the node, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def pins(self) -> set[bytes]:
        """Returns the CIDs the node has pinned."""
        with ipfshttpclient.Client(self.address, timeout=10) as client:
            return {cid_decode(text, "pin") for text in client.pin.ls(type="recursive")["Keys"]}

    def collect(self) -> None:
        """Makes the node forget what is not pinned."""
        with ipfshttpclient.Client(self.address, timeout=10) as client:
            client.repo.gc()
