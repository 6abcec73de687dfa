"""Fork evidence under two verifiers, of which one is written from docs/format.md alone: they say the same of all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import digest_encode
from ledger.errors import TrainmarkError
from ledger.fork import make_fork, verify_fork
from ledger.merkle import Tree, leaf_hashes
from ledger.trust import parse_trust
from tests.reference import fork as reference
from tests.reference.bundle import parse_trust as parse_reference_trust
from tests.reference.note import parse_policy
from tests.reference.refuted import RefutedError
from tests.simulator import ORIGIN, identity, policy_text, trust_in
from tests.support import VECTORS

FOLDER = VECTORS / "fork"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_bytes())
GOOD = [name for name in EXPECTED if not name.endswith("_fail")]
POLICY = parse_trust((FOLDER / "trust.json").read_bytes()).policy
REFERENCE_POLICY = parse_reference_trust((FOLDER / "trust.json").read_bytes()).policy


def evidence(name: str) -> bytes:
    """Returns the evidence of a case."""
    return (FOLDER / f"{name}.fork.json").read_bytes()


def ours(data: bytes) -> dict[str, Any]:
    """Returns what this project's verifier says."""
    try:
        found = verify_fork(data, POLICY)
    except TrainmarkError as e:
        return {"code": e.code}
    return {"sizes": [found.first.size, found.second.size], "instead": digest_encode(found.instead)}


def theirs(data: bytes) -> dict[str, Any]:
    """Returns what the reference says."""
    try:
        found = reference.verify_fork(data, REFERENCE_POLICY)
    except RefutedError as e:
        return {"code": e.code}
    return {"sizes": [found.first.size, found.second.size], "instead": "sha256:" + found.instead.hex()}


def test_each_file_is_a_case_and_each_step_refuses_one() -> None:
    assert {path.name.removesuffix(".fork.json") for path in FOLDER.glob("*.fork.json")} == EXPECTED.keys()
    steps = {name[:6]: EXPECTED[name]["code"] for name in EXPECTED if name not in GOOD}
    assert steps == {
        "step-1": "malformed",
        "step-2": "wrong-log",
        "step-3": "checkpoint",
        "step-4": "fork-path",
        "step-5": "no-fork",
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_both_say_what_is_expected(name: str) -> None:
    assert ours(evidence(name)) == theirs(evidence(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", GOOD)
def test_both_refuse_it_with_any_byte_changed(name: str) -> None:
    data = evidence(name)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ (1 << at % 7)]) + data[at + 1 :]
        assert ours(changed) == theirs(changed), at
        assert "code" in ours(changed), at
    for other in (data[:-1], data + b"\n", b"\xef\xbb\xbf" + data):
        assert ours(other) == theirs(other) == {"code": "malformed"}


@given(st.integers(1, 300), st.integers(0, 300), st.data())
def test_what_this_project_makes_holds_for_both(old: int, more: int, data: st.DataObject) -> None:
    log, changed = [b"leaf %d" % n for n in range(old + more)], data.draw(st.integers(0, old - 1))
    one, other = Tree(leaf_hashes(log)), Tree(leaf_hashes([*log[:changed], b"another", *log[changed + 1 : old]]))
    notes = [sign_checkpoint(Checkpoint(ORIGIN, len(tree), tree.root()), identity().log_key) for tree in (one, other)]
    made = make_fork(notes[0], notes[1], one.node, trust_in(identity()).policy)
    found = reference.verify_fork(made, parse_policy(policy_text(identity())))
    assert (found.first.size, found.second.size) == (old, old + more)
    assert found.instead == verify_fork(made, trust_in(identity()).policy).instead
