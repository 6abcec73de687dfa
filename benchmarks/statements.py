"""How fast a registry takes statements over HTTP, each durable before it is acknowledged.

One registry (``trainmark serve``, one process) on SQLite, then on PostgreSQL with its usual durability, and a client on
the same machine.  *many*: parties post ``record`` statements, 1,024 to a request, signed before the clock starts.  The
yardstick is one bare Ed25519 verification for each statement, on as many threads as there are processors, in the same
run.  *single*: one statement per request, sent at the set rate whether the ones before are answered or not; the time is
from the moment it should be sent to its answer.  The disk is that of the folder for temporary files.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ledger.canonical import Object
from ledger.client import STATEMENTS, RegistryClient
from ledger.encoding import digest_encode, sha256
from ledger.keys import SigningKey
from ledger.statements import Statement, sign_statement, verify_statement
from tests.support.postgres import cluster
from tests.support.process import ServerProcess, serving

PARTIES = 6
SINGLE_PARTIES = 128
"""So many that none has to wait for its own turn while a slow moment of the disk lasts."""
WIDE = {"TRAINMARK_ADDRESS_PER_MINUTE": "1000000000", "TRAINMARK_SUBJECT_PER_MINUTE": "1000000000"}


def records(key: SigningKey, origin: str, name: str, count: int) -> list[Statement]:
    """Returns `count` statements of one party, no two alike."""
    found = []
    for n in range(count):
        body: Object = {"kind": "usage", "refs": [], "evidence": digest_encode(sha256(f"{name} {n}".encode()))}
        found.append(sign_statement("record", key.did, key, origin, body))
    return found


def verified_alone(statements: Sequence[Statement]) -> float:
    """Returns how many of these signatures all processors verify in a second, and nothing else."""
    count = os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        begin = time.perf_counter()
        list(
            pool.map(lambda part: [verify_statement(one) for one in part], [statements[n::count] for n in range(count)])
        )
        return len(statements) / (time.perf_counter() - begin)


def token(url: str, key: SigningKey) -> str:
    """Returns the Authorization of a party."""
    with RegistryClient(url) as client:
        client.authenticate(key, key.did, ("statement",))
        return client._authorization()["Authorization"]


def post_all(server: ServerProcess, authorization: str, statements: Sequence[Statement]) -> None:
    """Posts statements one request after the other; all of them must be logged."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Authorization": authorization, "Content-Type": "application/x-ndjson"}
    for at in range(0, len(statements), STATEMENTS):
        lines = b"".join(one.data + b"\n" for one in statements[at : at + STATEMENTS])
        connection.request("POST", "/v1/statements", lines, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or answer.count(b'{"leaf":') != lines.count(b"\n"):
            raise RuntimeError(f"{response.status}: {answer[:500]!r}")
    connection.close()


def many(name: str, server: ServerProcess, origin: str, count: int, limit: float) -> None:
    """Measures appends in big requests of several parties at once and prints them."""
    keys = [SigningKey(sha256(b"party %d" % n)) for n in range(PARTIES)]
    work = [records(key, origin, f"{name} {n}", count // PARTIES) for n, key in enumerate(keys)]
    tokens = [token(server.url, key) for key in keys]
    with ThreadPoolExecutor(PARTIES) as pool:
        begin = time.perf_counter()
        list(pool.map(lambda one: post_all(server, *one), zip(tokens, work, strict=True)))
        seconds = time.perf_counter() - begin
    rate = sum(map(len, work)) / seconds
    print(f"{name:12} many    {rate:8.0f} statements/s   {rate / limit:4.0%} of verifying alone", flush=True)


class Connection(asyncio.Protocol):
    """A keep-alive connection that has one request under way at most; cheap, for both share the processors."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[bytes] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def is_open(self) -> bool:
        """Whether the server keeps it: an idle one it closes after a few seconds."""
        return not self._transport.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Sends a request; returns what will be its answer's head and body."""
        self._answer, self._buffer = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) == int(length) and self._answer is not None:
            self._answer.set_result(self._buffer)


async def at_rate(port: int, requests: Sequence[bytes], rate: float) -> list[float]:
    """Sends requests, `rate` in a second, whatever becomes of those before; returns how long each took."""
    loop = asyncio.get_running_loop()
    free: list[Connection] = []
    took: list[float] = []
    begin = time.perf_counter() + 0.1

    async def say(due: float, request: bytes) -> None:
        while free and not free[-1].is_open:
            free.pop()
        connection = free.pop() if free else (await loop.create_connection(Connection, "127.0.0.1", port))[1]
        answer = await connection.ask(request)
        took.append(time.perf_counter() - due)
        free.append(connection)
        if not answer.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(answer)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            due = begin + number / rate
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(say(due, request))
    return took


def single(name: str, server: ServerProcess, origin: str, rate: float, seconds: float) -> None:
    """Measures how long one statement takes at a steady rate and prints it."""
    keys = [SigningKey(sha256(b"single %d" % n)) for n in range(SINGLE_PARTIES)]
    tokens = [token(server.url, key) for key in keys]
    work = [records(key, origin, f"{name} single {n}", int(rate * seconds / len(keys))) for n, key in enumerate(keys)]
    head = "POST /v1/statements HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: "
    requests = [
        f"{head}{authorization}\r\nContent-Length: {len(one.data)}\r\n\r\n".encode() + one.data
        for turn in zip(*work, strict=True)
        for authorization, one in zip(tokens, turn, strict=True)
    ]
    took = asyncio.run(at_rate(server.port, requests, rate))
    cuts = statistics.quantiles(took, n=100)
    print(
        f"{name:12} single  {rate:8.0f} requests/s   p50 {cuts[49] * 1000:6.1f} ms   p99 {cuts[98] * 1000:6.1f} ms   "
        f"longest {max(took) * 1000:6.1f} ms",
        flush=True,
    )


def measure(name: str, folder: Path, env: dict[str, str], options: argparse.Namespace) -> None:
    """Measures one registry."""
    with serving(folder / "registry", {**WIDE, "TRAINMARK_ANCHOR_INTERVAL": "60", **env}) as server:
        with RegistryClient(server.url) as client:
            origin = client.policy().origin
        limit = verified_alone(records(SigningKey(bytes(32)), origin, "limit", 10_000))
        print(f"{'':12} limit   {limit:8.0f} bare Ed25519 verifications/s on {os.cpu_count()} threads", flush=True)
        many(name, server, origin, options.count, limit)
        single(name, server, origin, options.rate, options.seconds)


def main(options: argparse.Namespace) -> None:
    """Measures SQLite and PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="trainmark-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "sqlite").mkdir()
        measure("SQLite", folder / "sqlite", {}, options)
        (folder / "with-postgres").mkdir()
        with cluster(()) as postgres:  # with its usual durability
            url = postgres.url(postgres.new_database())
            measure("PostgreSQL", folder / "with-postgres", {"TRAINMARK_DATABASE": url}, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60_000, help="statements in big requests")
    parser.add_argument("--rate", type=float, default=200, help="single statements in a second")
    parser.add_argument("--seconds", type=float, default=20, help="how long single statements are sent")
    main(parser.parse_args())
