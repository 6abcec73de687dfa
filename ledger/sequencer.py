"""Appending to a log: new tiles and the next checkpoint, out of the old right edge and new leaves; stores nothing.

``Edge`` holds what the right side of a log of some size is made of: for each tile level the hashes of its last, not yet
full tile, and the leaves of the last entry bundle.  ``append`` returns the next edge and the tiles that are new or
wider.  Signing, storing and publishing, in the order that loses nothing, is the registry's (docs/format.md, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.errors import VerificationError
from ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash
from ledger.merkle import root as root_of
from ledger.tiles import (
    ENTRIES,
    HEIGHT,
    MAX_LEVEL,
    WIDTH,
    ReadTile,
    Tile,
    format_entries,
    format_path,
    parse_entries,
    split_hashes,
    tile_of,
)


@dataclass(frozen=True, slots=True)
class Edge:
    """The right side of a log of `size` leaves; `levels[L]` are the hashes of the partial tile at tile level L."""

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = field(default=((),) * (MAX_LEVEL + 1))
    entries: tuple[bytes, ...] = ()

    @property
    def root(self) -> bytes:
        """The root of the log: the partial tiles' own roots, joined from the lowest level up."""
        result: bytes | None = None
        for level in self.levels:
            for hash_ in reversed(_peaks(level)):
                result = hash_ if result is None else node_hash(hash_, result)
        return EMPTY_ROOT if result is None else result


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Returns the roots of the largest complete subtrees over `hashes`, left to right."""
    peaks, at, rest = [], 0, len(hashes)
    while rest:
        width = 1 << (rest.bit_length() - 1)
        peaks.append(root_of(hashes[at : at + width]))
        at, rest = at + width, rest - width
    return peaks


def load_edge(size: int, read: ReadTile) -> Edge:
    """Returns the right edge of a log of `size` leaves out of its tiles."""
    levels: list[tuple[bytes, ...]] = []
    for level in range(MAX_LEVEL + 1):
        count = size >> (HEIGHT * level)
        tile = tile_of(level, size, count // WIDTH) if count % WIDTH else None
        levels.append(tuple(split_hashes(read(tile), tile)) if tile else ())
    if size % WIDTH == 0:
        return Edge(size, tuple(levels))
    bundle = tile_of(ENTRIES, size, size // WIDTH)
    return Edge(size, tuple(levels), tuple(parse_entries(read(bundle), bundle.width)))


def check_edge(edge: Edge, hashes: Sequence[bytes]) -> None:
    """Checks that the edge is that of the leaves with these `hashes`.

    Raises:
        VerificationError: ``tile``: a tile at the edge holds other hashes; ``leaf-path``: its bundle another leaf.
    """
    last = zip(map(leaf_hash, edge.entries), hashes[edge.size - len(edge.entries) :], strict=True)
    other = next((at for at, (found, wanted) in enumerate(last) if found != wanted), None)
    for level, own in enumerate(edge.levels):
        full = len(hashes) // WIDTH * WIDTH
        if own != tuple(hashes[full:]):
            tile = tile_of(level, edge.size, full // WIDTH)
            raise VerificationError(
                "does not hold the hashes of the leaves below it", code="tile", field=format_path(tile)
            )
        hashes = [root_of(hashes[at : at + WIDTH]) for at in range(0, full, WIDTH)]
    if other is not None:
        bundle = tile_of(ENTRIES, edge.size, edge.size // WIDTH)
        raise VerificationError(
            f"holds another leaf {bundle.index * WIDTH + other}", code="leaf-path", field=format_path(bundle)
        )


def append(edge: Edge, leaves: Sequence[bytes]) -> tuple[Edge, list[tuple[Tile, bytes]]]:
    """Appends `leaves`; returns the new edge and the tiles that are new or wider, entry bundles first."""
    if not leaves:
        return edge, []
    size = edge.size + len(leaves)
    tiles: list[tuple[Tile, bytes]] = []
    bundle = list(edge.entries) + list(leaves)
    first = edge.size // WIDTH
    for at in range(0, len(bundle), WIDTH):
        tiles.append((tile_of(ENTRIES, size, first + at // WIDTH), format_entries(bundle[at : at + WIDTH])))
    levels, new = [], [leaf_hash(leaf) for leaf in leaves]
    for level, old in enumerate(edge.levels):
        hashes = list(old) + new
        first = (edge.size >> (HEIGHT * level)) // WIDTH
        full = len(hashes) // WIDTH * WIDTH
        if new:
            for at in range(0, len(hashes), WIDTH):
                tiles.append((tile_of(level, size, first + at // WIDTH), b"".join(hashes[at : at + WIDTH])))
        new = [root_of(hashes[at : at + WIDTH]) for at in range(0, full, WIDTH)]
        levels.append(tuple(hashes[full:]))
    kept = tuple(bundle[len(bundle) // WIDTH * WIDTH :])
    return Edge(size, tuple(levels), kept), tiles
