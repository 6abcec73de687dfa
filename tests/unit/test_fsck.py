"""Whether what a registry keeps tells one story: a whole registry on disks, damaged in one place at a time."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from api.composition import open_registry
from api.keys import open_keys
from api.settings import Settings
from ledger.audit.folder import LogFolder
from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, format_text, parse_checkpoint, sign_checkpoint
from ledger.encoding import digest_encode
from ledger.errors import ConflictError
from ledger.keys import SigningKey
from ledger.manifests import Manifest, format_manifest
from ledger.note import ED25519, Note, VerifierKey, format_note, format_vkey, sign_note
from ledger.policy import parse_policy
from ledger.ports import Head
from ledger.registry.fsck import fsck as check
from ledger.statements import manifest_body, sign_statement
from ledger.store.memory import MemoryBlobStore, MemoryCatalog, MemoryEntryStore, MemoryLog
from ledger.trust import Trust, format_trust
from tests.simulator import HandMadeLog, Library, digest, key, library
from tests.support.logs import flip
from tests.support.process import Said, call

EVA = key("eva")
RECORDS = 260
RECORD: Object = {"kind": "statement", "refs": [], "evidence": digest_encode(digest("record"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of one listed manifest, many statements and one anchor, that was closed."""
    folder = tmp_path_factory.mktemp("registry") / "data"
    with open_registry(Settings(data_dir=folder, anchor_interval=3600)) as running:
        registry = running.writer.registry
        works: Library = library("birds", EVA)
        origin = registry.identity.origin
        said = sign_statement("manifest", EVA.did, EVA, origin, manifest_body(works.header.digest))
        manifest = format_manifest(Manifest(works.header, works.entries, (said,)))
        registry.publish(manifest, works.terms.data, works.text, EVA.did)

        def speak(number: int) -> None:
            body: Object = {**RECORD, "evidence": digest_encode(digest(f"record {number}"))}
            registry.speak(sign_statement("record", EVA.did, EVA, origin, body).data, EVA.did)

        with ThreadPoolExecutor(32) as pool:  # at once, so that they share batches
            list(pool.map(speak, range(RECORDS)))
        running.writer.anchorer.step()
    return folder


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, free to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "data"))


def fsck(folder: Path, *, deep: bool = True) -> Said:
    """Runs the command."""
    return call("log", "fsck", "--data-dir", folder, "--json", *(["--deep"] if deep else []))


def contents(folder: Path) -> dict[str, bytes]:
    """Returns what lies in a folder, but for what SQLite makes beside an open database."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".db-wal", ".db-shm")
    }


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_registry_agrees_and_is_not_changed(data: Path, deep: bool) -> None:
    for name in ("log", "blobs"):
        (data / name / ".tmp" / "x").write_bytes(b"half of what a process wrote that is dead")
    before = contents(data)
    said = fsck(data, deep=deep)
    assert said.code == 0, said.out + said.err
    size = RECORDS + 3
    assert (said.value["size"], said.value["published"], said.value["disagreements"]) == (size, size, [])
    assert said.value["anchored"] > 0
    assert said.value["open"] == []
    assert contents(data) == before


def test_a_registry_that_runs_is_checked_as_well(data: Path) -> None:
    with open_registry(Settings(data_dir=data, anchor_interval=3600)):
        said = call("log", "fsck", "--data-dir", data, "--deep")
    assert (said.code, "all agree" in said.out) == (0, True), said.out


def sql(*statements: str) -> Callable[[Path], None]:
    """Damages the database."""

    def change(folder: Path) -> None:
        with sqlite3.connect(folder / "registry.db") as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0
        connection.close()

    return change


def flipped(name: str) -> Callable[[Path], None]:
    """Changes one bit of a file."""
    return lambda folder: flip(folder / name, -1)


def gone(name: str) -> Callable[[Path], None]:
    """Removes a file."""
    return lambda folder: (folder / name).unlink()


def another_checkpoint(size: int, root: bytes) -> Callable[[Path], None]:
    """Publishes a note over another tree."""

    def change(folder: Path) -> None:
        origin = (folder / "log" / "checkpoint").read_text().split("\n")[0]
        note = sign_checkpoint(Checkpoint(origin, size, root), key("log"))
        (folder / "log" / "checkpoint").write_bytes(note)

    return change


def signed_by(log: Callable[[Path], SigningKey], origin: str | None = None) -> Callable[[Path], None]:
    """Publishes the true head under another name, or signed by another key of the log's name."""

    def change(folder: Path) -> None:
        path = folder / "log" / "checkpoint"
        checkpoint, _ = parse_checkpoint(path.read_bytes())
        text = format_text(replace(checkpoint, origin=origin or checkpoint.origin))
        path.write_bytes(format_note(Note(text, (sign_note(text, checkpoint.origin, log(folder)),))))

    return change


def its_log_key(folder: Path) -> SigningKey:
    """Returns the log's own key."""
    key = open_keys(folder / "keys", None, may_make=False).log
    assert isinstance(key, SigningKey)
    return key


def blob(folder: Path) -> Path:
    """Returns the blob that holds the entries of the manifest."""
    return next(
        path for path in (folder / "blobs").rglob("*") if path.is_file() and b"content_hash" in path.read_bytes()
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (sql("UPDATE head SET root = zeroblob(32)"), f"root at {RECORDS + 3} leaves"),
        (sql("UPDATE leaf SET data = x'00' WHERE number = 9"), f"root at {RECORDS + 3} leaves"),
        (sql("UPDATE anchor SET root = zeroblob(32)"), "root at "),
        (sql("UPDATE anchor SET size = 9999"), "anchor"),
        (another_checkpoint(RECORDS + 3, bytes(32)), f"root at {RECORDS + 3} leaves"),
        (another_checkpoint(RECORDS + 9, bytes(32)), "checkpoint"),
        (gone("log/checkpoint"), "checkpoint"),
        (lambda folder: (folder / "log/checkpoint").write_bytes(b"rubbish"), "checkpoint"),
        (signed_by(lambda _: EVA), "checkpoint"),
        (signed_by(its_log_key, "other.example/log"), "checkpoint"),
        (flipped(f"log/tile/0/001.p/{RECORDS + 3 - 256}"), f"tile/0/001.p/{RECORDS + 3 - 256}"),
        (flipped(f"log/tile/entries/001.p/{RECORDS + 3 - 256}"), f"tile/entries/001.p/{RECORDS + 3 - 256}"),
        (flipped("log/tile/1/000.p/1"), "tile/1/000.p/1"),
        (gone("log/tile/1/000.p/1"), "tiles"),
    ],
)
def test_what_is_found_at_a_glance(data: Path, change: Callable[[Path], None], what: str) -> None:
    change(data)
    before = contents(data)
    said = fsck(data, deep=False)
    assert said.code == 1, said.out + said.err
    assert any(found["what"].startswith(what) for found in said.value["disagreements"]), said.out
    assert contents(data) == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (flipped("log/tile/0/000"), "tile/0/000"),
        (flipped("log/tile/entries/000"), "tile/entries/000"),
        (gone("log/tile/entries/000"), "tile/entries/000"),
        (sql("UPDATE manifest SET place = 'elsewhere'"), "manifest leaf 1, place"),
        (sql("UPDATE manifest SET header = x'00'"), "manifest leaf 1, header"),
        (sql("UPDATE manifest SET leaf = 2"), "manifest leaf 2"),
        (sql("UPDATE manifest SET by = 'did:key:z6Mk'"), "manifest leaf 1"),
        (sql("UPDATE entry SET data = x'00' WHERE number = 2"), "manifest leaf 1, entry 2"),
        (sql("DELETE FROM entry WHERE number = 1"), "manifest leaf 1, entry 1"),
        (sql("DELETE FROM lookup WHERE entry = 1"), "manifest leaf 1, entry 1"),
        (sql("UPDATE license SET text = x'00'"), "manifest leaf 1, terms and text"),
        (lambda folder: flip(blob(folder)), "manifest leaf 1"),
        (lambda folder: blob(folder).unlink(), "manifest leaf 1"),
    ],
)
def test_what_is_found_by_making_everything_anew(data: Path, change: Callable[[Path], None], what: str) -> None:
    change(data)
    assert fsck(data, deep=False).code == 0
    before = contents(data)
    said = fsck(data)
    assert said.code == 1, said.out + said.err
    assert {found["what"] for found in said.value["disagreements"]} == {what}, said.out
    assert contents(data) == before


EDGE = [f"tile/{level}/001.p/{RECORDS + 3 - 256}" for level in ("entries", 0)] + ["tile/1/000.p/1"]
"""The tiles that a start reads: what comes next is made of them."""


@pytest.mark.parametrize("name", [*EDGE, "tile/0/000", "tile/entries/000"])
def test_a_tile_changed_by_one_bit_is_named(data: Path, tmp_path: Path, name: str) -> None:
    trust = tmp_path / "trust.json"
    with open_registry(Settings(data_dir=data, anchor_interval=3600)) as running:
        log, did = running.writer.registry.log, running.writer.registry.identity.did
        policy = f"log {log.vkey}\nquorum none\n"
    trust.write_bytes(format_trust(Trust(policy, parse_policy(policy), did, (), {})))
    words = ("log", "audit", data / "log", "--trust", trust, "--state", tmp_path / "audit")
    assert call(*words).code == 0
    shutil.rmtree(tmp_path / "audit")

    flip(data / "log" / name, -1)
    said = call(*words)
    assert (said.code, name in said.err) == (1, True), said
    assert [found["what"] for found in fsck(data).value["disagreements"]] == [name]
    if name in EDGE:
        assert [found["what"] for found in fsck(data, deep=False).value["disagreements"]] == [name]
        with (
            pytest.raises(ConflictError, match=f"the tile folder: {name}") as refused,
            open_registry(Settings(data_dir=data, anchor_interval=3600)),
        ):
            pass
        assert refused.value.code == "log-disagreement"


def test_a_void_leaf_is_none_that_a_registry_logs() -> None:
    log = HandMadeLog()
    log.add(sign_statement("record", EVA.did, key("mallory"), log.identity.origin, RECORD))
    kept = MemoryLog(Head(2, log.tree.root(), log.note()), [leaf.data for leaf in log.leaves])
    entries = MemoryEntryStore(kept, writing=False)
    found = check(entries, LogFolder(Path("nowhere")), MemoryCatalog(), MemoryBlobStore(), None, deep=True)
    assert [d.what for d in found.disagreements] == ["checkpoint", "leaf 1"]


def test_what_the_next_start_finishes_is_no_disagreement(data: Path) -> None:
    sql("DELETE FROM manifest", "DELETE FROM entry", "DELETE FROM lookup")(data)
    said = fsck(data)
    assert (said.code, said.value["open"]) == (0, ["manifest leaf 1 has its blobs and is not in the catalog"])
    with open_registry(Settings(data_dir=data, anchor_interval=3600)):
        pass
    assert fsck(data).value["open"] == []


def test_another_log_key(data: Path) -> None:
    name = (data / "log.vkey").read_text().split("+")[0]
    (data / "log.vkey").write_text(format_vkey(VerifierKey(name, ED25519, EVA.public)) + "\n")
    said = fsck(data, deep=False)
    assert (said.code, [found["what"] for found in said.value["disagreements"]]) == (1, ["checkpoint", "database"])


def test_no_registry(tmp_path: Path) -> None:
    said = fsck(tmp_path / "nothing")
    assert (said.code, "[not-found]" in said.err, list(tmp_path.iterdir())) == (2, True, [])


def test_a_database_of_another_version_is_left_alone(data: Path) -> None:
    sql("UPDATE schema_revision SET version_num = '0001'")(data)
    before = contents(data)
    said = fsck(data)
    assert (said.code, "[schema]" in said.err) == (3, True)
    assert contents(data) == before
