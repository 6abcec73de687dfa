"""The token bundle ``*.token.json`` and its verification (docs/format.md, section 6).

A bundle answers, without a network: did this registry issue this token, on which manifests and files, before when, and
is it still good.  ``verify_token_bundle`` runs the numbered ``STEPS`` in order; the first that fails raises its reason
code.  What passes is told apart as in :mod:`ledger.proof`: *proved*, *asserted* (a later leaf or list could have been
left out), *not checked* (said aloud).

Leaves carried: the policies, the key leaves of the registry, the token's manifests, the token and its status list; the
key leaves of a creator may be left out, and then it is not checked that a second key speaks for that creator.
Verification is of one moment: the verifier's clock, or a time in the past (did the permission hold
when training began?).  It does not ask who holds the token: that is :mod:`ledger.tokens.presentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.canonical import Object, as_constant, as_object, as_text, canonical, parse
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import b64url_decode, b64url_encode, digest_encode, time_encode
from ledger.errors import VerificationError
from ledger.evidence import (
    KEYS_COUNTED,
    AnchorFinding,
    CarriedAnchor,
    CarriedLeaf,
    anchor_sentences,
    anchors_value,
    earliest,
    fold_carried,
    leaves_value,
    open_sentences,
    read_anchors,
    read_leaves,
    verify_anchor,
    verify_leaf,
)
from ledger.note import Note
from ledger.policy import verify_checkpoint
from ledger.state import Fold
from ledger.statements import ManifestBody, PolicyBody, StatusBody, verify_statement
from ledger.tokens.attribution import Licensee, Price, SdJwt, issuer_of, parse_token, verify_token
from ledger.tokens.claims import AttributionToken
from ledger.tokens.files import decode_files, encode_files, files_root
from ledger.tokens.jwt import keys_by_thumbprint
from ledger.tokens.status import (
    STATUS_BITS,
    STATUS_COUNT,
    StatusList,
    check_status,
    parse_status_list,
    verify_status_list,
)
from ledger.trust import Trust

MAX_CARRIED_FILES_BYTES: Final = 64 * 1024 * 1024
"""A longer list of files stays out of the bundle, in ``*.files`` beside it."""
MAX_BUNDLE_BYTES: Final = MAX_CARRIED_FILES_BYTES * 4 // 3 + 16 * 1024 * 1024

_KEYS = ("trainmark", "token", "files", "checkpoint", "leaves", "status", "anchors")


@dataclass(frozen=True, slots=True)
class TokenBundle:
    """A parsed ``*.token.json``; nothing in it has been verified."""

    sd_jwt: SdJwt
    files: tuple[bytes, ...] | None
    checkpoint: Checkpoint
    note: Note
    leaves: tuple[CarriedLeaf, ...]
    status: StatusList
    anchors: tuple[CarriedAnchor, ...]

    def leaf(self, index: int) -> CarriedLeaf | None:
        """Returns the carried leaf of that index."""
        return next((leaf for leaf in self.leaves if leaf.index == index), None)


@dataclass(frozen=True, slots=True)
class TokenResult:
    """What a verified bundle shows at the moment `as_of`.  The three lists are sentences for people.

    `leaf` is the index of the token's leaf among the log's first `size`; `files_checked` whether a list of files was at
    hand; `status_age` the seconds from the signing of the status list to `as_of` (negative: it was signed later).
    """

    digest: bytes
    token: AttributionToken
    licensee: Licensee | None
    price: Price | None
    leaf: int
    size: int
    files_checked: bool
    status_age: int
    witnesses: tuple[str, ...]
    anchors: tuple[AnchorFinding, ...]
    proved: tuple[str, ...]
    asserted: tuple[str, ...]
    not_checked: tuple[str, ...]
    as_of: int

    @property
    def issued_before(self) -> int | None:
        """UTC seconds before which the token was in the log, by the earliest trusted anchor that covers it."""
        return earliest(self.anchors, self.leaf)

    def value(self) -> Object:
        """Returns the result as JSON."""
        token, before = self.token, self.issued_before
        return {
            "token": digest_encode(self.digest),
            "issuer": token.iss,
            "license_id": token.license_id,
            "uses": list(token.uses),
            "audience": token.audience,
            "permitted_from": time_encode(token.iat),
            "permitted_until": time_encode(token.exp),
            "licensee": None if self.licensee is None else {"id": self.licensee.id, "name": self.licensee.name},
            "price": None if self.price is None else {"currency": self.price.currency, "minor": self.price.minor},
            "log": token.log,
            "leaf": self.leaf,
            "size": self.size,
            "files": {"root": digest_encode(token.files_root), "count": token.files_count},
            "files_checked": self.files_checked,
            "status_age": self.status_age,
            "issued_before": None if before is None else time_encode(before),
            "witnesses": list(self.witnesses),
            "anchors": [anchor.value() for anchor in self.anchors],
            "proved": list(self.proved),
            "asserted": list(self.asserted),
            "not_checked": list(self.not_checked),
            "as_of": time_encode(self.as_of),
        }


def parse_token_bundle(data: bytes) -> TokenBundle:
    """Reads the canonical bytes of a ``*.token.json``; verifies nothing.

    Raises:
        MalformedError: form or schema of any part.
    """
    o = as_object(parse(data, "bundle", MAX_BUNDLE_BYTES, max_text=MAX_BUNDLE_BYTES), "bundle", _KEYS)
    as_constant(o["trainmark"], "trainmark", "token/v1")
    checkpoint, note = parse_checkpoint(as_text(o["checkpoint"], "checkpoint").encode())
    files = o["files"]
    return TokenBundle(
        parse_token(as_text(o["token"], "token")),
        None if files is None else decode_files(b64url_decode(files, "files")),
        checkpoint,
        note,
        read_leaves(o["leaves"], "leaves"),
        parse_status_list(as_text(o["status"], "status")),
        read_anchors(o["anchors"], "anchors"),
    )


def format_token_bundle(
    sd_jwt: SdJwt,
    files: Sequence[bytes],
    note: bytes,
    leaves: Sequence[CarriedLeaf],
    status: str,
    anchors: Sequence[CarriedAnchor],
) -> bytes:
    """Writes a ``*.token.json``; a list of `files` over 64 MiB is left to a file beside it."""
    packed = encode_files(files)
    return canonical(
        {
            "trainmark": "token/v1",
            "token": sd_jwt.text,
            "files": b64url_encode(packed) if len(packed) <= MAX_CARRIED_FILES_BYTES else None,
            "checkpoint": note.decode(),
            "leaves": leaves_value(leaves),
            "status": status,
            "anchors": anchors_value(anchors),
        },
        max_text=MAX_BUNDLE_BYTES,
    )


@dataclass(slots=True)
class _Run:
    """One verification under way: what it is given, and what the steps have found so far."""

    bundle: TokenBundle
    trust: Trust
    files: tuple[bytes, ...] | None
    as_of: int
    past: bool
    fold: Fold = field(default_factory=Fold)
    unknown_keys: list[CarriedLeaf] = field(default_factory=list)
    witnesses: tuple[str, ...] = ()
    token_leaf: int = 0
    status_leaf: int = 0
    anchors: list[AnchorFinding] = field(default_factory=list)


def verify_token_bundle(
    data: bytes, trust: Trust, now: int, *, at: int | None = None, files: Sequence[bytes] | None = None
) -> TokenResult:
    """Verifies a token bundle under `trust` as of `now`, the verifier's clock, or of the earlier time `at`.

    `files` is the list from a ``*.files`` beside the bundle, for a bundle that carries none.

    Raises:
        ValueError: `at` is after `now`.
        MalformedError: step 1.
        VerificationError: another step, with the code named beside it.
    """
    if at is not None and at > now:
        raise ValueError(f"{at} is after the clock's {now}")
    bundle = parse_token_bundle(data)  # step 1: malformed
    listed = bundle.files if bundle.files is not None else None if files is None else tuple(sorted(set(files)))
    run = _Run(bundle, trust, listed, now if at is None else at, at is not None)
    for step in STEPS:
        step(run)
    return _result(run)


def _statements(run: _Run) -> None:
    """Step 2, ``bad-signature``: each carried statement is signed by the key it names."""
    for leaf in run.bundle.leaves:
        verify_statement(leaf.statement, f"leaf {leaf.index}")


def _checkpoint(run: _Run) -> None:
    """Step 3, ``checkpoint``: a trusted log key and the quorum signed it."""
    _, run.witnesses = verify_checkpoint(run.bundle.note, run.trust.policy)


def _leaf_paths(run: _Run) -> None:
    """Step 4, ``leaf-path``: each carried leaf is where it says in the checkpoint's tree."""
    for leaf in run.bundle.leaves:
        verify_leaf(leaf, run.bundle.checkpoint)


def _registry(run: _Run) -> None:
    """Step 5, ``wrong-log``, ``key-invalid``, ``void``: each carried leaf counts; the registry is the trusted one."""
    origin = run.bundle.checkpoint.origin
    for leaf in run.bundle.leaves:
        if leaf.statement.log != origin:
            message = f"signed for {leaf.statement.log}, carried by {origin}"
            raise VerificationError(message, code="wrong-log", field=f"leaf {leaf.index}")
    run.fold = fold_carried(run.bundle.leaves)
    for index, reason in run.fold.void.items():
        carried = run.bundle.leaf(index)
        code, _, message = reason.partition(": ")
        if code != "key-invalid" or carried is None or not _is_of_unknown_keys(run.fold, carried):
            raise VerificationError(message, code=code, field=f"leaf {index}")
        run.unknown_keys.append(carried)
    if run.fold.registry != run.trust.registry:
        message = f"the log is run by {run.fold.registry}, the trust file names {run.trust.registry}"
        raise VerificationError(message, code="wrong-log", field="leaf 0")


def _is_of_unknown_keys(fold: Fold, leaf: CarriedLeaf) -> bool:
    """Whether this is a manifest leaf of a creator none of whose key leaves is carried."""
    by = leaf.statement.by
    return isinstance(leaf.statement.body, ManifestBody) and by != fold.registry and by not in fold.key_leaves


def _token_leaf(run: _Run) -> None:
    """Step 6, ``token-leaf``: the registry has logged this token's digest."""
    index = run.fold.tokens.get(run.bundle.sd_jwt.digest)
    if index is None:
        raise VerificationError("no carried leaf is of this token", code="token-leaf", field="leaves")
    run.token_leaf = index


def _token(run: _Run) -> None:
    """Step 7, the codes of ``verify_token``: the keys are those of the policy in force at the token's leaf."""
    policy = run.fold.policy_at(run.token_leaf)
    assert policy is not None  # step 5: leaf 0 is a policy
    verify_token(run.bundle.sd_jwt, issuer_of(policy), run.as_of)


def _manifest_leaves(run: _Run) -> None:
    """Step 8, ``manifest-leaf``: each manifest the token names is that leaf, before the token's, and it attributes the
    works to just those who signed these leaves."""
    token = run.bundle.sd_jwt.token
    creators = set()
    for manifest in token.manifests:
        leaf = run.bundle.leaf(manifest.index)
        body = None if leaf is None else leaf.statement.body
        if not isinstance(body, ManifestBody) or body.manifest != manifest.digest or manifest.index > run.token_leaf:
            message = f"leaf {manifest.index} is not carried, not of that manifest, or after the token's"
            raise VerificationError(message, code="manifest-leaf", field="token.manifests")
        assert leaf is not None
        creators.add(leaf.statement.by)
    if {attribution.creator_id for attribution in token.attribution} != creators:
        message = f"the manifests are of {', '.join(sorted(creators))}"
        raise VerificationError(message, code="manifest-leaf", field="token.attribution")


def _files(run: _Run) -> None:
    """Step 9, ``files-count``, ``files-root``: the list is the token's, if there is a list."""
    token, listed = run.bundle.sd_jwt.token, run.files
    if listed is None:
        return
    if len(listed) != token.files_count:
        message = f"the token is about {token.files_count} files, the list about {len(listed)}"
        raise VerificationError(message, code="files-count", field="files")
    if files_root(listed) != token.files_root:
        raise VerificationError("the list is of other files", code="files-root", field="files")


def _status(run: _Run) -> None:
    """Step 10, ``status-leaf``, ``status-digest``, the codes of ``verify_status_list`` and ``check_status``.

    The list is the one last logged for its address, signed by a key of a policy in force since.  Its day must include
    the clock's time; about a time in the past an old list may speak as well, and ``_result`` says how well it does.
    """
    token, status = run.bundle.sd_jwt.token, run.bundle.status
    logged = run.fold.statuses.get(token.status_uri)
    if logged is None:
        raise VerificationError(f"no carried leaf is of {token.status_uri}", code="status-leaf", field="leaves")
    run.status_leaf, body = logged
    verify_status_list(status, _status_keys(run), token.status_uri, None if run.past else run.as_of)
    if body != StatusBody(token.status_uri, STATUS_BITS, STATUS_COUNT, status.digest):
        raise VerificationError("the list is not the one last logged", code="status-digest", field="status")
    check_status(status.array, token.status_index)


def _status_keys(run: _Run) -> dict[str, bytes]:
    policies: list[PolicyBody] = [body for at, body in run.fold.policies if at > run.status_leaf]
    in_force = run.fold.policy_at(run.status_leaf)
    return keys_by_thumbprint(did for p in (in_force, *policies) if p is not None for did in p.token_keys)


def _anchors(run: _Run) -> None:
    """Step 11, ``anchor``: each carried anchor is one that the trust file names, of an earlier state of this log."""
    run.anchors = [verify_anchor(anchor, run.bundle.checkpoint, run.trust) for anchor in run.bundle.anchors]


STEPS: Final[tuple[Callable[[_Run], None], ...]] = (
    _statements,
    _checkpoint,
    _leaf_paths,
    _registry,
    _token_leaf,
    _token,
    _manifest_leaves,
    _files,
    _status,
    _anchors,
)
"""Steps 2 to 11; reading the bundle is step 1."""


def _result(run: _Run) -> TokenResult:
    bundle, sd_jwt = run.bundle, run.bundle.sd_jwt
    token, origin = sd_jwt.token, bundle.checkpoint.origin
    moment = time_encode(run.as_of)
    proved = [
        f"{token.iss} permits {', '.join(token.uses) or 'no use'} under {token.license_id}, "
        f"to begin from {time_encode(token.iat)} until before {time_encode(token.exp)}",
        f"the token is leaf {run.token_leaf} of {origin}, which had {bundle.checkpoint.size} leaves",
        f"its manifests are the leaves it names, before its own: {', '.join(str(m.index) for m in token.manifests)}",
    ]
    asserted = [KEYS_COUNTED, "no policy is left out that was in force when the token was logged"]
    not_checked = [
        "who owns the works: a log shows who said what and before when",
        "that its manifests were listed and their terms permit this: neither is carried, the registry answers for it",
    ]
    if run.files is None:
        not_checked.append("which files the token is about: the list is not here")
    else:
        proved.append(f"the list is exactly the {token.files_count} files of the token")
    if token.holder is not None:
        not_checked.append("that whoever shows the token holds its key")
    for leaf in run.unknown_keys:
        not_checked.append(
            f"that {leaf.statement.key} speaks for {leaf.statement.by}: no key leaf of theirs is carried"
        )
    _tell_status(run, moment, asserted, not_checked)
    shown, open_ = anchor_sentences(run.anchors, run.token_leaf, "token", "the token was issued")
    proved += shown
    not_checked += open_
    not_checked += open_sentences(run.fold, run.witnesses)
    issued_before = earliest(run.anchors, run.token_leaf)
    if run.past and (issued_before is None or issued_before > run.as_of):
        not_checked.append(f"whether the token was issued by {moment}: no anchor shows it in the log before then")
    return TokenResult(
        digest=sd_jwt.digest,
        token=token,
        licensee=sd_jwt.licensee,
        price=sd_jwt.price,
        leaf=run.token_leaf,
        size=bundle.checkpoint.size,
        files_checked=run.files is not None,
        status_age=run.as_of - bundle.status.issued_at,
        witnesses=run.witnesses,
        anchors=tuple(run.anchors),
        proved=tuple(proved),
        asserted=tuple(asserted),
        not_checked=tuple(not_checked),
        as_of=run.as_of,
    )


def _tell_status(run: _Run, moment: str, asserted: list[str], not_checked: list[str]) -> None:
    """Says how well the list speaks about the moment: its day includes it, or the list was in the log by then."""
    status = run.bundle.status
    signed = f"the status list signed at {time_encode(status.issued_at)}"
    logged = any(a.time is not None and a.time <= run.as_of and a.size > run.status_leaf for a in run.anchors)
    if status.issued_at <= run.as_of < status.expires_at:
        asserted.append(f"not revoked or suspended at {moment}: {signed} says so for its day")
    elif logged:
        asserted.append(
            f"not revoked or suspended at {moment}: {signed} was logged before, and no later one is carried"
        )
    else:
        not_checked.append(f"whether the token was revoked or suspended at {moment}: {signed} is of another day")
