"""The log itself, as static files at the root of its origin (docs/format.md, section 4), and who runs it.

A proxy may serve ``<data_dir>/log`` in place of the first two routes.
"""

from __future__ import annotations

import gzip
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from api import schemas
from api.composition import Running
from api.routes.support import IMMUTABLE, REVALIDATE, Answering, Before, Limit, Registry, answer
from ledger.encoding import digest_encode, sha256
from ledger.errors import MalformedError, NotFoundError
from ledger.keys import did_decode, jwk, thumbprint
from ledger.note import parse_vkey
from ledger.registry.listing import RULES
from ledger.tiles import ENTRIES, parse_path

router = APIRouter(tags=["log"])
TEXT = "text/plain; charset=utf-8"


@router.get("/checkpoint", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def checkpoint(running: Registry) -> Response:
    """The newest signed checkpoint (C2SP tlog-checkpoint)."""
    return Response(running.registry.log.head.note, 200, {"Cache-Control": REVALIDATE}, TEXT)


@router.get(
    "/tile/{path:path}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **schemas.problems(404, 503)},
)
def tile(
    path: Annotated[str, Path(description="`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`", examples=["0/000.p/1"])],
    request: Request,
    running: Registry,
) -> Response:
    """A tile of hashes or leaves (C2SP tlog-tiles); it never changes. Leaves are compressed for whoever takes gzip."""
    try:
        found = parse_path(f"tile/{path}")
    except MalformedError:
        raise NotFoundError("not the path of a tile", field="tile") from None
    data, headers = running.registry.tiles.read(found), {"Cache-Control": IMMUTABLE}
    if found.level == ENTRIES:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            data, headers["Content-Encoding"] = gzip.compress(data, 6, mtime=0), "gzip"
    return Response(data, 200, headers, "application/octet-stream")


@router.get("/v1/policy", response_model=schemas.Policy, responses=schemas.problems(429))
def policy(running: Registry) -> Response:
    """Who this registry is. Compare it with what you were told on another way before you trust it: a verifier's trust
    file is never taken from here alone."""
    return answer(policy_value(running))


def policy_value(running: Running) -> dict[str, Any]:
    """Returns the registry's own description of itself."""
    registry, chain = running.registry, running.beside.identity
    did, policy = registry.did, registry.policy
    anchors = []
    if chain is not None:
        anchors.append(
            {
                "kind": "evm",
                "operator_class": running.settings.chain_class,
                "chain": chain.chain,
                "genesis": chain.genesis,
                "contract": chain.contract,
                "publisher": chain.publisher,
            }
        )
    return {
        "registry": did,
        "origin": policy.origin,
        "log_vkey": policy.log_key,
        "issuer": policy.issuer,
        "token_keys": list(policy.token_keys),
        "rules": digest_encode(policy.rules),
        "size": registry.log.head.size,
        "anchors": anchors,
        "fingerprints": {
            "registry": digest_encode(sha256(did_decode(did))),
            "log": digest_encode(sha256(parse_vkey(policy.log_key).public)),
        },
    }


@router.get("/v1/rules", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def rules() -> Response:
    """The public rules of listing, whose digest the policy names."""
    return Response(RULES, 200, {"Cache-Control": REVALIDATE}, TEXT)


@router.get("/v1/anchors", response_model=schemas.AnchorPage, responses=schemas.problems(400, 429, 503))
def anchors(answers: Answering, running: Registry, limit: Limit = 20, before: Before = None) -> Response:
    """Anchors as the operator knows them, biggest size first; evidence is the record in a proof bundle."""
    rows = running.registry.catalog.anchors(before, limit)
    items = [answers.anchor_value(row) for row in rows]
    return answer({"items": items, "next": rows[-1].size if len(rows) == limit else None})


@router.get("/.well-known/jwks.json", response_model=schemas.KeySet)
def jwks(running: Registry) -> Response:
    """The keys that sign tokens and status lists: those of every policy so far, by their thumbprints."""
    with running.registry.log.fold_lock:
        dids = dict.fromkeys(did for _, body in running.registry.log.fold.policies for did in body.token_keys)
    publics = [did_decode(did) for did in dids]
    keys = [{**jwk(public), "alg": "Ed25519", "kid": thumbprint(public), "use": "sig"} for public in publics]
    return answer({"keys": keys}, cache="public, max-age=300")


def _takes_gzip(accepted: str) -> bool:
    """Returns whether a client says to take gzip (RFC 9110, section 12.5.3)."""
    weights = dict(coding.replace(" ", "").partition(";q=")[::2] for coding in accepted.lower().split(","))
    weight = weights.get("gzip")
    return weight is not None and (weight == "" or weight.strip("0.") != "")
