"""Each theft of docs/guides/keys.md, on real registries: the thief's best attack, what it does not reach, and the
commands of the page, as they stand there, after which it is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from anchors.embedded import EmbeddedChain
from api.composition import open_registry
from api.keys import open_keys
from api.settings import Settings
from ledger.assertion import make_assertion
from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.client import RegistryClient
from ledger.encoding import b64url_encode, digest_encode, sha256, time_encode
from ledger.errors import ConflictError, MalformedError, RefusedError, VerificationError
from ledger.fork import make_fork, verify_fork
from ledger.keys import Signer
from ledger.library.creator import load_key, load_profile
from ledger.merkle import Tree, leaf_hashes
from ledger.note import parse_note, parse_vkey
from ledger.policy import verify_checkpoint
from ledger.statements import key_add_body, parse_statement, sign_statement
from ledger.tokens.attribution import issue, issuer_of, parse_token, verify_token
from ledger.trust import parse_trust
from tests.e2e.test_cli_story import DECLARED, ok, refused
from tests.simulator import key, review_body
from tests.support import ROOT
from tests.support.pictures import png
from tests.support.process import call
from tests.support.server import running_server

PAGE = (ROOT / "docs" / "guides" / "keys.md").read_text(encoding="utf-8")
SECRET = "the key's own"
THIEF = key("thief")


def blocks(heading: str) -> list[str]:
    """Returns the commands of one section of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```\n", section, re.DOTALL)


def run(block: str, url: str, port: int) -> None:
    """Runs commands as they stand on the page."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TRAINMARK_REGISTRY": url,
        "TRAINMARK_PORT": str(port),
        **dict.fromkeys(("TRAINMARK_PASSPHRASE", "TRAINMARK_NEW_PASSPHRASE", "TRAINMARK_RECOVERY_PASSPHRASE"), SECRET),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PASSPHRASE", "NEW_PASSPHRASE", "RECOVERY_PASSPHRASE"):
        monkeypatch.setenv(f"TRAINMARK_{name}", SECRET)


def begin(url: str) -> str:
    """Makes the creator of the page; returns its did."""
    ok(call("init", "--name", "Ada", "--url", "https://ada.example/"))
    ok(call("license", "new", "--preset", "open", "--id", "ADA", "--url", "https://ada.example/l"))
    publish(url, "mine", 1)
    return load_profile(Path(".trainmark")).did


def make(title: str, seed: int, home: str = ".trainmark") -> None:
    """Signs one picture with what lies in a home."""
    Path(title).mkdir()
    Path(title, "a.png").write_bytes(png(seed=seed))
    files = ("--license", "ADA.license.json", "--title", title, "--home", home)
    ok(call("manifest", title, "-o", f"t-{title}", *files, *DECLARED))


def publish(url: str, title: str, seed: int, home: str = ".trainmark") -> int:
    """Publishes one picture; returns its leaf."""
    make(title, seed, home)
    return int(ok(call("publish", f"t-{title}", "--to", url, "--home", home, "--json")).value["leaf"])


def speak(url: str, by: str, signer: Signer, kind: str, body: Object) -> int:
    """Has a statement logged by whoever holds a key of the party; returns its leaf."""
    with RegistryClient(url) as client:
        client.authenticate(signer, by, ("statement",))
        return client.speak(sign_statement(kind, by, signer, client.policy().origin, body)).leaf


def states(url: str, did: str) -> dict[int, str]:
    """Returns the states of a creator's manifests by leaf."""
    with RegistryClient(url) as client:
        return {int(item["leaf"]): str(item["state"]) for item in client.manifests_of(did)}


def bearer(url: str, did: str, signer: Signer) -> httpx.Client:
    """Returns a client that has a creator's bearer token, and no key."""
    assertion = make_assertion(signer, did, f"{url}/oauth/token", int(time.time()), b64url_encode(os.urandom(16)))
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
        "scope": "publish statement token",
    }
    token = httpx.post(f"{url}/oauth/token", data=form).raise_for_status().json()["access_token"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})


def test_a_creators_keys_and_bearer_token(tmp_path: Path) -> None:
    with running_server(tmp_path / "registry") as server:
        url, port = server.url, server.settings.port
        did = begin(url)
        with RegistryClient(url) as client:
            origin = client.policy().origin
        changing, after_theft = blocks("A creator's signing key")
        run(changing, url, port)

        # The signing key: publishes under the name, and cannot touch the recovery key.
        shutil.copytree(".trainmark", "thief", ignore=shutil.ignore_patterns("recovery*"))
        [file] = Path("thief").glob("signing-2.*")
        stolen = load_key(file, SECRET)
        while server.registry.log.head.size < 12:
            record: Object = {"kind": "audit", "refs": [], "evidence": digest_encode(os.urandom(32))}
            padding = sign_statement("record", THIEF.did, THIEF, origin, record)
            server.registry.speak(padding.data, THIEF.did)
        bad = publish(url, "stolen", 2, "thief")
        recovery = next(row["key"] for row in ok(call("keys", "list", "--to", url, "--json")).value["keys"]
                        if row["kind"] == "recovery")  # fmt: skip
        revocation: Object = {"op": "revoke", "key": recovery, "since": None}
        for body in (revocation, key_add_body(did, THIEF, recovery=True)):
            with pytest.raises(RefusedError, match="recovery key"):
                speak(url, did, stolen, "key", body)
        mine = next(leaf for leaf in states(url, did) if leaf != bad)
        run(after_theft, url, port)
        assert states(url, did) == {mine: "listed", bad: "disputed"}
        make("again", 3, "thief")
        refused(call("publish", "t-again", "--to", url, "--home", "thief"), 1, "[key-invalid]")

        # The recovery key: adds a key for everybody to see, and signs no manifest.
        thiefs = load_key(Path("recovery.key.pem"), SECRET)
        with (
            pytest.raises(MalformedError, match="a recovery key is given the scope statement only"),
            RegistryClient(url) as client,
        ):
            client.authenticate(thiefs, did, ("publish",))
        added = speak(url, did, thiefs, "key", key_add_body(did, THIEF, recovery=False))
        assert parse_statement(server.registry.log.leaf(added)).key == thiefs.did
        [replaced] = blocks("A creator's recovery key")
        run(replaced, url, port)
        with pytest.raises(RefusedError) as e:
            speak(url, did, thiefs, "key", key_add_body(did, key("another"), recovery=False))
        assert e.value.code == "key-invalid"
        ok(call("keys", "revoke", THIEF.did, "--to", url, "--recovery", "new-recovery.pem"))

        # A bearer token: has tokens issued, and says nothing in the creator's name.
        [third] = Path(".trainmark").glob("signing-3.*")
        with bearer(url, did, load_key(third, SECRET)) as thief:
            later = time_encode(int(time.time()) + 3600)
            wanted = {"manifests": [mine], "files": None, "holder": None, "licensee": None, "price": None, "uses": [],
                      "audience": "any", "purpose": "theft", "expires_at": later}  # fmt: skip
            answer = thief.post("/v1/tokens", json=wanted)
            assert answer.status_code in (200, 201), answer.text
            withdrawal: Object = {"leaf": mine, "effective_at": "2099-01-01T00:00:00Z"}
            said = sign_statement("withdraw", did, THIEF, origin, withdrawal)
            assert thief.post("/v1/statements", content=said.data).json()["code"] == "key-invalid"
            [changed] = blocks("A bearer token")
            run(changed, url, port)
            ended = thief.post("/v1/tokens", json=wanted)
            assert (ended.status_code, ended.json()["code"]) == (401, "invalid-token")


def test_the_registrys_statement_key(tmp_path: Path) -> None:
    with running_server(tmp_path / "registry") as server:
        url, port = server.url, server.settings.port
        did = begin(url)
        [leaf] = states(url, did)
        first_day, after_theft = blocks("The registry's statement key")
        run(first_day, url, port)
        registry = server.registry
        stolen, name = load_key(Path("registry/keys/registry.pem")), registry.identity.did
        speak(url, name, stolen, "review", review_body(leaf, "delisted", None))
        assert states(url, did) == {leaf: "ended"}
        attacks: dict[str, Object] = {
            "policy": {**registry.policy_body(), "token_keys": [THIEF.did]},
            "token": {"token": digest_encode(bytes(32))},
            "key": key_add_body(name, THIEF, recovery=True),
        }
        for kind, what in attacks.items():
            with pytest.raises(RefusedError) as e:
                speak(url, name, stolen, kind, what)
            assert e.value.code in ("forbidden", "void")
        run(after_theft, url, port)
        with pytest.raises(RefusedError) as e:
            speak(url, name, stolen, "review", review_body(leaf, "erased", None))
        assert e.value.code == "key-invalid"
    [new] = Path("registry/keys").glob("registry-2.*")
    with running_server(tmp_path / "registry", port=port) as server:
        ok(call("review", "approve", leaf, "--registry", url, "--key", new))
        assert states(url, did) == {leaf: "listed"}


def test_the_log_key(tmp_path: Path) -> None:
    """The thief's history verifies under the old key; two heads prove it a lie; and then the old key counts no more."""
    with running_server(tmp_path / "registry") as server:
        url, port, log = server.url, server.settings.port, server.registry.log
        ok(call("trust", "add", url, "--yes", "--class", "development"))
        stolen = load_key(Path("registry/keys/log.pem"))
        lie = sign_checkpoint(Checkpoint(log.origin, log.head.size, sha256(b"another history")), stolen)
        trust = parse_trust(Path("trust.json").read_bytes())
        verify_checkpoint(parse_note(lie), trust.policy)
        tree = Tree(leaf_hashes([log.leaf(0)]))
        verify_fork(make_fork(log.head.note, lie, tree.node, trust.policy), trust.policy)
    rotate, away = blocks("The log key")
    run(rotate, url, port)
    run(away, url, port)
    with running_server(tmp_path / "registry", port=port) as server:
        ok(call("trust", "add", url, "--yes", "--class", "development", "--replace"))
        trust = parse_trust(Path("trust.json").read_bytes())
        assert trust.policy.logs == (parse_vkey(server.registry.log.vkey),)
        verify_checkpoint(parse_note(server.registry.log.head.note), trust.policy)
        with pytest.raises(VerificationError, match="no trusted key of"):
            verify_checkpoint(parse_note(lie), trust.policy)
        ok(call("log", "audit", url, "--state", "auditor"))


def test_the_token_key(tmp_path: Path) -> None:
    with running_server(tmp_path / "registry") as server:
        url, port, registry = server.url, server.settings.port, server.registry
        begin(url)
        ok(call("trust", "add", url, "--yes", "--class", "development"))
        ok(call("token", "issue", "t-mine", "-o", "a.token.json", "--to", url, "--purpose", "x"))
        stolen = load_key(Path("registry/keys/token.pem"))
        [record] = registry.catalog.tokens(None, None, 1)
        true = parse_token(record.sd_jwt)
        forged = issue(replace(true.token, purpose="whatever"), stolen, licensee=None, price=None, salts=[])
        old = registry.log.fold.policy
        assert old is not None
        verify_token(forged, issuer_of(old), int(time.time()))  # by its signature alone it would do
        data = Path("a.token.json").read_text()
        Path("forged.token.json").write_text(data.replace(true.text, forged.text))
        assert forged.text in Path("forged.token.json").read_text()
        refused(call("token", "verify", "forged.token.json"), 1, "[token-leaf]")
    [rotate] = blocks("The token key")
    run(rotate, url, port)
    with running_server(tmp_path / "registry", port=port) as server:
        new = server.registry.log.fold.policy
        assert new is not None
        with pytest.raises(VerificationError) as e:
            verify_token(forged, issuer_of(new), int(time.time()))
        assert e.value.code == "unknown-key"
        ok(call("token", "verify", "a.token.json"))


def test_the_anchor_key(tmp_path: Path) -> None:
    """An invented continuation stops the log, and another publisher lets it go on."""
    settings = Settings(data_dir=tmp_path / "registry")
    with open_registry(settings) as running:
        running.writer.anchorer.step()
        log = running.registry.log
        origin, leaves, old = log.origin, [log.leaf(0)], running.writer.anchorer.identity
    invented = Tree(leaf_hashes([*leaves, b"an invented leaf"]))
    with closing(EmbeddedChain(Path("registry/chain.db"), open_keys(Path("registry/keys"), None).anchor)) as chain:
        chain.submit(sha256(origin.encode()), 2, invented.root(), invented.consistency_proof(1))
    with pytest.raises(ConflictError, match="the chain holds 2 leaves, the log has 1"), open_registry(settings):
        pass
    [replaced] = blocks("The anchor key")
    run(replaced, "http://127.0.0.1:9", 8787)
    with open_registry(settings) as running:
        running.writer.anchorer.step()
        now = running.writer.anchorer.identity
        assert old is not None
        assert now is not None
        assert now.publisher != old.publisher
    with closing(EmbeddedChain(Path("registry/chain.db"), open_keys(Path("registry/keys"), None).anchor)) as chain:
        assert chain.head(sha256(origin.encode())) == (1, Tree(leaf_hashes(leaves)).root())
