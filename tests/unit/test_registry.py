"""Stories of a registry, told on the simulator: what it lists, refuses, forgets and recovers (docs/format.md, 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.canonical import Object
from ledger.encoding import digest_encode, time_encode
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
)
from ledger.keys import SigningKey
from ledger.manifests import Entry
from ledger.ports import ManifestRecord
from ledger.proof import verify_proof
from ledger.registry import payloads
from ledger.registry.anchoring import Anchoring
from ledger.registry.listing import MAX_REASONS, RULES, RULES_DIGEST, decide
from ledger.registry.log import Logged
from ledger.registry.proving import prove
from ledger.registry.service import Registry
from ledger.registry.speaking import MAX_KEYS
from ledger.statements import key_add_body, manifest_body, parse_statement, sign_statement
from ledger.store.memory import MemoryBlobStore, MemoryCatalog, MemoryLog, MemoryTileStore
from ledger.tiles import ENTRIES, Tile
from tests.reference import statement as reference
from tests.reference import tiles as reference_tiles
from tests.simulator import (
    DAY,
    ISSUER,
    ORIGIN,
    START,
    HandMadeLog,
    Library,
    World,
    digest,
    dispute_body,
    entry,
    key,
    library,
    license_of,
    reading,
    review_body,
    verdict,
)

EVA, BOB, MALLORY = key("eva"), key("bob"), key("mallory")


@pytest.fixture
def world() -> Iterator[World]:
    """A registry; at the end its log is consistent from outside and the same when it is opened again."""
    world = World()
    yield world
    try:
        fold, head = world.registry.log.fold, world.registry.log.head
        assert world.reopen().log.head == head
        assert vars(world.registry.log.fold) == vars(fold)
        assert world.registry.log.fold.void == {}
        assert_tiles(world)
    finally:
        world.close()


def assert_tiles(world: World) -> None:
    """Asserts that the tiles are those of the leaves, as the reference lays them out."""
    leaves = world.leaves()
    expected = reference_tiles.expected_tiles(leaves)
    held = {reference_tiles.tile_path(_level(t), t.index, t.width): t for t in world.tiles._tiles}
    assert expected.keys() <= held.keys()
    for path, data in expected.items():
        assert world.tiles.read(held[path]) == data


def _level(tile: Tile) -> int | str:
    return "entries" if tile.level < 0 else tile.level


def revoke_body(old: SigningKey) -> Object:
    """Returns the body that revokes a key from its leaf on."""
    return {"op": "revoke", "key": old.did, "since": None}


def copied(library: Library, creator: SigningKey) -> Library:
    """Returns the same files in a library of somebody else."""
    return Library.of(creator, library.entries, header={"title": "copied"})


# -- publishing


def test_a_library_is_logged_listed_and_found(world: World) -> None:
    pictures = library("pictures", EVA)
    receipt = world.publish(pictures)
    assert (receipt.logged.index, receipt.manifest) == (1, pictures.header.digest)
    assert receipt.decision.outcome == "list"
    for number, item in enumerate(pictures.entries):
        for kind, found in item.digests:
            (claim,) = world.registry.claims([found])[found]
            assert (claim.match.leaf, claim.match.entry, claim.match.kind) == (1, number, kind)
            assert (claim.state, claim.contested) == ("listed", False)
            assert (claim.header, claim.entry, claim.terms) == (pictures.header, item, pictures.terms)
            result = verify_proof(prove(world.registry, found), world.trust(), replay=world.leaves())
            assert (result.kind, result.state, result.leaf) == (kind, "listed", 1)
    assert world.registry.claims([digest("no such file")]) == {digest("no such file"): []}


def test_publishing_again_gives_the_same_leaf(world: World) -> None:
    pictures = library("pictures", EVA)
    first = world.publish(pictures)
    size = world.registry.log.head.size
    again = world.publish(pictures)
    assert again.logged.index == first.logged.index
    assert again.decision == first.decision
    assert world.registry.log.head.size == size


def test_what_the_log_would_refuse_leaves_nothing_behind(world: World) -> None:
    """No blob stays of a manifest that a key signed which does not count."""
    before = set(world.blobs.digests())
    pictures = library("pictures", EVA)
    statement = sign_statement("manifest", EVA.did, BOB, ORIGIN, manifest_body(pictures.header.digest))
    with pytest.raises(RefusedError) as caught:
        world.registry.publish(pictures.file(statement), pictures.terms.data, pictures.text, EVA.did)
    assert (caught.value.code, caught.value.field) == ("key-invalid", "statement")
    assert set(world.blobs.digests()) == before


def test_a_leaf_first_is_no_way_round_the_one_offer_at_a_place(world: World) -> None:
    """A second manifest of one version is logged alone, and its payload lies there from a publication cut off: it is
    not entered when the registry starts again."""
    first, second = library("pictures", EVA), library("pictures", EVA, 5)
    leaf = world.publish(first).logged.index
    other = world.speak(EVA, "manifest", manifest_body(second.header.digest)).index
    payloads.store(payloads.Payload(second.header, second.entries, second.terms, second.text), world.blobs)
    world.reopen()
    assert world.registry.catalog.manifest(leaf) is not None
    assert world.registry.catalog.manifest(other) is None
    world.registry.rebuild()
    assert world.registry.catalog.manifest(other) is None


def test_the_policy_names_the_rules(world: World) -> None:
    policy = world.registry.log.fold.policy
    assert policy is not None
    assert policy.rules == RULES_DIGEST == digest(RULES)
    assert policy.log_key == world.registry.log.vkey


def test_two_manifests_of_one_place_conflict(world: World) -> None:
    first = world.publish(library("pictures", EVA))
    other = library("pictures", EVA, 4)
    size = world.registry.log.head.size
    with pytest.raises(ConflictError) as caught:
        world.publish(other)
    assert caught.value.code == "version-conflict"
    assert str(first.logged.index) in str(caught.value)
    assert world.registry.log.head.size == size
    assert world.registry.catalog.manifests(None, 9) == [world.registry.catalog.manifest(1)]
    world.publish(library("pictures", EVA, 4, version="2"))
    world.publish(library("pictures", EVA, 4, part=2, parts=2))
    world.publish(library("pictures", BOB, 4))  # the same dataset id of another creator is another dataset


def test_a_manifest_supersedes_another(world: World) -> None:
    old = world.publish(library("pictures", EVA)).logged.index
    new = world.publish(library("pictures", EVA, 4), supersedes=(old,)).logged.index
    fold = world.registry.log.fold
    assert (fold.manifest_state(old), fold.manifest_state(new)) == ("ended", "listed")
    found = library("pictures", EVA).entries[0].provenance_hash
    claims = world.registry.claims([found])[found]
    assert [(c.match.leaf, c.state) for c in claims] == [(new, "listed"), (old, "ended")]
    assert verify_proof(prove(world.registry, found), world.trust()).leaf == new
    ended = verify_proof(prove(world.registry, found, old), world.trust())
    assert (ended.state, ended.leaf) == ("ended", old)  # the bundle carries what ended it
    with pytest.raises(RefusedError) as caught:
        world.publish(library("more", BOB), supersedes=(new,))
    assert (caught.value.code, caught.value.field) == ("void", "supersedes")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rights_status": "needs-release"}, "rights_status needs-release"),
        ({"rights_status": "restricted"}, "rights_status restricted"),
        ({"release_status": "missing"}, "release_status missing"),
        ({"privacy": {"face": "no", "minor": "unknown", "pii": "no", "biometric": "no"}}, "privacy minor unknown"),
    ],
)
def test_the_rules_reject(world: World, changes: Object, reason: str) -> None:
    bad = Library.of(EVA, [entry("good"), entry("bad", **changes)])
    receipt = world.publish(bad)
    assert receipt.decision.outcome == "reject"
    assert receipt.decision.reasons == (f"bad.png: {reason}",)
    assert world.registry.log.fold.manifest_state(receipt.logged.index) == "ended"
    assert world.registry.reviews.waiting() == []
    again = world.publish(bad)
    assert again.logged.index == receipt.logged.index


def test_reasons_are_short() -> None:
    entries = [entry(f"{n:03d}", rights_status="restricted") for n in range(MAX_REASONS + 5)]
    reasons = decide(entries, []).reasons
    assert len(reasons) == MAX_REASONS + 1
    assert reasons[-1] == "and 5 more"


def test_a_collision_waits_for_a_person(world: World) -> None:
    original = library("pictures", EVA)
    first = world.publish(original).logged.index
    receipt = world.publish(copied(original, MALLORY))
    assert receipt.decision.outcome == "wait"
    assert all(f"is also in leaf {first}" in reason for reason in receipt.decision.reasons)
    fold = world.registry.log.fold
    assert fold.manifest_state(receipt.logged.index) == "logged"
    found = original.entries[0].provenance_hash
    assert [(c.match.leaf, c.state, c.contested) for c in world.registry.claims([found])[found]] == [
        (first, "listed", False),
        (receipt.logged.index, "logged", False),
    ]
    assert verify_proof(prove(world.registry, found), world.trust()).leaf == first
    ((record, decision),) = world.registry.reviews.waiting()
    assert (record.leaf, decision.outcome) == (receipt.logged.index, "wait")

    world.review(receipt.logged.index, "listed")  # a person decides; both are contested from then on
    assert world.registry.reviews.waiting() == []
    assert [(c.state, c.contested) for c in world.registry.claims([found])[found]] == [("listed", True)] * 2


@pytest.mark.parametrize("kind", ["provenance_hash", "published_hash", "content_hash"])
def test_one_equal_digest_of_any_kind_collides(world: World, kind: str) -> None:
    original = entry("original")
    world.publish(Library.of(EVA, [original]))
    shared = digest_encode(original.published_hash)
    receipt = world.publish(Library.of(BOB, [entry("other"), entry("same", **{kind: shared})]))
    assert receipt.decision.outcome == "wait"


def test_what_ended_is_in_nobodys_way(world: World) -> None:
    original = library("pictures", EVA)
    first = world.publish(original).logged.index
    world.review(first, "delisted")
    assert world.publish(copied(original, BOB)).decision.outcome == "list"


def test_a_creators_own_files_collide_with_nobody(world: World) -> None:
    original = library("pictures", EVA)
    world.publish(original)
    assert world.publish(copied(original, EVA)).decision.outcome == "list"


def test_a_review_may_be_made_again(world: World) -> None:
    """Word for word the same statement, which counts again because another one counted in between."""
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    listed = sign_statement("review", world.identity.did, world.identity.key, ORIGIN, review_body(leaf, "listed"))
    assert world.leaves()[leaf + 1] == listed.data
    assert world.registry.speak(listed.data, world.identity.did).index == leaf + 1  # a request that is repeated
    world.review(leaf, "delisted")
    assert world.registry.log.fold.manifest_state(leaf) == "ended"
    assert world.registry.speak(listed.data, world.identity.did).index == leaf + 3
    assert world.registry.log.fold.manifest_state(leaf) == "listed"
    assert world.registry.speak(listed.data, world.identity.did).size == leaf + 4  # and repeated
    result = verify_proof(prove(world.registry, pictures.entries[0].published_hash), world.trust())
    assert result.state == "listed"


def test_what_was_said_again_in_between(world: World) -> None:
    """The same for the other kinds of statement of which the last one counts."""
    say = world.registry.sign
    policy = world.registry.policy_body()
    status: Object = {"uri": "https://x.example/status/0", "bits": 2, "count": 8, "digest": digest_encode(bytes(32))}
    levels: Object = {"creator": EVA.did, "level": "domain", "evidence": None}
    for kind, one, two in (
        ("policy", policy, {**policy, "issuer": "https://new.example"}),
        ("status", status, {**status, "digest": digest_encode(b"1" * 32)}),
        ("identity", levels, {**levels, "level": "attested"}),
    ):
        places = [world.registry.log.append(say(kind, body)).index for body in (one, one, two, two, one)]
        size = world.registry.log.head.size
        assert places[0] == places[1]
        assert places[2:] == [size - 2, size - 2, size - 1]


def test_private_manifests_are_shown_to_nobody(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    found = pictures.entries[0].provenance_hash
    for outcome, visibility in (("listed", "private"), ("delisted", None), ("listed", "invite")):
        world.review(leaf, outcome, visibility)
        assert world.registry.claims([found])[found] == []
        with pytest.raises(NotFoundError):
            world.registry.manifest(leaf)
        with pytest.raises(NotFoundError):
            prove(world.registry, found)
    world.review(leaf, "listed", "public")
    assert len(world.registry.claims([found])[found]) == 1


# -- what is refused


def test_an_upload_is_what_it_says_to_be(world: World) -> None:
    pictures = library("pictures", EVA)
    manifest, terms = pictures.file(pictures.statement()), pictures.terms.data
    other_terms, other_text = license_of(audit_per_year=1)
    forged = sign_statement("manifest", EVA.did, MALLORY, ORIGIN, manifest_body(pictures.header.digest))
    signed = sign_statement("manifest", MALLORY.did, MALLORY, ORIGIN, manifest_body(pictures.header.digest))
    refused: list[tuple[bytes, bytes, bytes, str, type[Exception], str]] = [
        (manifest[:-1], terms, pictures.text, EVA.did, MalformedError, "malformed"),
        (manifest, terms[:-1], pictures.text, EVA.did, MalformedError, "malformed"),
        (manifest, terms, pictures.text + b" ", EVA.did, MalformedError, "malformed"),
        (manifest, terms, other_text, EVA.did, VerificationError, "terms-digest"),
        (manifest, other_terms.data, other_text, EVA.did, RefusedError, "terms-digest"),
        (manifest, terms, pictures.text, BOB.did, RefusedError, "forbidden"),
        (pictures.file(pictures.statement(log=None)), terms, pictures.text, EVA.did, RefusedError, "wrong-log"),
        (
            pictures.file(pictures.statement(log="another.example/log")),
            terms,
            pictures.text,
            EVA.did,
            RefusedError,
            "wrong-log",
        ),
        (pictures.file(signed), terms, pictures.text, EVA.did, MalformedError, "malformed"),
        (pictures.file(forged), terms, pictures.text, EVA.did, RefusedError, "key-invalid"),
    ]
    for data, license_, text, subject, error, code in refused:
        with pytest.raises(error) as caught:
            world.registry.publish(data, license_, text, subject)
        assert getattr(caught.value, "code", None) == code
        assert world.registry.log.head.size == 1
        assert world.registry.catalog.manifests(None, 9) == []
    assert world.publish(pictures).logged.index == 1


def test_a_statement_for_another_log_is_refused(world: World) -> None:
    leaf = world.publish(library("pictures", EVA)).logged.index
    body: Object = {"leaf": leaf, "effective_at": time_encode(world.clock.now + 31 * DAY)}
    with pytest.raises(RefusedError) as caught:
        world.speak(EVA, "withdraw", body, log="another.example/log")
    assert caught.value.code == "wrong-log"
    assert world.registry.log.fold.manifest_state(leaf) == "listed"


def test_everybody_speaks_for_themselves(world: World) -> None:
    leaf = world.publish(library("pictures", EVA)).logged.index
    size = world.registry.log.head.size
    statement = sign_statement("review", world.identity.did, world.identity.key, ORIGIN, review_body(leaf, "delisted"))
    poem = sign_statement("poem", EVA.did, EVA, ORIGIN, {})
    token: Object = {"token": digest_encode(bytes(32))}
    for data, subject in (
        (statement.data, EVA.did),
        (sign_statement("review", EVA.did, EVA, ORIGIN, review_body(leaf, "delisted")).data, EVA.did),
        (sign_statement("token", world.identity.did, world.identity.key, ORIGIN, token).data, world.identity.did),
        (poem.data, EVA.did),
    ):
        with pytest.raises(RefusedError) as caught:
            world.registry.speak(data, subject)
        assert caught.value.code == "forbidden"
    with pytest.raises(RefusedError) as caught:
        world.registry.log.append(poem)
    assert caught.value.code == "unknown-type"
    assert world.registry.log.head.size == size


def test_a_key_that_does_not_count_is_refused(world: World) -> None:
    second = key("eva, second")
    pictures = library("pictures", EVA)
    manifest = pictures.file(pictures.statement(signer=second))
    with pytest.raises(RefusedError) as caught:
        world.registry.publish(manifest, pictures.terms.data, pictures.text, EVA.did)
    assert caught.value.code == "key-invalid"
    world.speak(EVA, "key", key_add_body(EVA.did, second, recovery=False))
    receipt = world.registry.publish(manifest, pictures.terms.data, pictures.text, EVA.did)
    assert verify_proof(prove(world.registry, pictures.entries[0].published_hash), world.trust()).leaf == 2
    assert receipt.logged.index == 2


def test_a_header_of_somebody_else_is_void_everywhere(world: World) -> None:
    """Mallory logs the digest of Eva's header before Eva does: it is a leaf, and that is all it is."""
    pictures = library("pictures", EVA)
    theft = world.speak(MALLORY, "manifest", manifest_body(pictures.header.digest)).index
    mine = world.publish(pictures).logged.index
    world.registry.log.append(world.registry.sign("review", review_body(theft, "listed", "public")))
    found = pictures.entries[0].published_hash
    assert [c.match.leaf for c in world.registry.claims([found])[found]] == [mine]
    with pytest.raises(NotFoundError):
        world.registry.manifest(theft)
    with pytest.raises(NotFoundError):
        prove(world.registry, found, theft)
    assert theft not in world.registry.rebuild()
    assert [c.match.leaf for c in world.registry.claims([found])[found]] == [mine]
    log = HandMadeLog(leaves=[parse_statement(leaf) for leaf in world.leaves()])
    refused = verdict(log.bundle(pictures.claim(0, theft)), world.trust())
    assert isinstance(refused, VerificationError)
    assert refused.code == "header-digest"
    assert verify_proof(log.bundle(pictures.claim(0, mine)), world.trust()).leaf == mine


# -- withdrawing, disputing, erasing


def test_a_withdrawal_keeps_its_notice(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    earliest = world.clock.now + 30 * DAY
    with pytest.raises(RefusedError) as caught:
        world.speak(EVA, "withdraw", {"leaf": leaf, "effective_at": time_encode(earliest - 1)})
    assert (caught.value.code, caught.value.field) == ("notice", "effective_at")
    assert time_encode(earliest) in str(caught.value)
    assert world.registry.log.fold.manifest_state(leaf) == "listed"
    with pytest.raises(RefusedError) as caught:
        world.speak(BOB, "withdraw", {"leaf": leaf, "effective_at": time_encode(earliest)})
    assert caught.value.code == "void"
    world.speak(EVA, "withdraw", {"leaf": leaf, "effective_at": time_encode(earliest)})
    assert world.registry.log.fold.manifest_state(leaf) == "withdrawing"
    result = verify_proof(prove(world.registry, pictures.entries[0].published_hash), world.trust())
    assert result.state == "withdrawing"


def test_what_was_said_is_no_new_word_later(world: World) -> None:
    """An answer that was lost is asked for again: also when the same statement, made now, would be too late."""
    leaf = world.publish(library("pictures", EVA)).logged.index
    body: Object = {"leaf": leaf, "effective_at": time_encode(world.clock.now + 30 * DAY)}
    said = world.speak(EVA, "withdraw", body)
    for n in range(MAX_KEYS - 1):
        added = world.speak(EVA, "key", key_add_body(EVA.did, key(f"eva {n}"), recovery=False))
    world.clock.now += 7 * DAY
    assert world.speak(EVA, "withdraw", body).index == said.index
    again = world.speak(EVA, "key", key_add_body(EVA.did, key(f"eva {MAX_KEYS - 2}"), recovery=False))
    assert again.index == added.index
    world.review(leaf, "delisted")
    world.review(leaf, "listed", "public")
    with pytest.raises(RefusedError):
        world.review(
            world.publish(Library.of(EVA, [entry("x", release_status="missing", releases=[])])).logged.index, "listed"
        )


def test_what_was_erased_stays_so(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    copy = MemoryBlobStore()
    for blob in world.blobs.digests():
        copy.put(world.blobs.get(blob))
    world.review(leaf, "erased")
    for outcome in ("delisted", "rejected", "listed"):
        with pytest.raises(RefusedError) as caught:
            world.review(leaf, outcome)
        assert caught.value.code == "erased"
    # In a log of before, or of somebody who stole the key: a copy of the blobs from before brings nothing back.
    world.registry.log.append(world.registry.sign("review", review_body(leaf, "delisted")))
    world.blobs = copy
    world.reopen()
    assert world.registry.catalog.manifest(leaf) is None
    assert world.registry.claims([pictures.entries[0].published_hash]) == {pictures.entries[0].published_hash: []}
    with pytest.raises(RefusedError) as caught:
        world.publish(pictures)
    assert caught.value.code == "erased"


def test_a_policy_waits_for_a_key_that_counts(world: World) -> None:
    """Who stole the statement key has it revoked, and a new release has other rules: the registry must open."""
    own, recovery, second = world.identity.key, key("recovery"), key("second")
    assert isinstance(own, SigningKey)
    world.speak(own, "key", key_add_body(own.did, recovery, recovery=True))
    world.speak(own, "key", revoke_body(own), signer=recovery)
    world.identity = replace(world.identity, issuer="https://elsewhere.example", further=(second,))
    registry = world.reopen()
    assert registry.log.fold.policy is not None
    assert registry.log.fold.policy.issuer == ISSUER
    assert "recovery key" in (registry.warning or "")
    world.speak(own, "key", key_add_body(own.did, second, recovery=False), signer=recovery)
    body: Object = {"kind": "usage", "refs": [], "evidence": digest_encode(digest("record"))}
    world.speak(EVA, "record", body)
    assert (registry.log.fold.policy.issuer, registry.warning) == ("https://elsewhere.example", None)


def test_many_at_once_keep_the_rules_of_one(world: World) -> None:
    """What is counted is counted within a request, too, and an erasure has its effect where it stands in it."""
    registry, did = world.registry, world.identity.did
    keys = [
        sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, key(f"eva {n}"), recovery=False)).data
        for n in range(MAX_KEYS + 3)
    ]
    answers = registry.speak_many(keys, EVA.did)
    assert [isinstance(answer, Logged) for answer in answers] == [True] * (MAX_KEYS - 1) + [False] * 4
    assert {answer.code for answer in answers if isinstance(answer, TrainmarkError)} == {"too-many-keys"}

    leaves = [world.publish(library(name, creator)).logged.index for name, creator in (("one", EVA), ("two", BOB))]
    bodies = [
        review_body(leaves[0], "delisted"),
        review_body(leaves[1], "delisted"),
        review_body(leaves[0], "erased"),
        review_body(leaves[0], "listed", "public"),
        review_body(leaves[1], "listed", "public"),
    ]
    said = [sign_statement("review", did, world.identity.key, ORIGIN, body).data for body in bodies]
    answers = registry.speak_many(said, did)
    assert [answer.index - leaves[1] for answer in answers if isinstance(answer, Logged)] == [2, 3, 4, 5]
    assert isinstance(answers[3], RefusedError)
    assert answers[3].code == "erased"
    assert [registry.catalog.manifest(leaf) is None for leaf in leaves] == [True, False]
    assert [registry.log.fold.manifest_state(leaf) for leaf in leaves] == ["ended", "listed"]


class AwayCatalog(MemoryCatalog):
    """A catalog that is away from a question for a license on."""

    def license(self, license_digest: bytes) -> tuple[bytes, bytes] | None:
        raise BackendError("the server cannot be reached", code="unavailable")


def test_what_cannot_be_checked_stops_none_of_the_others(world: World) -> None:
    leaf = world.publish(library("pictures", EVA)).logged.index
    world.registry._terms.cache_clear()
    world.registry.catalog.license = AwayCatalog().license  # type: ignore[method-assign]
    record: Object = {"kind": "usage", "refs": [], "evidence": digest_encode(digest("record"))}
    withdrawal: Object = {"leaf": leaf, "effective_at": time_encode(world.clock.now + 40 * DAY)}
    said = [
        sign_statement("record", EVA.did, EVA, ORIGIN, record).data,
        sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, key("eva 2"), recovery=False)).data,
        sign_statement("withdraw", EVA.did, EVA, ORIGIN, withdrawal).data,
    ]
    answers = world.registry.speak_many(said, EVA.did)
    assert [getattr(answer, "code", "logged") for answer in answers] == ["logged", "logged", "unavailable"]


def test_a_pool_that_is_full_takes_all_of_a_request_or_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.registry.log.MAX_POOL", 2)
    record: Object = {"kind": "usage", "refs": [], "evidence": digest_encode(digest("record"))}
    said = [
        sign_statement("record", by.did, by, ORIGIN, {**record, "evidence": digest_encode(digest(f"{n}"))}).data
        for by, n in ((EVA, 1), (EVA, 2), (EVA, 3))
    ]
    size = world.registry.log.head.size
    answers = world.registry.speak_many(said, EVA.did)
    assert [getattr(answer, "code", None) for answer in answers] == ["pool-full"] * 3
    assert world.registry.log.head.size == size
    assert all(isinstance(answer, Logged) for answer in world.registry.speak_many(said[:2], EVA.did))


def test_an_upload_that_the_pool_refuses_leaves_no_blob_that_nobody_could_erase(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = library("one", EVA)
    again = Library.of(EVA, one.entries, header={"title": "The same files under another title"})
    other = library("other", EVA)
    world.publish(one)
    kept = set(world.blobs.digests())
    with monkeypatch.context() as patch:
        patch.setattr("ledger.registry.log.MAX_POOL", 0)
        for refused in (again, other):
            with pytest.raises(ConflictError) as caught:
                world.publish(refused)
            assert caught.value.code == "pool-full"
            assert set(world.blobs.digests()) == kept
    assert world.publish(again).logged.index == 3
    assert world.registry.manifest(3)[1] == "listed"


def test_a_dispute(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    case = world.speak(BOB, "dispute", dispute_body("open", leaf, entries=(1,))).index
    states = [pictures.entries[0].published_hash, pictures.entries[1].published_hash]

    def shown() -> list[str]:
        found = [world.registry.claims([d])[d][0].state for d in states]
        proved = [verify_proof(prove(world.registry, d), world.trust()).state for d in states]
        assert proved == found
        return found

    assert shown() == ["listed", "listed"]
    world.speak(world.identity.key, "dispute", dispute_body("hold", leaf, case, (1,)))
    assert shown() == ["listed", "disputed"]
    world.speak(EVA, "dispute", dispute_body("answer", leaf, case))
    world.speak(world.identity.key, "dispute", dispute_body("decide", leaf, case, (1,), "upheld"))
    assert shown() == ["listed", "ended"]


def test_nobody_makes_a_proof_bigger(world: World) -> None:
    """Strangers open cases, add and change keys, and log copies: the proof of the original carries none of it."""
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    last = MALLORY
    for n in range(MAX_KEYS - 1):
        following = key(f"mallory {n}")
        world.speak(MALLORY, "key", key_add_body(MALLORY.did, following, recovery=False), signer=last)
        world.speak(MALLORY, "key", revoke_body(last), signer=following)
        world.speak(key(f"stranger {n}"), "dispute", dispute_body("open", leaf))
        last = following
    with pytest.raises(RefusedError) as caught:
        world.speak(MALLORY, "key", key_add_body(MALLORY.did, key("one more"), recovery=False), signer=last)
    assert caught.value.code == "too-many-keys"
    copy = copied(pictures, MALLORY)
    statement = sign_statement("manifest", MALLORY.did, last, ORIGIN, manifest_body(copy.header.digest))
    world.registry.publish(copy.file(statement), copy.terms.data, copy.text, MALLORY.did)
    data = prove(world.registry, pictures.entries[0].published_hash)
    assert (verify_proof(data, world.trust()).leaf, verify_proof(data, world.trust()).state) == (leaf, "listed")
    assert [item["index"] for item in reading(data)["leaves"]] == [0, leaf, leaf + 1]


def test_a_proof_carries_the_keys_it_needs_and_no_others(world: World) -> None:
    """Of a creator's keys those that signed, and those that signed for these; a case's stranger brings none."""
    second, third, unused = (key(f"eva {word}") for word in ("second", "third", "unused"))
    added = world.speak(EVA, "key", key_add_body(EVA.did, second, recovery=False)).index
    world.speak(EVA, "key", key_add_body(EVA.did, unused, recovery=False))
    then = world.speak(EVA, "key", key_add_body(EVA.did, third, recovery=False), signer=second).index
    for n in range(5):
        world.speak(MALLORY, "key", key_add_body(MALLORY.did, key(f"mallory {n}"), recovery=False))
    pictures = library("pictures", EVA)
    statement = sign_statement("manifest", EVA.did, third, ORIGIN, manifest_body(pictures.header.digest))
    leaf = world.registry.publish(pictures.file(statement), pictures.terms.data, pictures.text, EVA.did).logged.index
    review = leaf + 1
    case = world.speak(MALLORY, "dispute", dispute_body("open", leaf)).index
    hold = world.speak(world.identity.key, "dispute", dispute_body("hold", leaf, case)).index
    revoked = world.speak(EVA, "key", revoke_body(second)).index
    data = prove(world.registry, pictures.entries[0].published_hash)
    assert [item["index"] for item in reading(data)["leaves"]] == [0, added, then, leaf, review, case, hold, revoked]
    assert verify_proof(data, world.trust()).state == "disputed"


def test_many_withdrawals_are_one(world: World) -> None:
    """Only the first of the earliest counts, so only that one is carried."""
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    said = [
        world.speak(EVA, "withdraw", {"leaf": leaf, "effective_at": time_encode(START + (40 + n) * DAY)}).index
        for n in (3, 1, 2, 1, 5)
    ]
    data = prove(world.registry, pictures.entries[0].published_hash)
    assert {item["index"] for item in reading(data)["leaves"]} & set(said) == {said[1]}
    result = verify_proof(data, world.trust())
    assert (result.state, world.registry.log.fold.manifests[leaf].effective_at) == ("withdrawing", START + 41 * DAY)


def test_what_may_not_be_listed_is_not_listed(world: World) -> None:
    """A person decides what waits, not what the rules reject, nor what the registry cannot look at."""
    rejected = world.publish(Library.of(EVA, [entry("model", release_status="missing", releases=[])])).logged.index
    unseen = world.speak(BOB, "manifest", manifest_body(digest("kept back"))).index
    erased = world.publish(library("erased", BOB)).logged.index
    world.review(erased, "erased")
    for leaf in (rejected, unseen, erased):
        size = world.registry.log.head.size
        with pytest.raises(RefusedError) as caught:
            world.review(leaf, "listed", "public")
        assert caught.value.code == ("erased" if leaf == erased else "not-listable")
        assert world.registry.log.head.size == size
    world.review(rejected, "rejected")


def test_erasing_removes_the_payload_and_leaves_the_log(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    found = pictures.entries[0].published_hash
    world.review(leaf, "erased")
    assert world.registry.catalog.manifest(leaf) is None
    assert world.registry.claims([found])[found] == []
    assert not world.blobs.has(pictures.header.digest)
    kept = [world.blobs.get(d) for d in world.blobs.digests()]
    assert sorted(kept) == sorted([pictures.terms.data, pictures.text])  # no header, no entry, no salt
    assert world.registry.log.fold.manifest_state(leaf) == "ended"
    with pytest.raises(NotFoundError):
        prove(world.registry, found)
    assert world.registry.rebuild() == []


def test_what_is_erased_is_not_published_again(world: World) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    world.review(leaf, "erased")
    with pytest.raises(RefusedError) as caught:
        world.publish(pictures)
    assert caught.value.code == "erased"
    assert world.registry.catalog.manifest(leaf) is None
    assert not world.blobs.has(pictures.header.digest)


class BlobsThatStay(MemoryBlobStore):
    """A disk that cannot delete."""

    failing = True

    def delete(self, digest: bytes) -> None:
        if self.failing:
            raise BackendError("the disk is read-only", code="read-only")
        super().delete(digest)


def test_an_erasure_counts_before_the_disk_has_done_it(world: World) -> None:
    world.blobs = BlobsThatStay()
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    with pytest.raises(BackendError):
        world.review(leaf, "erased")
    assert world.catalog.manifest(leaf) is not None
    found = pictures.entries[0].published_hash
    assert world.registry.claims([found])[found] == []
    with pytest.raises(NotFoundError):
        world.registry.manifest(leaf)
    world.blobs = MemoryBlobStore()
    world.reopen()
    assert world.catalog.manifest(leaf) is None


def test_an_erasure_that_failed_is_finished_before_the_next_statement(world: World) -> None:
    world.blobs = BlobsThatStay()
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    with pytest.raises(BackendError):
        world.review(leaf, "erased")
    world.blobs.failing = False
    world.publish(library("more", EVA))
    assert world.catalog.manifest(leaf) is None
    assert not world.blobs.has(pictures.header.digest)


def test_a_path_asked_for_while_it_is_erased(world: World) -> None:
    leaf = world.publish(library("pictures", EVA)).logged.index
    world.catalog.remove_manifest(leaf)
    with pytest.raises(NotFoundError):
        world.registry.entry_path(leaf, 0)


def test_erasing_one_version_keeps_the_entries_of_another(world: World) -> None:
    one = library("pictures", EVA)
    two = Library.of(EVA, one.entries, header={"title": "The same files under another title"})
    copy = copied(one, MALLORY)
    first, second, third = (world.publish(each).logged.index for each in (one, two, copy))
    found = one.entries[0].published_hash
    world.review(third, "erased")
    world.review(first, "erased")
    assert world.registry.rebuild() == [second]
    assert [c.match.leaf for c in world.registry.claims([found])[found]] == [second]
    world.review(second, "erased")
    assert world.registry.rebuild() == []
    assert sorted(map(world.blobs.get, world.blobs.digests())) == sorted([one.terms.data, one.text])


# -- recovery


def answers(registry: Registry, libraries: Sequence[Library]) -> list[object]:
    """Returns all that a registry says of these libraries' files."""
    found = [d for each in libraries for item in each.entries for _, d in item.digests]
    said: list[object] = []
    for claims in registry.claims(found).values():
        said += [(c.match, c.state, c.contested, c.header, c.entry, c.terms.digest) for c in claims]
    return [*said, registry.reviews.waiting(), registry.catalog.licenses(None, 9)]


def test_everything_comes_back_from_leaves_and_blobs(world: World) -> None:
    libraries = [library("one", EVA), library("two", BOB, 5), library("three", EVA, 1)]
    libraries.append(copied(libraries[1], MALLORY))
    leaves = [world.publish(each).logged.index for each in libraries]
    world.review(leaves[2], "erased")
    world.speak(EVA, "withdraw", {"leaf": leaves[0], "effective_at": time_encode(world.clock.now + 99 * DAY)})
    before = answers(world.registry, libraries)
    assert world.registry.rebuild() == [leaves[0], leaves[1], leaves[3]]
    assert answers(world.registry, libraries) == before
    world.catalog = MemoryCatalog()  # lost altogether
    assert answers(world.reopen(), libraries) == before


class CatalogThatCounts(MemoryCatalog):
    """A catalog that tells what it was asked about manifests and entries."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def manifest(self, leaf: int) -> ManifestRecord | None:
        self.asked.append("manifest")
        return super().manifest(leaf)

    def manifests(self, before: int | None, limit: int, by: str | None = None) -> list[ManifestRecord]:
        self.asked.append("manifests")
        return super().manifests(before, limit, by)

    def entries(self, leaf: int, start: int, limit: int) -> list[bytes]:
        self.asked.append("entries")
        return super().entries(leaf, start, limit)

    def entries_after(self, place: tuple[int, int], limit: int) -> list[tuple[int, int, bytes]]:
        self.asked.append("entries_after")
        return super().entries_after(place, limit)


def test_a_start_does_not_ask_for_each_manifest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "RECORDS", 3)
    world.catalog = catalog = CatalogThatCounts()
    pictures = [library(f"pictures {n}", EVA) for n in range(5)]
    leaves = [world.publish(each).logged.index for each in pictures]
    world.review(leaves[0], "erased")
    catalog.asked.clear()
    world.reopen()
    assert catalog.asked == ["manifests"] * 3  # of three, of one, of none


def test_all_entries_are_compared_without_asking_for_each_manifest(world: World) -> None:
    world.catalog = catalog = CatalogThatCounts()
    pictures = [library(f"pictures {n}", EVA) for n in range(5)]
    for each in pictures:
        world.publish(each)
    world.reopen()
    catalog.asked.clear()
    copy = copied(pictures[3], MALLORY)
    assert world.publish(copy).decision.outcome == "wait"
    assert catalog.asked.count("entries_after") == 2  # of all, of none
    assert "entries" not in catalog.asked


class CatalogThatFails(MemoryCatalog):
    """A catalog whose disk is full when a payload is entered."""

    failing = True

    def add_manifest(self, record: ManifestRecord, entries: Sequence[Entry]) -> None:
        if self.failing:
            raise BackendError("no space left on device")
        super().add_manifest(record, entries)


def test_a_crash_between_log_and_catalog(world: World) -> None:
    world.catalog = CatalogThatFails()
    pictures = library("pictures", EVA)
    with pytest.raises(BackendError, match="no space left"):
        world.publish(pictures)
    assert world.registry.log.head.size == 2
    found = pictures.entries[0].published_hash
    assert world.registry.claims([found])[found] == []
    world.catalog.failing = False
    registry = world.reopen()
    assert [c.state for c in registry.claims([found])[found]] == ["listed"]
    assert registry.log.head.size == 3  # the review that was missing
    assert world.publish(pictures).logged.index == 1


def test_what_failed_after_the_log_is_finished_before_the_next_statement(world: World) -> None:
    world.catalog = CatalogThatFails()
    pictures = library("pictures", EVA)
    with pytest.raises(BackendError, match="no space left"):
        world.publish(pictures)
    with pytest.raises(BackendError, match="no space left"):
        world.review(1, "rejected")  # and is not forgotten while it goes on failing
    world.catalog.failing = False
    world.publish(library("more", BOB))
    assert world.registry.manifest(1)[1] == "listed"


@pytest.mark.parametrize("starts", [False, True])
def test_what_the_catalog_lacks_is_erased_too(world: World, starts: bool) -> None:
    """Two manifests at one place, of which only one is entered; the other was logged before its payload came."""
    pictures, rival = library("pictures", EVA), library("pictures", EVA, 4)
    world.speak(EVA, "manifest", manifest_body(pictures.header.digest))
    assert world.publish(rival).logged.index == 2
    entries = payloads.store(
        payloads.Payload(pictures.header, pictures.entries, pictures.terms, pictures.text), world.blobs
    )
    world.reopen()
    assert world.catalog.manifest(1) is None
    if starts:  # a crash between the log and the disk
        world.registry.log.append(world.registry.sign("review", review_body(1, "erased")))
        world.reopen()
    else:
        world.review(1, "erased")
    assert (world.blobs.has(pictures.header.digest), world.blobs.has(entries)) == (False, False)
    assert world.registry.manifest(2)[1] == "listed"


def test_entries_of_another_payload_stay_when_what_the_catalog_lacks_is_erased(world: World) -> None:
    one = library("pictures", EVA)
    two = Library.of(EVA, one.entries, header={"title": "The same files under another title"})
    world.speak(EVA, "manifest", manifest_body(two.header.digest))
    world.publish(one)
    world.blobs.put(two.header.data)
    world.review(1, "erased")
    assert not world.blobs.has(two.header.digest)
    record = world.catalog.manifest(2)
    assert record is not None
    assert world.blobs.has(record.entries)


class TilesThatFail(MemoryTileStore):
    """Tiles on a disk that stops at one of the writes of a batch."""

    fail_at = ""

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        if self.fail_at == "tiles" and tiles:
            super().write(tiles[:1])
            raise BackendError("the disk stopped")
        super().write(tiles)

    def write_checkpoint(self, note: bytes) -> None:
        if self.fail_at == "checkpoint":
            raise BackendError("the disk stopped")
        super().write_checkpoint(note)


@pytest.mark.parametrize("fail_at", ["tiles", "checkpoint"])
def test_a_crash_during_publication(world: World, fail_at: str) -> None:
    world.tiles = TilesThatFail()
    first, second = library("one", EVA), library("two", EVA)
    world.publish(first)
    world.tiles.fail_at = fail_at
    with pytest.raises(BackendError) as caught:
        world.publish(second)
    assert caught.value.code == "log-stopped"
    with pytest.raises(BackendError):  # and it goes on saying so: nothing is acknowledged that is not published
        world.speak(BOB, "manifest", manifest_body(bytes(32)))
    assert world.registry.log.head.note == world.tiles.read_checkpoint()  # what is shown is what is published
    world.tiles.fail_at = ""
    registry = world.reopen()
    assert registry.log.fold.leaf_of[second.header.digest, EVA.did] == 3
    found = second.entries[0].published_hash
    assert [c.state for c in registry.claims([found])[found]] == ["listed"]
    assert world.publish(second).logged.index == 3


def test_leaves_are_refused_while_they_would_be_void(world: World) -> None:
    """Nothing void gets into a log that a registry writes."""
    leaf = world.publish(library("pictures", EVA)).logged.index
    for by, kind, body in (
        (EVA, "dispute", dispute_body("hold", leaf, 0)),
        (BOB, "dispute", dispute_body("answer", leaf, 0)),
        (EVA, "manifest", manifest_body(bytes(32), (99,))),
    ):
        with pytest.raises(RefusedError) as caught:
            world.speak(by, kind, body)
        assert caught.value.code == "void"


# -- disagreements


@pytest.fixture
def stopped() -> World:
    """A registry with two libraries, closed."""
    world = World()
    world.publish(library("one", EVA))
    world.publish(library("two", BOB))
    world.close()
    return world


def refusal(world: World) -> ConflictError:
    """Opens and expects a refusal that changes nothing."""
    before = (world.log.head, list(world.log.leaves), world.tiles.read_checkpoint())
    with pytest.raises(ConflictError) as caught:
        _ = world.registry
    assert (world.log.head, list(world.log.leaves), world.tiles.read_checkpoint()) == before
    return caught.value


@pytest.mark.parametrize(
    ("level", "said"),
    [(0, "tile/0/000.p/5: does not hold the hashes"), (ENTRIES, "tile/entries/000.p/5: holds another leaf 4")],
)
def test_a_tampered_tile(stopped: World, level: int, said: str) -> None:
    """Not even one bit of what the next tiles are made of; of a bundle no root shows it."""
    tile = Tile(level, 0, len(stopped.log.leaves))
    data = stopped.tiles.read(tile)
    stopped.tiles._tiles[tile] = data[:-1] + bytes([data[-1] ^ 1])
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert f"the database is at 5 leaves, and the tile folder: {said}" in str(error)


def test_an_older_database(stopped: World) -> None:
    younger = World()
    younger.publish(library("one", EVA))
    younger.close()
    stopped.log = younger.log
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "checkpoint: the database is at 3 leaves; 5 leaves are published" in str(error)


def test_a_lost_database(stopped: World) -> None:
    stopped.log = MemoryLog()
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "the tile folder has a checkpoint, the database has no leaf" in str(error)


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_forked_log(stopped: World, cut_off: bool) -> None:
    """The published side is an older state of another history, which what the database holds does not extend.

    Also when the database still has tiles to publish, with which its own side would be whole.
    """
    other = World()
    other.publish(library("other", EVA))
    other.close()
    if cut_off:
        stopped.log.staged = {t: stopped.tiles.read(t) for t in stopped.tiles._tiles if t.width == 5}
    stopped.tiles = other.tiles
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "root at 3 leaves: the database's leaves have " in str(error)
    assert "; the published checkpoint " in str(error)


def test_a_published_side_that_is_older(stopped: World) -> None:
    """Restored from a copy: the tiles of the head are gone and not staged any more."""
    older = World()
    older.publish(library("one", EVA))
    older.close()
    stopped.tiles = older.tiles
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "the database is at 5 leaves" in str(error)
    assert "no tile/0/000.p/5" in str(error)


def test_a_checkpoint_that_is_none(stopped: World) -> None:
    stopped.tiles.write_checkpoint(b"scribble")
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "checkpoint" in str(error)


def test_a_tile_that_is_gone(stopped: World) -> None:
    for tile in [t for t in stopped.tiles._tiles if t.width == 5]:
        del stopped.tiles._tiles[tile]
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "no tile/0/000.p/5" in str(error)


def test_a_tile_that_is_cut(stopped: World) -> None:
    tile = Tile(0, 0, 5)
    stopped.tiles._tiles[tile] = stopped.tiles.read(tile)[:-1]
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "expected 5 hashes, found 159 bytes" in str(error)


def test_another_log_key(stopped: World) -> None:
    known = stopped.identity
    stopped.identity = replace(known, log_key=key("another log key"))
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "is signed by" in str(error)
    assert "the key is" in str(error)
    stopped.identity = known
    assert stopped.registry.log.head.size == 5
    stopped.close()


def test_another_origin(stopped: World) -> None:
    stopped.identity = replace(stopped.identity, origin="another.example/log")
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert ORIGIN in str(error)


def test_another_registry(stopped: World) -> None:
    known = stopped.identity
    stopped.identity = replace(known, did=MALLORY.did, key=MALLORY)
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert known.did in str(error)
    assert MALLORY.did in str(error)


def test_a_leaf_changed_in_the_database(stopped: World) -> None:
    stopped.log.leaves[1] = sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(bytes(32))).data
    error = refusal(stopped)
    assert error.code == "log-disagreement"
    assert "root at 5 leaves: the database's leaves have" in str(error)
    assert "; its head " in str(error)


def test_one_writer(stopped: World) -> None:
    registry = stopped.registry
    second = World(log=stopped.log, tiles=stopped.tiles, blobs=stopped.blobs, catalog=stopped.catalog)
    with pytest.raises(ConflictError) as caught:
        _ = second.registry
    assert caught.value.code == "second-writer"
    assert registry.log.head.size == 5
    stopped.close()


def test_a_chain_that_is_ahead(stopped: World, tmp_path: Path) -> None:
    """The log was rolled back below what is anchored, or replaced: it does not run on."""
    stopped.anchor(tmp_path)
    chain = stopped.chain
    assert chain is not None
    for name in ("other", None):
        younger = World()
        younger.publish(library(name or "one", EVA))
        if name:
            for n in range(3):
                younger.publish(library(f"more {n}", EVA))
        with pytest.raises(ConflictError) as caught:
            Anchoring(younger.registry, chain).compare()
        assert caught.value.code == "log-disagreement"
        assert "the chain holds" in str(caught.value)
        younger.close()
    stopped.close()


# -- anchoring


def test_anchors_follow_the_head(world: World, tmp_path: Path) -> None:
    pictures = library("pictures", EVA)
    world.publish(pictures)
    first = world.anchor(tmp_path)
    assert (first.size, first.state, first.root) == (3, "final", world.registry.log.root_at(3))
    assert world.chain is not None
    assert Anchoring(world.registry, world.chain).step() == ()
    world.publish(library("more", BOB))
    second = world.anchor(tmp_path)
    assert (second.size, second.block_number) == (5, (first.block_number or 0) + 1)
    assert world.registry.catalog.anchor_covering(1) == first
    assert world.registry.catalog.anchor_covering(3) == second
    found = pictures.entries[0].published_hash
    result = verify_proof(prove(world.registry, found), world.trust(first))
    assert [a.size for a in result.anchors] == [3]
    assert result.logged_before is not None
    assert result.logged_before >= world.clock.now
    assert world.chain.head(digest(ORIGIN)) == (5, second.root)


def test_the_reference_agrees_on_a_whole_log(world: World) -> None:
    """An independent reader finds nothing void in what a registry wrote."""
    world.publish(library("pictures", EVA))
    world.speak(BOB, "key", key_add_body(BOB.did, key("bob, second"), recovery=False))
    _, void = reference.replay(world.leaves(), ORIGIN, world.identity.did)
    assert void == {}
