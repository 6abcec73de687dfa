"""Templates and static files of the pages: read once when the server starts, everything escaped.

Static files are served under ``/static/<version>/``, where the version is the digest of them all, so browsers may keep
them for ever; a module asks for its neighbors under the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.web import words
from ledger.encoding import sha256

_HERE: Final = Path(__file__).parent
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

STATIC: Final[Mapping[str, tuple[bytes, str]]] = {
    path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in sorted((_HERE / "static").iterdir())
}
"""What is served, by name: (bytes, media type); nothing else can be asked for."""

VERSION: Final = sha256(b"".join(name.encode() + b"\0" + data for name, (data, _) in STATIC.items())).hex()[:12]

_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters.update(moment=words.moment, amount=words.amount, ordinal=words.ordinal)
_ENVIRONMENT.globals.update(
    static=f"/static/{VERSION}",
    count=words.count,
    state_words=words.state_words,
    anchor_words=words.anchor_words,
    kinds=words.KINDS,
    identities=words.IDENTITIES,
)


def page(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> Response:
    """Renders a page."""
    text = _ENVIRONMENT.get_template(template).render(values)
    return Response(text, status, {"Cache-Control": "no-cache", **(headers or {})}, "text/html; charset=utf-8")
