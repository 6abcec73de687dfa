"""Times at the end of what dates can say, and beyond, in all that a registry takes: never an error of its own."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from ledger.assertion import ASSERTION_TYPE, CLIENT_ASSERTION_TYPE, GRANT_TYPE, audience_of
from ledger.canonical import Object
from ledger.client import RegistryClient
from ledger.encoding import b64url_encode
from ledger.keys import SigningKey
from ledger.manifests import format_manifest
from ledger.statements import sign_statement
from ledger.tokens.jwt import sign_jwt
from tests.support.library import make_library, signing_key
from tests.support.server import Server, running_server

LAST = "9999-12-31T23:59:59Z"
NO_TIMES = (
    *("9999-12-31T23:59:60Z", "9999-12-31T24:00:00Z", "9999-12-31T99:99:99Z"),
    *("9999-12-32T00:00:00Z", "9999-13-01T00:00:00Z", "9998-12-31T99:99:99Z", "2026-11-24T24:00:00Z"),
    *("10000-01-01T00:00:00Z", "99999-12-31T23:59:59Z", "+9999-12-31T23:59:59Z", "-001-01-01T00:00:00Z"),
    *("1969-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "0001-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "9" * 200),
)
NUMBERS = (0, 253402300799, 253402300800, 2**53 - 1)
"""Of them the second is the last that is a date; no JSON number of ours is greater than the last."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("times")) as server:
        yield server


@pytest.fixture(scope="module")
def ada() -> SigningKey:
    return signing_key("times ada")


@pytest.fixture(scope="module")
def http(server: Server, ada: SigningKey) -> Iterator[httpx.Client]:
    """Whoever asks with it speaks for Ada."""
    with RegistryClient(server.url) as client:
        client.authenticate(ada, ada.did, ("publish", "statement", "token"))
        with httpx.Client(base_url=server.url, headers=client._authorization()) as http:
            yield http


@pytest.fixture(scope="module")
def leaf(server: Server, ada: SigningKey) -> int:
    """A listed manifest of Ada's."""
    with RegistryClient(server.url) as client:
        client.authenticate(ada, ada.did, ("publish",))
        library = make_library(ada, client.policy().origin, [b"times"])
        return client.publish(library.manifest, library.terms, library.text).leaf


def check_malformed(answer: httpx.Response, field: str) -> None:
    value = answer.json()
    assert (answer.status_code, value["code"]) == (400, "malformed"), answer.text
    assert value["field"].endswith(field)


def request(leaf: int, expires_at: object) -> dict[str, Any]:
    given = {"manifests": [leaf], "uses": [], "audience": "any", "purpose": "times", "expires_at": expires_at}
    return dict.fromkeys(("files", "holder", "licensee", "price"), None) | given


@pytest.mark.parametrize("text", [*NO_TIMES, *NUMBERS, -1, None])
def test_a_token_that_ends_at_no_time(http: httpx.Client, leaf: int, text: object) -> None:
    check_malformed(http.post("/v1/tokens", json=request(leaf, text)), "expires_at")


def test_a_token_that_ends_with_the_last_second(http: httpx.Client, leaf: int) -> None:
    issued = http.post("/v1/tokens", json=request(leaf, LAST))
    assert issued.status_code == 201
    digest = issued.json()["token"]
    assert [item["expires_at"] for item in http.get("/v1/tokens").json()["items"]] == [LAST]
    assert http.get(f"/v1/tokens/{digest}").status_code == 200


def withdrawal(server: Server, key: SigningKey, leaf: int) -> bytes:
    origin = server.registry.identity.origin
    return sign_statement("withdraw", key.did, key, origin, {"leaf": leaf, "effective_at": LAST}).data


@pytest.mark.parametrize("text", [*NO_TIMES, *NUMBERS, -1, None])
def test_a_withdrawal_at_no_time(server: Server, http: httpx.Client, ada: SigningKey, leaf: int, text: object) -> None:
    data = withdrawal(server, ada, leaf).replace(json.dumps(LAST).encode(), json.dumps(text).encode())
    check_malformed(http.post("/v1/statements", content=data), "effective_at")


def test_a_withdrawal_in_the_last_second(server: Server, ada: SigningKey, http: httpx.Client) -> None:
    with RegistryClient(server.url) as client:
        client.authenticate(ada, ada.did, ("publish",))
        library = make_library(ada, client.policy().origin, [b"withdrawn"], title="Withdrawn")
        leaf = client.publish(library.manifest, library.terms, library.text).leaf
    assert http.post("/v1/statements", content=withdrawal(server, ada, leaf)).status_code == 201
    assert http.get(f"/v1/datasets/{leaf}").json()["state"] == "withdrawing"


@pytest.mark.parametrize("text", [*NO_TIMES, *NUMBERS, -1, None])
def test_a_manifest_made_at_no_time(server: Server, http: httpx.Client, ada: SigningKey, text: object) -> None:
    library = make_library(ada, server.registry.identity.origin, [b"made"], title="Made")
    manifest = format_manifest(library.manifest).replace(b'"2026-11-24T09:30:00Z"', json.dumps(text).encode())
    assert json.dumps(text).encode() in manifest
    body = b'{"manifest":%b,"terms":%b,"text":%b}' % (
        manifest,
        library.terms,
        json.dumps(library.text.decode()).encode(),
    )
    check_malformed(http.post("/v1/manifests", content=body), "created_at")


@pytest.mark.parametrize("issued_at", NUMBERS)
@pytest.mark.parametrize("life", [1, 300])
def test_an_assertion_of_another_age(server: Server, http: httpx.Client, issued_at: int, life: int) -> None:
    key = signing_key("times assertion")
    issued_at = min(issued_at, 2**53 - 1 - life)
    claims: Object = {
        "iss": key.did,
        "sub": key.did,
        "aud": audience_of(server.url),
        "iat": issued_at,
        "exp": issued_at + life,
        "jti": b64url_encode(secrets.token_bytes(16)),
    }
    text = sign_jwt(ASSERTION_TYPE, claims, key, kid=key.did)
    form = {
        "grant_type": GRANT_TYPE,
        "client_assertion_type": CLIENT_ASSERTION_TYPE,
        "client_assertion": text,
        "scope": "publish",
    }
    answer = http.post("/oauth/token", content=urlencode(form))
    expected = "expired-assertion" if issued_at < time.time() else "early-assertion"
    # A number that is no date may be refused as such before its age is looked at.
    assert (answer.status_code, answer.json()["code"]) in ((401, expected), (400, "malformed"))
