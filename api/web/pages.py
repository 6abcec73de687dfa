"""The pages: the question at ``/``, a manifest at ``/m/<leaf>``, a license at ``/l/<digest>``; problems for people.

Each page takes one unit of the address quota, like a call of the API.  No file is ever sent here: the browser hashes
it, and asks for ``/?digest=…``, which works without scripts as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.answers import Answers, license_summary, public_records
from api.composition import Running
from api.problems import Problem, ProblemError, too_many
from api.quota import Quota, network_of
from api.routes.reading import LeafPath, dataset_summary
from api.routes.support import IMMUTABLE, Answering, DigestPath, Registry
from api.web.rendering import STATIC, VERSION, page
from api.web.words import Offer, decide, others
from ledger.encoding import digest_decode, digest_encode
from ledger.errors import MalformedError, NotFoundError
from ledger.library.licenses import Line, explain
from ledger.manifests import parse_entry
from ledger.terms import USES

NEWEST: Final = 6
ENTRIES: Final = 50
MAX_OFFERS: Final = 20
"""Claims on one page; the API gives all."""
MAX_WITH_USES: Final = 5
"""With more claims, the uses are on the licenses' pages only."""

_PASTED: Final = re.compile(r"(?:sha-?256:)?([0-9a-f]{64})")


def take_quota(request: Request) -> None:
    """Counts a page as one call of the address that asks for it."""
    quota: Quota = request.app.state.address_quota
    wait = quota.take(network_of(request.client.host if request.client else ""))
    if wait:
        raise ProblemError(too_many("too many requests from this address", wait))


router = APIRouter(include_in_schema=False)
_pages = APIRouter(include_in_schema=False, dependencies=[Depends(take_quota)])


@router.get("/static/{version}/{name}")
async def static(version: str, name: str) -> Response:
    """A file of the pages; under another version than today's it is not kept."""
    if name not in STATIC:
        raise NotFoundError("no such file")
    data, media_type = STATIC[name]
    return Response(data, 200, {"Cache-Control": IMMUTABLE if version == VERSION else "no-cache"}, media_type)


@_pages.get("/")
def home(
    running: Registry,
    answers: Answering,
    digest: Annotated[str, Query(max_length=200, description="SHA-256 of a file, as people paste it")] = "",
) -> Response:
    """The question, and the answer when there is a hash."""
    values: dict[str, Any] = {"pasted": digest.strip(), "mistake": None, "answer": None, "newest": ()}
    values |= _registry(running)
    if digest.strip():
        try:
            values["answer"] = _answer(running, answers, pasted_digest(digest))
        except MalformedError as e:
            return page("home.html", 400, **values | {"mistake": e.message})
    else:
        found = public_records(running, None, NEWEST)
        values["newest"] = [dataset_summary(answers, record, state) for record, state in found]
    return page("home.html", **values)


def pasted_digest(pasted: str) -> bytes:
    """Returns the digest that a person pasted: 64 hex digits in any case, with or without ``sha256:``.

    Raises:
        MalformedError: something else.
    """
    match = _PASTED.fullmatch(pasted.strip().lower())
    if match is None:
        raise MalformedError("This is not a SHA-256: it needs 64 hex digits (0–9, a–f).", field="digest")
    return digest_decode(f"sha256:{match[1]}")


def _registry(running: Running) -> dict[str, Any]:
    log = running.registry.log
    return {"origin": running.registry.log.origin, "size": log.head.size}


def _answer(running: Running, answers: Answers, digest: bytes) -> dict[str, Any]:
    value = orjson.loads(answers.kept(digest) or answers.resolve(digest))
    offers = [Offer(claim, _lines(running, claim["license"]["digest"])) for claim in value["claims"]]
    return {
        "digest": value["digest"],
        "size": value["size"],
        "verdict": decide(offers),
        "others": others(offers),
        "offers": offers[:MAX_OFFERS],
        "more": max(0, len(offers) - MAX_OFFERS),
        "with_uses": len(offers) <= MAX_WITH_USES,
        "proof": f"{digest.hex()[:16]}.proof.json",
        "issuer": running.registry.policy.issuer,
    }


def _lines(running: Running, license_digest: str) -> Sequence[Line]:
    """Returns the training line and the eleven uses of a license."""
    terms, _ = running.registry.terms(digest_decode(license_digest))
    return explain(terms)[: 1 + len(USES)]


@_pages.get("/m/{leaf}")
def manifest(
    leaf: LeafPath,
    running: Registry,
    answers: Answering,
    after: Annotated[int, Query(ge=-1, description="The entry before the first to show")] = -1,
) -> Response:
    """A manifest and its entries."""
    registry = running.registry
    record, state = registry.manifest(leaf)
    header = registry.header(record)
    entries = [parse_entry(data) for data in registry.catalog.entries(leaf, after + 1, ENTRIES)]
    return page(
        "manifest.html",
        **_registry(running),
        m=dataset_summary(answers, record, state),
        header=header,
        anchor=answers.anchor_of(leaf),
        first=after + 1,
        entries=[(after + 1 + n, entry, digest_encode(entry.published_hash)) for n, entry in enumerate(entries)],
        previous=None if after < 0 else max(-1, after - ENTRIES),
        following=after + ENTRIES if after + 1 + ENTRIES < header.entry_count else None,
    )


@_pages.get("/l/{digest}")
def license_(digest: DigestPath, running: Registry) -> Response:
    """A license: in plain words, as the text people read, as the terms machines read."""
    terms, text = running.registry.terms(digest_decode(digest))
    lines = explain(terms)
    return page(
        "license.html",
        **_registry(running),
        summary=license_summary(terms.data),
        training=lines[0],
        uses=lines[1 : 1 + len(USES)],
        conditions=lines[1 + len(USES) :],
        text=text.decode(),
        terms=orjson.dumps(orjson.loads(terms.data), option=orjson.OPT_INDENT_2).decode(),
        text_digest=digest_encode(terms.text_digest) if terms.text_digest else None,
    )


def problem_page(request: Request, problem: Problem) -> Response:
    """Shows a problem to people."""
    return page("problem.html", problem.status, problem.headers, problem=problem, path=request.url.path)


router.include_router(_pages)
