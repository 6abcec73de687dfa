"""The command line for tests: called in this process, or as processes of their own, ended by their own id."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.cli import main
from tests.support import ROOT
from tests.support.forkserver import Forked, ForkServer

COMMAND: Final = (sys.executable, "-m", "ledger.cli")
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0


def environment(changed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment without what it says to Trainmark, so that the checkout is what runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINMARK_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(changed or {})}


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The answer of a command that was given ``--json``: one document and nothing else."""
        return json.loads(self.out)


def call(*arguments: object, answers: str = "") -> Said:
    """Runs ``trainmark`` with `arguments` in this process and its current folder; `answers` are typed in."""
    out, err = io.StringIO(), io.StringIO()
    typed, sys.stdin = sys.stdin, io.StringIO(answers)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    finally:
        sys.stdin = typed
    return Said(code, out.getvalue(), err.getvalue())


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes] | Forked, port: int, output: Path) -> None:
    """Waits until `process`, which writes to `output`, takes connections on a port of 127.0.0.1.

    Raises:
        RuntimeError: it ended, or took too long; the message is what it wrote.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"the server did not start: {output.read_text()[-2000:]}")


class ServerProcess:
    """``trainmark serve`` over `folder`, on one port for as long as the object lives, started as often as wanted.

    With `forks` its processes are forks of that parent, which start sooner; otherwise each is a new Python.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, forks: ForkServer | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.env = {
            "TRAINMARK_ANCHOR_INTERVAL": "0.2",
            "TRAINMARK_ADDRESS_PER_MINUTE": "1000000",
            "TRAINMARK_SUBJECT_PER_MINUTE": "1000000",
            **(env or {}),
        }
        self.forks = forks
        self.process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> Path:
        """What it wrote, all its lives together."""
        return self.folder.with_name(f"{self.folder.name}.output")

    def spawn(self, dies_at: int = 0) -> None:
        """Starts the process and waits for nothing; a fork may die at a step (:mod:`tests.support.crashing`)."""
        arguments = ["serve", "--data-dir", str(self.folder), "--port", str(self.port)]
        folder, env = self.folder.parent, environment(self.env)
        if self.forks is not None:
            self.process = self.forks.spawn(arguments, folder, env, self.output, dies_at)
            return
        assert not dies_at
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def start(self) -> None:
        """Starts the process and waits until it answers."""
        self.spawn()
        if not self.answers():
            raise RuntimeError("the server was killed")

    def answers(self) -> bool:
        """Waits until the process answers; returns False if it was killed before.

        Raises:
            RuntimeError: it ended by itself, or does not answer in time.
        """
        assert self.process is not None
        try:
            wait_for(self.process, self.port, self.output)
        except RuntimeError:
            if self.process.poll() != -signal.SIGKILL:
                raise
            return False
        return True

    def kill(self) -> None:
        """Ends the process at once, whatever it is doing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Lets the process end by itself, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


@contextlib.contextmanager
def serving(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """Serves the registry in `folder` from a process of its own until the block ends."""
    server = ServerProcess(folder, env)
    try:
        server.start()
        yield server
    finally:
        server.stop()
