"""Builds picture files for tests, byte by byte where a library would not: segments, chunks, directories.

Everything is deterministic.  The encoders are Pillow's; the metadata and the damage are made here.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Mapping
from hashlib import md5
from typing import Any

from PIL import Image, ImageCms, ImageDraw, ImageFilter

XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
RIGHTS = {
    "creator_name": "Ada Lens",
    "rights_line": "© 2026 Ada Lens, all rights reserved",
    "license_url": "https://registry.example/licenses/1",
    "usage_terms": "Training needs a license; see the license page.",
    "data_mining": "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR",
    "licensor_url": "https://registry.example/creators/ada",
    "licensor_name": "Ada Lens",
    "model_release": "MR-NAP",
    "property_release": "PR-NAP",
    "credit": "Ada Lens / Trainmark",
    "digital_source_type": "digitalCapture",
    "creator_id": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
    "license_id": "urn:uuid:9f1c5a3e-3c1b-4c8e-9d2a-111111111111",
    "license_digest": "sha256:" + "ab" * 32,
    "provenance_hash": "sha256:" + "cd" * 32,
    "attribution_url": "https://registry.example/a/1",
}


# Pictures


def drawing(width: int = 48, height: int = 32, mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Returns a picture with edges, gradients and, in modes that have it, varying alpha."""
    image = Image.effect_mandelbrot((width, height), (-1.9 + seed / 50, -1.1, 0.9, 1.1), 40).convert("L")
    red, green, blue = image, image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    color = Image.merge("RGB", (red, green, blue))
    pen = ImageDraw.Draw(color)
    pen.ellipse((width // 5, height // 4, width // 2, height * 3 // 4), fill=(220, 40 + seed, 90))
    pen.line((0, height - 1, width - 1, 0), fill=(20, 200, 240), width=2)
    color = color.filter(ImageFilter.SMOOTH)
    if mode in ("RGBA", "LA"):
        alpha = Image.linear_gradient("L").resize((width, height))
        color.putalpha(alpha)
    if mode == "P":
        return color.quantize(16)
    if mode == "I;16":
        return Image.frombytes(
            "I;16", (width, height), b"".join(bytes([p ^ 0x5A, p]) for p in color.convert("L").tobytes())
        )
    return color.convert(mode)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def jpeg(mode: str = "RGB", seed: int = 1, width: int = 48, height: int = 32, **options: Any) -> bytes:
    return encoded(drawing(width, height, mode, seed), "JPEG", **{"quality": 85, **options})


def png(mode: str = "RGB", seed: int = 1, **options: Any) -> bytes:
    return encoded(drawing(mode=mode, seed=seed), "PNG", **options)


def webp(mode: str = "RGB", seed: int = 1, **options: Any) -> bytes:
    return encoded(drawing(mode=mode, seed=seed), "WEBP", **options)


def animated_webp(**options: Any) -> bytes:
    frames = [drawing(seed=seed, mode="RGBA") for seed in (1, 2, 3)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=90, **options)


def icc() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # when it was made
    return bytes(profile)


# JPEG


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def split_jpeg(data: bytes) -> list[bytes]:
    """Cuts a JPEG made here into SOI, segments (a scan with its SOS) and EOI; joining gives `data` again."""
    parts, pos = [data[:2]], 2
    while data[pos + 1] != 0xD9:
        end = pos + 2 + int.from_bytes(data[pos + 2 : pos + 4], "big")
        if data[pos + 1] == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        parts.append(data[pos:end])
        pos = end
    return [*parts, data[pos:]]


def with_segments(data: bytes, *new: bytes, at: int = 1) -> bytes:
    """Inserts segments as parts `at`… of :func:`split_jpeg`."""
    parts = split_jpeg(data)
    return b"".join([*parts[:at], *new, *parts[at:]])


def without_segments(data: bytes, *markers: int) -> bytes:
    return b"".join(part for part in split_jpeg(data) if part[1] not in markers)


def rgb_jpeg(**options: Any) -> bytes:
    """A JPEG whose components are named R, G, B and that says nothing else of its color transform."""
    data = without_segments(jpeg(keep_rgb=True, **options), 0xE0, 0xEE)
    parts = split_jpeg(data)
    for number, part in enumerate(parts):
        if part[1] in (0xC0, 0xC2):
            body = bytearray(part)
            body[10::3] = b"RGB"
            parts[number] = bytes(body)
        if part[1] == 0xDA:
            body = bytearray(part)
            for component in range(body[4]):
                body[5 + 2 * component] = b"RGB"[
                    (body[5 + 2 * component] - 1)
                    if body[5 + 2 * component] < 4
                    else b"RGB".index(body[5 + 2 * component])
                ]
            parts[number] = bytes(body)
    return b"".join(parts)


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def xmp_segment(packet: bytes) -> bytes:
    return segment(0xE1, XMP_HEADER + packet)


def extension_segments(extended: bytes, block: int = 60_000) -> list[bytes]:
    guid = md5(extended).hexdigest().upper().encode()
    return [
        segment(0xE1, EXTENSION_HEADER + guid + struct.pack(">II", len(extended), at) + extended[at : at + block])
        for at in range(0, len(extended), block)
    ]


def mpo(first: bytes, second: bytes) -> bytes:
    """Puts `second` behind `first`, with an MPF index behind the segments that `first` begins with."""
    parts = split_jpeg(first)
    at = 1 + sum(1 for _ in iter_leading(parts))
    head = b"".join(parts[:at])

    def index(size: int, offset: int) -> bytes:
        ifd = struct.pack("<HHHI4sHHIIHHIII", 3, 0xB000, 7, 4, b"0100", 0xB001, 4, 1, 2, 0xB002, 7, 32, 50, 0)
        entries = struct.pack("<IIIHH", 0x20030000, size, 0, 0, 0) + struct.pack("<IIIHH", 0, len(second), offset, 0, 0)
        return segment(0xE2, b"MPF\0" + b"II*\0" + struct.pack("<I", 8) + ifd + entries)

    size = len(first) + len(index(0, 0))
    base = len(head) + 8
    return head + index(size, size - base) + b"".join(parts[at:]) + second


def iter_leading(parts: list[bytes]) -> Iterable[bytes]:
    for part in parts[1:]:
        if part[1] not in (0xE0, 0xE1):
            return
        yield part


# PNG and WebP


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def split_png(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, pos = [], 8
    while pos < len(data):
        size = int.from_bytes(data[pos : pos + 4], "big")
        chunks.append((data[pos + 4 : pos + 8], data[pos + 8 : pos + 8 + size]))
        pos += 12 + size
    return chunks


def join_png(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def with_png_chunks(data: bytes, *new: tuple[bytes, bytes], before: bytes = b"IDAT") -> bytes:
    chunks = split_png(data)
    at = next(number for number, (kind, _) in enumerate(chunks) if kind == before)
    return join_png([*chunks[:at], *new, *chunks[at:]])


def raw_profile(kind: str, profile: bytes) -> bytes:
    digits = profile.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{kind}\n{len(profile):8}\n{lines}\n".encode()


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def split_webp(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, pos = [], 12
    while pos < len(data):
        size = int.from_bytes(data[pos + 4 : pos + 8], "little")
        chunks.append((data[pos : pos + 4], data[pos + 8 : pos + 8 + size]))
        pos += 8 + size + size % 2
    return chunks


def join_webp(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(riff_chunk(kind, body) for kind, body in chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def vp8x(flags: int, width: int = 48, height: int = 32) -> tuple[bytes, bytes]:
    body = bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", body


# TIFF and Exif: a directory is {tag: (type, values)}; values are bytes, or ints for SHORT and LONG, or pairs

Values = bytes | list[int] | list[tuple[int, int]]
Directory = Mapping[int, tuple[int, Values]]
CODES = {1: "B", 3: "H", 4: "I", 13: "I"}


def directory(entries: Directory, at: int, order: str = "<", following: int = 0) -> bytes:
    """Returns a directory that begins at offset `at`, followed by its values, at an even length."""
    start = at + 2 + 12 * len(entries) + 4
    table, values = struct.pack(order + "H", len(entries)), b""
    for tag in sorted(entries):
        kind, value = entries[tag]
        if isinstance(value, bytes):
            raw, count = value, len(value) // {3: 2, 4: 4}.get(kind, 1)
        elif kind == 5:
            raw, count = b"".join(struct.pack(order + "II", *pair) for pair in value), len(value)  # type: ignore[misc]
        else:
            raw, count = struct.pack(f"{order}{len(value)}{CODES[kind]}", *value), len(value)
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(raw) <= 4:
            table += raw.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", start + len(values))
            values += raw + b"\0" * (len(raw) % 2)
    return table + struct.pack(order + "I", following) + values


def tiff_header(order: str, first: int) -> bytes:
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)


def exif_block(
    orientation: int = 1,
    order: str = "<",
    artist: bytes = b"",
    copyright: bytes = b"",
    gps: bool = True,
    serial: bool = True,
    thumbnail: bytes = b"",
    maker_note: bytes = b"MAKER\0\0\1 opaque and at a fixed place",
) -> bytes:
    """Returns an Exif block of a made-up camera at a point in the Atlantic, with maker notes in the middle."""
    main: dict[int, tuple[int, Values]] = {
        0x010F: (2, b"Examplecam\0"),
        0x0110: (2, b"EX-1\0"),
        0x0112: (3, [orientation]),
        0x0132: (2, b"2026:05:04 03:02:01\0"),
    }
    if artist:
        main[0x013B] = (2, artist + b"\0")
    if copyright:
        main[0x8298] = (2, copyright + b"\0")
    detail: dict[int, tuple[int, Values]] = {
        0x829A: (5, [(1, 250)]),
        0x9003: (2, b"2026:05:04 03:02:01\0"),
        0x927C: (7, maker_note),
        0xA434: (2, b"EX 35mm F2\0"),
    }
    if serial:
        detail |= {0xA430: (2, b"Grace Owner\0"), 0xA431: (2, b"SN-00012345\0"), 0xA435: (2, b"LENS-777\0")}
    place: Directory = {
        0: (1, b"\2\3\0\0"),
        1: (2, b"N\0"),
        2: (5, [(30, 1), (15, 1), (0, 1)]),
        3: (2, b"W\0"),
        4: (5, [(40, 1), (30, 1), (0, 1)]),
    }
    main[0x8769] = (4, [0])
    if gps:
        main[0x8825] = (4, [0])
    exif_at = 8 + len(directory(main, 8, order))
    exif_ifd = directory(detail, exif_at, order)
    gps_at = exif_at + len(exif_ifd)
    gps_ifd = directory(place, gps_at, order) if gps else b""
    next_at = gps_at + len(gps_ifd) if thumbnail else 0
    main[0x8769] = (4, [exif_at])
    if gps:
        main[0x8825] = (4, [gps_at])
    block = tiff_header(order, 8) + directory(main, 8, order, next_at) + exif_ifd + gps_ifd
    if thumbnail:
        small: dict[int, tuple[int, Values]] = {0x0103: (3, [6]), 0x0201: (4, [0]), 0x0202: (4, [len(thumbnail)])}
        small[0x0201] = (4, [next_at + len(directory(small, next_at, order))])
        block += directory(small, next_at, order) + thumbnail
    return block


def exif_segment(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def tiff(entries: Directory, strips: list[bytes], order: str = "<", moved: int = 0, following: int = 0) -> bytes:
    """Returns a TIFF: header, `moved` filler bytes, the strips, and the directory with their places added."""
    body, starts, at = b"", [], 8 + moved
    for strip in strips:
        starts.append(at + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    all_entries = {273: (4, starts), 279: (4, [len(strip) for strip in strips]), **entries}
    first = at + len(body)
    return tiff_header(order, first) + b"\0" * moved + body + directory(all_entries, first, order, following)


def split_tiff(data: bytes) -> tuple[dict[int, tuple[int, Values]], list[bytes], str]:
    """Takes a TIFF with strips apart, for :func:`tiff` to build it again."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0]
    entries: dict[int, tuple[int, Values]] = {}
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from(order + "H", data, at)[0], 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        size = count * {3: 2, 4: 4, 5: 8, 10: 8, 12: 8, 11: 4, 13: 4}.get(kind, 1)
        place = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        raw = data[place : place + size]
        entries[tag] = (kind, list(struct.unpack(f"{order}{count}{CODES[kind]}", raw)) if kind in (3, 4) else raw)
    places: dict[int, list[int]] = {}
    for tag in (273, 279):
        _, values = entries.pop(tag)
        places[tag] = [value for value in values if isinstance(value, int)]
    return entries, [data[at : at + size] for at, size in zip(places[273], places[279], strict=True)], order


# IPTC-IIM and XMP


def photoshop_segment(**values: str) -> bytes:
    """Returns an APP13 segment with IIM fields: byline, credit, copyright, city."""
    numbers = {"byline": 80, "credit": 110, "copyright": 116, "city": 90}
    sets = b"\x1c\x01\x5a\x00\x03\x1b%G" + b"\x1c\x02\x00\x00\x02\x00\x04"
    for name, value in values.items():
        sets += bytes([0x1C, 2, numbers[name]]) + len(value.encode()).to_bytes(2, "big") + value.encode()
    resource = b"8BIM\x04\x04\0\0" + len(sets).to_bytes(4, "big") + sets + b"\0" * (len(sets) % 2)
    return segment(0xED, b"Photoshop 3.0\0" + resource)


def packet(properties: str, attributes: str = "", wrapped: bool = True) -> bytes:
    """Returns an XMP packet around the XML of some properties."""
    body = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
        ' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
        f' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {attributes}>{properties}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    if not wrapped:
        return body.encode()
    start = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{start}\n{body}\n{" " * 200}<?xpacket end="w"?>'.encode()
