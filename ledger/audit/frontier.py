"""The right edge of a tree that grows tile by tile, and the hash tiles it has to have (docs/format.md, section 4).

A tile of level 0 goes in, 256 leaf hashes at a time; out come the tiles that it fills, of level 0 and above, for a
log's own to be compared with.  Nothing to the left of the edge is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.merkle import EMPTY_ROOT, Tree, node_hash, root, subtrees
from ledger.tiles import HEIGHT, MAX_LEVEL, WIDTH, Tile

LEVELS: Final = MAX_LEVEL + 1


class Frontier:
    """The edge over `size` leaves; ``levels[L]`` are the hashes of the last, not yet full tile of tile level L."""

    def __init__(self) -> None:
        self.size = 0
        self.levels: list[list[bytes]] = [[] for _ in range(LEVELS)]

    def copy(self) -> Frontier:
        """Returns an edge that grows on its own."""
        other = Frontier()
        other.size, other.levels = self.size, [list(level) for level in self.levels]
        return other

    def add(self, hashes: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Takes the leaf hashes of the next tile of level 0; returns the tiles that are full now.

        Only the last tile of a log has fewer than 256 hashes; after it nothing can be added.
        """
        if self.levels[0] or not 0 < len(hashes) <= WIDTH:
            raise ValueError(f"{len(hashes)} hashes do not go on from {self.size} leaves")
        self.size += len(hashes)
        self.levels[0] = list(hashes)
        filled = []
        for level, own in enumerate(self.levels):
            if len(own) < WIDTH:
                break
            index = (self.size >> (HEIGHT * (level + 1))) - 1
            filled.append((Tile(level, index), b"".join(own)))
            if level < MAX_LEVEL:
                self.levels[level + 1].append(root(own))
            own.clear()
        return filled

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """Returns the tiles at the edge that are not full."""
        return [
            (Tile(level, self.size >> (HEIGHT * (level + 1)), len(own)), b"".join(own))
            for level, own in enumerate(self.levels)
            if own
        ]

    def root(self) -> bytes:
        """Returns the root over all leaves."""
        result: bytes | None = None
        for own in self.levels:
            node = Tree(own).node
            for level, index in reversed(subtrees(0, len(own))):
                peak = node(level, index)
                result = peak if result is None else node_hash(peak, result)
        return EMPTY_ROOT if result is None else result
