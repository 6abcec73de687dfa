"""Makes tests/vectors/tokens: good tokens, status lists, presentations and bundles, and bad ones by mutation.

Everything follows from fixed seeds and times, and every bad case is signed with the right key unless the signature is
what is wrong with it: what refuses it must be the rule it breaks.  Each case names the reason code and, for
``malformed`` and for what has a place, the field.  Run without arguments it writes the files; ``documents`` makes them
in memory, from a packed status list that may come from the files, because other zlibs pack the same array differently.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ledger.canonical import Json, Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import b64url_decode, b64url_encode, digest_encode, sha256
from ledger.evidence import CarriedAnchor, CarriedLeaf
from ledger.keys import SigningKey, jwk, thumbprint
from ledger.merkle import Tree, leaf_hash
from ledger.note import ED25519, VerifierKey, format_vkey
from ledger.policy import format_policy, parse_policy
from ledger.receipt import (
    ANCHORED_TOPIC,
    AnchorRecord,
    RlpItem,
    build_receipt_proof,
    keccak256,
    rlp_encode,
    rlp_integer,
)
from ledger.statements import Statement, key_add_body, manifest_body, sign_statement
from ledger.tokens.attribution import Licensee, Price, SdJwt, issue, select_disclosures
from ledger.tokens.bundle import format_token_bundle
from ledger.tokens.claims import Attribution, AttributionToken, TokenManifest, claims_value
from ledger.tokens.files import files_root
from ledger.tokens.jwt import sign_jwt
from ledger.tokens.presentation import present
from ledger.tokens.status import (
    REVOKED,
    STATUS_SECONDS,
    SUSPENDED,
    empty_status,
    pack_status,
    sign_status_list,
    status_uri,
    with_status,
)
from ledger.trust import Trust, TrustedEvm, format_trust

DIRECTORY: Final = Path(__file__).parent.parent / "tests" / "vectors" / "tokens"

ORIGIN: Final = "registry.example/log/2026"
ISSUER: Final = "https://registry.example"
NOW: Final = 1_800_000_000
ISSUED: Final = NOW - 3600
EXPIRES: Final = NOW + 30 * 86_400
STATUS_ISSUED: Final = NOW - 1800
STATUS_INDEX: Final = 70_001
URI: Final = status_uri(ISSUER, 0)
AUDIENCE: Final = "https://trainer.example"
NONCE: Final = "n-0S6_WzA2Mj"
CHAIN: Final = "eip155:31337"
GENESIS: Final = "0x" + "0a" * 32
CONTRACT: Final = "0x" + "0c" * 20
PUBLISHER: Final = "0x" + "0b" * 20


def key(name: str) -> SigningKey:
    """Returns the key whose seed is the SHA-256 of its name."""
    return SigningKey(sha256(f"token vectors: {name}".encode()))


REGISTRY: Final = key("registry")
REGISTRY_2: Final = key("registry, second key")
LOG: Final = key("log")
TOKEN: Final = key("token")
TOKEN_2: Final = key("token, second key")
CREATOR: Final = key("creator")
CREATOR_2: Final = key("creator, second key")
OTHER: Final = key("other creator")
HOLDER: Final = key("holder")
EVIDENCE = "sha256:" + 64 * "1"
STRANGER: Final = key("stranger")

FILES: Final = tuple(sorted(sha256(b"file %d" % n) for n in range(5)))
MANIFESTS: Final = (sha256(b"manifest 1"), sha256(b"manifest 2"))
SALTS: Final = (sha256(b"salt 1")[:16], sha256(b"salt 2")[:16])
LICENSEE: Final = Licensee("Zoë's Models GmbH", "licensee-17")
PRICE: Final = Price("EUR", 125_000)

CLAIMS: Final = AttributionToken(
    iss=ISSUER,
    jti=b64url_encode(sha256(b"jti")[:16]),
    iat=ISSUED,
    exp=EXPIRES,
    holder=HOLDER.public,
    status_index=STATUS_INDEX,
    status_uri=URI,
    license_id="CREATOR-TRAIN-2026-v1",
    license_digest=sha256(b"terms"),
    uses=("evaluate", "finetune", "train"),
    audience="non-commercial",
    purpose="Training of a segmentation model; no resale.",
    attribution=tuple(
        Attribution(k.did, f"Pictures by {name}", f"https://{name.lower()}.example/credit")
        for k, name in sorted(((CREATOR, "Ada"), (OTHER, "Grace")), key=lambda pair: pair[0].did)
    ),
    log=ORIGIN,
    manifests=(TokenManifest(MANIFESTS[0], 4), TokenManifest(MANIFESTS[1], 5)),
    files_root=files_root(FILES),
    files_count=len(FILES),
    parent=None,
    renews=sha256(b"an older token"),
)


def good_token() -> SdJwt:
    """The token that most cases are made from."""
    return issue(CLAIMS, TOKEN, licensee=LICENSEE, price=PRICE, salts=SALTS)


def public_token() -> SdJwt:
    """A token without a holder: attribution only."""
    return issue(replace(CLAIMS, holder=None, uses=()), TOKEN, licensee=None, price=None, salts=())


@dataclass
class Case:
    """One case: `text` is the document, `code` None where it must be accepted."""

    name: str
    text: str
    code: str | None = None
    at: str | None = None
    extra: dict[str, Json] = field(default_factory=dict)

    def value(self) -> dict[str, Json]:
        """Returns the case as it is written."""
        return {"name": self.name, "code": self.code, "field": self.at, **self.extra, "text": self.text}


def raw(value: Any) -> bytes:
    """Writes JSON canonically without checking that its rules are kept."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def jws(header: bytes, payload: bytes, signer: SigningKey = TOKEN) -> str:
    """Signs any two byte strings as a JWS."""
    signed = f"{b64url_encode(header)}.{b64url_encode(payload)}"
    return f"{signed}.{b64url_encode(signer.sign(signed.encode()))}"


def header(typ: str = "dc+sd-jwt", **changes: Json) -> dict[str, Json]:
    """Returns the header with members replaced or added; None removes one."""
    members: dict[str, Json] = {"alg": "Ed25519", "kid": thumbprint(TOKEN.public), "typ": typ, **changes}
    return {k: v for k, v in members.items() if v is not None}


def replaced(payload: Object, path: str, value: Any) -> Object:
    """Returns the payload with the member at `path` replaced."""
    first, _, rest = path.partition(".")
    inner: Any = payload.get(first)
    return {**payload, first: replaced(inner, rest, value) if rest else value}


def without(payload: Object, name: str) -> Object:
    """Returns the payload without one member."""
    return {k: v for k, v in payload.items() if k != name}


def token_cases() -> list[Case]:
    """Tokens on their own, checked at NOW under the issuer's keys."""
    good = good_token()
    payload = claims_value(good.token)
    parts = [d.encoded for d in good.disclosures]
    tail = "".join(f"{p}~" for p in parts)
    signed = good.jwt.text
    head, body, sig = signed.split(".")

    def claims(name: str, value: Any, at: str, code: str = "malformed") -> Case:
        return Case(name, jws(raw(header()), raw(value)) + "~" + tail, code, at)

    def claim(name: str, path: str, value: Any, at: str | None = None, code: str = "malformed") -> Case:
        return claims(name, replaced(payload, path, value), f"token.{path if at is None else at}", code)

    def head_case(name: str, changed: bytes, at: str) -> Case:
        return Case(name, jws(changed, raw(payload)) + "~" + tail, "malformed", at)

    def disclosed(name: str, encoded: Sequence[str], code: str, at: str) -> Case:
        return Case(name, signed + "~" + "".join(f"{p}~" for p in encoded), code, at)

    def disclosure(*members: Any) -> str:
        return b64url_encode(raw(list(members)))

    salt = b64url_encode(sha256(b"salt 3")[:16])
    licensee, price = {"id": "x", "name": "X"}, {"currency": "EUR", "minor": 1}
    small = bytes([1]) + bytes(31)
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(good.jwt.signature[32:], "little")
    malleable = good.jwt.signature[:32] + (scalar + order).to_bytes(32, "little")
    half = {"creator_id": CREATOR.did, "text": "Pictures", "url": "https://ada.example/"}
    attribution: Any = payload["attribution"]
    manifests: Any = payload["manifests"]
    digests: Any = payload["_sd"]
    cnf: Any = payload["cnf"]
    many = [{"digest": digest_encode(sha256(b"%d" % n)), "index": n + 1} for n in range(65)]

    return [
        Case("good", good.text),
        Case("good-one-disclosure", select_disclosures(good, ["price"]).text),
        Case("good-no-disclosure", select_disclosures(good, []).text),
        Case("good-disclosures-in-other-order", f"{signed}~{parts[1]}~{parts[0]}~"),
        Case("good-public", public_token().text),
        Case("good-first-second", good.text, extra={"now": ISSUED}),
        Case("good-clock-a-minute-behind", good.text, extra={"now": ISSUED - 60}),
        Case("good-last-second", good.text, extra={"now": EXPIRES - 1}),
        # The header is exactly one form.
        head_case("header-typ-jwt", raw(header(typ="JWT")), "token.header.typ"),
        head_case("header-typ-vc", raw(header(typ="vc+sd-jwt")), "token.header.typ"),
        head_case("header-typ-missing", raw(without(header(), "typ")), "token.header"),
        head_case("header-alg-none", raw(header(alg="none")), "token.header.alg"),
        head_case("header-alg-es256", raw(header(alg="ES256")), "token.header.alg"),
        head_case("header-alg-eddsa", raw(header(alg="EdDSA")), "token.header.alg"),
        head_case("header-alg-lower-case", raw(header(alg="ed25519")), "token.header.alg"),
        head_case("header-alg-missing", raw(without(header(), "alg")), "token.header"),
        head_case("header-alg-twice", b'{"alg":"none",' + raw(header())[1:], "token.header"),
        head_case("header-crit", raw(header(crit=["x"])), "token.header"),
        head_case("header-b64-false", raw(header(b64=False)), "token.header"),
        head_case("header-jwk-embedded", raw(header(jwk=dict(jwk(TOKEN.public)))), "token.header"),
        head_case("header-jku", raw(header(jku="https://evil.example/jwks.json")), "token.header"),
        head_case("header-kid-missing", raw(without(header(), "kid")), "token.header"),
        head_case("header-kid-number", raw(header(kid=1)), "token.header.kid"),
        head_case("header-space", raw(header()).replace(b":", b": ", 1), "token.header"),
        head_case(
            "header-members-unsorted", b'{"typ":"dc+sd-jwt",' + raw(without(header(), "typ"))[1:], "token.header"
        ),
        head_case("header-not-an-object", b'["Ed25519"]', "token.header"),
        # The form: three parts of base64url, disclosures ended by ~.
        Case("form-padding", f"{head}.{body}.{sig}==~{tail}", "malformed", "token.signature"),
        Case(
            "form-stray-bits",
            f"{head}.{body}.{sig[:-1]}{'B' if sig[-1] == 'A' else chr(ord(sig[-1]) + 1)}~{tail}",
            "malformed",
            "token.signature",
        ),
        Case("form-newline", f"{head}.{body}.{sig}\n~{tail}", "malformed", "token.signature"),
        Case("form-standard-base64", f"{head}.{body}.{'+' + sig[1:]}~{tail}", "malformed", "token.signature"),
        Case(
            "form-signature-short",
            f"{head}.{body}.{b64url_encode(good.jwt.signature[:63])}~{tail}",
            "malformed",
            "token.signature",
        ),
        Case("form-signature-empty", f"{head}.{body}.~{tail}", "malformed", "token.signature"),
        Case("form-four-parts", f"{signed}.~{tail}", "malformed", "token"),
        Case("form-two-parts", f"{head}.{body}~{tail}", "malformed", "token"),
        Case("form-no-tilde", signed, "malformed", "token"),
        Case("form-last-tilde-missing", good.text[:-1], "malformed", "token"),
        Case("form-empty", "", "malformed", "token"),
        Case("form-presentation", present(good, HOLDER, AUDIENCE, NONCE, NOW), "malformed", "token"),
        Case("form-three-disclosures", f"{good.text}{parts[0]}~", "malformed", "token"),
        # The claims are exactly the claims.
        Case("claims-not-canonical", jws(raw(header()), json.dumps(payload).encode()) + "~", "malformed", "token"),
        Case("claims-twice", jws(raw(header()), b'{"_sd":[],' + raw(payload)[1:]) + "~", "malformed", "token"),
        Case("claims-not-an-object", jws(raw(header()), b"[]") + "~", "malformed", "token"),
        Case(
            "claims-not-nfc",
            jws(raw(header()), raw(replaced(payload, "purpose", "Zoe\u0308"))) + "~",
            "malformed",
            "token.purpose",
        ),
        *(claims(f"claims-no-{name.strip('_')}", without(payload, name), "token") for name in payload),
        claims("claims-extra", {**payload, "nbf": ISSUED}, "token"),
        claim("iss-not-a-url", "iss", "registry.example"),
        claim("jti-short", "jti", "AAAAAAAAAAAAAAAAAAAAA"),
        claim("jti-other-spelling", "jti", "AAAAAAAAAAAAAAAAAAAAAB"),
        claim("iat-float", "iat", float(ISSUED)),
        claim("iat-text", "iat", str(ISSUED)),
        claim("iat-negative", "iat", -1),
        claim("exp-is-iat", "exp", ISSUED),
        claim("exp-too-large", "exp", 2**53),
        claim("vct-other", "vct", "urn:trainmark:vct:attribution:2"),
        claim("cnf-kid", "cnf", {"kid": thumbprint(HOLDER.public)}),
        claim("cnf-other-curve", "cnf.jwk.crv", "X25519"),
        claim("cnf-private-key", "cnf.jwk", {**cnf["jwk"], "d": "AAAA"}),
        claim("cnf-small-order", "cnf.jwk.x", b64url_encode(small)),
        claim("cnf-not-canonical", "cnf.jwk.x", b64url_encode((2**255 - 18).to_bytes(32, "little"))),
        claim("cnf-null-with-uses", "cnf", None, "uses"),
        claim("status-index-out-of-range", "status.status_list.idx", 131_072),
        claim("status-index-negative", "status.status_list.idx", -1),
        claim("status-index-true", "status.status_list.idx", True),
        claim("status-foreign", "status.status_list.uri", "https://evil.example/status/0"),
        claim("status-number-spelled-otherwise", "status.status_list.uri", f"{ISSUER}/status/00"),
        claim("status-extra", "status", {"status_list": {"idx": 1, "uri": URI}, "x": 1}),
        claim("license-id-space", "license.id", "my license"),
        claim("license-digest-upper-case", "license.digest", "sha256:" + "A" * 64),
        claim("license-digest-other-hash", "license.digest", "sha512:" + "a" * 64),
        claim("uses-unsorted", "uses", ["train", "evaluate"]),
        claim("uses-twice", "uses", ["train", "train"]),
        claim("uses-unknown", "uses", ["fly"], "uses[0]"),
        claim("uses-text", "uses", "train"),
        claim("audience-unknown", "audience", "everybody"),
        claim("purpose-empty", "purpose", ""),
        claim("purpose-two-lines", "purpose", "one\ntwo"),
        claim("purpose-too-long", "purpose", "x" * 501),
        claim("purpose-direction-mark", "purpose", "abc\u202edef"),
        claim("attribution-empty", "attribution", []),
        claim("attribution-unsorted", "attribution", attribution[::-1]),
        claim("attribution-twice", "attribution", [half, half]),
        claim("attribution-not-a-did", "attribution", [{**half, "creator_id": "ada"}], "attribution[0].creator_id"),
        claim("attribution-script", "attribution", [{**half, "url": "javascript:alert(1)"}], "attribution[0].url"),
        claim("attribution-two-lines", "attribution", [{**half, "text": "a\nb"}], "attribution[0].text"),
        claim("log-is-an-address", "log", f"https://{ORIGIN}"),
        claim("manifests-empty", "manifests", []),
        claim("manifests-65", "manifests", many),
        claim("manifests-unsorted", "manifests", manifests[::-1]),
        claim("manifests-twice", "manifests", [manifests[0], manifests[0]]),
        claim("manifests-index-zero", "manifests", [{**manifests[0], "index": 0}], "manifests[0].index"),
        claim("files-count-zero", "files.count", 0),
        claim("files-count-too-large", "files.count", 6_400_001),
        claim("parent-not-a-digest", "parent", "none"),
        claim("renews-not-a-digest", "renews", 7),
        claim("sd-alg-other", "_sd_alg", "sha-512"),
        claim("sd-unsorted", "_sd", digests[::-1]),
        claim("sd-twice", "_sd", [digests[0], digests[0]]),
        claim("sd-three", "_sd", sorted([*digests, b64url_encode(sha256(b"decoy"))])),
        claim("sd-short", "_sd", ["AAAA"], "_sd[0]"),
        # Keys and signatures.
        Case("key-unknown", sign_jwt("dc+sd-jwt", payload, STRANGER) + "~" + tail, "unknown-key", "token"),
        Case("key-other-than-named", jws(raw(header()), raw(payload), STRANGER) + "~" + tail, "bad-signature", "token"),
        Case("signature-zero", f"{head}.{body}.{'A' * 86}~", "bad-signature", "token"),
        Case(
            "signature-scalar-zero",
            f"{head}.{body}.{b64url_encode(good.jwt.signature[:32] + bytes(32))}~",
            "bad-signature",
            "token",
        ),
        Case("signature-scalar-plus-order", f"{head}.{body}.{b64url_encode(malleable)}~", "bad-signature", "token"),
        Case(
            "signature-of-a-small-order-key",
            f"{b64url_encode(raw(header(kid=thumbprint(small))))}.{body}.{b64url_encode(small + bytes(32))}~",
            "bad-signature",
            "token",
            {"keys": {thumbprint(small): b64url_encode(small)}},
        ),
        Case(
            "payload-changed",
            f"{head}.{b64url_encode(raw(replaced(payload, 'exp', EXPIRES + 1)))}.{sig}~",
            "bad-signature",
            "token",
        ),
        claims(
            "issuer-other",
            {
                **payload,
                "iss": "https://other.example",
                "status": {"status_list": {"idx": 1, "uri": "https://other.example/status/0"}},
            },
            "token.iss",
            "wrong-issuer",
        ),
        claim("log-other", "log", "registry.example/log/2027", "iss", "wrong-issuer"),
        # Disclosures.
        disclosed("disclosure-twice", [parts[0], parts[0]], "disclosure", "token"),
        disclosed("disclosure-unreferenced", [disclosure(salt, "licensee", licensee)], "disclosure", "token"),
        disclosed(
            "disclosure-two-of-one-name", [parts[0], disclosure(salt, "licensee", licensee)], "disclosure", "token"
        ),
        disclosed("disclosure-empty", [""], "malformed", "token.disclosures[0]"),
        disclosed("disclosure-padding", [parts[0] + "="], "malformed", "token.disclosures[0]"),
        disclosed(
            "disclosure-name-unknown", [disclosure(salt, "revenue", 1)], "malformed", "token.disclosures[0].name"
        ),
        disclosed(
            "disclosure-of-a-claim", [disclosure(salt, "exp", EXPIRES * 2)], "malformed", "token.disclosures[0].name"
        ),
        disclosed("disclosure-of-an-item", [disclosure(salt, "x")], "malformed", "token.disclosures[0]"),
        disclosed(
            "disclosure-salt-short", [disclosure("AAAA", "price", price)], "malformed", "token.disclosures[0].salt"
        ),
        disclosed(
            "disclosure-not-canonical",
            [b64url_encode(json.dumps([salt, "price", price]).encode())],
            "malformed",
            "token.disclosures[0]",
        ),
        disclosed(
            "disclosure-price-float",
            [disclosure(salt, "price", {**price, "minor": 1.5})],
            "malformed",
            "token.disclosures[0].minor",
        ),
        disclosed(
            "disclosure-price-negative",
            [disclosure(salt, "price", {**price, "minor": -1})],
            "malformed",
            "token.disclosures[0].price.minor",
        ),
        disclosed(
            "disclosure-currency",
            [disclosure(salt, "price", {**price, "currency": "Euro"})],
            "malformed",
            "token.disclosures[0].price.currency",
        ),
        disclosed(
            "disclosure-licensee-extra",
            [disclosure(salt, "licensee", {**licensee, "tax": "1"})],
            "malformed",
            "token.disclosures[0].licensee",
        ),
        disclosed(
            "disclosure-licensee-two-lines",
            [disclosure(salt, "licensee", {**licensee, "name": "a\nb"})],
            "malformed",
            "token.disclosures[0].licensee.name",
        ),
        # Time.
        Case("expired", good.text, "expired", "token.exp", {"now": EXPIRES}),
        Case("not-yet-valid", good.text, "not-yet-valid", "token.iat", {"now": ISSUED - 61}),
        # The order of the checks: the earlier one is named.
        Case(
            "order-key-before-time",
            sign_jwt("dc+sd-jwt", payload, STRANGER) + "~",
            "unknown-key",
            "token",
            {"now": EXPIRES},
        ),
        Case(
            "order-disclosure-before-time", f"{signed}~{parts[0]}~{parts[0]}~", "disclosure", "token", {"now": EXPIRES}
        ),
    ]


def packed_arrays() -> dict[str, str]:
    """Packs the arrays of the status cases."""
    empty = empty_status()
    return {
        "valid": pack_status(empty),
        "revoked": pack_status(with_status(empty, STATUS_INDEX, REVOKED)),
        "suspended": pack_status(with_status(empty, STATUS_INDEX, SUSPENDED)),
        "refused": pack_status(array_with_three()),
        "others": pack_status(neighbors()),
        "bomb": zlib_pack(bytes(8 * 1024 * 1024)),
        "short": zlib_pack(bytes(32 * 1024 - 1)),
        "long": zlib_pack(bytes(32 * 1024 + 1)),
    }


def zlib_pack(data: bytes) -> str:
    """Packs data of any length."""
    return b64url_encode(zlib.compress(data, 9))


def array_with_three() -> bytes:
    """The array in which the token's entry has the value that is never written."""
    array = bytearray(empty_status())
    array[STATUS_INDEX // 4] |= 3 << STATUS_INDEX % 4 * 2
    return bytes(array)


def neighbors() -> bytes:
    """The array in which every entry is revoked or suspended, but not the token's."""
    array = bytearray(bytes([0b10_01_10_01]) * len(empty_status()))
    array[STATUS_INDEX // 4] &= ~(3 << STATUS_INDEX % 4 * 2) & 0xFF
    return bytes(array)


def status_payload(lst: str) -> Object:
    """The claims of a good list."""
    return {
        "exp": STATUS_ISSUED + STATUS_SECONDS,
        "iat": STATUS_ISSUED,
        "status_list": {"bits": 2, "lst": lst},
        "sub": URI,
        "ttl": 3600,
    }


def status_cases(packed: dict[str, str]) -> list[Case]:
    """Status lists on their own: checked for URI at NOW, then entry STATUS_INDEX is asked for."""
    payload = status_payload(packed["valid"])
    good = sign_status_list(URI, packed["valid"], STATUS_ISSUED, TOKEN)
    head, body, _ = good.split(".")
    stream = packed["valid"]

    def claims(name: str, value: Any, at: str, code: str = "malformed") -> Case:
        return Case(name, jws(raw(header("statuslist+jwt")), raw(value)), code, at)

    def claim(name: str, path: str, value: Any) -> Case:
        return claims(name, replaced(payload, path, value), f"status.{path}")

    def entry(name: str, array: str, code: str | None) -> Case:
        text = sign_status_list(URI, packed[array], STATUS_ISSUED, TOKEN)
        return Case(name, text, code, None if code is None else "status")

    return [
        Case("good", good),
        Case("good-last-second", good, extra={"now": STATUS_ISSUED + STATUS_SECONDS - 1}),
        entry("good-among-revoked-and-suspended", "others", None),
        entry("revoked", "revoked", "revoked"),
        entry("suspended", "suspended", "suspended"),
        entry("value-three", "refused", "status-refused"),
        Case("index-out-of-range", good, "status-index", "status_list.idx", {"index": 131_072}),
        Case("index-negative", good, "status-index", "status_list.idx", {"index": -1}),
        Case("expired", good, "status-expired", "status.exp", {"now": STATUS_ISSUED + STATUS_SECONDS}),
        Case("from-the-future", good, "status-not-yet-valid", "status.iat", {"now": STATUS_ISSUED - 61}),
        Case(
            "other-list",
            sign_status_list(status_uri(ISSUER, 1), stream, STATUS_ISSUED, TOKEN),
            "status-subject",
            "status.sub",
        ),
        Case("key-unknown", sign_status_list(URI, stream, STATUS_ISSUED, STRANGER), "unknown-key", "status"),
        Case("signature-zero", f"{head}.{body}.{'A' * 86}", "bad-signature", "status"),
        Case("form-padding", f"{good}==", "malformed", "status.signature"),
        Case("header-typ-jwt", jws(raw(header("JWT")), raw(payload)), "malformed", "status.header.typ"),
        Case(
            "header-alg-none",
            jws(raw(header("statuslist+jwt", alg="none")), raw(payload)),
            "malformed",
            "status.header.alg",
        ),
        Case(
            "claims-twice", jws(raw(header("statuslist+jwt")), b'{"exp":1,' + raw(payload)[1:]), "malformed", "status"
        ),
        *(claims(f"claims-no-{name}", without(payload, name), "status") for name in payload),
        claims("claims-extra", {**payload, "aggregation_uri": "https://x.example"}, "status"),
        claim("exp-two-days", "exp", STATUS_ISSUED + 2 * STATUS_SECONDS),
        claim("iat-float", "iat", float(STATUS_ISSUED)),
        claim("ttl-other", "ttl", 7200),
        claim("sub-not-a-url", "sub", "status/0"),
        claim("bits-one", "status_list.bits", 1),
        claim("bits-float", "status_list.bits", 2.0),
        claim("bits-true", "status_list.bits", True),
        claims(
            "list-extra", replaced(payload, "status_list", {"bits": 2, "lst": stream, "x": 1}), "status.status_list"
        ),
        claim("lst-short", "status_list.lst", packed["short"]),
        claim("lst-long", "status_list.lst", packed["long"]),
        claim("lst-bomb", "status_list.lst", packed["bomb"]),
        claim("lst-cut-off", "status_list.lst", stream[: len(stream) // 8 * 4]),
        claim("lst-bytes-behind", "status_list.lst", b64url_encode(b64url_decode(stream, "lst") + b"\0")),
        claim("lst-not-zlib", "status_list.lst", b64url_encode(empty_status()[:64])),
        claim("lst-padding", "status_list.lst", stream + "="),
    ]


def presentation_cases() -> list[Case]:
    """Presentations to AUDIENCE, which asked with NONCE, at NOW, no older than 300 seconds."""
    good = good_token()
    one = select_disclosures(good, ["licensee"])

    def shown(
        name: str,
        code: str | None = None,
        at: str | None = None,
        sd_jwt: SdJwt = good,
        holder: SigningKey = HOLDER,
        aud: str = AUDIENCE,
        nonce: str = NONCE,
        iat: int = NOW - 5,
    ) -> Case:
        return Case(name, present(sd_jwt, holder, aud, nonce, iat), code, at)

    def bound(name: str, at: str, **changes: Any) -> Case:
        payload = {"aud": AUDIENCE, "iat": NOW, "nonce": NONCE, "sd_hash": b64url_encode(sha256(good.text.encode()))}
        top = header("kb+jwt", kid=None)
        members = {k: v for k, v in {**payload, **changes}.items() if v is not None}
        return Case(name, good.text + jws(raw(top), raw(members), HOLDER), "malformed", at)

    binding = present(good, HOLDER, AUDIENCE, NONCE, NOW - 5).rpartition("~")[2]
    head, body, _ = binding.split(".")
    kb = "presentation.binding"
    return [
        shown("good"),
        shown("good-licensee-only", sd_jwt=one),
        shown("good-oldest", iat=NOW - 300),
        shown("good-clock-a-minute-ahead", iat=NOW + 60),
        Case("no-binding", good.text, "malformed", "presentation"),
        Case("no-token", "~" + binding, "malformed", "presentation"),
        shown("public-token", "holder-missing", "token.cnf", sd_jwt=public_token()),
        shown("key-other", "holder-signature", "binding", holder=STRANGER),
        Case("signature-zero", f"{good.text}{head}.{body}.{'A' * 86}", "holder-signature", "binding"),
        shown("audience-other", "holder-audience", "binding.aud", aud="https://evil.example"),
        shown("nonce-other", "holder-nonce", "binding.nonce", nonce="another"),
        Case("disclosure-dropped", one.text + binding, "holder-hash", "binding.sd_hash"),
        shown("too-old", "holder-time", "binding.iat", iat=NOW - 301),
        shown("from-the-future", "holder-time", "binding.iat", iat=NOW + 61),
        Case(
            "token-expired", present(good, HOLDER, AUDIENCE, NONCE, EXPIRES), "expired", "token.exp", {"now": EXPIRES}
        ),
        Case(
            "typ-jwt", good.text + jws(raw(header("JWT", kid=None)), raw({}), HOLDER), "malformed", f"{kb}.header.typ"
        ),
        Case("header-kid", good.text + jws(raw(header("kb+jwt")), raw({}), HOLDER), "malformed", f"{kb}.header"),
        Case(
            "header-jwk",
            good.text + jws(raw(header("kb+jwt", kid=None, jwk=dict(jwk(HOLDER.public)))), raw({}), HOLDER),
            "malformed",
            f"{kb}.header",
        ),
        bound("claims-no-nonce", kb, nonce=None),
        bound("claims-extra", kb, exp=NOW),
        bound("nonce-empty", f"{kb}.nonce", nonce=""),
        bound("aud-list", f"{kb}.aud", aud=[AUDIENCE]),
        bound("hash-short", f"{kb}.sd_hash", sd_hash="AAAA"),
    ]


@dataclass
class World:
    """A small log and what a bundle carries of it; a case changes one thing before the bundle is made."""

    packed: dict[str, str]
    array: bytes = field(default_factory=empty_status)
    lst: str = "valid"
    sd_jwt: SdJwt = field(default_factory=good_token)
    logged_token: bytes | None = None
    status_uri: str = URI
    policy_keys: Sequence[SigningKey] = (TOKEN,)
    status_signer: SigningKey = TOKEN
    status_issued: int = STATUS_ISSUED
    token_signer: SigningKey = REGISTRY_2
    manifest_signer: SigningKey = CREATOR_2
    second: tuple[SigningKey, SigningKey] = (OTHER, OTHER)
    manifests: Sequence[bytes] = MANIFESTS
    between: Sequence[Statement] = ()
    late: Sequence[Statement] = ()
    left_out: Sequence[int] = ()
    files: Sequence[bytes] = FILES
    anchored_size: int | None = None
    origin: str = ORIGIN
    named: str = ""
    registry: SigningKey = REGISTRY

    def statement(self, kind: str, by: SigningKey, body: Object, signer: SigningKey | None = None) -> Statement:
        """Signs a statement for the world's log."""
        return sign_statement(kind, by.did, signer or by, self.origin, body)

    def policy(self, keys: Sequence[SigningKey]) -> Statement:
        """The registry's policy with these token keys."""
        vkey = format_vkey(VerifierKey(self.origin, ED25519, LOG.public))
        body: Object = {
            "origin": self.origin,
            "log_key": vkey,
            "issuer": ISSUER,
            "rules": digest_encode(sha256(b"rules")),
        }
        return self.statement("policy", self.registry, {**body, "token_keys": [k.did for k in keys]})

    def leaves(self) -> list[Statement]:
        """All leaves: 0 policy, 1–2 second keys, 3 status, 4–5 manifests, then the token (6 without `between`)."""
        digest = self.sd_jwt.digest if self.logged_token is None else self.logged_token
        status: Object = {
            "uri": self.status_uri,
            "bits": 2,
            "count": 131_072,
            "digest": digest_encode(sha256(self.array)),
        }
        return [
            self.policy(self.policy_keys),
            self.statement("key", self.registry, key_add_body(self.registry.did, REGISTRY_2, recovery=False)),
            self.statement("key", CREATOR, key_add_body(CREATOR.did, CREATOR_2, recovery=False)),
            self.statement("status", self.registry, status),
            self.statement("manifest", CREATOR, manifest_body(self.manifests[0]), self.manifest_signer),
            self.statement("manifest", self.second[0], manifest_body(self.manifests[1]), self.second[1]),
            *self.between,
            self.statement("token", self.registry, {"token": digest_encode(digest)}, self.token_signer),
            self.statement("record", STRANGER, {"kind": "watch", "refs": [], "evidence": EVIDENCE}),
            *self.late,
        ]

    def bundle(self) -> bytes:
        """Makes the bundle; leaf 7 (a stranger's record) is never carried."""
        statements = self.leaves()
        tree = Tree(leaf_hash(s.data) for s in statements)
        skipped = {7 + len(self.between), *self.left_out}
        carried = [
            CarriedLeaf(n, s, tuple(tree.inclusion_proof(n))) for n, s in enumerate(statements) if n not in skipped
        ]
        size = len(tree) if self.anchored_size is None else self.anchored_size
        anchor = CarriedAnchor(
            size,
            tree.root(size),
            tuple(tree.consistency_proof(size)),
            anchor_record(self.origin, size, tree.root(size)),
        )
        note = sign_checkpoint(Checkpoint(self.named or self.origin, len(tree), tree.root()), LOG)
        status = sign_status_list(self.status_uri, self.packed[self.lst], self.status_issued, self.status_signer)
        return format_token_bundle(self.sd_jwt, self.files, note, carried, status, [anchor])


BLOCK_TIME: Final = NOW - 600


def anchor_record(origin: str, size: int, root: bytes) -> AnchorRecord:
    """Makes the record of an anchoring in a block of its own, at BLOCK_TIME."""
    topics: list[RlpItem] = [ANCHORED_TOPIC, bytes(12) + bytes.fromhex(PUBLISHER[2:]), sha256(origin.encode())]
    log: list[RlpItem] = [bytes.fromhex(CONTRACT[2:]), topics, size.to_bytes(32, "big") + root]
    receipt = b"\2" + rlp_encode([b"\1", rlp_integer(90_000), bytes(256), [log]])
    receipts_root, proof = build_receipt_proof([receipt], 0)
    fields = [bytes(32), bytes(32), bytes(20), bytes(32), bytes(32), receipts_root, bytes(256), b"", rlp_integer(12)]
    block = rlp_encode(
        [*fields, rlp_integer(30_000_000), rlp_integer(90_000), rlp_integer(BLOCK_TIME), b"", bytes(32), bytes(8)]
    )
    return AnchorRecord(CHAIN, GENESIS, CONTRACT, PUBLISHER, block, 0, tuple(proof), 0)


def trust(packed: dict[str, str]) -> Trust:
    """What the verifier of the bundles believes: the log's key, the registry, the anchor, the good bundle's block."""
    text = format_policy([VerifierKey(ORIGIN, ED25519, LOG.public)])
    line = TrustedEvm("development", CHAIN, GENESIS, CONTRACT, PUBLISHER)
    statements = World(packed).leaves()
    root = Tree(leaf_hash(s.data) for s in statements).root()
    believed = Trust(text, parse_policy(text), REGISTRY.did, (line,), {})
    return believed.with_block(CHAIN, GENESIS, keccak256(anchor_record(ORIGIN, len(statements), root).header))


def bundle_cases(packed: dict[str, str]) -> list[Case]:
    """Token bundles, checked under trust.json at NOW."""
    good = World(packed).bundle()
    world = World(packed)

    def case(name: str, code: str | None = None, at: str | None = None, **changes: Any) -> Case:
        return Case(name, World(packed, **changes).bundle().decode(), code, at)

    def edited(name: str, code: str | None, at: str | None, edit: Callable[[Any], None]) -> Case:
        document: Any = json.loads(good)
        edit(document)
        return Case(name, raw(document).decode(), code, at)

    def put(path: str, value: Any) -> Callable[[Any], None]:
        def edit(document: Any) -> None:
            *steps, last = [int(p) if p.isdigit() else p for p in path.split(".")]
            for step in steps:
                document = document[step]
            document[last] = value

        return edit

    def drop(*names: str) -> Callable[[Any], None]:
        def edit(document: Any) -> None:
            for name in names:
                del document[name]

        return edit

    other = (sha256(b"another manifest"), MANIFESTS[1])
    renewed = world.policy([TOKEN_2])
    other_token = issue(CLAIMS, TOKEN_2, licensee=LICENSEE, price=PRICE, salts=SALTS)
    revoke_token_key = world.statement("key", REGISTRY, {"op": "revoke", "key": REGISTRY_2.did, "since": None})
    revoke_creator = world.statement("key", CREATOR, {"op": "revoke", "key": CREATOR_2.did, "since": None})
    revoked = with_status(empty_status(), STATUS_INDEX, REVOKED)
    relisted: Object = {"uri": URI, "bits": 2, "count": 131_072, "digest": digest_encode(sha256(revoked))}
    late_status = world.statement("status", REGISTRY, relisted)
    stranger_status = sign_statement("status", STRANGER.did, STRANGER, ORIGIN, relisted)
    early = replace(CLAIMS, manifests=(TokenManifest(MANIFESTS[0], 4), TokenManifest(MANIFESTS[1], 7)))
    late_manifest = world.statement("manifest", OTHER, manifest_body(MANIFESTS[1]))
    past: dict[str, Json] = {"at": NOW - 300}

    def shortened(document: Any) -> None:
        document["leaves"][4]["path"].pop()

    def swapped(document: Any) -> None:
        document["leaves"][4]["path"], document["leaves"][5]["path"] = (
            document["leaves"][5]["path"],
            document["leaves"][4]["path"],
        )

    def unsigned(document: Any) -> None:
        document["leaves"][4]["statement"]["sig"] = "A" * 86

    def lines(document: Any) -> None:
        document["checkpoint"] = document["checkpoint"].replace("\n8\n", "\n9\n")

    return [
        Case("good", good.decode()),
        edited("good-without-files", None, None, put("files", None)),
        edited("good-without-anchor", None, None, put("anchors", [])),
        case("good-block-unknown", anchored_size=7),
        case("good-keys-renewed-after-the-token", late=[renewed]),
        case("good-list-signed-by-the-renewed-key", late=[renewed], status_signer=TOKEN_2),
        case("good-key-revoked-after-the-token", late=[revoke_token_key, revoke_creator]),
        case("good-creator-keys-left-out", left_out=[2]),
        Case("good-in-the-past", good.decode(), extra=past),
        Case(
            "good-in-the-past-old-list",
            World(packed, status_issued=STATUS_ISSUED - 3 * STATUS_SECONDS).bundle().decode(),
            extra=past,
        ),
        # Form.
        edited("form-version", "malformed", "trainmark", put("trainmark", "token/v2")),
        edited("form-extra", "malformed", "bundle", put("note", "hello")),
        edited("form-no-status", "malformed", "bundle", drop("status")),
        Case("form-not-canonical", json.dumps(json.loads(good)), "malformed", "bundle"),
        Case("form-member-twice", '{"anchors":[],' + good.decode()[1:], "malformed", "bundle"),
        Case("form-bytes-behind", good.decode() + "\n", "malformed", "bundle"),
        edited("form-token", "malformed", "token", put("token", "x")),
        edited(
            "form-presentation", "malformed", "token", put("token", present(good_token(), HOLDER, AUDIENCE, NONCE, NOW))
        ),
        edited("form-files-unsorted", "malformed", "files", put("files", b64url_encode(b"".join(FILES[::-1])))),
        edited("form-files-twice", "malformed", "files", put("files", b64url_encode(FILES[0] * 2))),
        edited("form-files-half", "malformed", "files", put("files", b64url_encode(FILES[0][:16]))),
        edited("form-files-empty", "malformed", "files", put("files", "")),
        edited("form-leaves-empty", "malformed", "leaves", put("leaves", [])),
        edited("form-index-float", "malformed", "bundle.leaves.index", put("leaves.0.index", 0.0)),
        # Statements, checkpoint, tree.
        edited("statement-unsigned", "bad-signature", "leaf 4", unsigned),
        edited("checkpoint-changed", "checkpoint", "checkpoint", lines),
        case("checkpoint-of-another-log", "checkpoint", "checkpoint", origin="other.example/log"),
        edited("path-short", "leaf-path", "leaf 4", shortened),
        edited("path-of-the-neighbor", "leaf-path", "leaf 4", swapped),
        edited("leaf-moved", "leaf-path", "leaf 7", put("leaves.6.index", 7)),
        # Who may say what.
        case("policy-left-out", "void", "leaf 1", left_out=[0]),
        case("registry-other", "wrong-log", "leaf 0", registry=STRANGER),
        case(
            "statement-for-another-log",
            "wrong-log",
            "leaf 6",
            between=[
                sign_statement(
                    "record",
                    OTHER.did,
                    OTHER,
                    "other.example/log",
                    {"kind": "watch", "refs": [], "evidence": EVIDENCE},
                )
            ],
        ),
        case("registry-key-left-out", "key-invalid", "leaf 6", left_out=[1]),
        case("registry-key-revoked-before", "key-invalid", "leaf 7", between=[revoke_token_key]),
        case("checkpoint-names-another-log", "wrong-log", "leaf 0", origin="other.example/log", named=ORIGIN),
        case(
            "registry-key-never-added",
            "key-invalid",
            "leaf 5",
            left_out=[1],
            second=(REGISTRY, STRANGER),
            token_signer=REGISTRY,
        ),
        case("creator-key-never-added", "key-invalid", "leaf 4", manifest_signer=STRANGER),
        case("status-by-a-stranger", "void", "leaf 8", late=[stranger_status]),
        # The token.
        case("token-leaf-left-out", "token-leaf", "leaves", left_out=[6]),
        case("token-leaf-of-another", "token-leaf", "leaves", logged_token=sha256(b"another token")),
        case("token-key-not-in-force", "unknown-key", "token", sd_jwt=other_token),
        case("token-key-not-in-force-yet", "unknown-key", "token", sd_jwt=other_token, late=[renewed]),
        case("token-key-no-longer-in-force", "unknown-key", "token", between=[renewed]),
        Case("token-expired", good.decode(), "expired", "token.exp", {"now": EXPIRES}),
        Case("token-not-yet-valid-then", good.decode(), "not-yet-valid", "token.iat", {"at": ISSUED - 61}),
        # Manifests and files.
        case("manifest-left-out", "manifest-leaf", "token.manifests", left_out=[5]),
        case("manifest-other", "manifest-leaf", "token.manifests", manifests=other),
        case("manifest-of-a-creator-not-named", "manifest-leaf", "token.attribution", second=(STRANGER, STRANGER)),
        case("manifests-of-one-creator-only", "manifest-leaf", "token.attribution", second=(CREATOR, CREATOR)),
        case(
            "manifest-after-the-token",
            "manifest-leaf",
            "token.manifests",
            sd_jwt=issue(
                replace(early, manifests=(TokenManifest(MANIFESTS[0], 4), TokenManifest(sha256(b"late"), 8))),
                TOKEN,
                licensee=LICENSEE,
                price=PRICE,
                salts=SALTS,
            ),
            late=[world.statement("manifest", OTHER, manifest_body(sha256(b"late")))],
        ),
        case("manifest-logged-twice", "void", "leaf 8", late=[late_manifest]),
        case("files-one-missing", "files-count", "files", files=FILES[:-1]),
        case("files-other", "files-root", "files", files=[*FILES[:-1], sha256(b"file 9")]),
        # Status.
        case("status-revoked", "revoked", "status", array=revoked, lst="revoked"),
        case(
            "status-suspended",
            "suspended",
            "status",
            array=with_status(empty_status(), STATUS_INDEX, SUSPENDED),
            lst="suspended",
        ),
        case("status-value-three", "status-refused", "status", array=array_with_three(), lst="refused"),
        case("status-leaf-left-out", "status-leaf", "leaves", left_out=[3]),
        case("status-leaf-of-another-list", "status-leaf", "leaves", status_uri=status_uri(ISSUER, 1)),
        edited(
            "status-of-another-list",
            "status-subject",
            "status.sub",
            put("status", sign_status_list(status_uri(ISSUER, 1), packed["valid"], STATUS_ISSUED, TOKEN)),
        ),
        case("status-list-is-not-the-last", "status-digest", "status", late=[late_status]),
        case("status-not-logged", "status-digest", "status", array=revoked),
        case("status-expired", "status-expired", "status.exp", status_issued=NOW - STATUS_SECONDS),
        case("status-from-the-future", "status-not-yet-valid", "status.iat", status_issued=NOW + 61),
        case("status-by-a-stranger's-key", "unknown-key", "status", status_signer=STRANGER),
        # Anchors.
        edited("anchor-root", "anchor", "anchor.consistency", put("anchors.0.root", digest_encode(sha256(b"x")))),
        edited("anchor-size", "anchor", "anchor.consistency", put("anchors.0.size", 7)),
        edited("anchor-publisher", "anchor", "log", put("anchors.0.record.publisher", "0x" + "11" * 20)),
        edited("anchor-chain", "anchor", "anchor.record", put("anchors.0.record.chain", "eip155:1")),
    ]


def documents(packed: dict[str, str]) -> dict[str, str]:
    """Returns the text of every file of the vectors by its name."""
    issuer: Object = {
        "iss": ISSUER,
        "log": ORIGIN,
        "keys": {thumbprint(TOKEN.public): b64url_encode(TOKEN.public)},
    }
    groups: dict[str, tuple[Object, list[Case]]] = {
        "tokens": ({"issuer": issuer, "now": NOW}, token_cases()),
        "statuses": (
            {"issuer": issuer, "now": NOW, "uri": URI, "index": STATUS_INDEX, "packed": packed},
            status_cases(packed),
        ),
        "presentations": (
            {"issuer": issuer, "now": NOW, "aud": AUDIENCE, "nonce": NONCE, "max_age": 300},
            presentation_cases(),
        ),
        "bundles": ({"now": NOW}, bundle_cases(packed)),
    }
    texts = {}
    for name, (context, cases) in groups.items():
        document = {**context, "cases": [case.value() for case in cases]}
        texts[f"{name}.json"] = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    texts["trust.json"] = format_trust(trust(packed)).decode()
    return texts


def main() -> None:
    """Writes the files."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, text in documents(packed_arrays()).items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{DIRECTORY / name}: {len(text)} characters\n")


if __name__ == "__main__":
    main()
