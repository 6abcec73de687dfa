"""Statements, the keys of a party, void leaves: docs/format.md, section 1.

A leaf of the log is the bytes of one statement.  ``parse_statement`` checks form alone, ``verify_statement`` the
signature, ``Keys`` who may sign at which index, ``void_reason`` the rest that makes a leaf void.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from . import ed25519
from .jcs import (
    Json,
    as_address,
    as_boolean,
    as_integer,
    as_list,
    as_object,
    as_origin,
    as_pattern,
    as_text,
    as_time,
    as_word,
    b64url_decode,
    canonical,
    digest_bytes,
    parse,
)
from .note import LOG_KEY, parse_vkey
from .refuted import RefutedError, require

MAX_BYTES = 4096
STATEMENT = "application/vnd.trainmark.statement.v1+json"
POSSESSION = "application/vnd.trainmark.key-possession.v1"
BY_REGISTRY = frozenset({"policy", "review", "identity", "token", "status", "snapshot"})

_KEYS = ["type", "v", "by", "key", "log", "known_block", "body", "sig"]
_BODY: Mapping[str, tuple[str, ...]] = {
    "policy": ("origin", "log_key", "issuer", "token_keys", "rules"),
    "manifest": ("manifest", "supersedes"),
    "withdraw": ("leaf", "effective_at"),
    "review": ("leaf", "outcome", "visibility", "evidence"),
    "identity": ("creator", "level", "evidence"),
    "dispute": ("op", "case", "leaf", "entries", "evidence", "outcome"),
    "token": ("token",),
    "status": ("uri", "bits", "count", "digest"),
    "snapshot": ("size", "bits", "count", "root"),
    "training": ("model", "corpus", "tokens", "size"),
    "record": ("kind", "refs", "evidence"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the right form; ``data`` is the leaf.

    One of a type or version that this reader skips and counts is of the type ``unknown``, with an empty ``body``.
    """

    data: bytes
    type: str
    by: str
    key: str
    log: str | None
    body: dict[str, Json]
    signature: bytes
    known: bool


@dataclass(slots=True)
class Keys:
    """The keys of one party, folded from its key statements in the order of the log.

    ``added`` maps a key to the index of its ``add`` (-1 for the first key), ``revoked`` to that of its ``revoke``.
    """

    by: str
    added: dict[str, int] = field(default_factory=dict)
    revoked: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    recovery: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.added.setdefault(self.by, -1)

    def is_valid(self, key: str, index: int, of_type: str) -> bool:
        """Whether the key may sign a statement of that type at that index."""
        if key not in self.added or not self.added[key] < index:
            return False
        if key in self.revoked and index > self.revoked[key]:
            return False
        return of_type == "key" or key not in self.recovery

    def apply(self, index: int, statement: Statement) -> str | None:
        """Takes in a key statement; gives the reason where it is void instead, and then changes nothing."""
        if not self.is_valid(statement.key, index, "key"):
            return "its key is not valid at this index"
        target = str(statement.body["key"])
        if statement.body["op"] == "add":
            if target in self.added:
                return "the key was added before; a revoked key never returns"
            if not _possession_holds(statement):
                return "the new key did not sign for its possession"
            if statement.body["recovery"] is True and self.recovery and statement.key not in self.recovery:
                return "beside a recovery key, only a recovery key adds another"
            self.added[target] = index
            if statement.body["recovery"] is True:
                self.recovery.add(target)
            return None
        if target not in self.added or target in self.revoked:
            return "the key to revoke is not valid"
        if target in self.recovery and statement.key not in self.recovery:
            return "only a recovery key revokes a recovery key"
        since = statement.body["since"]
        if isinstance(since, int) and since > index:
            return "since lies after the statement"
        self.revoked[target] = index
        if isinstance(since, int):
            self.since[target] = since
        return None


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_statement(data: bytes) -> Statement:
    """Reads the bytes of a leaf.

    Raises:
        RefutedError: ``malformed``.
    """
    require(len(data) <= MAX_BYTES, "malformed", f"a statement of {len(data)} bytes")
    return read_statement(parse(data))


def read_statement(value: Json) -> Statement:
    """Reads a statement that was cut out of a file.

    Raises:
        RefutedError: ``malformed``.
    """
    fields = as_object(value, _KEYS, "statement")
    data = canonical(fields)
    require(len(data) <= MAX_BYTES, "malformed", f"a statement of {len(data)} bytes")
    version = as_integer(fields["v"], "statement.v", 1)
    kind, by, key = (as_text(fields[name], f"statement.{name}") for name in ("type", "by", "key"))
    as_pattern(kind, "[a-z][a-z0-9-]{0,31}", "statement.type")
    ed25519.did_decode(by, "statement.by")
    ed25519.did_decode(key, "statement.key")
    log = None if fields["log"] is None else as_origin(fields["log"], "statement.log")
    if fields["known_block"] is not None:
        block = as_object(fields["known_block"], ["chain", "number", "hash"], "known_block")
        as_pattern(block["chain"], "eip155:[1-9][0-9]{0,19}", "known_block.chain")
        as_integer(block["number"], "known_block.number")
        as_pattern(block["hash"], "0x[0-9a-f]{64}", "known_block.hash")
    known = version == 1 and (kind == "key" or kind in _BODY)
    body: dict[str, Json] = {}
    if known:
        require(isinstance(fields["body"], dict), "malformed", "statement.body: not an object")
        assert isinstance(fields["body"], dict)
        body = fields["body"]
        _check_body(kind, body)
    require(log is not None or kind == "manifest", "malformed", "only a manifest statement may name no log")
    signature = b64url_decode(fields["sig"], "statement.sig", 64)
    return Statement(data, kind if known else "unknown", by, key, log, body, signature, known)


def as_value(statement: Statement) -> dict[str, Json]:
    """The statement as a file holds it."""
    return as_object(parse(statement.data), _KEYS, "statement")


def verify_statement(statement: Statement) -> None:
    """Checks the signature of the statement by the key that it names.

    Raises:
        RefutedError: ``bad-signature``.
    """
    fields = as_value(statement)
    payload = canonical({name: value for name, value in fields.items() if name != "sig"})
    public = ed25519.did_decode(statement.key, "statement.key")
    ed25519.verify(public, pae(STATEMENT, payload), statement.signature, "bad-signature")


def references(statement: Statement) -> list[int]:
    """The leaf indices that a statement refers to; all must be smaller than its own."""
    body, found = statement.body, []
    for name in ("leaf", "case"):
        value = body.get(name)
        if isinstance(value, int):
            found.append(value)
    for name in ("supersedes", "tokens", "refs"):
        value = body.get(name)
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, int)]
    return found


def fold_keys(leaves: Iterable[tuple[int, Statement]], origin: str) -> dict[str, Keys]:
    """The keys of every party that speaks in these leaves, ascending by index; void key statements change nothing."""
    parties: dict[str, Keys] = {}
    for index, statement in leaves:
        keys = parties.setdefault(statement.by, Keys(statement.by))
        if statement.type == "key" and statement.log == origin:
            keys.apply(index, statement)
    return parties


def replay(leaves: Sequence[bytes], origin: str, registry: str) -> tuple[dict[int, Statement], dict[int, str]]:
    """Reads a whole log from its first leaf: the statements that count, and why each other leaf is void."""
    valid: dict[int, Statement] = {}
    void: dict[int, str] = {}
    parties: dict[str, Keys] = {}
    for index, data in enumerate(leaves):
        try:
            statement = parse_statement(data)
            verify_statement(statement)
        except RefutedError as refuted:
            void[index] = str(refuted)
            continue
        keys = parties.setdefault(statement.by, Keys(statement.by))
        reason = void_reason(index, statement, origin, registry, valid, keys, is_whole=True)
        if reason is None and statement.type == "key":
            reason = keys.apply(index, statement)
        if reason is None:
            valid[index] = statement
        else:
            void[index] = reason
    return valid, void


def state(leaf: int, entry: int | None, valid: Mapping[int, Statement], origin: str) -> str:
    """The state of a manifest leaf, or of one of its entries: the first row of the table in section 4 that applies.

    ``valid`` are all leaves that count.  Where a move of a case names entries, it says something of those alone.
    """
    manifest = valid.get(leaf)
    if manifest is None or manifest.type != "manifest":
        return "void"
    about = [(index, each) for index, each in sorted(valid.items()) if each.body.get("leaf") == leaf]
    outcomes = [each.body["outcome"] for _, each in about if each.type == "review"]
    cases = [index for index, each in about if _is_move(each, "open", None)]
    decided = {case: _last_move(about, "decide", case) for case in cases}
    over = {case: (at, move) for case, (at, move) in decided.items() if move is not None and _names(move, entry)}
    if outcomes and outcomes[-1] != "listed":
        return "ended"
    if any(_replaces(index, each, leaf, manifest, valid) for index, each in valid.items()):
        return "ended"
    if any(move.body["outcome"] == "upheld" for _, move in over.values()):
        return "ended"
    for case in cases:
        _, hold = _last_move(about, "hold", case)
        if hold is not None and decided[case][1] is None and _names(hold, entry):
            return "disputed"
    keys = fold_keys(sorted(valid.items()), origin)[manifest.by]
    is_reached = manifest.key in keys.since and leaf >= keys.since[manifest.key]
    if is_reached and not any(at > keys.revoked[manifest.key] for at, _ in over.values()):
        return "disputed"
    if any(each.type == "withdraw" for _, each in about):
        return "withdrawing"
    return "listed" if outcomes else "logged"


def _is_move(statement: Statement, op: str, case: Json) -> bool:
    return (statement.type, statement.body.get("op"), statement.body.get("case")) == ("dispute", op, case)


def _last_move(about: Sequence[tuple[int, Statement]], op: str, case: int) -> tuple[int, Statement | None]:
    return next(((index, each) for index, each in reversed(about) if _is_move(each, op, case)), (-1, None))


def _names(move: Statement, entry: int | None) -> bool:
    entries = move.body["entries"]
    assert isinstance(entries, list)
    return entries == [] or entry in entries


def _replaces(index: int, statement: Statement, leaf: int, manifest: Statement, valid: Mapping[int, Statement]) -> bool:
    if statement.type != "manifest" or statement.by != manifest.by:
        return False
    supersedes = statement.body["supersedes"]
    assert isinstance(supersedes, list)
    return leaf in supersedes and any(
        (each.type, each.body.get("leaf"), each.body.get("outcome")) == ("review", index, "listed")
        for each in valid.values()
    )


def void_reason(
    index: int,
    statement: Statement,
    origin: str,
    registry: str,
    before: Mapping[int, Statement],
    keys: Keys | None,
    is_whole: bool = False,
) -> str | None:
    """Why a leaf is void, or None.

    ``before`` holds the leaves below it that count: all of them where ``is_whole``, else those that are carried, and
    then what a missing one would say is not judged.  ``keys`` are those of its ``by``, folded over the whole log, or
    None where they are not known.  That the ``by`` of a manifest leaf is the creator of its header needs the header and
    is step 4 of a bundle.
    """
    if statement.log != origin:
        return "of another log"
    if not statement.known:
        return None
    if statement.type in BY_REGISTRY and statement.by != registry:
        return "not by the registry"
    if keys is not None and not keys.is_valid(statement.key, index, statement.type):
        return "its key is not valid at this index"
    if any(reference >= index for reference in references(statement)):
        return "refers to a leaf that is not before it"
    if statement.type in ("snapshot", "training") and _number(statement.body["size"]) > index:
        return "of a size beyond its own index"
    if statement.type == "policy" and statement.body["origin"] != origin:
        return "the policy of another log"
    return _void_by_leaf(statement, before, registry, is_whole)


def _void_by_leaf(statement: Statement, before: Mapping[int, Statement], registry: str, is_whole: bool) -> str | None:
    body = statement.body
    if statement.type == "manifest":
        for other in before.values():
            if (other.type, other.by) == ("manifest", statement.by) and other.body["manifest"] == body["manifest"]:
                return "the second leaf of one creator and digest"
        return None
    leaf = body.get("leaf")
    target = before.get(leaf) if isinstance(leaf, int) else None
    if isinstance(leaf, int) and (is_whole if target is None else target.type != "manifest"):
        return "its leaf is no manifest"
    if statement.type == "withdraw" and target is not None and target.by != statement.by:
        return "withdraws somebody else's manifest"
    if statement.type == "dispute":
        case = body["case"]
        opening = before.get(case) if isinstance(case, int) else None
        if isinstance(case, int) and (is_whole if opening is None else not _opens(opening, leaf)):
            return "its case is not one on that leaf"
        if any(_is_move(other, "decide", case) for other in before.values()):
            return "its case is decided"
        if body["op"] in ("hold", "decide") and statement.by != registry:
            return "not by the registry"
        if body["op"] == "answer" and target is not None and target.by != statement.by:
            return "not by the creator named"
    return None


def _opens(statement: Statement, leaf: Json) -> bool:
    return (statement.type, statement.body.get("op"), statement.body.get("leaf")) == ("dispute", "open", leaf)


def _possession_holds(statement: Statement) -> bool:
    key = str(statement.body["key"])
    proof = b64url_decode(statement.body["possession"], "possession", 64)
    message = pae(POSSESSION, f"{statement.by} {key}".encode())
    try:
        ed25519.verify(ed25519.did_decode(key, "key"), message, proof)
    except RefutedError:
        return False
    return True


def _check_body(kind: str, value: dict[str, Json]) -> None:
    if kind == "key":
        _check_key(value)
        return
    body = as_object(value, _BODY[kind], kind)
    match kind:
        case "policy":
            as_origin(body["origin"], "policy.origin")
            key = parse_vkey(as_text(body["log_key"], "policy.log_key"))
            require(key.kind == LOG_KEY and key.name == body["origin"], "malformed", "policy.log_key: of another log")
            as_address(body["issuer"], "policy.issuer")
            token_keys = as_list(body["token_keys"], "policy.token_keys")
            require(1 <= len(token_keys) <= 8, "malformed", "policy.token_keys: 1 to 8")
            for did in token_keys:
                ed25519.did_decode(did, "policy.token_keys")
            digest_bytes(body["rules"], "policy.rules")
        case "manifest":
            digest_bytes(body["manifest"], "manifest.manifest")
            _indices(body["supersedes"], "manifest.supersedes", 200)
        case "withdraw":
            as_integer(body["leaf"], "withdraw.leaf")
            as_time(body["effective_at"], "withdraw.effective_at")
        case "review":
            as_integer(body["leaf"], "review.leaf")
            outcome = as_word(body["outcome"], ["listed", "rejected", "delisted", "erased"], "review.outcome")
            if outcome == "listed":
                as_word(body["visibility"], ["public", "invite", "private"], "review.visibility")
            else:
                require(body["visibility"] is None, "malformed", "review.visibility: only of what is listed")
            _commitment(body["evidence"], "review.evidence")
        case "identity":
            ed25519.did_decode(body["creator"], "identity.creator")
            as_word(body["level"], ["self", "domain", "attested"], "identity.level")
            _commitment(body["evidence"], "identity.evidence")
        case "dispute":
            _check_dispute(body)
        case "token":
            digest_bytes(body["token"], "token.token")
        case "status":
            as_address(body["uri"], "status.uri")
            as_integer(body["bits"], "status.bits", 1, 8)
            as_integer(body["count"], "status.count", 1)
            digest_bytes(body["digest"], "status.digest")
        case "snapshot":
            as_integer(body["size"], "snapshot.size", 1)
            as_integer(body["bits"], "snapshot.bits", 0, 24)
            as_integer(body["count"], "snapshot.count")
            digest_bytes(body["root"], "snapshot.root")
        case "training":
            digest_bytes(body["model"], "training.model")
            corpus = as_object(body["corpus"], ["root", "count"], "training.corpus")
            digest_bytes(corpus["root"], "training.corpus.root")
            as_integer(corpus["count"], "training.corpus.count")
            _indices(body["tokens"], "training.tokens", 200)
            as_integer(body["size"], "training.size", 1)
        case "record":
            kinds = ["agreement", "audit", "statement", "usage", "gate", "labels", "watch"]
            as_word(body["kind"], kinds, "record.kind")
            _indices(body["refs"], "record.refs", 200)
            digest_bytes(body["evidence"], "record.evidence")


def _check_key(value: dict[str, Json]) -> None:
    if value.get("op") == "add":
        body = as_object(value, ["op", "key", "possession", "recovery"], "key")
        b64url_decode(body["possession"], "key.possession", 64)
        as_boolean(body["recovery"], "key.recovery")
    else:
        body = as_object(value, ["op", "key", "since"], "key")
        as_word(body["op"], ["revoke"], "key.op")
        if body["since"] is not None:
            as_integer(body["since"], "key.since")
    ed25519.did_decode(body["key"], "key.key")


def _check_dispute(body: dict[str, Json]) -> None:
    op = as_word(body["op"], ["open", "answer", "hold", "decide"], "dispute.op")
    if op == "open":
        require(body["case"] is None, "malformed", "dispute.case: null in the opening statement")
    else:
        as_integer(body["case"], "dispute.case")
    as_integer(body["leaf"], "dispute.leaf")
    _indices(body["entries"], "dispute.entries", 400)
    _commitment(body["evidence"], "dispute.evidence")
    if op == "decide":
        as_word(body["outcome"], ["upheld", "rejected", "settled"], "dispute.outcome")
    else:
        require(body["outcome"] is None, "malformed", "dispute.outcome: only in a decision")


def _indices(value: Json, field: str, most: int) -> None:
    numbers = [as_integer(item, field) for item in as_list(value, field)]
    require(len(numbers) <= most, "malformed", f"{field}: more than {most}")
    require(numbers == sorted(set(numbers)), "malformed", f"{field}: not ascending")


def _commitment(value: Json, field: str) -> None:
    if value is not None:
        digest_bytes(value, field)


def _number(value: Json) -> int:
    assert isinstance(value, int)
    return value
