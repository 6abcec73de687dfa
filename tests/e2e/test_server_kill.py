"""A registry killed with SIGKILL again and again, mostly while it publishes, now and then while it starts.

Whatever it acknowledged is there, in one history: every checkpoint it ever gave out and every head it ever anchored is
a prefix of the log that is there at the end.  ``KILLS_SQLITE`` and ``KILLS_POSTGRES`` in the environment say how often;
many take long: ``pytest --timeout 0``.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from anchors.embedded import EmbeddedChain
from api.keys import open_keys
from ledger.canonical import canonical
from ledger.client import RegistryClient
from ledger.encoding import sha256
from ledger.errors import BackendError, TrainmarkError
from ledger.merkle import Tree, leaf_hash
from tests.reference import bundle, note, receipt, tiles
from tests.support.library import make_library, signing_key
from tests.support.postgres import Cluster
from tests.support.process import START_SECONDS, ServerProcess, call

KILLS = {name: int(os.environ.get(f"KILLS_{name.upper()}", few)) for name, few in (("sqlite", 50), ("postgres", 6))}
STARTS_KILLED = 6
"""One of so many is killed while it starts."""
PROOFS = 10
SEED = 20261124
ANCHOR_SECONDS = 30


class Publisher(threading.Thread):
    """Publishes one small library after the other until the server is gone; remembers what was acknowledged."""

    def __init__(self, url: str, round_: int) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.round = round_
        self.acknowledged: dict[bytes, int] = {}
        self.notes: list[bytes] = []
        self.first = threading.Event()
        self.ended_by: TrainmarkError | None = None

    def run(self) -> None:
        key = signing_key(f"creator {self.round}")
        with RegistryClient(self.url, sleep=lambda _: None) as client:
            try:
                origin = client.policy().origin
                client.authenticate(key, key.did, ("publish",))
                for number in range(1000):
                    data = b"picture %d of round %d" % (number, self.round)
                    library = make_library(key, origin, [data], title=f"Library {number}")
                    receipt = client.publish(library.manifest, library.terms, library.text)
                    self.acknowledged[sha256(data)] = receipt.leaf
                    self.first.set()
                    self.notes += [receipt.checkpoint, client.checkpoint()]
            except TrainmarkError as e:
                self.ended_by = e


def anchored(url: str) -> list[str]:
    """Returns the transactions of all anchors, once the newest head is anchored."""
    deadline = time.monotonic() + ANCHOR_SECONDS
    with RegistryClient(url) as client:
        while time.monotonic() < deadline:
            size, found = client.policy().size, list(client.anchors())
            if found and found[0]["size"] == size and all(a["state"] == "final" for a in found):
                return [a["transaction"] for a in found]
            time.sleep(0.1)
    raise AssertionError("the log was not anchored in time")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> Iterator[ServerProcess]:
    env = {}
    if database == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        env["TRAINMARK_DATABASE"] = cluster.url(cluster.new_database())
    server = ServerProcess(tmp_path / "registry", env)
    yield server
    server.stop()


def test_killed_while_publishing_and_while_starting(tmp_path: Path, server: ServerProcess, database: str) -> None:
    kills = KILLS[database]
    chance = random.Random(SEED)
    acknowledged: dict[bytes, int] = {}
    notes: list[bytes] = []
    cut_short = set(chance.sample(range(kills), max(1, kills // STARTS_KILLED)))
    for round_ in range(kills):
        if round_ in cut_short:
            server.spawn()
            time.sleep(chance.uniform(0.1, 1.5))
            server.kill()
            continue
        server.start()
        publisher = Publisher(server.url, round_)
        publisher.start()
        publisher.first.wait(START_SECONDS)  # a busy machine takes its time
        time.sleep(chance.uniform(0, 0.6))
        server.kill()
        publisher.join(60)
        assert not publisher.is_alive()
        assert isinstance(publisher.ended_by, BackendError), publisher.ended_by  # not: refused by the registry
        acknowledged |= publisher.acknowledged
        notes += publisher.notes
    about = f"{database}, seed {SEED}, {len(acknowledged)} acknowledged"
    assert len(acknowledged) >= kills - len(cut_short), f"{about}: too little to show anything"

    server.start()
    trust_file = tmp_path / "trust.json"
    assert call("trust", "add", server.url, "--yes", "--class", "development", "--trust", trust_file).code == 0
    trust = bundle.parse_trust(trust_file.read_bytes())
    transactions = anchored(server.url)
    with RegistryClient(server.url) as client:
        for answer, (digest, leaf) in zip(client.resolve(acknowledged), acknowledged.items(), strict=True):
            assert [claim["leaf"] for claim in answer["claims"]] == [leaf], f"{about}: {digest.hex()}"
        proofs = [
            client.proof(digest) for digest in chance.sample(sorted(acknowledged), min(PROOFS, len(acknowledged)))
        ]
        last = client.checkpoint()
    server.stop()
    for proof in proofs:
        assert {"checkpoint", "leaves", "key", "log"} <= bundle.verify_bundle(proof, trust).proved

    folder = tmp_path / "registry"
    policy = note.parse_policy(f"log {(folder / 'log.vkey').read_text().strip()}\nquorum none\n")
    checkpoint = note.verify_checkpoint(last, policy)
    tree = Tree(map(leaf_hash, tiles.verify_folder(folder / "log", checkpoint)))
    for text in notes:
        earlier = note.verify_checkpoint(text, policy)
        assert earlier.root == tree.root(earlier.size), f"{about}: the checkpoint of {earlier.size} leaves"
    with closing(EmbeddedChain(folder / "chain.db", open_keys(folder / "keys", None).anchor)) as chain:
        records = [json.loads(canonical(chain.record(transaction))) for transaction in transactions]
        assert chain.head(sha256(checkpoint.origin.encode())) == (checkpoint.size, checkpoint.root)
    heads = [receipt.verify_record(record) for record in records]
    assert len(heads) > kills // 2, f"{about}: {len(heads)} anchors are too few to show anything"
    for head in heads:
        assert head.root == tree.root(head.size), f"{about}: the anchor of {head.size} leaves"
    print(f"{about}, {len(notes)} checkpoints, {len(heads)} anchors, {checkpoint.size} leaves")
