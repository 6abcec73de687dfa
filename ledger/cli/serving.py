"""``trainmark serve``: a registry on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.errors import MalformedError, shown

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@click.command("serve")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Database, tiles, blobs, chain and keys.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--issuer", help="Public URL of the registry.")
@click.option("--dev", is_flag=True, default=None, help="Allow embedded chain and plain keys for a public one.")
def serve(**given: Any) -> None:
    """Run a registry: log, anchors, pages and HTTP API.  Settings: TRAINMARK_… or trainmark.toml; options win."""
    try:
        import uvicorn
        from pydantic import ValidationError

        from api.app import create_app
        from api.composition import stand_by
        from api.settings import SETTINGS_FILE, Settings
    except ModuleNotFoundError as e:
        raise click.UsageError(f"the server needs more packages ({e.name}): pip install 'trainmark[registry]'") from e
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as e:
        first = e.errors()[0]
        name = str(first["loc"][0])
        known = Settings.model_fields.get(name)
        wanted = "there is no such setting" if known is None else f"{first['msg']}. {known.description}"
        raise MalformedError(wanted, field=name) from e
    except ValueError as e:  # before any setting was read
        raise MalformedError(f"is not TOML in UTF-8: {shown(str(e))}", field=SETTINGS_FILE) from e
    app = _Starting(create_app(settings))
    stand_by(settings)
    try:
        uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", access_log=False)
    except SystemExit:
        if app.failure is not None:
            raise app.failure from None
        raise


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
