"""Other people's code reads our tokens: joserfc the signatures, a reference from the specification the rest.

They are oracles for what is good.  What is bad is for our own vectors to say: joserfc accepts a repeated ``alg``,
``b64`` and keys of small order (docs/format.md, section 6).
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

from ledger.keys import SigningKey, jwk, thumbprint
from ledger.tokens.presentation import present
from ledger.tokens.status import sign_packed_status
from scripts import make_token_vectors as vectors

PACKED = vectors.packed_arrays()


def verified(jwt: str, key: SigningKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns header and payload of a JWT as joserfc reads them."""
    registry = jws.JWSRegistry(algorithms=["Ed25519"])
    found = jws.deserialize_compact(jwt, OKPKey.import_key(dict(jwk(key.public))), registry=registry)
    header = dict(found.protected)
    assert OKPKey.import_key(dict(jwk(key.public))).thumbprint() == header["kid"] == thumbprint(key.public)
    return header, json.loads(found.payload)


def unpadded(text: str) -> bytes:
    """Decodes base64url as the standard library has it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("token", [vectors.good_token(), vectors.public_token()], ids=["good", "public"])
def test_token(token: Any) -> None:
    signed, *disclosures = token.text.removesuffix("~").split("~")
    header, payload = verified(signed, vectors.TOKEN)
    assert header["typ"] == "dc+sd-jwt"
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
    assert header["typ"] == "kb+jwt"
    assert unpadded(payload["sd_hash"]) == sha256(f"{before}~".encode()).digest()
    assert (payload["aud"], payload["nonce"]) == (vectors.AUDIENCE, vectors.NONCE)


def test_status_list() -> None:
    jwt = sign_packed_status(vectors.URI, PACKED["suspended"], vectors.STATUS_ISSUED, vectors.TOKEN)
    header, payload = verified(jwt, vectors.TOKEN)
    assert header["typ"] == "statuslist+jwt"
    array = zlib.decompress(unpadded(payload["status_list"]["lst"]))
    # Token Status List, 4.2: little-endian within each byte, so the whole array is one little-endian number.
    assert int.from_bytes(array, "little") >> 2 * vectors.STATUS_INDEX == 2


def test_joserfc_can_refuse() -> None:
    with pytest.raises(Exception, match="bad_signature"):
        verified(vectors.good_token().jwt.text, vectors.STRANGER)
