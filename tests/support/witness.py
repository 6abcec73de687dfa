"""Our own witness for tests, over real HTTP on 127.0.0.1: in a thread, or as a process ended by its own id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
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
from tests.support.process import COMMAND, environment, free_port

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


class WitnessProcess:
    """``trainmark log witness`` over `folder`, on one port for as long as the object lives, started as often as
    wanted; it follows the logs with these vkeys."""

    def __init__(self, folder: Path, name: str, logs: Sequence[str]) -> None:
        self.folder = folder
        self.name = name
        self.port = free_port()
        self.logs = folder.with_name(f"{folder.name}.logs")
        self.logs.write_text("".join(f"log {log}\n" for log in logs) + "quorum none\n")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def vkey(self) -> str:
        """Its public key, as it wrote it down."""
        return (self.folder / "witness.vkey").read_text().strip()

    @property
    def output(self) -> Path:
        """What it wrote, all its lives together."""
        return self.folder.with_name(f"{self.folder.name}.output")

    def start(self) -> None:
        """Starts the process and waits until it answers."""
        options = ("--name", self.name, "--logs", self.logs, "--dir", self.folder, "--port", self.port)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "log", "witness", *map(str, options), "--no-passphrase"],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the witness ended: {self.output.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.01)
        raise RuntimeError(f"the witness did not start: {self.output.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends the process at once, whatever it is doing."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Lets the process end by itself, if it runs."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(START_SECONDS)
