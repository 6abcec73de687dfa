"""A log that lies: rewritten by hand after it was honestly published, and shown to two clients in two ways.

Rewritten is: one leaf replaced, all tiles, roots and the checkpoint made anew and signed with the real key.  Whoever
looks for the first time sees nothing; an auditor, a witness and a contract that were there before do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from anchors.embedded import EmbeddedChain
from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import digest_encode, sha256
from ledger.errors import BackendError, RefusedError
from ledger.merkle import Tree, consistency_proof, leaf_hashes
from ledger.policy import parse_policy
from ledger.statements import sign_statement
from ledger.trust import format_trust
from ledger.witness.cosigners import HttpCosigners
from tests.simulator import ORIGIN, HandMadeLog, World, digest, identity, key, library, trust_in
from tests.support.logs import serving, write_log
from tests.support.process import Said, call
from tests.support.witness import running_witness

EVA, MALLORY = key("eva"), key("mallory")
ORIGIN_ON_CHAIN = sha256(ORIGIN.encode())


def record(name: str) -> bytes:
    """Returns a statement that somebody else made."""
    body: Object = {"kind": "statement", "refs": [], "evidence": digest_encode(digest(name))}
    return sign_statement("record", MALLORY.did, MALLORY, ORIGIN, body).data


class Published:
    """The honest log in a folder, and who has seen it: an auditor, a witness, a contract."""

    def __init__(self, folder: Path, leaves: list[bytes], note: bytes, cosigners: HttpCosigners, chain: EmbeddedChain):
        self.folder, self.leaves, self.cosigners, self.chain = folder, leaves, cosigners, chain
        (folder / "trust.json").write_bytes(format_trust(trust_in(identity())))
        write_log(folder / "log", leaves, note)

    def audit(self, state: str) -> Said:
        """Runs the auditor's command."""
        words = ("log", "audit", self.folder / "log", "--trust", self.folder / "trust.json")
        return call(*words, "--state", self.folder / state)

    def rewrite(self, grown: int) -> tuple[Tree, bytes]:
        """Replaces a leaf, adds some, and signs the whole; returns the new tree and its checkpoint."""
        told = [*self.leaves[:2], record("another story"), *self.leaves[3:]]
        told += [record(f"later {number}") for number in range(grown)]
        tree = Tree(leaf_hashes(told))
        note = sign_checkpoint(Checkpoint(ORIGIN, len(told), tree.root()), identity().log_key)
        shutil.rmtree(self.folder / "log")
        write_log(self.folder / "log", told, note)
        return tree, note


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("rewritten")
    vkey = str(HandMadeLog().policy_body()["log_key"])
    with running_witness(folder / "w", [vkey]) as served:
        policy = parse_policy(f"log {vkey}\nwitness w {served.witness.vkey} {served.url}\nquorum w\n")
        cosigners = HttpCosigners(policy, 5.0)
        world = World(cosigners=cosigners)
        try:
            world.publish(library("pictures", EVA))
            world.anchor(folder)
            assert world.chain is not None
            published = Published(folder, world.leaves(), world.registry.log.head.note, cosigners, world.chain)
            assert published.audit("seen").code == 0
            yield published
        finally:
            world.close()
            cosigners.close()


@pytest.fixture(params=[0, 2], ids=["of-one-size", "longer"])
def rewritten(request: pytest.FixtureRequest, honest: Published) -> tuple[Tree, bytes]:
    return honest.rewrite(request.param)


def test_a_newcomer_sees_nothing(honest: Published, rewritten: tuple[Tree, bytes], tmp_path: Path) -> None:
    said = honest.audit(f"{tmp_path.name}-newcomer")
    assert (said.code, f"at {len(rewritten[0])} leaves" in said.out) == (0, True)


def test_the_auditor_who_has_seen_it_finds_it(honest: Published, rewritten: tuple[Tree, bytes], tmp_path: Path) -> None:
    state = f"{tmp_path.name}-seen"
    shutil.copytree(honest.folder / "seen", honest.folder / state)
    said = honest.audit(state)
    assert (said.code, "[fork]" in said.err) == (1, True), said
    [evidence] = (honest.folder / state).glob("*.fork.json")
    proof = call("verify", evidence, "--trust", honest.folder / "trust.json", "--json")
    assert proof.code == 0
    assert json.loads(proof.out)["sizes"] == [len(honest.leaves), len(rewritten[0])]


def test_its_witness_does_not_sign_it(honest: Published, rewritten: tuple[Tree, bytes]) -> None:
    tree, note = rewritten
    with pytest.raises(BackendError, match=r"other-root|consistency") as refused:
        honest.cosigners.cosign(note, lambda old: consistency_proof(old, len(tree), tree.node))
    assert refused.value.code == "quorum"


def test_the_contract_does_not_anchor_it(honest: Published, rewritten: tuple[Tree, bytes]) -> None:
    tree, _ = rewritten
    size, before = honest.chain.head(ORIGIN_ON_CHAIN)
    assert size == len(honest.leaves)
    proof = [] if len(tree) == size else consistency_proof(size, len(tree), tree.node)
    with pytest.raises(RefusedError) as refused:
        honest.chain.submit(ORIGIN_ON_CHAIN, len(tree), tree.root(), proof)
    assert refused.value.code == ("forked-root" if len(tree) == size else "wrong-proof")
    assert honest.chain.head(ORIGIN_ON_CHAIN) == (size, before)


def test_two_clients_who_were_shown_two_logs_of_one_size(honest: Published, tmp_path: Path) -> None:
    def shown_to_somebody(name: str) -> bytes:
        with serving(tmp_path / name) as served:
            return httpx.get(f"{served.url}/checkpoint").content

    trust, leaves = honest.folder / "trust.json", honest.leaves
    for name, told in (("one", leaves), ("other", [*leaves[:-1], record("another")])):
        root = Tree(leaf_hashes(told)).root()
        write_log(tmp_path / name, told, sign_checkpoint(Checkpoint(ORIGIN, len(told), root), identity().log_key))
    (tmp_path / "seen.note").write_bytes(shown_to_somebody("one"))
    state = tmp_path / "audit"
    with serving(tmp_path / "other") as served:
        words = ("log", "audit", served.url, "--tiles-only", "--state", state, "--trust", trust)
        said = call(*words, "--checkpoint", tmp_path / "seen.note")
    assert (said.code, "[fork]" in said.err) == (1, True), said
    [evidence] = state.glob("*.fork.json")
    assert str(evidence) in said.err
    proof = call("verify", evidence, "--trust", trust)
    assert (proof.code, f"{ORIGIN} signed two different logs of {len(leaves)} leaves" in proof.out) == (0, True)
    data = evidence.read_bytes()
    for at in range(0, len(data), 11):
        evidence.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert call("verify", evidence, "--trust", trust).code in (1, 2), at
