"""Registries and witnesses as processes: bundles under a quorum, witnesses that die, histories that were rewritten."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import httpx
import pytest

from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.client import RegistryClient
from ledger.encoding import digest_encode, sha256
from ledger.errors import BackendError, VerificationError
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash
from ledger.note import parse_note
from ledger.policy import parse_policy, verify_checkpoint
from ledger.ports import Head
from ledger.proof import verify_proof
from ledger.registry.log import Log
from ledger.sequencer import Edge, append
from ledger.statements import sign_statement
from ledger.store.memory import MemoryEntryStore, MemoryLog, MemoryTileStore
from ledger.tokens.bundle import verify_token_bundle
from ledger.trust import Trust, TrustedEvm, format_trust
from ledger.witness.cosigners import HttpCosigners
from tests.reference import bundle as reference
from tests.reference import note as reference_note
from tests.reference import tiles as reference_tiles
from tests.reference import token as reference_token
from tests.reference.note import WITNESS_KEY
from tests.reference.refuted import RefutedError
from tests.reference.witness import Answer, Key, serving
from tests.reference.witness import Log as ReferenceLog
from tests.reference.witness import Witness as ReferenceWitness
from tests.simulator import ORIGIN, HandMadeLog, digest, identity, key
from tests.support.library import make_library, signing_key
from tests.support.process import ServerProcess, call
from tests.support.server import Server, running_server
from tests.support.witness import WitnessProcess, running_witness

KILLS = 16
REGISTRY_KILLS = 6
SEED = 20261124
WAIT = 30.0


@contextmanager
def client_of(server: Server, who: SigningKey) -> Iterator[RegistryClient]:
    """A client that speaks for `who`, and repeats nothing."""
    with RegistryClient(server.url, sleep=lambda _: None) as client:
        client.authenticate(who, who.did, ("publish", "token"))
        yield client


def trust_under(server: Server, policy: str) -> Trust:
    """The trust file of somebody who wants these witnesses."""
    text = f"log {server.registry.log.vkey}\n{policy}"
    chain = server.running.beside.identity
    assert chain is not None
    line = TrustedEvm("development", chain.chain, chain.genesis, chain.contract, chain.publisher)
    return Trust(text, parse_policy(text), server.registry.identity.did, (line,), {})


def test_a_registry_and_its_witnesses(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    with running_server(folder) as server:  # the first start makes the key that witnesses need to know
        vkey = server.registry.log.vkey
    ada, lab = signing_key("ada"), signing_key("lab")
    with ExitStack() as stack:
        witnesses = [WitnessProcess(tmp_path / name, f"{name}.example/w", [vkey]) for name in ("one", "two")]
        for witness in witnesses:
            witness.start()
            stack.callback(witness.stop)
        lines = [f"witness w{n} {witness.vkey} {witness.url}\n" for n, witness in enumerate(witnesses)]
        policy = "".join(lines) + "group both all w0 w1\nquorum both\n"
        (tmp_path / "witnesses").write_text(policy)
        server = stack.enter_context(
            running_server(folder, witnesses=tmp_path / "witnesses", witness_seconds=1.0, port=server.settings.port)
        )
        client = stack.enter_context(client_of(server, ada))
        library = make_library(ada, client.policy().origin, [b"picture 1", b"picture 2"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        issued = client.issue_token(
            {
                "manifests": [leaf],
                "files": [digest_encode(library.digest(1))],
                "holder": lab.did,
                "licensee": {"name": "Model Lab", "id": "lab-1"},
                "price": {"currency": "EUR", "minor": 1200},
                "uses": ["train"],
                "audience": "any",
                "purpose": "Train a model",
                "expires_at": "2099-01-01T00:00:00Z",
            }
        )
        proof, token = client.proof(library.digest()), client.token(issued.digest)

        # Whoever asks for the witnesses gets them, and is not told any more that nobody checked.
        trust, now = trust_under(server, policy), int(time.time())
        proved, granted = verify_proof(proof, trust), verify_token_bundle(token, trust, now)
        assert proved.witnesses == granted.witnesses == ("w0", "w1")
        assert not any("no witness signed" in s for s in (*proved.not_checked, *granted.not_checked))
        plain = trust_under(server, "quorum none\n")
        assert any("no witness signed" in s for s in verify_proof(proof, plain).not_checked)
        assert any("no witness signed" in s for s in verify_token_bundle(token, plain, now).not_checked)
        known = reference.parse_trust(format_trust(trust))
        assert "checkpoint" in reference.verify_bundle(proof, known).proved
        reference_token.verify_token_bundle(token, known, now)

        # Whoever asks for another one refuses what it did not sign.
        stranger = Key("third.example", WITNESS_KEY).vkey
        asked = trust_under(server, lines[0] + f"witness x {stranger}\ngroup g all w0 x\nquorum g\n")
        with pytest.raises(VerificationError, match="quorum g is not reached") as caught:
            verify_proof(proof, asked)
        assert caught.value.code == "checkpoint"
        with pytest.raises(VerificationError, match="quorum g is not reached"):
            verify_token_bundle(token, asked, now)
        with pytest.raises(RefutedError):
            reference.verify_bundle(proof, reference.parse_trust(format_trust(asked)))
        (tmp_path / "koi.proof.json").write_bytes(proof)
        (tmp_path / "trust.json").write_bytes(format_trust(trust))
        said = call("verify", tmp_path / "koi.proof.json", "--trust", tmp_path / "trust.json", "--json")
        assert (said.code, said.value["witnesses"]) == (0, ["w0", "w1"])

        # A witness that the quorum needs is killed: readers have what was, nothing new is shown, nothing is lost.
        witnesses[1].kill()
        shown = client.checkpoint()
        more = make_library(ada, client.policy().origin, [b"picture 3"], title="More")
        with pytest.raises(BackendError, match="quorum both is not reached: w1 cannot be asked") as failed:
            client.publish(more.manifest, more.terms, more.text)
        assert failed.value.code == "quorum"
        answer = httpx.get(f"{server.url}/healthz")
        assert (answer.status_code, answer.json()["code"]) == (503, "quorum")
        assert "w1 cannot be asked" in answer.json()["detail"]
        assert client.checkpoint() == shown == (folder / "log" / "checkpoint").read_bytes()
        assert verify_proof(client.proof(library.digest()), trust).witnesses == ("w0", "w1")
        witnesses[1].start()
        deadline = time.monotonic() + WAIT
        while httpx.get(f"{server.url}/healthz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.publish(more.manifest, more.terms, more.text)
        assert verify_proof(client.proof(more.digest()), trust).witnesses == ("w0", "w1")


# -- a witness that is killed


def told(origin: str, story: int) -> ReferenceLog:
    """A log's history as it is told: all stories have the first leaf."""
    return ReferenceLog(origin, [b"same", *(b"story %d, leaf %d" % (story, leaf) for leaf in range(1, 10))])


def wait_for_size(file: Path, origin: str, size: int) -> None:
    """Waits until the witness has written down that size, which it does before it answers."""
    deadline = time.monotonic() + WAIT
    with closing(sqlite3.connect(file)) as state:
        while state.execute("SELECT size FROM seen WHERE origin = ?", (origin,)).fetchone() != (size,):
            assert time.monotonic() < deadline


def test_a_killed_witness_never_cosigns_two_histories(tmp_path: Path) -> None:
    """Two histories of one log, under its one key, are shown to it at once, and in that moment it is killed."""
    chance = random.Random(SEED)
    logs = [[told(f"log{n}.example", story) for story in (0, 1)] for n in range(KILLS)]
    witness = WitnessProcess(tmp_path / "w", "w.example", [stories[0].key.vkey for stories in logs])
    cosigned: list[set[int]] = [set() for _ in logs]
    unanswered = 0

    def ask(n: int, story: int, old: int, size: int) -> Answer | None:
        log = logs[n][story]
        try:
            answer = log.ask(witness.url, old, size)
        except (OSError, HTTPException):  # it was killed
            return None
        if answer.status == 200:
            log.cosignature(answer, size, witness.vkey)
            cosigned[n].add(story)
        return answer

    try:
        witness.start()
        for n in range(KILLS):
            first = ask(n, 0, 0, 1)  # the leaf that both histories have
            assert first is not None
            assert first.status == 200
            cosigned[n].clear()
            order = chance.sample((0, 1), 2)
            threads = [threading.Thread(target=ask, args=(n, story, 1, 5)) for story in order]
            for thread in threads:
                thread.start()
            if n % 2:
                time.sleep(chance.uniform(0.0, 0.012))
            else:
                wait_for_size(witness.folder / "witness.db", logs[n][0].origin, 5)
            witness.kill()
            for thread in threads:
                thread.join()
            witness.start()
            if not cosigned[n]:
                held = ask(n, 0, 0, 9)
                assert held is not None
                unanswered += held.body == b"5\n"
            for story in (1, 0):
                for old in (1, 5):
                    for size in (5, 9):
                        ask(n, story, old, size)
            assert len(cosigned[n]) == 1, f"seed {SEED}, round {n}: {cosigned[n]}"
    finally:
        witness.kill()
    told_to_the_operator = witness.output.read_text()
    assert "refused to cosign: " in told_to_the_operator
    # With the checkpoint, which the log's own key signed.
    assert re.search(r"refused to cosign: .*\nlog\d+\.example\n\d+\n", told_to_the_operator)
    print(f"seed {SEED}: {unanswered} of {KILLS} times it had written down what nobody had an answer for")


# -- a registry that is killed


class Reader(threading.Thread):
    """Reads the checkpoint file again and again, as anybody may; keeps every note it saw."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self.file = file
        self.notes: set[bytes] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.002):
            with suppress(FileNotFoundError):
                self.notes.add(self.file.read_bytes())


def test_a_killed_registry_never_shows_what_its_witness_has_not_signed(tmp_path: Path) -> None:
    """Killed at any instant, the one before or after its witness included: one history, all of it cosigned."""
    chance = random.Random(SEED)
    server = ServerProcess(tmp_path / "registry")
    server.start()
    vkey = (server.folder / "log.vkey").read_text().strip()
    server.stop()
    witness = ReferenceWitness("w0", [vkey])
    acknowledged: dict[bytes, int] = {}
    reader = Reader(server.folder / "log" / "checkpoint")
    with ExitStack() as stack:
        url = stack.enter_context(serving(witness.answer))
        policy = f"witness w0 {witness.key.vkey} {url}\nquorum w0\n"
        (tmp_path / "witnesses").write_text(policy)
        server.env["TRAINMARK_WITNESSES"] = str(tmp_path / "witnesses")
        stack.callback(server.stop)
        server.start()  # what was published without a witness has its cosignature now
        reader.start()
        stack.callback(reader.ended.set)
        for round_ in range(REGISTRY_KILLS):
            publisher = threading.Thread(target=publish_until_killed, args=(server.url, round_, acknowledged))
            publisher.start()
            before, deadline = len(acknowledged), time.monotonic() + WAIT
            while len(acknowledged) < before + 2:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.3))
            server.kill()
            publisher.join(60)
            assert not publisher.is_alive()
            server.start()
        with RegistryClient(server.url) as client:
            last = client.checkpoint()
            for answer, (found, leaf) in zip(client.resolve(acknowledged), acknowledged.items(), strict=True):
                assert [claim["leaf"] for claim in answer["claims"]] == [leaf], f"seed {SEED}: {found.hex()}"
    reader.join()
    known = reference_note.parse_policy(f"log {vkey}\n{policy}")
    head = reference_note.verify_checkpoint(last, known)
    tree = Tree(map(leaf_hash, reference_tiles.verify_folder(server.folder / "log", head)))
    for note in reader.notes:
        shown = reference_note.verify_checkpoint(note, known)
        assert shown.root == tree.root(shown.size), f"seed {SEED}: the checkpoint of {shown.size} leaves"
    print(f"seed {SEED}, {len(acknowledged)} acknowledged, {len(reader.notes)} checkpoints seen, {head.size} leaves")


def publish_until_killed(url: str, round_: int, acknowledged: dict[bytes, int]) -> None:
    """Publishes one library after the other until the server is gone."""
    who = signing_key(f"creator {round_}")
    with RegistryClient(url, sleep=lambda _: None) as client, suppress(BackendError):
        origin = client.policy().origin
        client.authenticate(who, who.did, ("publish",))
        for number in range(1000):
            data = b"picture %d of round %d" % (number, round_)
            library = make_library(who, origin, [data], title=f"Library {number}")
            leaf = client.publish(library.manifest, library.terms, library.text).leaf
            acknowledged[sha256(data)] = leaf


# -- a log that was rewritten


def rewritten(leaves: Sequence[bytes], at: int, leaf: bytes) -> tuple[MemoryLog, MemoryTileStore]:
    """The log with one leaf replaced: all tiles, roots and the checkpoint made anew, and signed with the real key."""
    told = [*leaves[:at], leaf, *leaves[at + 1 :]]
    edge, tiles = append(Edge(), told)
    note = sign_checkpoint(Checkpoint(ORIGIN, edge.size, edge.root), identity().log_key)
    memory, public = MemoryLog(), MemoryTileStore()
    entries = MemoryEntryStore(memory)
    entries.commit(0, Head(edge.size, edge.root, note), told, tiles)
    entries.published()
    entries.close()
    public.write(tiles)
    public.write_checkpoint(note)
    return memory, public


def test_a_rewritten_log_is_refused_by_its_witness(tmp_path: Path) -> None:
    story = HandMadeLog()
    eva = key("eva")
    for number in range(4):
        body: Object = {"kind": "audit", "refs": [], "evidence": digest_encode(digest(f"record {number}"))}
        story.add(sign_statement("record", eva.did, eva, ORIGIN, body))
    statements = list(story.leaves)
    memory, public = MemoryLog(), MemoryTileStore()
    vkey = str(story.policy_body()["log_key"])
    with running_witness(tmp_path / "w", [vkey]) as served:
        policy = parse_policy(f"log {vkey}\nwitness w {served.witness.vkey} {served.url}\nquorum w\n")

        def opened(memory: MemoryLog, public: MemoryTileStore) -> tuple[Log, HttpCosigners]:
            cosigners = HttpCosigners(policy, 2.0)
            return Log(ORIGIN, identity().log_key, MemoryEntryStore(memory), public, cosigners, 0.2), cosigners

        log, cosigners = opened(memory, public)
        for statement in statements[:4]:
            log.append(statement)
        honest = log.head.note
        log.close()
        cosigners.close()

        forged, shown = rewritten([s.data for s in statements[:4]], 2, statements[4].data)
        log, cosigners = opened(forged, shown)
        assert log.broken is not None
        assert "[other-root]" in log.broken.message
        with pytest.raises(BackendError) as caught:
            log.append(statements[3])
        assert caught.value.code == "quorum"
        with pytest.raises(VerificationError):
            verify_checkpoint(parse_note(log.head.note), policy)
        log.close()
        cosigners.close()

        # Nor does it help to grow: no proof leads there from what the witness cosigned.
        longer, shown = rewritten([s.data for s in statements], 2, statements[4].data)
        log, cosigners = opened(longer, shown)
        assert log.broken is not None
        assert "[consistency]" in log.broken.message
        log.close()
        cosigners.close()

        log, cosigners = opened(memory, public)  # the honest one goes on
        assert log.head.note == honest
        assert verify_checkpoint(parse_note(log.append(statements[4]).note), policy)[1] == ("w",)
        log.close()
        cosigners.close()
