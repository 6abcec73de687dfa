"""Other code reads our tokens: joserfc the signatures, the independent reference all of it.

joserfc is an oracle for what is good only: it accepts a repeated ``alg``, ``b64`` and keys of small order.  The
reference judges every vector, and where it judges otherwise is written down here, so that neither side drifts unseen.
"""

from __future__ import annotations

import base64
import json
import zlib
from hashlib import sha256
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from ledger.keys import SigningKey, did_encode, jwk, thumbprint
from ledger.tokens.presentation import present
from ledger.tokens.status import sign_status_list
from scripts import make_token_vectors as vectors
from tests.reference import token as reference
from tests.reference.bundle import parse_trust
from tests.reference.refuted import RefutedError

PACKED = vectors.packed_arrays()


# What the reference judges otherwise, and why.
OTHERWISE = {
    "tokens": {
        # It asks for the issuer and the log only in a bundle.
        "issuer-other",
        "log-other",
    },
    "statuses": set[str](),
    "presentations": set[str](),
    "bundles": {
        # It ignores what is signed for another log where nothing depends on it; here no such leaf may be carried.
        "statement-for-another-log",
        # It knows the keys of the policy at the status leaf only; a list is signed again long after its leaf.
        "good-list-signed-by-the-renewed-key",
        # It ignores a void leaf that is carried without need; here nothing void may be carried.
        "manifest-logged-twice",
        "status-by-a-stranger",
        # It judges no creator's keys in a token bundle.
        "creator-key-never-added",
    },
}


def verified(jwt: str, key: SigningKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns header and payload of a JWT as joserfc reads them."""
    registry = jws.JWSRegistry(algorithms=["Ed25519"])
    found = jws.deserialize_compact(jwt, OKPKey.import_key(dict(jwk(key.public))), registry=registry)
    header = dict(found.protected)
    assert OKPKey.import_key(dict(jwk(key.public))).thumbprint() == thumbprint(key.public)
    assert header.get("kid", thumbprint(key.public)) == thumbprint(key.public)
    return header, json.loads(found.payload)


def unpadded(text: str) -> bytes:
    """Decodes base64url as the standard library has it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("token", [vectors.good_token(), vectors.public_token()], ids=["good", "public"])
def test_token(token: Any) -> None:
    signed, *disclosures = token.text.removesuffix("~").split("~")
    header, payload = verified(signed, vectors.TOKEN)
    assert header == {"alg": "Ed25519", "kid": thumbprint(vectors.TOKEN.public), "typ": "dc+sd-jwt"}
    assert payload["files"]["count"] == 5
    # RFC 9901, 4.2.3: the digest is over the ASCII of the encoded disclosure.
    digests = [base64.urlsafe_b64encode(sha256(d.encode()).digest()).rstrip(b"=").decode() for d in disclosures]
    assert sorted(digests) == payload["_sd"]
    shown = {name: value for _, name, value in (json.loads(unpadded(d)) for d in disclosures)}
    assert shown == (
        {}
        if payload["cnf"] is None
        else {
            "licensee": {"id": "licensee-17", "name": "Zoë's Models GmbH"},
            "price": {"currency": "EUR", "minor": 125_000},
        }
    )


def test_presentation() -> None:
    token = vectors.good_token()
    text = present(token, vectors.HOLDER, vectors.AUDIENCE, vectors.NONCE, vectors.NOW)
    before, _, binding = text.rpartition("~")
    header, payload = verified(binding, vectors.HOLDER)
    assert header == {"alg": "Ed25519", "typ": "kb+jwt"}
    assert unpadded(payload["sd_hash"]) == sha256(f"{before}~".encode()).digest()
    assert (payload["aud"], payload["nonce"]) == (vectors.AUDIENCE, vectors.NONCE)


def test_status_list() -> None:
    jwt = sign_status_list(vectors.URI, PACKED["suspended"], vectors.STATUS_ISSUED, vectors.TOKEN)
    header, payload = verified(jwt, vectors.TOKEN)
    assert header["typ"] == "statuslist+jwt"
    array = zlib.decompress(unpadded(payload["status_list"]["lst"]))
    # Token Status List, 4.2: little-endian within each byte, so the whole array is one little-endian number.
    assert int.from_bytes(array, "little") >> 2 * vectors.STATUS_INDEX == 2


def reference_accepts(name: str, document: dict[str, Any], case: dict[str, Any]) -> bool:
    """Returns whether the reference accepts a case of the vectors."""
    text, now = case["text"], case.get("now", document["now"])
    try:
        if name == "bundles":
            trusted = parse_trust((vectors.DIRECTORY / "trust.json").read_bytes())
            return reference.verify_token_bundle(text.encode(), trusted, now).status == "valid"
        keys = case.get("keys", document["issuer"]["keys"]).values()
        dids = [did_encode(unpadded(x)) for x in keys]
        if name == "statuses":
            array = reference.verify_status_list(text, dids, document["uri"], now)
            return reference.status_at(array, case.get("index", document["index"])) == 0
        if name == "tokens":
            reference.verify_token(text, dids, now)
        else:
            token = reference.verify_token(text[: text.rfind("~") + 1], dids, now)
            reference.verify_holder(text, token, document["aud"], document["nonce"], now, document["max_age"])
    except RefutedError:
        return False
    return True


@pytest.mark.parametrize("name", OTHERWISE)
def test_the_reference_judges_every_vector_alike(name: str) -> None:
    document = json.loads((vectors.DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    cases = [case for case in document["cases"] if "at" not in case]
    assert len(cases) > 20
    otherwise = {c["name"] for c in cases if reference_accepts(name, document, c) != (c["code"] is None)}
    assert otherwise == OTHERWISE[name]


def test_joserfc_can_refuse() -> None:
    with pytest.raises(Exception, match="bad_signature"):
        verified(vectors.good_token().jwt.text, vectors.STRANGER)
