"""Logs as files, written from their leaves by nothing that writes one elsewhere; and a server of them, or of lies.

``write_log`` lays a log out as docs/format.md, section 4, says.  ``serving`` is a plain HTTP server over a folder,
whose answers a test may replace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ledger.merkle import Tree, leaf_hashes
from tests.reference.tiles import WIDTH, tile_path

Answer = Callable[[BaseHTTPRequestHandler], None]


def write_log(folder: Path, leaves: Sequence[bytes], note: bytes) -> Tree:
    """Writes all tiles of a log, and the checkpoint; what lies there of a smaller one stays.  Returns its tree."""
    tree = Tree(leaf_hashes(leaves))
    for level in range(0, len(tree.levels), 8):
        hashes = tree.levels[level]
        for at in range(0, len(hashes), WIDTH):
            part = hashes[at : at + WIDTH]
            _write(folder / tile_path(level // 8, at // WIDTH, len(part)), b"".join(part))
    for at in range(0, len(leaves), WIDTH):
        chosen = leaves[at : at + WIDTH]
        data = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in chosen)
        _write(folder / tile_path("entries", at // WIDTH, len(chosen)), data)
    _write(folder / "checkpoint", note)
    return tree


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def flip(path: Path, at: int = 0, bit: int = 0) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@dataclass
class Serving:
    """A server at `url`; `answers` are given instead of what lies in the folder."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def status(code: int) -> Answer:
    """An answer that is a status and nothing else."""
    return lambda request: _send(request, code, b"")


def content(data: bytes) -> Answer:
    """An answer that is these bytes."""
    return lambda request: _send(request, 200, data)


def endless(request: BaseHTTPRequestHandler) -> None:
    """An answer that never ends."""
    request.send_response(200)
    request.end_headers()
    with suppress(OSError):
        while True:
            request.wfile.write(b"A" * 65536)


def _send(request: BaseHTTPRequestHandler, code: int, data: bytes) -> None:
    request.send_response(code)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """Serves a folder's files on 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            served.asked.append(path)
            file = folder / path.lstrip("/")
            if path in served.answers:
                served.answers[path](self)
            elif file.is_file():
                _send(self, 200, file.read_bytes())
            else:
                _send(self, 404, b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Serving(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
