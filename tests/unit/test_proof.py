"""Proof bundles: those kept as vectors, and what a result says (docs/format.md, section 6)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ledger.canonical import canonical
from ledger.proof import STEPS, ProofResult, format_proof, parse_proof, verify_proof
from ledger.registry.proving import prove
from ledger.trust import format_trust, parse_trust
from tests.reference import bundle as reference
from tests.reference.refuted import RefutedError
from tests.simulator import (
    START,
    HandMadeLog,
    Library,
    World,
    entry,
    identity,
    key,
    library,
    reading,
    review_body,
    trust_in,
    verdict,
)
from tests.support import ROOT, VECTORS

FOLDER = VECTORS / "proof"
CASES = sorted(folder.name for folder in FOLDER.iterdir() if (folder / "expected.json").is_file())
FAILING = [name for name in CASES if name.endswith("_fail")]

# Where the reference refuses at another step: it compares index and size while it reads, and bounds paths otherwise.
OTHER_CODE = {
    "step-01-too-long-an-entry-path_fail": "entry-path",
    "step-08-other-index_fail": "malformed",
}
# What it lets pass, having set the leaf aside as void, or because nothing else hangs on it; here the bundle is refused.
LOOSER = {
    "step-05-moved-license_fail",
    "step-05-renamed-license_fail",
    "step-06-forged-possession_fail",
    "step-09-stranger-key_fail",
    "step-10-no-policy_fail",
    "step-10-other-registry_fail",
    "step-10-review-by-a-stranger_fail",
}


def files(name: str) -> tuple[bytes, bytes]:
    """Returns the bundle of a case and the trust file that goes with it."""
    own = FOLDER / name / "trust.json"
    return (FOLDER / name / "bundle.proof.json").read_bytes(), (
        own if own.is_file() else FOLDER / "trust.json"
    ).read_bytes()


def test_there_are_vectors_for_each_step() -> None:
    assert {int(name[5:7]) for name in FAILING} == {step.number for step in STEPS} - {11}
    assert {"anchored", "block-not-known", "not-anchored"} == set(CASES) - set(FAILING)


@pytest.mark.parametrize("name", CASES)
def test_vectors(name: str) -> None:
    data, trust = files(name)
    expected = reading((FOLDER / name / "expected.json").read_bytes())
    said = verdict(data, parse_trust(trust))
    if name.endswith("_fail"):
        assert not isinstance(said, ProofResult)
        assert said.code == expected["code"]
        before = STEPS[: expected["step"] - 1]
        assert not before or isinstance(verdict(data, parse_trust(trust), steps=before), ProofResult)
    else:
        assert isinstance(said, ProofResult)
        assert said.value() == expected


@pytest.mark.parametrize("name", CASES)
def test_the_reference_on_the_vectors(name: str) -> None:
    data, trust = files(name)
    if not name.endswith("_fail"):
        found = reference.verify_bundle(data, reference.parse_trust(trust))
        expected = reading((FOLDER / name / "expected.json").read_bytes())
        assert found.checkpoint.size == expected["size"]
        assert [f.time is not None for f in found.anchors] == [a["time"] is not None for a in expected["anchors"]]
        return
    if name in LOOSER:
        reference.verify_bundle(data, reference.parse_trust(trust))
        return
    with pytest.raises(RefutedError) as caught:
        reference.verify_bundle(data, reference.parse_trust(trust))
    code = reading((FOLDER / name / "expected.json").read_bytes())["code"]
    assert caught.value.code == OTHER_CODE.get(name, code)


def test_a_bundle_is_written_as_it_was_read() -> None:
    data, _ = files("anchored")
    bundle = parse_proof(data)
    again = format_proof(
        bundle.digest, bundle.kind, bundle.claim, bundle.note_text.encode(), bundle.leaves, bundle.anchors
    )
    assert again == data


def test_the_format_has_not_changed() -> None:
    """The same story gives the same bytes as when the vectors were written (the chain aside, which is not ours)."""
    world = World()
    try:
        pictures = library("pictures", key("eva"), 5)
        world.publish(pictures)
        world.publish(library("more", key("bob")))
        made = prove(world.registry, pictures.entries[2].published_hash)
    finally:
        world.close()
    assert reading(made) == {**reading(files("anchored")[0]), "anchors": []}


def test_a_result_as_json() -> None:
    data, trust = files("anchored")
    result = verify_proof(data, parse_trust(trust))
    value = result.value()
    assert canonical(value)
    assert value["logged_before"] == "2027-01-15T08:00:03Z"
    assert value["state"] == "listed"
    assert value["state_basis"] == "asserted"
    assert value["uses"] == dict(result.uses)
    assert result.logged_before is not None
    assert result.logged_before > START


def test_what_is_said_aloud() -> None:
    data, trust = files("not-anchored")
    result = verify_proof(data, parse_trust(trust))
    assert any("is the name of" in sentence for sentence in result.not_checked)
    assert any("who owns the work" in sentence for sentence in result.not_checked)
    assert any("another creator claims this file too" in sentence for sentence in result.not_checked)
    assert any("before when the claim was logged" in sentence for sentence in result.not_checked)
    assert any("no witness signed" in sentence for sentence in result.not_checked)
    assert result.value()["logged_before"] is None


@pytest.mark.parametrize("kind", ["provenance", "published", "content"])
def test_each_kind_of_digest(kind: str) -> None:
    log, pictures = HandMadeLog(), library("pictures", key("eva"), 1)
    log.add(pictures.statement())
    result = verify_proof(log.bundle(pictures.claim(0, 1), kind), trust_in(identity()))
    assert (result.kind, result.digest) == (kind, dict(pictures.entries[0].digests)[kind])
    assert result.state == "logged"


def test_one_picture_and_many() -> None:
    """Paths of every length, at every end of a library."""
    for count in (1, 2, 3, 64, 65):
        log = HandMadeLog()
        pictures = Library.of(key("eva"), [entry(f"{n:03d}") for n in range(count)])
        leaf = log.add(pictures.statement())
        log.add(log.by_registry("review", review_body(leaf, "listed")))
        for number in sorted({0, count // 2, count - 1}):
            assert verify_proof(log.bundle(pictures.claim(number, leaf)), trust_in(identity())).state == "listed"


def test_verifying_needs_no_network_database_or_web_library(tmp_path: Path) -> None:
    """A process that verifies imports nothing that could ask anybody, and none of the heavy libraries."""
    data, trust = files("anchored")
    (tmp_path / "bundle").write_bytes(data)
    (tmp_path / "trust").write_bytes(trust)
    script = (
        "import sys; from pathlib import Path\n"
        "from ledger.proof import verify_proof; from ledger.trust import parse_trust\n"
        "result = verify_proof(Path(sys.argv[1]).read_bytes(), parse_trust(Path(sys.argv[2]).read_bytes()))\n"
        "heavy = {'click', 'eth', 'fastapi', 'httpx', 'lxml', 'numpy', 'PIL', 'socket', 'sqlite3', 'sqlmodel'}\n"
        "print(result.state, sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "bundle"), str(tmp_path / "trust")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "listed []\n"
    assert format_trust(parse_trust(trust)) == trust
