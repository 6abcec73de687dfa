"""What ``trainmark verify`` tells people, on the examples of the documentation."""

from __future__ import annotations

from dataclasses import replace

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
