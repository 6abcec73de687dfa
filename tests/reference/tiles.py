"""A whole log from a folder: C2SP tlog-tiles, as docs/format.md, section 4, lays it out.

``tile/<L>/<N>[.p/<W>]`` holds hashes, ``tile/entries/<N>[.p/<W>]`` leaves, each behind its length (uint16, big-endian).
Every file in the folder is looked at: what lies within the size must be right to the byte, older partial tiles too;
what lies beyond it (staged for a later size) is left alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import merkle
from .note import Checkpoint
from .refuted import RefutedError, require

WIDTH = 256


def tile_path(level: int | str, number: int, width: int) -> str:
    """The path of tile ``number`` of a level (``"entries"`` for bundles of leaves), 1 <= width <= 256."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{name}" + ("" if width == WIDTH else f".p/{width}")


def parse_tile_path(text: str) -> tuple[str, int, int]:
    """Level, number and width of a tile's path.

    Raises:
        RefutedError: any text that ``tile_path`` would not give.
    """
    match = re.fullmatch(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?", text)
    require(match is not None, "malformed", f"{text!r} is not the path of a tile")
    assert match is not None
    level, number, width = match[1], int(match[2].replace("x", "").replace("/", "")), int(match[3] or WIDTH)
    require(level == "entries" or int(level) < 64, "malformed", f"{text!r}: the level")
    require(match[3] is None or 1 <= width < WIDTH, "malformed", f"{text!r}: the width")
    spelled = tile_path(level if level == "entries" else int(level), number, width)
    require(spelled == text, "malformed", f"{text!r} is spelled {spelled!r}")
    return level, number, width


def split_entries(data: bytes) -> list[bytes]:
    """The leaves of an entry bundle.

    Raises:
        RefutedError: bytes are missing or left over.
    """
    leaves = []
    while data:
        require(len(data) >= 2, "malformed", "an entry bundle ends inside a length")
        length = int.from_bytes(data[:2], "big")
        require(len(data) >= 2 + length, "malformed", "an entry bundle ends inside a leaf")
        leaves.append(data[2 : 2 + length])
        data = data[2 + length :]
    return leaves


def expected_tiles(leaves: list[bytes]) -> dict[str, bytes]:
    """Every tile and entry bundle of a log of exactly these leaves, by path."""
    found: dict[str, bytes] = {}
    for start in range(0, len(leaves), WIDTH):
        bundle = leaves[start : start + WIDTH]
        data = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in bundle)
        found[tile_path("entries", start // WIDTH, len(bundle))] = data
    hashes, level = [merkle.leaf_hash(leaf) for leaf in leaves], 0
    while hashes:
        for start in range(0, len(hashes), WIDTH):
            tile = hashes[start : start + WIDTH]
            found[tile_path(level, start // WIDTH, len(tile))] = b"".join(tile)
        full = range(0, len(hashes) - WIDTH + 1, WIDTH)
        hashes, level = [merkle.tree(hashes[start : start + WIDTH]) for start in full], level + 1
    return found


def read_leaves(folder: Path, size: int) -> list[bytes]:
    """The leaves 0 to size-1 from the entry bundles in a folder; a full bundle serves for a partial one.

    Raises:
        RefutedError: a bundle is missing, or holds fewer leaves than its path says.
    """
    leaves: list[bytes] = []
    for number in range(-(-size // WIDTH)):
        width = min(WIDTH, size - number * WIDTH)
        path = _find(folder, "entries", number, width)
        bundle = split_entries(path.read_bytes())
        require(len(bundle) >= width, "malformed", f"{path.name}: {len(bundle)} leaves")
        leaves += bundle[:width]
    return leaves


def verify_folder(folder: Path, checkpoint: Checkpoint) -> list[bytes]:
    """All leaves of a log, after every tile in the folder was checked against them and they against the checkpoint.

    Raises:
        RefutedError: ``checkpoint`` where the leaves give another root; ``malformed`` where a file is missing, has no
            path of the format, or holds anything else than the leaves say.
    """
    leaves = read_leaves(folder, checkpoint.size)
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    require(merkle.tree(hashes) == checkpoint.root, "checkpoint", "the leaves give another root")
    for path in expected_tiles(leaves):
        level, number, width = parse_tile_path(path)
        _find(folder, level, number, width)
    for file in sorted((folder / "tile").rglob("*")):
        if file.is_file():
            _verify_file(file.relative_to(folder).as_posix(), file.read_bytes(), leaves, hashes)
    return leaves


def _find(folder: Path, level: str, number: int, width: int) -> Path:
    for candidate in (width, WIDTH):
        path = folder / tile_path(level, number, candidate)
        if path.is_file():
            return path
    raise RefutedError("malformed", f"{tile_path(level, number, width)} is missing")


def _verify_file(name: str, data: bytes, leaves: list[bytes], hashes: list[bytes]) -> None:
    level, number, width = parse_tile_path(name)
    if level == "entries":
        bundle = split_entries(data)
        require(len(bundle) == width, "malformed", f"{name}: {len(bundle)} leaves")
        known = leaves[number * WIDTH : number * WIDTH + width]
        require(bundle[: len(known)] == known, "malformed", f"{name}: other leaves")
        return
    require(len(data) == 32 * width, "malformed", f"{name}: {len(data)} bytes")
    span = WIDTH ** int(level)  # the number of leaves below one hash of this level
    for i in range(width):
        start = (number * WIDTH + i) * span
        if start + span <= len(leaves):
            expected = merkle.tree(hashes[start : start + span])
            require(data[32 * i : 32 * (i + 1)] == expected, "malformed", f"{name}: hash {i}")
