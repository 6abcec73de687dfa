"""TIFF structures (TIFF 6.0): of a picture file, what is hashed; of Exif, the entries.

:func:`read_ifd` reads one directory of a block, leniently as to values that lie outside it (cameras
write such), strictly as to the directory itself.  :func:`content_parts` accepts classic TIFF files
with one picture.  BigTIFF, several pictures and nested ones (SubIFDs) are outside it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ledger.errors import MalformedError

# Size in bytes of one value, and of the unit that byte order turns, by field type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}

# What decides how the strips are read: docs/format.md, section 2.
HASHED = (
    *(256, 257, 258, 259, 262, 266, 277, 278, 284, 292, 293),
    *(317, 320, 322, 323, 332, 338, 339, 347, 529, 530, 531, 532),
)
COMPRESSION, STRIPS, STRIP_SIZES, TILES, TILE_SIZES, SUB_IFDS = 259, 273, 279, 324, 325, 330
# Those whose picture is in the strips and the hashed tags alone: none, CCITT, LZW, JPEG, Deflate, PackBits,
# Zstandard, WebP.  Old JPEG (6) is not: it points to tables elsewhere.
COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000, 50001})
MAX_PIECES = 1 << 18  # docs/format.md, section 2: no picture needs more strips


@dataclass(frozen=True, slots=True)
class Field:
    """One directory entry: 12 bytes at ``entry``; its ``size`` bytes of values at ``at`` (None: outside the block)."""

    tag: int
    kind: int
    count: int
    entry: int
    at: int | None
    size: int


def byte_order(block: bytes) -> str:
    """Returns ``<`` or ``>`` for `struct`.

    Raises:
        MalformedError: `block` is not a classic TIFF structure.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        raise MalformedError(f"begins with {block[:4].hex()}, it begins with 49492a00 or 4d4d002a", field="tiff")
    return order


def first_ifd(block: bytes) -> int:
    """Returns the offset of the first directory."""
    return int(struct.unpack_from(byte_order(block) + "I", block, 4)[0])


def read_ifd(block: bytes, offset: int) -> tuple[tuple[Field, ...], int]:
    """Returns the entries of the directory at `offset` and the offset of the next one (0: none).

    Raises:
        MalformedError: the directory lies outside the block.
    """
    order = byte_order(block)
    if offset < 8 or offset + 2 > len(block):
        raise MalformedError(f"has a directory at byte {offset} of {len(block)}", field="tiff")
    count = struct.unpack_from(order + "H", block, offset)[0]
    stop = offset + 2 + 12 * count
    if stop > len(block):
        raise MalformedError(f"has a directory of {count} entries that ends at byte {stop}", field="tiff")
    fields = []
    for entry in range(offset + 2, stop, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", block, entry)
        size = SIZES.get(kind, 0) * number
        at = entry + 8 if size <= 4 else value
        fields.append(Field(tag, kind, number, entry, at if at + size <= len(block) else None, size))
    # Some writers leave the last pointer out where the block ends.
    following = struct.unpack_from(order + "I", block, stop)[0] if stop + 4 <= len(block) else 0
    return tuple(fields), following


def integers(block: bytes, field: Field) -> list[int]:
    """Returns the values of a BYTE, SHORT, LONG or IFD field.

    Raises:
        MalformedError: it has another type, or lies outside the block.
    """
    code = {1: "B", 3: "H", 4: "I", 13: "I"}.get(field.kind)
    if code is None or field.at is None:
        raise MalformedError(f"tag {field.tag} has type {field.kind}, or values outside the block", field="tiff")
    return list(struct.unpack_from(f"{byte_order(block)}{field.count}{code}", block, field.at))


def content_parts(data: bytes) -> Iterator[bytes | memoryview]:
    """Yields the hashed parts of a TIFF (docs/format.md, section 2).

    Raises:
        MalformedError: the file is outside the accepted grammar.
    """
    order = byte_order(data)
    fields, following = read_ifd(data, first_ifd(data))
    by_tag = {field.tag: field for field in fields}
    if following or SUB_IFDS in by_tag:
        raise MalformedError("has more than one picture", field="tiff")
    if len(by_tag) != len(fields):
        raise MalformedError("has an entry twice", field="tiff")
    compression = by_tag.get(COMPRESSION)
    if compression is not None and not set(integers(data, compression)) <= COMPRESSIONS:
        raise MalformedError("has a compression that depends on more than strips and hashed tags", field="tiff")
    pieces = _pieces(data, by_tag)
    yield data[:2]
    for tag in HASHED:
        if tag in by_tag:
            field = by_tag[tag]
            yield struct.pack(">HHI", tag, field.kind, field.count)
            yield _big_endian(data, field, order)
    view = memoryview(data)
    for start, size in pieces:
        yield size.to_bytes(8, "big")
        yield view[start : start + size]


def _pieces(data: bytes, by_tag: dict[int, Field]) -> list[tuple[int, int]]:
    """Returns offset and length of each strip or tile; they may not overlap so much that they exceed the file."""
    tiled = TILES in by_tag
    if tiled == (STRIPS in by_tag) or (TILE_SIZES in by_tag) != tiled or (STRIP_SIZES in by_tag) == tiled:
        raise MalformedError("has neither strips nor tiles with their sizes, or both", field="tiff")
    starts, sizes = (by_tag[TILES], by_tag[TILE_SIZES]) if tiled else (by_tag[STRIPS], by_tag[STRIP_SIZES])
    if starts.count != sizes.count or not 0 < starts.count <= MAX_PIECES:
        raise MalformedError(f"has {starts.count} strips and {sizes.count} sizes of strips", field="tiff")
    pieces = list(zip(integers(data, starts), integers(data, sizes), strict=True))
    if any(start + size > len(data) for start, size in pieces) or sum(size for _, size in pieces) > len(data):
        raise MalformedError("has strips outside the file, or more of them than it has bytes", field="tiff")
    return pieces


def _big_endian(data: bytes, field: Field, order: str) -> bytes:
    if field.kind not in SIZES or field.at is None:
        raise MalformedError(f"tag {field.tag} has type {field.kind}, or values outside the file", field="tiff")
    raw = data[field.at : field.at + field.size]
    unit = UNITS[field.kind]
    if order == ">" or unit == 1:
        return raw
    code = {2: "H", 4: "I", 8: "Q"}[unit]
    number = field.size // unit
    return struct.pack(f">{number}{code}", *struct.unpack(f"<{number}{code}", raw))
