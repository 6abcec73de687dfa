"""The proof bundle and its verification: the only verifier there is (docs/format.md, section 6).

A bundle answers, for one file digest: who claimed it, under which terms, in which log, before when.  ``verify_proof``
runs the numbered ``STEPS`` in order; the first that fails raises its reason code.  What passes is told apart:

* *proved*: follows from signatures, hashes and blocks the verifier's own trust file names;
* *asserted*: the bundle's maker says so by what it carries and could have left out;
* *replayed*: proved by reading every leaf up to the checkpoint (when the verifier hands them in);
* *not checked*: said aloud, so that nobody takes silence for a yes.

Snapshot rows and proofs as of a time are carried by later versions of this module; a bundle that holds them is refused
as malformed rather than half read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.canonical import Json, Object, as_choice, as_constant, as_int, as_list, as_object, as_text, canonical, parse
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import digest_decode, digest_encode, time_encode
from ledger.errors import MalformedError, VerificationError
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
from ledger.manifests import (
    MAX_ENTRIES,
    MAX_PATH_HASHES,
    Entry,
    Header,
    read_entry,
    read_header,
    read_path,
    verify_entry,
)
from ledger.merkle import leaf_hash, root
from ledger.note import Note
from ledger.policy import verify_checkpoint
from ledger.state import Fold, StateName
from ledger.statements import ManifestBody, verify_statement
from ledger.terms import Terms, read_terms
from ledger.trust import Trust

MAX_PROOF_BYTES: Final = 16 * 1024 * 1024
MAX_CARRIED_TEXT: Final = 256 * 1024
"""Notes with many cosignatures and receipt nodes are longer than text for people."""

KINDS: Final = ("provenance", "published", "content")

_KEYS = ("trainmark", "file", "claim", "checkpoint", "leaves", "rows", "anchors", "as_of")
_CLAIM_KEYS = ("header", "entry", "entry_index", "entry_path", "terms", "leaf")


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry of one logged manifest under its terms; `leaf` is the index of the manifest leaf."""

    header: Header
    entry: Entry
    entry_index: int
    entry_path: tuple[bytes, ...]
    terms: Terms
    leaf: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed ``*.proof.json``; nothing in it has been verified."""

    digest: bytes
    kind: str
    claim: Claim
    checkpoint: Checkpoint
    note: Note
    note_text: str
    leaves: tuple[CarriedLeaf, ...]
    anchors: tuple[CarriedAnchor, ...]

    def leaf(self, index: int) -> CarriedLeaf | None:
        """Returns the carried leaf of that index."""
        return next((leaf for leaf in self.leaves if leaf.index == index), None)


@dataclass(frozen=True, slots=True)
class ProofResult:
    """What a verified bundle shows.  The four lists are sentences for people; the rest is for programs."""

    digest: bytes
    kind: str
    creator_id: str
    creator_name: str
    license_id: str
    uses: dict[str, str]
    log: str
    leaf: int
    size: int
    state: StateName
    state_replayed: bool
    witnesses: tuple[str, ...]
    anchors: tuple[AnchorFinding, ...]
    proved: tuple[str, ...]
    asserted: tuple[str, ...]
    replayed: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def logged_before(self) -> int | None:
        """UTC seconds before which the claim was in the log, by the earliest anchor that covers it and is trusted."""
        return earliest(self.anchors, self.leaf)

    def value(self) -> Object:
        """Returns the result as JSON."""
        before = self.logged_before
        return {
            "digest": digest_encode(self.digest),
            "kind": self.kind,
            "creator_id": self.creator_id,
            "creator_name": self.creator_name,
            "license_id": self.license_id,
            "uses": dict(self.uses),
            "log": self.log,
            "leaf": self.leaf,
            "size": self.size,
            "state": self.state,
            "state_basis": "replayed" if self.state_replayed else "asserted",
            "logged_before": None if before is None else time_encode(before),
            "witnesses": list(self.witnesses),
            "anchors": [anchor.value() for anchor in self.anchors],
            "proved": list(self.proved),
            "asserted": list(self.asserted),
            "replayed": list(self.replayed),
            "not_checked": list(self.not_checked),
        }


@dataclass(slots=True)
class _Run:
    """One verification under way: what it is given, and what the steps have found so far."""

    data: bytes
    trust: Trust
    replay: Iterable[bytes] | None
    parsed: Bundle | None = None
    fold: Fold = field(default_factory=Fold)
    witnesses: tuple[str, ...] = ()
    anchors: list[AnchorFinding] = field(default_factory=list)

    @property
    def bundle(self) -> Bundle:
        if self.parsed is None:
            self.parsed = parse_proof(self.data)
            self.fold = fold_carried(self.parsed.leaves)
        return self.parsed


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered check; `code` is what a failure carries."""

    number: int
    code: str
    check: Callable[[_Run], None]


def parse_proof(data: bytes) -> Bundle:
    """Step 1: reads the canonical bytes of a ``*.proof.json`` of at most 16 MiB."""
    o = as_object(parse(data, "proof", MAX_PROOF_BYTES, max_text=MAX_CARRIED_TEXT), "proof", _KEYS)
    as_constant(o["trainmark"], "trainmark", "proof/v1")
    as_list(o["rows"], "rows", 0)
    if o["as_of"] is not None:
        raise MalformedError("as of a time needs snapshot rows, which this version does not read", field="as_of")
    if o["claim"] is None:
        raise MalformedError("a proof of absence needs snapshot rows, which this version does not read", field="claim")
    file = as_object(o["file"], "file", ("digest", "kind"))
    note_text = as_text(o["checkpoint"], "checkpoint")
    checkpoint, note = parse_checkpoint(note_text.encode())
    return Bundle(
        digest_decode(file["digest"], "file.digest"),
        as_choice(file["kind"], "file.kind", KINDS),
        _read_claim(o["claim"]),
        checkpoint,
        note,
        note_text,
        read_leaves(o["leaves"], "leaves"),
        read_anchors(o["anchors"], "anchors"),
    )


def _read_claim(value: Json) -> Claim:
    o = as_object(value, "claim", _CLAIM_KEYS)
    return Claim(
        read_header(o["header"], "claim.header"),
        read_entry(o["entry"], "claim.entry"),
        as_int(o["entry_index"], "claim.entry_index", 0, MAX_ENTRIES),
        read_path(o["entry_path"], "claim.entry_path", MAX_PATH_HASHES),
        read_terms(o["terms"], "claim.terms"),
        as_int(o["leaf"], "claim.leaf"),
    )


def format_proof(
    digest: bytes,
    kind: str,
    claim: Claim,
    note: bytes,
    leaves: Sequence[CarriedLeaf],
    anchors: Sequence[CarriedAnchor],
) -> bytes:
    """Writes a ``*.proof.json``."""
    return canonical(
        {
            "trainmark": "proof/v1",
            "file": {"digest": digest_encode(digest), "kind": kind},
            "claim": {
                "header": parse(claim.header.data, "header", MAX_PROOF_BYTES),
                "entry": parse(claim.entry.data, "entry", MAX_PROOF_BYTES),
                "entry_index": claim.entry_index,
                "entry_path": [digest_encode(h) for h in claim.entry_path],
                "terms": parse(claim.terms.data, "terms", MAX_PROOF_BYTES),
                "leaf": claim.leaf,
            },
            "checkpoint": note.decode(),
            "leaves": leaves_value(leaves),
            "rows": [],
            "anchors": anchors_value(anchors),
            "as_of": None,
        },
        max_text=MAX_CARRIED_TEXT,
    )


def _malformed(run: _Run) -> None:
    run.bundle  # noqa: B018  reading it is the check


def _file_mismatch(run: _Run) -> None:
    if dict(run.bundle.claim.entry.digests).get(run.bundle.kind) != run.bundle.digest:
        raise VerificationError(
            f"the entry has another {run.bundle.kind} digest", code="file-mismatch", field="file.digest"
        )


def _entry_path(run: _Run) -> None:
    claim = run.bundle.claim
    verify_entry(claim.header, claim.entry, claim.entry_index, claim.entry_path)


def _header_digest(run: _Run) -> None:
    claim = run.bundle.claim
    leaf = run.bundle.leaf(claim.leaf)
    if leaf is None or not isinstance(leaf.statement.body, ManifestBody):
        raise VerificationError("the claim's manifest leaf is not carried", code="header-digest", field="claim.leaf")
    if leaf.statement.body.manifest != claim.header.digest:
        raise VerificationError("the leaf is of another manifest", code="header-digest", field="claim.header")
    if leaf.statement.by != claim.header.creator_id:
        raise VerificationError(
            "the leaf speaks for somebody else than the header's creator", code="header-digest", field="claim.leaf"
        )


def _terms_digest(run: _Run) -> None:
    header, terms = run.bundle.claim.header, run.bundle.claim.terms
    if (terms.digest, terms.license_id, terms.license_url) != (
        header.license_digest,
        header.license_id,
        header.license_url,
    ):
        raise VerificationError("the terms are not those the header names", code="terms-digest", field="claim.terms")


def _bad_signature(run: _Run) -> None:
    for leaf in run.bundle.leaves:
        verify_statement(leaf.statement, f"leaf {leaf.index}")


def _checkpoint(run: _Run) -> None:
    _, run.witnesses = verify_checkpoint(run.bundle.note, run.trust.policy)


def _leaf_path(run: _Run) -> None:
    for leaf in run.bundle.leaves:
        verify_leaf(leaf, run.bundle.checkpoint)


def _key_invalid(run: _Run) -> None:
    _raise_void(run, lambda reason: reason.startswith("key-invalid"))


def _wrong_log(run: _Run) -> None:
    origin = run.bundle.checkpoint.origin
    stray = next((leaf for leaf in run.bundle.leaves if leaf.statement.log != origin), None)
    if stray is not None:
        raise VerificationError(
            f"signed for {stray.statement.log}, carried by {origin}", code="wrong-log", field=f"leaf {stray.index}"
        )
    _raise_void(run, lambda reason: not reason.startswith("key-invalid"))
    if run.fold.registry != run.trust.registry:
        raise VerificationError(
            f"the log is run by {run.fold.registry}, the trust file names {run.trust.registry}",
            code="wrong-log",
            field="leaf 0",
        )


def _raise_void(run: _Run, concerns: Callable[[str], bool]) -> None:
    for index, reason in run.fold.void.items():
        if concerns(reason):
            code, _, text = reason.partition(": ")
            raise VerificationError(text, code=code, field=f"leaf {index}")


def _snapshot(run: _Run) -> None:
    """Replays the leaves, if there are any to replay; rows of a snapshot do not get past step 1."""
    if run.replay is None:
        return
    checkpoint, leaves = run.bundle.checkpoint, list(run.replay)
    if len(leaves) != checkpoint.size or root([leaf_hash(leaf) for leaf in leaves]) != checkpoint.root:
        raise VerificationError("the leaves to replay are not those of the checkpoint", code="snapshot", field="replay")
    run.fold = Fold(leaves)
    if run.bundle.claim.leaf in run.fold.void:
        raise VerificationError(run.fold.void[run.bundle.claim.leaf], code="void", field="claim.leaf")


def _anchor(run: _Run) -> None:
    bundle = run.bundle
    run.anchors = [verify_anchor(anchor, bundle.checkpoint, run.trust) for anchor in bundle.anchors]


STEPS: Final = (
    Step(1, "malformed", _malformed),
    Step(2, "file-mismatch", _file_mismatch),
    Step(3, "entry-path", _entry_path),
    Step(4, "header-digest", _header_digest),
    Step(5, "terms-digest", _terms_digest),
    Step(6, "bad-signature", _bad_signature),
    Step(7, "checkpoint", _checkpoint),
    Step(8, "leaf-path", _leaf_path),
    Step(9, "key-invalid", _key_invalid),
    Step(10, "wrong-log", _wrong_log),
    Step(11, "snapshot", _snapshot),
    Step(12, "anchor", _anchor),
)


def verify_proof(
    data: bytes, trust: Trust, *, replay: Iterable[bytes] | None = None, steps: Sequence[Step] = STEPS
) -> ProofResult:
    """Verifies a proof bundle under `trust`; `replay` are all leaves up to the checkpoint, where the verifier has them.

    Raises:
        MalformedError: step 1.
        VerificationError: another step, with its code.
    """
    run = _Run(data, trust, replay)
    for step in steps:
        step.check(run)
    return _result(run)


def _result(run: _Run) -> ProofResult:
    bundle, fold = run.bundle, run.fold
    claim, origin = bundle.claim, bundle.checkpoint.origin
    state = fold.manifest_state(claim.leaf, claim.entry_index)
    replayed = run.replay is not None
    proved = [
        f"{claim.header.creator_id} signed a manifest with this file ({bundle.kind} hash, entry {claim.entry_index})",
        f"the license is {claim.terms.license_id} with exactly the terms carried here",
        f"the manifest is leaf {claim.leaf} of {origin}, which had {bundle.checkpoint.size} leaves",
    ]
    manifest = fold.manifests.get(claim.leaf)  # None only where the steps that refuse a void leaf were left out
    if manifest is not None and manifest.reviews:
        index, review = manifest.reviews[-1]
        proved.append(f"the registry's review at leaf {index} says {review.outcome}")
    not_checked = [
        f'that "{claim.header.creator_name}" is the name of {claim.header.creator_id}',
        "who owns the work: a log shows who said what and before when",
        "whether another creator claims this file too: that takes all public manifests",
    ]
    shown, open_ = anchor_sentences(run.anchors, claim.leaf, "claim", "the claim was logged")
    proved += shown
    not_checked += open_
    not_checked += open_sentences(fold, run.witnesses)
    says = f"state of the claim at {bundle.checkpoint.size} leaves: {state}"
    return ProofResult(
        digest=bundle.digest,
        kind=bundle.kind,
        creator_id=claim.header.creator_id,
        creator_name=claim.header.creator_name,
        license_id=claim.terms.license_id,
        uses=dict(claim.terms.uses),
        log=origin,
        leaf=claim.leaf,
        size=bundle.checkpoint.size,
        state=state,
        state_replayed=replayed,
        witnesses=run.witnesses,
        anchors=tuple(run.anchors),
        proved=tuple(proved),
        asserted=() if replayed else (says, KEYS_COUNTED),
        replayed=(says, KEYS_COUNTED) if replayed else (),
        not_checked=tuple(not_checked),
    )
