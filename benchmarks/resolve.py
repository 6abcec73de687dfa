"""How fast a registry answers: single look-ups beside a bare FastAPI route, and batches of 10,000 digests.

One registry (uvicorn, one process, SQLite, a library of ``--files`` files) and one bare FastAPI application whose only
route returns the same bytes; the same client asks both in turn over 32 connections.  *again*: a few digests asked over
and over, as a page in the news would be; *new*: every request another digest.  The ratio is what the registry's work
costs on top of the framework.  On a machine shared by client and server both limit each other: compare the lines of one
run, not runs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn
from fastapi import FastAPI, Response

from api.app import create_app
from api.settings import Settings
from ledger.client import BATCH, RegistryClient
from ledger.encoding import digest_encode
from tests.support.library import make_library, signing_key

CONNECTIONS = 32
HOT = 64


def serve(folder: Path, port: int) -> None:
    """Serves the registry in `folder`."""
    settings = Settings(data_dir=folder, port=port, address_per_minute=10**9, subject_per_minute=10**9)
    uvicorn.run(create_app(settings), port=port, log_level="warning", access_log=False, ws="none")


def serve_bare(body: bytes, port: int) -> None:
    """Serves `body` from the smallest FastAPI application there is."""
    app = FastAPI()

    @app.get("/v1/resolve/{digest}")
    async def resolve(digest: str) -> Response:
        return Response(body, media_type="application/json")

    uvicorn.run(app, port=port, log_level="warning", access_log=False, ws="none")


@contextmanager
def process(*arguments: str) -> Iterator[int]:
    """Runs this file as a server on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, *arguments, str(port)])
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(30)


class Connection(asyncio.Protocol):
    """Sends one request after the other and notes how long each answer took, in seconds."""

    def __init__(self, requests: Iterator[bytes], took: list[float], done: asyncio.Future[None]) -> None:
        self.requests, self.took, self.done = requests, took, done
        self.buffer, self.missing, self.at = b"", 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Sends the next request, or ends."""
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            self.done.set_result(None)
            return
        self.at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server answers {head[:80]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) == length:
            self.took.append(time.perf_counter() - self.at)
            self.buffer = b""
            self.send()


async def load(port: int, digests: Iterator[bytes]) -> tuple[float, list[float]]:
    """Asks for each digest once; returns the seconds in all and for each."""
    loop = asyncio.get_running_loop()
    requests = (
        b"GET /v1/resolve/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % digest_encode(digest).encode() for digest in digests
    )
    took: list[float] = []
    futures = []
    begin = time.perf_counter()
    for _ in range(CONNECTIONS):
        done = loop.create_future()
        await loop.create_connection(lambda done=done: Connection(requests, took, done), "127.0.0.1", port)  # type: ignore[misc]
        futures.append(done)
    await asyncio.gather(*futures)
    return time.perf_counter() - begin, took


def single(name: str, port: int, digests: list[bytes], count: int) -> float:
    """Measures `count` single look-ups and prints them; returns requests per second."""
    asyncio.run(load(port, islice(cycle(digests), min(count, 500))))
    seconds, took = asyncio.run(load(port, islice(cycle(digests), count)))
    rate = count / seconds
    cuts = statistics.quantiles(took, n=100)
    print(f"{name:32} {rate:8.0f} requests/s   p50 {cuts[49] * 1000:6.1f} ms   p99 {cuts[98] * 1000:6.1f} ms")
    return rate


def batches(client: RegistryClient, name: str, digests: list[bytes], rounds: int) -> None:
    """Measures batches of 10,000 digests and prints the best."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        found = sum(bool(answer["claims"]) for answer in client.resolve(digests))
        best = min(best, time.perf_counter() - begin)
    print(f"{name:32} {len(digests) / best:8.0f} digests/s    {found} of {len(digests)} known")


def main(files: int, count: int) -> None:
    """Fills a registry and measures."""
    key = signing_key("bench")
    pictures = [b"picture %d" % n for n in range(files)]
    with tempfile.TemporaryDirectory() as folder, process("--serve", folder) as port:
        url = f"http://127.0.0.1:{port}"
        with RegistryClient(url) as client:
            client.authenticate(key, key.did, ("publish",))
            library = make_library(key, client.policy().origin, pictures)
            begin = time.perf_counter()
            client.publish(library.manifest, library.terms, library.text)
            print(f"{'publishing ' + str(files) + ' files':32} {time.perf_counter() - begin:8.1f} s")
            known = [library.digest(n) for n in range(files)]
            unknown = [hashlib.sha256(b"unknown %d" % n).digest() for n in range(count)]
            fresh = [hashlib.sha256(b"fresh %d" % n).digest() for n in range(BATCH)]
            bare = Path(folder) / "body.json"
            bare.write_bytes(client._read("GET", f"/v1/resolve/{digest_encode(known[0])}"))
            with process("--bare", str(bare)) as bare_port:
                base = single("bare FastAPI route, same bytes", bare_port, known[:HOT], count)
                rates = {
                    "again": single("resolve, known, again", port, known[:HOT], count),
                    "new": single("resolve, known, new", port, known, min(count, files)),
                    "unknown": single("resolve, unknown, new", port, unknown, count),
                }
            print(
                "ratio to the bare route         "
                + "   ".join(f"{name} {rate / base:.2f}" for name, rate in rates.items())
            )
            for share, name in ((0, "all unknown"), (2, "half known"), (1, "all known")):
                asked = [known[n % files] if share and n % share == 0 else fresh[n] for n in range(BATCH)]
                batches(client, f"POST /v1/resolve, {name}", asked, rounds=2)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", folder_name, port_text]:
            serve(Path(folder_name), int(port_text))
        case ["--bare", file_name, port_text]:
            serve_bare(Path(file_name).read_bytes(), int(port_text))
        case _:
            parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
            parser.add_argument("--files", type=int, default=10_000, help="files in the library")
            parser.add_argument("--requests", type=int, default=10_000, help="single look-ups in each line")
            options = parser.parse_args()
            main(options.files, options.requests)
