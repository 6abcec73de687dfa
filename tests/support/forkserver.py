"""``trainmark`` processes without the second that its imports take: forks of a parent that has done them.

The parent (this module as a program) has imported what a registry imports and opened nothing: no thread, no event
loop, no socket, no database.  A child runs the very same ``ledger.cli.main`` as a process of its own, with its own
folder, environment and output, and is killed by its id; what the system does then is what it does to any other process.
The parent waits for a child only when it is asked to, so until then no other process gets the child's id.

One request is one line of JSON on standard input, one answer a line on standard output: ``{"arguments", "folder",
"env", "output", "dies_at"}`` is answered with the child's id, ``{"wait"}`` with its exit code, ``null`` while it runs.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ledger.cli import main
from tests.support import ROOT, crashing

POLL_SECONDS: Final = 0.005


class ForkServer:
    """The parent, alive as long as the ``with`` block."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forkserver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._parent.__exit__(kind, error, at)

    def spawn(
        self, arguments: Sequence[str], folder: Path, env: Mapping[str, str], output: Path, dies_at: int
    ) -> Forked:
        """Starts ``trainmark`` with `arguments`; `dies_at` as in :mod:`tests.support.crashing`, 0 for not at all."""
        wanted = {"arguments": list(arguments), "folder": str(folder), "env": dict(env), "output": str(output)}
        return Forked(self, self.ask({**wanted, "dies_at": dies_at}))

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Sends one request and returns its answer."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps(request), file=self._parent.stdin, flush=True)
        return json.loads(self._parent.stdout.readline())


class Forked:
    """A child: of ``subprocess.Popen``, as much as a server's test needs."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal's number; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """Waits for the end and returns the exit code.

        Raises:
            TimeoutExpired: it still runs.
        """
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tells it to end."""
        self.send_signal(signal.SIGTERM)


def _be_forked() -> list[str]:
    """Answers requests until there are no more; returns only in a child: the arguments of its command."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                return _become(request)
        print(json.dumps(answer), flush=True)
    raise SystemExit(0)


def _become(request: dict[str, Any]) -> list[str]:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for opened, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(opened, number)
    os.closerange(3, max(output, nothing) + 1)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    if request["dies_at"]:
        crashing.die_at(request["dies_at"])
    return list(request["arguments"])


def _import_all() -> None:
    import uvicorn
    import uvicorn.protocols.http.auto  # noqa: F401

    import anchors.embedded  # noqa: F401
    import api.app  # noqa: F401
    import ledger.cli.serving  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "a thread does not outlive a fork; whatever it held would be held"
    gc.freeze()  # a collection in a child need not copy what they share


if __name__ == "__main__":
    _import_all()
    sys.exit(main(_be_forked()))
