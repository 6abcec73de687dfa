"""The demo's registry: a process of its own on a free port of this machine, stopped by its process id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from ledger.errors import BackendError

START_SECONDS: Final = 60

_SERVE: Final = (sys.executable, "-m", "ledger.cli", "serve")


class Server:
    """A registry process on a free port of this machine; started and stopped as often as the story wants it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the registry and waits until it answers.

        Raises:
            BackendError: it ended, or does not answer; its last words are in ``server.log``.
        """
        environment = {**os.environ, "TRAINMARK_ANCHOR_INTERVAL": "0.5"}
        with Path("server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *_SERVE,
                    "--data-dir",
                    str(self.data_dir),
                    "--port",
                    str(self.port),
                ],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BackendError(f"the registry ended: {Path('server.log').read_text()[-500:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise BackendError("the registry did not start")

    def stop(self) -> None:
        """Stops the registry, if it runs, and waits until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
