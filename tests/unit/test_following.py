"""What a process that only reads tells of the log it follows: the newest chain, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from anchors.embedded import EmbeddedChain
from api.following import Following
from ledger.encoding import sha256
from ledger.registry.anchoring import Anchoring
from ledger.registry.public import Follower
from ledger.store.memory import MemoryEntryStore, MemoryTileStore
from tests.simulator import World, key, library


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.publish(library("pictures", key("eva")))
    yield world
    world.close()


@pytest.fixture
def following(world: World) -> Following:
    return Following(Follower(MemoryEntryStore(world.log, writing=False), world.tiles), world.catalog)


def test_another_anchor_key_is_told(world: World, following: Following, tmp_path: Path) -> None:
    following.look()
    assert (following.identity, following.trouble) == (None, None)
    world.anchor(tmp_path)
    following.look()
    assert world.chain is not None
    before = world.chain.identity
    assert following.identity == before
    world.chain.close()
    world.publish(library("more", key("eva")))
    with closing(EmbeddedChain(tmp_path / "chain.sqlite", sha256(b"another publisher"))) as chain:
        Anchoring(world.registry, chain).step()
        following.look()
        assert following.identity == chain.identity != before


def test_trouble_is_told_until_it_is_over(world: World, following: Following) -> None:
    changes = following.changes
    tiles = following.log._tiles
    following.log._tiles = MemoryTileStore()
    following.look()
    assert following.warning == "checkpoint: the checkpoint is gone"
    following.log._tiles = tiles
    following.look()
    assert not following.warning
    assert following.changes == changes + 2
