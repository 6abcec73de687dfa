"""The state of every key, manifest and case: a pure fold over the leaves 0…N-1 (docs/format.md, sections 1 and 4).

``Fold.add`` takes one leaf after the other and returns why it is void, or None.  A void leaf stays in the log and
changes nothing; the reason begins with its code: ``key-invalid``, ``wrong-log`` or ``void``.  Time never decides here,
only the order of leaves.  The fold reads leaves alone: that a manifest leaf's `by` is its header's creator, and what is
*contested*, need the manifests and are decided where those are (:mod:`ledger.proof`, :mod:`ledger.registry`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from ledger.errors import TrainmarkError
from ledger.statements import (
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
    parse_statement,
    verify_statement,
)

StateName: TypeAlias = Literal["void", "ended", "disputed", "withdrawing", "listed", "logged"]

_REGISTRY_ONLY: Final = (PolicyBody, ReviewBody, IdentityBody, TokenBody, StatusBody, SnapshotBody)


@dataclass(slots=True)
class KeyState:
    """One key of one party: valid for leaves `added` < i ≤ `revoked` (−1 and None: from the start, still)."""

    key: str
    recovery: bool = False
    added: int = -1
    revoked: int | None = None
    since: int | None = None

    def valid_at(self, index: int) -> bool:
        """Returns whether the key may sign leaf `index`."""
        return self.added < index and (self.revoked is None or index <= self.revoked)


@dataclass(slots=True)
class CaseState:
    """One dispute: opened at leaf `opened` on manifest `leaf`; held and decided at those leaves, if they were."""

    opened: int
    leaf: int
    by: str
    entries: tuple[int, ...]
    held: int | None = None
    held_entries: tuple[int, ...] = ()
    decided: int | None = None
    decided_entries: tuple[int, ...] = ()
    outcome: str | None = None

    def holds(self, entry: int | None) -> bool:
        """Returns whether the case keeps that entry disputed: it is held over it and not decided."""
        return self.held is not None and self.decided is None and _covers(self.held_entries, entry)

    def decides(self, entry: int | None, after: int = -1) -> bool:
        """Returns whether the case was decided over that entry, by a later leaf than `after`."""
        return self.decided is not None and self.decided > after and _covers(self.decided_entries, entry)


@dataclass(slots=True)
class ManifestState:
    """One manifest leaf and every later leaf that changed it (by index)."""

    index: int
    by: str
    key: str
    manifest: bytes
    supersedes: tuple[int, ...]
    reviews: list[tuple[int, ReviewBody]] = field(default_factory=list)
    withdrawals: list[tuple[int, int]] = field(default_factory=list)
    superseded_at: int | None = None
    cases: list[int] = field(default_factory=list)
    """The cases that were held or decided; anybody may open thousands, which change nothing."""

    @property
    def review(self) -> ReviewBody | None:
        """The latest review: the one that counts."""
        return self.reviews[-1][1] if self.reviews else None

    @property
    def visibility(self) -> str | None:
        """Who may see the manifest, as the latest review that listed it says; None before the first."""
        return next((review.visibility for _, review in reversed(self.reviews) if review.visibility is not None), None)

    @property
    def effective_at(self) -> int | None:
        """The earliest time (UTC seconds) at which a withdrawal takes effect."""
        return min((at for _, at in self.withdrawals), default=None)

    @property
    def changed_at(self) -> tuple[int, ...]:
        """The indices of all leaves that bear on this one, without the cases'; of several withdrawals the first of the
        earliest."""
        own = [i for i, _ in self.reviews]
        if self.withdrawals:
            own.append(min(self.withdrawals, key=lambda withdrawal: (withdrawal[1], withdrawal[0]))[0])
        return tuple(sorted(own + ([self.superseded_at] if self.superseded_at is not None else [])))


class Fold:
    """The state after the leaves added so far; `size` of them."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self.policy: PolicyBody | None = None
        self.policies: list[tuple[int, PolicyBody]] = []
        self.registry: str | None = None
        self.keys: dict[str, dict[str, KeyState]] = {}
        self.key_leaves: dict[str, list[int]] = {}
        self.manifests: dict[int, ManifestState] = {}
        self.leaf_of: dict[tuple[bytes, str], int] = {}
        """The leaf at which a party logged a manifest digest: (digest, party) → leaf."""
        self.cases: dict[int, CaseState] = {}
        self.identities: dict[str, tuple[int, IdentityBody]] = {}
        self.tokens: dict[bytes, int] = {}
        self.statuses: dict[str, tuple[int, StatusBody]] = {}
        self.void: dict[int, str] = {}
        self.unknown: list[int] = []
        for leaf in leaves:
            self.add(leaf)

    def add(self, leaf: bytes) -> str | None:
        """Takes the next leaf; returns why it is void, or None."""
        try:
            statement = verify_statement(parse_statement(leaf))
        except TrainmarkError as e:
            return self._void(f"{e.code}: {e}")
        return self.add_statement(statement)

    def add_statement(self, statement: Statement) -> str | None:
        """Takes the next leaf as a statement whose signature has been verified."""
        reason = self.why_void(statement)
        if reason is not None:
            return self._void(reason)
        self._apply(self.size, statement)
        self.size += 1
        return None

    def add_statement_at(self, index: int, statement: Statement) -> str | None:
        """Takes a leaf out of the middle of a log, as a bundle carries some: the leaves between are not known.

        Raises:
            ValueError: leaves come in ascending order.
        """
        if index < self.size:
            raise ValueError(f"leaf {index} comes after {self.size}")
        self.size = index
        return self.add_statement(statement)

    def _void(self, reason: str) -> str:
        self.void[self.size] = reason
        self.size += 1
        return reason

    def key_valid(self, by: str, key: str, index: int, *, for_key_statement: bool = False) -> bool:
        """Returns whether `key` speaks for `by` at leaf `index`; a recovery key only in ``key`` statements."""
        state = self._keys(by).get(key)
        return state is not None and state.valid_at(index) and (for_key_statement or not state.recovery)

    def _keys(self, by: str) -> dict[str, KeyState]:
        return self.keys.get(by) or {by: KeyState(by)}

    def why_void(self, statement: Statement) -> str | None:
        """Returns why `statement` would be void as the next leaf, or None."""
        index, body = self.size, statement.body
        if index == 0:
            if not isinstance(body, PolicyBody) or body.origin != statement.log:
                return "void: leaf 0 is the registry's policy, signed for its own origin"
        elif self.policy is None:
            return "void: the log does not begin with a policy"
        elif statement.log != self.policy.origin:
            return f"wrong-log: signed for {statement.log}"
        if isinstance(body, UnknownBody):
            return None
        if not self.key_valid(
            statement.by, statement.key, index, for_key_statement=isinstance(body, KeyAddBody | KeyRevokeBody)
        ):
            return "key-invalid: the key does not count for its party at this index"
        if index and isinstance(body, _REGISTRY_ONLY) and statement.by != self.registry:
            return f"void: only the registry says {statement.type}"
        if any(reference >= index for reference in _references(body)):
            return "void: it refers to a leaf that is not before it"
        if isinstance(body, SnapshotBody | TrainingBody) and body.size > index:
            return "void: its size counts leaves that are not before it"
        return self._why_body_void(statement)

    def is_overtaken(self, statement: Statement) -> bool:
        """Returns whether `statement`, logged before, no longer holds because a later one of its kind took its place.

        Said again it would count again: a listing after a delisting, a status array that is what it was.
        """
        match statement.body:
            case PolicyBody() as body:
                return body != self.policy
            case ReviewBody() as body:
                manifest = self.manifests.get(body.leaf)
                return manifest is not None and body != manifest.review
            case IdentityBody() as body:
                known = self.identities.get(body.creator)
                return known is not None and body != known[1]
            case StatusBody() as body:
                status = self.statuses.get(body.uri)
                return status is not None and body != status[1]
            case _:
                return False

    def _why_body_void(self, statement: Statement) -> str | None:
        match statement.body:
            case PolicyBody() as body if self.policy is not None and body.origin != self.policy.origin:
                return "void: the origin never changes"
            case KeyAddBody() | KeyRevokeBody() as body:
                return self._why_key_void(statement, body)
            case ManifestBody() as body:
                if (body.manifest, statement.by) in self.leaf_of:
                    return "void: the same party has logged this manifest before"
            case WithdrawBody() as body:
                if body.leaf not in self.manifests or self.manifests[body.leaf].by != statement.by:
                    return "void: only its own creator withdraws a manifest leaf"
            case ReviewBody() as body if body.leaf not in self.manifests:
                return "void: a review is of a manifest leaf"
            case DisputeBody() as body:
                return self._why_dispute_void(statement, body)
            case _:
                pass
        return None

    def _why_key_void(self, statement: Statement, body: KeyAddBody | KeyRevokeBody) -> str | None:
        keys = self._keys(statement.by)
        signer = keys[statement.key]
        if isinstance(body, KeyAddBody):
            if body.key in keys:
                return "void: the key is known; a revoked key never returns"
            if body.recovery and not signer.recovery and any(k.recovery for k in keys.values()):
                return "void: beside a recovery key, only a recovery key adds another"
            return None
        revoked = keys.get(body.key)
        if revoked is None or revoked.revoked is not None:
            return "void: no such key to revoke"
        if revoked.recovery and not signer.recovery:
            return "void: a recovery key is revoked only by itself or another recovery key"
        if body.since is not None and body.since > self.size:
            return "void: since is after the leaf itself"
        return None

    def _why_dispute_void(self, statement: Statement, body: DisputeBody) -> str | None:
        manifest = self.manifests.get(body.leaf)
        if manifest is None:
            return "void: a dispute is about a manifest leaf"
        if body.op in ("hold", "decide") and statement.by != self.registry:
            return f"void: only the registry says {body.op}"
        if body.op == "answer" and statement.by != manifest.by:
            return "void: only the creator named answers"
        if body.op != "open":
            case = self.cases.get(-1 if body.case is None else body.case)
            if case is None or case.leaf != body.leaf:
                return "void: no such case on that leaf"
            if case.decided is not None:
                return "void: the case is decided"
        return None

    def _apply(self, index: int, statement: Statement) -> None:
        match statement.body:
            case UnknownBody():
                self.unknown.append(index)
            case PolicyBody() as body:
                self.registry = self.registry or statement.by
                self.policy = body
                self.policies.append((index, body))
            case KeyAddBody() | KeyRevokeBody() as body:
                self._apply_key(index, statement.by, body)
            case ManifestBody() as body:
                self.manifests[index] = ManifestState(
                    index, statement.by, statement.key, body.manifest, body.supersedes
                )
                self.leaf_of[body.manifest, statement.by] = index
            case WithdrawBody() as body:
                self.manifests[body.leaf].withdrawals.append((index, body.effective_at))
            case ReviewBody() as body:
                self._apply_review(index, body)
            case IdentityBody() as body:
                self.identities[body.creator] = (index, body)
            case DisputeBody() as body:
                self._apply_dispute(index, statement.by, body)
            case TokenBody() as body:
                self.tokens.setdefault(body.token, index)
            case StatusBody() as body:
                self.statuses[body.uri] = (index, body)
            case SnapshotBody() | TrainingBody() | RecordBody():
                pass

    def _apply_key(self, index: int, by: str, body: KeyAddBody | KeyRevokeBody) -> None:
        keys = self.keys.setdefault(by, {by: KeyState(by)})
        self.key_leaves.setdefault(by, []).append(index)
        if isinstance(body, KeyAddBody):
            keys[body.key] = KeyState(body.key, body.recovery, added=index)
        else:
            keys[body.key].revoked, keys[body.key].since = index, body.since

    def _apply_review(self, index: int, body: ReviewBody) -> None:
        manifest = self.manifests[body.leaf]
        manifest.reviews.append((index, body))
        if body.outcome == "listed":
            for old in manifest.supersedes:
                other = self.manifests.get(old)
                if other is not None and other.by == manifest.by and other.superseded_at is None:
                    other.superseded_at = index

    def _apply_dispute(self, index: int, by: str, body: DisputeBody) -> None:
        if body.case is None:
            self.cases[index] = CaseState(index, body.leaf, by, body.entries)
            return
        case, moved = self.cases[body.case], self.manifests[body.leaf].cases
        if body.op in ("hold", "decide") and case.opened not in moved:
            moved.append(case.opened)
        if body.op == "hold":
            case.held, case.held_entries = index, body.entries
        elif body.op == "decide":
            case.decided, case.decided_entries, case.outcome = index, body.entries, body.outcome

    def manifest_state(self, leaf: int, entry: int | None = None) -> StateName:
        """Returns the state of manifest `leaf`, or of its entry number `entry` where a dispute names entries.

        For the whole leaf (`entry` None) only disputes over all of it count.
        """
        manifest = self.manifests.get(leaf)
        if manifest is None:
            return "void"
        cases = [self.cases[i] for i in manifest.cases]
        review = manifest.review
        if (
            (review is not None and review.outcome != "listed")
            or manifest.superseded_at is not None
            or any(case.outcome == "upheld" and case.decides(entry) for case in cases)
        ):
            return "ended"
        if any(case.holds(entry) for case in cases) or self._since_disputes(manifest, entry):
            return "disputed"
        if manifest.withdrawals:
            return "withdrawing"
        return "listed" if review is not None else "logged"

    def _since_disputes(self, manifest: ManifestState, entry: int | None) -> bool:
        """Whether its key was revoked from before this leaf on, and no case over `entry` was decided after that."""
        key = self._keys(manifest.by).get(manifest.key)
        if key is None or key.revoked is None or key.since is None or manifest.index < key.since:
            return False
        return not any(self.cases[i].decides(entry, key.revoked) for i in manifest.cases)

    def policy_at(self, index: int) -> PolicyBody | None:
        """Returns the policy in force for leaf `index`: the last one before it (leaf 0 for itself)."""
        found = [body for at, body in self.policies if at < index or at == 0]
        return found[-1] if found else None


def _covers(entries: tuple[int, ...], entry: int | None) -> bool:
    """Whether `entries` of a move name that entry, or, where they name none, all of the leaf (also `entry` None)."""
    return not entries or entry in entries


def _references(body: object) -> tuple[int, ...]:
    match body:
        case ManifestBody():
            return body.supersedes
        case WithdrawBody() | ReviewBody():
            return (body.leaf,)
        case DisputeBody():
            return (body.leaf,) if body.case is None else (body.leaf, body.case)
        case TrainingBody():
            return body.tokens
        case RecordBody():
            return body.refs
        case _:
            return ()
