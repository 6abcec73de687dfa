"""A registry whose database is deleted, or older than the log: made of tiles and blobs, it gives the same answers."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.composition import open_registry
from api.settings import Settings
from ledger.canonical import Object
from ledger.client import RegistryClient
from ledger.encoding import digest_encode, sha256
from ledger.errors import ConflictError
from ledger.keys import SigningKey
from ledger.statements import sign_statement
from ledger.tokens.status import REVOKED, parse_status_list, status_value
from tests.simulator import dispute_body, review_body
from tests.support.library import Library, make_library, signing_key
from tests.support.postgres import Cluster, program
from tests.support.process import call
from tests.support.server import Server, running_server

ADA, EVE, LAB = signing_key("ada"), signing_key("eve"), signing_key("lab")
SEEN = (200, 404)
WAIT = 20.0


@dataclass
class Database:
    """Where the registry's database is, how it is lost, and a copy of it taken and put back."""

    settings: dict[str, Any]
    lose: Callable[[], None]
    copy: Callable[[], None]
    put_back: Callable[[], None]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    if request.param == "sqlite":
        file, copy = tmp_path / "registry" / "registry.db", tmp_path / "copy.db"

        def take() -> None:
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)

        def lose() -> None:
            for found in file.parent.glob("registry.db*"):
                found.unlink()

        def put_back() -> None:
            lose()
            shutil.copy(copy, file)

        return Database({}, lose, take, put_back)
    cluster: Cluster = request.getfixturevalue("postgres")
    name = cluster.new_database()
    url, dump = cluster.url(name), tmp_path / "registry.dump"
    monkeypatch.setenv("TRAINMARK_DATABASE", url)

    def lose_tables() -> None:
        cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
        cluster.execute(f"CREATE DATABASE {name}")

    def dumped() -> None:
        subprocess.run([program("pg_dump"), "--format=custom", f"--file={dump}", url], check=True)

    def restored() -> None:
        lose_tables()
        subprocess.run([program("pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={url}", dump], check=True)

    return Database({"database": url}, lose_tables, dumped, restored)


class Story:
    """What is said to the registry, and what may be asked of it."""

    def __init__(self) -> None:
        self.digests: list[bytes] = []
        self.leaves: list[int] = []
        self.tokens: list[bytes] = []

    def publish(self, server: Server, who: SigningKey, *files: bytes, **entry: Any) -> int:
        with RegistryClient(server.url) as client:
            client.authenticate(who, who.did, ("publish",))
            library: Library = make_library(who, client.policy().origin, files, title=files[0].decode(), **entry)
            leaf = client.publish(library.manifest, library.terms, library.text).leaf
        self.digests += [digest for entry in library.manifest.entries for _, digest in entry.digests]
        self.leaves.append(leaf)
        return leaf

    def say(self, server: Server, who: SigningKey, kind: str, body: Object) -> int:
        origin = server.registry.identity.origin
        return server.registry.speak(sign_statement(kind, who.did, who, origin, body).data, who.did).index

    def issue(self, server: Server, leaf: int) -> bytes:
        with RegistryClient(server.url) as client:
            client.authenticate(ADA, ADA.did, ("token",))
            issued = client.issue_token(
                {
                    "manifests": [leaf],
                    "files": None,
                    "holder": LAB.did,
                    "licensee": {"name": "Model Lab", "id": "lab-1"},
                    "price": None,
                    "uses": ["train"],
                    "audience": "any",
                    "purpose": "Train a model",
                    "expires_at": "2099-01-01T00:00:00Z",
                }
            )
        self.tokens.append(issued.digest)
        return issued.digest

    def first_half(self, server: Server) -> None:
        registry = server.registry.identity.key
        assert isinstance(registry, SigningKey)
        self.publish(server, ADA, b"one", b"two")
        self.publish(server, EVE, b"two")  # collides: it waits
        self.say(server, registry, "review", review_body(self.leaves[1], "listed", "public"))
        self.say(server, LAB, "dispute", dispute_body("open", self.leaves[0], entries=[0]))
        self.publish(server, EVE, b"missing", release_status="missing")  # rejected by rule
        self.issue(server, self.leaves[0])

    def second_half(self, server: Server) -> None:
        registry = server.registry.identity.key
        assert isinstance(registry, SigningKey)
        self.publish(server, ADA, b"three")
        erased = self.publish(server, EVE, b"erased")
        self.say(server, registry, "review", review_body(erased, "erased"))
        self.say(server, ADA, "withdraw", {"leaf": self.leaves[3], "effective_at": "2099-01-01T00:00:00Z"})
        server.running.writer.grants.set_status(self.tokens[0], REVOKED, registry.did)
        self.issue(server, self.leaves[0])


def answers(server: Server, story: Story) -> dict[str, Any]:
    """Returns what the registry says of all of it, once the newest head is anchored."""
    deadline = time.monotonic() + WAIT
    size = server.registry.log.head.size
    found: dict[str, Any] = {}
    paths = [
        *("/checkpoint", "/v1/policy", "/v1/rules", "/v1/licenses", "/.well-known/jwks.json"),
        *(f"/v1/{what}/{digest_encode(digest)}" for what in ("resolve", "proofs") for digest in story.digests),
        *(f"/v1/datasets/{leaf}/entries" for leaf in story.leaves),
    ]
    with httpx.Client(base_url=server.url, headers={"X-Request-Id": "same"}) as http:
        while http.get("/v1/anchors").json()["items"][0]["size"] != size:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for path in paths:
            answer = http.get(path)
            assert answer.status_code in SEEN, path
            found[path] = (answer.status_code, answer.content)
        for license_ in http.get("/v1/licenses").json()["items"]:
            found[license_["digest"]] = http.get(f"/v1/licenses/{license_['digest']}").content
        parties = [f"/v1/creators/{who.did}" for who in (ADA, EVE, LAB)]
        for path in ("/v1/datasets", *(f"/v1/datasets/{leaf}" for leaf in story.leaves), *parties):
            found[path] = without_time(http.get(path).json())
        found["status"] = parse_status_list(http.get("/status/0").text).array
    with RegistryClient(server.url) as client:
        registry = server.registry.identity.key
        assert isinstance(registry, SigningKey)
        client.authenticate(registry, registry.did, ("statement",))
        found["cases"] = without_time(list(client.cases()))
        found["reviews"] = [without_time(client.review(leaf)) for leaf in story.leaves]
    return found


def without_time(value: Any) -> Any:
    """Returns an answer without when this server received anything, which proves nothing and is not kept."""
    match value:
        case dict():
            return {name: without_time(item) for name, item in value.items() if name != "received_at"}
        case list():
            return [without_time(item) for item in value]
    return value


def rebuilt(folder: Path) -> Any:
    said = call("log", "rebuild", "--data-dir", folder, "--json")
    assert said.code == 0, said.err
    return said.value


def check(folder: Path) -> None:
    said = call("log", "fsck", "--data-dir", folder, "--deep", "--json")
    assert (said.code, said.value["disagreements"], said.value["open"]) == (0, [], []), said.out


def check_refused(settings: Settings, message: str) -> None:
    """A start is refused, and changes nothing."""
    with pytest.raises(ConflictError, match=message) as caught, open_registry(settings):
        pass
    assert caught.value.code == "log-disagreement"


def test_the_same_answers(tmp_path: Path, database: Database) -> None:
    folder, story = tmp_path / "registry", Story()
    with running_server(folder, anchor_interval=3600, **database.settings) as server:
        settings: dict[str, Any] = {"anchor_interval": 3600, "port": server.settings.port, **database.settings}
        story.first_half(server)
        database.copy()
        story.second_half(server)
        server.running.writer.anchorer.step()
        before, size = answers(server, story), server.registry.log.head.size
        array = before["status"]
    assert [before[f"/v1/resolve/{digest_encode(sha256(b'erased'))}"][0]] == [200]

    # Lost: nothing starts, or a new log would fork the old one; then all is made of tiles and blobs.
    database.lose()
    check_refused(Settings(data_dir=folder, **settings), "the tile folder has a checkpoint, the database has no leaf")
    value = rebuilt(folder)
    assert (value["was"], value["size"], value["forgotten_tokens"], value["revoked_lists"]) == (0, size, 2, [])
    check(folder)
    with running_server(folder, **settings) as server:
        after = answers(server, story)
        assert after == before
        # Forgotten tokens keep their slots, and what was revoked stays so.
        new = story.issue(server, story.leaves[0])
        assert server.running.writer.grants.token(new).status_list == 1
        assert httpx.get(f"{server.url}/status/0").status_code == 200

    # Older than the tiles, from a backup: refused, and then brought forward with all that the backup knew.
    database.put_back()
    check_refused(
        Settings(data_dir=folder, **settings), "checkpoint: the database is at .* leaves; .* leaves are published"
    )
    value = rebuilt(folder)
    assert 0 < value["was"] < size < value["size"]
    assert (value["forgotten_tokens"], value["revoked_lists"]) == (2, [])
    check(folder)
    with running_server(folder, **settings) as server:
        kept = server.running.writer.grants.token(story.tokens[0])
        assert server.running.writer.grants.status(kept) == status_value(array, kept.status_index) == REVOKED
        assert answers(server, story)["status"] == array
    assert rebuilt(folder)["was"] == value["size"]  # again changes nothing
