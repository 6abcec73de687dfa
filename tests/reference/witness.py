"""Both sides of C2SP tlog-witness over HTTP, straight from that document: a log that asks, and a witness that cosigns.

``Log`` keeps its leaf hashes in memory and can tell two stories; ``ask`` sends one request and gives back the raw
answer.  ``Witness`` keeps its state in memory and answers with every status code of the document.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import merkle, note
from .refuted import RefutedError

SIZE_TYPE: Final = "text/x.tlog.size"


class Key:
    """An Ed25519 key that signs notes under `name`, as a log (type 01) or a witness (type 04)."""

    def __init__(self, name: str, kind: int) -> None:
        self.name, self.kind = name, kind
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{kind} {name}".encode()).digest())
        self.public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def vkey(self) -> str:
        """``name+keyid+base64(type || public)``."""
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{note.key_id(self.name, self.kind, self.public).hex()}+{encoded}"

    def line(self, text: str, at: int | None = None) -> str:
        """A signature line over `text`; a witness's says the time `at`."""
        if self.kind == note.WITNESS_KEY:
            assert at is not None
            raw = at.to_bytes(8, "big") + self._private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        else:
            raw = self._private.sign(text.encode())
        key_id = note.key_id(self.name, self.kind, self.public)
        return f"\u2014 {self.name} {base64.b64encode(key_id + raw).decode()}\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The three lines of a checkpoint."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def request_body(old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
    """The body of ``add-checkpoint``."""
    lines = "".join(base64.b64encode(hash_).decode() + "\n" for hash_ in proof)
    return f"old {old}\n{lines}\n{checkpoint}".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """A raw answer."""

    status: int
    media_type: str
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    """Further ones; of an answer that was read, none."""


def post(url: str, body: bytes, path: str = "/add-checkpoint", method: str = "POST") -> Answer:
    """Sends a body to `path` below the submission prefix `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request(method, parts.path + path, body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheader("Content-Type", ""), answer.read())
    finally:
        connection.close()


@dataclass
class Log:
    """A log named `origin`; `leaves` are what it says to hold."""

    origin: str
    leaves: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """What signs its checkpoints."""
        return Key(self.origin, note.LOG_KEY)

    def text(self, size: int) -> str:
        """The text of its checkpoint at `size`."""
        return checkpoint_text(self.origin, size, merkle.root(self.leaves[:size]))

    def checkpoint(self, size: int) -> str:
        """Its signed checkpoint at `size`."""
        text = self.text(size)
        return f"{text}\n{self.key.line(text)}"

    def proof(self, old: int, size: int) -> list[bytes]:
        """The consistency proof from `old` to `size`."""
        if old in (0, size):
            return []
        return merkle.proof(old, [merkle.leaf_hash(leaf) for leaf in self.leaves[:size]])

    def ask(self, url: str, old: int, size: int) -> Answer:
        """Asks a witness for its cosignature."""
        return post(url, request_body(old, self.proof(old, size), self.checkpoint(size)))

    def cosignature(self, answer: Answer, size: int, vkey: str) -> int:
        """The time of the witness's true cosignature in an answer 200; other lines are ignored.

        Raises:
            RefutedError: there is none.
        """
        key = note.parse_vkey(vkey)
        parsed = note.parse_note(self.text(size).encode() + b"\n" + answer.body)
        note.verify_note(parsed, [key])
        line = next(s for s in parsed.signatures if (s.name, s.key_id) == (key.name, key.key_id))
        return int.from_bytes(line.signature[:8], "big")


@dataclass
class Witness:
    """A witness of the logs with these keys; `requests` are the bodies it got."""

    name: str
    logs: Sequence[str]
    seen: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    now: Callable[[], int] = lambda: int(time.time())
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> Key:
        """What it cosigns with."""
        return Key(self.name, note.WITNESS_KEY)

    def answer(self, body: bytes) -> Answer:
        """What ``add-checkpoint`` answers."""
        with self._lock:
            self.requests.append(body)
            return self._answer(body)

    def _answer(self, body: bytes) -> Answer:
        head, _, rest = body.partition(b"\n\n")
        try:
            parsed = note.parse_note(rest)
            checkpoint = note.parse_checkpoint(parsed.text)
            first, *lines = head.decode("ascii").split("\n")
            word, _, number = first.partition(" ")
            if word != "old" or str(int(number)) != number or len(lines) > 63:
                return _text(400, "not a request")
            old, proof = int(number), [base64.b64decode(line, validate=True) for line in lines]
        except (RefutedError, ValueError):
            return _text(400, "not a request")
        keys = [key for key in map(note.parse_vkey, self.logs) if key.name == checkpoint.origin]
        if not keys:
            return _text(404, "unknown log")
        try:
            note.verify_note(parsed, keys)
        except RefutedError:
            return _text(403, "no known signature")
        if old > checkpoint.size:
            return _text(400, "the old size is beyond the new one")
        size, root = self.seen.get(checkpoint.origin, (0, merkle.tree([])))
        if old != size:
            return Answer(409, SIZE_TYPE, f"{size}\n".encode())
        if checkpoint.size == size and checkpoint.root != root:
            return _text(409, "another root")
        try:
            if size:
                merkle.verify_consistency(size, checkpoint.size, root, checkpoint.root, proof, "consistency")
            elif proof:
                return _text(422, "a proof from nothing")
        except RefutedError:
            return _text(422, "the proof is wrong")
        self.seen[checkpoint.origin] = (checkpoint.size, checkpoint.root)
        return Answer(200, "text/plain; charset=utf-8", self.key.line(parsed.text, self.now()).encode())


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


@contextmanager
def serving(answer: Callable[[bytes], Answer], port: int = 0) -> Iterator[str]:
    """Serves what `answer` says to every POST of ``/add-checkpoint``; gives the submission prefix."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            given = answer(body) if self.path == "/prefix/add-checkpoint" else _text(404, "not here")
            self.send_response(given.status)
            self.send_header("Content-Type", given.media_type)
            self.send_header("Content-Length", str(len(given.body)))
            for name, value in given.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # whoever asked went away

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/prefix"
        finally:
            server.shutdown()
            thread.join()
