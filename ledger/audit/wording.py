"""What a leaf says, in one line for people; dids and digests in full, so that they can be watched in turn."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.encoding import digest_encode, time_encode
from ledger.statements import (
    Body,
    DisputeBody,
    IdentityBody,
    KeyAddBody,
    KeyRevokeBody,
    ManifestBody,
    PolicyBody,
    RecordBody,
    ReviewBody,
    SnapshotBody,
    Statement,
    StatusBody,
    TokenBody,
    TrainingBody,
    UnknownBody,
    WithdrawBody,
)


def sentence(statement: Statement | None, reason: str | None) -> str:
    """Returns what a leaf says and who says it; None: it holds no statement.  `reason` is why it is void, if it is."""
    if statement is None:
        return f"no statement: {reason}"
    said = f"{_said(statement.type, statement.body)}, by {statement.by}"
    if statement.key != statement.by:
        said += f" with the key {statement.key}"
    return said if reason is None else f"{said}; without effect: {reason}"


def _said(kind: str, body: Body) -> str:
    match body:
        case PolicyBody():
            return f"the registry's policy for {body.origin}"
        case KeyAddBody():
            return f"adds the {'recovery key' if body.recovery else 'key'} {body.key}"
        case KeyRevokeBody():
            later = "" if body.since is None else f", and disputes its leaves from {body.since} on"
            return f"revokes the key {body.key}{later}"
        case ManifestBody():
            return f"manifest {digest_encode(body.manifest)}{_leaves(', in place of', body.supersedes)}"
        case WithdrawBody():
            return f"withdraws leaf {body.leaf} from {time_encode(body.effective_at)} on"
        case ReviewBody():
            seen = "" if body.visibility is None else f", {body.visibility}"
            return f"review of leaf {body.leaf}: {body.outcome}{seen}"
        case IdentityBody():
            return f"identity of {body.creator}: {body.level}"
        case DisputeBody():
            return _moved(body)
        case TokenBody():
            return f"token {digest_encode(body.token)}"
        case StatusBody():
            return f"status list {body.uri}"
        case SnapshotBody():
            return f"snapshot of {body.size} leaves"
        case TrainingBody():
            return f"training of the model {digest_encode(body.model)}{_leaves(' under the tokens of', body.tokens)}"
        case RecordBody():
            return f"record of kind {body.kind}, {digest_encode(body.evidence)}{_leaves(', about', body.refs)}"
        case UnknownBody():
            return f"a statement of type {kind} that this program does not know"


def _moved(body: DisputeBody) -> str:
    over = f"leaf {body.leaf}" + (f", entries {', '.join(map(str, body.entries))}" if body.entries else "")
    match body.op:
        case "open":
            return f"opens a dispute over {over}"
        case "answer":
            return f"answers case {body.case} over {over}"
        case "hold":
            return f"holds case {body.case} over {over}"
        case _:
            return f"decides case {body.case} over {over}: {body.outcome}"


def _leaves(before: str, indices: Sequence[int]) -> str:
    if not indices:
        return ""
    return f"{before} {'leaf' if len(indices) == 1 else 'leaves'} {', '.join(map(str, indices))}"
