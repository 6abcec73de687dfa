"""Stories of a registry under pressure: many claims on one file, and a listing that nobody may hide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger.proof import verify_proof
from ledger.registry.proving import prove
from ledger.registry.service import MAX_DEAD_CLAIMS
from tests.simulator import Library, World, entry, key


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
