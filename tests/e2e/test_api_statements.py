"""``POST /v1/statements`` on a real server, many to a request: each is answered for itself, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.routes.publishing import MAX_STATEMENTS
from api.settings import Settings
from ledger.canonical import Object
from ledger.checkpoint import parse_checkpoint
from ledger.client import STATEMENTS, LoggedAt, RegistryClient
from ledger.encoding import digest_encode, sha256, time_encode
from ledger.errors import RefusedError
from ledger.keys import SigningKey
from ledger.statements import Statement, key_add_body, sign_statement
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server

NDJSON = "application/x-ndjson"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def party(request: pytest.FixtureRequest) -> SigningKey:
    return signing_key(request.node.name)


@pytest.fixture
def client(server: Server, party: SigningKey) -> Iterator[RegistryClient]:
    with RegistryClient(server.url) as client:
        client.authenticate(party, party.did, ("publish", "statement"))
        yield client


def record(server: Server, key: SigningKey, number: int, by: str | None = None) -> Statement:
    evidence = digest_encode(sha256(f"{key.did} {number}".encode()))
    body: Object = {"kind": "usage", "refs": [], "evidence": evidence}
    return sign_statement("record", by or key.did, key, server.registry.log.origin, body)


def post(client: RegistryClient, body: bytes, media_type: str = NDJSON) -> httpx.Response:
    headers = {**client._authorization(), "Content-Type": media_type}
    return httpx.post(f"{client.url}/v1/statements", content=body, headers=headers, timeout=60)


def test_many_are_logged_in_order(server: Server, client: RegistryClient, party: SigningKey) -> None:
    statements = [record(server, party, number) for number in range(STATEMENTS + 100)]
    places = list(client.speak_many(statements))
    assert all(isinstance(place, LoggedAt) for place in places)
    leaves = [place.leaf for place in places if isinstance(place, LoggedAt)]
    assert leaves == sorted(set(leaves))
    logged = dict(enumerate(client.leaves(parse_checkpoint(client.checkpoint())[0].size)))
    for statement, place in zip(statements, places, strict=True):
        assert isinstance(place, LoggedAt)
        assert logged[place.leaf] == statement.data
        checkpoint, _ = parse_checkpoint(place.checkpoint)
        assert place.leaf < place.size == checkpoint.size
    again = list(client.speak_many(statements[:3]))
    assert [place.leaf for place in again if isinstance(place, LoggedAt)] == leaves[:3]


def test_one_that_is_refused_stops_none_of_the_others(
    server: Server, client: RegistryClient, party: SigningKey
) -> None:
    origin = server.registry.log.origin
    library = make_library(party, origin, [b"statements"])
    leaf = client.publish(library.manifest, library.terms, library.text).leaf
    second, stranger = signing_key("statements, second"), signing_key("statements, stranger")
    good = record(server, party, 1)
    forged = good.data.replace(b'"usage"', b'"audit"')
    early: Object = {"leaf": leaf, "effective_at": time_encode(int(time.time()))}
    lines = [
        good.data,
        b"",
        b'{"not": "canonical"}',
        forged,
        record(server, stranger, 1).data,
        record(server, second, 2, party.did).data,  # before it is a key
        sign_statement("key", party.did, party, origin, key_add_body(party.did, second, recovery=False)).data,
        record(server, second, 3, party.did).data,
        sign_statement("withdraw", party.did, party, origin, early).data,
        good.data,
        sign_statement("record", party.did, party, "another.example/log", parse_body(good)).data,
    ]
    response = post(client, b"\n".join(lines))
    assert (response.status_code, response.headers["content-type"]) == (200, NDJSON)
    answers = [json.loads(line) for line in response.text.splitlines()]
    assert [answer.get("code", "logged") for answer in answers] == [
        "logged",
        "malformed",
        "malformed",
        "bad-signature",
        "forbidden",
        "key-invalid",
        "logged",
        "logged",
        "notice",
        "logged",
        "wrong-log",
    ]
    assert [answer.get("status", 200) for answer in answers] == [200, 400, 400, 422, 403, 403, 200, 200, 403, 200, 403]
    assert answers[9]["leaf"] == answers[0]["leaf"] < answers[6]["leaf"] < answers[7]["leaf"]
    check_notes(answers)
    size = server.registry.log.head.size
    assert post(client, b"\n".join(lines)).text.count('"leaf"') == 5  # now it is a key
    assert server.registry.log.head.size == size + 1


def parse_body(statement: Statement) -> Object:
    body: Object = json.loads(statement.data)["body"]
    return body


def check_notes(answers: list[dict[str, Any]]) -> None:
    """Checks that the first answer of each size, and only that, has the checkpoint."""
    sizes: set[int] = set()
    for answer in (one for one in answers if "leaf" in one):
        assert ("checkpoint" in answer) == (answer["size"] not in sizes)
        sizes.add(answer["size"])


def test_the_client_tells_why(server: Server, client: RegistryClient, party: SigningKey) -> None:
    stranger = signing_key("a stranger to statements")
    answers = list(client.speak_many([record(server, party, 1), record(server, stranger, 1)]))
    assert isinstance(answers[0], LoggedAt)
    assert isinstance(answers[1], RefusedError)
    assert answers[1].code == "forbidden"


@pytest.mark.parametrize(
    ("count", "code", "status"),
    [(0, "malformed", 400), (MAX_STATEMENTS, None, 200), (MAX_STATEMENTS + 1, "too-many", 403)],
)
def test_how_many(client: RegistryClient, count: int, code: str | None, status: int) -> None:
    response = post(client, b"{}\n" * count)
    assert response.status_code == status
    if code is None:
        assert [json.loads(line)["code"] for line in response.text.splitlines()] == ["malformed"] * count
    else:
        assert response.json()["code"] == code


def test_as_many_as_there_may_be_at_the_quotas_there_are(tmp_path: Path) -> None:
    key = signing_key("patient")
    given = {name: Settings.model_fields[name].default for name in ("address_per_minute", "subject_per_minute")}
    with running_server(tmp_path, **given) as server, RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("statement",))
        statements = [record(server, key, number) for number in range(MAX_STATEMENTS)]
        assert all(isinstance(place, LoggedAt) for place in client.speak_many(statements))
        refused = post(client, b"\n".join(statement.data for statement in statements))
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")


def test_each_counts_as_a_write(tmp_path: Path) -> None:
    key = signing_key("busy")
    with running_server(tmp_path, subject_per_minute=100) as server, RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("statement",))
        lines = b"\n".join(record(server, key, number).data for number in range(60))
        assert post(client, lines).status_code == 200
        refused = post(client, lines)
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-requests")
        assert 0 < int(refused.headers["retry-after"]) <= 60
