"""Settings, where they come from and which are refused; and the registry's key files."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.composition import open_registry, origin_of, rotate
from api.keys import KEY_NAMES, open_keys
from api.settings import Settings, check_settings
from ledger.encoding import b64_encode
from ledger.errors import ConflictError, MalformedError, RefusedError
from ledger.keys import SigningKey
from ledger.library.creator import encode_key
from ledger.registry import payloads
from ledger.statements import manifest_body, sign_statement
from tests.simulator import key, library
from tests.support import ROOT

EVA = key("eva")
REAL = {"chain": "https://node.example/secret-access-key", "contract": "0x" + "12" * 20}


def made(**values: Any) -> Settings:
    """Returns settings of values of any type, as environment and files give them."""
    return Settings(**values)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_everything_is_here() -> None:
    settings = check_settings(made())
    assert (settings.data_dir, settings.chain, settings.public_url) == (
        Path(".trainmark"),
        "embedded",
        "http://127.0.0.1:8787",
    )
    assert not settings.is_public


def test_code_before_environment_before_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trainmark.toml").write_text('port = 1001\nhost = "127.0.0.2"\nanchor_interval = 7\n')
    monkeypatch.setenv("TRAINMARK_PORT", "1002")
    monkeypatch.setenv("TRAINMARK_ANCHOR_INTERVAL", "8")
    settings = made(anchor_interval=9)
    assert (settings.host, settings.port, settings.anchor_interval) == ("127.0.0.2", 1002, 9)


OTHER_VALUES: dict[str, Any] = {
    "data_dir": "elsewhere",
    "database": "postgresql://user@host/name",
    "tiles": "s3://bucket/tiles",
    "blobs": "s3://bucket/blobs",
    "ipfs": "/ip4/127.0.0.1/tcp/5001",
    "standby": True,
    "read_only": True,
    "host": "127.0.0.2",
    "port": 1001,
    "issuer": "https://registry.example",
    "origin": "registry.example/log",
    "dev": True,
    "key_passphrase": "correct horse",
    "registry_key": "registry.pem",
    "log_key": "log.pem",
    "token_key": "token.pem",
    "anchor_key": "anchor.pem",
    "chain": "http://127.0.0.1:8545",
    "contract": "0x12",
    "genesis": "0x34",
    "confirmations": 3,
    "chain_class": "testnet",
    "anchor_interval": 7.5,
    "witnesses": "witnesses.txt",
    "witness_seconds": 2.5,
    "stop_seconds": 5,
    "log": "json",
    "log_level": "debug",
    "metrics_host": "127.0.0.3",
    "metrics_port": 1002,
    "address_per_minute": 11,
    "subject_per_minute": 12,
    "max_manifest_bytes": 4096,
}
"""A value of each setting that is not its default."""


def test_every_setting_comes_from_code_environment_and_file_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(OTHER_VALUES) == set(Settings.model_fields)
    wanted, plain = made(**OTHER_VALUES), made()
    assert [name for name in OTHER_VALUES if getattr(wanted, name) == getattr(plain, name)] == []

    lines = [f"{name} = {json.dumps(value)}\n" for name, value in OTHER_VALUES.items()]  # TOML writes these alike
    (tmp_path / "trainmark.toml").write_text("".join(lines))
    assert made() == wanted
    (tmp_path / "trainmark.toml").unlink()

    for name, value in OTHER_VALUES.items():
        monkeypatch.setenv(f"TRAINMARK_{name.upper()}", str(value))
    assert made() == wanted


def test_the_level_follows_from_the_form_unless_it_is_set() -> None:
    levels = [made(log=form, log_level=level).least_level for form in ("text", "json") for level in (None, "error")]
    assert levels == ["warning", "error", "info", "error"]


@pytest.mark.parametrize(
    "changed",
    [
        {"prot": 1},
        {"port": 70000},
        {"anchor_interval": 0},
        {"chain_class": "authority"},
        {"issuer": "registry.example"},
        {"issuer": "https://registry.example/"},
        {"max_manifest_bytes": 2**30},
        {"log": "xml"},
        {"log_level": "loud"},
        {"metrics_port": 0},
        {"stop_seconds": 0},
    ],
)
def test_what_is_no_setting_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**changed)


@pytest.mark.parametrize("public", [{"host": "0.0.0.0"}, {"host": "::"}, {"issuer": "https://registry.example"}])
def test_a_public_registry_refuses_what_is_for_trying_out(public: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="TRAINMARK_CHAIN") as caught:
        check_settings(made(**public))
    assert caught.value.code == "unsafe-default"
    with pytest.raises(RefusedError, match="TRAINMARK_KEY_PASSPHRASE"):
        check_settings(made(**public, **REAL))
    check_settings(made(**public, **REAL, key_passphrase="correct horse"))
    check_settings(made(**public, dev=True))


def test_a_nodes_chain_needs_a_contract() -> None:
    with pytest.raises(MalformedError, match="TRAINMARK_CONTRACT"):
        check_settings(made(chain="http://127.0.0.1:8545"))
    with pytest.raises(MalformedError, match="TRAINMARK_CHAIN") as caught:
        check_settings(made(chain="wss://node.example/secret-access-key"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("blobs", ["s3://bucket", "s3://bucket/log-blobs", "s3://bucket/l", "s3://other/log", None])
def test_blobs_may_lie_beside_the_tiles(blobs: str | None) -> None:
    check_settings(made(tiles="s3://bucket/log", blobs=blobs))


@pytest.mark.parametrize("blobs", ["s3://bucket/log", "s3://bucket/log/blobs"])
def test_blobs_do_not_lie_among_the_tiles(blobs: str) -> None:
    with pytest.raises(MalformedError, match="TRAINMARK_BLOBS: lie below TRAINMARK_TILES"):
        check_settings(made(tiles="s3://bucket/log", blobs=blobs))


@pytest.mark.parametrize("name", ["tiles", "blobs"])
def test_a_place_that_is_no_bucket_is_not_shown(tmp_path: Path, name: str) -> None:
    settings = made(data_dir=tmp_path / "data", **{name: "s3://key:secret@bucket/x"})
    expected = f"TRAINMARK_{name.upper()}: expected s3://bucket/prefix"
    with pytest.raises(MalformedError, match=expected) as caught, open_registry(settings):
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["tiles", "blobs"])
def test_buckets_need_a_package(name: str) -> None:
    program = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path; from ledger.errors import MalformedError; from ledger.store import places\n"
        f"try: places.open_{name}('s3://bucket/x', Path('x'))\n"
        "except MalformedError as e: print(e)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"TRAINMARK_{name.upper()}: a bucket needs the package obstore: pip install")


@pytest.mark.parametrize(
    ("changed", "origin"),
    [
        ({"origin": "registry.example/log/2026"}, "registry.example/log/2026"),
        ({"issuer": "https://registry.example/market"}, "registry.example/market"),
        ({"issuer": "https://registry.example:8443"}, "registry.example:8443"),
        ({}, "localhost/66687aadf862"),
    ],
)
def test_the_logs_name(changed: dict[str, Any], origin: str) -> None:
    assert origin_of(made(**changed), bytes(32)) == origin


def test_the_passphrase_is_not_shown() -> None:
    assert "horse" not in repr(made(key_passphrase="correct horse"))


# Keys


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path, passphrase: bytes | None) -> None:
    first = open_keys(tmp_path / "keys", passphrase)
    again = open_keys(tmp_path / "keys", passphrase)
    assert [first.registry.did, first.log.did, first.token.did, first.anchor] == [
        again.registry.did,
        again.log.did,
        again.token.did,
        again.anchor,
    ]
    assert len({first.registry.did, first.log.did, first.token.did}) == 3
    for name in KEY_NAMES:
        file = tmp_path / "keys" / f"{name}.pem"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (b"ENCRYPTED" in file.read_bytes()) == (passphrase is not None)
    assert first.anchor.hex() not in repr(first)


def refused_for_keys(folder: Path, message: str, *, may_make: bool = True) -> None:
    """Opening is refused for keys that are missing, and makes none."""
    before = sorted(folder.iterdir()) if folder.exists() else None
    with pytest.raises(RefusedError, match=message) as caught:
        open_keys(folder, None, may_make=may_make)
    assert caught.value.code == "keys-incomplete"
    assert "restore" in caught.value.message
    assert (sorted(folder.iterdir()) if folder.exists() else None) == before


def test_a_lost_key_is_never_made_anew(tmp_path: Path) -> None:
    open_keys(tmp_path, None)
    (tmp_path / "log.pem").unlink()
    refused_for_keys(tmp_path, r"log\.pem missing")


def test_no_key_is_made_for_a_log_that_is_there(tmp_path: Path) -> None:
    refused_for_keys(tmp_path / "lost", r"registry\.pem, log\.pem, token\.pem, anchor\.pem missing", may_make=False)
    made = open_keys(tmp_path / "keys", None)
    assert open_keys(tmp_path / "keys", None, may_make=False).registry.did == made.registry.did
    for name in ("complete", "token.pem"):
        (tmp_path / "keys" / name).unlink()
    refused_for_keys(tmp_path / "keys", r"token\.pem missing", may_make=False)


def test_a_first_start_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    registry = open_keys(tmp_path, None).registry.did
    for name in ("complete", "token.pem", "anchor.pem"):
        (tmp_path / name).unlink()
    (tmp_path / "token.new").write_bytes(b"half a k")
    assert open_keys(tmp_path, None).registry.did == registry


@pytest.mark.parametrize(("first", "used"), [(None, b"x"), (b"x", None), (b"x", b"y")])
def test_the_passphrase_must_fit(tmp_path: Path, first: bytes | None, used: bytes | None) -> None:
    open_keys(tmp_path, first)
    with pytest.raises(RefusedError, match="TRAINMARK_KEY_PASSPHRASE") as caught:
        open_keys(tmp_path, used)
    assert caught.value.code == "passphrase"


# Opening


def begin(settings: Settings) -> None:
    with open_registry(settings):
        pass


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    settings = made(data_dir=tmp_path / "data")
    with open_registry(settings) as running:
        did, size = running.writer.registry.identity.did, running.writer.registry.log.head.size
        with pytest.raises(ConflictError) as caught, open_registry(settings):
            pass
        assert caught.value.code == "second-writer"
    with open_registry(settings) as running:
        assert (running.writer.registry.identity.did, running.writer.registry.log.head.size) == (did, size)
        assert (tmp_path / "data" / "log.vkey").read_text() == f"{running.writer.registry.log.vkey}\n"


def test_a_log_without_its_keys_is_not_opened(tmp_path: Path) -> None:
    settings, kept = made(data_dir=tmp_path / "data"), tmp_path / "backup"
    with open_registry(settings) as running:
        did = running.writer.registry.identity.did
    (tmp_path / "data" / "keys").rename(kept)
    with pytest.raises(RefusedError, match=r"registry\.pem, .* missing in .*restore it") as caught:
        begin(settings)
    assert caught.value.code == "keys-incomplete"
    assert not (tmp_path / "data" / "keys").exists()
    (tmp_path / "data" / "registry.db").rename(tmp_path / "registry.db")  # the tiles alone are a log, too
    with pytest.raises(RefusedError, match="keys") as caught:
        begin(settings)
    assert caught.value.code == "keys-incomplete"
    (tmp_path / "registry.db").rename(tmp_path / "data" / "registry.db")
    kept.rename(tmp_path / "data" / "keys")
    with open_registry(settings) as running:
        assert running.writer.registry.identity.did == did


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("registry", "the log is run by did:key:z6Mk.*, the keys are of did:key:z6Mk"),
        ("log", "the database's checkpoint is signed by localhost/.*, the key is localhost/"),
    ],
)
def test_keys_of_another_registry_are_refused(tmp_path: Path, name: str, message: str) -> None:
    settings = made(data_dir=tmp_path / "data")
    with open_registry(settings) as running:
        size = running.writer.registry.log.head.size
    file = tmp_path / "data" / "keys" / f"{name}.pem"
    own = file.read_bytes()
    open_keys(tmp_path / "other", None)
    file.write_bytes((tmp_path / "other" / f"{name}.pem").read_bytes())
    with pytest.raises(ConflictError, match=message) as caught:
        begin(settings)
    assert caught.value.code == "log-disagreement"
    file.write_bytes(own)
    with open_registry(settings) as running:
        assert running.writer.registry.log.head.size == size


def test_a_new_issuer_is_a_new_policy(tmp_path: Path) -> None:
    with open_registry(made(data_dir=tmp_path, port=1001)) as running:
        assert running.writer.registry.log.head.size == 1
    with open_registry(made(data_dir=tmp_path, port=1002)) as running:
        policy = running.writer.registry.log.fold.policy
        assert running.writer.registry.log.head.size == 2
        assert policy is not None
        assert policy.issuer == "http://127.0.0.1:1002"


def test_the_origin_never_changes(tmp_path: Path) -> None:
    with open_registry(made(data_dir=tmp_path, origin="registry.example/log/1")):
        pass
    with (
        pytest.raises(ConflictError) as caught,
        open_registry(made(data_dir=tmp_path, origin="registry.example/log/2")),
    ):
        pass
    assert caught.value.code == "log-disagreement"


def test_a_log_older_than_its_anchor_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    settings = made(data_dir=folder)
    with open_registry(settings) as running:
        running.writer.anchorer.step()
    for name in ("registry.db", "registry.db-wal", "registry.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "log" / "checkpoint").unlink()
    (folder / "log" / "tile" / "0" / "000.p" / "1").unlink()
    (folder / "log" / "tile" / "entries" / "000.p" / "1").unlink()
    settings = made(data_dir=folder, issuer="http://127.0.0.1:9")
    with (
        pytest.raises(ConflictError, match="the chain holds 1 leaves, the log has 0") as caught,
        open_registry(settings),
    ):
        pass
    assert caught.value.code == "log-disagreement"
    assert not (folder / "log" / "checkpoint").exists()  # nor did it begin another log


def test_a_log_rolled_back_writes_nothing(tmp_path: Path) -> None:
    """A backup from before the last anchor: neither the policy that a changed setting asks for is logged, nor the
    review of a manifest whose publication was cut off."""
    folder, backup, works = tmp_path / "data", tmp_path / "backup", library("birds", EVA)
    with open_registry(made(data_dir=folder)) as running:
        registry = running.writer.registry
        body = manifest_body(works.header.digest)
        registry.speak(sign_statement("manifest", EVA.did, EVA, registry.identity.origin, body).data, EVA.did)
        payloads.store(payloads.Payload(works.header, works.entries, works.terms, works.text), registry.blobs)
    shutil.copytree(folder, backup)
    with open_registry(made(data_dir=folder, issuer="http://127.0.0.1:8")) as running:
        running.writer.anchorer.step()
    shutil.copy(folder / "chain.db", backup / "chain.db")
    before = (backup / "log" / "checkpoint").read_bytes()
    changed = made(data_dir=backup, issuer="http://127.0.0.1:9")
    with (
        pytest.raises(ConflictError, match="the chain holds 4 leaves, the log has 2") as caught,
        open_registry(changed),
    ):
        pass
    assert caught.value.code == "log-disagreement"
    assert (backup / "log" / "checkpoint").read_bytes() == before


# Keys that a setting gives


def pem(seed: int, passphrase: str | None = None) -> str:
    """Returns a key as a secret store gives it."""
    secret = bytes([seed]) * 32
    return encode_key(secret, passphrase, lambda n: bytes(n), no_passphrase=passphrase is None).decode()


def test_given_keys_are_not_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = open_keys(tmp_path / "elsewhere", None)
    anchor = (tmp_path / "elsewhere" / "anchor.pem").read_text()
    (tmp_path / "mounted").write_text(pem(2, "a long passphrase"))
    monkeypatch.setenv("TRAINMARK_REGISTRY_KEY", pem(1))
    monkeypatch.setenv("TRAINMARK_LOG_KEY", str(tmp_path / "mounted"))
    monkeypatch.setenv("TRAINMARK_TOKEN_KEY", pem(3))
    monkeypatch.setenv("TRAINMARK_KEY_PASSPHRASE", "a long passphrase")
    settings = made(data_dir=tmp_path / "data", anchor_key=anchor)
    with open_registry(settings) as running:
        assert running.writer.registry.identity.did == SigningKey(b"\1" * 32).did
        assert b64_encode(b"\1" + SigningKey(b"\2" * 32).public) in running.writer.registry.log.vkey
        assert running.writer.registry.token_key.did == SigningKey(b"\3" * 32).did
    assert (
        open_keys(tmp_path / "data" / "keys", None, given=settings.given_keys | {"log": pem(2)}).anchor == keys.anchor
    )
    assert list((tmp_path / "data").glob("keys/*")) == []
    assert "PRIVATE" not in repr(settings)
    with pytest.raises(MalformedError, match="TRAINMARK_LOG_KEY: gives the log key: put another one behind it"):
        rotate(settings, "log")


def test_a_given_key_is_rotated_where_it_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with open_registry(made(data_dir=folder, log_key=pem(1), token_key=pem(3))) as running:
        old = running.writer.registry.log.vkey
    both = {"log_key": pem(1) + pem(2), "token_key": pem(3) + pem(4)}
    with open_registry(made(data_dir=folder, **both)) as running:
        assert running.writer.registry.log.head.size == 2
        assert running.writer.registry.log.head.note.count(b"\n\xe2\x80\x94 ") == 2
        assert running.writer.registry.token_key.did == SigningKey(b"\4" * 32).did
    with open_registry(made(data_dir=folder, log_key=pem(2), token_key=pem(4))) as running:
        assert (running.writer.registry.log.head.size, running.registry.log.origin) == (2, old.partition("+")[0])


@pytest.mark.parametrize("value", ["-----BEGIN PRIVATE KEY-----\nhidden", "/hidden/file", ".", "hidden" * 1000])
def test_what_gives_no_key_is_not_shown(tmp_path: Path, value: str) -> None:
    with pytest.raises(MalformedError, match="TRAINMARK_LOG_KEY") as caught:
        open_keys(tmp_path / "keys", None, given={"log": value})
    assert "hidden" not in str(caught.value)
    assert not (tmp_path / "keys").exists()


def test_a_public_registry_with_all_keys_given_has_none_to_encrypt(tmp_path: Path) -> None:
    given = {f"{name}_key": pem(1) for name in KEY_NAMES}
    public = {"issuer": "https://registry.example", **REAL}
    check_settings(made(**public, **given))
    del given["log_key"]
    with pytest.raises(RefusedError, match="TRAINMARK_KEY_PASSPHRASE"):
        check_settings(made(**public, **given))
