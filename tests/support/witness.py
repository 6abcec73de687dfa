"""Our own witness for tests, over real HTTP: uvicorn on a free port of 127.0.0.1, in a thread."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ledger.keys import SigningKey
from ledger.library.creator import load_key, save_key
from ledger.note import parse_vkey
from ledger.witness.server import Witness, WitnessApp, open_witness

START_SECONDS = 20.0


def witness_key(path: Path) -> SigningKey:
    """Reads the key of a witness, or makes one."""
    return load_key(path) if path.exists() else save_key(path, os.urandom(32), None, os.urandom, no_passphrase=True)


@dataclass(frozen=True, slots=True)
class Served:
    """A witness that is being served at `url`."""

    url: str
    witness: Witness


@contextmanager
def running_witness(
    folder: Path,
    logs: Sequence[str],
    name: str = "witness.example/w1",
    clock: Callable[[], int] = lambda: int(time.time()),
    port: int = 0,
    body_seconds: float = 20.0,
) -> Iterator[Served]:
    """Serves the witness in `folder`, which follows the logs with these vkeys, until the block ends."""
    with (
        open_witness(folder, name, [parse_vkey(log) for log in logs], clock, witness_key) as witness,
        socket.create_server(("127.0.0.1", port)) as listening,
    ):
        app = WitnessApp(witness, body_seconds)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="witness")
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the witness did not start")
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", witness)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the witness did not stop"
