"""Each numbered step of the verification stands alone in the way of something (docs/format.md, section 6).

For each step there is a bundle that this step refuses, with its code, and that passes when this step, and no other, is
left out.  The bundles come from logs without a guard: a leaf that is badly signed really is a leaf there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ledger.canonical import Object, canonical
from ledger.encoding import digest_encode, sha256
from ledger.errors import MalformedError, VerificationError
from ledger.evidence import KEYS_COUNTED, CarriedAnchor
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash
from ledger.note import COSIGNATURE, Note, VerifierKey, cosign_note, format_note, format_vkey, parse_note
from ledger.policy import parse_policy
from ledger.proof import STEPS, Claim, ProofResult, verify_proof
from ledger.receipt import parse_record
from ledger.registry.proving import prove
from ledger.statements import Statement, key_add_body, manifest_body, parse_statement, sign_statement
from ledger.trust import Trust, TrustedEvm
from tests.simulator import (
    ORIGIN,
    HandMadeLog,
    Library,
    World,
    entry,
    identity,
    key,
    library,
    license_of,
    reading,
    review_body,
    trust_in,
    verdict,
    writing,
)

EVA = key("eva")
MALLORY = key("mallory")
PICTURES = library("pictures", EVA, 5)


@dataclass
class Log(HandMadeLog):
    """A log with a policy and one listed library: leaf 1 and leaf 2."""

    pictures: Library = field(default_factory=lambda: PICTURES)

    def offer(self, statement: Statement | None = None) -> int:
        """Adds the library's manifest leaf (or another) and its review."""
        leaf = self.add(statement or self.pictures.statement())
        self.add(self.by_registry("review", review_body(leaf, "listed")))
        return leaf

    def claim(self, leaf: int = 1, number: int = 2) -> Claim:
        """Returns the claim on one of the library's files."""
        return self.pictures.claim(number, leaf)


@dataclass(frozen=True)
class Case:
    """A bundle that one step refuses; `replay` where the verifier has the leaves."""

    data: bytes
    code: str
    trust: Trust = field(default_factory=lambda: trust_in(identity()))
    replay: tuple[bytes, ...] | None = None


def honest() -> Log:
    log = Log()
    log.offer()
    return log


def forged(statement: Statement) -> Statement:
    """Returns the same statement with one bit of its signature changed."""
    fields = reading(statement.data)
    first = fields["sig"][0]
    return parse_statement(writing({**fields, "sig": ("A" if first != "A" else "B") + fields["sig"][1:]}))


def changed(data: bytes, change: Callable[[Any], object]) -> bytes:
    """Returns a bundle with one change made to its JSON."""
    value = reading(data)
    change(value)
    return writing(value)


# -- step 2: the digest of the file


def other_file() -> Case:
    log = honest()
    other = digest_encode(PICTURES.entries[1].published_hash)
    return Case(changed(log.bundle(log.claim()), lambda v: v["file"].update(digest=other)), "file-mismatch")


def other_kind() -> Case:
    log = honest()
    return Case(changed(log.bundle(log.claim()), lambda v: v["file"].update(kind="provenance")), "file-mismatch")


def no_content_hash() -> Case:
    pictures = Library.of(EVA, [entry("plain", content_hash=None)])
    log = Log(pictures=pictures)
    log.offer()
    return Case(changed(log.bundle(log.claim(number=0)), lambda v: v["file"].update(kind="content")), "file-mismatch")


# -- step 3: the entry in the library


def foreign_entry() -> Case:
    log = honest()
    stranger = Library.of(EVA, [entry("stranger"), *PICTURES.entries[1:]])
    claim = replace(log.claim(), entry=stranger.entries[0], entry_index=0)
    return Case(log.bundle(claim), "entry-path")


def other_place() -> Case:
    log = honest()
    return Case(log.bundle(replace(log.claim(), entry_index=3)), "entry-path")


def beyond_the_library() -> Case:
    log = honest()
    return Case(log.bundle(replace(log.claim(), entry_index=5)), "entry-path")


# -- step 4: the header in the leaf


def other_header() -> Case:
    """A second header of the same creator over the same entries, which nobody logged."""
    log = honest()
    unlogged = Library.of(EVA, PICTURES.entries, header={"title": "Never logged"})
    return Case(log.bundle(unlogged.claim(2, 1)), "header-digest")


def stolen_header() -> Case:
    """Somebody logs the digest of Eva's header in a statement of their own."""
    log = Log()
    log.offer(sign_statement("manifest", MALLORY.did, MALLORY, ORIGIN, manifest_body(PICTURES.header.digest)))
    return Case(log.bundle(log.claim()), "header-digest")


# -- step 5: the terms in the header


def other_terms() -> Case:
    log = honest()
    free, _ = license_of(audit_per_year=0)
    return Case(log.bundle(replace(log.claim(), terms=free)), "terms-digest")


def renamed_license() -> Case:
    """The header carries the right digest beside the name of a better-known license."""
    pictures = Library.of(EVA, PICTURES.entries, header={"license_id": "CC0-1.0"})
    log = Log(pictures=pictures)
    log.offer()
    return Case(log.bundle(log.claim()), "terms-digest")


def moved_license() -> Case:
    """The header leads readers to another address than the terms name."""
    pictures = Library.of(EVA, PICTURES.entries, header={"license_url": "https://elsewhere.example/"})
    log = Log(pictures=pictures)
    log.offer()
    return Case(log.bundle(log.claim()), "terms-digest")


# -- step 6: signatures


def forged_manifest() -> Case:
    log = Log()
    log.offer(forged(PICTURES.statement()))
    return Case(log.bundle(log.claim()), "bad-signature")


def forged_review() -> Case:
    log = Log()
    log.add(PICTURES.statement())
    log.add(forged(log.by_registry("review", review_body(1, "listed"))))
    return Case(log.bundle(log.claim()), "bad-signature")


def forged_possession() -> Case:
    """A key is added that never agreed: the possession is signed by somebody else's."""
    log = honest()
    body = key_add_body(EVA.did, MALLORY, recovery=False)
    body["key"] = key("not asked").did
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, body))
    return Case(log.bundle(log.claim()), "bad-signature")


# -- step 7: the checkpoint


def unsigned_checkpoint() -> Case:
    log = honest()
    note = log.note(MALLORY).decode()
    return Case(changed(log.bundle(log.claim()), lambda v: v.update(checkpoint=note)), "checkpoint")


def other_log_key() -> Case:
    """The log is the one it says to be, and the trust file holds another key under its name."""
    log = honest()
    mistaken = replace(identity(), log_key=key("another log key"))
    return Case(log.bundle(log.claim()), "checkpoint", trust_in(mistaken))


def missing_quorum() -> Case:
    """One of the two witnesses that have to agree did."""
    log = honest()
    witnesses = [key("first witness"), key("second witness")]
    note = parse_note(log.note())
    line = cosign_note(note.text, "w0.example", witnesses[0], 1)
    cosigned = format_note(Note(note.text, (*note.signatures, line)))
    data = changed(log.bundle(log.claim()), lambda v: v.update(checkpoint=cosigned.decode()))
    return Case(data, "checkpoint", witnessed(witnesses, "all"))


def witnessed(witnesses: list[SigningKey], threshold: str) -> Trust:
    """Returns the trust file of somebody who wants to hear witnesses."""
    trust = trust_in(identity())
    lines = [trust.policy_text.splitlines()[0]]
    for n, witness in enumerate(witnesses):
        vkey = format_vkey(VerifierKey(f"w{n}.example", COSIGNATURE, witness.public))
        lines.append(f"witness w{n} {vkey}")
    lines += [f"group all {threshold} {' '.join(f'w{n}' for n in range(len(witnesses)))}", "quorum all", ""]
    text = "\n".join(lines)
    return replace(trust, policy_text=text, policy=parse_policy(text))


# -- step 8: the leaves in the log


def unlogged_leaf() -> Case:
    """The manifest was signed, and the log has another leaf in its place."""
    log, shadow = honest(), honest()
    log.leaves[1] = sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(sha256(b"another")))
    data = shadow.bundle(shadow.claim())
    return Case(changed(data, lambda v: v.update(checkpoint=log.note().decode())), "leaf-path")


def other_index() -> Case:
    """A leaf is shown at an index that the log has not reached yet."""
    log = honest()
    return Case(changed(log.bundle(log.claim()), lambda v: v["leaves"][2].update(index=7)), "leaf-path")


# -- step 9: the keys


def stranger_key() -> Case:
    """The review says to be the registry's, and no leaf made its key one of the registry's."""
    log = Log()
    leaf = log.add(PICTURES.statement())
    who = log.identity
    log.add(sign_statement("review", who.did, MALLORY, ORIGIN, review_body(leaf, "listed")))
    return Case(log.bundle(log.claim()), "key-invalid")


def revoked_key() -> Case:
    """Signed by a key that had been revoked before."""
    log, second = Log(), key("eva, second")
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, second, recovery=False)))
    revoke: Object = {"op": "revoke", "key": second.did, "since": None}
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, revoke))
    leaf = log.add(PICTURES.statement(signer=second))
    return Case(log.bundle(log.claim(leaf)), "key-invalid")


def recovery_key() -> Case:
    """A recovery key signs key statements only."""
    log, recovery = Log(), key("eva, recovery")
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, recovery, recovery=True)))
    leaf = log.add(PICTURES.statement(signer=recovery))
    return Case(log.bundle(log.claim(leaf)), "key-invalid")


def added_later() -> Case:
    """Signed by a key that was added afterwards."""
    log, second = Log(), key("eva, second")
    leaf = log.add(PICTURES.statement(signer=second))
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, second, recovery=False)))
    return Case(log.bundle(log.claim(leaf)), "key-invalid")


# -- step 10: what a leaf may say


def other_audience() -> Case:
    """Signed for another log and copied into this one."""
    log = Log()
    log.offer(PICTURES.statement(log="another.example/log"))
    return Case(log.bundle(log.claim()), "wrong-log")


def for_no_log() -> Case:
    """The statement that travels with the file authorizes no registry."""
    log = Log()
    log.offer(PICTURES.statement(log=None))
    return Case(log.bundle(log.claim()), "wrong-log")


def logged_twice() -> Case:
    log = Log()
    log.add(PICTURES.statement())
    leaf = log.offer(PICTURES.statement(supersedes=(0,)))
    return Case(log.bundle(log.claim(leaf)), "void")


def review_by_a_stranger() -> Case:
    log = Log()
    leaf = log.add(PICTURES.statement())
    log.add(sign_statement("review", MALLORY.did, MALLORY, ORIGIN, review_body(leaf, "listed")))
    return Case(log.bundle(log.claim()), "void")


def other_registry() -> Case:
    """The log key is the trusted one, and somebody else speaks as the registry."""
    log = honest()
    return Case(log.bundle(log.claim()), "wrong-log", replace(trust_in(identity()), registry=MALLORY.did))


def no_policy() -> Case:
    """Without leaf 0 nobody knows who runs the log."""
    log = honest()
    return Case(log.bundle(log.claim(), carry=(1, 2)), "void")


# -- step 11: the replay


def replay_of_another_log() -> Case:
    log = honest()
    leaves = [leaf.data for leaf in log.leaves]
    leaves[2] = log.by_registry("review", review_body(1, "delisted")).data
    return Case(log.bundle(log.claim()), "snapshot", replay=tuple(leaves))


def replay_cut_off() -> Case:
    log = honest()
    return Case(log.bundle(log.claim()), "snapshot", replay=tuple(leaf.data for leaf in log.leaves[:-1]))


def hidden_revocation() -> Case:
    """The bundle leaves out that the key had been revoked; the log does not."""
    log, second = Log(), key("eva, second")
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, second, recovery=False)))
    revoke: Object = {"op": "revoke", "key": second.did, "since": None}
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, revoke))
    leaf = log.offer(PICTURES.statement(signer=second))
    data = log.bundle(log.claim(leaf), carry=(0, 1, leaf, leaf + 1))
    return Case(data, "void", replay=tuple(leaf.data for leaf in log.leaves))


def test_a_key_that_a_revoked_key_added_is_asserted() -> None:
    """The signing key itself was never revoked, and never counted: who added it was revoked, in a leaf left out."""
    log, recovery, thief = Log(), key("eva, recovery"), key("thief")
    log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, recovery, recovery=True)))
    revoke: Object = {"op": "revoke", "key": EVA.did, "since": None}
    log.add(sign_statement("key", EVA.did, recovery, ORIGIN, revoke))
    added = log.add(sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, thief, recovery=False)))
    leaf = log.offer(PICTURES.statement(signer=thief))
    data = log.bundle(log.claim(leaf), carry=(0, added, leaf, leaf + 1))
    assert KEYS_COUNTED in verify_proof(data, trust_in(identity())).asserted
    refused = verdict(data, trust_in(identity()), replay=[leaf.data for leaf in log.leaves])
    assert isinstance(refused, VerificationError)
    assert refused.code == "void"


def test_leaves_of_an_unknown_type_are_told() -> None:
    log = honest()
    for _ in range(6):
        log.add(sign_statement("royalty", EVA.did, EVA, ORIGIN, {}))
    data, leaves = log.bundle(log.claim(), carry=(0, 1, 2, 3)), [leaf.data for leaf in log.leaves]
    words = "what leaves of a type that this version does not know say: "
    assert f"{words}3" in verify_proof(data, trust_in(identity())).not_checked
    replayed = verify_proof(data, trust_in(identity()), replay=leaves)
    assert f"{words}3, 4, 5, 6, 7 and more" in replayed.not_checked
    assert not any(
        "does not know" in sentence
        for sentence in verify_proof(honest().bundle(honest().claim()), trust_in(identity())).not_checked
    )


CASES: dict[str, tuple[int, Callable[[], Case]]] = {
    make.__name__: (number, make)
    for number, made in {
        2: (other_file, other_kind, no_content_hash),
        3: (foreign_entry, other_place, beyond_the_library),
        4: (other_header, stolen_header),
        5: (other_terms, renamed_license, moved_license),
        6: (forged_manifest, forged_review, forged_possession),
        7: (unsigned_checkpoint, other_log_key, missing_quorum),
        8: (unlogged_leaf, other_index),
        9: (stranger_key, revoked_key, recovery_key, added_later),
        10: (other_audience, for_no_log, logged_twice, review_by_a_stranger, other_registry, no_policy),
        11: (replay_of_another_log, replay_cut_off, hidden_revocation),
    }.items()
    for make in made
}


def test_steps_are_numbered() -> None:
    assert [step.number for step in STEPS] == list(range(1, 13))
    assert {number for number, _ in CASES.values()} | {1, 12} == {step.number for step in STEPS}


def test_the_honest_bundle_passes() -> None:
    log = honest()
    result = verify_proof(log.bundle(log.claim()), trust_in(identity()))
    assert (result.state, result.leaf, result.size, result.anchors) == ("listed", 1, 3, ())
    assert result.logged_before is None


@pytest.mark.parametrize("name", CASES)
def test_only_this_step_refuses(name: str) -> None:
    number, make = CASES[name]
    case = make()
    assert_only(number, case.code, case.data, case.trust, case.replay)


def assert_only(number: int, code: str, data: bytes, trust: Trust, replay: tuple[bytes, ...] | None = None) -> None:
    """Asserts that step `number` refuses with `code`, and that nothing else does."""
    refused = verdict(data, trust, replay=replay)
    assert isinstance(refused, VerificationError)
    assert refused.code == code
    assert refused.field
    assert isinstance(verdict(data, trust, replay=replay, steps=STEPS[:number]), VerificationError)
    assert isinstance(verdict(data, trust, replay=replay, steps=STEPS[: number - 1]), ProofResult)
    others = [step for step in STEPS if step.number != number]
    assert isinstance(verdict(data, trust, replay=replay, steps=others), ProofResult)


def test_a_quorum_that_is_reached() -> None:
    log = honest()
    witnesses = [key("first witness"), key("second witness")]
    note = parse_note(log.note())
    lines = [cosign_note(note.text, f"w{n}.example", witness, 1) for n, witness in enumerate(witnesses)]
    cosigned = format_note(Note(note.text, (*note.signatures, *lines))).decode()
    data = changed(log.bundle(log.claim()), lambda v: v.update(checkpoint=cosigned))
    result = verify_proof(data, witnessed(witnesses, "all"))
    assert result.witnesses == ("w0", "w1")
    assert not any("no witness" in sentence for sentence in result.not_checked)


# -- step 1


MALFORMED: dict[str, Callable[[Any], object]] = {
    "another version": lambda v: v.update(trainmark="proof/v2"),
    "not a proof": lambda v: v.update(trainmark="token/v1"),
    "one key more": lambda v: v.update(note=""),
    "one key less": lambda v: v.pop("as_of"),
    "rows of a snapshot": lambda v: v.update(rows=[{}]),
    "as of a time": lambda v: v.update(as_of={"time": "2026-11-24T09:30:00Z"}),
    "a proof of absence": lambda v: v.update(claim=None),
    "a digest of another hash": lambda v: v["file"].update(digest="sha512:" + "0" * 64),
    "another kind of digest": lambda v: v["file"].update(kind="iscc"),
    "an index of leaves that descends": lambda v: v["leaves"].reverse(),
    "a leaf twice": lambda v: v["leaves"].insert(0, v["leaves"][0]),
    "no leaf": lambda v: v.update(leaves=[]),
    "a negative index": lambda v: v["leaves"][0].update(index=-1),
    "true for an index": lambda v: v["leaves"][1].update(index=True),
    "too many leaves": lambda v: v.update(leaves=[{**v["leaves"][0], "index": n} for n in range(2049)]),
    "too long a path": lambda v: v["leaves"][0].update(path=["sha256:" + "0" * 64] * 65),
    "too long an entry path": lambda v: v["claim"].update(entry_path=["sha256:" + "0" * 64] * 18),
    "a checkpoint without signature": lambda v: v.update(checkpoint=v["checkpoint"].split("\n\n")[0] + "\n"),
    "a checkpoint with an extension": lambda v: v.update(checkpoint=v["checkpoint"].replace("\n\n", "\nmore\n\n", 1)),
    "an anchor of another kind": lambda v: v["anchors"].append(
        {"size": 1, "root": "sha256:" + "0" * 64, "consistency": [], "record": {"kind": "btc"}}
    ),
    "an anchor of nothing": lambda v: v["anchors"].append(
        {"size": 0, "root": "sha256:" + "0" * 64, "consistency": [], "record": {}}
    ),
    "a statement of no form": lambda v: v["leaves"][1]["statement"]["body"].update(more=1),
    "terms without text": lambda v: v["claim"]["terms"].pop("text_digest"),
    "an entry with a path upward": lambda v: v["claim"]["entry"].update(path="../secret.png"),
    "text that is not NFC": lambda v: v["claim"]["header"].update(title="E\u0301va"),
    "a fraction": lambda v: v["claim"].update(leaf=1.5),
    "a huge number": lambda v: v["claim"].update(leaf=2**53),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_step_1_refuses(name: str) -> None:
    log = honest()
    refused = verdict(changed(log.bundle(log.claim()), MALFORMED[name]), trust_in(identity()))
    assert isinstance(refused, MalformedError)
    assert refused.code == "malformed"
    assert refused.field


def test_step_1_bounds_the_file() -> None:
    with pytest.raises(MalformedError, match="at most 16777216 bytes"):
        verify_proof(bytes(16 * 1024 * 1024 + 1), trust_in(identity()))


def test_step_1_wants_the_canonical_spelling() -> None:
    log = honest()
    data = log.bundle(log.claim())
    for other in (data + b"\n", b" " + data, data.replace(b'":', b'": ', 1), data[:-1] + b',"rows":[]}'):
        with pytest.raises(MalformedError):
            verify_proof(other, trust_in(identity()))


# -- step 12


@dataclass(frozen=True)
class Anchored:
    """A bundle with an anchor, and the trust file that names chain and block."""

    data: bytes
    trust: Trust
    leaves: tuple[bytes, ...]


@pytest.fixture(scope="module")
def anchored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anchored]:
    world = World()
    try:
        world.publish(PICTURES)
        row = world.anchor(tmp_path_factory.mktemp("chain"))
        world.publish(library("more", key("bob")))
        data = prove(world.registry, PICTURES.entries[2].published_hash)
        yield Anchored(data, world.trust(row), tuple(world.leaves()))
    finally:
        world.close()


def other_root(value: Any) -> None:
    """Another root of the same size, with the consistency proof of a tree that has it."""
    leaves = [leaf_hash(canonical(leaf["statement"])) for leaf in value["leaves"]]
    value["anchors"][0]["root"] = digest_encode(Tree(leaves[:2]).root())


ANCHORS: dict[str, Callable[[Any], object]] = {
    "another root": other_root,
    "another size": lambda v: v["anchors"][0].update(size=2),
    "a size beyond the checkpoint": lambda v: v["anchors"][0].update(size=99),
    "no consistency proof": lambda v: v["anchors"][0].update(consistency=[]),
    "a longer consistency proof": lambda v: v["anchors"][0]["consistency"].append("sha256:" + "0" * 64),
    "another chain": lambda v: v["anchors"][0]["record"].update(chain="eip155:1"),
    "another genesis": lambda v: v["anchors"][0]["record"].update(genesis="0x" + "0" * 64),
    "another contract": lambda v: v["anchors"][0]["record"].update(contract="0x" + "0" * 40),
    "another publisher": lambda v: v["anchors"][0]["record"].update(publisher="0x" + "0" * 40),
    "another receipt": lambda v: v["anchors"][0]["record"].update(receipt_index=1),
    "another log of the receipt": lambda v: v["anchors"][0]["record"].update(log_index=1),
    "no receipt": lambda v: v["anchors"][0]["record"].update(receipt_proof=["0xc0"]),
}


@pytest.mark.parametrize("name", ANCHORS)
def test_step_12_refuses(anchored: Anchored, name: str) -> None:
    assert_only(12, "anchor", changed(anchored.data, ANCHORS[name]), anchored.trust)


@pytest.mark.parametrize("part", ["chain", "genesis", "contract", "publisher"])
def test_step_12_refuses_what_the_trust_file_does_not_name(anchored: Anchored, part: str) -> None:
    line = anchored.trust.anchors[0]
    assert isinstance(line, TrustedEvm)
    other = {"chain": "eip155:1", "genesis": "0x" + "1" * 64}.get(part, "0x" + "1" * 40)
    trust = replace(anchored.trust, anchors=(replace(line, **{part: other}),))
    assert_only(12, "anchor", anchored.data, trust)


def test_step_12_refuses_a_trust_file_without_anchors(anchored: Anchored) -> None:
    assert_only(12, "anchor", anchored.data, replace(anchored.trust, anchors=()))


def test_step_12_refuses_the_anchor_of_another_log(anchored: Anchored) -> None:
    """A record of a true anchor, carried by a bundle of a log with another origin."""
    who = identity("other", "other.example/log")
    log = Log(identity=who)
    log.offer(PICTURES.statement(log=who.origin))
    anchor = reading(anchored.data)["anchors"][0]
    tree = log.tree
    carried = CarriedAnchor(2, tree.root(2), tuple(tree.consistency_proof(2)), parse_record(anchor["record"]))
    trust = replace(trust_in(who), anchors=anchored.trust.anchors, blocks=anchored.trust.blocks)
    assert_only(12, "anchor", log.bundle(log.claim(), anchors=[carried]), trust)


def test_an_anchor_and_a_replay_pass_together(anchored: Anchored) -> None:
    result = verify_proof(anchored.data, anchored.trust, replay=anchored.leaves)
    assert result.state_replayed
    assert result.asserted == ()
    assert result.logged_before is not None
    assert result.anchors[0].anchor_class == "development"


def test_an_anchor_before_the_claim_shows_nothing_of_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The earliest anchor that covers the claim counts; one that does not is no time for it."""
    world = World()
    try:
        world.publish(library("first", key("bob")))
        row = world.anchor(tmp_path_factory.mktemp("chain"))
        receipt = world.publish(PICTURES)
        assert receipt.logged.index >= row.size
        registry = world.registry
        assert reading(prove(registry, PICTURES.entries[0].published_hash))["anchors"] == []
        record = parse_record(reading(row.record or b""))
        consistency = registry.log.consistency(row.size, registry.log.head.size)
        log = Log(leaves=[parse_statement(leaf) for leaf in world.leaves()])
        early = CarriedAnchor(row.size, row.root, consistency, record)
        result = verify_proof(log.bundle(log.claim(receipt.logged.index), anchors=[early]), world.trust(row))
        assert result.anchors[0].time is not None
        assert result.logged_before is None
        assert any("does not cover this claim" in sentence for sentence in result.proved)
        assert any(sentence.startswith("before when the claim was logged") for sentence in result.not_checked)
    finally:
        world.close()
