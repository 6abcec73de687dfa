"""Tile geometry, paths and what is read back (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MalformedError, VerificationError
from ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from ledger.tiles import (
    ENTRIES,
    MAX_LEAF_BYTES,
    MAX_LEVEL,
    WIDTH,
    Tile,
    TileNodes,
    all_tiles,
    format_entries,
    format_path,
    new_tiles,
    parse_entries,
    parse_path,
    read_leaves,
    split_hashes,
    tile_of,
)
from tests.reference import merkle as reference_merkle
from tests.reference import tiles as reference

# C2SP tlog-tiles: 1234067 is x001/x234/067; a log of 70,000 leaves has these tiles on its right edge.
PATHS = {
    "tile/0/x001/x234/067": Tile(0, 1234067),
    "tile/0/273.p/112": Tile(0, 273, 112),
    "tile/1/000": Tile(1, 0),
    "tile/1/001.p/17": Tile(1, 1, 17),
    "tile/2/000.p/1": Tile(2, 0, 1),
    "tile/entries/273.p/112": Tile(ENTRIES, 273, 112),
    "tile/entries/000": Tile(ENTRIES, 0),
    "tile/5/999": Tile(5, 999),
    "tile/0/x001/000": Tile(0, 1000),
}


@pytest.mark.parametrize("path", PATHS)
def test_known_paths(path: str) -> None:
    assert parse_path(path) == PATHS[path]
    assert format_path(PATHS[path]) == path


def test_the_right_edge_of_70_000_leaves() -> None:
    paths = {format_path(tile) for tile in all_tiles(70_000)}
    assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"} <= paths
    assert len(paths) == 274 + 274 + 2 + 1


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/1",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/6/000",
        "tile/-1/000",
        "tile/00/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/000.p/1000",
        "tile/data/000",
        "tile/0/٠٠٠",
        "tile/0/000\n",
        "tile/0/../0/000",
        "tile/0/x001/x001/x001/x001/x001/x001/x001/000",
    ],
)
def test_what_no_path_is(path: str) -> None:
    with pytest.raises(MalformedError):
        parse_path(path)


@given(st.integers(ENTRIES, MAX_LEVEL), st.integers(0, 10**15), st.integers(1, WIDTH))
def test_paths_round_trip(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    path = format_path(tile)
    assert parse_path(path) == tile
    assert path == reference.tile_path("entries" if level == ENTRIES else level, index, width)


@given(st.text("tile/0123456789x.pentries", max_size=30))
def test_paths_are_read_only_as_they_are_written(path: str) -> None:
    try:
        tile = parse_path(path)
    except MalformedError:
        return
    assert format_path(tile) == path


# -- entry bundles


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_round_trip(leaves: list[bytes]) -> None:
    data = format_entries(leaves)
    assert parse_entries(data, len(leaves)) == leaves == reference.split_entries(data)
    for width in {0, len(leaves) - 1, len(leaves) + 1} - {len(leaves), -1}:
        with pytest.raises(MalformedError, match=f"expected {width} leaves, found {len(leaves)}"):
            parse_entries(data, width, "x")
    for cut in range(1, min(len(data), 8)):
        with pytest.raises(MalformedError):
            parse_entries(data[:-cut], len(leaves))


def test_bundles_with_something_left_over() -> None:
    data = format_entries([b"abc", b""])
    for more in (b"\0", b"\0\1", b"\xff\xff"):
        with pytest.raises(MalformedError, match="cut off") as caught:
            parse_entries(data + more, 2, "x")
        assert caught.value.field == "x"


def test_the_longest_leaf() -> None:
    leaf = bytes(MAX_LEAF_BYTES)
    assert parse_entries(format_entries([leaf]), 1) == [leaf]
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        format_entries([leaf + b"\0"])


# -- a log in a dictionary

SIZES = [1, 2, 255, 256, 257, 511, 512, 700]
LEAVES = [b"leaf %d" % n for n in range(700)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def reader(size: int) -> Callable[[Tile], bytes]:
    """Returns the tiles of a log as the reference lays them out."""
    tiles = {parse_path(path): data for path, data in reference.expected_tiles(LEAVES[:size]).items()}
    return tiles.__getitem__


@pytest.mark.parametrize("size", SIZES)
def test_all_tiles_are_those_of_the_reference(size: int) -> None:
    assert {format_path(tile) for tile in all_tiles(size)} == reference.expected_tiles(LEAVES[:size]).keys()
    assert len(set(all_tiles(size))) == len(list(all_tiles(size)))


@given(st.integers(0, 200_000), st.integers(0, 2000))
def test_new_tiles_are_what_two_sizes_differ_in(old: int, more: int) -> None:
    """What is new has other names: nothing that was written is written again."""
    added = set(new_tiles(old, old + more))
    edge = {t for t in all_tiles(old) if t.width < WIDTH or (t.index + 2) * WIDTH * WIDTH ** max(t.level, 0) > old}
    assert not added & edge
    assert added == set(all_tiles(old + more)) - set(all_tiles(old))


@pytest.mark.parametrize("size", SIZES)
def test_nodes_and_proofs_out_of_tiles(size: int) -> None:
    nodes = TileNodes(size, reader(size))
    top = reference_merkle.tree(HASHES[:size])
    assert nodes.root() == top
    for index in sorted({0, size // 2, size - 1}):
        path = inclusion_proof(index, size, TileNodes(size, reader(size)))
        assert path == reference_merkle.path(index, HASHES[:size])
        verify_inclusion(HASHES[index], index, size, path, top)
        proof = consistency_proof(index, size, nodes)
        verify_consistency(index, size, reference_merkle.tree(HASHES[:index]), top, proof)


def test_a_reader_is_asked_once_for_each_tile() -> None:
    asked: list[Tile] = []
    read = reader(700)
    nodes = TileNodes(700, lambda tile: asked.append(tile) or read(tile))  # type: ignore[func-returns-value]
    for index in range(0, 700, 7):
        inclusion_proof(index, 700, nodes)
    assert len(asked) == len(set(asked)) == 4


@pytest.mark.parametrize("size", SIZES)
def test_leaves_are_read_back(size: int) -> None:
    assert list(read_leaves(size, reader(size))) == LEAVES[:size]


def test_a_leaf_that_is_not_its_tiles() -> None:
    read = reader(300)
    tile = tile_of(ENTRIES, 300, 1)
    leaves = parse_entries(read(tile), 44)
    forged = format_entries([*leaves[:7], b"forged", *leaves[8:]])
    with pytest.raises(VerificationError, match="leaf 263 is not the one") as caught:
        list(read_leaves(300, lambda t: forged if t == tile else read(t)))
    assert caught.value.code == "leaf-path"


def test_tiles_of_another_length() -> None:
    tile = Tile(0, 3, 5)
    for size in (0, 31, 4 * 32, 5 * 32 - 1, 5 * 32 + 1, 6 * 32):
        with pytest.raises(MalformedError, match="expected 5 hashes") as caught:
            split_hashes(bytes(size), tile)
        assert caught.value.field == "tile/0/003.p/5"


def test_what_a_log_does_not_have() -> None:
    for level, size, index in ((0, 256, 1), (0, 0, 0), (1, 255, 0), (ENTRIES, 5, 1)):
        with pytest.raises(ValueError, match="has no tile"):
            tile_of(level, size, index)
