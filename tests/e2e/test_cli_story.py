"""Every command that asks a registry, on a real one: what it answers, as text and as JSON, and what it refuses.

The story is told once, in a fixture; the tests look at what it left and ask further questions that change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger.client import RegistryClient
from ledger.encoding import digest_encode, sha256, time_decode, time_encode
from ledger.keys import SigningKey
from ledger.library.creator import load_profile
from tests.reference import bundle as reference
from tests.reference import tiles
from tests.reference import token as reference_token
from tests.support.pictures import jpeg, png
from tests.support.process import Said, call
from tests.support.server import running_server

DECLARED = ("--rights", "owned", "--release", "not-required", "--privacy", "none")
SILENT = "http://127.0.0.1:1"
"""Nobody listens there."""
HOLDER = SigningKey(sha256(b"the licensee")).did
UNKNOWN = "sha256:" + 64 * "0"


@dataclass(frozen=True)
class Story:
    """The registry's URL, another registry's, what publishing said, and when."""

    url: str
    other: str
    published: dict[str, Any]
    did: str

    def proof_of(self, file: str, to: str) -> Path:
        """Writes a verified proof."""
        assert call("prove", file, "-o", to, "--registry", self.url).code == 0
        return Path(to)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with (
        contextlib.chdir(folder),
        running_server(folder / "registry") as server,
        running_server(folder / "other") as other,
    ):
        for name in ("free", "priced"):
            Path(name).mkdir()
            for seed in range(2):
                number = seed + (10 if name == "free" else 20)
                Path(name, f"{seed}.png").write_bytes(png(seed=number))
                Path(name, f"{seed}.jpg").write_bytes(jpeg(seed=number))
        ok(call("init", "--no-passphrase", "--name", "Ada Lens", "--url", "https://ada.example/"))
        for preset, name in (("open", "free"), ("train", "priced")):
            license_url = ("--url", f"https://ada.example/{name}")
            ok(call("license", "new", "--preset", preset, "--id", f"ADA-{name}", *license_url))
            ok(call("manifest", name, "-o", f"tagged-{name}", "--license", f"ADA-{name}.license.json", "--title", name,
                    *DECLARED))  # fmt: skip
        ok(call("trust", "add", server.url, "--yes", "--class", "development"))
        ok(call("trust", "add", other.url, "--yes", "--class", "development", "--trust", "other.json"))
        published = {
            name: ok(call("publish", f"tagged-{name}", "--to", server.url, "--json")).value
            for name in ("free", "priced")
        }
        ok(
            call("token", "issue", "tagged-priced", "--to", server.url, "--holder", HOLDER, "--use", "train",
                 "--licensee", "Model House", "house-7", "--price", "EUR", "12500", "--purpose", "a model",
                 "-o", "grant.token.json")
        )  # fmt: skip
        yield Story(server.url, other.url, published, load_profile(Path(".trainmark")).did)


@pytest.fixture(autouse=True)
def _in_the_story(story: Story) -> None:
    """Every test runs in the story's folder."""


def ok(said: Said) -> Said:
    assert said.code == 0, said
    return said


def refused(said: Said, code: int, message: str) -> None:
    """The command failed with that code, said why on standard error alone, and showed no traceback."""
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert "Traceback" not in said.err
    assert "unforeseen" not in said.err


# Trust


def test_trust_add_shows_what_it_asks_about(story: Story) -> None:
    said = call("trust", "add", story.url, "--trust", "asked.json", answers="y\npublic\n")
    assert said.code == 0
    assert "fingerprint" in said.out
    assert json.loads(Path("asked.json").read_bytes())["anchors"][0]["class"] == "public"
    declined = call("trust", "add", story.url, "--trust", "declined.json", "--json", answers="n\n")
    assert (declined.code, declined.out) == (130, "")
    assert "fingerprint" in declined.err
    assert not Path("declined.json").exists()


@pytest.mark.parametrize(("answers", "option"), [("", "--yes"), ("y\n", "--class")])
def test_trust_add_names_the_option_that_nobody_answered(story: Story, answers: str, option: str) -> None:
    unanswered = call("trust", "add", story.url, "--trust", "unanswered.json", "--json", answers=answers)
    refused(unanswered, 2, f"nobody is there to answer the question: give {option}")
    assert not Path("unanswered.json").exists()


def test_trust_add_again_keeps_the_blocks(story: Story) -> None:
    ok(call("trust", "add", story.url, "--yes", "--class", "development", "--trust", "again.json"))
    added = ok(call("trust", "block", "0x" + 64 * "a", "--trust", "again.json", "--json"))
    assert added.value == {"trust": "again.json", "block_hash": "0x" + 64 * "a"}
    ok(call("trust", "add", story.url, "--yes", "--class", "public", "--trust", "again.json", "--json"))
    shown = ok(call("trust", "show", "--trust", "again.json", "--json")).value
    assert list(shown["blocks"].values()) == [1]
    assert [anchor["class"] for anchor in shown["anchors"]] == ["public"]
    assert reference.parse_trust(Path("again.json").read_bytes()).registry == shown["registry"]
    assert "counts as public" in ok(call("trust", "show", "--trust", "again.json")).out


def test_trust_never_moves_to_another_registry_by_itself(story: Story) -> None:
    ok(call("trust", "add", story.url, "--yes", "--class", "development", "--trust", "mine.json"))
    before = Path("mine.json").read_bytes()
    add = ("trust", "add", story.other, "--yes", "--class", "development", "--trust", "mine.json", "--json")
    refused(call(*add), 3, "mine.json: names another registry (did:key:")
    assert Path("mine.json").read_bytes() == before
    ok(call(*add, "--replace"))
    assert Path("mine.json").read_bytes() == Path("other.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "--trust", "none.json"), "no trust file at none.json: make one with 'trainmark trust add"),
        (("show", "--trust", "tagged-free/0.png"), "trainmark: trust: "),
        (("show", "--trust", "tagged-free/dataset_manifest.json"), "trainmark: trust: "),
        (("show", "--trust", "grant.token.json"), "trainmark: trust: expected a trust file, found a token [malformed]"),
        (("block", "0x12"), "trainmark: block_hash: expected 0x and 64 hex digits, found '0x12' [malformed]"),
        (("add", "nonsense", "--yes"), "trainmark: url: expected a URL like https://registry.example"),
    ],
)
def test_trust_refuses(arguments: tuple[str, ...], message: str) -> None:
    refused(call("trust", *arguments), 2, message)


# Publish, resolve, prove


def test_publish_says_what_became_of_it(story: Story) -> None:
    free = story.published["free"]
    assert (free["decision"], free["reasons"]) == ("list", [])
    manifest = json.loads(Path("tagged-free/dataset_manifest.json").read_bytes())
    assert {s["log"] for s in manifest["statements"]} >= {free["log"]}


def test_publish_again_is_the_same_leaf(story: Story) -> None:
    before = Path("tagged-free/dataset_manifest.json").read_bytes()
    for place in ("tagged-free", "tagged-free/dataset_manifest.json"):
        again = ok(call("publish", place, "--to", f"{story.url}/", "--json")).value
        assert again["leaf"] == story.published["free"]["leaf"]
    assert Path("tagged-free/dataset_manifest.json").read_bytes() == before
    assert f"logged as leaf {again['leaf']} of {again['log']}" in call("publish", "tagged-free", "--to", story.url).out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none",), 2, "trainmark: MANIFEST: there is no 'none' [not-found]"),
        (("free",), 2, "trainmark: manifest: there is no file 'free/dataset_manifest.json' [not-found]"),
        (("tagged-free/0.png",), 2, "trainmark: MANIFEST: expected a dataset_manifest.json or its folder, found "),
        (("tagged-free", "--home", "none"), 2, "no creator in none: make one with 'trainmark init'"),
        (("tagged-free", "--to", SILENT), 3, f"trainmark: {SILENT} does not answer (connection refused): "),
        (("tagged-free", "--to", "nonsense"), 2, "trainmark: url: expected a URL like https://registry.example"),
    ],
)
def test_publish_refuses(story: Story, arguments: tuple[str, ...], code: int, message: str) -> None:
    before = Path("tagged-free/dataset_manifest.json").read_bytes()
    refused(call("publish", "--to", story.url, *arguments), code, message)
    assert Path("tagged-free/dataset_manifest.json").read_bytes() == before


def test_publish_wants_the_address_the_registry_says_to_have(story: Story) -> None:
    said = call("publish", "tagged-free", "--to", story.url.replace("127.0.0.1", "localhost"))
    refused(said, 1, f"the registry says to be '{story.url}'; use that address if you trust it [wrong-issuer]")


def test_a_library_is_its_creators_only(story: Story) -> None:
    ok(call("init", "--no-passphrase", "--name", "Eve", "--url", "https://eve.example/", "--home", "eve"))
    leaf = str(story.published["free"]["leaf"])
    refused(call("publish", "tagged-free", "--to", story.url, "--home", "eve"), 2, "creator_id: it is by did:key:")
    refused(call("withdraw", leaf, "--to", story.url, "--home", "eve"), 1, "only its own creator withdraws")
    issue = ("token", "issue", "tagged-free", "--purpose", "x", "-o", "stolen.token.json")
    refused(call(*issue, "--to", story.url, "--home", "eve"), 1, "a creator grants its own works only")
    assert not Path("stolen.token.json").exists()


def test_resolve_a_file_a_hash_a_manifest(story: Story) -> None:
    picture = Path("tagged-free/0.png")
    for what in (str(picture), digest_encode(sha256(picture.read_bytes())), sha256(picture.read_bytes()).hex()):
        [answer] = ok(call("resolve", what, "--registry", story.url, "--json")).value["answers"]
        assert answer["file"] == what
        [claim] = answer["claims"]
        assert (claim["leaf"], claim["state"], claim["creator"]["id"], claim["kind"]) == (
            story.published["free"]["leaf"],
            "listed",
            story.did,
            "published",
        )
    said = ok(call("resolve", str(picture), "--registry", story.url))
    assert "may I train on it? " in said.out
    assert f"leaf {claim['leaf']}, entry {claim['entry']}, matched by its published hash" in said.out
    value = ok(call("resolve", "tagged-free/dataset_manifest.json", "--registry", story.url, "--json")).value
    assert [answer["file"] for answer in value["answers"]] == ["0.jpg", "0.png", "1.jpg", "1.png"]


def test_resolve_tells_a_license_once_for_several_files(story: Story) -> None:
    said = ok(call("resolve", "tagged-priced/0.png", "tagged-priced/1.png", "--registry", story.url))
    lines = said.out.splitlines()
    conditions = [line for line in lines if line.startswith("      - ")]
    assert conditions
    assert len(conditions) == len(set(conditions))
    assert [line for line in lines if "may I train" in line] == [
        "    may I train on it? under conditions",
        "    may I train on it? under conditions, those of ADA-priced above",
    ]
    mixed = call("resolve", "tagged-priced/0.png", UNKNOWN, "--registry", story.url)
    assert mixed.code == 1
    assert "nobody claims this file here" in mixed.out


def test_resolve_finds_a_picture_whose_metadata_are_gone(story: Story) -> None:
    Path("renamed.jpg").write_bytes(Path("free/1.jpg").read_bytes() + b"trailing bytes")
    [answer] = ok(call("resolve", "renamed.jpg", "--registry", story.url, "--json")).value["answers"]
    assert answer["claims"][0]["kind"] == "content"


def test_resolve_says_no_for_what_nobody_claims(story: Story) -> None:
    said = call("resolve", UNKNOWN, "--registry", story.url)
    assert (said.code, said.err) == (1, "")
    assert "nobody claims this file here; unknown is not permission" in said.out
    value = call("resolve", UNKNOWN, "--registry", story.url, "--json")
    assert (value.code, value.value["answers"][0]["claims"]) == (1, [])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("resolve", "none"), 2, "trainmark: file: there is no file 'none' [not-found]"),
        (("resolve", UNKNOWN[:-2]), 2, "not a SHA-256: 62 of 64 digits 0-9 and a-f [malformed]"),
        (("resolve", "tagged-free"), 2, "trainmark: 'tagged-free': is a folder: use 'trainmark check' for all files"),
        (("resolve", "tagged-free/0.png", "--registry", SILENT), 3, "[unreachable]"),
        (("prove", "none", "-o", "x.proof.json"), 2, "trainmark: file: there is no file 'none' [not-found]"),
        (("prove", "tagged-free/dataset_manifest.json", "-o", "x.proof.json"), 2, "one file or hash at a time"),
        (("prove", UNKNOWN, "-o", "x.proof.json"), 1, f"{UNKNOWN}: nobody claims this file here [unknown]"),
        (("prove", "tagged-free/0.png", "-o", "x.proof.json", "--registry", SILENT), 3, "[unreachable]"),
        (("prove", "tagged-free/0.png", "-o", "none/x.proof.json"), 3, "cannot write 'none/x.proof.json'"),
        (("prove", "tagged-free/0.png", "-o", "x.proof.json", "--leaf", "0"), 1, "[unknown]"),
        (("prove", "tagged-free/0.png", "-o", "x.proof.json", "--trust", "other.json"), 1, "names no log"),
    ],
)
def test_resolve_and_prove_refuse(story: Story, arguments: tuple[str, ...], code: int, message: str) -> None:
    registry = () if "--registry" in arguments else ("--registry", story.url)
    refused(call(*arguments, *registry), code, message)
    assert not Path("x.proof.json").exists()


def test_prove_and_verify(story: Story) -> None:
    said = ok(call("prove", "tagged-free/0.png", "-o", "p.proof.json", "--registry", story.url, "--json"))
    data = Path("p.proof.json").read_bytes()
    anchors = len(json.loads(data)["anchors"])
    assert said.value == {"proof": "p.proof.json", "bytes": len(data), "verified": True, "anchors": anchors}
    result = ok(call("verify", "p.proof.json", "--file", "tagged-free/0.png", "--json")).value
    assert (result["verified"], result["creator_id"], result["state_basis"]) == (True, story.did, "asserted")
    replayed = ok(call("verify", "p.proof.json", "--log", "registry/log", "--json")).value
    assert replayed["state_basis"] == "replayed"
    picture = Path("tagged-free/0.png").read_bytes()
    trust = reference.parse_trust(Path("trust.json").read_bytes())
    assert "leaves" in reference.verify_bundle(data, trust, file=picture).proved
    assert "proof bundle" in ok(call("show", "p.proof.json")).out
    unverified = call("prove", "tagged-free/0.png", "-o", "q.proof.json", "--registry", story.url, "--trust", "none")
    assert "not verified: no trust file" in ok(unverified).out


def test_prove_replaces_an_older_proof_of_the_same_claim_only(story: Story) -> None:
    proof = story.proof_of("tagged-free/0.png", "same.proof.json")
    ok(call("prove", "tagged-free/0.png", "-o", proof, "--registry", story.url))
    before = proof.read_bytes()
    for kept in (proof, Path("trust.json")):
        data = kept.read_bytes()
        said = call("prove", "tagged-free/1.png", "-o", kept, "--registry", story.url)
        refused(said, 3, f"'{kept}' exists and is not replaced [exists]")
        assert kept.read_bytes() == data
    assert proof.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--trust", "other.json"), 1, "checkpoint: the trust file names no log "),
        (("--trust", "none.json"), 2, "no trust file at none.json: make one with"),
        (("--file", "tagged-free/1.png"), 1, "the file's published hash is not the one of the proof [file-mismatch]"),
        (("--file", "free/0.png"), 1, "it is the original, and the proof is for the tagged copy [file-mismatch]"),
        (("--file", "none.png"), 2, "there is no file 'none.png'"),
        (("--block-hash", "zz"), 2, "trainmark: --block-hash: expected "),
        (("--log", "none"), 2, "Directory 'none' does not exist."),
        (("--log", "tagged-free"), 2, "trainmark: --log: there is no file 'tagged-free/tile/"),
        (("--require", "everything"), 2, "Invalid value for '--require'"),
    ],
)
def test_verify_refuses_a_proof(story: Story, options: tuple[str, ...], code: int, message: str) -> None:
    story.proof_of("tagged-free/0.png", "v.proof.json")
    before = sorted(path for path in Path().rglob("*") if "registry" not in path.parts and "other" not in path.parts)
    said = call("verify", "v.proof.json", *options)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    after = sorted(path for path in Path().rglob("*") if "registry" not in path.parts and "other" not in path.parts)
    assert after == before


def test_a_log_that_is_whole_but_another_one_refutes(story: Story) -> None:
    """The operator's tiles agree with each other, not with the checkpoint that was signed."""
    proof = json.loads(story.proof_of("tagged-free/0.png", "w.proof.json").read_bytes())
    size = int(proof["checkpoint"].split("\n")[1])
    leaves = tiles.read_leaves(Path("registry/log"), size)
    for name, changed in (("same", leaves), ("forged", [*leaves[:-1], leaves[0]])):
        for path, data in tiles.expected_tiles(changed).items():
            Path(name, path).parent.mkdir(parents=True)
            Path(name, path).write_bytes(data)
    assert ok(call("verify", "w.proof.json", "--log", "same", "--json")).value["state_basis"] == "replayed"
    refused(call("verify", "w.proof.json", "--log", "forged", "--json"), 1, "not those of the checkpoint")


@pytest.mark.parametrize("requirement", ["anchor", "anchor=public", "snapshot"])
def test_what_is_required_and_not_proved_is_a_no(story: Story, requirement: str) -> None:
    proof = story.proof_of("tagged-free/0.png", "r.proof.json")
    said = call("verify", proof, "--require", requirement, "--json")
    assert said.code == 1
    assert said.value["logged_before"] is None
    assert said.err.startswith(f"trainmark: {requirement} was required and is not proved")


# Tokens, the gate


def test_a_token_is_verified_by_both_commands_and_the_reference(story: Story) -> None:
    for command in (("token", "verify"), ("verify",)):
        value = ok(call(*command, "grant.token.json", "--json")).value
        assert (value["verified"], value["files"]["count"], value["files_checked"]) == (True, 4, True)
        assert value["licensee"] == {"name": "Model House", "id": "house-7"}
        assert "verified: ADA-priced for Model House (house-7), 4 files" in ok(call(*command, "grant.token.json")).out
    trust = reference.parse_trust(Path("trust.json").read_bytes())
    data = Path("grant.token.json").read_bytes()
    shown = reference_token.verify_token_bundle(data, trust, time_decode(value["as_of"], "as_of"))
    assert {"token", "token-leaf", "manifests", "files"} <= shown.result.proved


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--use", "train"), 1, "a token without holder carries attribution only, no uses [use-refused]"),
        (("--holder", "me"), 2, "trainmark: holder: expected did:key:z6Mk"),
        (("--path", "none.png"), 2, "trainmark: none.png: there is no such file in the manifest"),
        (("--price", "EUR", "1.5"), 2, "trainmark: --price: expected a decimal number from 0 to "),
        (("--price", "euro", "15"), 2, "currency"),
        (("--licensee", "Model House", "--use", "train"), 2, "takes NAME ID, found 'Model House' and the option --use"),
        (("--days", "0"), 2, "Error: Invalid value for '--days': 0 is not in the range 1<=x<=36500."),
        (("--use", "paint"), 2, "Error: Invalid value for '--use': 'paint' is not one of "),
        (("--to", SILENT), 3, "[unreachable]"),
        (("--home", "none"), 2, "no creator in none: make one with 'trainmark init'"),
        (("-o", "none/x.token.json"), 3, "cannot write 'none/x.token.json'"),
        (("-o", "grant.token.json"), 3, "trainmark: -o: 'grant.token.json' exists and is not replaced [exists]"),
    ],
)
def test_token_issue_refuses(story: Story, options: tuple[str, ...], code: int, message: str) -> None:
    issue = ("token", "issue", "tagged-priced", "--to", story.url, "--purpose", "x", "-o", "x.token.json")
    refused(call(*issue, *options), code, message)
    assert not Path("x.token.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("token", "verify", "none"), 2, "trainmark: file: there is no file 'none' [not-found]"),
        (("token", "verify", "trust.json"), 2, "trainmark: file: expected a token, found a trust file [malformed]"),
        (("token", "verify", "grant.token.json", "--trust", "other.json"), 1, "names no log"),
        (("token", "verify", "grant.token.json", "--trust", "none.json"), 2, "no trust file at none.json"),
        (
            ("verify", "grant.token.json", "--file", "free/0.png"),
            2,
            "--file says nothing about a file of kind token/v1",
        ),
        (("token", "verify", "grant.token.json", "--files", "none"), 2, "there is no file 'none'"),
        (("token", "verify", "grant.token.json", "--files", "free/0.png"), 2, "files: "),
        (("token", "verify", "grant.token.json", "--files", "other.files"), 1, "--files: the list is not the one in "),
    ],
)
def test_token_verify_refuses(arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("other.files").write_bytes(bytes(32))
    refused(call(*arguments), code, message)


def corpus(name: str, *files: str) -> Path:
    folder = Path("corpora", name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.replace("/", "-")).write_bytes(Path(file).read_bytes())
    return folder


def counts(**of: int) -> dict[str, int]:
    return {"allow": 0, "review": 0, "deny": 0, "aside": 0} | of


def test_check_a_folder_as_it_was_published(story: Story) -> None:
    check = ("check", "tagged-priced", "--registry", story.url, "--json", "-o", "published.ndjson")
    assert call(*check).value["counts"] == counts(deny=4, aside=7)
    value = ok(call(*check, "--token", "grant.token.json")).value
    assert value["counts"] == counts(allow=4, aside=7)
    report = [json.loads(line) for line in Path("published.ndjson").read_text().splitlines()]
    allowed = [v["file"] for v in report if v["verdict"] == "allow"]
    assert allowed == ["0.jpg", "0.png", "1.jpg", "1.png"]


def test_check_a_folder(story: Story) -> None:
    mixed = corpus("mixed", "tagged-free/0.png", "tagged-priced/0.png", "trust.json")
    check = ("check", mixed, "--registry", story.url)
    without = call(*check, "--json", "-o", "report.ndjson")
    assert (without.code, without.err, without.value["counts"]) == (1, "", counts(allow=1, deny=2))
    assert [json.loads(line) for line in Path("report.ndjson").read_text().splitlines()] == without.value["verdicts"]
    assert {v["file"]: v["reasons"] for v in without.value["verdicts"]} == {
        "tagged-free-0.png": ["licensed"],
        "tagged-priced-0.png": ["needs-token"],
        "trust.json": ["unknown"],
    }
    with_token = call(*check, "--token", "grant.token.json", "--json").value
    assert with_token["counts"] == counts(allow=2, deny=1)
    left_out = ok(call(*check, "--token", "grant.token.json", "--leave-out", "*.json"))
    assert left_out.out.startswith("2 files for train: 2 allowed, 0 for a person to decide, 0 denied; 1 more set aside")
    (mixed / "trust.json").unlink()
    said = ok(call(*check, "--token", "grant.token.json"))
    assert "2 files for train: 2 allowed, 0 for a person to decide, 0 denied\n" in said.out
    other_use = call(*check, "--token", "grant.token.json", "--use", "share-data")
    assert other_use.code == 1
    assert "tagged-priced-0.png: use-refused" in other_use.out


def test_check_of_a_registry_that_does_not_answer_is_no_verdict(story: Story) -> None:
    said = call("check", "tagged-free", "--registry", SILENT, "-o", "silent.ndjson")
    refused(said, 3, f"trainmark: {SILENT} does not answer (connection refused): is the address right (--registry")
    assert "does the registry run ('trainmark serve')? [unreachable]" in said.err
    assert not Path("silent.ndjson").exists()


def test_check_without_the_right_registry_denies_everything(story: Story) -> None:
    folder = corpus("closed", "tagged-free/0.png", "tagged-free/1.png")
    said = call("check", folder, "--registry", story.other, "--json")
    assert (said.code, said.value["counts"]) == (1, counts(deny=2))
    said = call("check", folder, "--registry", story.url, "--trust", "other.json", "--json")
    assert (said.code, said.value["counts"]) == (1, counts(deny=2))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("none",), 2, "Error: Invalid value for 'CORPUS': Directory 'none' does not exist."),
        (("trust.json",), 2, "Error: Invalid value for 'CORPUS': Directory 'trust.json' is a file."),
        (("corpora/empty",), 2, "there is no file in it to train on: nothing was checked"),
        (("free", "--leave-out", "*"), 2, "there is no file in it to train on: nothing was checked"),
        (("free", "--trust", "none.json"), 2, "no trust file at none.json: make one with 'trainmark trust add"),
        (("free", "--token", "none.json"), 2, "trainmark: --token: there is no file 'none.json'"),
        (("free", "--token", "trust.json"), 2, "trainmark: --token: expected a token, found a trust file [malformed]"),
        (("free", "--token", "grant.token.json", "--trust", "other.json"), 1, "names no log"),
        (("free", "--territory", "narnia"), 2, "narnia: expected a two-letter country code (ISO 3166) like NZ"),
        (("free", "--use", "paint"), 2, "Error: Invalid value for '--use': 'paint' is not one of "),
        (("free", "-o", "none/report.ndjson"), 3, "cannot write 'none/report.ndjson'"),
        (("free", "--registry", "nonsense"), 2, "trainmark: url: expected a URL like https://registry.example"),
    ],
)
def test_check_refuses(story: Story, options: tuple[str, ...], code: int, message: str) -> None:
    Path("corpora/empty").mkdir(parents=True, exist_ok=True)
    registry = () if "--registry" in options else ("--registry", story.url)
    refused(call("check", *options, *registry), code, message)


# What changes a state: on a library of its own


@pytest.fixture(scope="module")
def own(story: Story) -> dict[str, Any]:
    """A library published for the tests below, which change what becomes of it."""
    Path("own").mkdir()
    Path("own/a.png").write_bytes(png(seed=40))
    ok(call("manifest", "own", "-o", "tagged-own", "--license", "ADA-free.license.json", "--title", "own", *DECLARED))
    value: dict[str, Any] = ok(call("publish", "tagged-own", "--to", story.url, "--json")).value
    return value


def state(story: Story) -> str:
    [answer] = call("resolve", "tagged-own/a.png", "--registry", story.url, "--json").value["answers"]
    return str(answer["claims"][0]["state"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none",), 2, "trainmark: MANIFEST: there is no 'none' [not-found]"),
        (("999",), 2, "trainmark: no public manifest at leaf 999 [not-found]"),
        (("9" * 40,), 2, "trainmark: MANIFEST: there is no '9999"),
        (("tagged-own", "--at", "tomorrow"), 2, "trainmark: --at: expected a time like 2026-11-24T09:30:00Z"),
        (("tagged-own", "--at", time_encode(0)), 1, "trainmark: effective_at: "),
        (("tagged-own", "--to", SILENT), 3, "[unreachable]"),
        (("tagged-own", "--home", "none"), 2, "no creator in none: make one with 'trainmark init'"),
    ],
)
def test_withdraw_refuses(
    story: Story, own: dict[str, Any], arguments: tuple[str, ...], code: int, message: str
) -> None:
    refused(call("withdraw", "--to", story.url, *arguments), code, message)
    assert state(story) == "listed"


def test_withdraw(story: Story, own: dict[str, Any]) -> None:
    late = time_encode(int(time.time()) + 90 * 86_400)
    said = ok(call("withdraw", "tagged-own", "--to", story.url, "--at", late, "--json")).value
    assert said == {
        "leaf": own["leaf"],
        "statement": said["statement"],
        "effective_at": late,
        "still_offered": [],
    }
    assert own["leaf"] < said["statement"]
    assert state(story) in ("withdrawing", "ended")
    denied = call("check", "tagged-own", "--registry", story.url, "--json").value["verdicts"]
    assert {v["file"]: v["verdict"] for v in denied}["a.png"] == "deny"


def test_withdrawing_again_logs_only_what_takes_effect_earlier(story: Story, own: dict[str, Any]) -> None:
    def withdraw(dataset: object, *options: str) -> dict[str, Any]:
        value: dict[str, Any] = ok(call("withdraw", dataset, "--to", story.url, "--json", *options)).value
        assert value["leaf"] == own["leaf"]
        return value

    def size() -> int:
        with RegistryClient(story.url) as client:
            return client.policy().size

    first = withdraw("tagged-own")
    before = size()
    assert first["statement"] < before
    assert withdraw("tagged-own") == withdraw(own["leaf"]) == first
    at = time_decode(first["effective_at"], "at")
    assert withdraw("tagged-own", "--at", time_encode(at + 99)) == first
    assert withdraw("tagged-own", "--at", time_encode(at)) == first
    said = ok(call("withdraw", "tagged-own", "--to", story.url))
    sentence = f"leaf {own['leaf']} is withdrawn already, effective {first['effective_at']}"
    assert said.out == f"{sentence} (logged as leaf {first['statement']})\n"
    assert size() == before
    earlier = withdraw("tagged-own", "--at", time_encode(at - 1))
    assert earlier["effective_at"] == time_encode(at - 1)
    assert earlier["statement"] == before
    assert withdraw("tagged-own") == earlier
    assert size() == before + 1


def test_a_new_version_replaces_the_old_one_or_stays_beside_it_when_asked(story: Story) -> None:
    Path("grown").mkdir()
    publish = ("publish", "tagged-grown", "--to", story.url, "--json")

    def make(version: str) -> None:
        Path("grown/a.png").write_bytes(png(seed=60 + int(version)))
        ok(call("manifest", "grown", "-o", "tagged-grown", "--license", "ADA-free.license.json", "--title", "grown",
                "--version", version, *DECLARED))  # fmt: skip

    def states() -> dict[int, str]:
        with RegistryClient(story.url) as client:
            items = client.manifests_of(story.did)
            return {item["leaf"]: item["state"] for item in items if item["manifest"]["title"] == "grown"}

    make("1")
    first = ok(call(*publish)).value["leaf"]
    make("2")
    before = Path("tagged-grown/dataset_manifest.json").read_bytes()
    refused(
        call(*publish),
        3,
        f"--supersedes: leaf {first} (version '1') of the same dataset would stay on offer; "
        f"give --supersedes {first} to replace it, or --beside to let it stay [version-conflict]",
    )
    assert states() == {first: "listed"}
    assert Path("tagged-grown/dataset_manifest.json").read_bytes() == before
    second = ok(call(*publish, "--beside")).value["leaf"]
    assert ok(call(*publish)).value["leaf"] == second
    assert states() == {first: "listed", second: "listed"}
    before = Path("tagged-grown/dataset_manifest.json").read_bytes()
    refused(
        call(*publish, "--supersedes", first),
        3,
        f"this manifest is logged already, as leaf {second} superseding nothing, and what is logged stays; make a new "
        "version (trainmark manifest … --version NEW) and publish that with "
        f"--supersedes {first} --supersedes {second} [version-conflict]",
    )
    assert Path("tagged-grown/dataset_manifest.json").read_bytes() == before
    make("3")
    refused(call(*publish, "--supersedes", first), 3, f"give --supersedes {first} --supersedes {second} to replace it")
    both = ("--supersedes", second, "--supersedes", first)
    third = ok(call(*publish, *both)).value["leaf"]
    assert states() == {first: "ended", second: "ended", third: "listed"}
    assert ok(call(*publish, *both)).value["leaf"] == ok(call(*publish)).value["leaf"] == third
    make("4")
    fourth = ok(call(*publish, "--beside")).value["leaf"]
    said = ok(call("withdraw", "tagged-grown", "--to", story.url))
    assert f"leaf {fourth} is withdrawn, " in said.out
    assert f"still on offer from the same dataset: leaf {third} (version '3'); withdraw each by its leaf" in said.out
    assert ok(call("withdraw", third, "--to", story.url, "--json")).value["still_offered"] == []
    make("5")
    assert ok(call(*publish)).value["leaf"] > fourth  # what is withdrawn is not in the way


REGISTRY_KEY = ("--key", "registry/keys/registry.pem")


def test_review_is_for_the_registrys_own_people(story: Story, own: dict[str, Any]) -> None:
    review = ("review", "list", "--registry", story.url)
    refused(call(*review, "--key", "other/keys/registry.pem"), 1, "[key-invalid]")
    refused(call(*review, "--key", ".trainmark/signing.key.pem"), 1, "[key-invalid]")
    refused(call(*review, "--key", "none.pem"), 2, "trainmark: --key: there is no file 'none.pem': name the registry's")
    refused(
        call(*review), 2, "--key: there is no file '.trainmark/keys/registry.pem': name the registry's key with --key"
    )
    refused(call(*review, "--key", "registry/keys/anchor.pem"), 2, "expected Ed25519")
    refused(call("review", "list", "--registry", SILENT, *REGISTRY_KEY), 3, "[unreachable]")
    for leaf, message in ((0, "LEAF: leaf 0 is no manifest"), (999, "LEAF: there is no leaf 999")):
        for decision in ("approve", "reject"):
            said = call("review", decision, leaf, "--registry", story.url, *REGISTRY_KEY)
            refused(said, 2, f"trainmark: {message} [not-found]")


def test_what_collides_waits_and_is_decided_by_a_person(story: Story) -> None:
    Path("copied").mkdir()
    Path("copied/a.png").write_bytes(Path("priced/0.png").read_bytes())
    eve = ("--home", "copying")
    ok(call("init", "--no-passphrase", "--name", "Eve", "--url", "https://eve.example/", *eve))
    make = (
        "manifest",
        "copied",
        "-o",
        "tagged-copied",
        "--license",
        "ADA-free.license.json",
        "--title",
        "copied",
        *eve,
    )
    ok(call(*make, *DECLARED))
    published = ok(call("publish", "tagged-copied", "--to", story.url, "--json", *eve)).value
    assert published["decision"] == "wait"
    told = ok(call("publish", "tagged-copied", "--to", story.url, *eve)).out
    assert [f"  - a.png ({reason.split()[0]}) is also in leaf" in told for reason in published["reasons"]] == [
        True for _ in published["reasons"]
    ]
    leaf, contested = published["leaf"], story.published["priced"]["leaf"]
    assert all(f"leaf {contested}" in reason for reason in published["reasons"])
    assert published["reasons"]

    review = ("--registry", story.url, *REGISTRY_KEY)
    [item] = ok(call("review", "list", *review, "--json")).value["waiting"]
    assert (item["leaf"], item["reasons"]) == (leaf, published["reasons"])
    assert f'leaf {leaf}  "copied" by Eve (' in ok(call("review", "list", *review)).out
    decided = ok(call("review", "reject", leaf, *review, "--json")).value
    assert (decided["leaf"], decided["outcome"]) == (leaf, "rejected")
    assert ok(call("review", "list", *review)).out == "nothing waits\n"
    assert "listed" in ok(call("review", "approve", leaf, *review)).out  # a person may change their mind
    [answer] = ok(call("resolve", "priced/0.png", "--registry", story.url, "--json")).value["answers"]
    assert {(claim["leaf"], claim["contested"]) for claim in answer["claims"]} == {(leaf, True), (contested, True)}
    assert "state listed, contested" in call("resolve", "priced/0.png", "--registry", story.url).out
    ok(call("review", "delist", leaf, *review))
    verdict = call("check", corpus("decided", "priced/0.png"), "--registry", story.url, "--token", "grant.token.json")
    assert ok(verdict).out.startswith("1 files for train: 1 allowed")


def test_what_the_rules_reject_says_why(story: Story) -> None:
    Path("missing").mkdir()
    Path("missing/a.png").write_bytes(png(seed=41))
    make = ("manifest", "missing", "-o", "tagged-missing", "--license", "ADA-free.license.json", "--title", "missing")
    ok(call(*make, "--rights", "owned", "--release", "missing", "--privacy", "face"))
    said = call("publish", "tagged-missing", "--to", story.url)
    assert (said.code, said.err) == (1, "")
    assert "rejected by the registry's rules: change what the reasons say and publish a new version" in said.out
    assert "  - a.png: " in said.out


def test_nothing_is_left_half_written(story: Story) -> None:
    """Temporary files have names of their own; after all the refusals above there is none."""
    left = [path for path in Path().rglob("*") if path.is_file() and ("tmp" in path.name or "partial" in path.name)]
    assert left == []
    assert os.listdir("registry/log/.tmp") == []
