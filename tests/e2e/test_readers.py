"""Processes that only read, beside the one that writes: the same answers, byte for byte, on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ledger.canonical import Object
from ledger.client import RegistryClient
from ledger.encoding import digest_encode, time_encode
from ledger.statements import sign_statement
from tests.e2e import test_api_story as story
from tests.support.library import make_library, signing_key
from tests.support.postgres import Cluster
from tests.support.process import ServerProcess, call

ADA = signing_key("ada")
WAIT = 20.0


@pytest.fixture(params=["sqlite", "postgres"])
def env(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "sqlite":
        return {}
    cluster: Cluster = request.getfixturevalue("postgres")
    return {"TRAINMARK_DATABASE": cluster.url(cluster.new_database())}


@contextlib.contextmanager
def process(folder: Path, env: dict[str, str]) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, env)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def body_of(url: str) -> bytes:
    return httpx.get(url).raise_for_status().content


def leaves_of(url: str, digest: bytes) -> list[int]:
    return [claim["leaf"] for claim in json.loads(body_of(f"{url}/v1/resolve/{digest_encode(digest)}"))["claims"]]


def until(wanted: object, ask: Callable[..., object], *arguments: object) -> None:
    """Asks until the answer is the one wanted: a reader looks every half a second."""
    deadline = time.monotonic() + WAIT
    while (found := ask(*arguments)) != wanted:
        assert time.monotonic() < deadline, f"{found!r} is not {wanted!r}"
        time.sleep(0.05)


def test_two_readers_beside_a_writer_that_is_killed(tmp_path: Path, env: dict[str, str]) -> None:
    folder = tmp_path / "registry"
    reads = {**env, "TRAINMARK_READ_ONLY": "true"}
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(process(folder, env))
        with RegistryClient(writer.url) as client:
            client.authenticate(ADA, ADA.did, ("publish", "statement"))
            origin = client.policy().origin
            one = make_library(ADA, origin, [b"one", b"two"])
            leaf = client.publish(one.manifest, one.terms, one.text).leaf
            readers = [stack.enter_context(process(folder, reads)) for _ in range(2)]
            urls = [server.url for server in (writer, *readers)]
            digest = digest_encode(one.digest())
            paths = [f"/v1/resolve/{digest}", f"/v1/datasets/{leaf}", f"/v1/creators/{ADA.did}", "/checkpoint"]
            story.anchored(client, one.digest())
            for path in (*paths, f"/v1/proofs/{digest}", "/v1/policy", "/v1/anchors"):
                for url in urls[1:]:
                    until(body_of(urls[0] + path), body_of, url + path)

            two = make_library(ADA, origin, [b"three"], title="Two")
            client.publish(two.manifest, two.terms, two.text)
            body: Object = {"leaf": leaf, "effective_at": time_encode(int(time.time()) + 400 * 86_400)}
            client.speak(sign_statement("withdraw", ADA.did, ADA, origin, body))
            story.anchored(client, two.digest())
            paths += [f"/v1/resolve/{digest_encode(two.digest())}", f"/v1/proofs/{digest}"]
            answers = {path: body_of(urls[0] + path) for path in paths}
        assert b'"withdrawing"' in answers[f"/v1/resolve/{digest}"]
        writer.kill()
        for url in urls[1:]:
            for path, wanted in answers.items():
                until(wanted, body_of, url + path)
        assert (
            call("trust", "add", urls[1], "--yes", "--class", "development", "--trust", tmp_path / "trust.json").code
            == 0
        )
        (tmp_path / "one.proof.json").write_bytes(answers[f"/v1/proofs/{digest}"])
        assert call("verify", tmp_path / "one.proof.json", "--trust", tmp_path / "trust.json").code == 0

        writer.start()
        with RegistryClient(writer.url) as client:
            client.authenticate(ADA, ADA.did, ("publish",))
            three = make_library(ADA, origin, [b"four"], title="Three")
            leaf = client.publish(three.manifest, three.terms, three.text).leaf
        for url in urls[1:]:
            until([leaf], leaves_of, url, three.digest())


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    with process(folder, {}) as writer, process(folder, {"TRAINMARK_READ_ONLY": "true"}) as reader:
        for method, path in (
            ("POST", "/oauth/token"),
            ("POST", "/v1/manifests"),
            ("POST", "/v1/statements"),
            ("POST", "/v1/tokens"),
            ("GET", "/v1/tokens"),
            ("GET", "/v1/reviews"),
        ):
            answer = httpx.request(method, reader.url + path)
            assert (answer.status_code, answer.json()["code"]) == (403, "only-reads"), path
        with RegistryClient(writer.url) as client:
            client.authenticate(ADA, ADA.did, ("publish",))


def test_a_reader_has_nothing_to_read_yet(tmp_path: Path) -> None:
    said = call("serve", "--read-only", "--data-dir", tmp_path / "nothing", "--port", "0")
    assert said.code == 3
    assert "first start the process that writes" in said.err
    assert not list(tmp_path.iterdir())
