"""A real registry for tests: uvicorn on a free port of 127.0.0.1, in a thread, over a temporary folder.

``running_server(folder)`` gives its URL, settings and the open registry; the same folder again is the same registry
started anew.  Anchoring is often and quotas are wide unless a test says otherwise.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.composition import Running
from api.settings import Settings
from ledger.registry.service import Registry

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A registry that is being served at `url`."""

    url: str
    settings: Settings
    app: FastAPI

    @property
    def running(self) -> Running:
        """The open registry behind it."""
        running: Running = self.app.state.running
        return running

    @property
    def registry(self) -> Registry:
        """The registry that it writes."""
        return self.running.writer.registry


@contextmanager
def running_server(folder: Path, **changed: Any) -> Iterator[Server]:
    """Serves the registry in `folder` until the block ends; `changed` are settings."""
    with socket.create_server(("127.0.0.1", changed.pop("port", 0))) as listening:
        port = listening.getsockname()[1]
        values: dict[str, Any] = {
            "data_dir": folder,
            "port": port,
            "anchor_interval": 0.2,
            "address_per_minute": 1_000_000,
            "subject_per_minute": 1_000_000,
            **changed,
        }
        settings = Settings(**values)
        app = create_app(settings)
        config = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        app.state.is_ending = lambda: server.should_exit
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="uvicorn")
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the server did not start")
                time.sleep(0.01)
            yield Server(settings.public_url, settings, app)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server did not stop"
