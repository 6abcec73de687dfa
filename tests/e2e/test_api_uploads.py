"""Bodies on their way to a registry that do not come as they should."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from select import select

import httpx
import pytest

from api import middleware
from ledger.client import RegistryClient
from tests.support.library import make_library, signing_key
from tests.support.process import ServerProcess, serving
from tests.support.server import Server, running_server


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
    [said] = process.output.read_text().splitlines()
    assert said.startswith(f"{process.url} answers; ")


# Too slow, and several big ones at once


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("slow")) as server:
        yield server


BIG = 2_000_000


def connect(server: Server, address: str = "127.0.0.1") -> socket.socket:
    """Connects from an address of this machine."""
    return socket.create_connection(("127.0.0.1", server.settings.port), timeout=30, source_address=(address, 0))


def has_status(connection: socket.socket, status: int) -> bool:
    """Returns whether the answer has that status."""
    return connection.recv(1000).startswith(b"HTTP/1.1 %d " % status)


def check_too_slow(connection: socket.socket) -> None:
    """The answer is 408, and the connection is closed behind it."""
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"too-slow"' in answer


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_is_ended(server: Server, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = bearer(server.url, "does not come")
    monkeypatch.setattr(middleware, "GRACE_SECONDS", 0.2)
    with connect(server) as connection:
        begin(connection, head(path, fields, 100))
        connection.sendall(b"{")
        check_too_slow(connection)


def test_a_body_that_trickles_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = bearer(server.url, "trickles")
    monkeypatch.setattr(middleware, "GRACE_SECONDS", 0.4)
    with connect(server) as connection:
        begin(connection, head("/v1/manifests", fields, BIG))
        sent = 0
        while sent < 200 and not select([connection], [], [], 0.05)[0]:
            connection.sendall(b" ")
            sent += 1
        assert 1 < sent < 200
        assert has_status(connection, 408)


def test_each_second_of_data_buys_another(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = bearer(server.url, "steady")
    monkeypatch.setattr(middleware, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(middleware, "BYTES_PER_SECOND", 200)
    with connect(server) as connection:
        begin(connection, head("/v1/manifests", fields, 2000))
        for _ in range(20):  # ten times as fast as it must be, for twice as long as the grace
            connection.sendall(b" " * 100)
            time.sleep(0.05)
        assert has_status(connection, 400)


def test_no_body_takes_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = bearer(server.url, "for ever")
    monkeypatch.setattr(middleware, "UPLOAD_SECONDS", 0.3)
    with connect(server) as connection:
        begin(connection, head("/v1/manifests", fields, BIG))
        connection.sendall(b" " * (BIG - 1))
        check_too_slow(connection)


def has_turn(connection: socket.socket, seconds: float = 30) -> bool:
    """Returns whether the body is asked for within that time."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("names", "addresses"),
    [(("a", "a"), ("127.0.0.1", "127.0.0.2")), (("a", "b"), ("127.0.0.1", "127.0.0.1"))],
    ids=["of one party", "of one address"],
)
@pytest.mark.parametrize("length", [BIG, None])
def test_one_big_upload_at_a_time(
    server: Server, names: tuple[str, str], addresses: tuple[str, str], length: int | None
) -> None:
    fields = [bearer(server.url, f"one at a time {name}") for name in names]
    with connect(server, addresses[1]) as second:
        with connect(server, addresses[0]) as first:
            begin(first, head("/v1/manifests", fields[0], length))
            second.sendall(head("/v1/manifests", fields[1], length))
            assert not has_turn(second, 0.3)
            # Small ones, and others' big ones, wait for none of it.
            with connect(server) as small, connect(server, "127.0.0.3") as other:
                begin(small, head("/v1/manifests", fields[0], 100))
                begin(other, head("/v1/manifests", bearer(server.url, "somebody else"), length))
        assert has_turn(second)  # the first has broken off


def test_three_big_uploads_at_a_time(server: Server) -> None:
    with ExitStack() as stack:
        several = [stack.enter_context(connect(server, f"127.0.0.{n}")) for n in range(1, 5)]
        for n, connection in enumerate(several):
            connection.sendall(head("/v1/manifests", bearer(server.url, f"several {n}"), BIG))
            assert has_turn(connection, 30 if n < 3 else 0.3) == (n < 3)
        several[0].close()
        assert has_turn(several[3])


def test_waiting_for_a_turn_is_not_slow(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = bearer(server.url, "patient")
    monkeypatch.setattr(middleware, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(middleware, "BYTES_PER_SECOND", 200_000)
    with connect(server) as second:
        with connect(server) as first:
            begin(first, head("/v1/manifests", fields, BIG))
            first.sendall(b" " * 1_000_000)  # worth five seconds
            second.sendall(head("/v1/manifests", fields, BIG))
            assert not has_turn(second, 1.5)
        assert has_turn(second)
        second.sendall(b" " * BIG)
        assert has_status(second, 400)
