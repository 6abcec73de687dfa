"""The content hash against its vectors and two decoders, and the media types."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.images import jpeg, png
from ledger.images.content import content_hash, media_type
from tests.support import decoders
from tests.support import pictures as p

VECTORS = Path(__file__).parent.parent / "vectors" / "content_hash"
INDEX: list[dict[str, Any]] = json.loads((VECTORS / "index.json").read_text())


def hashed(name: str) -> str | None:
    digest = content_hash((VECTORS / name).read_bytes())
    return None if digest is None else digest.hex()


@pytest.mark.parametrize("pair", INDEX, ids=lambda pair: f"{pair['a']} {pair['b']}")
def test_vector(pair: dict[str, Any]) -> None:
    assert (hashed(pair["a"]), hashed(pair["b"])) == (pair["hash_a"], pair["hash_b"])
    expected = {
        "equal": pair["hash_a"] == pair["hash_b"] is not None,
        "differs": None not in (pair["hash_a"], pair["hash_b"]) and pair["hash_a"] != pair["hash_b"],
        "null": pair["hash_a"] is not None and pair["hash_b"] is None,
    }
    assert expected[pair["expect"]]


def test_vectors_cover_every_format_and_outcome() -> None:
    seen = {(pair["a"].rpartition(".")[2], pair["expect"]) for pair in INDEX}
    assert seen >= {(suffix, e) for suffix in ("jpg", "png", "webp", "tif") for e in ("equal", "differs", "null")}
    files = {pair[side] for pair in INDEX for side in ("a", "b")}
    assert files == {file.name for file in VECTORS.iterdir()} - {"index.json"}


@pytest.mark.parametrize("decode", [decoders.pillow, decoders.opencv])
def test_no_decoder_tells_equal_hashes_apart(decode: Any) -> None:
    turned = {pair[side] for pair in INDEX if pair.get("turned") for side in ("a", "b")}
    seen: dict[tuple[str, bool], str] = {}
    for file in sorted(VECTORS.iterdir()):
        if file.name == "index.json" or (key := hashed(file.name)) is None:
            continue
        flag = file.name in turned
        shown = decode(file.read_bytes(), flag)
        assert seen.setdefault((key, flag), shown) == shown, file.name


@pytest.mark.parametrize("decode", [decoders.pillow, decoders.opencv])
def test_decoders_see_the_pictures_of_equal_pairs(decode: Any) -> None:
    """Else the test before this one could pass on files that nobody can read."""
    for pair in INDEX:
        if pair["expect"] == "equal":
            assert decode((VECTORS / pair["a"]).read_bytes()) is not None, pair["a"]


def test_parts_are_domain_format_and_picture() -> None:
    """Known answer, put together by hand from docs/format.md, section 2."""
    image = p.png("P")
    expected = sha256(b"trainmark/content/v1\0png\0")
    for kind, body in p.split_png(image):
        if kind in (b"IHDR", b"PLTE", b"IDAT"):
            expected.update(kind + len(body).to_bytes(8, "big") + body)
    assert content_hash(image) == expected.digest()
    photo = p.jpeg()
    kept = b"".join(part for part in p.split_jpeg(photo) if part[1] != 0xE0)
    assert content_hash(photo) == sha256(b"trainmark/content/v1\0jpeg\0\x02" + kept).digest()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (p.jpeg(), "image/jpeg"),
        (p.png(), "image/png"),
        (p.webp(), "image/webp"),
        (p.encoded(p.drawing(), "TIFF"), "image/tiff"),
        (p.encoded(p.drawing(), "TIFF", big_tiff=True), "image/tiff"),
        (p.encoded(p.drawing(mode="P"), "GIF"), "image/gif"),
        (p.encoded(p.drawing(), "AVIF"), "image/avif"),
        (p.encoded(p.drawing(), "BMP"), "image/bmp"),
        (p.encoded(p.drawing(), "JPEG2000"), "image/jp2"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "image/heif"),
        (b"\0\0\0\x14ftypisom\0\0\0\0mp42", "application/octet-stream"),
        (b"BMblabla but a text about bitmaps", "application/octet-stream"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream"),
        (b"RIFF\0\0\0\0WAVE", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_media_type(data: bytes, expected: str) -> None:
    assert media_type(data) == expected


def test_hostile_sizes_take_bounded_time() -> None:
    start = time.monotonic()
    chunk = p.png_chunk(b"teXt", b"")
    assert content_hash(png.SIGNATURE + p.png_chunk(b"IHDR", bytes(13)) + chunk * 1_000_000) is None
    base = p.jpeg()
    assert content_hash(p.with_segments(base, b"\xff\x01" * 2_000_000)) is None
    assert content_hash(base[:-2] + b"\xff\xff\xd0" * 2_000_000 + b"\xff\xd9") is None
    assert content_hash(base[:-2] + b"\xff" * 20_000_000 + b"\xff\xd9") == content_hash(base)
    assert time.monotonic() - start < 60


def test_piece_limit_is_exact() -> None:
    image = p.png()
    room = png.MAX_PIECES - len(p.split_png(image))
    filled = p.with_png_chunks(image, *[(b"teXt", b"")] * room)
    assert content_hash(filled) == content_hash(image)
    assert content_hash(p.with_png_chunks(filled, (b"teXt", b""))) is None
    assert jpeg.MAX_PIECES == png.MAX_PIECES
