"""The keys of a creator and of a registry, on a real one: added, listed, used, revoked, and what is refused."""

from __future__ import annotations

import contextlib
import json
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.composition import open_registry
from api.settings import Settings
from ledger.client import RegistryClient
from ledger.errors import ConflictError
from ledger.keys import SigningKey
from ledger.library.creator import load_key, load_profile, save_key
from ledger.library.output import load_manifest, refresh_statements
from ledger.statements import PolicyBody, Statement, manifest_body, parse_statement, sign_statement
from tests.e2e.test_cli_story import DECLARED, SILENT, ok, refused
from tests.support.pictures import png
from tests.support.process import call
from tests.support.server import running_server

STRANGER = SigningKey(bytes(32)).did


class Creator:
    """A creator of a home of their own at one registry."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.home = Path(name)
        ok(call("init", "--no-passphrase", "--name", name, "--url", f"https://{name}.example/", "--home", name))
        self.did = load_profile(self.home).did

    def keys(self, *arguments: object, **options: Any) -> Any:
        """Runs a command of the group."""
        command, *rest = arguments
        return call("keys", command, "--to", self.url, "--home", self.home, *rest, **options)

    def add(self, *arguments: object) -> Any:
        """Adds a key; returns what was said of it."""
        return ok(self.keys("add", "--no-passphrase", "--json", *arguments)).value

    def rows(self) -> dict[str, Any]:
        """Returns the list of keys by did."""
        return {row["key"]: row for row in ok(self.keys("list", "--json")).value["keys"]}

    def publish(self, title: str, seed: int) -> int:
        """Publishes one picture; returns its leaf."""
        self.make(title, seed)
        return int(ok(self.publish_again(title)).value["leaf"])

    def make(self, title: str, seed: int) -> None:
        """Tags and signs one picture."""
        Path(title).mkdir()
        Path(title, "a.png").write_bytes(png(seed=seed))
        mine = ("--home", self.home)
        if not Path(f"{self.home}.license.json").exists():
            ok(
                call(
                    "license", "new", "--preset", "open", "--id", f"{self.home}", "--url", "https://a.example/l", *mine
                )
            )
        license_ = f"{self.home}.license.json"
        ok(call("manifest", title, "-o", f"t-{title}", "--license", license_, "--title", title, *DECLARED, *mine))

    def publish_again(self, title: str) -> Any:
        """Publishes what was made."""
        return call("publish", f"t-{title}", "--to", self.url, "--json", "--home", self.home)

    def signer_of(self, leaf: int) -> str:
        """Returns the key that signed a leaf."""
        with RegistryClient(self.url) as client:
            return parse_statement(list(client.leaves(client.policy().size))[leaf]).key

    def size(self) -> int:
        """Returns how many leaves there are."""
        with RegistryClient(self.url) as client:
            return client.policy().size


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("keys")
    with contextlib.chdir(folder), running_server(folder / "registry") as server:
        yield server.url


@pytest.fixture(scope="module")
def plain(url: str) -> Creator:
    """A creator to whom nothing happens."""
    Path("page.txt").write_text("no key")
    Path("page.txt").chmod(0o600)
    return Creator(url, "plain")


@pytest.fixture(autouse=True)
def _in_the_folder(url: str) -> None:
    """Every test runs in the fixture's folder."""


def test_a_key_is_made_logged_and_signs_from_then_on(url: str) -> None:
    one = Creator(url, "rotating")
    first = one.publish("before", 1)
    assert one.signer_of(first) == one.did
    assert {row["kind"] for row in one.rows().values()} == {"signing", "recovery"}
    said = ok(one.keys("add", "--no-passphrase", "--json")).value
    file = Path(said["file"])
    assert (file.parent, stat.S_IMODE(file.stat().st_mode)) == (one.home, 0o600)
    assert load_key(file).did == said["key"] != one.did
    assert one.rows()[said["key"]] == {
        "key": said["key"],
        "kind": "signing",
        "added": said["added"],
        "revoked": None,
        "since": None,
        "counts": True,
        "file": str(file),
    }
    second = one.publish("after", 2)
    assert one.signer_of(second) == said["key"]
    # What the first key signed and the log took is the same leaf as ever.
    assert ok(one.publish_again("before")).value["leaf"] == first
    third = one.add()
    assert one.signer_of(one.publish("later", 3)) == third["key"]
    revoked = ok(one.keys("revoke", third["file"], "--json")).value
    assert (revoked["key"], revoked["since"]) == (third["key"], None)
    assert one.signer_of(one.publish("last", 4)) == said["key"]
    assert file.exists()


def test_what_a_revoked_key_signed_and_nobody_logged_is_signed_anew(url: str) -> None:
    one = Creator(url, "late")
    one.publish("early", 11)
    one.make("unsent", 12)
    manifest = Path("t-unsent/dataset_manifest.json")
    with RegistryClient(url) as client:
        origin = client.policy().origin
    # A run that was cut off before the log took it leaves the statement in the file.
    key = load_key(one.home / "signing.key.pem")
    body = manifest_body(load_manifest(Path("t-unsent")).header.digest)
    refresh_statements(Path("t-unsent"), sign_statement("manifest", one.did, key, origin, body))
    new = one.add()
    ok(one.keys("revoke", one.did))
    leaf = ok(one.publish_again("unsent")).value["leaf"]
    assert one.signer_of(leaf) == new["key"]
    signed = {s["log"]: s["key"] for s in json.loads(manifest.read_bytes())["statements"]}
    assert signed[origin] == new["key"]


def test_after_a_theft_the_recovery_key_takes_the_name_back(url: str) -> None:
    one = Creator(url, "robbed")
    mine = one.publish("mine", 21)
    recovery = one.home / "recovery.key.pem"
    recovery.rename("offline.pem")
    stolen = one.publish("not-mine", 22)
    with_recovery = ("--recovery", "offline.pem")
    new = one.add(*with_recovery)
    said = ok(one.keys("revoke", one.did, "--since", stolen, *with_recovery))
    assert f"manifests that it signed from leaf {stolen} on are disputed" in said.out
    states = {}
    with RegistryClient(url) as client:
        states = {item["leaf"]: item["state"] for item in client.manifests_of(one.did)}
    assert states == {mine: "listed", stolen: "disputed"}
    row = one.rows()[one.did]
    assert (row["since"], row["counts"]) == (stolen, False)
    told = ok(one.keys("list")).out
    assert f"the first key, revoked at leaf {row['revoked']} (not its owner since leaf {stolen}); " in told
    assert "no file here" in told
    assert one.signer_of(one.publish("again-mine", 23)) == new["key"]
    # The thief's key says nothing more.
    Path(new["file"]).unlink()
    one.make("thiefs", 24)
    refused(one.publish_again("thiefs"), 1, "[key-invalid]")


def test_revoking_again_is_said_and_changes_nothing(url: str) -> None:
    one = Creator(url, "twice")
    one.publish("a-twice", 31)
    new = one.add()
    at = ok(one.keys("revoke", new["key"], "--json")).value
    size = one.size()
    assert ok(one.keys("revoke", new["key"], "--json")).value == at
    refused(
        one.keys("revoke", new["key"], "--since", 0), 3, f"--since: revoked at leaf {at['revoked']} without --since"
    )
    assert one.size() == size


def test_a_run_that_was_cut_off_is_finished(url: str) -> None:
    """A key file that the log does not know is used before another is made, also at another registry."""
    one = Creator(url, "cut")
    said = one.keys("add", "--no-passphrase", "--to", SILENT)
    refused(said, 3, "[unreachable]")
    assert [path.name for path in one.home.glob("signing-*")] == []
    refused(one.keys("add", "--no-passphrase", "-o", "none/x.pem"), 3, "cannot write 'none/x.pem'")
    seed = bytes(range(32))
    did = SigningKey(seed).did
    waiting = one.home / f"signing-2.{did.removeprefix('did:key:')}.key.pem"
    save_key(waiting, seed, None, lambda n: bytes(n), no_passphrase=True)
    assert "not in the log: 'trainmark keys add' adds it" in ok(one.keys("list")).out
    assert one.add()["key"] == did
    assert one.rows()[did]["file"] == str(waiting)


def test_a_named_key_file_is_added_once(url: str) -> None:
    one = Creator(url, "named")
    first = one.add("-o", "named.pem")
    size = one.size()
    assert one.add("-o", "named.pem") == first
    assert one.size() == size
    refused(
        one.keys("add", "--kind", "recovery", "-o", "named.pem"), 1, "'named.pem' is your signing key already [void]"
    )
    ok(one.keys("revoke", first["key"]))
    refused(one.keys("add", "-o", "named.pem"), 1, "a revoked key never returns [void]")


def test_recovery_keys_guard_each_other(url: str) -> None:
    one = Creator(url, "guarded")
    first = one.add("--kind", "recovery")
    assert first["file"] == str(one.home / "recovery.key.pem")
    refused(one.keys("add", "--kind", "recovery", "-o", "thief.pem"), 1, "only a recovery key adds another: give")
    assert not Path("thief.pem").exists()
    refused(one.keys("revoke", first["key"]), 1, "a recovery key is revoked only by itself or another recovery key")
    second = one.add("--kind", "recovery", "-o", "second.pem", "--recovery", first["file"])
    ok(one.keys("revoke", first["key"], "--recovery", "second.pem"))
    refused(
        one.keys("revoke", one.did, "--recovery", first["file"]),
        1,
        f"it was revoked at leaf {one.rows()[first['key']]['revoked']} [key-invalid]",
    )
    assert second["key"] in one.rows()


def test_the_last_key_is_revoked_only_when_asked_for(url: str) -> None:
    one = Creator(url, "lonely")
    refused(one.keys("revoke", one.did), 2, "nobody is there to answer the question: give --yes")
    refused(one.keys("revoke", one.did, answers="n\n"), 130, "interrupted")
    assert one.rows()[one.did]["counts"]
    ok(one.keys("revoke", one.did, answers="y\n"))
    refused(one.keys("add", "--no-passphrase"), 1, "[key-invalid]")


def test_passphrases(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Creator(url, "secret")
    monkeypatch.setenv("TRAINMARK_NEW_PASSPHRASE", "the new key's own")
    new = ok(one.keys("add", "--json")).value
    assert b"ENCRYPTED" in Path(new["file"]).read_bytes()
    monkeypatch.delenv("TRAINMARK_NEW_PASSPHRASE")
    refused(one.keys("add"), 2, "nobody is there to answer the question: give TRAINMARK_PASSPHRASE")
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "a wrong one")
    refused(one.keys("add", "--no-passphrase"), 2, "the passphrase of ")
    monkeypatch.setenv("TRAINMARK_PASSPHRASE", "the new key's own")
    refused(one.keys("add"), 2, "give TRAINMARK_NEW_PASSPHRASE or --no-passphrase")
    monkeypatch.setenv("TRAINMARK_NEW_PASSPHRASE", "short")
    refused(one.keys("add"), 2, "expected 8 to 1024 characters, found 5")
    assert len(list(one.home.glob("signing-*"))) == 1
    assert one.signer_of(one.publish("sealed", 61)) == new["key"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("list", "--to", SILENT), 3, "[unreachable]"),
        (("list", "--home", "none"), 2, "no creator in none: make one with 'trainmark init'"),
        (("list", "--key", "none/registry.pem"), 2, "trainmark: --key: there is no folder 'none'"),
        (("add", "--to", SILENT), 3, "[unreachable]"),
        (("add", "--recovery", "none.pem"), 2, "trainmark: --recovery: there is no file 'none.pem'; without a"),
        (("add", "--recovery", "plain/signing.key.pem"), 1, "it is a signing key: leave --recovery out [key-invalid]"),
        (("add", "--recovery", "plain/recovery.key.pem"), 1, "it was never added [key-invalid]"),
        (("add", "-o", "page.txt"), 2, "trainmark: key: 'page.txt' is not a private key in PEM"),
        (("revoke", "me"), 2, "trainmark: KEY: expected a did:key, or one of your key files, found 'me' [malformed]"),
        (("revoke", "did:key:z6"), 2, "trainmark: KEY: expected a did:key of an Ed25519 key [malformed]"),
        (("revoke", STRANGER), 2, f"trainmark: KEY: {STRANGER} is no key of did:key:"),
        (("revoke",), 2, "Missing argument 'KEY'"),
    ],
)
def test_keys_refuses(plain: Creator, arguments: tuple[str, ...], code: int, message: str) -> None:
    size = plain.size()
    before = sorted(Path("plain").iterdir())
    refused(plain.keys(*arguments), code, message)
    assert (plain.size(), sorted(Path("plain").iterdir())) == (size, before)


def test_since_is_a_leaf_that_is_there(url: str) -> None:
    one = Creator(url, "future")
    new = one.add()
    refused(one.keys("revoke", new["key"], "--since", 99999), 2, "--since: there is no leaf 99999: the log has ")
    assert one.rows()[new["key"]]["counts"]


def leaves(url: str, first: int = 0) -> list[Statement]:
    """Returns the statements in a log from leaf `first` on."""
    with RegistryClient(url) as client:
        return [parse_statement(leaf) for leaf in client.leaves(client.policy().size)][first:]


@pytest.mark.parametrize("passphrase", [None, "the registry's own"])
def test_the_registrys_own_statement_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passphrase: str | None
) -> None:
    """Added, used by the server from its next start on, and the stolen one revoked by the recovery key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINMARK_RECOVERY_PASSPHRASE", "kept far away")
    settings: dict[str, Any] = {"key_passphrase": passphrase}
    if passphrase is not None:
        monkeypatch.setenv("TRAINMARK_KEY_PASSPHRASE", passphrase)
    without = () if passphrase else ("--no-passphrase",)
    folder = tmp_path / "registry"
    file = Path("registry/keys/registry.pem")
    with running_server(folder, **settings) as server:
        key = ("--to", server.url, "--key", file)
        [first] = ok(call("keys", "list", *key, "--json")).value["keys"]
        assert (first["added"], first["file"]) == (-1, str(file))
        ok(call("keys", "add", "--kind", "recovery", "-o", "recovery.pem", *key))
        new = ok(call("keys", "add", *without, *key, "--json")).value
        assert Path(new["file"]).parent == file.parent
        ok(call("review", "list", "--registry", server.url, "--key", new["file"]))
        port = server.settings.port
    with running_server(folder, port=port, **settings) as server:
        client = Creator(server.url, "client")
        client.publish("pictured", 1)
        assert [one.key for one in leaves(server.url) if one.type == "review"] == [new["key"]]
        revoke = ("keys", "revoke", file, "--recovery", "recovery.pem", *key)
        ok(call(*revoke))
        ok(call(*revoke))
        refused(call("review", "list", "--registry", server.url, "--key", file), 1, "[key-invalid]")
        size = len(leaves(server.url))
        client.publish("pictured-again", 2)
        said = [one for one in leaves(server.url, size) if one.type == "review"]
        assert [(one.by, one.key) for one in said] == [(first["key"], new["key"])]
    # Without any key that counts it reviews nothing, and is there to be given one.
    Path(new["file"]).unlink()
    client.make("unreviewed", 3)
    for _ in range(2):
        with running_server(folder, port=port, **settings) as server:
            refused(client.publish_again("unreviewed"), 1, "keys: no statement key of did:key:")
    with running_server(folder, port=port, **settings) as server:
        third = ok(call("keys", "add", *without, "--recovery", "recovery.pem", *key, "--json")).value
    with running_server(folder, port=port, **settings) as server:
        assert leaves(server.url)[-1].type == "review"
        assert leaves(server.url)[-1].key == third["key"]
        assert ok(client.publish_again("unreviewed")).value["decision"] == "list"


def new_key(file: Path, *kind: str) -> None:
    """Puts a new key, made by another program, in the place of one."""
    made = subprocess.run(["openssl", "genpkey", *kind], capture_output=True, check=True)
    file.unlink()
    file.write_bytes(made.stdout)
    file.chmod(0o600)


def anchored(url: str, size: int) -> str:
    """Waits until so many leaves are anchored by the publisher of now; returns who that is."""
    with RegistryClient(url) as client:
        for _ in range(300):
            if any(one["size"] >= size and one["state"] == "final" for one in client.anchors()):
                anchor = client.policy().anchor
                assert anchor is not None
                return anchor.publisher
            time.sleep(0.1)
    raise AssertionError(f"{size} leaves were not anchored")


def test_another_anchor_key_anchors_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trust = ("trust", "add", "--yes", "--class", "development")
    with running_server(tmp_path / "registry") as server:
        one = Creator(server.url, "anchored")
        one.publish("held", 1)
        ok(call(*trust, server.url, "--trust", "old.json"))
        before = anchored(server.url, one.size())
        ok(call("prove", "t-held/a.png", "-o", "a.proof.json", "--registry", server.url, "--trust", "old.json"))
        port = server.settings.port
    new_key(tmp_path / "registry/keys/anchor.pem", *("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"))
    with running_server(tmp_path / "registry", port=port) as server:
        one.publish("since", 7)
        assert anchored(server.url, one.size()) != before
        Path("both.json").write_bytes(Path("old.json").read_bytes())
        ok(call(*trust, server.url, "--trust", "both.json"))
        Path("trust.json").write_bytes(Path("old.json").read_bytes())
        shown = call("trust", "add", server.url, "--class", "development", "--replace", answers="y\n")
        assert f"what it verified is refused from now on:\npublisher {before}\n" in ok(shown).out
        for title, file in (("held", "b.proof.json"), ("since", "c.proof.json")):
            prove = ("prove", f"t-{title}/a.png", "-o", file, "--registry", server.url, "--trust", "both.json")
            assert ok(call(*prove, "--json")).value["anchors"] > 0
    refused(call("verify", "a.proof.json"), 1, f"the trust file names no anchor of publisher {before}")
    refused(call("verify", "c.proof.json", "--trust", "old.json"), 1, "the trust file names no anchor of publisher")
    for proof in ("a.proof.json", "b.proof.json", "c.proof.json"):
        assert ok(call("verify", proof, "--trust", "both.json", "--json")).value["verified"] is True


def test_a_rotated_log_key_and_who_trusts_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles and audits under the old key, under both, and when the old one has been taken away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINMARK_KEY_PASSPHRASE", "the registry's own")
    settings: dict[str, Any] = {"key_passphrase": "the registry's own"}
    add, audit = ("trust", "add", "--yes", "--class", "development"), ("log", "audit", "--json")

    def prove(title: str, file: str, trust: str) -> None:
        ok(call("prove", f"t-{title}/a.png", "-o", file, "--registry", url, "--trust", trust))

    def verified(proof: str, trust: str) -> Any:
        return call("verify", proof, "--trust", trust)

    with running_server(tmp_path / "registry", **settings) as server:
        url, port = server.url, server.settings.port
        one = Creator(url, "lasting")
        one.publish("before", 1)
        ok(call(*add, url, "--trust", "old.json"))
        prove("before", "before.proof.json", "old.json")
        refused(call("keys", "rotate", "log", "--data-dir", "registry"), 3, "[second-writer]")
        ok(call(*audit, url, "--trust", "old.json", "--state", "auditor"))
    rotate = ("keys", "rotate", "log", "--data-dir", "registry", "--json")
    monkeypatch.setenv("TRAINMARK_PORT", str(port))
    said = ok(call(*rotate)).value
    assert b"ENCRYPTED" in Path(said["file"]).read_bytes()
    with running_server(tmp_path / "registry", port=port, **settings) as server:
        assert said["key"] == server.registry.log.vkey
        one.publish("during", 2)
        prove("during", "during.proof.json", "old.json")
        found = ok(call(*audit, url, "--trust", "old.json", "--state", "auditor")).value
        assert [text for text in found["not_checked"] if said["key"] in text]
        Path("both.json").write_bytes(Path("old.json").read_bytes())
        shown = ok(call("trust", "add", url, "--trust", "both.json", "--class", "development", answers="y\n")).out
        assert "that stays beside it, and verifies what is older:\nlog key   " in shown
        found = ok(call(*audit, url, "--trust", "both.json", "--state", "auditor")).value
        assert not [text for text in found["not_checked"] if "new key" in text]
        ok(call(*add, url, "--trust", "new.json"))
    Path("registry/keys/log.pem").rename("log.pem")
    with running_server(tmp_path / "registry", port=port, **settings):
        one.publish("after", 3)
        refused(call(*audit, url, "--trust", "old.json", "--state", "auditor"), 1, "the log has a new key")
        ok(call(*audit, url, "--trust", "both.json", "--state", "auditor"))
        prove("after", "after.proof.json", "new.json")
        prove("before", "again.proof.json", "new.json")
    for proof in ("before", "during", "after", "again"):
        ok(verified(f"{proof}.proof.json", "both.json"))
    for proof, trust in (("before", "old"), ("during", "old"), ("during", "new"), ("after", "new"), ("again", "new")):
        ok(verified(f"{proof}.proof.json", f"{trust}.json"))
    for proof, trust in (("before", "new"), ("after", "old")):
        refused(verified(f"{proof}.proof.json", f"{trust}.json"), 1, "no trusted key of localhost/")


def test_a_log_key_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    with running_server(tmp_path / "registry", origin="log.example"):
        pass
    new_key(tmp_path / "registry/keys/log.pem", "-algorithm", "ed25519")
    with (
        pytest.raises(ConflictError) as e,
        open_registry(Settings(data_dir=tmp_path / "registry", origin="log.example")),
    ):
        pass
    assert e.value.code == "log-disagreement"


def test_another_token_key_is_a_new_policy_and_earlier_tokens_stay_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with running_server(tmp_path / "registry") as server:
        one = Creator(server.url, "grantor")
        one.publish("granted", 1)
        mine = ("--to", server.url, "--home", one.home, "--purpose", "x")
        ok(call("token", "issue", "t-granted", "-o", "a.token.json", *mine))
        ok(call("trust", "add", server.url, "--yes", "--class", "development"))
        port = server.settings.port
        old = server.registry.policy_body()["token_keys"]
    monkeypatch.setenv("TRAINMARK_PORT", str(port))
    assert [ok(call("keys", "rotate", "token", "--data-dir", "registry", "--json")).value["key"]] != old
    with running_server(tmp_path / "registry", port=port) as server:
        last = [one.body for one in leaves(server.url) if isinstance(one.body, PolicyBody)]
        assert [list(policy.token_keys) for policy in last] == [
            old,
            server.registry.policy_body()["token_keys"],
        ]
        ok(call("token", "issue", "t-granted", "-o", "b.token.json", *mine, "--days", 3))
        for token in ("a.token.json", "b.token.json"):
            assert ok(call("token", "verify", token, "--json")).value["verified"] is True
