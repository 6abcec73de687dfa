"""``trainmark serve``: a registry on this machine."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.registry_settings import read_settings, registry_packages
from ledger.errors import BackendError, ConflictError, MalformedError
from ledger.files import shown_path

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.settings import Settings

_logger = logging.getLogger(__name__)


@click.command("serve")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Database, tiles, blobs, chain and keys.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--issuer", help="Public URL of the registry.")
@click.option("--read-only", is_flag=True, default=None, help="Only read what another process writes.")
@click.option("--dev", is_flag=True, default=None, help="Allow embedded chain and plain keys for a public one.")
def serve(**given: Any) -> None:
    """Run a registry: log, anchors, pages and HTTP API.  Settings: TRAINMARK_… or trainmark.toml; options win."""
    with registry_packages():
        import uvicorn  # noqa: F401

        from api.app import create_app
        from api.composition import stand_by
        from api.logs import configure
        from api.metrics import exposed
    settings = read_settings(given)
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        raise MalformedError(f"{shown_path(settings.data_dir)} is not a folder; name another one", field="--data-dir")
    made = create_app(settings)
    configure(settings.log, settings.least_level)
    with exposed(made.state.metrics, settings.metrics_host, settings.metrics_port):
        with made.state.metrics.standing_by():
            stand_by(settings)
        _serve(settings, made)


def _serve(settings: Settings, made: FastAPI) -> None:
    """Serves an application at its address until the process is told to end."""
    app = _Starting(made)
    with _bound(settings.host, settings.port) as listening:
        port = listening[0].getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        ready = f"http://{host}:{port} answers; data in {settings.data_dir}; Ctrl-C ends"
        say = _logger.info if settings.log == "json" else partial(click.echo, err=True)
        server = _server(app, settings.stop_seconds, ready, say)
        made.state.is_ending = lambda: server.should_exit
        # A server ends in order and then raises the signal that ended it once more, which is no failure.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.run(listening)
        except SystemExit:
            if app.failure is None:
                raise
            raise _with_way_out(app.failure) from None


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Holds the addresses of `host`, on which nobody listens yet.

    Raises:
        BackendError: ``cannot-listen``: they are in use, or not this machine's.
    """
    with contextlib.ExitStack() as stack:
        listening = []
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                # With its protocol number: without it asyncio would leave Nagle's delays on.
                one = stack.enter_context(socket.socket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(address)
                listening.append(one)
        except OSError as e:
            raise BackendError(
                f"cannot listen on port {port} of {host}: {str(e.strerror).lower()}; "
                "choose another with --port (or --host)",
                code="cannot-listen",
            ) from e
        yield listening


def _server(app: ASGIApp, stop_seconds: int, ready: str, say: Callable[[str], None]) -> uvicorn.Server:
    """Returns a server that says when it answers and when it has ended.

    When it is told to end it listens no longer, gives what has begun `stop_seconds` to be finished, and closes the
    application, which writes what the log was given.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say(ready)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            say("the registry has ended")

    return Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=stop_seconds))


def _with_way_out(failure: Exception) -> Exception:
    if isinstance(failure, ConflictError) and failure.code == "second-writer":
        return ConflictError(
            f"{failure.message}: end that one, or name another folder with --data-dir", code=failure.code
        )
    return failure


class _Starting:
    """The server's application, which keeps the reason why it did not start instead of printing a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_traceback(message: Message) -> None:
            await send({**message, "message": ""} if message["type"] == "lifespan.startup.failed" else message)

        if scope["type"] != "lifespan":
            return await self._app(scope, receive, send)
        try:
            await self._app(scope, receive, send_without_traceback)
        except Exception as e:
            self.failure = e
            raise
