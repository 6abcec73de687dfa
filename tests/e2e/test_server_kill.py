"""A registry killed with SIGKILL again and again while it publishes: what it acknowledged is there, in one history."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.client import RegistryClient
from ledger.encoding import sha256
from ledger.errors import TrainmarkError
from ledger.merkle import Tree, leaf_hash
from tests.reference import note, tiles
from tests.support.library import make_library, signing_key

KILLS = 50
SEED = 20261124


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with (folder.parent / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ledger.cli", "serve", "--data-dir", str(folder), "--port", str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "TRAINMARK_ANCHOR_INTERVAL": "0.2"},
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder.parent / "server.log").read_text()[-2000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


class Publisher(threading.Thread):
    """Publishes one small library after the other until the server is gone; remembers what was acknowledged."""

    def __init__(self, url: str, round_: int) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.round = round_
        self.acknowledged: dict[bytes, int] = {}
        self.notes: list[bytes] = []

    def run(self) -> None:
        key = signing_key(f"creator {self.round}")
        with contextlib.suppress(TrainmarkError, OSError), RegistryClient(self.url, sleep=lambda _: None) as client:
            origin = client.policy().origin
            client.authenticate(key, key.did, ("publish",))
            for number in range(1000):
                data = b"picture %d of round %d" % (number, self.round)
                library = make_library(key, origin, [data])
                receipt = client.publish(library.manifest, library.terms, library.text)
                self.acknowledged[sha256(data)] = receipt.leaf
                self.notes.append(receipt.checkpoint)


def test_killed_while_publishing(tmp_path: Path) -> None:
    chance, folder, port = random.Random(SEED), tmp_path / "registry", free_port()
    url = f"http://127.0.0.1:{port}"
    acknowledged: dict[bytes, int] = {}
    notes: list[bytes] = []
    for round_ in range(KILLS):
        with served(folder, port) as process:
            publisher = Publisher(url, round_)
            publisher.start()
            time.sleep(chance.uniform(0.1, 0.9))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            publisher.join(60)
            assert not publisher.is_alive()
        acknowledged |= publisher.acknowledged
        notes += publisher.notes
    assert len(acknowledged) > KILLS // 2, f"seed {SEED}: too little was published to show anything"
    with served(folder, port), RegistryClient(url) as client:
        for answer, (digest, leaf) in zip(client.resolve(acknowledged), acknowledged.items(), strict=True):
            assert [claim["leaf"] for claim in answer["claims"]] == [leaf], digest.hex()
        for digest in chance.sample(sorted(acknowledged), 5):
            assert client.proof(digest)
        last = client.checkpoint()
    policy = note.parse_policy(f"log {(folder / 'log.vkey').read_text().strip()}\nquorum none\n")
    leaves = tiles.verify_folder(folder / "log", note.verify_checkpoint(last, policy))
    tree = Tree(map(leaf_hash, leaves))
    seen: list[Checkpoint] = [parse_checkpoint(text)[0] for text in notes]
    assert all(tree.root(checkpoint.size) == checkpoint.root for checkpoint in seen)
