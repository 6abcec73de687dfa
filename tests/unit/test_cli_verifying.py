"""What ``trainmark verify`` tells people, on the examples of the documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.canonical import canonical
from ledger.cli.verifying import proof_lines
from ledger.proof import ProofResult, verify_proof
from ledger.trust import parse_trust
from tests.support import ROOT
from tests.support.process import Said, call

EXAMPLES = ROOT / "docs" / "examples"
PROOF = EXAMPLES / "koi.png.proof.json"
TRUST = ("--trust", EXAMPLES / "trust.json")


def verify(*arguments: object) -> Said:
    return call("verify", *arguments, *TRUST)


def result() -> ProofResult:
    return verify_proof(PROOF.read_bytes(), parse_trust((EXAMPLES / "trust.json").read_bytes()))


def test_a_time_is_said_with_the_class_of_its_anchor() -> None:
    [anchor] = result().anchors
    assert anchor.time is not None
    later = replace(anchor, anchor_class="public", time=anchor.time + 60)
    uncovering = replace(anchor, size=result().leaf, anchor_class="testnet")
    unknown = replace(anchor, time=None, anchor_class="authority")
    for anchors, said in (
        ((anchor,), "2027-01-15T08:00:03Z (development)"),
        ((later, anchor), "2027-01-15T08:00:03Z (development), 2027-01-15T08:01:03Z (public)"),
        ((uncovering, unknown), "not known"),
    ):
        [line] = [x for x in proof_lines(replace(result(), anchors=anchors)) if "logged before" in x]
        assert line == f"  logged before: {said}"


def test_a_block_hash_that_is_not_the_carried_blocks_is_a_no() -> None:
    [anchor] = result().anchors
    own = f"0x{anchor.block_hash.hex()}"
    wrong = own[:-1] + ("1" if own[-1] == "0" else "0")
    assert verify(PROOF, "--block-hash", own.upper().replace("X", "x")).code == 0
    assert verify(PROOF, "--block-hash", wrong, "--block-hash", own).code == 0
    for bundle in (PROOF, EXAMPLES / "grant.token.json"):
        said = call("verify", bundle, "--block-hash", wrong, *TRUST)
        assert (said.code, said.out) == (1, "")
        if bundle == PROOF:
            assert "the hash given is not that of the carried block: it carries block 3 of eip155:" in said.err


def test_what_is_required_says_which_block_to_ask_for(tmp_path: Path) -> None:
    trust = json.loads((EXAMPLES / "trust.json").read_bytes())
    (tmp_path / "trust.json").write_bytes(canonical({**trust, "blocks": {}}))
    said = call("verify", PROOF, "--require", "anchor", "--trust", tmp_path / "trust.json")
    assert said.code == 1
    assert "anchor was required and is not proved: ask a node you trust for block 3 of eip155:" in said.err


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (PROOF.read_bytes()[:-9], "something that is not JSON (cut off?)"),
        ((EXAMPLES / "koi.png").read_bytes(), "something that is not JSON"),
        ((EXAMPLES / "trust.json").read_bytes(), "a trust file"),
        ((EXAMPLES / "creator.json").read_bytes(), "a creator's profile"),
        ((EXAMPLES / "EXAMPLE-TRAIN-v1.license.json").read_bytes(), "license terms"),
        (b"[]", "JSON of another kind"),
        (b'{"trainmark":["proof/v1"]}', "JSON of another kind"),
        (b"", "something that is not JSON"),
    ],
)
def test_what_cannot_be_verified_is_told_by_what_it_is(tmp_path: Path, data: bytes, found: str) -> None:
    (tmp_path / "file").write_bytes(data)
    said = verify(tmp_path / "file")
    kinds = "a proof or a token or an attribution manifest or a dataset manifest or evidence of a fork"
    assert (said.code, said.out) == (2, "")
    assert said.err == f"trainmark: file: expected {kinds}, found {found} [malformed]\n"


@pytest.mark.parametrize("name", ["koi.png.attribution.json", "dataset_manifest.json"])
def test_every_answer_begins_with_what_it_is(name: str) -> None:
    said = verify(EXAMPLES / name)
    assert (said.code, said.out.split()[0]) == (0, "verified:")
