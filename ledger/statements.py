"""Statements: the one signed thing; a log leaf is the bytes of one (docs/format.md, section 1).

A statement says who speaks (`by`, the did:key of a party's first key, kept for ever), which key signed, which log may
carry it, and a body of one of the types below.  ``parse_statement`` checks form only; ``verify_statement`` the
signature; whether the speaker may say it, and whether the key counted at that index, is :mod:`ledger.state`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ledger import text
from ledger.canonical import (
    Json,
    Object,
    as_bool,
    as_choice,
    as_indices,
    as_int,
    as_list,
    as_object,
    as_text,
    canonical,
    optional,
    parse,
)
from ledger.checkpoint import check_origin
from ledger.encoding import b64url_decode, b64url_encode, digest_decode, digest_encode, hex_decode, time_decode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import SIGNATURE_BYTES, Signer, did_decode, pae, verify_signature
from ledger.note import parse_vkey

PAYLOAD_TYPE: Final = "application/vnd.trainmark.statement.v1+json"
POSSESSION_TYPE: Final = "application/vnd.trainmark.key-possession.v1"
VERSION: Final = 1
MAX_STATEMENT_BYTES: Final = 4096
MAX_REFERENCES: Final = 200
MAX_ENTRY_REFERENCES: Final = 400
MAX_TOKEN_KEYS: Final = 8

OUTCOMES: Final = ("listed", "rejected", "delisted", "erased")
VISIBILITIES: Final = ("public", "invite", "private")
LEVELS: Final = ("self", "domain", "attested")
DECISIONS: Final = ("upheld", "rejected", "settled")
RECORD_KINDS: Final = ("agreement", "audit", "statement", "usage", "gate", "labels", "watch")

_TYPE = text.Form(re.compile(r"[a-z][a-z0-9-]*"), "small letters, digits and -, the first a letter")
_ENVELOPE = ("type", "v", "by", "key", "log", "known_block", "body", "sig")
_SIG = b',"sig":"'


@dataclass(frozen=True, slots=True)
class KnownBlock:
    """A block the signer had seen: bounds the time of signing from below for whoever trusts that block."""

    chain: str
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class PolicyBody:
    """What the registry is: its log, its token issuer and their keys, and the digest of its public rules."""

    origin: str
    log_key: str
    issuer: str
    token_keys: tuple[str, ...]
    rules: bytes


@dataclass(frozen=True, slots=True)
class KeyAddBody:
    """`key` may sign for `by` from the next leaf on; `possession` is the new key's own signature."""

    key: str
    possession: bytes
    recovery: bool


@dataclass(frozen=True, slots=True)
class KeyRevokeBody:
    """`key` may sign no more; its leaves from index `since` on are disputed."""

    key: str
    since: int | None


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """The header with digest `manifest` is offered; it replaces the leaves `supersedes`."""

    manifest: bytes
    supersedes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WithdrawBody:
    """No new grants of manifest `leaf` from `effective_at` (UTC seconds) on."""

    leaf: int
    effective_at: int


@dataclass(frozen=True, slots=True)
class ReviewBody:
    """The registry lists, rejects, delists or erases manifest `leaf`."""

    leaf: int
    outcome: str
    visibility: str | None
    evidence: bytes | None


@dataclass(frozen=True, slots=True)
class IdentityBody:
    """The registry vouches for who `creator` is, at a stated level."""

    creator: str
    level: str
    evidence: bytes | None


@dataclass(frozen=True, slots=True)
class DisputeBody:
    """One move in a case on manifest `leaf`; `entries` empty means all of it."""

    op: str
    case: int | None
    leaf: int
    entries: tuple[int, ...]
    evidence: bytes | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class TokenBody:
    """The registry issued the token whose issuer-signed JWT has this digest."""

    token: bytes


@dataclass(frozen=True, slots=True)
class StatusBody:
    """The registry's status list `uri` changed to an array of this digest."""

    uri: str
    bits: int
    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class SnapshotBody:
    """The registry cut a snapshot of the state at `size`."""

    size: int
    bits: int
    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class TrainingBody:
    """A model-maker commits to what a model was trained on."""

    model: bytes
    corpus_root: bytes
    corpus_count: int
    tokens: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class RecordBody:
    """Something put on record, without effect on any state."""

    kind: str
    refs: tuple[int, ...]
    evidence: bytes


@dataclass(frozen=True, slots=True)
class UnknownBody:
    """A type or version that this reader does not know: skipped and counted."""


Body: TypeAlias = (
    PolicyBody
    | KeyAddBody
    | KeyRevokeBody
    | ManifestBody
    | WithdrawBody
    | ReviewBody
    | IdentityBody
    | DisputeBody
    | TokenBody
    | StatusBody
    | SnapshotBody
    | TrainingBody
    | RecordBody
    | UnknownBody
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement; `data` are its canonical bytes (the leaf), `signed` those without ``sig``."""

    type: str
    by: str
    key: str
    log: str | None
    known_block: KnownBlock | None
    body: Body
    sig: bytes
    data: bytes
    signed: bytes


def as_did(value: Json, field: str) -> str:
    """Reads a did:key of an Ed25519 key."""
    did = as_text(value, field)
    did_decode(did, field)
    return did


def as_digest(value: Json, field: str) -> bytes:
    """Reads ``sha256:<hex>``."""
    return digest_decode(value, field)


def as_time(value: Json, field: str) -> int:
    """Reads a time as UTC seconds."""
    return time_decode(value, field)


def _policy(value: Json) -> PolicyBody:
    o = as_object(value, "body", ("origin", "log_key", "issuer", "token_keys", "rules"))
    origin = check_origin(as_text(o["origin"], "body.origin"), "body.origin")
    log_key = as_text(o["log_key"], "body.log_key")
    if parse_vkey(log_key, "body.log_key").name != origin:
        raise MalformedError("the key's name must be the origin", field="body.log_key")
    keys = as_list(o["token_keys"], "body.token_keys", MAX_TOKEN_KEYS, 1)
    return PolicyBody(
        origin,
        log_key,
        text.url(as_text(o["issuer"], "body.issuer"), "body.issuer"),
        tuple(as_did(k, "body.token_keys") for k in keys),
        as_digest(o["rules"], "body.rules"),
    )


def _key(value: Json) -> KeyAddBody | KeyRevokeBody:
    if isinstance(value, dict) and value.get("op") == "revoke":
        o = as_object(value, "body", ("op", "key", "since"))
        return KeyRevokeBody(as_did(o["key"], "body.key"), optional(o["since"], as_int, "body.since"))
    o = as_object(value, "body", ("op", "key", "possession", "recovery"))
    as_choice(o["op"], "body.op", ("add", "revoke"))
    possession = b64url_decode(o["possession"], "body.possession", SIGNATURE_BYTES)
    return KeyAddBody(as_did(o["key"], "body.key"), possession, as_bool(o["recovery"], "body.recovery"))


def _manifest(value: Json) -> ManifestBody:
    o = as_object(value, "body", ("manifest", "supersedes"))
    return ManifestBody(
        as_digest(o["manifest"], "body.manifest"), as_indices(o["supersedes"], "body.supersedes", MAX_REFERENCES)
    )


def _withdraw(value: Json) -> WithdrawBody:
    o = as_object(value, "body", ("leaf", "effective_at"))
    return WithdrawBody(as_int(o["leaf"], "body.leaf"), as_time(o["effective_at"], "body.effective_at"))


def _review(value: Json) -> ReviewBody:
    o = as_object(value, "body", ("leaf", "outcome", "visibility", "evidence"))
    outcome = as_choice(o["outcome"], "body.outcome", OUTCOMES)
    visibility = None if o["visibility"] is None else as_choice(o["visibility"], "body.visibility", VISIBILITIES)
    if (visibility is not None) != (outcome == "listed"):
        raise MalformedError("visibility goes with outcome listed, and only with it", field="body.visibility")
    evidence = optional(o["evidence"], as_digest, "body.evidence")
    return ReviewBody(as_int(o["leaf"], "body.leaf"), outcome, visibility, evidence)


def _identity(value: Json) -> IdentityBody:
    o = as_object(value, "body", ("creator", "level", "evidence"))
    level = as_choice(o["level"], "body.level", LEVELS)
    return IdentityBody(
        as_did(o["creator"], "body.creator"), level, optional(o["evidence"], as_digest, "body.evidence")
    )


def _dispute(value: Json) -> DisputeBody:
    o = as_object(value, "body", ("op", "case", "leaf", "entries", "evidence", "outcome"))
    op = as_choice(o["op"], "body.op", ("open", "answer", "hold", "decide"))
    case = optional(o["case"], as_int, "body.case")
    if (case is None) != (op == "open"):
        raise MalformedError("case is null in the leaf that opens it, and its index in all others", field="body.case")
    outcome = None if o["outcome"] is None else as_choice(o["outcome"], "body.outcome", DECISIONS)
    if (outcome is None) != (op != "decide"):
        raise MalformedError("outcome goes with op decide, and only with it", field="body.outcome")
    return DisputeBody(
        op,
        case,
        as_int(o["leaf"], "body.leaf"),
        as_indices(o["entries"], "body.entries", MAX_ENTRY_REFERENCES),
        optional(o["evidence"], as_digest, "body.evidence"),
        outcome,
    )


def _token(value: Json) -> TokenBody:
    return TokenBody(as_digest(as_object(value, "body", ("token",))["token"], "body.token"))


def _status(value: Json) -> StatusBody:
    o = as_object(value, "body", ("uri", "bits", "count", "digest"))
    return StatusBody(
        text.url(as_text(o["uri"], "body.uri"), "body.uri"),
        as_int(o["bits"], "body.bits", 1, 8),
        as_int(o["count"], "body.count", 1),
        as_digest(o["digest"], "body.digest"),
    )


def _snapshot(value: Json) -> SnapshotBody:
    o = as_object(value, "body", ("size", "bits", "count", "root"))
    return SnapshotBody(
        as_int(o["size"], "body.size", 1),
        as_int(o["bits"], "body.bits", 0, 24),
        as_int(o["count"], "body.count"),
        as_digest(o["root"], "body.root"),
    )


def _training(value: Json) -> TrainingBody:
    o = as_object(value, "body", ("model", "corpus", "tokens", "size"))
    corpus = as_object(o["corpus"], "body.corpus", ("root", "count"))
    return TrainingBody(
        as_digest(o["model"], "body.model"),
        as_digest(corpus["root"], "body.corpus.root"),
        as_int(corpus["count"], "body.corpus.count"),
        as_indices(o["tokens"], "body.tokens", MAX_REFERENCES),
        as_int(o["size"], "body.size", 1),
    )


def _record(value: Json) -> RecordBody:
    o = as_object(value, "body", ("kind", "refs", "evidence"))
    return RecordBody(
        as_choice(o["kind"], "body.kind", RECORD_KINDS),
        as_indices(o["refs"], "body.refs", MAX_REFERENCES),
        as_digest(o["evidence"], "body.evidence"),
    )


_BODIES: Final[dict[str, Callable[[Json], Body]]] = {
    "policy": _policy,
    "key": _key,
    "manifest": _manifest,
    "withdraw": _withdraw,
    "review": _review,
    "identity": _identity,
    "dispute": _dispute,
    "token": _token,
    "status": _status,
    "snapshot": _snapshot,
    "training": _training,
    "record": _record,
}


def parse_statement(data: bytes, field: str = "statement") -> Statement:
    """Reads the canonical bytes of one statement; verifies no signature.

    Raises:
        MalformedError: too long, not canonical, another set of keys, or a body that is not of its type.
    """
    return _read(as_object(parse(data, field, MAX_STATEMENT_BYTES), field, _ENVELOPE), data, field)


def read_statement(value: Json, field: str = "statement") -> Statement:
    """Reads a statement that stands inside a parsed document."""
    o = as_object(value, field, _ENVELOPE)
    data = canonical(o)
    if len(data) > MAX_STATEMENT_BYTES:
        raise MalformedError(f"at most {MAX_STATEMENT_BYTES} bytes are allowed, found {len(data)}", field=field)
    return _read(o, data, field)


def _read(o: Object, data: bytes, field: str) -> Statement:
    """Reads the envelope `o`, whose canonical bytes are `data`."""
    kind = text.identifier(as_text(o["type"], f"{field}.type"), f"{field}.type", _TYPE, 32)
    version = as_int(o["v"], f"{field}.v", 1)
    known = version == VERSION and kind in _BODIES
    log = None if o["log"] is None else check_origin(as_text(o["log"], f"{field}.log"), f"{field}.log")
    if log is None and kind != "manifest":
        raise MalformedError("only a manifest may be signed for no log", field=f"{field}.log")
    sig = b64url_decode(o["sig"], f"{field}.sig", SIGNATURE_BYTES)
    # Only `type`, a name, and `v`, a number, come after it: no string there can look like the key.
    at = data.rindex(_SIG)
    signed = data[:at] + data[data.index(b'"', at + len(_SIG)) + 1 :]
    return Statement(
        kind,
        as_did(o["by"], f"{field}.by"),
        as_did(o["key"], f"{field}.key"),
        log,
        optional(o["known_block"], _known_block, f"{field}.known_block"),
        _BODIES[kind](o["body"]) if known else UnknownBody(),
        sig,
        data,
        signed,
    )


def _known_block(value: Json, field: str) -> KnownBlock:
    o = as_object(value, field, ("chain", "number", "hash"))
    chain = text.chain(as_text(o["chain"], f"{field}.chain"), f"{field}.chain")
    hash_ = as_text(o["hash"], f"{field}.hash")
    if not hash_.startswith("0x") or len(hash_) != 66:
        raise MalformedError(f"expected 0x and 64 hex digits, found {shown(hash_)}", field=f"{field}.hash")
    return KnownBlock(chain, as_int(o["number"], f"{field}.number"), hex_decode(hash_[2:], f"{field}.hash"))


def verify_statement(statement: Statement, field: str = "statement") -> Statement:
    """Returns the statement if `key` signed it (and, where it adds a key, if that key agreed).

    Raises:
        VerificationError: ``bad-signature``.
    """
    if not verify_signature(did_decode(statement.key), pae(PAYLOAD_TYPE, statement.signed), statement.sig):
        raise VerificationError("not signed by the key it names", code="bad-signature", field=field)
    body = statement.body
    if isinstance(body, KeyAddBody):
        message = pae(POSSESSION_TYPE, possession_payload(statement.by, body.key))
        if not verify_signature(did_decode(body.key), message, body.possession):
            raise VerificationError("the new key did not sign its possession", code="bad-signature", field=field)
    return statement


def possession_payload(by: str, key: str) -> bytes:
    """What a new key signs to show that it agrees to speak for `by`."""
    return f"{by} {key}".encode("ascii")


def sign_statement(
    kind: str, by: str, key: Signer, log: str | None, body: Object, known_block: Object | None = None
) -> Statement:
    """Makes a statement of `by`, signed by `key`, and reads it back.

    Raises:
        MalformedError: the body is not of its type.
    """
    fields: Object = {
        "type": kind,
        "v": VERSION,
        "by": by,
        "key": key.did,
        "log": log,
        "known_block": known_block,
        "body": body,
    }
    sig = key.sign(pae(PAYLOAD_TYPE, canonical(fields)))
    return parse_statement(canonical({**fields, "sig": b64url_encode(sig)}))


def key_add_body(by: str, new: Signer, *, recovery: bool) -> Object:
    """Makes the body that adds `new` to the keys of `by`, with its possession proof."""
    possession = new.sign(pae(POSSESSION_TYPE, possession_payload(by, new.did)))
    return {"op": "add", "key": new.did, "possession": b64url_encode(possession), "recovery": recovery}


def manifest_body(manifest: bytes, supersedes: tuple[int, ...] = ()) -> Object:
    """Makes the body that offers a manifest."""
    return {"manifest": digest_encode(manifest), "supersedes": list(supersedes)}


def statement_value(statement: Statement) -> Json:
    """Returns the statement as it stands inside a document."""
    return parse(statement.data, "statement", MAX_STATEMENT_BYTES)
