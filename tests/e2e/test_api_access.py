"""``/oauth/token`` on a real server: who gets a bearer token, and each refusal by its code."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from api.routes.reading import MAX_REVIEWS
from ledger.assertion import CLIENT_ASSERTION_TYPE, GRANT_TYPE, audience_of, make_assertion
from ledger.client import REVIEWS_PAGE, RegistryClient
from ledger.encoding import b64url_encode
from ledger.errors import RefusedError
from ledger.keys import SigningKey
from ledger.statements import key_add_body, sign_statement
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def assertion(server: Server, key: SigningKey, by: str | None = None, now: int | None = None) -> str:
    jti = b64url_encode(secrets.token_bytes(16))
    return make_assertion(key, by or key.did, audience_of(server.url), int(time.time()) if now is None else now, jti)


def form(client_assertion: str, /, **changed: str | None) -> bytes:
    fields = {
        "grant_type": GRANT_TYPE,
        "client_assertion_type": CLIENT_ASSERTION_TYPE,
        "client_assertion": client_assertion,
        "scope": "publish",
        **changed,
    }
    return urlencode({name: value for name, value in fields.items() if value is not None}).encode()


def ask(http: httpx.Client, body: bytes) -> httpx.Response:
    return http.post("/oauth/token", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:trainmark:problem:{problem['code']}"
    return problem


def test_a_did_gets_a_token_before_any_leaf(server: Server, http: httpx.Client) -> None:
    answer = ask(http, form(assertion(server, signing_key("new")), scope="publish statement publish"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    value = answer.json()
    assert (value["token_type"], value["expires_in"], value["scope"]) == ("Bearer", 600, "publish statement")
    # Kept as a hash only.
    database = b"".join(file.read_bytes() for file in server.settings.data_dir.glob("registry.db*"))
    assert value["access_token"].encode() not in database


def test_a_replayed_assertion(server: Server, http: httpx.Client) -> None:
    body = form(assertion(server, signing_key("replay")))
    assert ask(http, body).status_code == 200
    assert refusal(ask(http, body), 401)["code"] == "replayed-assertion"


def test_a_refused_assertion_is_not_used_up(server: Server, http: httpx.Client) -> None:
    text = assertion(server, signing_key("not used up"))
    assert refusal(ask(http, form(text, scope="everything")), 400)["code"] == "invalid-scope"
    assert ask(http, form(text)).status_code == 200


def test_an_assertion_for_another_registry(http: httpx.Client) -> None:
    key = signing_key("elsewhere")
    jti = b64url_encode(secrets.token_bytes(16))
    text = make_assertion(key, key.did, audience_of("https://other.example"), int(time.time()), jti)
    problem = refusal(ask(http, form(text)), 401)
    assert (problem["code"], problem["error"]) == ("wrong-audience", "invalid_client")


@pytest.mark.parametrize(("age", "code"), [(400, "expired-assertion"), (-120, "early-assertion")])
def test_an_assertion_of_another_time(server: Server, http: httpx.Client, age: int, code: str) -> None:
    text = assertion(server, signing_key("time"), now=int(time.time()) - age)
    assert refusal(ask(http, form(text)), 401)["code"] == code


def test_an_assertion_of_another_key(server: Server, http: httpx.Client) -> None:
    text = assertion(server, signing_key("thief"), by=signing_key("victim").did)
    problem = refusal(ask(http, form(text)), 401)
    assert (problem["code"], problem["field"]) == ("key-invalid", "client_assertion.kid")


@pytest.mark.parametrize("alg", ["HS256", "none", "EdDSA"])
def test_another_algorithm(server: Server, http: httpx.Client, alg: str) -> None:
    key = signing_key("algorithm")
    _, payload, signature = assertion(server, key).split(".")
    header = b64url_encode(json.dumps({"alg": alg, "kid": key.did, "typ": "JWT"}, separators=(",", ":")).encode())
    signatures = {
        # The classic confusion: the public key as the secret of an HMAC.
        "HS256": b64url_encode(hmac.digest(key.public, f"{header}.{payload}".encode(), hashlib.sha256)),
        "none": "",
        "EdDSA": signature,
    }
    problem = refusal(ask(http, form(f"{header}.{payload}.{signatures[alg]}")), 400)
    assert (problem["code"], problem["field"]) == ("malformed", "client_assertion.header.alg")


def test_a_false_signature(server: Server, http: httpx.Client) -> None:
    signed = assertion(server, signing_key("signature")).rpartition(".")[0]
    signature = b64url_encode(signing_key("other").sign(signed.encode()))
    assert refusal(ask(http, form(f"{signed}.{signature}")), 401)["code"] == "bad-signature"


@pytest.mark.parametrize(
    ("changed", "code", "error"),
    [
        ({"grant_type": "password"}, "unsupported-grant", "unsupported_grant_type"),
        ({"client_assertion_type": "jwt"}, "malformed", "invalid_request"),
        ({"scope": None}, "malformed", "invalid_request"),
        ({"scope": ""}, "invalid-scope", "invalid_scope"),
        ({"scope": "publish admin"}, "invalid-scope", "invalid_scope"),
        ({"client_assertion": "x.y.z"}, "malformed", "invalid_request"),
    ],
)
def test_another_form(
    server: Server, http: httpx.Client, changed: dict[str, str | None], code: str, error: str
) -> None:
    problem = refusal(ask(http, form(assertion(server, signing_key("form")), **changed)), 400)
    assert (problem["code"], problem["error"]) == (code, error)


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"scope=publish&scope=publish"])
def test_no_form_at_all(http: httpx.Client, body: bytes) -> None:
    assert refusal(ask(http, body), 400)["code"] == "malformed"


def test_keys_count_as_the_log_says(server: Server, http: httpx.Client) -> None:
    first, second, recovery = (signing_key(f"rotation {n}") for n in range(3))
    origin = server.registry.identity.origin

    def say(by_key: SigningKey, body: Any) -> None:
        with RegistryClient(server.url) as client:
            client.authenticate(by_key, first.did, ("statement",))
            client.speak(sign_statement("key", first.did, by_key, origin, body))

    assert refusal(ask(http, form(assertion(server, second, first.did))), 401)["code"] == "key-invalid"
    say(first, key_add_body(first.did, second, recovery=False))
    say(first, key_add_body(first.did, recovery, recovery=True))
    assert ask(http, form(assertion(server, second, first.did))).status_code == 200

    # A recovery key may say what is needed to recover, and nothing else.
    text = assertion(server, recovery, first.did)
    assert refusal(ask(http, form(text)), 400)["code"] == "invalid-scope"
    say(recovery, {"op": "revoke", "key": first.did, "since": None})
    assert refusal(ask(http, form(assertion(server, first))), 401)["code"] == "key-invalid"
    assert ask(http, form(assertion(server, second, first.did))).status_code == 200


# Bearer tokens


def token_of(server: Server, http: httpx.Client, name: str, scope: str) -> str:
    text: str = ask(http, form(assertion(server, signing_key(name)), scope=scope)).json()["access_token"]
    return text


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "no-token"),
        ("Basic YTpi", "no-token"),
        ("Bearer", "invalid-token"),
        ("Bearer x", "invalid-token"),
        (f"Bearer {b64url_encode(bytes(32))}", "invalid-token"),
    ],
)
def test_writes_need_a_token(http: httpx.Client, header: str | None, code: str) -> None:
    for path in ("/v1/manifests", "/v1/statements", "/v1/tokens"):
        answer = http.post(path, content=b"{}", headers={} if header is None else {"Authorization": header})
        assert refusal(answer, 401)["code"] == code


def test_a_token_is_good_for_its_scopes(server: Server, http: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {token_of(server, http, 'scopes', 'statement')}"}
    problem = http.post("/v1/manifests", content=b"{}", headers=headers)
    assert (problem.status_code, problem.json()["code"]) == (403, "insufficient-scope")
    assert 'scope="publish"' in problem.headers["www-authenticate"]
    assert http.post("/v1/statements", content=b"{}", headers=headers).json()["code"] == "malformed"


def test_a_token_ends(server: Server, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Authorization": f"bearer {token_of(server, http, 'ends', 'statement')}"}
    registry = server.registry
    monkeypatch.setattr(registry, "clock", lambda: int(time.time()) + 599)
    assert http.post("/v1/statements", content=b"{}", headers=headers).status_code == 400
    monkeypatch.setattr(registry, "clock", lambda: int(time.time()) + 601)
    assert refusal(http.post("/v1/statements", content=b"{}", headers=headers), 401)["code"] == "invalid-token"


def test_a_token_ends_with_its_key(server: Server, http: httpx.Client) -> None:
    first, second, recovery, third = (signing_key(f"revoked {n}") for n in range(4))
    origin = server.registry.identity.origin

    def bearer(key: SigningKey, scope: str) -> dict[str, str]:
        answer = ask(http, form(assertion(server, key, first.did), scope=scope))
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def say(by_key: SigningKey, body: Any, headers: dict[str, str]) -> httpx.Response:
        data = sign_statement("key", first.did, by_key, origin, body).data
        return http.post("/v1/statements", content=data, headers=headers)

    firsts = bearer(first, "publish statement token")
    assert say(first, key_add_body(first.did, second, recovery=False), firsts).status_code == 201
    assert say(first, key_add_body(first.did, recovery, recovery=True), firsts).status_code == 201
    seconds, recoverys = bearer(second, "statement"), bearer(recovery, "statement")
    assert http.get("/v1/tokens", headers=firsts).status_code == 200
    assert say(recovery, {"op": "revoke", "key": first.did, "since": None}, recoverys).status_code == 201

    writes = [http.post(path, content=b"{}", headers=firsts) for path in ("/v1/manifests", "/v1/statements")]
    for answer in (*writes, http.post("/v1/tokens", content=b"{}", headers=firsts)):
        problem = refusal(answer, 401)
        assert (problem["code"], problem["field"]) == ("invalid-token", "Authorization")
        assert first.did in problem["detail"]
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert refusal(http.get("/v1/tokens", headers=firsts), 401)["code"] == "invalid-token"
    # The party's other keys go on, the recovery key as such.
    assert http.post("/v1/statements", content=b"{}", headers=seconds).json()["code"] == "malformed"
    assert say(recovery, key_add_body(first.did, third, recovery=False), recoverys).status_code == 201


def test_a_key_revoked_while_a_body_arrives_gets_no_token_issued(server: Server, http: httpx.Client) -> None:
    key = signing_key("while it arrives")
    bearer = token_of(server, http, "while it arrives", "token")
    body = b'{"manifests":[0],"files":null,"holder":null,"licensee":null,"price":null,"uses":[]}'
    head = f"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {bearer}\r\n"
    with socket.create_connection(("127.0.0.1", server.settings.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # the token has passed, the body is being read
        with RegistryClient(server.url) as client:
            client.authenticate(key, key.did, ("statement",))
            origin = server.registry.identity.origin
            client.speak(sign_statement("key", key.did, key, origin, {"op": "revoke", "key": key.did, "since": None}))
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"code":"invalid-token"' in answer


def test_what_waits_is_for_the_registrys_people(server: Server, http: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {token_of(server, http, 'curious', 'statement')}"}
    answer = http.get("/v1/reviews", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    key = server.registry.identity.key
    with RegistryClient(server.url) as client:
        client.authenticate(key, key.did, ("statement",))
        assert client.reviews() == []
        own = client._authorization()
    for limit, status in ((MAX_REVIEWS, 200), (MAX_REVIEWS + 1, 400)):
        assert http.get("/v1/reviews", params={"limit": limit}, headers=own).status_code == status


def test_what_waits_comes_in_short_pages(tmp_path: Path) -> None:
    ada, bob = signing_key("ada"), signing_key("bob")
    with running_server(tmp_path) as server, RegistryClient(server.url) as client:
        registry, count = server.registry, REVIEWS_PAGE + 2
        for n in range(count):
            for key in (ada, bob):  # the second is the same file of somebody else: a person decides
                library = make_library(key, registry.identity.origin, [b"%d" % n], title=f"{n}")
                registry.publish(library.data, library.terms, library.text, key.did)
        client.authenticate(registry.identity.key, registry.identity.did, ("statement",))
        leaves = [item["leaf"] for item in client.reviews()]
        assert len(leaves) == count
        assert leaves == sorted(set(leaves), reverse=True)


def test_the_client_gives_nothing_away(server: Server, tmp_path: Path) -> None:
    # A registry that says to be another one would get an assertion that counts there.
    with running_server(tmp_path / "evil", issuer="http://127.0.0.1:1") as evil, httpx.Client() as http:
        port = evil.settings.port
        assert http.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        with RegistryClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(RefusedError) as caught:
                client.authenticate(signing_key("careful"), signing_key("careful").did, ("publish",))
            assert caught.value.code == "wrong-issuer"
