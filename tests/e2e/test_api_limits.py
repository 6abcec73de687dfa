"""What a registry does with too much, with nonsense, and with what is not there; and how it describes itself."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api import schemas
from api.headers import SECURITY_HEADERS
from api.middleware import DEFAULT_BODY_BYTES
from api.routes.resolving import MAX_BATCH_BYTES
from ledger.client import RegistryClient
from ledger.encoding import digest_encode, sha256, time_encode
from ledger.errors import BackendError, ConflictError
from ledger.ports import MAX_DIGESTS
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server

DIGEST = digest_encode(sha256(b"nobody knows this"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry"), max_manifest_bytes=200_000) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    value: dict[str, Any] = answer.json()
    schemas.ProblemDetails.model_validate(value)
    assert (value["status"], value["code"], value["type"]) == (status, code, f"urn:trainmark:problem:{code}")
    for name, text in SECURITY_HEADERS.items():
        assert answer.headers[name] == text
    return value


def raw(server: Server, request: bytes) -> bytes:
    """Sends bytes as they are and returns all that comes back."""
    with socket.create_connection(("127.0.0.1", server.settings.port), timeout=10) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


# Problems


def test_each_error_is_a_problem(http: httpx.Client) -> None:
    assert problem(http.get("/v1/resolve/md5:00"), 400, "malformed")["field"] == "digest"
    problem(http.get(f"/v1/proofs/{DIGEST}"), 404, "not-found")
    problem(http.get("/v1/nowhere"), 404, "not-found")
    assert problem(http.get("/v1/datasets/x"), 400, "malformed")["field"] == "path.leaf"
    problem(http.get("/v1/datasets/0"), 404, "not-found")
    answer = http.delete(f"/v1/resolve/{DIGEST}")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET"


def test_an_error_of_ours_is_a_problem_without_details(
    server: Server, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(after: bytes | None, limit: int) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(server.registry.catalog, "licenses", broken)
    logger = logging.getLogger("uvicorn.error")  # it hands nothing to the loggers above it
    logger.addHandler(caplog.handler)
    try:
        answer = http.get("/v1/licenses")
        deadline = time.monotonic() + 10
        while "a secret" not in caplog.text and time.monotonic() < deadline:  # it is written after the answer
            time.sleep(0.01)
    finally:
        logger.removeHandler(caplog.handler)
    problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "a secret" in caplog.text


def test_a_broken_part_is_a_503_that_may_be_repeated(
    server: Server, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(after: bytes | None, limit: int) -> None:
        raise BackendError("the disk is full", code="disk-full", field="database")

    monkeypatch.setattr(server.registry.catalog, "licenses", broken)
    answer = http.get("/v1/licenses")
    assert problem(answer, 503, "disk-full")["field"] == "database"
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/checkpoint", "/v1/policy", f"/v1/resolve/{DIGEST}"])
def test_every_answer_has_the_security_headers(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    for name, text in SECURITY_HEADERS.items():
        assert answer.headers.get_list(name) == [text]
    assert "unsafe" not in SECURITY_HEADERS["content-security-policy"]


# Caps


def test_a_body_is_capped_by_its_length(http: httpx.Client) -> None:
    problem(http.post("/oauth/token", content=bytes(DEFAULT_BODY_BYTES + 1)), 413, "too-big")
    problem(http.post("/oauth/token", content=bytes(DEFAULT_BODY_BYTES)), 400, "malformed")


def test_a_body_is_refused_before_it_is_read(server: Server) -> None:
    answer = raw(server, b"POST /v1/resolve HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too-big"' in answer


def test_a_body_without_length_is_counted(http: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BATCH_BYTES // 65536 + 2):
            yield bytes(65536)

    problem(http.post("/v1/resolve", content=chunks()), 413, "too-big")


def test_a_manifest_is_capped_by_the_settings(server: Server, http: httpx.Client) -> None:
    key = signing_key("big")
    with RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("publish",))
        headers = client._authorization()
    body = b'{"manifest":{},"terms":{},"text":"%b"}' % (b"x" * 900_000)
    problem(http.post("/v1/manifests", content=body, headers=headers), 413, "too-big")
    problem(http.post("/v1/manifests", content=body[:-100_000], headers=headers), 400, "malformed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"manifest":{},"terms":{}}', "body"),
        (b'{"manifest":{},"terms":{},"text":"","x":1}', "body"),
        (b'{"manifest":{},"terms":{},"text":1}', "text"),
        (b'{"manifest":{},"terms":{},"text":""}', "manifest"),
        (b'{"manifest":1e999,"terms":{},"text":""}', "body"),
        (b'{"manifest":{"a":1.5},"terms":{},"text":""}', "a"),
        (b'{"manifest":' + b"[" * 60_000 + b"]" * 60_000 + b',"terms":{},"text":""}', "body"),
        (b'{"manifest":{"\xff":1},"terms":{},"text":""}', "body"),
    ],
)
def test_another_form_of_publication(server: Server, http: httpx.Client, body: bytes, field: str) -> None:
    key = signing_key("form")
    with RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("publish",))
        answer = http.post("/v1/manifests", content=body, headers=client._authorization())
    assert problem(answer, 400, "malformed")["field"] == field


# Batches and lists


def lines(count: int) -> bytes:
    return b"".join(b'"%b"\n' % digest_encode(sha256(b"%d" % n)).encode() for n in range(count))


def test_ten_thousand_digests_and_no_more(http: httpx.Client) -> None:
    answer = http.post("/v1/resolve", content=lines(MAX_DIGESTS), timeout=60)
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [value["digest"] for value in found] == [digest_encode(sha256(b"%d" % n)) for n in range(MAX_DIGESTS)]
    problem(http.post("/v1/resolve", content=lines(MAX_DIGESTS + 1)), 403, "too-many")


def test_batches_keep_their_order_and_repeats(server: Server, http: httpx.Client) -> None:
    key = signing_key("order")
    with RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("publish",))
        library = make_library(key, client.policy().origin, [b"order 1", b"order 2"])
        client.publish(library.manifest, library.terms, library.text)
        asked = [library.digest(1), sha256(b"unknown"), library.digest(0), library.digest(1)]
        answers = list(client.resolve(asked))
    assert [len(answer["claims"]) for answer in answers] == [1, 0, 1, 1]
    assert answers[0] == answers[3]
    for _ in range(2):  # looked up, and kept
        single = http.get(f"/v1/resolve/{digest_encode(library.digest(1))}").json()
        assert _without_anchors(single) == _without_anchors(answers[0])


def _without_anchors(answer: dict[str, Any]) -> dict[str, Any]:
    """An anchor may come between two questions."""
    return {**answer, "claims": [{**claim, "anchor": None} for claim in answer["claims"]]}


@pytest.mark.parametrize(
    ("body", "field"),
    [(b"\n", "line 1"), (b'"sha256:00"\n', "line 1"), (lines(2) + b"{}\n", "line 3"), (lines(1) + b"1", "line 2")],
)
def test_a_line_that_is_no_digest_is_named(http: httpx.Client, body: bytes, field: str) -> None:
    assert problem(http.post("/v1/resolve", content=body), 400, "malformed")["field"] == field


def test_an_empty_batch_has_no_answers(http: httpx.Client) -> None:
    answer = http.post("/v1/resolve", content=b"")
    assert (answer.status_code, answer.content) == (200, b"")


LISTS = ("/v1/licenses", "/v1/datasets", "/v1/anchors", f"/v1/creators/{signing_key('x').did}")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1e3", ""])
def test_lists_have_a_limit(http: httpx.Client, path: str, limit: str) -> None:
    assert problem(http.get(path, params={"limit": limit}), 400, "malformed")["field"] == "query.limit"


@pytest.mark.parametrize("path", LISTS)
def test_cursors_are_checked_and_may_be_beyond_the_end(http: httpx.Client, path: str) -> None:
    name = "after" if path == "/v1/licenses" else "before"
    problem(http.get(path, params={name: "x"}), 400, "malformed")
    beyond = "sha256:" + "ff" * 32 if name == "after" else "0"
    page = http.get(path, params={name: beyond}).json()
    assert (page["items"], page["next"]) == ([], None)


@pytest.mark.parametrize("before", [2**63, 2**64, 10**30])
def test_numbers_beyond_the_database_are_no_error_of_ours(http: httpx.Client, before: int) -> None:
    assert http.get("/v1/datasets", params={"before": before}).status_code == 200
    assert http.get(f"/v1/datasets/{before}").status_code == 404
    assert http.get(f"/v1/datasets/{before}/entries").status_code == 404


# Tiles


@pytest.mark.parametrize(
    "path",
    [
        *("/tile/../keys/log.pem", "/tile/%2e%2e/keys/log.pem", "/tile/..%2fkeys%2flog.pem", "/tile/0/../../lock"),
        *("/tile//etc/passwd", "/tile/%2fetc%2fpasswd", "/tile/0/000.p/1%00", "/tile/0/000.p/1/", "/tile/0/000.p/01"),
        *("/tile/0/000.p/256", "/tile/0/000.p/0", "/tile/6/000", "/tile/entries/x001"),
        *("/tile/0/999", "/tile/", "/tile/data/000", "/tile/.tmp/x"),
    ],
)
def test_no_path_leads_out_of_the_tiles(server: Server, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"PRIVATE KEY" not in answer
    assert b"root:" not in answer


def test_tiles_never_change_and_the_checkpoint_does(http: httpx.Client) -> None:
    tile = http.get("/tile/entries/000.p/1")
    assert tile.headers["content-type"] == "application/octet-stream"
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert http.get("/checkpoint").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip", "gzip;q=0.5, identity", "GZIP ; q=1"])
def test_leaves_are_compressed_for_whoever_takes_it(http: httpx.Client, accepted: str) -> None:
    plain = http.get("/tile/entries/000.p/1", headers={"Accept-Encoding": "identity"})
    packed = http.get("/tile/entries/000.p/1", headers={"Accept-Encoding": accepted})
    assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.headers["cache-control"] == plain.headers["cache-control"]
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "gzip; q=0.000, *", "br;q=1, deflate", "xgzip"])
@pytest.mark.parametrize("path", ["/tile/entries/000.p/1", "/tile/0/000.p/1"])
def test_others_get_tiles_as_they_are(http: httpx.Client, accepted: str, path: str) -> None:
    assert "content-encoding" not in http.get(path, headers={"Accept-Encoding": accepted}).headers


def test_hashes_are_not_compressed(http: httpx.Client) -> None:
    assert "content-encoding" not in http.get("/tile/0/000.p/1", headers={"Accept-Encoding": "gzip"}).headers


# Quotas


def test_an_address_that_asks_too_much_waits(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        running_server(tmp_path_factory.mktemp("busy"), address_per_minute=30) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        answers = [http.get("/v1/rules") for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200, 429}
        assert [answer.status_code for answer in answers[:30]] == [200] * 30
        refused = answers[-1]
        problem(refused, 429, "too-many-requests")
        assert int(refused.headers["retry-after"]) >= 1
        # Files, and what says that the server lives, are not counted.
        assert http.get("/checkpoint").status_code == http.get("/healthz").status_code == 200
        problem(http.post("/oauth/token", content=b""), 429, "too-many-requests")


@pytest.mark.parametrize(
    ("path", "cost"), [("/v1/reviews", 20), (f"/v1/proofs/{DIGEST}", 5), (f"/v1/tokens/{DIGEST}", 5), ("/v1/rules", 1)]
)
def test_what_a_read_costs(tmp_path_factory: pytest.TempPathFactory, path: str, cost: int) -> None:
    with (
        running_server(tmp_path_factory.mktemp("costs"), address_per_minute=30) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        count = 30 // cost
        assert 429 not in [http.get(path).status_code for _ in range(count)]
        problem(http.get(path), 429, "too-many-requests")


def test_a_party_that_writes_too_much_waits(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = signing_key("busy")
    with (
        running_server(tmp_path_factory.mktemp("busy"), subject_per_minute=3) as server,
        RegistryClient(server.url) as client,
        httpx.Client(base_url=server.url) as http,
    ):
        client.authenticate(key, key.did, ("statement",))
        headers = client._authorization()
        answers = [http.post("/v1/statements", content=b"{}", headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
        problem(answers[-1], 429, "too-many-requests")


def test_a_token_costs_what_it_reads(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = signing_key("grants")
    with (
        running_server(tmp_path_factory.mktemp("grants"), address_per_minute=90) as server,
        RegistryClient(server.url) as client,
    ):
        client.authenticate(key, key.did, ("publish", "token"))
        files = [b"%d" % n for n in range(3_500)]
        library = make_library(key, server.registry.identity.origin, files)
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
        grant = {"manifests": [leaf], "files": None, "holder": None, "licensee": None, "price": None, "uses": []}
        body = {**grant, "audience": "any", "purpose": "x", "expires_at": time_encode(int(time.time()) + 9999)}
        answers = [
            httpx.post(f"{server.url}/v1/tokens", json=body, headers=client._authorization()) for _ in range(2)
        ]  # 21 before, then 45 each
        assert answers[0].status_code == 201
        problem(answers[-1], 429, "too-many-requests")
        assert "files" in answers[-1].json()["detail"]
        assert 1 < int(answers[-1].headers["retry-after"]) <= 60


# OpenAPI


def test_openapi_describes_every_route(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    references = set(re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
    ids = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} has no description"
            assert operation["tags"]
            ids.append(operation["operationId"])
            assert "HTTPValidationError" not in json.dumps(operation)
            assert ("401" in operation["responses"]) == ("security" in operation or path == "/oauth/token")
            if path.startswith("/v1/") and path != "/v1/rules":
                assert "429" in operation["responses"]
    assert len(ids) == len(set(ids))
    assert [scheme["scheme"] for scheme in document["components"]["securitySchemes"].values()] == ["bearer"]
    for name, model in (("Resolved", schemas.Resolved), ("TokenIssue", schemas.TokenIssue)):
        for example in document["components"]["schemas"][name]["examples"]:
            model.model_validate(example)
    assert {"/v1/resolve/{digest}", "/v1/manifests", "/oauth/token", "/tile/{path}"} <= set(document["paths"])


# A chain that contradicts the log, and one that is away


def test_a_registry_whose_log_is_stopped_says_so_and_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = signing_key("stopped")
    with (
        running_server(tmp_path_factory.mktemp("stopped")) as server,
        RegistryClient(server.url, sleep=lambda seconds: None) as client,
        httpx.Client(base_url=server.url) as http,
    ):
        client.authenticate(key, key.did, ("publish",))
        origin = client.policy().origin
        first, second = (make_library(key, origin, [name.encode()], title=name) for name in ("one", "two"))
        client.publish(first.manifest, first.terms, first.text)
        reason = ConflictError("the chain holds 9 leaves, the log has 3", code="log-disagreement")
        server.registry.log.stop(reason)
        with pytest.raises(BackendError) as caught:
            client.publish(second.manifest, second.terms, second.text)
        assert caught.value.code == "log-stopped"
        assert "the chain holds 9 leaves" in problem(http.get("/healthz"), 503, "log-stopped")["detail"]
        assert http.get("/checkpoint").status_code == 200
        [answer] = client.resolve([first.digest()])
        assert len(answer["claims"]) == 1


def test_a_registry_runs_without_its_chain(tmp_path_factory: pytest.TempPathFactory) -> None:
    key = signing_key("no chain")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        running_server(
            tmp_path_factory.mktemp("away"), chain=f"http://127.0.0.1:{port}/secret", contract="0x" + "12" * 20
        ) as server,
        RegistryClient(server.url) as client,
        httpx.Client(base_url=server.url) as http,
    ):
        client.authenticate(key, key.did, ("publish",))
        policy = client.policy()
        library = make_library(key, policy.origin, [b"no chain"])
        assert client.publish(library.manifest, library.terms, library.text).decision == "list"
        health = http.get("/healthz").json()
        assert (policy.anchor, health["status"]) == (None, "ok")
        assert "does not answer" in health["warning"]
        assert "secret" not in health["warning"]
        [answer] = client.resolve([library.digest()])
        assert answer["claims"][0]["anchor"] is None
