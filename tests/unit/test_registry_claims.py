"""Claims on files: what nobody listed hides nothing, many are read at once, and copies cost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.canonical import Object
from ledger.errors import BackendError
from ledger.ports import MAX_COPIES
from ledger.proof import verify_proof
from ledger.registry.claims import MAX_DEAD_CLAIMS, MAX_OF_CREATOR
from ledger.registry.proving import prove
from ledger.store.memory import MemoryCatalog
from tests.simulator import Library, World, digest, dispute_body, entry, key


@pytest.fixture
def world() -> Iterator[World]:
    """A registry of its own."""
    world = World()
    yield world
    world.close()


def test_dead_claims_hide_no_live_one(world: World) -> None:
    item = entry("picture")
    dead = []
    for number in range(MAX_DEAD_CLAIMS + 2):
        leaf = world.publish(Library.of(key(f"stranger {number}"), [item])).logged.index
        world.review(leaf, "delisted")
        dead.append(leaf)
    live = world.publish(Library.of(key("eva"), [item])).logged.index
    found = item.provenance_hash
    claims = world.registry.claims([found])[found]
    assert [c.match.leaf for c in claims] == [live, *dead[:MAX_DEAD_CLAIMS]]
    assert verify_proof(prove(world.registry, found), world.trust()).leaf == live
    last = verify_proof(prove(world.registry, found, dead[-1]), world.trust())
    assert (last.leaf, last.state) == (dead[-1], "ended")


def test_many_copies_of_one_file_are_few_claims(world: World) -> None:
    """One digest stands a thousand times in a manifest: the first copies are found, and none of the others is read."""
    item = entry("picture")
    copies = [entry("picture", path=f"{n:04}.png") for n in range(1000)]
    leaf = world.publish(Library.of(key("eva"), copies)).logged.index
    found = item.provenance_hash
    claims = world.registry.claims([found])[found]
    assert len(world.catalog.find([found])[found]) == MAX_COPIES
    assert [(c.match.leaf, c.match.entry) for c in claims] == [(leaf, n) for n in range(MAX_OF_CREATOR)]
    assert world.publish(Library.of(key("bob"), [item])).decision.outcome == "wait"


def test_all_claims_are_the_same_one_by_one_and_together(world: World) -> None:
    """Three creators, shared files, disputes, ended and private manifests, digests that nobody knows."""
    names = [f"picture {n:02}" for n in range(60)]
    eva, bob, zoe = key("eva"), key("bob"), key("zoe")
    mine = world.publish(Library.of(eva, [entry(name) for name in names])).logged.index
    theirs = world.publish(Library.of(bob, [entry(name) for name in names[::7]])).logged.index
    world.review(theirs, "listed", "public")
    private = world.publish(Library.of(zoe, [entry(name) for name in names[::5]])).logged.index
    world.review(private, "listed", "private")
    case = world.speak(zoe, "dispute", dispute_body("open", mine, None, (3, 7))).index
    world.speak(world.identity.key, "dispute", dispute_body("hold", mine, case, (3, 7)))
    ended = world.publish(Library.of(zoe, [entry("ended")], header={"version": "2"})).logged.index
    world.review(ended, "delisted")
    digests = [d for name in [*names, "ended", "nobody's"] for _, d in entry(name).digests]
    together = world.registry.claims(digests)
    assert list(together) == digests
    for wanted in digests:
        assert together[wanted] == world.registry.claims([wanted])[wanted]
    states = {(c.match.leaf, c.match.entry): (c.state, c.contested) for found in together.values() for c in found}
    assert {leaf for leaf, _ in states} == {mine, theirs, ended}
    for n in range(len(names)):
        state = "disputed" if n in (3, 7) else "listed"
        rivals = n % 7 == 0 or n % 5 == 0
        assert states[mine, n] == (state, state == "listed" and rivals)


def test_a_claim_in_one_manifest_only(world: World) -> None:
    item = entry("picture")
    first = world.publish(Library.of(key("eva"), [item])).logged.index
    second = world.publish(Library.of(key("bob"), [entry("other"), item])).logged.index
    found = item.content_hash
    assert found is not None
    for leaf, number in ((first, 0), (second, 1)):
        assert [(c.match.leaf, c.match.entry) for c in world.registry.claims([found], leaf)[found]] == [(leaf, number)]
    assert world.registry.claims([found], 0)[found] == []


class CatalogThatFailsOnce(MemoryCatalog):
    """A catalog that is locked once, when all entries are read."""

    fails = False

    def entries_after(self, place: tuple[int, int], limit: int) -> list[tuple[int, int, bytes]]:
        if self.fails:
            self.fails = False
            raise BackendError("the database was locked", code="locked")
        return super().entries_after(place, limit)


def test_a_store_that_fails_once_turns_no_rule_off() -> None:
    catalog = CatalogThatFailsOnce()
    world = World(catalog=catalog)
    try:
        code: Object = {"dhash": None, "iscc": digest("code").hex(), "pdq": None}
        world.publish(Library.of(key("eva"), [entry("mine", fingerprints=code)]))
        world.reopen()
        alike = Library.of(key("bob"), [entry("theirs", fingerprints=code)])
        catalog.fails = True
        with pytest.raises(BackendError):
            world.publish(alike)
        assert world.publish(alike).decision.outcome == "wait"
    finally:
        world.close()
