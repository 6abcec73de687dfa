"""Tile geometry (C2SP tlog-tiles): which files hold a log's hashes and leaves, and how to read them.

A hash tile at level L holds up to 256 hashes: the complete nodes of tree level 8L.  An entry bundle holds the leaves
of one level-0 tile, each as uint16be length ‖ leaf.  A full tile is immutable; a *partial* one (width 1 to 255) is
followed by a wider one under another name, so no file ever changes.  Numbers in paths are written in groups of three
digits, all but the last with ``x`` before them.  Nothing is fetched here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ledger.encoding import HASH_BYTES
from ledger.errors import MalformedError, VerificationError
from ledger.merkle import Tree, leaf_hash, root_at

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
MAX_LEVEL: Final = 5
MAX_LEAF_BYTES: Final = 65535
MAX_TILE_BYTES: Final = WIDTH * (MAX_LEAF_BYTES + 2)
"""Of an entry bundle; a tile of hashes is smaller."""

ENTRIES: Final = -1
"""Stands for the level of an entry bundle."""

_PATH = re.compile(r"tile/(entries|[0-5])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One file: `level` 0…5 or ENTRIES, `index` within the level, `width` 1…256."""

    level: int
    index: int
    width: int = WIDTH


ReadTile: TypeAlias = Callable[[Tile], bytes]


def format_path(tile: Tile) -> str:
    """Writes ``tile/<L>/<N>[.p/<W>]``."""
    groups, rest = [f"{tile.index % 1000:03d}"], tile.index // 1000
    while rest:
        groups.insert(0, f"x{rest % 1000:03d}")
        rest //= 1000
    level = "entries" if tile.level == ENTRIES else str(tile.level)
    partial = "" if tile.width == WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def parse_path(path: str) -> Tile:
    """Reads a tile's path; refuses a spelling that ``format_path`` would not write."""
    match = _PATH.fullmatch(path)
    if match:
        level = ENTRIES if match[1] == "entries" else int(match[1])
        index = int(match[2].replace("x", "").replace("/", ""))
        tile = Tile(level, index, int(match[3]) if match[3] else WIDTH)
        if tile.width <= WIDTH and format_path(tile) == path:
            return tile
    raise MalformedError("not the path of a tile", field="tile")


def format_entries(leaves: Sequence[bytes]) -> bytes:
    """Writes an entry bundle."""
    if any(len(leaf) > MAX_LEAF_BYTES for leaf in leaves):
        raise ValueError(f"a leaf has at most {MAX_LEAF_BYTES} bytes")
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def parse_entries(data: bytes, width: int, field: str = "entries") -> list[bytes]:
    """Reads an entry bundle of exactly `width` leaves."""
    leaves, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        leaf = data[at + 2 : at + 2 + size]
        if at + 2 > len(data) or len(leaf) != size:
            raise MalformedError("the entry bundle is cut off", field=field)
        leaves.append(leaf)
        at += 2 + size
    if len(leaves) != width:
        raise MalformedError(f"expected {width} leaves, found {len(leaves)}", field=field)
    return leaves


def tile_of(level: int, size: int, index: int) -> Tile:
    """Returns the tile `index` of tile level `level` as it is in a log of `size` leaves.

    Raises:
        ValueError: that log has no such tile.
    """
    shift = 0 if level == ENTRIES else HEIGHT * level
    width = min(WIDTH, (size >> shift) - index * WIDTH)
    if width <= 0:
        raise ValueError(f"a log of {size} leaves has no tile {index} at level {level}")
    return Tile(level, index, width)


def all_tiles(size: int) -> Iterator[Tile]:
    """Yields every tile of a log of `size` leaves, entry bundles first, then level by level."""
    yield from new_tiles(0, size)


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """Yields the tiles that growing from `old` to `new` leaves adds or widens."""
    for level in (ENTRIES, *range(MAX_LEVEL + 1)):
        shift = 0 if level == ENTRIES else HEIGHT * level
        before, after = old >> shift, new >> shift
        if after == before:
            continue
        for index in range(before // WIDTH, (after + WIDTH - 1) // WIDTH):
            yield tile_of(level, new, index)


def split_hashes(data: bytes, tile: Tile) -> list[bytes]:
    """Reads a hash tile."""
    if len(data) != tile.width * HASH_BYTES:
        raise MalformedError(f"expected {tile.width} hashes, found {len(data)} bytes", field=format_path(tile))
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


class TileNodes:
    """Complete nodes of a log of `size` leaves out of its tiles: a ``NodeOf`` for proofs.

    `read` returns a tile's bytes; what it returned is kept, so give each proof (or request) a reader of its own.
    Nothing read is trusted: the proof made of it is checked against a root.
    """

    def __init__(self, size: int, read: ReadTile) -> None:
        self.size = size
        self._read = read
        self._trees: dict[tuple[int, int], Tree] = {}

    def __call__(self, level: int, index: int) -> bytes:
        tile_level, inner = divmod(level, HEIGHT)
        first = index << inner
        key = (tile_level, first >> HEIGHT)
        if key not in self._trees:
            tile = tile_of(tile_level, self.size, key[1])
            self._trees[key] = Tree(split_hashes(self._read(tile), tile))
        return self._trees[key].node(inner, index - (key[1] << (HEIGHT - inner)))

    def root(self) -> bytes:
        """Returns the root as the tiles give it."""
        return root_at(self.size, self)


def read_leaves(size: int, read: ReadTile) -> Iterator[bytes]:
    """Yields the leaves of a log of `size`, each checked against the level-0 tile beside it.

    Raises:
        VerificationError: ``leaf-path``: a leaf that does not hash to what its tile holds.
    """
    for index in range((size + WIDTH - 1) // WIDTH):
        bundle = tile_of(ENTRIES, size, index)
        hashes = split_hashes(read(tile_of(0, size, index)), tile_of(0, size, index))
        for at, leaf in enumerate(parse_entries(read(bundle), bundle.width, format_path(bundle))):
            if leaf_hash(leaf) != hashes[at]:
                raise VerificationError(f"leaf {index * WIDTH + at} is not the one its tile holds", code="leaf-path")
            yield leaf
