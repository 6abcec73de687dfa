"""Bodies on their way to a registry that do not come as they should."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select

import httpx
import pytest

from api import bodies, middleware
from api.bodies import MAX_FILES_OF_ADDRESS, MEMORY_BYTES
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
    for _ in range(5):  # more than an address may have files for big uploads
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


# Big ones


def begin_big(connection: socket.socket, fields: str, sent: int, length: int | None = BIG) -> None:
    """Begins a big upload and sends a part of it."""
    begin(connection, head("/v1/manifests", fields, length))
    connection.sendall(b"%x\r\n" % sent + b" " * sent + b"\r\n" if length is None else b" " * sent)


@pytest.mark.parametrize("sent", [0, MEMORY_BYTES + 100_000])
@pytest.mark.parametrize("length", [BIG, None])
def test_big_uploads_that_trickle_hold_up_nobody(server: Server, sent: int, length: int | None) -> None:
    fields = [bearer(server.url, f"trickles {n}") for n in range(6)]
    with ExitStack() as stack:
        for n in range(6):
            begin_big(stack.enter_context(connect(server, f"127.0.0.{n // 2 + 2}")), fields[n], sent, length)
        for address, name in (
            ("127.0.0.1", "has sent it"),
            ("127.0.0.2", "has sent it too"),
            ("127.0.0.3", "trickles 0"),
        ):
            with connect(server, address) as honest:
                post(honest, "/v1/manifests", bearer(server.url, name), b" " * BIG)
                assert is_answered(honest, 400, 5)


def test_an_address_has_few_big_uploads_on_their_way(server: Server) -> None:
    fields, before = bearer(server.url, "many big ones"), settled(server)
    with ExitStack() as stack:
        several = [stack.enter_context(connect(server, "127.0.0.7")) for _ in range(MAX_FILES_OF_ADDRESS + 1)]
        for connection in several[:-1]:
            begin_big(connection, fields, MEMORY_BYTES + 100_000)
        wait_until(lambda: open_files() == before + MAX_FILES_OF_ADDRESS)
        begin_big(several[-1], fields, MEMORY_BYTES + 1)  # no more than is read before it is refused
        answer = b"".join(iter(lambda: several[-1].recv(4000), b""))  # the connection is closed behind it
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 5" in answer.lower()
        with connect(server, "127.0.0.7") as small, connect(server, "127.0.0.8") as elsewhere:
            post(small, "/v1/manifests", fields, b" " * MEMORY_BYTES)
            assert is_answered(small, 400)
            post(elsewhere, "/v1/manifests", fields, b" " * BIG)
            assert is_answered(elsewhere, 400)
        several[0].sendall(b" " * (BIG - MEMORY_BYTES - 100_000))
        assert is_answered(several[0], 400)
        with connect(server, "127.0.0.7") as another:
            post(another, "/v1/manifests", fields, b" " * BIG)
            assert is_answered(another, 400)


def test_there_are_few_big_uploads_on_their_way_in_all(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_FILES", 2)
    fields, before = bearer(server.url, "big ones in all"), settled(server)
    with ExitStack() as stack:
        for n in range(2):
            begin_big(stack.enter_context(connect(server, f"127.0.0.{n + 10}")), fields, MEMORY_BYTES + 100_000)
        wait_until(lambda: open_files() == before + 2)
        third = stack.enter_context(connect(server, "127.0.0.12"))
        begin_big(third, fields, MEMORY_BYTES + 1)  # no more than is read before it is refused
        assert is_answered(third, 429)


def files_of(server: Server) -> set[Path]:
    """Returns what is in the data folder."""
    return {path for path in server.settings.data_dir.iterdir() if "-" not in path.name}  # SQLite's own come and go


def open_files() -> int:
    """Returns how many open files of this process have no name any more."""
    return sum(os.readlink(path).endswith("(deleted)") for path in Path("/proc/self/fd").iterdir() if path.is_symlink())


def settled(server: Server) -> int:
    """Waits until no body of an earlier test has a file; returns how many other such files are open."""
    wait_until(lambda: not server.app.state.writing._bodies._files)
    return open_files()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen on Linux only")
def test_nothing_stays_of_a_big_upload(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before, files, fields = settled(server), files_of(server), bearer(server.url, "leaves nothing")
    with connect(server) as done, connect(server) as slow, connect(server) as broken_off:
        for connection in (done, slow, broken_off):
            begin_big(connection, fields, MEMORY_BYTES + 100_000)
        wait_until(lambda: open_files() == before + 3)
        assert files_of(server) == files
        done.sendall(b" " * (BIG - MEMORY_BYTES - 100_000))
        assert is_answered(done, 400)
        broken_off.close()
        wait_until(lambda: open_files() == before + 1)
        monkeypatch.setattr(middleware, "UPLOAD_SECONDS", 0.1)
        slow.sendall(b" ")
        check_too_slow(slow)
        wait_until(lambda: open_files() == before)


def test_a_disk_that_takes_no_big_upload_is_a_503(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = server.app.state.writing._bodies
    monkeypatch.setattr(reading, "_folder", server.settings.data_dir / "not there")
    name, _, token = bearer(server.url, "no disk").strip().partition(": ")
    answer = httpx.post(f"{server.url}/v1/manifests", content=b" " * BIG, headers={name: token})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (503, "disk", "body")
    assert reading._files == {}


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Turns


def spoken(server: Server, name: str, number: int) -> bytes:
    """Returns a statement of somebody of that name."""
    key, origin = signing_key(name), server.registry.identity.origin
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
        with server.registry.turns.of(signing_key("takes long").did):
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
        with server.registry.turns.of(signing_key("comes again").did):
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


GRANT = {"manifests": [10**6], "files": None, "holder": None, "licensee": None, "price": None, "uses": []}
BIG_GRANT = json.dumps({**GRANT, "audience": "any", "purpose": "x", "expires_at": "2030-01-01T00:00:00Z"}).encode()
BIG_GRANT += b" " * BIG


@pytest.mark.parametrize(
    ("names", "addresses"),
    [(("a", "a"), ("127.0.0.1", "127.0.0.2")), (("a", "b"), ("127.0.0.1", "127.0.0.1"))],
    ids=["of one party", "of one address"],
)
def test_one_big_body_at_a_time(server: Server, names: tuple[str, str], addresses: tuple[str, str]) -> None:
    fields = [bearer(server.url, f"one at a time {name}") for name in names]
    with connect(server, addresses[0]) as first, connect(server, addresses[1]) as second:
        with server.registry.turns.of(signing_key("one at a time a").did):
            post(first, "/v1/tokens", fields[0], BIG_GRANT)
            assert not is_answered(first, 404, 0.3)
            post(second, "/v1/tokens", fields[1], BIG_GRANT)
            assert not is_answered(second, 404, 0.5)
            # Others' small ones, and their big ones from elsewhere, wait for none of it.
            others = bearer(server.url, "somebody else")
            with connect(server) as small, connect(server, "127.0.0.3") as other:
                post(other, "/v1/tokens", others, BIG_GRANT)
                assert is_answered(other, 404)
                post(small, "/v1/tokens", others, BIG_GRANT.rstrip())
                assert is_answered(small, 404)
        assert is_answered(first, 404)
        assert is_answered(second, 404)


def test_three_big_bodies_at_a_time(server: Server) -> None:
    with ExitStack() as stack, ExitStack() as held:
        several = [stack.enter_context(connect(server, f"127.0.0.{n}")) for n in range(1, 5)]
        for n, connection in enumerate(several):
            fields = bearer(server.url, f"several {n}")
            if n < 3:
                held.enter_context(server.registry.turns.of(signing_key(f"several {n}").did))
            post(connection, "/v1/tokens", fields, BIG_GRANT)
            assert not is_answered(connection, 404, 0.5)
        held.close()
        for connection in several:
            assert is_answered(connection, 404)
