"""JPEG files as a list of segments (ITU-T T.81, annex B): what is hashed, where metadata goes.

:func:`walk` accepts a grammar and refuses all else: SOI; segments with a length; scans; EOI behind
at least one scan.  Everything behind EOI is a trailer that nobody here interprets, but for the
pictures that an MPF index (CIPA DC-007) names in it.  Offsets count bytes from the start of the file.

It does not decode, and it does not check what the entropy-coded data hold.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5

from ledger.errors import MalformedError, shown

SOI, EOI, SOS, TEM, COM = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
APP0, APP1, APP2, APP13, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF
RESTARTS = range(0xD0, 0xD8)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG, DAC
DROPPED = (frozenset(range(APP0, APP15 + 1)) - {APP14}) | {COM}  # metadata: not part of the picture

MAX_PIECES = 1 << 18  # docs/format.md, section 2: no picture needs more segments, restarts and scans

EXIF_HEADER = b"Exif\0"  # and one padding byte, which some writers set to FF
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
MPF_HEADER = b"MPF\0"
PADDING_HEADER = b"padding\0"  # of the segment that keeps the place of a packet
PHOTOSHOP_HEADER = b"Photoshop 3.0\0"

MAX_PACKET = 65_502  # a segment's 65,533 data bytes less the XMP header (XMP part 3, 1.1.3)
EXTENSION_BLOCK = 65_400  # as Adobe's own writer cuts it
MAX_EXTENDED = 16 << 20

_FILL = re.compile(rb"\xff+")
_SCAN_STOP = re.compile(rb"\xff[^\x00\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker with a length; ``start`` is its FF, ``body`` its first data byte, ``end`` the byte behind it."""

    marker: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A walked file: ``segments`` in file order, ``kept`` the byte ranges that make the picture.

    ``first_scan`` is where the first SOS begins, ``end`` the first byte behind EOI.
    """

    segments: tuple[Segment, ...]
    kept: tuple[tuple[int, int], ...]
    scans: int
    first_scan: int
    end: int


def walk(data: bytes) -> Jpeg:
    """Walks the first picture of `data` from SOI to EOI.

    Raises:
        MalformedError: not a JPEG, cut short, without a scan, with a second SOI, with a marker 00
            outside a scan, or with fill bytes before a stuffed 00 (decoders read those differently).
    """
    if data[:2] != b"\xff\xd8":
        raise MalformedError(f"begins with {data[:2].hex()}, a JPEG begins with ffd8", field="jpeg")
    segments: list[Segment] = []
    kept: list[tuple[int, int]] = [(0, 2)]
    scans = first_scan = 0
    pos = 2
    while True:
        if len(segments) + len(kept) > MAX_PIECES:
            raise MalformedError(f"has more than {MAX_PIECES} segments and scans", field="jpeg")
        at = _marker(data, pos)
        marker = data[at + 1]
        if marker == EOI:
            if not scans:
                raise MalformedError("ends before its first scan", field="jpeg")
            kept.append((at, at + 2))
            return Jpeg(tuple(segments), tuple(kept), scans, first_scan, at + 2)
        if marker in (SOI, 0):
            raise MalformedError(f"has a marker ff{marker:02x} at byte {at}, where none may be", field="jpeg")
        if marker == TEM or marker in RESTARTS:
            kept.append((at, at + 2))
            pos = at + 2
            continue
        if at + 4 > len(data):
            raise MalformedError(f"ends inside the segment at byte {at}", field="jpeg")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            raise MalformedError(f"has a segment at byte {at} that ends at byte {end} of {len(data)}", field="jpeg")
        segments.append(Segment(marker, at, at + 4, end))
        if marker not in DROPPED:
            kept.append((at, end))
        pos = end
        if marker == SOS:
            if not scans:
                first_scan = at
            scans += 1
            pos = _scan(data, end, kept)


def content_parts(data: bytes) -> Iterator[bytes | memoryview]:
    """Yields the hashed parts of a JPEG (docs/format.md, section 2): color transform, then the picture.

    Raises:
        MalformedError: the file is outside the accepted grammar.
    """
    jpeg = walk(data)
    view = memoryview(data)
    yield bytes([_transform(data, jpeg)])
    for start, end in jpeg.kept:
        yield view[start:end]


def exif_blocks(data: bytes, jpeg: Jpeg) -> list[tuple[int, int]]:
    """Returns the byte range of the TIFF structure in each Exif segment."""
    header = len(EXIF_HEADER) + 1
    return [
        (segment.body + header, segment.end)
        for segment in jpeg.segments
        if segment.marker == APP1 and data.startswith(EXIF_HEADER, segment.body) and segment.end - segment.body > header
    ]


def photoshop_block(data: bytes, jpeg: Jpeg) -> bytes:
    """Returns the image resources (``8BIM``…) of all Photoshop segments, joined."""
    return b"".join(
        data[segment.body + len(PHOTOSHOP_HEADER) : segment.end]
        for segment in jpeg.segments
        if segment.marker == APP13 and data.startswith(PHOTOSHOP_HEADER, segment.body)
    )


def packet_segments(data: bytes, jpeg: Jpeg) -> list[Segment]:
    """Returns the segments that hold an XMP packet, the misnamed ones of some writers included."""
    return [s for s in jpeg.segments if s.marker == APP1 and _packet_start(data, s) is not None]


def packets(data: bytes, jpeg: Jpeg) -> list[bytes]:
    """Returns the XMP packets, without their extensions."""
    return [data[_packet_start(data, s) or s.body : s.end] for s in packet_segments(data, jpeg)]


def extension_segments(data: bytes, jpeg: Jpeg, guid: str) -> list[Segment]:
    """Returns the segments of the ExtendedXMP named `guid` (XMP part 3, 1.1.3.1); others are nobody's."""
    start = EXTENSION_HEADER + guid.encode("ascii", "replace")
    return [s for s in jpeg.segments if s.marker == APP1 and data.startswith(start, s.body)]


def extended_packet(data: bytes, jpeg: Jpeg, guid: str) -> bytes:
    """Returns the ExtendedXMP named `guid`, put together and compared with its MD5.

    Raises:
        MalformedError: a part is missing, overlaps or is too many, or the MD5 is another one.
    """
    parts: list[tuple[int, bytes]] = []
    total = None
    for segment in extension_segments(data, jpeg, guid):
        head = segment.body + len(EXTENSION_HEADER) + 32
        if head + 8 > segment.end:
            raise MalformedError(f"part at byte {segment.start} is cut short", field="ExtendedXMP")
        size, offset = struct.unpack_from(">II", data, head)
        if total not in (None, size):
            raise MalformedError(f"parts give its length as {total} and {size}", field="ExtendedXMP")
        total = size
        parts.append((offset, data[head + 8 : segment.end]))
    if total is None or total > MAX_EXTENDED:
        raise MalformedError(f"length is {total}, at most {MAX_EXTENDED} bytes are read", field="ExtendedXMP")
    chunks: list[bytes] = []
    reached = 0
    for offset, chunk in sorted(parts, key=lambda part: part[0]):
        if offset != reached:
            raise MalformedError(f"has a gap or overlap at byte {min(offset, reached)}", field="ExtendedXMP")
        chunks.append(chunk)
        reached += len(chunk)
    joined = b"".join(chunks)
    if reached != total or md5(joined, usedforsecurity=False).hexdigest().upper() != guid:
        raise MalformedError(f"does not have the MD5 {shown(guid)} that names it", field="ExtendedXMP")
    return joined


def splice(data: bytes, jpeg: Jpeg, guid: str, main: bytes, extended: bytes) -> bytes:
    """Returns `data` with its XMP packets (and the ExtendedXMP named `guid`) replaced by `main` and `extended`.

    The packet goes where the old one was, else behind the leading JFIF and Exif segments.  Maker notes
    may point from Exif to data behind EOI, so in a file with a trailer nothing may move between the two:
    there the packet goes in front of Exif, and an old one behind Exif becomes an APP15 segment of zeros unless
    the new one has its very length.  An MPF index is corrected.

    Raises:
        MalformedError: the MPF index is damaged.
        ValueError: `main` is longer than a segment holds.
    """
    if len(main) > MAX_PACKET:
        raise ValueError(f"an XMP packet in a JPEG has at most {MAX_PACKET} bytes, this one {len(main)}")
    old = sorted(
        packet_segments(data, jpeg) + (extension_segments(data, jpeg, guid) if guid else []), key=lambda s: s.start
    )
    new = _segment(APP1, XMP_HEADER + main) + b"".join(_extension_parts(extended))
    exif = next((start for start, _ in exif_blocks(data, jpeg)), None)
    anchored = exif is not None and jpeg.end < len(data)
    if anchored and len(old) == 1 and len(new) == old[0].end - old[0].start:
        place = old[0].start
    elif anchored:
        first = next(s.start for s in jpeg.segments if s.end > (exif or 0))
        place = old[0].start if old and old[0].start < first else first
    elif old:
        place = old[0].start
    else:
        place = _leading_end(data, jpeg)
    edits = [(place, place, new)]
    for segment in old:
        fill = b""
        if anchored and segment.start != place and segment.start > (exif or 0):
            fill = _segment(APP15, PADDING_HEADER.ljust(segment.end - segment.body, b"\0"))
        edits.append((segment.start, segment.end, fill))
    return _edited(data, jpeg, edits)


def mpf_images(data: bytes, jpeg: Jpeg) -> list[tuple[int, int]]:
    """Returns the byte ranges of the pictures behind the first one that an MPF index names, those inside the file."""
    ranges = []
    for segment in jpeg.segments:
        if segment.marker == APP2 and data.startswith(MPF_HEADER, segment.body):
            base = segment.body + len(MPF_HEADER)
            order, entries = _mpf_entries(data, segment)
            for at in entries[1:]:
                size, offset = struct.unpack_from(order + "II", data, at + 4)
                if offset and jpeg.end <= base + offset <= base + offset + size <= len(data):
                    ranges.append((base + offset, base + offset + size))
    return ranges


def skeleton(data: bytes, jpeg: Jpeg, guid: str) -> list[bytes | memoryview]:
    """Returns what a splice may not change: all but XMP, its padding and fill bytes; MPF sizes and offsets blanked."""
    skipped = {(s.start, s.end) for s in packet_segments(data, jpeg)}
    if guid:
        skipped |= {(s.start, s.end) for s in extension_segments(data, jpeg, guid)}
    parts: list[bytes | memoryview] = []
    view = memoryview(data)
    for segment in jpeg.segments:
        if (segment.start, segment.end) in skipped or segment.marker not in DROPPED:
            continue
        if segment.marker == APP15 and data.startswith(PADDING_HEADER, segment.body):
            continue
        body = bytearray(view[segment.start : segment.end])
        if segment.marker == APP2 and data.startswith(MPF_HEADER, segment.body):
            for at in _mpf_entries(data, segment)[1]:
                body[at + 4 - segment.start : at + 12 - segment.start] = bytes(8)
        parts.append(bytes(body))
    parts += [view[start:end] for start, end in jpeg.kept]
    parts.append(view[jpeg.end :])
    return parts


def _marker(data: bytes, pos: int) -> int:
    """Returns where the marker at or behind `pos` has its FF; fill bytes before it are skipped."""
    fill = _FILL.match(data, pos)
    if fill is None:
        raise MalformedError(f"has no marker at byte {pos}", field="jpeg")
    if fill.end() >= len(data):
        raise MalformedError("ends without EOI", field="jpeg")
    return fill.end() - 1


def _scan(data: bytes, start: int, kept: list[tuple[int, int]]) -> int:
    """Adds the ranges of the entropy-coded data from `start` to `kept` and returns where the next marker begins."""
    pos = start
    while True:
        stop = _SCAN_STOP.search(data, pos)
        if stop is None or len(kept) > MAX_PIECES:
            raise MalformedError("ends without EOI, or has too many pieces", field="jpeg")
        at = stop.start()
        if data[at + 1] != 0xFF:
            kept.append((start, at))
            return at
        last = _marker(data, at)
        kept.append((start, at))
        if data[last + 1] not in RESTARTS:  # a 00 is refused there, as any marker 00
            return at
        start = last
        pos = last + 2


def _transform(data: bytes, jpeg: Jpeg) -> int:
    """Returns the color transform that decoders apply: 0 gray, 1 RGB, 2 YCbCr, 3 CMYK, 4 YCCK.

    libjpeg decides it at the first SOS, from JFIF, Adobe and the component ids, in this order.
    """
    jfif = False
    adobe: int | None = None
    frames: list[Segment] = []
    for segment in jpeg.segments:
        if segment.marker in FRAMES:
            frames.append(segment)
        if segment.start >= jpeg.first_scan:
            continue
        size = segment.end - segment.body
        if segment.marker == APP0 and data.startswith(b"JFIF\0", segment.body):
            if size < 14:
                raise MalformedError(f"has a JFIF segment of {size} data bytes, it needs 14", field="jpeg")
            jfif = True
        if segment.marker == APP14 and size >= 12 and data.startswith(b"Adobe", segment.body):
            adobe = data[segment.body + 11]
    if len(frames) != 1 or frames[0].start >= jpeg.first_scan:
        raise MalformedError(f"has {len(frames)} frame headers, it needs one before the first scan", field="jpeg")
    body = data[frames[0].body : frames[0].end]
    if len(body) < 6 or len(body) != 6 + 3 * body[5]:
        raise MalformedError("has a frame header of a wrong length", field="jpeg")
    count = body[5]
    if count == 1:
        return 0
    if count == 3:
        if jfif:
            return 2
        if adobe is not None:
            return 1 if adobe == 0 else 2
        return 1 if body[6::3] == b"RGB" else 2
    if count == 4:
        return 4 if adobe else 3
    raise MalformedError(f"has {count} components, it may have 1, 3 or 4", field="jpeg")


def _packet_start(data: bytes, segment: Segment) -> int | None:
    if data.startswith(XMP_HEADER, segment.body):
        return segment.body + len(XMP_HEADER)
    if data.startswith((EXIF_HEADER, EXTENSION_HEADER), segment.body):
        return None
    found = [at for word in (b"<?xpacket", b"<x:xmpmeta") if (at := data.find(word, segment.body, segment.end)) >= 0]
    return min(found, default=None)


def _leading_end(data: bytes, jpeg: Jpeg) -> int:
    """Returns the end of the JFIF (JFXX) and Exif segments that the file begins with."""
    place = 2
    for segment in jpeg.segments:
        if segment.marker != APP0 and not (segment.marker == APP1 and data.startswith(EXIF_HEADER, segment.body)):
            break
        place = segment.end
    return place


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _extension_parts(extended: bytes) -> Iterator[bytes]:
    guid = md5(extended, usedforsecurity=False).hexdigest().upper().encode()
    for offset in range(0, len(extended), EXTENSION_BLOCK):
        head = EXTENSION_HEADER + guid + struct.pack(">II", len(extended), offset)
        yield _segment(APP1, head + extended[offset : offset + EXTENSION_BLOCK])


def _edited(data: bytes, jpeg: Jpeg, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Applies `edits` (start, end, replacement; no overlaps) and corrects the MPF index.

    MPF counts from its own header, so what matters is how much grows before and behind that header.
    """
    edits = sorted(edits, key=lambda edit: edit[:2])
    growth = sum(len(new) - (end - start) for start, end, new in edits)
    work = bytearray(data)
    for segment in jpeg.segments:
        if segment.marker != APP2 or not data.startswith(MPF_HEADER, segment.body):
            continue
        before = sum(len(new) - (end - start) for start, end, new in edits if end <= segment.start)
        order, entries = _mpf_entries(data, segment)
        for number, at in enumerate(entries):
            size, offset = struct.unpack_from(order + "II", data, at + 4)
            if number == 0:
                size += growth
            elif offset:
                offset += growth - before
            if not (0 <= size < 1 << 32 and 0 <= offset < 1 << 32):
                raise MalformedError(f"picture {number + 1} lies outside the file", field="MPF")
            struct.pack_into(order + "II", work, at + 4, size, offset)
    parts: list[bytes | bytearray] = []
    pos = 0
    for start, end, new in edits:
        parts += [work[pos:start], new]
        pos = end
    parts.append(work[pos:])
    return b"".join(parts)


def _mpf_entries(data: bytes, segment: Segment) -> tuple[str, list[int]]:
    """Returns the byte order of an MPF segment and the file offset of each 16-byte MP entry (CIPA DC-007, 5.2.3)."""
    base = segment.body + len(MPF_HEADER)
    order = {b"II": "<", b"MM": ">"}.get(data[base : base + 2])
    if order is None or base + 8 > segment.end:
        raise MalformedError("index has no byte order", field="MPF")
    ifd = base + struct.unpack_from(order + "I", data, base + 4)[0]
    if ifd + 2 > segment.end:
        raise MalformedError("index lies outside its segment", field="MPF")
    count = struct.unpack_from(order + "H", data, ifd)[0]
    if ifd + 2 + 12 * count > segment.end:
        raise MalformedError("index lies outside its segment", field="MPF")
    for at in range(ifd + 2, ifd + 2 + 12 * count, 12):
        tag, _, size, value = struct.unpack_from(order + "HHII", data, at)
        if tag == 0xB002:
            if size % 16 or base + value + size > segment.end:
                raise MalformedError("entries lie outside their segment", field="MPF")
            return order, list(range(base + value, base + value + size, 16))
    return order, []
