"""The application: one registry over HTTP, opened when the server starts and closed when it stops.

``create_app`` makes it out of settings and opens nothing yet.  One process serves one data folder: the log has one
writer.  Errors are problem details everywhere; the limits of requests are in :mod:`api.middleware`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool

from api import web
from api.answers import Answers
from api.bodies import Bodies
from api.composition import open_reader, open_registry
from api.metrics import Metrics
from api.middleware import Limits, SecurityHeaders
from api.observing import Observing
from api.problems import add_problem_handlers
from api.quota import Quota
from api.routes import access, log, operation, publishing, reading, resolving, tokens
from api.schemas import EXAMPLES, read_by_routes
from api.settings import Settings, check_settings
from api.writing import Writing
from ledger.assertion import TOKEN_PATH

COSTS: Final = {
    TOKEN_PATH: 10,
    "/v1/manifests": 10,
    "/v1/statements": 10,
    "/v1/tokens": 10,
    "/v1/reviews": 20,
    "/v1/proofs/": 5,
    "/v1/tokens/": 5,
}
"""Units of the address quota, by path or by the folder a path is in; everything else costs one."""

DESCRIPTION: Final = """\
Who made this file, may a model be trained on it, and how is that proved.

Reads need no account. Writes need a bearer token from `/oauth/token`, given for an assertion signed by a key of the
party that speaks. Every error is a problem detail (RFC 9457) with a stable `code`. Everything that counts is in the
log, whose tiles and checkpoint are served here as static files; a proof bundle is verified without this server.
"""


def create_app(settings: Settings) -> FastAPI:
    """Returns the application for `settings`; its lifespan opens and closes the registry.

    Raises:
        MalformedError, RefusedError: settings that do not go together, or must not be used.
    """
    check_settings(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = open_reader(settings) if settings.read_only else open_registry(settings)
        running = await run_in_threadpool(opened.__enter__)
        try:
            app.state.running = running
            app.state.answers = Answers(running)
            app.state.resolvers = CapacityLimiter(resolving.RESOLVERS)
            app.state.writing = Writing(Bodies(settings.data_dir), lambda: app.state.is_ending())
            running.start()
            with app.state.metrics.watching(running):
                yield
        finally:
            await run_in_threadpool(opened.__exit__, None, None, None)

    app = FastAPI(
        title="Trainmark",
        description=DESCRIPTION,
        version=version("trainmark"),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.is_ending = lambda: False  # whoever serves it knows
    app.state.metrics = Metrics()
    app.state.address_quota = Quota(settings.address_per_minute)
    app.state.subject_quota = Quota(settings.subject_per_minute)
    add_problem_handlers(app, web.problem_page)
    for router in (
        resolving.router,
        publishing.router,
        access.router,
        reading.router,
        tokens.router,
        log.router,
        operation.router,
        web.router,
    ):
        app.include_router(router)
    caps = {
        "/v1/manifests": settings.max_manifest_bytes + publishing.ENVELOPE_BYTES,
        "/v1/statements": publishing.MAX_STATEMENTS_BYTES,
        "/v1/resolve": resolving.MAX_BATCH_BYTES,
        "/v1/tokens": tokens.MAX_REQUEST_BYTES,
    }
    app.add_middleware(Limits, caps=caps, quota=app.state.address_quota, costs=COSTS)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observing, observer=app.state.metrics.request)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Adds to OpenAPI what FastAPI cannot know: problem details and how tokens are got."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                license_info=app.license_info,
                routes=app.routes,
            )
            schemas = schema["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):  # a bad parameter is a problem with status 400
                schemas.pop(name, None)
            for operation in (o for methods in schema["paths"].values() for o in methods.values()):
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
            schemas.update(read_by_routes())
            for name, example in EXAMPLES.items():
                schemas[name]["examples"] = [example]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
