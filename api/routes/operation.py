"""How the registry does, for whoever runs it.

``/livez`` tells whoever would end the process whether it answers, ``/readyz`` a load balancer whether to send work
here, ``/healthz`` people what is wrong.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import schemas
from api.routes.support import Registry, answer
from ledger.errors import BackendError

router = APIRouter(tags=["operation"])
UNCACHED = "no-store"


@router.get("/livez", response_model=schemas.Alive)
async def alive() -> Response:
    """Whether the process answers: always 200. Ask with a time limit."""
    return answer({"status": "ok"}, cache=UNCACHED)


@router.get("/readyz", response_model=schemas.Ready, responses=schemas.problems(503))
def ready(request: Request, running: Registry) -> Response:
    """Whether the registry can be read and written: 503 while it ends (`shutting-down`), while its log takes nothing
    (`log-stopped`, `quorum`), and while its database does not answer (`unavailable` or what else is wrong with it), or,
    of a process that only reads, while it cannot follow what is published."""
    if request.app.state.is_ending():
        raise BackendError("the registry is shutting down", code="shutting-down")
    broken = running.registry.log.broken
    if broken is not None:
        raise broken
    if running.writing is None and running.beside.trouble is not None:
        raise BackendError(running.beside.trouble, code="unavailable")
    running.registry.catalog.anchors(None, 1)
    return answer({"status": "ready"}, cache=UNCACHED)


@router.get("/healthz", response_model=schemas.Health, responses=schemas.problems(503))
async def health(running: Registry) -> Response:
    """Whether the registry runs: 503 when its log has stopped; `warning` says what is wrong with anchoring, and
    which witness contradicts the log, or is null."""
    broken = running.registry.log.broken
    if broken is not None:
        raise broken
    value = {
        "status": "ok",
        "size": running.registry.log.head.size,
        "warning": running.warning,
    }
    return answer(value, cache=UNCACHED)
