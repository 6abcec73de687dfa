"""Exif (CIPA DC-008): the two rights entries, and the entries that name a place, a device or its owner.

A block is the TIFF structure of an Exif segment or chunk.  :func:`strip` works inside the block:
values are zeroed, entries taken out of their directory, and nothing else moves, so offsets in maker
notes stay right.  Maker notes themselves are not examined: their layouts are the makers' own.
"""

from __future__ import annotations

import struct

from ledger.errors import MalformedError
from ledger.images.tiff import Field, byte_order, first_ifd, integers, read_ifd

ARTIST, COPYRIGHT = 0x013B, 0x8298
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
GPS_VERSION = 0
PRIVATE = {
    0xA430: "Exif:CameraOwnerName",
    0xA431: "Exif:BodySerialNumber",
    0xA435: "Exif:LensSerialNumber",
    0xC62F: "Exif:CameraSerialNumber",  # of DNG, seen in JPEG renditions
}
GPS = "Exif:GPS"
MAX_IFDS = 8  # main picture, thumbnail, and their Exif directories; more is not Exif


def rights(block: bytes) -> dict[str, str]:
    """Returns ``Exif:Artist`` and ``Exif:Copyright`` (its first part, the photographer's), where readable."""
    found: dict[str, str] = {}
    try:
        fields, _ = read_ifd(block, first_ifd(block))
    except MalformedError:
        return found
    for field in fields:
        name = {ARTIST: "Exif:Artist", COPYRIGHT: "Exif:Copyright"}.get(field.tag)
        if name and field.kind in (2, 129) and field.at is not None:
            raw = block[field.at : field.at + (field.size or field.count)].lstrip(b"\0").partition(b"\0")[0]
            text = _text(raw)
            if text:
                found.setdefault(name, text)
    return found


def strip(block: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Returns `block` without location, serial numbers and owner name, as long as before, and what was removed.

    Raises:
        MalformedError: a directory cannot be read, or what is to be removed shares bytes with what stays.
    """
    work = bytearray(block)
    removed: list[str] = []
    zeroed: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = [(0, 8)]
    for offset, fields in _directories(block):
        gone: list[Field] = []
        for field in fields:
            name = PRIVATE.get(field.tag)
            if field.tag == GPS_IFD:
                name, ranges = _gps(block, field)
                zeroed += ranges
            if name:
                gone.append(field)
                removed.append(name)
            (zeroed if name else kept).append(_values(field))
        table = offset + 2, min(offset + 2 + 12 * len(fields) + 4, len(block))
        kept.append((offset, table[1]))
        if gone:
            left = b"".join(block[f.entry : f.entry + 12] for f in fields if f not in gone)
            tail = block[table[0] + 12 * len(fields) : table[1]]
            struct.pack_into(byte_order(block) + "H", work, offset, len(fields) - len(gone))
            work[table[0] : table[1]] = (left + tail).ljust(table[1] - table[0], b"\0")
    for start, end in zeroed:
        if any(start < other_end and other_start < end for other_start, other_end in kept):
            raise MalformedError("a location or serial number shares bytes with other entries", field="exif")
        work[start:end] = bytes(end - start)
    return bytes(work), tuple(dict.fromkeys(removed))


def _directories(block: bytes) -> list[tuple[int, tuple[Field, ...]]]:
    """Returns offset and entries of the main and thumbnail directories and of the Exif ones they point to."""
    found: list[tuple[int, tuple[Field, ...]]] = []
    waiting = [first_ifd(block)]
    while waiting:
        offset = waiting.pop(0)
        if any(offset == known for known, _ in found):
            raise MalformedError("has directories that loop", field="exif")
        if len(found) == MAX_IFDS:
            raise MalformedError(f"has more than {MAX_IFDS} directories", field="exif")
        fields, following = read_ifd(block, offset)
        found.append((offset, fields))
        waiting += [integers(block, field)[0] for field in fields if field.tag == EXIF_IFD and field.count]
        if following:
            waiting.append(following)
    return found


def _gps(block: bytes, pointer: Field) -> tuple[str | None, list[tuple[int, int]]]:
    """Returns the name and ranges to zero of a GPS directory; None when it says nothing but its version."""
    offset = integers(block, pointer)[0] if pointer.count == 1 else 0
    fields, _ = read_ifd(block, offset)
    if all(field.tag == GPS_VERSION for field in fields):
        return None, []
    end = min(offset + 2 + 12 * len(fields) + 4, len(block))
    return GPS, [(offset, end), *(_values(field) for field in fields)]


def _values(field: Field) -> tuple[int, int]:
    """Returns the byte range of values that lie outside their entry; an empty range else."""
    if field.at is None or field.size <= 4:
        return (0, 0)
    return field.at, field.at + field.size


def _text(raw: bytes) -> str:
    """Decodes what the standard calls ASCII and writers fill with UTF-8 or Latin-1."""
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip()
