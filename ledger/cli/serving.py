"""``trainmark serve``: a registry on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ledger.errors import MalformedError


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
        from api.settings import Settings
    except ModuleNotFoundError as e:
        raise click.UsageError(f"the server needs more packages ({e.name}): pip install 'trainmark[registry]'") from e
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as e:
        first = e.errors()[0]
        raise MalformedError(str(first["msg"]), field=".".join(str(part) for part in first["loc"])) from e
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False)
