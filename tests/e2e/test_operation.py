"""Alive, ready, and the end: what a registry tells whoever runs it, and how it stops while it is being used."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from ledger.errors import BackendError, ConflictError
from tests.e2e.test_api_uploads import bearer, begin, head
from tests.e2e.test_postgres import check_history
from tests.support.postgres import Cluster
from tests.support.process import START_SECONDS, ServerProcess
from tests.support.publishing import Publisher
from tests.support.server import Server, running_server

PUBLISHERS = 4
LIMIT_SECONDS = 2


def state(server: Server, path: str) -> tuple[int, str]:
    """Returns status and code, or state, of an answer that nobody may keep."""
    answer = httpx.get(f"{server.url}{path}")
    assert answer.headers["cache-control"] == "no-store"
    value = answer.json()
    return answer.status_code, value.get("code", value["status"])


def test_alive_and_ready(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        assert (state(server, "/livez"), state(server, "/readyz")) == ((200, "ok"), (200, "ready"))
        is_told_to_end = server.app.state.is_ending
        server.app.state.is_ending = lambda: True
        assert (state(server, "/livez"), state(server, "/readyz")) == ((200, "ok"), (503, "shutting-down"))
        server.app.state.is_ending = is_told_to_end
        server.registry.log.stop(ConflictError("the chain holds another history", code="log-disagreement"))
        assert (state(server, "/livez"), state(server, "/readyz")) == ((200, "ok"), (503, "log-stopped"))


def test_without_its_database_it_is_alive_and_not_ready(postgres: Cluster, tmp_path: Path) -> None:
    database = postgres.new_database()
    with running_server(tmp_path / "data", database=postgres.url(database)) as server:
        assert state(server, "/readyz") == (200, "ready")
        postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgres.end_connections(database)
        assert (state(server, "/livez"), state(server, "/readyz")) == ((200, "ok"), (503, "unavailable"))
        postgres.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


def uploading(server: ServerProcess, name: str) -> socket.socket:
    """Begins a write, of whose body one byte is missing."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    begin(connection, head("/v1/statements", bearer(server.url, name), 2))
    connection.sendall(b"{")
    return connection


def check_refused(connection: socket.socket, words: bytes) -> None:
    """The answer is 503 with these words, and the connection is closed behind it."""
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting-down"' in answer
    assert words in answer


def test_told_to_end_under_load_it_ends_in_order(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", {"TRAINMARK_STOP_SECONDS": str(LIMIT_SECONDS)})
    server.start()
    try:
        publishers = [Publisher(server.url, n) for n in range(PUBLISHERS)]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            assert publisher.first.wait(START_SECONDS)
        # Two writes that were begun before and whose bodies come after: one in time, the other never.
        with uploading(server, "in time") as in_time, uploading(server, "never") as never:
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            time.sleep(LIMIT_SECONDS / 4)
            in_time.sendall(b"}")
            check_refused(in_time, b"this was not begun")
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", server.port), timeout=1)
            check_refused(never, b"it may have been done")
            assert server.process.wait(30) == 0
        assert LIMIT_SECONDS <= time.monotonic() - began < LIMIT_SECONDS + 10
        for publisher in publishers:
            publisher.join(60)
            assert isinstance(publisher.ended_by, BackendError), publisher.ended_by
        said = server.output.read_text().splitlines()
        assert said[-1] == "the registry has ended"
        assert not any("Traceback" in line for line in said)
        server.start()
        acknowledged = {
            digest: leaf for publisher in publishers for digest, leaf in publisher.history.acknowledged.items()
        }
        check_history(server, acknowledged, [note for publisher in publishers for note in publisher.history.notes])
    finally:
        server.stop()
