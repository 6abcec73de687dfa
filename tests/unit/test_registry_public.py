"""The log as a process beside the writer's follows it: what is published and nothing else, and only if it is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError
from ledger.keys import SigningKey
from ledger.ports import Head
from ledger.registry.public import Follower
from ledger.store.memory import MemoryEntryStore, MemoryTileStore
from tests.simulator import ORIGIN, World, digest, key, library

EVA = key("eva")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.publish(library("pictures", EVA))
    yield world
    world.close()


def follower(world: World) -> Follower:
    return Follower(MemoryEntryStore(world.log, writing=False), world.tiles)


def record(world: World, number: int) -> int:
    body: Object = {"kind": "audit", "refs": [], "evidence": digest_encode(digest(f"record {number}"))}
    return world.speak(EVA, "record", body).index


def test_it_has_what_is_published(world: World) -> None:
    reader, log = follower(world), world.registry.log
    assert reader.head == log.head
    assert (reader.fold.size, reader.fold.registry) == (log.head.size, world.identity.did)
    assert not reader.follow()
    leaf = record(world, 1)
    assert (reader.head.size, reader.fold.size) == (leaf, leaf)
    assert reader.follow()
    assert reader.head == log.head
    assert reader.leaf(leaf) == log.leaf(leaf)
    assert reader.inclusions([leaf], reader.head.size) == log.inclusions([leaf], log.head.size)
    assert reader.root_at(leaf) == log.root_at(leaf)
    assert reader.broken is None


def test_it_starts_with_many_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.registry.public.PAGE", 2)
    for number in range(4):
        record(world, number)
    reader = follower(world)
    assert (reader.head, reader.fold.size) == (world.registry.log.head, world.registry.log.head.size)


def test_what_is_committed_and_not_published_is_not_there(world: World) -> None:
    before = world.registry.log.head
    published = world.tiles.read_checkpoint()
    assert published is not None
    record(world, 1)
    world.tiles.write_checkpoint(published)
    reader = follower(world)
    assert (reader.head, reader.fold.size) == (before, before.size)


def test_there_is_nothing_to_follow_yet() -> None:
    with pytest.raises(BackendError, match="first start the process that writes") as caught:
        Follower(MemoryEntryStore(), MemoryTileStore())
    assert caught.value.code == "not-published"


def test_a_database_that_comes_later_is_waited_for(world: World) -> None:
    reader, before = follower(world), world.registry.log.head
    record(world, 1)
    taken = world.log.leaves.pop()
    head, world.log.head = world.log.head, before
    assert not reader.follow()
    assert (reader.head, reader.fold.size, reader.broken) == (before, before.size, None)
    world.log.leaves.append(taken)
    world.log.head = head
    assert reader.follow()
    assert reader.head == world.registry.log.head


def behind(world: World) -> None:
    """Takes the last leaf out of the database."""
    world.log.head = Head(world.registry.log.head.size - 1, bytes(32), b"")
    world.log.leaves.pop()


def test_a_database_that_does_not_come_is_trouble(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = follower(world)
    record(world, 1)
    behind(world)
    assert not reader.follow()
    monkeypatch.setattr("ledger.registry.public.BEHIND_SECONDS", 0.0)
    with pytest.raises(BackendError, match="behind what is published: 3 of 4 leaves") as caught:
        reader.follow()
    assert (caught.value.code, reader.broken, reader.fold.size) == ("unavailable", None, 3)


def test_nothing_is_answered_from_a_database_that_is_behind_from_the_start(world: World) -> None:
    behind(world)
    with pytest.raises(BackendError, match="0 of 3 leaves") as caught:
        follower(world)
    assert caught.value.code == "unavailable"


def test_a_checkpoint_that_is_gone_is_trouble(world: World) -> None:
    reader = follower(world)
    world.tiles = MemoryTileStore()
    reader._tiles = world.tiles
    with pytest.raises(BackendError, match="the checkpoint is gone") as caught:
        reader.follow()
    assert (caught.value.code, reader.broken, reader.fold.size) == ("unavailable", None, 3)


def test_another_log_than_was_named_is_not_followed(world: World) -> None:
    with pytest.raises(ConflictError, match=r"is mine\.example/log at 0 leaves"):
        Follower(MemoryEntryStore(world.log, writing=False), world.tiles, "mine.example/log")


def other_leaf(world: World) -> None:
    world.log.leaves[-1] = world.log.leaves[-2]


def smaller(world: World) -> None:
    shrunk = Checkpoint(ORIGIN, 2, world.registry.log.root_at(2))
    world.tiles.write_checkpoint(sign_checkpoint(shrunk, world.identity.log_key))


def another_origin(world: World) -> None:
    head = world.registry.log.head
    other = Checkpoint("another.example/log", head.size, head.root)
    world.tiles.write_checkpoint(sign_checkpoint(other, world.identity.log_key))


def another_key(world: World) -> None:
    head = world.registry.log.head
    world.tiles.write_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, head.size, head.root), SigningKey(bytes(32))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_leaf, "leaves have another root than the checkpoint at 4"),
        (smaller, "at 3 leaves, the checkpoint is .* at 2"),
        (another_origin, r"the checkpoint is another\.example/log"),
        (another_key, "not signed by"),
    ],
)
def test_what_is_not_true_is_not_answered(world: World, change: Callable[[World], None], message: str) -> None:
    reader = follower(world)
    assert reader.head.size == 3
    record(world, 1)
    change(world)
    with pytest.raises(ConflictError, match=message) as caught:
        reader.follow()
    assert caught.value.code == "log-disagreement"
    for ask in (lambda: reader.fold, reader.follow):
        with pytest.raises(BackendError, match=message) as stopped:
            ask()
        assert stopped.value.code == "log-stopped"
    assert reader.head.size == 3
