"""Appending: however a log grows, its tiles and root are those of its leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import VerificationError
from ledger.merkle import EMPTY_ROOT
from ledger.sequencer import Edge, append, check_edge, load_edge
from ledger.tiles import Tile, format_path, new_tiles, parse_path, tile_of
from tests.reference import merkle as reference_merkle
from tests.reference import tiles as reference

LEAVES = [b"%d" % n * (n % 7) for n in range(1400)]


def tiles_of(size: int) -> dict[Tile, bytes]:
    """Returns the tiles of the first `size` leaves as the reference lays them out."""
    return {parse_path(path): data for path, data in reference.expected_tiles(LEAVES[:size]).items()}


def grow(steps: list[int]) -> tuple[Edge, dict[Tile, bytes]]:
    """Appends in steps; asserts that what is written has not been written otherwise before."""
    edge = Edge()
    written: dict[Tile, bytes] = {}
    for step in steps:
        old = edge.size
        edge, tiles = append(edge, LEAVES[old : old + step])
        assert [tile for tile, _ in tiles] == list(new_tiles(old, edge.size))
        for tile, data in tiles:
            assert written.setdefault(tile, data) == data
    return edge, written


def assert_is_log(edge: Edge, written: dict[Tile, bytes]) -> None:
    """Asserts that all tiles of this size are there, and that the edge is the one they give."""
    expected = tiles_of(edge.size)
    assert {tile: written[tile] for tile in expected} == expected
    assert edge.root == reference_merkle.root(LEAVES[: edge.size])
    assert load_edge(edge.size, written.__getitem__) == edge


def test_the_empty_log() -> None:
    assert Edge().root == EMPTY_ROOT
    assert append(Edge(), []) == (Edge(), [])
    assert load_edge(0, tiles_of(0).__getitem__) == Edge()


@given(st.lists(st.integers(0, 300) | st.sampled_from([1, 255, 256, 257]), max_size=5))
@settings(max_examples=60)
def test_growing_in_steps_is_growing_at_once(steps: list[int]) -> None:
    edge, written = grow(steps)
    assert_is_log(edge, written)
    once, _ = append(Edge(), LEAVES[: edge.size])
    assert once == edge


def test_appending_nothing_writes_nothing() -> None:
    edge, _ = append(Edge(), LEAVES[:300])
    assert append(edge, []) == (edge, [])


def test_growing_one_by_one() -> None:
    edge, written = grow([1] * 520)
    assert_is_log(edge, written)
    for size in range(1, 521):  # and every size on the way can still be read
        expected = tiles_of(size) if size % 51 == 0 or size in (255, 256, 257, 512, 513) else {}
        assert {tile: written[tile] for tile in expected} == expected


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 513, 1400])
def test_going_on_from_what_is_stored(size: int) -> None:
    edge, written = grow([size])
    assert_is_log(edge, written)
    resumed = load_edge(size, written.__getitem__)
    assert append(resumed, [b"next"]) == append(edge, [b"next"])


def test_a_log_of_three_levels() -> None:
    """66,000 leaves: a tile of level 2, compared by root and edge alone."""
    leaves = [b"%d" % n for n in range(66_000)]
    first, tiles = append(Edge(), leaves[:65_535])
    written = dict(tiles)
    for start, end in ((65_535, 65_536), (65_536, 66_000)):
        first, tiles = append(first, leaves[start:end])
        written.update(tiles)
        assert first.root == reference_merkle.root(leaves[:end])
        assert load_edge(end, written.__getitem__) == first
    assert written[Tile(2, 0, 1)] == reference_merkle.root(leaves[:65_536])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1400])
def test_each_tile_at_the_edge_is_that_of_the_leaves(size: int) -> None:
    edge, hashes = append(Edge(), LEAVES[:size])[0], [reference_merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]
    check_edge(edge, hashes)
    for level, own in enumerate(edge.levels):
        for at in range(len(own)):
            levels = list(edge.levels)
            levels[level] = (*own[:at], bytes(32), *own[at + 1 :])
            with pytest.raises(VerificationError) as refused:
                check_edge(replace(edge, levels=tuple(levels)), hashes)
            tile = tile_of(level, size, (size >> 8 * level) // 256)
            assert (refused.value.code, refused.value.field) == ("tile", format_path(tile))
    for at in range(len(edge.entries)):
        entries = (*edge.entries[:at], b"another", *edge.entries[at + 1 :])
        with pytest.raises(VerificationError, match=f"holds another leaf {size - len(entries) + at}$") as refused:
            check_edge(replace(edge, entries=entries), hashes)
        assert refused.value.code == "leaf-path"
