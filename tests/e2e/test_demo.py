"""The demo, run twice as a newcomer runs it, and what it leaves judged by the reference that shares nothing with it."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import rlp

from anchors.contract import artifact
from anchors.embedded import EmbeddedChain
from api.keys import open_keys
from ledger.cli.demo import MARKER
from ledger.registry.listing import RULES_DIGEST
from tests.reference import bundle, documents, jcs, note, receipt, tiles, token
from tests.support.process import call

CREATOR = "Robin Demo"
LAYOUT = (
    "library",
    "creator/creator.json",
    "tagged/dataset_manifest.json",
    "DEMO-TRAIN-2026-v1.license.json",
    "DEMO-TRAIN-2026-v1.license.txt",
    "trust.json",
    "proofs/friends.jpg.proof.json",
    "token/grant.token.json",
    "corpus",
    "report.ndjson",
    "registry/log/checkpoint",
    "registry/log/tile/entries",
    "log.vkey",
    "cheats",
)


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ledger.cli", "demo", "--dir", str(folder), "--no-serve"],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TRAINMARK_TRACEBACK": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    first, second = (tmp_path_factory.mktemp("demo") / name for name in ("first", "second"))
    said = run(first)
    run(second)
    return first, second, said


def test_the_layout(demos: tuple[Path, Path, str]) -> None:
    for folder in demos[:2]:
        assert [name for name in LAYOUT if not (folder / name).exists()] == []


def test_each_cheat_is_refused_with_its_code(demos: tuple[Path, Path, str]) -> None:
    cheats = demos[2].split("Now cheat")[1]
    codes = re.findall(r"\[([a-z-]+)\]|refused, ([a-z-]+)", cheats)
    assert [a or b for a, b in codes] == [
        "file-mismatch",
        "entry-path",
        "leaf-path",
        "terms-digest",
        "leaf-path",
        "forked-root",
        "proof-too-short",
    ]


def test_a_second_run_into_the_same_folder_begins_anew(demos: tuple[Path, Path, str]) -> None:
    before = (demos[1] / "creator/creator.json").read_bytes()
    run(demos[1])
    assert (demos[1] / "creator/creator.json").read_bytes() != before


def test_what_is_said_is_whole_and_can_be_repeated(demos: tuple[Path, Path, str]) -> None:
    first, _, said = demos
    assert f"To repeat a command: cd {first}; export PATH={Path(sys.executable).parent}:$PATH\n" in said
    assert "7 files become 6" in said
    cut = [line for line in said.splitlines() if line.endswith("…")]
    assert cut
    assert [line for line in cut if not line.endswith(" …")] == []


def test_the_page_ends_with_ctrl_c_and_the_earlier_demo_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / MARKER).touch()
    with subprocess.Popen(
        [sys.executable, "-m", "ledger.cli", "demo", "--dir", str(folder), "--serve"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("The page is at "):
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert lines[0] == f"{folder} holds an earlier demo, which is replaced.\n"


def values(folder: Path) -> set[bytes]:
    """Every key and 32-byte value of a run: in keys, manifest, leaves, proof and token, however it is written."""
    found: set[bytes] = set()
    files = [
        *folder.glob("creator/*"),
        *folder.glob("registry/keys/*"),
        folder / "tagged/dataset_manifest.json",
        folder / "proofs/friends.jpg.proof.json",
        folder / "token/grant.token.json",
        folder / "trust.json",
        *(path for path in (folder / "registry/log/tile").rglob("*") if path.is_file()),
    ]
    for path in files:
        data = path.read_bytes()
        found |= {bytes.fromhex(h.decode()) for h in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", data)}
        for text in re.findall(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", data):
            found.add(base64.urlsafe_b64decode(text + b"="))
        if "tile/0/" in path.as_posix():
            found |= {data[at : at + 32] for at in range(0, len(data), 32)}
        found |= set(re.findall(rb"did:key:z[1-9A-HJ-NP-Za-km-z]+", data))
        if path.suffix == ".pem":
            found.add(data)
    return found


def chain_values(folder: Path) -> set[bytes]:
    """Every 32-byte value and address in the chain's file, however deep in RLP, but zeros."""
    found: set[bytes] = set()

    def collect(data: bytes) -> None:
        if len(data) in (20, 32):
            found.add(data)
        with contextlib.suppress(rlp.DecodingError):
            walk(rlp.decode(data))

    def walk(item: bytes | list[object]) -> None:
        if isinstance(item, bytes):
            if len(item) >= 20:
                collect(item)
        else:
            for part in item:
                assert isinstance(part, bytes | list)
                walk(part)

    with closing(sqlite3.connect(f"file:{folder / 'registry/chain.db'}?mode=ro", uri=True)) as file:
        for row in file.execute("SELECT key, value FROM chain"):
            for data in row:
                collect(data)
    names = b"v1:"  # of the database library's own rows
    return {value for value in found if any(value[:-8]) and not value.startswith(names)}  # no small numbers


def headers_without_events(folder: Path) -> set[bytes]:
    """The receipts roots of blocks in which no contract said anything: a deployment's receipt is always the same."""
    found = set()
    with closing(sqlite3.connect(f"file:{folder / 'registry/chain.db'}?mode=ro", uri=True)) as file:
        for (data,) in file.execute("SELECT value FROM chain"):
            with contextlib.suppress(rlp.DecodingError):
                fields = rlp.decode(data)
                if isinstance(fields, list) and len(fields) > 16 and len(fields[6]) == 256 and not any(fields[6]):
                    found.add(fields[5])
    return found


def test_two_runs_share_no_key_salt_or_digest(demos: tuple[Path, Path, str]) -> None:
    same_pictures: set[bytes] = set()
    manifest = json.loads((demos[0] / "tagged/dataset_manifest.json").read_bytes())
    for entry in manifest["entries"]:
        for kind in ("provenance_hash", "content_hash"):
            if entry[kind]:
                same_pictures.add(bytes.fromhex(entry[kind][7:]))
        same_pictures |= {bytes.fromhex(code) for code in entry["fingerprints"].values() if code}
    first, second = values(demos[0]), values(demos[1])
    assert len(first) > 200
    license_digest = bytes.fromhex(manifest["header"]["license_digest"][7:])
    terms = json.loads((demos[0] / "DEMO-TRAIN-2026-v1.license.json").read_bytes())
    same_words = {RULES_DIGEST, license_digest, bytes.fromhex(terms["text_digest"][7:])}
    empty_status_list = hashlib.sha256(bytes(32 * 1024)).digest()
    topic = receipt.keccak256(b"Anchored(address,bytes32,uint64,bytes32)")
    assert (first & second) - same_pictures - same_words - {empty_status_list, topic} == set()


def test_two_chains_share_no_key_or_digest(demos: tuple[Path, Path, str]) -> None:
    first, second = chain_values(demos[0]), chain_values(demos[1])
    assert len(first) > 40
    nothing = {hashlib.sha256(b"").digest(), *(receipt.keccak256(data) for data in (b"", b"\x80", b"\xc0"))}
    contract = {
        receipt.keccak256(artifact().runtime),
        receipt.keccak256(b"Anchored(address,bytes32,uint64,bytes32)"),
    }
    deployment = headers_without_events(demos[0]) & headers_without_events(demos[1])
    assert (first & second) - nothing - contract - deployment == set()
    trust = json.loads((demos[0] / "trust.json").read_bytes())["anchors"][0]
    known = {bytes.fromhex(trust[name][2:]) for name in ("genesis", "contract", "publisher")}
    assert known & first  # so the search finds what is there
    assert known & second == set()
    private = open_keys(demos[0] / "registry/keys", None).anchor
    assert private not in first


def test_log_and_chain_hold_no_names_and_no_file_digests(demos: tuple[Path, Path, str]) -> None:
    folder = demos[0]
    manifest = json.loads((folder / "tagged/dataset_manifest.json").read_bytes())
    needles = [CREATOR.encode(), b"Demo library", b"robin.example"]
    for entry in manifest["entries"]:
        needles.append(Path(entry["path"]).name.encode())
        for kind in ("provenance_hash", "published_hash", "content_hash"):
            if entry[kind]:
                raw = bytes.fromhex(entry[kind][7:])
                needles += [raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")]
    public = [path for path in (folder / "registry/log").rglob("*") if path.is_file()]
    public += list((folder / "registry").glob("chain.db*"))
    assert len(public) >= 5
    held = {needle for path in public for needle in needles if needle in path.read_bytes()}
    assert held == set()
    whole = (folder / "tagged/dataset_manifest.json").read_bytes()
    assert sum(needle in whole for needle in needles) > len(manifest["entries"])  # so the search can fail


def block_hash(folder: Path, anchored: receipt.Anchored) -> str:
    keys = open_keys(folder / "registry/keys", None)
    with closing(EmbeddedChain(folder / "registry/chain.db", keys.anchor)) as chain:
        return chain.block_hash(anchored.block_number)


def test_the_reference_believes_log_proof_and_token(demos: tuple[Path, Path, str]) -> None:
    folder = demos[0]
    vkey = (folder / "log.vkey").read_text().strip()
    policy = note.parse_policy(f"log {vkey}\nquorum none\n")
    checkpoint = note.verify_checkpoint((folder / "registry/log/checkpoint").read_bytes(), policy)
    leaves = tiles.verify_folder(folder / "registry/log", checkpoint)
    assert len(leaves) == checkpoint.size >= 6

    trust = bundle.parse_trust((folder / "trust.json").read_bytes())
    proof = (folder / "proofs/friends.jpg.proof.json").read_bytes()
    record = json.loads(proof)["anchors"][0]["record"]
    known = block_hash(folder, receipt.verify_record(record))
    picture = (folder / "tagged/photographs/friends.jpg").read_bytes()
    shown = bundle.verify_bundle(proof, trust, [known], picture)
    assert {"file", "entry", "header", "terms", "signatures", "checkpoint", "leaves", "key", "log", "anchor"} <= (
        shown.proved
    )
    unknown = bundle.verify_bundle(proof, trust, [], picture)
    assert "anchor" not in unknown.proved
    grant = (folder / "token/grant.token.json").read_bytes()
    token.verify_token_bundle(grant, trust, int(time.time()), [known])


def test_the_reference_believes_manifest_and_attributions(demos: tuple[Path, Path, str]) -> None:
    folder = demos[0] / "tagged"
    documents.verify_manifest((folder / "dataset_manifest.json").read_bytes())
    files = sorted(folder.rglob("*.attribution.json"))
    assert len(files) == 38
    for path in files:
        value = documents.verify_attribution(path.read_bytes())
        data = path.with_name(path.name.removesuffix(".attribution.json")).read_bytes()
        assert jcs.digest(data) == json.loads(path.read_bytes())["entry"]["published_hash"]
        assert value


def test_the_registry_is_gone_when_the_demo_has_ended(demos: tuple[Path, Path, str]) -> None:
    match = re.search(r"started at http://127\.0\.0\.1:(\d+)", demos[2])
    assert match
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(match[1]))) == errno.ECONNREFUSED


def test_a_folder_that_is_no_demos_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("not yours")
    said = call("demo", "--dir", tmp_path, "--no-serve")
    assert (said.code, said.out) == (3, "")
    assert "--dir: holds something that is not an earlier demo; name another folder" in said.err
    assert call("demo", "--dir", mine, "--no-serve").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert mine.read_text() == "not yours"
