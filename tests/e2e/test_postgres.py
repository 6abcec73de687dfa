"""A registry whose database is a PostgreSQL: the whole story, connections that are lost, a server that goes away.

What is the same story on both databases is told by the same tests (:mod:`tests.e2e.test_api_story`).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ledger.checkpoint import parse_checkpoint
from ledger.client import RegistryClient
from ledger.encoding import sha256
from ledger.errors import BackendError
from ledger.merkle import Tree, leaf_hash
from ledger.proof import verify_proof
from tests.e2e import test_api_story as story
from tests.support.library import make_library, signing_key
from tests.support.postgres import Cluster, cluster
from tests.support.process import COMMAND, START_SECONDS, ServerProcess, environment
from tests.support.publishing import Publisher
from tests.support.server import Server, running_server

WRITER = "application_name LIKE 'process %'"
"""The connection that holds the lock of the log's one writer."""


@pytest.fixture(scope="module")
def server(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    database = postgres.url(postgres.new_database())
    with running_server(tmp_path_factory.mktemp("registry"), database=database) as server:
        yield server


test_publish_resolve_prove_verify = story.test_publish_resolve_prove_verify
test_the_log_is_what_the_tiles_say = story.test_the_log_is_what_the_tiles_say
test_rules_reject_and_versions_conflict = story.test_rules_reject_and_versions_conflict
test_a_copy_waits_for_a_person = story.test_a_copy_waits_for_a_person
test_reading_licenses_datasets_and_creators = story.test_reading_licenses_datasets_and_creators
test_eight_publish_at_once = story.test_eight_publish_at_once
test_a_token_is_issued_verified_and_revoked = story.test_a_token_is_issued_verified_and_revoked


def test_a_restart_and_a_rebuild_keep_every_answer(postgres: Cluster, tmp_path: Path) -> None:
    database = postgres.url(postgres.new_database())
    ada = signing_key("restart")
    with running_server(tmp_path, database=database) as first, story.client_of(first, ada) as client:
        policy = client.policy()
        library = make_library(ada, policy.origin, [b"restart 1", b"restart 2"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        story.anchored(client, library.digest())
        port = first.settings.port
        before = answers(client, leaf, library.digest(0), library.digest(1))
    assert not (tmp_path / "registry.db").exists()
    with running_server(tmp_path, database=database, port=port) as second, RegistryClient(second.url) as client:
        assert client.policy().log_vkey == policy.log_vkey
        assert answers(client, leaf, library.digest(0), library.digest(1)) == before
        assert second.registry.rebuild() == [leaf]
        assert answers(client, leaf, library.digest(0), library.digest(1)) == before
        assert verify_proof(client.proof(library.digest()), story.trust_of(policy)).creator_id == ada.did


def answers(client: RegistryClient, leaf: int, *digests: bytes) -> list[object]:
    """Returns what the registry says about a library, but for when it came: a rebuild is when it comes again."""
    dataset = {name: value for name, value in client.dataset(leaf).items() if name != "received_at"}
    return [*client.resolve(digests), dataset, list(client.anchors())[-1]]


def test_a_second_registry_on_the_database_is_refused(postgres: Cluster, tmp_path: Path) -> None:
    # In another folder, with keys of its own: the folder's lock does not know of it, the database's does.
    name = postgres.new_database()
    with running_server(tmp_path / "first", database=postgres.url(name)):
        code, error = serve(tmp_path / "second", postgres.url(name))
        assert code != 0
        assert "the log is being written by process " in error
        assert error.endswith("[second-writer]")
        assert not (tmp_path / "second" / "keys").exists()


def serve(folder: Path, database: str) -> tuple[int, str]:
    """Starts a server that is expected to end by itself; returns its exit code and all that it wrote."""
    done = subprocess.run(
        [*COMMAND, "serve", "--data-dir", folder.name, "--port", "0"],
        cwd=folder.parent,
        env=environment({"TRAINMARK_DATABASE": database, "TRAINMARK_TRACEBACK": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:confidential@127.0.0.1:1/registry", "database: the server cannot be reached"),
        ("postgresql://me:confidential@127.0.0.1:x/registry", "database: expected"),
        ("postgresql://me:confidential@127.0.0.1", "database: expected postgresql://user@host/database"),
        ("mysql://me:confidential@127.0.0.1/x", "TRAINMARK_DATABASE: expected postgresql://user@host/name"),
        ("{cluster}&password=confidential", "database: the server cannot be reached, refuses the connection"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(
    postgres: Cluster, tmp_path: Path, url: str, message: str
) -> None:
    code, error = serve(tmp_path / "data", url.replace("{cluster}", postgres.url("nowhere")))
    assert code != 0
    assert message in error
    assert "confidential" not in error


def check_history(server: ServerProcess, acknowledged: dict[bytes, int], notes: list[bytes]) -> None:
    """Checks that all that was acknowledged is there, and that every checkpoint given out is of one history."""
    with RegistryClient(server.url) as client:
        for answer, (digest, leaf) in zip(client.resolve(acknowledged), acknowledged.items(), strict=True):
            assert [claim["leaf"] for claim in answer["claims"]] == [leaf], digest.hex()
        checkpoint, _ = parse_checkpoint(client.checkpoint())
        tree = Tree(map(leaf_hash, client.leaves(checkpoint.size)))
    assert tree.root() == checkpoint.root
    for text in notes:
        earlier, _ = parse_checkpoint(text)
        assert earlier.root == tree.root(earlier.size)


@contextlib.contextmanager
def publishing(server: ServerProcess, round_: int, least: int = 3) -> Iterator[Publisher]:
    """Publishes through `server` while the block runs, which begins when `least` were acknowledged."""
    publisher = Publisher(server.url, round_)
    publisher.start()
    deadline = time.monotonic() + START_SECONDS
    while len(publisher.history.acknowledged) < least and publisher.is_alive():
        assert time.monotonic() < deadline, "nothing was acknowledged"
        time.sleep(0.01)
    yield publisher
    publisher.join(60)
    assert not publisher.is_alive()


def test_the_writers_connection_is_ended_while_it_commits(postgres: Cluster, tmp_path: Path) -> None:
    name = postgres.new_database()
    server = ServerProcess(tmp_path / "registry", {"TRAINMARK_DATABASE": postgres.url(name)})
    acknowledged: dict[bytes, int] = {}
    notes: list[bytes] = []
    try:
        for round_ in range(3):
            server.start()
            with publishing(server, round_) as publisher:
                while not postgres.end_connections(name, f"{WRITER} AND state <> 'idle'"):
                    time.sleep(0.001)
            assert isinstance(publisher.ended_by, BackendError)
            assert publisher.ended_by.code == "log-stopped"
            health = httpx.get(f"{server.url}/healthz")
            assert health.status_code == 503
            assert "database: the" in health.text  # says that it is the database
            acknowledged |= publisher.history.acknowledged
            notes += publisher.history.notes
            check_history(server, acknowledged, notes)  # reading goes on
            server.stop()
        server.start()
        check_history(server, acknowledged, notes)
        with publishing(server, 9) as publisher:
            server.kill()
        assert len(publisher.history.acknowledged) >= 3
    finally:
        server.stop()


def test_an_idle_writers_connection_is_ended(postgres: Cluster, tmp_path: Path) -> None:
    name, ada = postgres.new_database(), signing_key("idle")
    with (
        running_server(tmp_path, database=postgres.url(name)) as server,
        RegistryClient(server.url, sleep=_no_wait) as client,
    ):
        client.authenticate(ada, ada.did, story.SCOPES)
        library = make_library(ada, client.policy().origin, [b"idle"])
        size = client.policy().size
        assert postgres.end_connections(name, WRITER) == 1
        with pytest.raises(BackendError) as caught:
            client.publish(library.manifest, library.terms, library.text)
        assert caught.value.code == "log-stopped"
        assert client.policy().size == size
        port = server.settings.port
    with (
        running_server(tmp_path, database=postgres.url(name), port=port) as server,
        story.client_of(server, ada) as client,
    ):
        assert client.publish(library.manifest, library.terms, library.text).leaf >= size


def test_all_connections_but_the_writers_are_ended(postgres: Cluster, server: Server) -> None:
    # A pool's connections are tried before they are used: nobody notices.
    ada = signing_key("pool")
    database = server.settings.database
    assert database is not None
    name = database.get_secret_value().partition("@/")[2].partition("?")[0]
    with story.client_of(server, ada) as client:
        library = make_library(ada, client.policy().origin, [b"pool"])
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        assert postgres.end_connections(name, f"NOT {WRITER} AND state = 'idle'") > 0
        assert [c["leaf"] for a in client.resolve([library.digest()]) for c in a["claims"]] == [leaf]
        second = make_library(ada, client.policy().origin, [b"pool 2"], title="Second")
        client.publish(second.manifest, second.terms, second.text)


def test_the_database_server_stops_and_comes_back(tmp_path: Path) -> None:
    ada = signing_key("away")
    with cluster() as own:
        url = own.url(own.new_database())
        with running_server(tmp_path, database=url) as server, RegistryClient(server.url, sleep=_no_wait) as client:
            client.authenticate(ada, ada.did, story.SCOPES)
            library = make_library(ada, client.policy().origin, [b"away"])
            receipt = client.publish(library.manifest, library.terms, library.text)
            size = client.policy().size
            own.stop()
            with pytest.raises(BackendError) as caught:
                client.license(sha256(library.terms))
            assert caught.value.code == "unavailable"
            second = make_library(ada, client.policy().origin, [b"away 2"], title="Second")
            with pytest.raises(BackendError) as caught:
                client.publish(second.manifest, second.terms, second.text)
            assert parse_checkpoint(client.checkpoint())[0].size == size  # tiles need no database
            own.start()
            assert [c["leaf"] for a in client.resolve([library.digest()]) for c in a["claims"]] == [receipt.leaf]
            port = server.settings.port
        with running_server(tmp_path, database=url, port=port) as server, story.client_of(server, ada) as client:
            assert client.publish(second.manifest, second.terms, second.text).leaf >= receipt.size
            assert [c["leaf"] for a in client.resolve([library.digest()]) for c in a["claims"]] == [receipt.leaf]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_of_two_writers_one_waits_and_takes_over(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    env = {"TRAINMARK_STANDBY": "true", "TRAINMARK_ISSUER": "http://127.0.0.1:1"}
    if kind == "postgres":
        server: Cluster = request.getfixturevalue("postgres")
        env["TRAINMARK_DATABASE"] = server.url(server.new_database())
    first, second = (ServerProcess(tmp_path / "registry", env) for _ in range(2))
    acknowledged: dict[bytes, int] = {}
    notes: list[bytes] = []
    try:
        first.start()
        for round_ in range(3):
            second.spawn()
            with publishing(first, round_) as publisher:
                wait_for_waiting(first)
                with pytest.raises(httpx.ConnectError):
                    httpx.get(f"{second.url}/healthz")
                first.kill()
            wait_for_answer(second)
            acknowledged |= publisher.history.acknowledged
            notes += publisher.history.notes
            check_history(second, acknowledged, notes)
            first, second = second, first
            first.output.unlink()
    finally:
        first.stop()
        second.stop()


def test_who_waits_can_be_stopped(tmp_path: Path) -> None:
    env = {"TRAINMARK_STANDBY": "true"}
    first, second = (ServerProcess(tmp_path / "registry", env) for _ in range(2))
    try:
        first.start()
        second.spawn()
        wait_for_waiting(first)
        second.stop()
        with RegistryClient(first.url) as client:
            assert client.policy().size == 1
    finally:
        first.stop()
        second.stop()


def wait_for_waiting(server: ServerProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "waiting: the log is being written by process" not in server.output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_answer(server: ServerProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/healthz").status_code == 200:
                return
        assert time.monotonic() < deadline, server.output.read_text()[-2000:]
        time.sleep(0.02)


def _no_wait(_: float) -> None: ...
