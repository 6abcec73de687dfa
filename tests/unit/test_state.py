"""The fold: who may say what, and what follows from it, as a table of stories (docs/format.md, sections 1 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import Json, Object
from ledger.encoding import digest_encode, sha256, time_encode
from ledger.keys import Signer
from ledger.state import Fold
from ledger.statements import Statement, key_add_body, manifest_body, parse_statement, sign_statement
from tests.reference import statement as reference
from tests.simulator import ORIGIN, START, HandMadeLog, dispute_body, identity, key, reading, review_body, writing

REGISTRY = identity().key
EVA, BOB, MALLORY = key("eva"), key("bob"), key("mallory")
SECOND, RECOVERY, OTHER_RECOVERY = key("eva, second"), key("eva, recovery"), key("eva, other recovery")


@dataclass
class Story:
    """A log as it grows: each leaf is told what became of it."""

    log: HandMadeLog = field(default_factory=HandMadeLog)
    fold: Fold = field(default_factory=Fold)

    def __post_init__(self) -> None:
        assert self.fold.add(self.log.leaves[0].data) is None

    def says(
        self,
        by: Signer,
        kind: str,
        body: Object,
        *,
        signer: Signer | None = None,
        log: str | None = ORIGIN,
        void: str | None = None,
    ) -> int:
        """Adds a leaf and asserts that it is void for the reason `void`, or not; returns its index."""
        return self.leaf(sign_statement(kind, by.did, signer or by, log, body), void=void)

    def leaf(self, statement: Statement, *, void: str | None = None) -> int:
        """Adds a statement that is there already."""
        index = self.log.add(statement)
        reason = self.fold.add(statement.data)
        assert (reason is None) == (void is None), reason
        assert void is None or void in str(reason)
        assert self.fold.void.get(index) == reason
        assert self.fold.size == index + 1
        return index

    def offers(self, by: Signer, name: str = "library", *, supersedes: tuple[int, ...] = (), **how: object) -> int:
        """Logs a manifest."""
        body = manifest_body(sha256(name.encode()), supersedes)
        return self.says(by, "manifest", body, **how)  # type: ignore[arg-type]

    def reviews(self, leaf: int, outcome: str = "listed", visibility: str | None = None) -> int:
        """Has the registry review a leaf."""
        return self.says(REGISTRY, "review", review_body(leaf, outcome, visibility))

    def listed(self, by: Signer, name: str = "library", *, supersedes: tuple[int, ...] = (), **how: object) -> int:
        """Logs a manifest and its listing; returns the manifest's index."""
        leaf = self.offers(by, name, supersedes=supersedes, **how)
        self.reviews(leaf)
        return leaf

    def adds(self, by: Signer, new: Signer, *, recovery: bool = False, **how: object) -> int:
        """Adds a key."""
        return self.says(by, "key", key_add_body(by.did, new, recovery=recovery), **how)  # type: ignore[arg-type]

    def revokes(self, by: Signer, old: Signer, since: int | None = None, **how: object) -> int:
        """Revokes a key."""
        body: Object = {"op": "revoke", "key": old.did, "since": since}
        return self.says(by, "key", body, **how)  # type: ignore[arg-type]

    def disputes(
        self,
        by: Signer,
        op: str,
        leaf: int,
        case: int | None = None,
        entries: tuple[int, ...] = (),
        outcome: str | None = None,
        void: str | None = None,
    ) -> int:
        """Makes a move in a case."""
        return self.says(by, "dispute", dispute_body(op, leaf, case, entries, outcome), void=void)

    def state(self, leaf: int, entry: int | None = None) -> str:
        return self.fold.manifest_state(leaf, entry)


def withdraw(leaf: int, at: int = START) -> Object:
    return {"leaf": leaf, "effective_at": time_encode(at)}


@pytest.fixture
def story() -> Iterator[Story]:
    """A story; at its end the log is folded again, whole and in halves, and by the independent reader."""
    told = Story()
    yield told
    leaves = [leaf.data for leaf in told.log.leaves]
    assert_same(Fold(leaves), told.fold)
    for cut in range(len(leaves)):
        halves = Fold(leaves[:cut])
        for leaf in leaves[cut:]:
            halves.add(leaf)
        assert_same(halves, told.fold)
    assert_agreed(leaves, told.fold)


def assert_agreed(leaves: list[bytes], fold: Fold) -> None:
    """Asserts that the independent reader finds the same leaves void, and the same state of every leaf and entry."""
    valid, void = reference.replay(leaves, ORIGIN, REGISTRY.did)
    assert set(void) == set(fold.void)
    for leaf in range(len(leaves)):
        for entry in (None, 0, 1, 2):
            assert fold.manifest_state(leaf, entry) == reference.state(leaf, entry, valid, ORIGIN)


def assert_same(one: Fold, other: Fold) -> None:
    """Asserts that two folds hold the same, in every part."""
    assert vars(one) == vars(other)


# -- the policy


def test_a_log_begins_with_its_policy() -> None:
    fold = Fold()
    policy = HandMadeLog().leaves[0]
    manifest = sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(bytes(32)))
    assert "leaf 0 is the registry's policy" in str(fold.add(manifest.data))
    assert "does not begin with a policy" in str(fold.add(policy.data))
    assert fold.registry is None
    assert fold.void.keys() == {0, 1}


def test_a_policy_of_another_origin_begins_no_log() -> None:
    stray = identity("registry", "another.example/log")
    body = HandMadeLog(identity=stray).policy_body()
    fold = Fold()
    assert "signed for its own origin" in str(
        fold.add(sign_statement("policy", REGISTRY.did, REGISTRY, ORIGIN, body).data)
    )


def test_a_policy_changes_from_the_next_leaf_on(story: Story) -> None:
    first = story.fold.policy
    assert first is not None
    body = {**story.log.policy_body(), "issuer": "https://new.example"}
    at = story.says(REGISTRY, "policy", body)
    assert story.fold.policy is not None
    assert story.fold.policy.issuer == "https://new.example"
    assert story.fold.policy_at(0) == first
    assert story.fold.policy_at(at) == first
    assert story.fold.policy_at(at + 1) == story.fold.policy
    assert story.fold.registry == REGISTRY.did


def test_the_origin_never_changes(story: Story) -> None:
    other = HandMadeLog(identity=identity("registry", "another.example/log"))
    story.says(REGISTRY, "policy", other.policy_body(), void="the origin never changes")


def test_nobody_else_says_what_the_registry_says(story: Story) -> None:
    leaf = story.offers(EVA)
    bodies: dict[str, Object] = {
        "policy": story.log.policy_body(),
        "review": review_body(leaf, "listed"),
        "identity": {"creator": EVA.did, "level": "attested", "evidence": None},
        "token": {"token": digest_encode(bytes(32))},
        "status": {"uri": "https://x.example/status/0", "bits": 2, "count": 8, "digest": digest_encode(bytes(32))},
        "snapshot": {"size": 1, "bits": 0, "count": 0, "root": digest_encode(bytes(32))},
    }
    for kind, body in bodies.items():
        story.says(EVA, kind, body, void=f"only the registry says {kind}")
    assert story.state(leaf) == "logged"
    assert (story.fold.identities, story.fold.tokens, story.fold.statuses) == ({}, {}, {})
    for kind, body in bodies.items():
        story.says(REGISTRY, kind, body)
    assert story.state(leaf) == "listed"
    assert story.fold.identities[EVA.did][1].level == "attested"


# -- signatures, forms, other logs


def test_a_leaf_that_is_no_statement_is_void() -> None:
    fold = Fold([HandMadeLog().leaves[0].data])
    good = sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(bytes(32)))
    forged = {**reading(good.data), "sig": "A" * 86}
    for leaf, code in ((b"", "malformed"), (b"{}", "malformed"), (writing(forged), "bad-signature")):
        assert str(fold.add(leaf)).startswith(f"{code}: ")
    assert fold.void.keys() == {1, 2, 3}
    assert fold.manifests == {}
    assert fold.add(good.data) is None


def test_a_statement_counts_in_its_own_log_only(story: Story) -> None:
    leaf = story.offers(EVA, log="another.example/log", void="wrong-log: signed for another.example/log")
    other = story.offers(EVA, "other", log=None, void="wrong-log: signed for None")
    assert (story.state(leaf), story.state(other)) == ("void", "void")
    assert story.state(story.offers(EVA)) == "logged"


def test_an_unknown_type_is_skipped_and_counted(story: Story) -> None:
    index = story.says(EVA, "poem", {"lines": ["one"]})
    assert story.fold.unknown == [index]
    fields: dict[str, Json] = {**reading(sign_statement("record", EVA.did, EVA, ORIGIN, record()).data), "v": 2}
    assert parse_statement(writing(fields)).body.__class__.__name__ == "UnknownBody"


def record(*refs: int) -> Object:
    return {"kind": "statement", "refs": list(refs), "evidence": digest_encode(bytes(32))}


# -- keys


def test_a_key_is_added_from_the_next_leaf_on(story: Story) -> None:
    early = story.offers(EVA, "early", signer=SECOND, void="key-invalid")
    added = story.adds(EVA, SECOND)
    late = story.offers(EVA, "late", signer=SECOND)
    assert (story.state(early), story.state(late)) == ("void", "logged")
    assert not story.fold.key_valid(EVA.did, SECOND.did, added)
    assert story.fold.key_valid(EVA.did, SECOND.did, added + 1)
    assert story.fold.key_leaves == {EVA.did: [added]}


def test_a_key_speaks_only_for_its_party(story: Story) -> None:
    story.adds(EVA, SECOND)
    story.offers(BOB, "b", signer=SECOND, void="key-invalid")
    story.offers(BOB, "b", signer=EVA, void="key-invalid")


def test_a_key_is_revoked_from_the_next_leaf_on_and_never_returns(story: Story) -> None:
    story.adds(EVA, SECOND)
    before = story.offers(EVA, "before", signer=SECOND)
    revoked = story.revokes(EVA, SECOND, signer=SECOND)  # the revocation itself may be signed by the key
    story.offers(EVA, "after", signer=SECOND, void="key-invalid")
    story.adds(EVA, SECOND, void="a revoked key never returns")
    story.revokes(EVA, SECOND, void="no such key to revoke")
    assert story.state(before) == "logged"
    assert story.fold.keys[EVA.did][SECOND.did].valid_at(revoked)
    assert not story.fold.keys[EVA.did][SECOND.did].valid_at(revoked + 1)


def test_the_first_key_can_be_revoked_and_the_party_keeps_its_name(story: Story) -> None:
    story.adds(EVA, SECOND)
    story.revokes(EVA, EVA)
    story.offers(EVA, "by the first", void="key-invalid")
    assert story.state(story.offers(EVA, "by the second", signer=SECOND)) == "logged"


def test_a_key_is_added_once(story: Story) -> None:
    story.adds(EVA, SECOND)
    story.adds(EVA, SECOND, void="the key is known")
    story.adds(EVA, EVA, void="the key is known")
    story.adds(BOB, SECOND)  # the same key may speak for another party as well: it agreed to


def test_a_possession_is_for_one_party(story: Story) -> None:
    """The new key's consent names whose key it becomes: a copy of it makes it nobody else's."""
    body = key_add_body(EVA.did, SECOND, recovery=False)
    story.says(BOB, "key", body, void="bad-signature")
    assert BOB.did not in story.fold.keys


def test_nobody_revokes_a_stranger(story: Story) -> None:
    story.adds(EVA, SECOND)
    story.revokes(BOB, SECOND, void="no such key to revoke")
    story.revokes(BOB, EVA, void="no such key to revoke")


def test_a_recovery_key_signs_key_statements_only(story: Story) -> None:
    story.adds(EVA, RECOVERY, recovery=True)
    story.offers(EVA, "library", signer=RECOVERY, void="key-invalid")
    story.says(EVA, "record", record(), signer=RECOVERY, void="key-invalid")
    story.adds(EVA, SECOND, signer=RECOVERY)
    assert story.state(story.offers(EVA, "library", signer=SECOND)) == "logged"


def test_a_thief_of_the_signing_key_cannot_lock_its_owner_out(story: Story) -> None:
    story.adds(EVA, RECOVERY, recovery=True)
    # The thief has Eva's first key, and tries everything.
    story.revokes(EVA, RECOVERY, void="revoked only by itself or another recovery key")
    story.adds(EVA, MALLORY, recovery=True, void="only a recovery key adds another")
    story.adds(EVA, MALLORY)
    story.adds(EVA, OTHER_RECOVERY, recovery=True, signer=MALLORY, void="only a recovery key adds another")
    story.revokes(EVA, EVA, signer=MALLORY)
    loot = story.listed(EVA, "loot", signer=MALLORY)
    # The owner comes with the recovery key.
    story.revokes(EVA, MALLORY, since=loot, signer=RECOVERY)
    story.adds(EVA, SECOND, signer=RECOVERY)
    story.offers(EVA, "more loot", signer=MALLORY, void="key-invalid")
    story.offers(EVA, "again", void="key-invalid")
    assert story.state(story.listed(EVA, "own", signer=SECOND)) == "listed"
    assert story.state(loot) == "disputed"


def test_recovery_keys_replace_each_other(story: Story) -> None:
    story.adds(EVA, RECOVERY, recovery=True)
    story.adds(EVA, OTHER_RECOVERY, recovery=True, signer=RECOVERY)
    story.revokes(EVA, RECOVERY, signer=OTHER_RECOVERY)
    story.revokes(EVA, OTHER_RECOVERY, void="revoked only by itself or another recovery key")
    story.adds(EVA, SECOND, signer=RECOVERY, void="key-invalid")
    story.adds(EVA, SECOND, signer=OTHER_RECOVERY)


def test_since_disputes_that_keys_leaves_from_there_on(story: Story) -> None:
    story.adds(EVA, SECOND)
    before = story.listed(EVA, "before", signer=SECOND)
    after = story.listed(EVA, "after", signer=SECOND)
    others = story.listed(EVA, "by the first key")
    pending = story.offers(EVA, "not listed", signer=SECOND)
    story.revokes(EVA, SECOND, since=after)
    assert [story.state(n) for n in (before, after, others, pending)] == ["listed", "disputed", "listed", "disputed"]
    story.reviews(pending)
    assert story.state(pending) == "disputed"


def test_since_is_not_after_the_revocation(story: Story) -> None:
    story.adds(EVA, SECOND)
    index = len(story.log.leaves)
    story.revokes(EVA, SECOND, since=index + 1, void="since is after the leaf itself")
    story.revokes(EVA, SECOND, since=index + 1)  # its own index, now


def test_since_is_lifted_by_a_case_decided_afterwards(story: Story) -> None:
    story.adds(EVA, SECOND)
    leaf = story.listed(EVA, "library", signer=SECOND)
    earlier = story.disputes(BOB, "open", leaf)
    story.disputes(REGISTRY, "decide", leaf, earlier, outcome="rejected")
    assert story.state(leaf) == "listed"
    story.revokes(EVA, SECOND, since=leaf)
    assert story.state(leaf) == "disputed"  # what was decided before says nothing of the theft
    case = story.disputes(EVA, "open", leaf)
    assert story.state(leaf) == "disputed"
    story.disputes(REGISTRY, "decide", leaf, case, outcome="settled")
    assert story.state(leaf) == "listed"


def test_a_case_on_one_leaf_lifts_since_from_that_leaf_only(story: Story) -> None:
    story.adds(EVA, SECOND)
    one, two = (story.listed(EVA, name, signer=SECOND) for name in ("one", "two"))
    story.revokes(EVA, SECOND, since=0)
    case = story.disputes(BOB, "open", one)
    story.disputes(REGISTRY, "decide", one, case, outcome="rejected")
    assert (story.state(one), story.state(two)) == ("listed", "disputed")
    upheld = story.disputes(BOB, "open", two)
    story.disputes(REGISTRY, "decide", two, upheld, outcome="upheld")
    assert story.state(two) == "ended"


def test_a_case_on_one_entry_lifts_since_from_that_entry_only(story: Story) -> None:
    """What is decided of entry 1 says nothing of entry 0, nor of the leaf as a whole."""
    story.adds(EVA, SECOND)
    leaf = story.listed(EVA, "library", signer=SECOND)
    story.revokes(EVA, SECOND, since=leaf)
    case = story.disputes(BOB, "open", leaf, entries=(1,))
    story.disputes(REGISTRY, "decide", leaf, case, outcome="rejected", entries=(1,))
    assert [story.state(leaf, entry) for entry in (0, 1, None)] == ["disputed", "listed", "disputed"]
    whole = story.disputes(EVA, "open", leaf)
    story.disputes(REGISTRY, "decide", leaf, whole, outcome="settled")
    assert [story.state(leaf, entry) for entry in (0, 1, None)] == ["listed", "listed", "listed"]


def test_what_was_decided_over_an_entry_counts_not_what_was_disputed(story: Story) -> None:
    """A case opened over all of a leaf and decided over entry 1 leaves the doubt on entry 0."""
    story.adds(EVA, SECOND)
    leaf = story.listed(EVA, "library", signer=SECOND)
    story.revokes(EVA, SECOND, since=leaf)
    case = story.disputes(BOB, "open", leaf)
    story.disputes(REGISTRY, "decide", leaf, case, outcome="settled", entries=(1,))
    assert [story.state(leaf, entry) for entry in (0, 1)] == ["disputed", "listed"]


def test_a_revoked_key_of_the_registry_reviews_nothing(story: Story) -> None:
    desk = key("registry, desk")
    story.adds(REGISTRY, desk)
    leaf = story.offers(EVA)
    story.says(REGISTRY, "review", review_body(leaf, "listed"), signer=desk)
    story.revokes(REGISTRY, desk)
    story.says(REGISTRY, "review", review_body(leaf, "delisted"), signer=desk, void="key-invalid")
    assert story.state(leaf) == "listed"


# -- manifests


def test_a_manifest_is_logged_then_listed(story: Story) -> None:
    leaf = story.offers(EVA)
    assert story.state(leaf) == "logged"
    story.reviews(leaf)
    assert story.state(leaf) == "listed"
    assert story.state(leaf, 7) == "listed"


def test_what_is_no_manifest_leaf_has_no_state(story: Story) -> None:
    leaf = story.offers(EVA)
    review = story.reviews(leaf)
    assert [story.state(n) for n in (0, review, 99)] == ["void", "void", "void"]


def test_one_party_logs_a_manifest_once_and_others_may_log_its_digest(story: Story) -> None:
    first = story.listed(EVA)
    second = story.offers(EVA, void="has logged this manifest before")
    theft = story.offers(MALLORY)  # void by its header, which a fold of leaves does not see
    assert [story.state(n) for n in (first, second, theft)] == ["listed", "void", "logged"]
    assert {by: leaf for (_, by), leaf in story.fold.leaf_of.items()} == {EVA.did: first, MALLORY.did: theft}


@pytest.mark.parametrize("outcome", ["rejected", "delisted", "erased"])
def test_the_latest_review_counts(story: Story, outcome: str) -> None:
    leaf = story.listed(EVA)
    story.reviews(leaf, outcome)
    assert story.state(leaf) == "ended"
    story.reviews(leaf)
    assert story.state(leaf) == "listed"


def test_visibility_is_what_the_latest_listing_said(story: Story) -> None:
    leaf = story.offers(EVA)
    manifest = story.fold.manifests[leaf]
    assert manifest.visibility is None
    story.reviews(leaf, "listed", "private")
    assert manifest.visibility == "private"
    story.reviews(leaf, "delisted")
    assert manifest.visibility == "private"  # taking it off the list opens it to nobody
    story.reviews(leaf, "listed", "public")
    assert manifest.visibility == "public"


def test_references_point_backward(story: Story) -> None:
    leaf = story.offers(EVA)
    here = len(story.log.leaves)
    not_before = "refers to a leaf that is not before it"
    story.says(REGISTRY, "review", review_body(here, "listed"), void=not_before)
    story.says(EVA, "record", record(here + 1), void=not_before)
    story.says(EVA, "record", record(leaf, here + 9), void=not_before)
    story.says(EVA, "withdraw", withdraw(99), void=not_before)
    story.offers(EVA, "next", supersedes=(99,), void=not_before)
    story.disputes(REGISTRY, "hold", leaf, 99, void=not_before)
    training: Object = {"model": digest_encode(bytes(32)), "corpus": {"root": digest_encode(bytes(32)), "count": 1}}
    story.says(BOB, "training", {**training, "tokens": [99], "size": 1}, void=not_before)
    at = len(story.log.leaves)
    story.says(BOB, "training", {**training, "tokens": [], "size": at + 1}, void="leaves that are not before it")
    story.says(BOB, "training", {**training, "tokens": [], "size": at + 1})
    snapshot: Object = {"size": at + 3, "bits": 0, "count": 0, "root": digest_encode(bytes(32))}
    story.says(REGISTRY, "snapshot", snapshot, void="leaves that are not before it")
    story.says(REGISTRY, "snapshot", snapshot)
    story.says(EVA, "record", record(0, leaf))


def test_a_review_is_of_a_manifest(story: Story) -> None:
    story.says(REGISTRY, "review", review_body(0, "listed"), void="a review is of a manifest leaf")


# -- withdrawing and superseding


def test_its_creator_withdraws_a_manifest(story: Story) -> None:
    leaf = story.listed(EVA)
    story.says(BOB, "withdraw", withdraw(leaf), void="only its own creator")
    story.says(REGISTRY, "withdraw", withdraw(leaf), void="only its own creator")
    assert story.state(leaf) == "listed"
    story.says(EVA, "withdraw", withdraw(leaf, START + 100))
    story.says(EVA, "withdraw", withdraw(leaf, START + 50))
    story.says(EVA, "withdraw", withdraw(leaf, START + 70))
    assert story.state(leaf) == "withdrawing"
    assert story.fold.manifests[leaf].effective_at == START + 50  # the earliest counts
    story.reviews(leaf, "delisted")
    assert story.state(leaf) == "ended"


def test_a_withdrawal_before_the_listing(story: Story) -> None:
    leaf = story.offers(EVA)
    story.says(EVA, "withdraw", withdraw(leaf))
    story.reviews(leaf)
    assert story.state(leaf) == "withdrawing"


def test_supersedes_counts_from_the_listed_review_on(story: Story) -> None:
    old = story.listed(EVA, "old")
    new = story.offers(EVA, "new", supersedes=(old,))
    assert (story.state(old), story.state(new)) == ("listed", "logged")
    listing = story.reviews(new)
    assert (story.state(old), story.state(new)) == ("ended", "listed")
    assert story.fold.manifests[old].superseded_at == listing
    assert listing in story.fold.manifests[old].changed_at
    story.reviews(old)
    assert story.state(old) == "ended"  # a later listing does not bring it back


def test_a_rejected_replacement_does_not_end_the_old_offer(story: Story) -> None:
    old = story.listed(EVA, "old")
    new = story.offers(EVA, "new", supersedes=(old,))
    story.reviews(new, "rejected")
    assert (story.state(old), story.state(new)) == ("listed", "ended")
    story.reviews(new)
    assert story.state(old) == "ended"


def test_nobody_supersedes_a_stranger(story: Story) -> None:
    old = story.listed(EVA, "old")
    story.listed(MALLORY, "new", supersedes=(0, old))
    assert story.state(old) == "listed"


# -- disputes


def test_opening_a_case_changes_nothing(story: Story) -> None:
    leaf = story.listed(EVA)
    for stranger in (BOB, MALLORY, MALLORY):
        story.disputes(stranger, "open", leaf)
    assert story.state(leaf) == "listed"
    assert len(story.fold.cases) == 3
    assert story.fold.manifests[leaf].cases == []  # so that whoever looks at the manifest need not look at them


def test_the_registry_holds_and_decides(story: Story) -> None:
    leaf = story.listed(EVA)
    case = story.disputes(BOB, "open", leaf)
    for op, outcome in (("hold", None), ("decide", "upheld")):
        for stranger in (BOB, EVA):
            story.disputes(stranger, op, leaf, case, outcome=outcome, void=f"only the registry says {op}")
    story.disputes(BOB, "answer", leaf, case, void="only the creator named answers")
    story.disputes(EVA, "answer", leaf, case)
    assert story.state(leaf) == "listed"
    story.disputes(REGISTRY, "hold", leaf, case)
    assert story.state(leaf) == "disputed"


@pytest.mark.parametrize(("outcome", "state"), [("upheld", "ended"), ("rejected", "listed"), ("settled", "listed")])
def test_a_decision(story: Story, outcome: str, state: str) -> None:
    leaf = story.listed(EVA)
    case = story.disputes(BOB, "open", leaf)
    story.disputes(REGISTRY, "hold", leaf, case)
    story.disputes(REGISTRY, "decide", leaf, case, outcome=outcome)
    assert story.state(leaf) == state
    for op, by, said in (("hold", REGISTRY, None), ("answer", EVA, None), ("decide", REGISTRY, "upheld")):
        story.disputes(by, op, leaf, case, outcome=said, void="the case is decided")
    assert story.state(leaf) == state


def test_a_case_may_be_decided_without_a_hold(story: Story) -> None:
    leaf = story.listed(EVA)
    case = story.disputes(BOB, "open", leaf)
    story.disputes(REGISTRY, "decide", leaf, case, outcome="upheld")
    assert story.state(leaf) == "ended"


def test_a_case_names_entries(story: Story) -> None:
    leaf = story.listed(EVA)
    case = story.disputes(BOB, "open", leaf, entries=(3, 5))
    story.disputes(REGISTRY, "hold", leaf, case, entries=(3, 5))
    assert [story.state(leaf, n) for n in (None, 3, 4, 5)] == ["listed", "disputed", "listed", "disputed"]
    story.disputes(REGISTRY, "decide", leaf, case, entries=(5,), outcome="upheld")
    assert [story.state(leaf, n) for n in (None, 3, 4, 5)] == ["listed", "listed", "listed", "ended"]


def test_a_decision_without_entries_is_of_all(story: Story) -> None:
    leaf = story.listed(EVA)
    case = story.disputes(BOB, "open", leaf, entries=(3,))
    story.disputes(REGISTRY, "hold", leaf, case, entries=(3,))
    story.disputes(REGISTRY, "decide", leaf, case, outcome="upheld")
    assert [story.state(leaf, n) for n in (None, 0, 3)] == ["ended", "ended", "ended"]


def test_several_cases_dispute_until_each_is_decided(story: Story) -> None:
    leaf = story.listed(EVA)
    one, two = (story.disputes(by, "open", leaf) for by in (BOB, MALLORY))
    story.disputes(REGISTRY, "hold", leaf, one)
    story.disputes(REGISTRY, "hold", leaf, two)
    story.disputes(REGISTRY, "decide", leaf, one, outcome="rejected")
    assert story.state(leaf) == "disputed"
    story.disputes(REGISTRY, "decide", leaf, two, outcome="settled")
    assert story.state(leaf) == "listed"


def test_a_case_belongs_to_its_leaf(story: Story) -> None:
    one, two = story.listed(EVA, "one"), story.listed(EVA, "two")
    case = story.disputes(BOB, "open", one)
    story.disputes(REGISTRY, "hold", two, case, void="no such case on that leaf")
    story.disputes(REGISTRY, "hold", one, one, void="no such case on that leaf")
    story.disputes(BOB, "open", 0, void="a dispute is about a manifest leaf")
    assert (story.state(one), story.state(two)) == ("listed", "listed")


def test_what_comes_first_in_the_list_of_states(story: Story) -> None:
    """void · ended · disputed · withdrawing · listed · logged: the first that applies."""
    leaf = story.offers(EVA)
    seen = [story.state(leaf)]
    story.reviews(leaf)
    seen.append(story.state(leaf))
    story.says(EVA, "withdraw", withdraw(leaf))
    seen.append(story.state(leaf))
    case = story.disputes(BOB, "open", leaf)
    story.disputes(REGISTRY, "hold", leaf, case)
    seen.append(story.state(leaf))
    story.reviews(leaf, "delisted")
    seen.append(story.state(leaf))
    assert seen == ["logged", "listed", "withdrawing", "disputed", "ended"]


# -- leaves out of the middle


def test_carried_leaves_come_in_order() -> None:
    log = HandMadeLog()
    fold = Fold()
    fold.add_statement_at(0, log.leaves[0])
    fold.add_statement_at(5, sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(bytes(32))))
    assert fold.manifest_state(5) == "logged"
    with pytest.raises(ValueError, match="leaf 5 comes after 6"):
        fold.add_statement_at(5, log.leaves[0])


# -- properties over stories that a program tells

_PARTIES = (REGISTRY, EVA, BOB)
_KEYS = (*_PARTIES, SECOND, RECOVERY)


@st.composite
def leaves(draw: st.DrawFn) -> list[bytes]:
    """Draws a log whose leaves refer to each other, many of them void."""
    log = HandMadeLog()
    for _ in range(draw(st.integers(1, 14))):
        by, signer = draw(st.sampled_from(_PARTIES)), draw(st.sampled_from(_KEYS))
        refs = st.integers(0, len(log.leaves))
        leaf, case = draw(refs), draw(refs)
        kind = draw(
            st.sampled_from(("key", "revoke", "manifest", "review", "withdraw", "dispute", "record", "royalty"))
        )
        op = draw(st.sampled_from(("open", "hold", "decide", "answer")))
        new = draw(st.sampled_from(_KEYS))
        bodies: dict[str, Object] = {
            "key": key_add_body(by.did, new, recovery=new is RECOVERY),
            "revoke": {"op": "revoke", "key": new.did, "since": draw(st.none() | refs)},
            "manifest": manifest_body(bytes([draw(st.integers(0, 2))]) * 32, (leaf,) if draw(st.booleans()) else ()),
            "review": review_body(leaf, draw(st.sampled_from(("listed", "rejected")))),
            "withdraw": withdraw(leaf),
            "dispute": dispute_body(
                op,
                leaf,
                None if op == "open" else case,
                draw(st.sampled_from(((), (0,), (1,)))),
                draw(st.sampled_from(("upheld", "settled"))) if op == "decide" else None,
            ),
            "record": record(leaf),
            "royalty": {},
        }
        own = by if draw(st.booleans()) else signer
        log.add(sign_statement("key" if kind == "revoke" else kind, by.did, own, ORIGIN, bodies[kind]))
    return [leaf.data for leaf in log.leaves]


@given(leaves(), st.integers(0, 15))
def test_folding_in_two_halves_is_folding_at_once(log: list[bytes], cut: int) -> None:
    whole, halves = Fold(log), Fold(log[:cut])
    for leaf in log[cut:]:
        halves.add(leaf)
    assert_same(whole, halves)


@given(leaves())
def test_void_leaves_change_nothing(log: list[bytes]) -> None:
    """Two folds that differ only in void leaves hold the same but for the places."""
    whole, without = Fold(log), Fold()
    for index, leaf in enumerate(log):
        if index not in whole.void:
            without.add_statement_at(index, parse_statement(leaf))
    assert without.void == {}
    without.void, without.size = whole.void, whole.size
    assert_same(whole, without)


@given(leaves())
def test_the_independent_reader_finds_the_same(log: list[bytes]) -> None:
    assert_agreed(log, Fold(log))


@given(leaves())
def test_why_void_foretells(log: list[bytes]) -> None:
    fold = Fold()
    for leaf in log:
        statement = parse_statement(leaf)
        foretold = fold.why_void(statement)
        assert fold.add(leaf) == foretold
