"""Licenses, datasets, creators, cases, and what waits for a person; every list has a limit and a cursor."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api import schemas
from api.access import require
from api.answers import Answers, creator_summary, license_summary, public_records
from api.composition import Running
from api.routes.support import IMMUTABLE, JSON, Answering, Before, DigestPath, Limit, Registry, answer
from ledger.encoding import digest_decode, digest_encode, time_encode
from ledger.errors import NotFoundError, RefusedError
from ledger.keys import did_decode
from ledger.ports import Access, ManifestRecord
from ledger.state import CaseState
from ledger.statements import DisputeBody, parse_statement

router = APIRouter(tags=["read"])

TEXT: Final = "text/plain; charset=utf-8"
MAX_REVIEWS: Final = 20
"""Each is decided anew for the page, by a search through all that is known."""
MAX_OPEN_CASES: Final = 100
"""Undecided cases shown with a manifest, the first ones: anybody may open thousands."""


@router.get("/v1/licenses", response_model=schemas.LicensePage, responses=schemas.problems(400, 429, 503))
def licenses(
    running: Registry,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The cursor of the page before")] = None,
) -> Response:
    """Licenses, by digest."""
    found = running.registry.catalog.licenses(None if after is None else digest_decode(after, "after"), limit)
    items = [license_summary(running.registry.terms(digest)[0].data) for digest in found]
    return answer({"items": items, "next": digest_encode(found[-1]) if len(found) == limit else None})


@router.get(
    "/v1/licenses/{digest}",
    response_class=Response,
    responses={200: {"content": {JSON: {}, "text/plain": {}}}, **schemas.problems(400, 404, 429, 503)},
)
def license_(digest: DigestPath, request: Request, running: Registry) -> Response:
    """The terms, byte for byte; or, with `.txt` behind the digest or `Accept: text/plain`, the text people read."""
    wants_text = digest.endswith(".txt") or request.headers.get("accept", "").startswith("text/plain")
    terms, text = running.registry.terms(digest_decode(digest.removesuffix(".txt")))
    headers = {"Cache-Control": IMMUTABLE, "Vary": "Accept"}
    return Response(text, 200, headers, TEXT) if wants_text else Response(terms.data, 200, headers, JSON)


@router.get("/v1/datasets", response_model=schemas.DatasetPage, responses=schemas.problems(400, 429, 503))
def datasets(answers: Answering, running: Registry, limit: Limit = 20, before: Before = None) -> Response:
    """Public manifests of all states, newest first."""
    found = public_records(running, before, limit)
    items = [dataset_summary(answers, record, state) for record, state in found]
    return answer({"items": items, "next": found[-1][0].leaf if len(found) == limit else None})


def dataset_summary(answers: Answers, record: ManifestRecord, state: str) -> dict[str, Any]:
    """Returns a manifest in short."""
    registry = answers.running.registry
    header = registry.header(record)
    with registry.log.fold_lock:
        level = registry.log.fold.identities.get(record.by)
    return {
        "leaf": record.leaf,
        "state": state,
        "creator": creator_summary(header, level[1].level if level else None),
        "manifest": answers.manifest_summary(record, header),
        "license": license_summary(registry.terms(record.license)[0].data),
        "entry_count": header.entry_count,
        "received_at": time_encode(record.received_at),
    }


LeafPath = Annotated[int, Path(ge=0, description="Index of a manifest leaf")]


@router.get("/v1/datasets/{leaf}", response_model=schemas.Dataset, responses=schemas.problems(400, 404, 429, 503))
def dataset(leaf: LeafPath, answers: Answering, running: Registry) -> Response:
    """A manifest: its header as it was signed, state, anchor, and how many entries say what."""
    record, state = running.registry.manifest(leaf)
    value = dataset_summary(answers, record, state)
    value["size"] = running.registry.log.head.size
    value["header"] = orjson.Fragment(record.header)
    value["anchor"] = answers.anchor_of(leaf)
    return answer(value)


@router.get(
    "/v1/datasets/{leaf}/entries", response_model=schemas.EntryPage, responses=schemas.problems(400, 404, 429, 503)
)
def entries(
    leaf: LeafPath,
    running: Registry,
    limit: Limit = 20,
    after: Annotated[int, Query(ge=-1, description="The cursor of the page before")] = -1,
) -> Response:
    """The entries of a manifest in their order, as they are in its tree."""
    running.registry.manifest(leaf)
    found = running.registry.catalog.entries(leaf, after + 1, limit)
    following = after + len(found) if len(found) == limit else None
    return answer({"items": [orjson.Fragment(entry) for entry in found], "next": following})


@router.get("/v1/creators/{did}", response_model=schemas.Party, responses=schemas.problems(400, 429, 503))
def creator(
    did: Annotated[str, Path(description="did:key of a party's first key")],
    answers: Answering,
    running: Registry,
    limit: Limit = 20,
    before: Before = None,
) -> Response:
    """What the log says of a party: its keys, what the registry vouches for, and its public manifests, newest first. A
    page may hold fewer than its limit where others are hidden: go on while there is a cursor. A did without any leaf is
    a party as well; its only key is itself."""
    did_decode(did, "did")
    with running.registry.log.fold_lock:
        fold = running.registry.log.fold
        level = fold.identities.get(did)
        known = list(fold.keys.get(did, {}).values())
        size = fold.size
    records = running.registry.catalog.manifests(before, limit, did)
    items = _public_of(answers, running, records)
    keys = [
        {"key": key.key, "recovery": key.recovery, "added": key.added, "revoked": key.revoked, "since": key.since}
        for key in known
    ]
    value = {
        "id": did,
        "name": items[0]["creator"]["name"] if items else None,
        "identity": level[1].level if level else None,
        "size": size,
        "keys": keys or [{"key": did, "recovery": False, "added": -1, "revoked": None, "since": None}],
        "items": items,
        "next": records[-1].leaf if len(records) == limit else None,
    }
    return answer(value)


def _public_of(answers: Answers, running: Running, records: list[ManifestRecord]) -> list[dict[str, Any]]:
    """Returns those manifests in short that are public."""
    items: list[dict[str, Any]] = []
    for record in records:
        try:
            items.append(dataset_summary(answers, *running.registry.manifest(record.leaf)))
        except NotFoundError:
            continue
    return items


@router.get("/v1/reviews", response_model=schemas.ReviewPage, responses=schemas.problems(400, 401, 403, 429, 503))
def reviews(
    running: Registry,
    access: Annotated[Access, Depends(require("statement"))],
    limit: Annotated[int, Query(ge=1, le=MAX_REVIEWS, description="How many at most")] = MAX_REVIEWS,
    before: Before = None,
) -> Response:
    """Manifests that wait for a person, newest first, with the reasons; for the registry's own key."""
    _check_own_people(running, access)
    found = running.writer.registry.reviews.waiting(before, limit)
    items = []
    for record, decision in found:
        header = running.registry.header(record)
        items.append(
            {
                "leaf": record.leaf,
                "title": header.title,
                "version": header.version,
                "creator": creator_summary(header, None),
                "manifest": digest_encode(record.manifest),
                "decision": decision.outcome,
                "reasons": list(decision.reasons),
                "received_at": time_encode(record.received_at),
            }
        )
    following = found[-1][0].leaf if len(found) == limit else None
    return answer({"items": items, "next": following}, cache="no-store")


def _check_own_people(running: Running, access: Access) -> None:
    if access.subject != running.registry.did:
        raise RefusedError("only the registry's own people see what waits", code="forbidden")


@router.get(
    "/v1/reviews/{leaf}",
    response_model=schemas.Reviewed,
    responses=schemas.problems(400, 401, 403, 404, 429, 503),
)
def review(
    leaf: LeafPath, answers: Answering, running: Registry, access: Annotated[Access, Depends(require("statement"))]
) -> Response:
    """A manifest leaf, hidden and erased ones too, with all that the registry said of it, its undecided cases and those
    it ever held or decided, and the reasons of the rules; for the registry's own key."""
    _check_own_people(running, access)
    registry = running.writer.registry
    record = registry.catalog.manifest(leaf)
    with registry.log.fold_lock:
        fold = registry.log.fold
        state = fold.manifests.get(leaf)
        if state is None:
            what = f"leaf {leaf} is no manifest" if leaf < fold.size else f"there is no leaf {leaf}"
            raise NotFoundError(what, field="leaf")
        name, size = fold.manifest_state(leaf), fold.size
        reviews, withdrawals = list(state.reviews), [index for index, _ in state.withdrawals]
        open_cases = [case.opened for case in fold.cases.values() if case.leaf == leaf and case.decided is None]
        cases = sorted({*state.cases, *open_cases[:MAX_OPEN_CASES]})
        found = [(case, state.by) for case in (replace(fold.cases[index]) for index in cases)]
    value = {
        "leaf": leaf,
        "by": state.by,
        "state": name,
        "size": size,
        "reviews": [
            {
                "statement": index,
                "outcome": body.outcome,
                "visibility": body.visibility,
                "evidence": None if body.evidence is None else digest_encode(body.evidence),
            }
            for index, body in reviews
        ],
        "withdrawals": withdrawals,
        "superseded_at": state.superseded_at,
        "cases": [_case_value(running, case, creator_id) for case, creator_id in found],
        "reasons": list(registry.reviews.decide(record).reasons) if record is not None else [],
        "dataset": None if record is None else dataset_summary(answers, record, name),
    }
    return answer(value, cache="no-store")


@router.get("/v1/cases", response_model=schemas.CasePage, responses=schemas.problems(400, 401, 403, 429, 503))
def cases(
    running: Registry,
    access: Annotated[Access, Depends(require("statement"))],
    limit: Limit = 20,
    before: Before = None,
) -> Response:
    """Cases that are not decided, newest first: those that the token's party opened or that are about its manifests;
    for the registry's own key all of them."""
    with running.registry.log.fold_lock:
        fold = running.registry.log.fold
        own = (
            (replace(case), fold.manifests[case.leaf].by)
            for case in reversed(fold.cases.values())
            if case.decided is None and (before is None or case.opened < before)
            if access.subject in (running.registry.did, case.by, fold.manifests[case.leaf].by)
        )
        found = list(islice(own, limit))
    items = [_case_value(running, case, creator_id) for case, creator_id in found]
    return answer({"items": items, "next": found[-1][0].opened if len(found) == limit else None}, cache="no-store")


@router.get("/v1/cases/{case}", response_model=schemas.Case, responses=schemas.problems(400, 404, 429, 503))
def case_(
    case: Annotated[int, Path(ge=0, description="Index of the leaf that opened it")], running: Registry
) -> Response:
    """A case: what the log says of it."""
    with running.registry.log.fold_lock:
        fold = running.registry.log.fold
        state = fold.cases.get(case)
        if state is None:
            what = f"leaf {case} opened no case" if case < fold.size else f"there is no leaf {case}"
            raise NotFoundError(what, field="case")
        found, creator_id = replace(state), fold.manifests[state.leaf].by
    return answer(_case_value(running, found, creator_id))


def _case_value(running: Running, case: CaseState, creator_id: str) -> dict[str, Any]:
    """Returns a case; `creator_id` is whom the manifest is by.  The commitment stands in the leaf that opened it."""
    body = parse_statement(running.registry.log.leaf(case.opened)).body
    assert isinstance(body, DisputeBody)
    return {
        "case": case.opened,
        "leaf": case.leaf,
        "creator": creator_id,
        "by": case.by,
        "entries": list(case.entries),
        "evidence": None if body.evidence is None else digest_encode(body.evidence),
        "held": case.held,
        "held_entries": list(case.held_entries),
        "decided": case.decided,
        "decided_entries": list(case.decided_entries),
        "outcome": case.outcome,
    }
