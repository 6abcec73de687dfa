"""Evidence of a fork: what proves one, what proves nothing, and that no byte of it can be changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import canonical
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.cli import main
from ledger.errors import MalformedError, TrainmarkError, VerificationError
from ledger.fork import make_fork, parse_fork, verify_fork
from ledger.keys import Signer
from ledger.merkle import EMPTY_ROOT, Tree, leaf_hashes, prefix_path, prefix_roots
from ledger.note import ED25519, Note, VerifierKey, cosign_note, format_note, format_vkey, parse_note
from ledger.policy import Policy, parse_policy
from ledger.trust import format_trust
from tests.simulator import ORIGIN, identity, key, policy_text, trust_in

LOG = identity().log_key
POLICY = trust_in(identity()).policy


def tree(size: int, *changed: int) -> Tree:
    """Returns a tree of `size` leaves, of which `changed` are others."""
    return Tree(leaf_hashes(b"leaf %d%s" % (n, b", another" if n in changed else b"") for n in range(size)))


def note(of: Tree, signer: Signer = LOG, origin: str = ORIGIN) -> bytes:
    """Returns the checkpoint over a tree."""
    return sign_checkpoint(Checkpoint(origin, len(of), of.root()), signer)


def evidence(old: Tree, new: Tree) -> bytes:
    """Returns the evidence that two trees of one log contradict each other."""
    return make_fork(note(old), note(new), new.node, POLICY)


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, as it is written."""
    if len(leaves) <= 1:
        return sha256(b"\0" + leaves[0]).digest() if leaves else sha256().digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\1" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


def code_of(data: bytes, policy: Policy = POLICY) -> str:
    """Returns the code of the refusal."""
    with pytest.raises(TrainmarkError) as refused:
        verify_fork(data, policy)
    return refused.value.code


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_a_path_shows_both_roots(old: int, more: int, data: st.DataObject) -> None:
    leaves = [b"leaf %d" % n for n in range(old + more)]
    whole = Tree(leaf_hashes(leaves))
    path = prefix_path(old, old + more, whole.node)
    assert prefix_roots(old, old + more, path) == (slow_root(leaves[:old]), slow_root(leaves))
    at = data.draw(st.integers(0, len(path) - 1))
    changed = [*path[:at], bytes(32), *path[at + 1 :]]
    assert prefix_roots(old, old + more, changed)[1] != whole.root()
    for other in (path[:-1], [*path, bytes(32)]):
        with pytest.raises(VerificationError):
            prefix_roots(old, old + more, other)


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 2), (3, 7), (4, 8), (7, 8), (8, 9), (255, 600), (256, 600)])
def test_two_histories_are_a_fork(old: int, new: int) -> None:
    result = verify_fork(evidence(tree(old, old - 1), tree(new)), POLICY)
    assert (result.origin, result.first.size, result.second.size) == (ORIGIN, old, new)
    if old < new:
        assert (result.first.root, result.instead) == (tree(old, old - 1).root(), tree(old).root())
    else:
        assert {result.first.root, result.instead} == {tree(old, old - 1).root(), tree(old).root()}
    assert result.sentence.startswith(ORIGIN)


def test_a_fork_is_one_file_whoever_saw_which_first() -> None:
    one, other, whole = tree(5), tree(5, 3), tree(9, 3)
    assert make_fork(note(one), note(other), other.node, POLICY) == make_fork(note(other), note(one), one.node, POLICY)
    assert make_fork(note(whole), note(one), whole.node, POLICY) == evidence(one, whole)


def test_an_empty_log_has_one_root() -> None:
    strange = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), LOG)
    assert verify_fork(make_fork(strange, note(tree(4)), tree(4).node, POLICY), POLICY).instead == EMPTY_ROOT
    assert verify_fork(make_fork(strange, note(tree(0)), tree(0).node, POLICY), POLICY).second.size == 0


@pytest.mark.parametrize("root", [b"\0" * 32, b"\xff" * 32])
def test_whichever_root_an_empty_log_has_beside_its_own(root: bytes) -> None:
    strange = sign_checkpoint(Checkpoint(ORIGIN, 0, root), LOG)
    result = verify_fork(make_fork(note(tree(0)), strange, tree(0).node, POLICY), POLICY)
    assert {result.first.root, result.instead} == {EMPTY_ROOT, root}


@pytest.mark.parametrize(("size", "root"), [(0, b"\0" * 32), (0, b"\xff" * 32), (5, b"\0" * 32), (0, EMPTY_ROOT)])
def test_one_checkpoint_twice_is_no_fork(size: int, root: bytes) -> None:
    one = sign_checkpoint(Checkpoint(ORIGIN, size, root), LOG)
    with pytest.raises(VerificationError) as refused:
        make_fork(one, one, tree(5).node, POLICY)
    assert refused.value.code == "no-fork"
    twice = {"trainmark": "fork/v1", "first": one.decode(), "second": one.decode(), "path": []}
    assert code_of(canonical(twice, max_text=65536)) == "malformed"


def test_two_keys_of_one_log_are_both_named() -> None:
    thief = key("thief")
    vkeys = [format_vkey(VerifierKey(ORIGIN, ED25519, signer.public)) for signer in (LOG, thief)]
    both = parse_policy("".join(f"log {vkey}\n" for vkey in vkeys) + "quorum none\n")
    names = ["+".join(vkey.split("+")[:2]) for vkey in vkeys]
    for old, new in ((5, 9), (5, 5)):
        own, stolen = note(tree(old, 1)), note(tree(new), thief)
        result = verify_fork(make_fork(own, stolen, tree(new).node, both), both)
        assert set(result.keys) == set(names)
        assert result.sentence.endswith(f"({result.keys[0]} the former, {result.keys[1]} the latter)")
    alone = verify_fork(make_fork(note(tree(5, 1)), note(tree(9)), tree(9).node, both), both)
    assert alone.keys == (names[0], names[0])
    assert alone.sentence == f"{ORIGIN} signed 5 leaves, and 9 that do not begin with them"


def test_what_can_both_be_true_is_no_fork() -> None:
    for old, new in ((5, 9), (4, 8), (0, 3)):
        with pytest.raises(VerificationError) as refused:
            evidence(tree(old), tree(new))
        assert refused.value.code == "no-fork"
    with pytest.raises(VerificationError) as refused:
        evidence(tree(5), tree(5))
    assert refused.value.code == "no-fork"


@pytest.mark.parametrize(("old", "new"), [(5, 5), (4, 6)])
def test_no_byte_can_be_changed(old: int, new: int) -> None:
    data = evidence(tree(old, 2), tree(new))
    for at in range(len(data)):
        for bit in (0, 1, 5):
            changed = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
            with pytest.raises((MalformedError, VerificationError)):
                verify_fork(changed, POLICY)


def test_a_strangers_lines_are_not_carried() -> None:
    two = parse_note(note(tree(5, 1)))
    cosigned = format_note(Note(two.text, (cosign_note(two.text, "witness", key("w"), 5), *two.signatures)))
    data = make_fork(cosigned, note(tree(5)), tree(5).node, POLICY)
    assert data == evidence(tree(5, 1), tree(5))
    value = json.loads(data)
    name = "first" if value["first"].startswith(two.text) else "second"
    assert code_of(canonical({**value, name: cosigned.decode()}, max_text=65536)) == "malformed"


def _with(name: str, made: bytes) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda value: {**value, name: made.decode()}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: {**v, "trainmark": "fork/v2"}, "malformed"),
        (lambda v: {**v, "first": v["second"], "second": v["first"]}, "malformed"),
        (lambda v: {**v, "more": 1}, "malformed"),
        (_with("second", note(tree(9), LOG, "another.example/log")), "wrong-log"),
        (_with("second", note(tree(9), key("stranger"))), "checkpoint"),
        (_with("first", note(tree(5, 1), key("stranger"))), "checkpoint"),
        (_with("first", note(tree(5))), "no-fork"),
        (lambda v: {**v, "path": v["path"][1:]}, "fork-path"),
        (lambda v: {**v, "path": [*v["path"], v["path"][0]]}, "fork-path"),
        (lambda v: {**v, "path": [v["path"][1], v["path"][0], *v["path"][2:]]}, "fork-path"),
        (lambda v: {**v, "path": []}, "fork-path"),
        (_with("second", note(tree(5))), "fork-path"),
    ],
)
def test_what_proves_nothing(change: Callable[[dict[str, Any]], dict[str, Any]], code: str) -> None:
    value = change(json.loads(evidence(tree(5, 1), tree(9))))
    if code == "fork-path" and parse_note(value["second"].encode()).text.split("\n")[1] == "5":
        value["first"], value["second"] = sorted((value["first"], value["second"]), key=_root)
    assert code_of(canonical(value, max_text=65536)) == code


def _root(text: str) -> bytes:
    return base64.b64decode(text.split("\n")[2])


def test_another_log_is_not_the_verifiers() -> None:
    data = evidence(tree(5, 1), tree(9))
    assert code_of(data, parse_policy(policy_text(identity("another")))) == "checkpoint"
    assert code_of(data, trust_in(identity("another", "another.example/log")).policy) == "wrong-log"
    assert parse_fork(data).first.size == 5


def test_verify_takes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust, file = tmp_path / "trust.json", tmp_path / "seen.fork.json"
    trust.write_bytes(format_trust(trust_in(identity())))
    data = evidence(tree(5, 1), tree(9))
    file.write_bytes(data)
    assert main(["verify", str(file), "--trust", str(trust)]) == 0
    assert f"{ORIGIN} signed 5 leaves, and 9 that do not begin with them" in capsys.readouterr().out
    assert main(["verify", str(file), "--trust", str(trust), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sizes"] == [5, 9]
    assert main(["verify", str(file), "--trust", str(trust), "--require", "anchor"]) == 1
    at = data.index(b'"path":["sha256:') + 20
    file.write_bytes(data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :])
    capsys.readouterr()
    assert main(["verify", str(file), "--trust", str(trust)]) == 1
    assert "[fork-path]" in capsys.readouterr().err
