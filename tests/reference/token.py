"""Attribution tokens, status lists and token bundles: docs/format.md, section 6.

RFC 9901 (SD-JWT), RFC 7515 (compact JWS), RFC 8037 (Ed25519 keys), RFC 7638 (thumbprints), Token Status List.  Times
are arguments, in seconds since 1970.  The keys of the creators are not among the leaves of a token bundle and stay
``not_checked``.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from . import documents, ed25519, merkle
from .bundle import Leaf, Result, Trust, read_anchors, read_leaves, size_of, verify_anchors, verify_leaves, void_leaves
from .jcs import (
    Json,
    as_address,
    as_integer,
    as_list,
    as_object,
    as_origin,
    as_pattern,
    as_text,
    as_word,
    b64url_decode,
    b64url_encode,
    canonical,
    digest,
    digest_bytes,
    parse,
)
from .note import verify_checkpoint
from .refuted import RefutedError, require
from .statement import Statement, fold_keys, verify_statement

VCT = "urn:trainmark:vct:attribution:1"
STATUS_BITS, STATUS_COUNT = 2, 131_072
STATUS_WORDS = ["valid", "revoked", "suspended", "refused"]
MAX_TOKEN_CHARACTERS = 1 << 20
SKEW = 60  # seconds by which a clock may be ahead
MAX_TIME = 253_402_300_799  # 9999-12-31T23:59:59Z

_CLAIMS = [
    "iss",
    "jti",
    "iat",
    "exp",
    "vct",
    "cnf",
    "status",
    "license",
    "uses",
    "audience",
    "purpose",
    "attribution",
    "log",
    "manifests",
    "files",
    "parent",
    "renews",
    "_sd_alg",
    "_sd",
]
_DISCLOSED: Mapping[str, list[str]] = {"licensee": ["name", "id"], "price": ["currency", "minor"]}
_BUNDLE = ["trainmark", "token", "files", "checkpoint", "leaves", "status", "anchors"]


@dataclass(frozen=True, slots=True)
class Jwt:
    """A compact JWS whose parts were decoded strictly; ``signing_input`` is what is signed."""

    header: dict[str, Json]
    payload: bytes
    signing_input: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """An attribution token; ``digest`` is what its leaf in the log holds, ``text`` all up to the last tilde."""

    digest: str
    claims: dict[str, Json]
    disclosed: dict[str, Json]
    text: str


@dataclass(frozen=True, slots=True)
class TokenResult:
    """A token bundle that holds; ``status`` is one of ``STATUS_WORDS``."""

    token: Token
    status: str
    result: Result


def thumbprint(public: bytes) -> str:
    """RFC 7638 of the public key as an OKP JWK."""
    jwk = canonical({"crv": "Ed25519", "kty": "OKP", "x": b64url_encode(public)})
    return b64url_encode(hashlib.sha256(jwk).digest())


def parse_jwt(text: str, kind: str, keys: tuple[str, ...] = ("alg", "kid", "typ")) -> Jwt:
    """Splits a compact JWS of a type; its header holds exactly ``keys`` and is canonical.

    Raises:
        RefutedError: ``malformed``.
    """
    parts = text.split(".")
    require(len(parts) == 3, "malformed", "a JWS has three parts")
    header = as_object(parse(b64url_decode(parts[0], "header")), keys, "header")
    as_word(header["alg"], ["Ed25519"], "header.alg")
    as_word(header["typ"], [kind], "header.typ")
    payload = b64url_decode(parts[1], "payload")
    return Jwt(header, payload, f"{parts[0]}.{parts[1]}".encode("ascii"), b64url_decode(parts[2], "signature", 64))


def verify_jwt(jwt: Jwt, dids: Iterable[str]) -> None:
    """Checks the signature by the one of these keys (did:key) that ``kid`` names.

    Raises:
        RefutedError: ``unknown-key`` or ``bad-signature``.
    """
    publics = {thumbprint(public): public for public in (ed25519.did_decode(did, "key") for did in dids)}
    kid = as_text(jwt.header["kid"], "header.kid")
    require(kid in publics, "unknown-key", "kid names none of the keys")
    ed25519.verify(publics[kid], jwt.signing_input, jwt.signature)


def parse_token(text: str) -> tuple[Token, Jwt]:
    """Reads an SD-JWT: shape of the token, each disclosure used once; checks no signature and no time.

    Raises:
        RefutedError: ``malformed`` or ``disclosure``.
    """
    require(len(text) <= MAX_TOKEN_CHARACTERS and text.isascii(), "malformed", "a token that is too long or not ASCII")
    signed, *disclosures = text.split("~")
    require(bool(disclosures) and disclosures.pop() == "", "malformed", "an SD-JWT ends with a tilde")
    jwt = parse_jwt(signed, "dc+sd-jwt")
    claims = _check_claims(parse(jwt.payload))
    listed = as_list(claims["_sd"], "_sd")
    disclosed: dict[str, Json] = {}
    require(len(set(disclosures)) == len(disclosures), "disclosure", "a disclosure twice")
    for item in disclosures:
        name, value = _read_disclosure(item)
        hashed = b64url_encode(hashlib.sha256(item.encode("ascii")).digest())
        require(hashed in listed, "disclosure", "a disclosure that the token does not list")
        require(name not in disclosed, "disclosure", f"{name} disclosed twice")
        disclosed[name] = value
    return Token(digest(signed.encode("ascii")), claims, disclosed, text), jwt


def verify_token(text: str, token_keys: Iterable[str], now: int) -> Token:
    """Checks a token by itself: form, signature, disclosures, time; neither log nor status.

    Raises:
        RefutedError: ``malformed``, ``unknown-key``, ``bad-signature``, ``disclosure``, ``not-yet-valid``, ``expired``.
    """
    token, jwt = parse_token(text)
    verify_jwt(jwt, token_keys)
    require(as_integer(token.claims["iat"], "iat") <= now + SKEW, "not-yet-valid", "issued in the future")
    require(now < as_integer(token.claims["exp"], "exp"), "expired", "the token has expired")
    return token


def verify_holder(text: str, token: Token, audience: str, nonce: str, now: int, most_age: int) -> None:
    """Checks a verified token with a key binding behind its last tilde: who presents it holds the key of ``cnf``.

    Raises:
        RefutedError: ``malformed`` or ``key-binding``; ``bad-signature``.
    """
    binding = text.removeprefix(token.text)
    require(text.startswith(token.text) and "~" not in binding, "key-binding", "another token, or more of it")
    confirmation = token.claims["cnf"]
    require(bool(binding) and isinstance(confirmation, dict), "key-binding", "nobody is bound, or nobody shows a key")
    assert isinstance(confirmation, dict)
    jwt = parse_jwt(binding, "kb+jwt", ("alg", "typ"))
    claims = as_object(parse(jwt.payload), ["aud", "iat", "nonce", "sd_hash"], "kb")
    jwk = as_object(confirmation["jwk"], ["crv", "kty", "x"], "cnf.jwk")
    ed25519.verify(b64url_decode(jwk["x"], "cnf.jwk.x", 32), jwt.signing_input, jwt.signature)
    require(claims["aud"] == audience and claims["nonce"] == nonce, "key-binding", "made for somebody else")
    issued = as_integer(claims["iat"], "kb.iat", 0, MAX_TIME)
    require(now - most_age <= issued <= now + SKEW, "key-binding", "made at another time")
    hashed = b64url_encode(hashlib.sha256(token.text.encode("ascii")).digest())
    require(claims["sd_hash"] == hashed, "key-binding", "made for another presentation")


def files_root(provenance_hashes: Iterable[bytes]) -> bytes:
    """RFC 6962 over the sorted, distinct, raw hashes."""
    return merkle.root(sorted(set(provenance_hashes)))


def verify_files(data: bytes, claims: Mapping[str, Json]) -> list[bytes]:
    """The list of files of a token (``*.files``): 32 bytes each, ascending, as many as the token says, of its root.

    Raises:
        RefutedError: ``files``.
    """
    require(len(data) % 32 == 0, "files", "not a list of 32-byte hashes")
    hashes = [data[i : i + 32] for i in range(0, len(data), 32)]
    require(hashes == sorted(set(hashes)), "files", "the hashes are not ascending")
    files = as_object(claims["files"], ["root", "count"], "files")
    require(len(hashes) == files["count"], "files", "another number of files than the token says")
    require(files_root(hashes) == digest_bytes(files["root"], "files.root"), "files", "other files than the token says")
    return hashes


def verify_status_list(text: str, token_keys: Iterable[str], uri: str, now: int | None) -> bytes:
    """The unpacked bit array of a status list; ``now`` None leaves its time alone.

    Raises:
        RefutedError: ``malformed``, ``unknown-key``, ``bad-signature``, ``status``.
    """
    jwt = parse_jwt(text, "statuslist+jwt")
    claims = as_object(parse(jwt.payload), ["sub", "iat", "exp", "ttl", "status_list"], "status")
    issued = as_integer(claims["iat"], "status.iat", 0, MAX_TIME - 24 * 3600)
    require(claims["exp"] == issued + 24 * 3600, "malformed", "status.exp: not a day after iat")
    as_integer(claims["ttl"], "status.ttl", 3600, 3600)
    packed = as_object(claims["status_list"], ["bits", "lst"], "status_list")
    as_integer(packed["bits"], "status_list.bits", STATUS_BITS, STATUS_BITS)
    array = inflate(b64url_decode(packed["lst"], "status_list.lst"), STATUS_COUNT * STATUS_BITS // 8)
    verify_jwt(jwt, token_keys)
    require(claims["sub"] == uri, "status", "the list of another address")
    require(now is None or issued - SKEW <= now < issued + 24 * 3600, "status", "the list is stale, or of the future")
    return array


def inflate(data: bytes, length: int) -> bytes:
    """Unpacks zlib data (RFC 1950) that gives exactly ``length`` bytes.

    Raises:
        RefutedError: ``status``.
    """
    stream = zlib.decompressobj()
    try:
        array = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise RefutedError("status", "not zlib data") from error
    ended = stream.eof and not stream.unused_data and not stream.unconsumed_tail
    require(ended and len(array) == length, "status", f"not a bit array of {length} bytes")
    return array


def status_at(array: bytes, index: int, bits: int = STATUS_BITS) -> int:
    """The status at an index, least significant bits of a byte first.

    Raises:
        RefutedError: ``status``: out of range.
    """
    per_byte = 8 // bits
    require(0 <= index < len(array) * per_byte, "status", f"index {index} is out of range")
    return (array[index // per_byte] >> (index % per_byte * bits)) & ((1 << bits) - 1)


def verify_token_bundle(
    data: bytes, trust: Trust, now: int, block_hashes: Collection[str] = (), files: bytes | None = None
) -> TokenResult:
    """Checks a token bundle (``*.token.json``); ``files`` is the list beside it where the bundle holds null.

    Raises:
        RefutedError: with the code of the first check that refuses.
    """
    bundle = as_object(parse(data), _BUNDLE, "bundle")
    as_word(bundle["trainmark"], ["token/v1"], "bundle.trainmark")
    text = as_text(bundle["token"], "token")
    token, _ = parse_token(text)
    note_data = as_text(bundle["checkpoint"], "checkpoint").encode()
    leaves = read_leaves(bundle["leaves"], size_of(note_data))
    anchors = read_anchors(bundle["anchors"])
    # The log: signatures, checkpoint, paths, void leaves.
    for leaf in leaves:
        verify_statement(leaf.statement)
    checkpoint = verify_checkpoint(note_data, trust.policy)
    verify_leaves(leaves, checkpoint)
    require(token.claims["log"] == checkpoint.origin, "wrong-log", "a token of another log")
    parties = fold_keys([(leaf.index, leaf.statement) for leaf in leaves], checkpoint.origin)
    result = Result(checkpoint, {"signatures", "checkpoint", "leaves"})
    complete = {party: keys for party, keys in parties.items() if party == trust.registry}
    result.void = void_leaves(leaves, checkpoint.origin, trust.registry, complete)
    result.not_checked |= {"witnesses"} if trust.policy.quorum is None else set()
    counting = [leaf for leaf in leaves if leaf.index not in result.void]
    # The token's leaf, the policy in force there, the token itself.
    at = _index_of(counting, "token", "token", token.digest)
    keys, issuer = _policy_at(counting, at)
    verify_token(text, keys, now)
    require(token.claims["iss"] == issuer, "malformed", "iss: not the issuer of the policy")
    result.proved |= {"token", "token-leaf"}
    # The manifest leaves.
    statements = {leaf.index: leaf.statement for leaf in counting}
    signers = {
        _verify_manifest(as_object(item, ["digest", "index"], "manifests"), statements, at)
        for item in as_list(token.claims["manifests"], "manifests")
    }
    named = {
        as_object(item, ["creator_id", "text", "url"], "attribution")["creator_id"]
        for item in as_list(token.claims["attribution"], "attribution")
    }
    require(named == signers, "header-digest", "the works are attributed to others than signed the manifests")
    result.proved.add("manifests")
    result.not_checked.add("creator-keys")
    # The files.
    listed = b64url_decode(bundle["files"], "files") if bundle["files"] is not None else files
    if listed is None:
        result.not_checked.add("files")
    else:
        verify_files(listed, token.claims)
        result.proved.add("files")
    # The status.
    status = _verify_status(as_text(bundle["status"], "status"), token, counting, issuer, now)
    result.proved.add("status")
    verify_anchors(anchors, checkpoint, trust, block_hashes, result)
    return TokenResult(token, STATUS_WORDS[status], result)


def _index_of(leaves: list[Leaf], kind: str, name: str, value: str) -> int:
    found = [leaf.index for leaf in leaves if leaf.statement.type == kind and leaf.statement.body[name] == value]
    require(bool(found), "leaf-path", f"no carried {kind} leaf holds this {name}")
    return found[0]


def _policy_at(leaves: list[Leaf], index: int) -> tuple[list[str], str]:
    """Token keys and issuer of the last policy before an index."""
    found = [leaf.statement for leaf in leaves if leaf.statement.type == "policy" and leaf.index < index]
    require(bool(found), "leaf-path", f"no carried policy leaf before {index}")
    body = found[-1].body
    return [as_text(did, "token_keys") for did in as_list(body["token_keys"], "token_keys")], str(body["issuer"])


def _verify_manifest(named: dict[str, Json], statements: Mapping[int, Statement], before: int) -> str:
    """Checks that a manifest leaf is carried and before the token's; returns who made the statement."""
    index = as_integer(named["index"], "manifests.index", 1)
    require(index < before, "void", "the token's leaf is not behind its manifests'")
    statement = statements.get(index)
    require(
        statement is not None and statement.type == "manifest", "leaf-path", f"manifest leaf {index} is not carried"
    )
    assert statement is not None
    require(statement.body["manifest"] == named["digest"], "header-digest", f"leaf {index} names another manifest")
    return statement.by


def _verify_status(text: str, token: Token, leaves: list[Leaf], issuer: str, now: int) -> int:
    reference = as_object(token.claims["status"], ["status_list"], "status")
    place = as_object(reference["status_list"], ["idx", "uri"], "status_list")
    uri = as_text(place["uri"], "status_list.uri")
    require(re.fullmatch(re.escape(issuer) + "/status/(0|[1-9][0-9]*)", uri) is not None, "status", "not of the issuer")
    logged = [leaf for leaf in leaves if leaf.statement.type == "status" and leaf.statement.body["uri"] == uri]
    require(bool(logged), "status", "no carried leaf holds the digest of the list")
    body = logged[-1].statement.body
    keys, _ = _policy_at(leaves, logged[-1].index)
    array = verify_status_list(text, keys, uri, now)
    require((body["bits"], body["count"]) == (STATUS_BITS, STATUS_COUNT), "status", "the leaf says another length")
    require(body["digest"] == digest(array), "status", "the list is not the one that was logged")
    return status_at(array, as_integer(place["idx"], "status_list.idx"))


def _read_disclosure(text: str) -> tuple[str, Json]:
    parts = as_list(parse(b64url_decode(text, "disclosure")), "disclosure")
    require(len(parts) == 3, "malformed", "a disclosure is salt, name and value")
    b64url_decode(parts[0], "disclosure: the salt", 16)
    name = as_word(parts[1], list(_DISCLOSED), "disclosure: the name")
    value = as_object(parts[2], _DISCLOSED[name], name)
    if name == "licensee":
        as_text(value["name"], "licensee.name")
        as_text(value["id"], "licensee.id")
    else:
        as_pattern(value["currency"], "[A-Z]{3}", "price.currency")
        as_integer(value["minor"], "price.minor")
    return name, value


def _check_claims(value: Json) -> dict[str, Json]:
    claims = as_object(value, _CLAIMS, "claims")
    as_address(claims["iss"], "iss")
    b64url_decode(claims["jti"], "jti", 16)
    issued = as_integer(claims["iat"], "iat", 0, MAX_TIME)
    as_integer(claims["exp"], "exp", issued + 1, MAX_TIME)
    as_word(claims["vct"], [VCT], "vct")
    uses = [as_word(item, documents.USES, "uses") for item in as_list(claims["uses"], "uses")]
    require(uses == sorted(set(uses)), "malformed", "uses: not sorted")
    if claims["cnf"] is None:
        require(not uses, "malformed", "a token for nobody grants no use")
    else:
        jwk = as_object(as_object(claims["cnf"], ["jwk"], "cnf")["jwk"], ["crv", "kty", "x"], "cnf.jwk")
        require((jwk["crv"], jwk["kty"]) == ("Ed25519", "OKP"), "malformed", "cnf.jwk: not an Ed25519 key")
        ed25519.check_form(b64url_decode(jwk["x"], "cnf.jwk.x", 32), "cnf.jwk.x")
    place = as_object(
        as_object(claims["status"], ["status_list"], "status")["status_list"], ["idx", "uri"], "status_list"
    )
    as_integer(place["idx"], "status_list.idx", 0, STATUS_COUNT - 1)
    list_address = as_text(place["uri"], "status_list.uri")
    require(list_address.startswith(f"{claims['iss']}/status/"), "malformed", "status_list.uri: of another issuer")
    number = list_address.removeprefix(f"{claims['iss']}/status/")
    as_pattern(number, "0|[1-9][0-9]{0,9}", "status_list.uri")
    require(int(number) < 2**32, "malformed", "status_list.uri: no such list")
    license_named = as_object(claims["license"], ["id", "digest"], "license")
    as_pattern(license_named["id"], "[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "license.id")
    digest_bytes(license_named["digest"], "license.digest")
    as_word(claims["audience"], ["any", "non-commercial", "research"], "audience")
    documents.check_line(claims["purpose"], "purpose")
    require(len(str(claims["purpose"])) <= 500, "malformed", "purpose: too long")
    creators = []
    for item in as_list(claims["attribution"], "attribution"):
        named = as_object(item, ["creator_id", "text", "url"], "attribution")
        ed25519.did_decode(named["creator_id"], "attribution.creator_id")
        documents.check_line(named["text"], "attribution.text")
        as_address(named["url"], "attribution.url")
        creators.append(str(named["creator_id"]))
    require(1 <= len(creators) <= 64, "malformed", "attribution: 1 to 64")
    require(creators == sorted(set(creators)), "malformed", "attribution: not by creator_id")
    as_origin(claims["log"], "log")
    _check_manifests(claims["manifests"])
    files = as_object(claims["files"], ["root", "count"], "files")
    digest_bytes(files["root"], "files.root")
    as_integer(files["count"], "files.count", 1, 6_400_000)
    for name in ("parent", "renews"):
        if claims[name] is not None:
            digest_bytes(claims[name], name)
    as_word(claims["_sd_alg"], ["sha-256"], "_sd_alg")
    hashes = as_list(claims["_sd"], "_sd")
    for hashed in hashes:
        b64url_decode(hashed, "_sd", 32)
    names = [str(hashed) for hashed in hashes]
    require(names == sorted(set(names)) and len(names) <= len(_DISCLOSED), "malformed", "_sd: not sorted, or too many")
    return claims


def _check_manifests(value: Json) -> None:
    indices = []
    for item in as_list(value, "manifests"):
        named = as_object(item, ["digest", "index"], "manifests")
        digest_bytes(named["digest"], "manifests.digest")
        indices.append(as_integer(named["index"], "manifests.index", 1))
    require(1 <= len(indices) <= 64, "malformed", "manifests: 1 to 64")
    require(indices == sorted(set(indices)), "malformed", "manifests: not by index")
