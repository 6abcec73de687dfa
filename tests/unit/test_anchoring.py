"""Anchoring on a chain that takes its time: what is sent, followed, collected again, and what stops the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from ledger.canonical import Object
from ledger.errors import BackendError, ConflictError, VerificationError
from ledger.ports import AnchorRow, AnchorStatus
from ledger.receipt import hex_text, verify_record
from ledger.registry.anchoring import FOLLOWED, STUCK_SECONDS, Anchoring, read_record
from ledger.registry.proving import prove
from tests.simulator import World, key, library
from tests.support.chain import Chain, ChainAnchor

EVA = key("eva")
_names = (f"pictures {n}" for n in count())


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.publish(library("first", EVA))
    yield world
    world.close()


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def anchoring(world: World, chain: Chain) -> Anchoring:
    return Anchoring(world.registry, ChainAnchor(chain), world.clock)


def grow(world: World) -> int:
    """Logs something more and returns the size."""
    world.publish(library(next(_names), EVA))
    return world.registry.log.head.size


def rows(world: World) -> list[tuple[int, str]]:
    """Returns size and state of what the catalog has, smallest first."""
    return [(row.size, row.state) for row in reversed(world.registry.catalog.anchors(None, 1000))]


def row_of(world: World, size: int) -> AnchorRow:
    [row] = [row for row in world.registry.catalog.anchors(size + 1, 1000) if row.size == size]
    return row


def check_records(world: World, chain: Chain) -> None:
    """Each row has the record of its own block where it is in one, and none where it is not."""
    origin = Anchoring(world.registry, ChainAnchor(chain)).origin
    for row in world.registry.catalog.anchors(None, 1000):
        if row.state not in ("mined", "final"):
            assert row.record is None
            continue
        assert row.record is not None
        head = verify_record(read_record(row.record), origin)
        assert (head.size, head.root, hex_text(head.block_hash)) == (row.size, row.root, row.block_hash)
        assert row.block_hash in [block.hash for block in chain.blocks]


# -- the comparison


def other_log(size: int) -> World:
    """Returns a registry with the same keys and name, and another story of at least `size` leaves."""
    other = World()
    while other.registry.log.head.size < size:
        grow(other)
    return other


@pytest.mark.parametrize("more", [0, 2], ids=["another-root", "more-leaves"])
def test_a_log_that_the_chain_contradicts_is_stopped(world: World, chain: Chain, more: int) -> None:
    """Also when the chain could not be asked at the start."""
    chain.is_down = True
    anchoring = Anchoring(world.registry, ChainAnchor(chain))
    with pytest.raises(BackendError):
        anchoring.compare()
    chain.is_down = False
    older = other_log(world.registry.log.head.size + more)
    Anchoring(older.registry, ChainAnchor(chain)).step()
    chain.mine()
    sent, size = list(chain.submitted), world.registry.log.head.size
    for _ in range(2):
        with pytest.raises(ConflictError, match="the chain holds") as caught:
            anchoring.step()
        assert caught.value.code == "log-disagreement"
    assert chain.submitted == sent
    assert rows(world) == []
    assert isinstance(world.registry.log.broken, BackendError)
    with pytest.raises(BackendError, match="the chain holds") as stopped:
        grow(world)
    assert stopped.value.code == "log-stopped"
    assert world.registry.log.head.size == size
    assert prove(world.registry, library("first", EVA).entries[0].published_hash)  # reading goes on
    older.close()


def test_a_log_that_is_found_forked_later_sends_nothing(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    chain.mine()
    anchoring.step()
    size = grow(world)
    older = other_log(size + 2)
    chain.reorganize(1)
    Anchoring(older.registry, ChainAnchor(chain)).step()  # the same key, at the same time: it takes the place
    chain.mine()
    sent = list(chain.submitted)
    with pytest.raises(ConflictError):
        anchoring.step()
    assert chain.submitted == sent
    assert world.registry.log.broken is not None
    older.close()


def test_a_chain_that_is_behind_contradicts_nothing(world: World, chain: Chain, anchoring: Anchoring) -> None:
    first = world.registry.log.head
    assert anchoring.compare() == (0, bytes(32))
    anchoring.step()
    chain.mine()
    grow(world)
    assert anchoring.compare() == (first.size, first.root)
    assert world.registry.log.broken is None


# -- what was sent and not written down


def test_an_anchor_nobody_wrote_down_is_recalled(world: World, chain: Chain, anchoring: Anchoring) -> None:
    head = world.registry.log.head
    ChainAnchor(chain).submit(anchoring.origin, head.size, head.root, ())
    chain.mine()
    [row] = anchoring.step()
    assert (row.size, row.root, row.state) == (head.size, head.root, "mined")
    assert anchoring.step() == ()
    assert chain.submitted == [head.size]
    check_records(world, chain)


def test_a_recalled_anchor_and_the_next_head_take_one_step(world: World, chain: Chain, anchoring: Anchoring) -> None:
    head = world.registry.log.head
    ChainAnchor(chain).submit(anchoring.origin, head.size, head.root, ())
    chain.mine()
    size = grow(world)
    assert sorted((row.size, row.state) for row in anchoring.step()) == [(head.size, "mined"), (size, "pending")]


def test_a_transaction_given_up_as_lost_and_mined_after_all(world: World, chain: Chain, anchoring: Anchoring) -> None:
    [row] = anchoring.step()
    waiting = chain.pool.copy()
    chain.pool.clear()
    assert [new.state for new in anchoring.follow()] == ["lost"]
    chain.pool.update(waiting)
    chain.mine()
    assert [(new.transaction, new.state) for new in anchoring.step()] == [(row.transaction, "mined")]
    check_records(world, chain)


class Mistaken(ChainAnchor):
    """A node that finds another transaction than was asked for."""

    def find(self, origin: bytes, size: int) -> str:
        return self.chain.blocks[1].transactions[0][0].hash


def test_a_record_of_another_head_is_not_taken(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    chain.mine()
    grow(world)
    anchoring.step()
    chain.mine()
    world.catalog = type(world.catalog)()  # the catalog is lost
    registry = world.reopen()
    again = Anchoring(registry, Mistaken(chain))
    with pytest.raises(VerificationError, match="the transaction anchored 3 leaves"):
        again.step()
    assert rows(world) == []


# -- transactions that take their time


def test_a_slow_finality_keeps_no_head_from_the_chain(world: World, chain: Chain, anchoring: Anchoring) -> None:
    sizes = [world.registry.log.head.size]
    for _ in range(5):
        anchoring.step()
        chain.mine()
        sizes.append(grow(world))
    assert chain.submitted == sizes[:-1]
    anchoring.follow()
    assert rows(world) == [(size, "mined") for size in sizes[:-1]]
    check_records(world, chain)
    chain.finalize()
    assert [row.state for row in anchoring.follow()] == ["final"] * 5
    assert not anchoring.under_way


def test_a_head_that_waits_is_sent_once(world: World, chain: Chain, anchoring: Anchoring) -> None:
    [sent] = anchoring.step()
    grow(world)
    world.clock.now += STUCK_SECONDS - 1
    assert anchoring.step() == ()
    assert chain.submitted == [sent.size]
    chain.mine()
    assert sorted((row.size, row.state) for row in anchoring.step()) == [(3, "mined"), (5, "pending")]


def test_the_newest_head_replaces_what_is_stuck(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    grow(world)
    for _ in range(2):
        size = grow(world)
        world.clock.now += STUCK_SECONDS
        assert [(row.size, row.state) for row in anchoring.step()] == [(size, "pending")]
        assert anchoring.step() != ()  # the one that was replaced is lost
        assert anchoring.step() == ()  # and the new one has its time
    assert rows(world) == [(3, "lost"), (7, "lost"), (9, "pending")]
    chain.mine()
    assert [(row.size, row.state) for row in anchoring.step()] == [(9, "mined")]
    assert anchoring.anchor.head(anchoring.origin) == (9, world.registry.log.root_at(9))


def test_a_head_that_stays_the_newest_is_replaced_too(world: World, chain: Chain, anchoring: Anchoring) -> None:
    """A stuck transaction pays too little; sent again, it pays more."""
    anchoring.step()
    world.clock.now += STUCK_SECONDS
    anchoring.step()
    assert chain.submitted == [3, 3]


def test_after_a_lost_transaction_the_head_is_sent_again(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    chain.pool.clear()
    assert [row.state for row in anchoring.follow()] == ["lost"]
    grow(world)
    assert [(row.size, row.state) for row in anchoring.step()] == [(5, "pending")]


def test_transactions_that_a_replacement_makes_fail(world: World, chain: Chain, anchoring: Anchoring) -> None:
    """Two blocks are taken away and stay away; the newest head takes the first one's place, so the second one fails."""
    for _ in range(2):
        anchoring.step()
        chain.mine()
        grow(world)
    anchoring.follow()
    chain.reorganize(2)
    world.clock.now += STUCK_SECONDS
    assert [(row.size, row.state) for row in anchoring.step()] == [(3, "pending"), (5, "pending"), (7, "pending")]
    chain.mine()
    assert [(row.size, row.state) for row in anchoring.step()] == [(3, "lost"), (5, "failed"), (7, "mined")]
    check_records(world, chain)
    grow(world)
    assert [(row.size, row.state) for row in anchoring.step()] == [(9, "pending")]


def test_a_replaced_block_is_collected_again(world: World, chain: Chain, anchoring: Anchoring) -> None:
    """Also when newer anchors exist."""
    for _ in range(3):
        anchoring.step()
        chain.mine()
        anchoring.follow()
        grow(world)
    before = [row_of(world, size) for size in (3, 5, 7)]
    check_records(world, chain)
    chain.reorganize(3)
    chain.mine()
    changed = anchoring.follow()
    assert [(row.size, row.state) for row in changed] == [(3, "mined"), (5, "mined"), (7, "mined")]
    for old, new in zip(before, changed, strict=True):
        assert old.block_hash != new.block_hash
        assert old.record != new.record
    check_records(world, chain)


class Moving(ChainAnchor):
    """A node whose chain replaces a block between two questions, once."""

    is_moving = True

    def record(self, transaction: str) -> Object:
        if self.is_moving:
            self.is_moving = False
            self.chain.reorganize(1)
            self.chain.mine()
        return super().record(transaction)


def test_a_block_replaced_between_two_questions(world: World, chain: Chain) -> None:
    anchoring = Anchoring(world.registry, Moving(chain))
    anchoring.step()
    chain.mine()
    assert anchoring.follow() == ()
    assert rows(world) == [(3, "pending")]
    anchoring.follow()
    assert rows(world) == [(3, "mined")]
    check_records(world, chain)


def test_anchors_of_another_chain_are_let_alone(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    chain.mine()
    anchoring.follow()
    moved = replace(row_of(world, 3), chain="eip155:1", transaction="0x" + "ab" * 32)
    world.registry.catalog.add_anchor(moved)
    chain.finalize()
    assert [row.chain for row in Anchoring(world.registry, ChainAnchor(chain)).follow()] == [
        anchoring.anchor.identity.chain
    ]
    assert moved in world.registry.catalog.anchors(None, 9)


def test_a_block_that_went_away_takes_its_record_along(world: World, chain: Chain, anchoring: Anchoring) -> None:
    anchoring.step()
    chain.mine()
    anchoring.step()
    assert world.registry.catalog.anchor_covering(0) is not None
    chain.reorganize(1)
    assert [row.state for row in anchoring.follow()] == ["pending"]
    assert world.registry.catalog.anchor_covering(0) is None
    check_records(world, chain)


def test_a_new_start_follows_what_was_under_way(world: World, chain: Chain, anchoring: Anchoring) -> None:
    for _ in range(3):
        anchoring.step()
        chain.mine()
        grow(world)
    anchoring.step()
    again = Anchoring(world.registry, ChainAnchor(chain))
    assert again.step() == ()
    chain.mine()
    chain.finalize()
    assert [(row.size, row.state) for row in again.follow()] == [(size, "final") for size in (3, 5, 7, 9)]
    assert not Anchoring(world.registry, ChainAnchor(chain)).under_way


def test_what_is_followed_is_bounded(world: World, chain: Chain, anchoring: Anchoring) -> None:
    """A chain that finalizes nothing: the newest are followed, by a process that goes on and by one that starts."""
    for _ in range(FOLLOWED + 3):
        anchoring.step()
        chain.mine()
        grow(world)
    anchoring.follow()
    chain.finalize()
    for one in (Anchoring(world.registry, ChainAnchor(chain)), anchoring):
        found = one.follow()
        assert len(found) == FOLLOWED
        assert found[0].size == 3 + 3 * 2
        assert not one.under_way
    assert rows(world)[:4] == [(3, "mined"), (5, "mined"), (7, "mined"), (9, "final")]


def test_replaced_transactions_hide_nothing_from_a_new_start(world: World, chain: Chain, anchoring: Anchoring) -> None:
    """More than a page of lost rows lie above the one that is mined."""
    anchoring.step()
    chain.mine()
    anchoring.follow()
    for _ in range(FOLLOWED + 1):
        grow(world)
        anchoring.step()
        chain.pool.clear()
        anchoring.follow()
    chain.finalize()
    again = Anchoring(world.registry, ChainAnchor(chain))
    assert [(row.size, row.state) for row in again.follow()] == [(3, "final")]


class Odd(ChainAnchor):
    """A node that gives no record of the transaction `odd`, and no status of the transaction `silent`."""

    odd: str | None = None
    silent: str | None = None

    def record(self, transaction: str) -> Object:
        if transaction == self.odd:
            raise BackendError("the header is of an unknown fork")
        return super().record(transaction)

    def status(self, transaction: str) -> AnchorStatus:
        if transaction == self.silent:
            raise BackendError("the node does not answer")
        return super().status(transaction)


def test_a_record_that_cannot_be_collected_holds_up_nothing_else(world: World, chain: Chain) -> None:
    node = Odd(chain)
    anchoring = Anchoring(world.registry, node)
    [sent] = anchoring.step()
    node.odd = sent.transaction
    for _ in range(2):
        chain.mine()
        grow(world)
        anchoring.step()
    chain.mine()
    chain.finalize()
    anchoring.step()
    assert [(row.size, row.state, row.record is None) for row in reversed(world.registry.catalog.anchors(None, 9))] == [
        (3, "mined", True),
        (5, "final", False),
        (7, "final", False),
    ]
    assert anchoring.warning is not None
    assert "the record of the anchor of 3 leaves could not be collected" in anchoring.warning
    node.odd = None
    assert [(row.size, row.state) for row in anchoring.step()] == [(3, "final")]
    assert anchoring.warning is None
    check_records(world, chain)


def test_each_row_that_changed_counts(world: World, chain: Chain) -> None:
    """Also when the step fails at a later one."""
    node = Odd(chain)
    anchoring = Anchoring(world.registry, node)
    for _ in range(3):
        anchoring.step()
        chain.mine()
        grow(world)
    anchoring.follow()
    chain.finalize()
    before = anchoring.changes
    node.silent = row_of(world, 7).transaction
    with pytest.raises(BackendError):
        anchoring.step()
    assert rows(world) == [(3, "final"), (5, "final"), (7, "mined")]
    assert anchoring.changes == before + 2
    node.silent = None
    assert [(row.size, row.state) for row in anchoring.step()] == [(7, "final"), (9, "pending")]
    assert anchoring.changes == before + 4
    assert anchoring.step() == ()
    assert anchoring.changes == before + 4
