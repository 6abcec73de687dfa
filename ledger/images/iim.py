"""IPTC-IIM (version 4.2) rights fields inside Photoshop image resources.

Only reading: the fields stay as they are, and a reader compares them with XMP.
"""

from __future__ import annotations

RESOURCE_IPTC = 0x0404
NAMES = {
    (2, 40): "IPTC:SpecialInstructions",
    (2, 80): "IPTC:By-line",
    (2, 110): "IPTC:Credit",
    (2, 116): "IPTC:CopyrightNotice",
}


def from_resources(block: bytes) -> bytes:
    """Returns the IIM data sets of `block` (a row of ``8BIM`` resources), empty where it has none or is damaged."""
    pos = 0
    while block.startswith(b"8BIM", pos) and pos + 12 <= len(block):
        kind = int.from_bytes(block[pos + 4 : pos + 6], "big")
        name = block[pos + 6] + 1
        size_at = pos + 6 + name + name % 2
        start = size_at + 4
        size = int.from_bytes(block[size_at:start], "big")
        if kind == RESOURCE_IPTC:
            return block[start : start + size]
        pos = start + size + size % 2
    return b""


def rights(block: bytes) -> dict[str, list[str]]:
    """Returns the rights fields among the data sets of `block`, each with its values in order.

    Text is UTF-8 where it decodes as such, else Latin-1: writers set the character set (1:90) unreliably.
    """
    found: dict[str, list[str]] = {}
    for key, raw in _data_sets(block):
        name = NAMES.get(key)
        if name is None:
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        text = text.strip(" \0\r\n\t")
        if text:
            found.setdefault(name, []).append(text)
    return found


def _data_sets(block: bytes) -> list[tuple[tuple[int, int], bytes]]:
    """Returns (record, data set) and value of each; stops at the first byte that is not one."""
    sets = []
    pos = 0
    while pos + 5 <= len(block) and block[pos] == 0x1C:
        key = block[pos + 1], block[pos + 2]
        size = int.from_bytes(block[pos + 3 : pos + 5], "big")
        pos += 5
        if size & 0x8000:  # extended: the low bits count the bytes of the length
            width = size & 0x7FFF
            size = int.from_bytes(block[pos : pos + width], "big") if width <= 4 else len(block)
            pos += width
        if pos + size > len(block):
            break
        sets.append((key, block[pos : pos + size]))
        pos += size
    return sets
