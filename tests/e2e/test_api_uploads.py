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
from api.writing import MAX_WAITING, WRITERS
from ledger.client import RegistryClient
from ledger.encoding import digest_encode, sha256
from ledger.statements import sign_statement
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


# A server whose parties take long, are too slow, or send several big ones at once


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
            # Others' small ones, and their big ones from elsewhere, wait for none of it.
            with connect(server) as small, connect(server, "127.0.0.3") as other:
                begin(small, head("/v1/manifests", bearer(server.url, "small"), 100))
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


# Turns


def spoken(server: Server, name: str, number: int) -> bytes:
    """Returns a statement of somebody of that name."""
    key, origin = signing_key(name), server.running.registry.identity.origin
    evidence = digest_encode(sha256(b"%d" % number))
    return sign_statement("record", key.did, key, origin, {"kind": "audit", "refs": [], "evidence": evidence}).data


def post(connection: socket.socket, path: str, fields: str, body: bytes) -> None:
    """Sends a request as a whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def is_answered(connection: socket.socket, status: int, seconds: float = 30) -> bool:
    """Returns whether an answer comes within that time; it has that status."""
    connection.settimeout(seconds)
    try:
        answer = connection.recv(4000)
    except TimeoutError:
        return False
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    return True


@pytest.mark.parametrize(
    "path", ["/v1/statements", "/v1/manifests", "/v1/tokens", f"/v1/tokens/sha256:{'0' * 64}/status"]
)
def test_a_party_whose_writes_take_long_holds_up_nobody(server: Server, path: str) -> None:
    """What waits for the party's turn in the registry is one write, not all threads there are."""
    long, other = bearer(server.url, "takes long"), bearer(server.url, "in a hurry")
    with ExitStack() as stack:
        several = [stack.enter_context(connect(server)) for _ in range(WRITERS + 4)]
        with server.running.registry.turns.of(signing_key("takes long").did):
            post(several[0], "/v1/statements", long, spoken(server, "takes long", 0))
            assert not is_answered(several[0], 201, 0.3)
            for connection in several[1:]:
                post(connection, path, long, b"{}")
            refused = [not is_answered(connection, 429, 0.1) for connection in several[1:]].count(False)
            assert refused == WRITERS + 3 - MAX_WAITING
            with connect(server) as hurried:
                post(hurried, "/v1/statements", other, spoken(server, "in a hurry", len(path)))
                assert is_answered(hurried, 201, 5)
        assert is_answered(several[0], 201)


def test_whoever_is_refused_a_turn_is_told_when_to_come_again(server: Server) -> None:
    fields = bearer(server.url, "comes again")
    with ExitStack() as stack:
        with server.running.registry.turns.of(signing_key("comes again").did):
            several = [stack.enter_context(connect(server)) for _ in range(MAX_WAITING + 2)]
            for n, connection in enumerate(several):
                post(connection, "/v1/statements", fields, spoken(server, "comes again", n))
                time.sleep(0.05)
            refusal = several[-1].recv(4000)
            assert b"429" in refusal.splitlines()[0]
            assert b"retry-after: 5" in refusal.lower()
        for connection in several[:-1]:
            assert is_answered(connection, 201)
        post(several[-1], "/v1/statements", fields, spoken(server, "comes again", 99))
        assert is_answered(several[-1], 201)
