"""Bodies on their way to a registry that do not come as they should."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from ledger.client import RegistryClient
from tests.support.library import make_library, signing_key
from tests.support.process import ServerProcess, serving


def bearer(url: str, name: str) -> str:
    """Returns the header line of a token for somebody of that name."""
    key = signing_key(name)
    with RegistryClient(url) as client:
        client.authenticate(key, key.did, ("publish", "statement", "token"))
        [(field, value)] = client._authorization().items()
    return f"{field}: {value}\r\n"


def head(path: str, fields: str, length: int | None) -> bytes:
    """Returns the head of a request whose body is asked for with ``100 Continue``; of no length, it comes in chunks."""
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{fields}{body}\r\nExpect: 100-continue\r\n\r\n".encode()


def begin(connection: socket.socket, request: bytes) -> None:
    """Sends the head of a request and waits until its body is read."""
    connection.sendall(request)
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")


# Broken off


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("broken") / "registry") as process:
        yield process


PATHS = ("/v1/manifests", "/v1/statements", "/v1/tokens", "/v1/resolve", "/oauth/token")


@pytest.mark.parametrize(
    ("path", "length"), [("/v1/manifests", 2_000_000), *((path, length) for path in PATHS for length in (100, None))]
)
def test_whoever_breaks_off_leaves_nothing_in_the_output(process: ServerProcess, path: str, length: int | None) -> None:
    fields = bearer(process.url, "breaks off")
    for _ in range(4):  # more than there are turns for big uploads
        with socket.create_connection(("127.0.0.1", process.port), timeout=30) as connection:
            begin(connection, head(path, fields, length))
            connection.sendall(b"5\r\nhalf " if length is None else b"x" * (length // 2))
    key = signing_key("stays")
    with RegistryClient(process.url) as client, httpx.Client(base_url=process.url) as http:
        client.authenticate(key, key.did, ("publish",))
        library = make_library(key, client.policy().origin, [f"{path} {length}".encode()], title=f"{path} {length}")
        assert client.publish(library.manifest, library.terms, library.text).decision == "list"
        assert http.get("/healthz").json()["status"] == "ok"
    assert process.output.read_text() == ""
