"""A registry killed with SIGKILL again and again: while it publishes and anchors, while it starts, and at each step.

Whatever it acknowledged is there, in one history: every checkpoint it ever gave out and every head it ever anchored is
a prefix of the log that is there at the end.  ``KILLS_SQLITE`` and ``KILLS_POSTGRES`` in the environment say how often
it is killed at any instant, ``KILLS_STRIDE`` that each so manieth step towards the disk is once the last (1: all of
them); docs/development.md has the long form.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from anchors.embedded import EmbeddedChain
from api.keys import open_keys
from ledger.canonical import canonical
from ledger.client import RegistryClient
from ledger.encoding import sha256
from ledger.errors import BackendError
from ledger.merkle import Tree, leaf_hash
from tests.reference import bundle, note, receipt, tiles
from tests.support.forkserver import ForkServer
from tests.support.postgres import Cluster
from tests.support.process import START_SECONDS, ServerProcess, call
from tests.support.publishing import History, log_in

SEED: Final = 20261124
KILLS: Final = {
    name: int(os.environ.get(f"KILLS_{name.upper()}", few)) for name, few in (("sqlite", 50), ("postgres", 10))
}
LOG_KILLS: Final = 50
"""Kills of one log, before another is begun: a start reads all leaves and takes a millisecond or two for each."""
ROUNDS: Final = [
    pytest.param(name, min(LOG_KILLS, kills - first), SEED + first, id=f"{name}-{first}")
    for name, kills in KILLS.items()
    for first in range(0, kills, LOG_KILLS)
]
STRIDE: Final = int(os.environ.get("KILLS_STRIDE", "7"))
"""Odd: there is a step before and one after each call."""
BEYOND: Final = 15
"""Lives take a few steps more or less, as anchoring falls: so many in a row have to be reached by none."""
STARTS_KILLED: Final = 6
"""One of so many is killed while it starts."""
PROOFS: Final = 10
ANCHOR_SECONDS: Final = 30
DEATH_SECONDS: Final = 10


class Publisher(threading.Thread):
    """Publishes one library after the other, over all lives of a registry, whenever it is up.

    Another kind of publisher is a class with another `publish`, named in ``PUBLISHERS``.
    """

    def __init__(self, url: str, who: str, history: History, up: threading.Event, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.who, self.history, self.up, self.over = url, who, history, up, over
        self.ended_by: Exception | None = None

    def publish(self, client: RegistryClient, origin: str, number: int) -> None:
        """Publishes what is the next to publish."""
        self.history.publish(client, origin, self.who, number)

    def run(self) -> None:
        origin = None
        numbers = itertools.count()
        with RegistryClient(self.url, sleep=lambda _: None) as client:
            while self.up.wait() and not self.over.is_set():
                try:
                    origin = origin or log_in(client, self.who)
                    self.publish(client, origin, next(numbers))
                except BackendError:
                    time.sleep(0.005)  # it was killed; anything else would be a refusal, which ends the test
                except Exception as e:
                    self.ended_by = e
                    return


PUBLISHERS: Final[Sequence[type[Publisher]]] = (Publisher, Publisher, Publisher, Publisher)
"""Several at once, so that a batch of the log holds several statements."""


@contextmanager
def publishing(url: str, history: History) -> Iterator[threading.Event]:
    """Publishers at work whenever the event is set, until the block ends; none may have been refused anything."""
    up, over = threading.Event(), threading.Event()
    threads = [kind(url, f"creator {number}", history, up, over) for number, kind in enumerate(PUBLISHERS)]
    for thread in threads:
        thread.start()
    try:
        yield up
    finally:
        over.set()
        up.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert [thread.ended_by for thread in threads] == [None] * len(threads)


def anchored(client: RegistryClient) -> list[str]:
    """Returns the transactions of all anchors, once the newest head is anchored."""
    deadline = time.monotonic() + ANCHOR_SECONDS
    while time.monotonic() < deadline:
        size, newest = client.policy().size, next(client.anchors(), None)
        if newest and newest["size"] == size and newest["state"] == "final":
            found = list(client.anchors())
            assert {anchor["state"] for anchor in found} == {"final"}
            return [anchor["transaction"] for anchor in found]
        time.sleep(0.02)
    raise AssertionError("the log was not anchored in time")


def check_history(server: ServerProcess, history: History, chance: random.Random, about: str) -> int:
    """Starts the registry, checks all that was said against what is there, and stops it; returns the anchors found."""
    server.start()
    trust_file = server.folder.with_name("trust.json")
    assert call("trust", "add", server.url, "--yes", "--class", "development", "--trust", trust_file).code == 0
    trust = bundle.parse_trust(trust_file.read_bytes())
    known = history.acknowledged
    with RegistryClient(server.url) as client:
        transactions = anchored(client)
        for answer, (digest, leaf) in zip(client.resolve(known), known.items(), strict=True):
            assert [claim["leaf"] for claim in answer["claims"]] == [leaf], f"{about}: {digest.hex()}"
        proofs = [client.proof(digest) for digest in chance.sample(sorted(known), min(PROOFS, len(known)))]
        last = client.checkpoint()
    server.stop()
    for proof in proofs:
        assert {"checkpoint", "leaves", "key", "log"} <= bundle.verify_bundle(proof, trust).proved

    folder = server.folder
    policy = note.parse_policy(f"log {(folder / 'log.vkey').read_text().strip()}\nquorum none\n")
    checkpoint = note.verify_checkpoint(last, policy)
    tree = Tree(map(leaf_hash, tiles.verify_folder(folder / "log", checkpoint)))
    for text in history.notes:
        earlier = note.verify_checkpoint(text, policy)
        assert earlier.root == tree.root(earlier.size), f"{about}: the checkpoint of {earlier.size} leaves"
    with closing(EmbeddedChain(folder / "chain.db", open_keys(folder / "keys", None).anchor)) as chain:
        records = [json.loads(canonical(chain.record(transaction))) for transaction in transactions]
        assert chain.head(sha256(checkpoint.origin.encode())) == (checkpoint.size, checkpoint.root)
    heads = [receipt.verify_record(record) for record in records]
    for head in heads:
        assert head.root == tree.root(head.size), f"{about}: the anchor of {head.size} leaves"
    print(
        f"{about}: {len(known)} acknowledged, {len(history.notes)} checkpoints, {len(heads)} anchors, "
        f"{checkpoint.size} leaves"
    )
    return len(heads)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, database: str, forks: ForkServer) -> Iterator[ServerProcess]:
    env = {"TRAINMARK_ANCHOR_INTERVAL": "0.1"}
    if database == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres")
        env["TRAINMARK_DATABASE"] = cluster.url(cluster.new_database())
    server = ServerProcess(tmp_path / "registry", env, forks)
    yield server
    server.stop()


@pytest.mark.parametrize(("database", "kills", "seed"), ROUNDS)
def test_killed_while_publishing_and_while_starting(
    server: ServerProcess, database: str, kills: int, seed: int
) -> None:
    chance = random.Random(seed)
    history = History()
    cut_short = set(chance.sample(range(kills), max(1, kills // STARTS_KILLED)))
    with publishing(server.url, history) as up:
        for round_ in range(kills):
            if round_ in cut_short:
                server.spawn()
                time.sleep(chance.uniform(0.0, 0.3))
                server.kill()
                continue
            server.start()
            up.set()
            time.sleep(chance.uniform(0, 0.5))
            deadline = time.monotonic() + START_SECONDS
            while len(history.acknowledged) < round_ // 2:  # a busy machine takes its time
                assert time.monotonic() < deadline, f"{database}, kill {round_}: nothing is acknowledged any more"
                time.sleep(0.005)
            up.clear()
            server.kill()
    about = f"{database}, {kills} kills, seed {seed}"
    assert len(history.acknowledged) >= kills // 3, f"{about}: too little to show anything"
    anchors = check_history(server, history, chance, about)
    assert anchors > kills // 4, f"{about}: {anchors} anchors are too few to show anything"


def test_killed_at_each_step(server: ServerProcess, database: str) -> None:
    """Each life publishes one library and dies some steps later than the one before, until lives end with all done."""
    history = History()
    last = 0
    for dies_at in itertools.count(1, STRIDE):
        if dies_at > last + BEYOND:
            break
        server.spawn(dies_at)
        assert server.process is not None
        try:
            if server.answers():
                live(server.url, history, dies_at)
                server.kill()
                continue
        except BackendError:
            assert server.process.wait(DEATH_SECONDS) == -signal.SIGKILL  # else it refuses, and lives
        last = dies_at
    about = f"{database}, a death at every {STRIDE} of {last} steps"
    assert last > 60, f"{about}: a start and a publication take more"
    check_history(server, history, random.Random(SEED), about)


def live(url: str, history: History, number: int) -> None:
    """Publishes a library and waits until it is anchored; raises BackendError if the registry dies meanwhile."""
    with RegistryClient(url, sleep=lambda _: None) as client:
        origin = log_in(client, "creator")
        history.publish(client, origin, "creator", number)
        anchored(client)
