"""Makes tests/vectors/content_hash: pairs of picture files, with ``equal``, ``differs`` or ``null`` for their hashes.

Each pair is one rule of docs/format.md, section 2: most are collisions that a looser rule would have.  Every
file is decoded by Pillow and by OpenCV, and no two files with one hash may look different to either.  Run from the
root of the checkout: ``python -m scripts.make_content_hash_vectors``.

The bytes depend on the versions of the encoders; the files that are checked in are the authority.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ledger.images.content import content_hash, media_type
from tests.support import decoders
from tests.support import pictures as p

TARGET = Path("tests/vectors/content_hash")
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/tiff": ".tif"}
SUFFIXES |= {"image/gif": ".gif", "image/avif": ".avif"}


class Pair(NamedTuple):
    """``turned``: the decoders turn the two pictures differently; their pixels are compared as sets."""

    name: str
    what: str
    expect: str
    a: bytes
    b: bytes
    turned: bool = False


def main() -> None:
    """Writes the files and the index, and fails where a decoder contradicts a hash."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.iterdir():
        old.unlink()
    names: dict[bytes, str] = {}
    index: list[dict[str, str | bool | None]] = []
    turned = set()
    for pair in [*jpeg_pairs(), *png_pairs(), *webp_pairs(), *tiff_pairs(), *other_pairs()]:
        hashes = [content_hash(data) for data in (pair.a, pair.b)]
        found = "null" if None in hashes else "equal" if hashes[0] == hashes[1] else "differs"
        if found != pair.expect:
            raise SystemExit(f"{pair.name}: {found}, expected {pair.expect}")
        for data, side in ((pair.a, "a"), (pair.b, "b")):
            names.setdefault(data, f"{pair.name}-{side}{SUFFIXES.get(media_type(data), '.bin')}")
            (TARGET / names[data]).write_bytes(data)
        hexes = [None if digest is None else digest.hex() for digest in hashes]
        index.append({"what": pair.what, "expect": pair.expect, "a": names[pair.a], "b": names[pair.b]})
        index[-1] |= {"hash_a": hexes[0], "hash_b": hexes[1]}
        if pair.turned:
            index[-1]["turned"] = True
            turned |= {names[pair.a], names[pair.b]}
    check(names, turned)
    (TARGET / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    size = sum(file.stat().st_size for file in TARGET.iterdir())
    print(f"{len(index)} pairs, {len(names)} files, {size} bytes")


def check(names: dict[bytes, str], turned: set[str]) -> None:
    """Fails if two files with one hash differ to a decoder."""
    for decode in (decoders.pillow, decoders.opencv):
        seen: dict[tuple[bytes, bool], tuple[str, str | None]] = {}
        for data, name in names.items():
            key = content_hash(data)
            if key is None:
                continue
            flag = name in turned
            first, shown = seen.setdefault((key, flag), (name, decode(data, flag)))
            if decode(data, flag) != shown:
                raise SystemExit(f"{decode.__name__} shows {first} and {name} differently, but their hashes are equal")


def jpeg_pairs() -> Iterator[Pair]:
    base, rgb, progressive = p.jpeg(), p.rgb_jpeg(), p.rgb_jpeg(progressive=True)
    plain, cmyk = p.without_segments(base, 0xE0), p.without_segments(p.jpeg("CMYK"), 0xE0, 0xEE)
    exif, packet = p.exif_segment(p.exif_block()), p.xmp_segment(p.packet("<dc:format>image/jpeg</dc:format>"))
    iptc, comment = p.photoshop_segment(byline="Ada Lens"), p.segment(0xFE, b"a comment")
    profile = p.segment(0xE2, b"ICC_PROFILE\0\1\1" + p.icc())
    metadata = (exif, packet, profile, iptc, comment)

    def scan(data: bytes, old: bytes, new: bytes) -> bytes:
        parts = p.split_jpeg(data)
        number = next(n for n, part in enumerate(parts) if part[1] == 0xDA and old in part[2:])
        at = parts[number].rindex(old)
        parts[number] = parts[number][:at] + new + parts[number][at + len(old) :]
        return b"".join(parts)

    for name, data in (
        ("baseline", base),
        ("progressive", p.jpeg(progressive=True)),
        ("restarts", p.jpeg(restart_marker_rows=1)),
        ("gray", p.jpeg("L")),
        ("cmyk", p.jpeg("CMYK")),
        ("rgb", p.jpeg(keep_rgb=True)),
        ("component-ids-rgb", rgb),
        ("optimized", p.jpeg(optimize=True)),
        ("subsampled-444", p.jpeg(subsampling=0)),
    ):
        at = 2 if data[3] == 0xE0 else 1
        what = f"{name}: Exif, XMP, ICC profile, IPTC and a comment are added"
        yield Pair(f"jpeg-metadata-{name}", what, "equal", data, p.with_segments(data, *metadata, at=at))
    yield Pair("jpeg-jfif-removed", "YCbCr by default: JFIF is removed", "equal", base, plain)
    yield Pair(
        "jpeg-rgb-ids-jfif",
        "components R, G, B: a JFIF segment makes decoders assume YCbCr",
        "differs",
        rgb,
        p.with_segments(rgb, p.JFIF),
    )
    between = next(n for n, part in enumerate(p.split_jpeg(progressive)) if part[1] == 0xDA) + 1
    yield Pair(
        "jpeg-jfif-after-first-scan",
        "components R, G, B: JFIF counts before the first scan only",
        "differs",
        p.with_segments(progressive, p.JFIF),
        p.with_segments(progressive, p.JFIF, at=between),
    )
    yield Pair(
        "jpeg-late-jfif-ignored",
        "components R, G, B: JFIF behind the first scan is metadata",
        "equal",
        progressive,
        p.with_segments(progressive, p.JFIF, at=between),
    )
    yield Pair(
        "jpeg-short-jfif",
        "components R, G, B: libjpeg ignores a short JFIF, others refuse the file",
        "null",
        p.with_segments(rgb, p.JFIF),
        p.with_segments(rgb, p.segment(0xE0, b"JFIF\0")),
    )
    yield Pair(
        "jpeg-adobe-0-or-1",
        "Adobe transform 0 (RGB) and 1 (YCbCr)",
        "differs",
        p.with_segments(plain, p.adobe(0)),
        p.with_segments(plain, p.adobe(1)),
    )
    yield Pair(
        "jpeg-short-adobe",
        "components R, G, B: an Adobe segment of 11 data bytes does not count",
        "differs",
        p.with_segments(rgb, p.adobe(1)),
        p.with_segments(rgb, p.segment(0xEE, b"Adobe\0\x64\0\0\0\0")),
    )
    yield Pair(
        "jpeg-last-adobe-counts",
        "two Adobe segments in either order",
        "differs",
        p.with_segments(plain, p.adobe(0), p.adobe(1)),
        p.with_segments(plain, p.adobe(1), p.adobe(0)),
    )
    yield Pair(
        "jpeg-jfif-adobe-order",
        "JFIF and Adobe in either order",
        "equal",
        p.with_segments(plain, p.JFIF, p.adobe(1)),
        p.with_segments(plain, p.adobe(1), p.JFIF),
    )
    yield Pair(
        "jpeg-late-adobe",
        "components R, G, B: Adobe behind the first scan does not count",
        "differs",
        p.with_segments(progressive, p.adobe(1)),
        p.with_segments(progressive, p.adobe(1), at=between),
    )
    yield Pair(
        "jpeg-cmyk-transform-1",
        "four components, Adobe transform 0 (CMYK) and 1 (taken as YCCK)",
        "differs",
        p.with_segments(cmyk, p.adobe(0)),
        p.with_segments(cmyk, p.adobe(1)),
    )
    yield Pair(
        "jpeg-cmyk-without-adobe",
        "four components, with and without Adobe",
        "differs",
        cmyk,
        p.with_segments(cmyk, p.adobe(0)),
    )
    yield Pair(
        "jpeg-fill-before-stuffing",
        "fill bytes before a stuffed 00 in a scan: decoders lose a byte",
        "null",
        base,
        scan(base, b"\xff\0", b"\xff\xff\0"),
    )
    restarts = p.jpeg(restart_marker_rows=1)
    yield Pair(
        "jpeg-fill-before-restart",
        "fill bytes before a restart marker",
        "equal",
        restarts,
        scan(restarts, b"\xff\xd0", b"\xff\xff\xff\xd0"),
    )
    yield Pair("jpeg-fill-before-eoi", "fill bytes before EOI", "equal", base, base[:-2] + b"\xff\xff\xff\xd9")
    yield Pair(
        "jpeg-fill-before-segment",
        "fill bytes before a segment",
        "equal",
        base,
        p.with_segments(base, b"\xff\xff\xff", at=2),
    )
    yield Pair(
        "jpeg-segment-between-scans",
        "an APP1 segment between two scans",
        "equal",
        progressive,
        p.with_segments(progressive, packet, at=between),
    )
    yield Pair(
        "jpeg-avi1", "an APP0 that is not JFIF", "equal", base, p.with_segments(base, p.segment(0xE0, b"AVI1\0\0\0\0"))
    )
    yield Pair("jpeg-second-picture", "another JPEG behind EOI", "equal", base, base + p.jpeg(seed=2))
    yield Pair("jpeg-mpf", "an MPF index and the picture it names", "equal", base, p.mpo(base, p.jpeg(seed=2)))
    yield Pair("jpeg-no-eoi", "EOI is missing", "null", base, base[:-2])
    yield Pair("jpeg-cut", "the scan is cut", "null", base, base[: len(base) * 3 // 4])
    yield Pair("jpeg-second-soi", "SOI again in the header", "null", base, p.with_segments(base, b"\xff\xd8"))
    yield Pair("jpeg-marker-00", "a marker 00 outside a scan", "null", base, p.with_segments(base, b"\xff\0"))
    yield Pair("jpeg-eoi-before-scan", "EOI before the first scan", "null", base, p.with_segments(base, b"\xff\xd9"))
    frame = next(part for part in p.split_jpeg(base) if part[1] == 0xC0)
    at = p.split_jpeg(base).index(frame)
    yield Pair("jpeg-two-frames", "two frame headers", "null", base, p.with_segments(base, frame, at=at))
    yield Pair("jpeg-no-frame", "no frame header", "null", base, p.without_segments(base, 0xC0))
    yield Pair("jpeg-tables", "the same coefficients with optimized tables", "differs", base, p.jpeg(optimize=True))
    yield Pair("jpeg-quality", "encoded again at another quality", "differs", base, p.jpeg(quality=60))
    flipped = bytearray(base)
    flipped[len(base) - 40] ^= 0x10
    yield Pair("jpeg-one-bit", "one bit of the scan", "differs", base, bytes(flipped))


def png_pairs() -> Iterator[Pair]:
    base, palette = p.png(), p.with_png_chunks(p.png("P"), (b"tRNS", bytes(range(0, 256, 16))))
    text = (b"tEXt", b"Comment\0written by hand")
    chunks = p.split_png(palette)
    kinds = {kind: (kind, body) for kind, body in chunks}
    metadata = (text, (b"eXIf", p.exif_block()), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + p.packet("")))

    def order(*names: bytes) -> bytes:
        return p.join_png([kinds[name] for name in names])

    def idat(data: bytes, size: int, between: tuple[bytes, bytes] | None = None) -> bytes:
        new: list[tuple[bytes, bytes]] = []
        for kind, body in p.split_png(data):
            if kind == b"IDAT":
                cut = [(kind, body[at : at + size]) for at in range(0, len(body), size)]
                new += [cut[0], *([between] if between else []), *cut[1:]]
            else:
                new.append((kind, body))
        return p.join_png(new)

    for name, data in (
        ("rgb", base),
        ("rgba", p.png("RGBA")),
        ("gray", p.png("L")),
        ("gray-alpha", p.png("LA")),
        ("16-bit", p.png("I;16")),
        ("palette-alpha", palette),
        ("1-bit", p.png("1")),
    ):
        what = f"{name}: a comment, Exif and XMP are added"
        yield Pair(f"png-metadata-{name}", what, "equal", data, p.with_png_chunks(data, *metadata))
    yield Pair("png-gamma", "gAMA is added", "equal", base, p.with_png_chunks(base, (b"gAMA", b"\0\1\x86\xa0")))
    yield Pair("png-rechunked", "the same data in smaller IDATs", "equal", base, idat(base, 100))
    yield Pair("png-trailer", "bytes behind IEND", "equal", base, base + b"behind the end")
    yield Pair("png-split-idat", "a chunk between the IDATs", "null", base, idat(base, 100, text))
    names = [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    yield Pair(
        "png-trns-first", "tRNS before PLTE", "null", order(*names), order(b"IHDR", b"tRNS", b"PLTE", b"IDAT", b"IEND")
    )
    yield Pair(
        "png-trns-last", "tRNS behind IDAT", "null", order(*names), order(b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"IEND")
    )
    yield Pair(
        "png-plte-last", "PLTE behind IDAT", "null", order(*names), order(b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"IEND")
    )
    yield Pair("png-two-plte", "PLTE twice", "null", order(*names), order(b"IHDR", b"PLTE", *names[1:]))
    yield Pair("png-two-trns", "tRNS twice", "null", order(*names), order(*names[:3], b"tRNS", b"IDAT", b"IEND"))
    yield Pair("png-two-ihdr", "IHDR twice", "null", order(*names), order(b"IHDR", *names))
    yield Pair("png-ihdr-late", "IHDR behind a text", "null", base, p.join_png([text, *p.split_png(base)]))
    yield Pair("png-no-trns", "tRNS is removed", "differs", order(*names), order(*names[:2], *names[3:]))
    kinds[b"PLTE"] = (b"PLTE", kinds[b"PLTE"][1][::-1])
    yield Pair("png-other-palette", "another palette", "differs", palette, order(*names))
    yield Pair(
        "png-unknown-critical", "an unknown critical chunk", "null", base, p.with_png_chunks(base, (b"NeWc", b""))
    )
    yield Pair("png-no-iend", "no IEND", "null", base, base[:-12])
    wrong = bytearray(p.with_png_chunks(base, text))
    wrong[wrong.index(b"tEXt") + 6] ^= 1
    yield Pair("png-text-crc", "a wrong CRC in a text", "null", base, bytes(wrong))
    wrong = bytearray(base)
    wrong[base.index(b"IDAT") + 30] ^= 1
    yield Pair("png-idat-crc", "a wrong CRC in IDAT", "null", base, bytes(wrong))
    frames = [p.drawing(seed=seed) for seed in (1, 2)]
    animated = p.encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    yield Pair("png-animated", "an animation", "null", base, animated)
    raw = zlib.decompress(b"".join(body for kind, body in p.split_png(base) if kind == b"IDAT"))
    again = [(k, zlib.compress(raw, 1) if k == b"IDAT" else body) for k, body in p.split_png(base) if k != b"IDAT"]
    again.insert(1, (b"IDAT", zlib.compress(raw, 1)))
    yield Pair("png-recompressed", "the same pixels, compressed again", "differs", base, p.join_png(again))


def webp_pairs() -> Iterator[Pair]:
    lossy, lossless = p.webp(quality=80), p.webp("RGBA", lossless=True)
    [(_, vp8)] = p.split_webp(lossy)
    [(_, vp8l)] = p.split_webp(lossless)
    alpha = p.webp("RGBA", quality=80)
    parts = dict(p.split_webp(alpha))
    header, alph, colour = (b"VP8X", parts[b"VP8X"]), (b"ALPH", parts[b"ALPH"]), (b"VP8 ", parts[b"VP8 "])
    exif, packet = (b"EXIF", p.exif_block()), (b"XMP ", p.packet(""))
    animated = p.animated_webp(quality=80)
    chunks = p.split_webp(animated)
    frames = [chunk for chunk in chunks if chunk[0] == b"ANMF"]

    yield Pair(
        "webp-lossy-extended",
        "VP8 alone, and with VP8X and metadata",
        "equal",
        lossy,
        p.join_webp([p.vp8x(0x0C), (b"VP8 ", vp8), exif, packet]),
    )
    yield Pair(
        "webp-lossless-extended",
        "VP8L alone, and with VP8X and metadata",
        "equal",
        lossless,
        p.join_webp([p.vp8x(0x1C), (b"VP8L", vp8l), exif, packet]),
    )
    yield Pair(
        "webp-metadata-alpha",
        "ALPH and VP8: metadata are added",
        "equal",
        alpha,
        p.join_webp([(b"VP8X", bytes([0x1C]) + header[1][1:]), alph, colour, exif, packet]),
    )
    yield Pair(
        "webp-metadata-animated",
        "an animation: XMP is added",
        "equal",
        animated,
        p.join_webp([(b"VP8X", bytes([chunks[0][1][0] | 4]) + chunks[0][1][1:]), *chunks[1:], packet]),
    )
    yield Pair("webp-trailer", "bytes behind the RIFF", "equal", lossy, lossy + b"behind the end")
    yield Pair(
        "webp-alpha-flag",
        "the alpha flag of VP8X",
        "differs",
        p.join_webp([p.vp8x(0x10), (b"VP8L", vp8l)]),
        p.join_webp([p.vp8x(0x00), (b"VP8L", vp8l)]),
    )
    larger = (b"VP8X", chunks[0][1][:4] + struct.pack("<I", 95)[:3] + chunks[0][1][7:])
    yield Pair("webp-canvas", "the canvas of an animation", "differs", animated, p.join_webp([larger, *chunks[1:]]))
    joined = (b"ANMF", frames[0][1] + p.riff_chunk(*frames[1]))
    yield Pair(
        "webp-joined-frames",
        "two frames in one chunk",
        "differs",
        animated,
        p.join_webp([chunks[0], chunks[1], joined, *frames[2:]]),
    )
    yield Pair(
        "webp-frame-order",
        "frames in another order",
        "differs",
        animated,
        p.join_webp([chunks[0], chunks[1], frames[1], frames[0], *frames[2:]]),
    )
    yield Pair("webp-alph-alone", "ALPH without VP8X", "null", alpha, p.join_webp([alph, colour]))
    yield Pair("webp-vp8x-last", "VP8X last", "null", alpha, p.join_webp([alph, colour, header]))
    yield Pair("webp-two-vp8x", "VP8X twice", "null", alpha, p.join_webp([header, header, alph, colour]))
    yield Pair("webp-animated-vp8x-last", "VP8X last", "null", animated, p.join_webp([*chunks[1:], chunks[0]]))
    unknown = (b"JUNK", b"unknown")
    yield Pair(
        "webp-unknown-between",
        "a chunk between ALPH and VP8",
        "null",
        alpha,
        p.join_webp([header, alph, unknown, colour]),
    )
    yield Pair(
        "webp-exif-between",
        "Exif between ALPH and VP8",
        "null",
        alpha,
        p.join_webp([(b"VP8X", bytes([0x18]) + header[1][1:]), alph, exif, colour]),
    )
    yield Pair(
        "webp-unknown", "an unknown chunk at the end", "null", alpha, p.join_webp([header, alph, colour, unknown])
    )
    yield Pair(
        "webp-two-pictures",
        "VP8 twice",
        "null",
        lossy,
        p.join_webp([p.vp8x(0), (b"VP8 ", vp8), p.split_webp(p.webp(seed=2))[0]]),
    )
    yield Pair(
        "webp-anim-last", "ANIM behind the frames", "null", animated, p.join_webp([chunks[0], *frames, chunks[1]])
    )
    yield Pair("webp-cut", "the RIFF is cut", "null", lossy, lossy[:-20])
    yield Pair("webp-quality", "encoded again at another quality", "differs", lossy, p.webp(quality=40))


def tiff_pairs() -> Iterator[Pair]:
    width, height = 48, 32
    pixels = p.drawing().tobytes()
    common: p.Directory = {256: (3, [width]), 257: (3, [height]), 259: (3, [1]), 277: (3, [3]), 284: (3, [1])}
    rgb = {**common, 258: (3, [8, 8, 8]), 262: (3, [2]), 278: (3, [height])}
    half = len(pixels) // 2
    base = p.tiff(rgb, [pixels])
    named = {270: (2, b"a description\0"), 315: (2, b"Ada Lens\0"), 700: (1, p.packet(""))}
    yield Pair(
        "tiff-metadata", "a description, an artist and XMP are added", "equal", base, p.tiff({**rgb, **named}, [pixels])
    )
    yield Pair("tiff-moved", "strips and directory at other places", "equal", base, p.tiff(rgb, [pixels], moved=64))
    yield Pair(
        "tiff-orientation",
        "the orientation, which decoders apply, is outside the hash",
        "equal",
        base,
        p.tiff({**rgb, 274: (3, [6])}, [pixels]),
        True,
    )
    yield Pair(
        "tiff-strips",
        "the same pixels in two strips",
        "differs",
        base,
        p.tiff({**rgb, 278: (3, [height // 2])}, [pixels[:half], pixels[half:]]),
    )
    gray16 = {**common, 258: (3, [16]), 262: (3, [1]), 277: (3, [1]), 278: (3, [height])}
    deep = p.drawing(mode="I;16").tobytes()
    yield Pair(
        "tiff-byte-order",
        "16-bit samples, the same bytes in either byte order",
        "differs",
        p.tiff(gray16, [deep]),
        p.tiff(gray16, [deep], order=">"),
    )
    yield Pair(
        "tiff-byte-order-8", "8-bit samples in either byte order", "differs", base, p.tiff(rgb, [pixels], order=">")
    )
    entries, strips, order = p.split_tiff(p.encoded(p.drawing(), "TIFF", compression="jpeg"))
    tables = bytearray(entries[347][1])  # type: ignore[arg-type]
    tables[12] ^= 0x1F
    yield Pair(
        "tiff-jpeg-tables",
        "JPEG compression with other tables",
        "differs",
        p.tiff(entries, strips, order),
        p.tiff({**entries, 347: (7, bytes(tables))}, strips, order),
    )
    ycc = {**common, 258: (3, [8, 8, 8]), 262: (3, [6]), 278: (3, [height]), 530: (3, [1, 1])}
    ycc[532] = (5, [(0, 1), (255, 1), (128, 1), (255, 1), (128, 1), (255, 1)])
    planes = p.drawing(mode="YCbCr").tobytes()
    for tag, change, what in (
        (529, (5, [(1, 3), (1, 3), (1, 3)]), "coefficients"),
        (530, (3, [2, 2]), "subsampling"),
        (532, (5, [(16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)]), "reference black and white"),
    ):
        changed: p.Directory = {**ycc, tag: change}
        yield Pair(
            f"tiff-ycbcr-{tag}", f"YCbCr with other {what}", "differs", p.tiff(ycc, [planes]), p.tiff(changed, [planes])
        )
    fax, fax_strips, fax_order = p.split_tiff(p.encoded(p.drawing(mode="1"), "TIFF", compression="group3"))
    yield Pair(
        "tiff-group3-options",
        "CCITT group 3 with other options",
        "differs",
        p.tiff({**fax, 292: (4, [0])}, fax_strips, fax_order),
        p.tiff({**fax, 292: (4, [1])}, fax_strips, fax_order),
    )
    cmyk = {**common, 258: (3, [8, 8, 8, 8]), 262: (3, [5]), 277: (3, [4]), 278: (3, [height])}
    inks = p.drawing(mode="CMYK").tobytes()
    yield Pair(
        "tiff-ink-set",
        "CMYK with another ink set",
        "differs",
        p.tiff(cmyk, [inks]),
        p.tiff({**cmyk, 332: (3, [2])}, [inks]),
    )
    gray = {**common, 258: (3, [8]), 277: (3, [1]), 278: (3, [height])}
    plane = p.drawing(mode="L").tobytes()
    yield Pair(
        "tiff-inverted",
        "black is zero, white is zero",
        "differs",
        p.tiff({**gray, 262: (3, [1])}, [plane]),
        p.tiff({**gray, 262: (3, [0])}, [plane]),
    )
    lzw, lzw_strips, lzw_order = p.split_tiff(p.encoded(p.drawing(), "TIFF", compression="tiff_lzw"))
    yield Pair(
        "tiff-predictor",
        "LZW with another predictor",
        "differs",
        p.tiff({**lzw, 317: (3, [1])}, lzw_strips, lzw_order),
        p.tiff({**lzw, 317: (3, [2])}, lzw_strips, lzw_order),
    )
    second = p.directory({256: (3, [1])}, len(base))
    yield Pair(
        "tiff-two-pictures", "a second directory", "null", base, p.tiff(rgb, [pixels], following=len(base)) + second
    )
    nested = p.tiff({**rgb, 330: (4, [len(base) + 12])}, [pixels]) + second
    yield Pair("tiff-nested", "a nested picture", "null", base, nested)
    twice = base.replace(struct.pack("<HHI", 258, 3, 3), struct.pack("<HHI", 257, 3, 3), 1)
    yield Pair("tiff-entry-twice", "an entry twice", "null", base, twice)
    overlapping = p.tiff({**rgb, 273: (4, [8] * 5), 279: (4, [len(pixels)] * 5), 278: (3, [7])}, [pixels])
    yield Pair("tiff-overlapping", "strips that overlap", "null", base, overlapping)
    yield Pair(
        "tiff-outside", "a strip that leaves the file", "null", base, p.tiff({**rgb, 273: (4, [len(base)])}, [pixels])
    )
    yield Pair("tiff-old-jpeg", "old JPEG compression", "null", base, p.tiff({**rgb, 259: (3, [6])}, [pixels]))
    yield Pair("tiff-big", "BigTIFF", "null", base, p.encoded(p.drawing(), "TIFF", big_tiff=True))


def other_pairs() -> Iterator[Pair]:
    base = p.png()
    yield Pair("gif", "GIF has no content hash", "null", base, p.encoded(p.drawing(mode="P"), "GIF"))
    yield Pair("avif", "AVIF has no content hash", "null", base, p.encoded(p.drawing(), "AVIF"))
    yield Pair("text", "a text has none", "null", base, b"no picture at all\n")
    yield Pair("empty", "an empty file has none", "null", base, b"")
    yield Pair("formats", "the same pixels as PNG and as WebP", "differs", p.png(), p.webp(lossless=True))


if __name__ == "__main__":
    main()
