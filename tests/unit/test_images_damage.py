"""Damaged files: our errors or None, never another exception, and in bounded time."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import TrainmarkError
from ledger.images.content import content_hash, media_type
from ledger.images.embed import Rights, embed, read_rights, strip_private
from ledger.images.fingerprints import examine
from tests.support import pictures as p

RIGHTS = Rights(**p.RIGHTS)
PACKET = p.packet(
    "<dc:subject><rdf:Bag><rdf:li>cat</rdf:li></rdf:Bag></dc:subject><exif:GPSLatitude>1,2N</exif:GPSLatitude>",
    'xmp:Rating="3" aux:SerialNumber="12"',
)
EXTENDED = p.packet("<xmp:Large>" + "x" * 1_000 + "</xmp:Large>", wrapped=False)
NOTED = p.packet("", f'xmpNote:HasExtendedXMP="{p.extension_segments(EXTENDED)[0][39:71].decode()}"')
SMALL = p.jpeg(width=16, height=16)
CAMERA = p.with_segments(
    SMALL,
    p.exif_segment(p.exif_block(6, thumbnail=SMALL[:200])),
    p.xmp_segment(PACKET),
    p.photoshop_segment(byline="Ada Lens"),
    at=2,
)
PROFILE = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(p.raw_profile("exif", b"Exif\0\0" + p.exif_block())))
SEEDS = [
    CAMERA,
    p.mpo(CAMERA, CAMERA),
    p.with_segments(SMALL, p.xmp_segment(NOTED), *p.extension_segments(EXTENDED)),
    p.jpeg(progressive=True, width=16, height=16),
    p.with_png_chunks(
        p.png("P"), (b"eXIf", p.exif_block()), PROFILE, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)
    ),
    p.webp(exif=p.exif_block(), xmp=PACKET),
    p.animated_webp(exif=p.exif_block(), xmp=PACKET),
    p.encoded(p.drawing(16, 16), "TIFF", compression="tiff_lzw"),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        size = draw(st.integers(1, 12))
        match draw(st.sampled_from(["flip", "set", "number", "cut", "double", "end"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case "number":
                data[at : at + 4] = draw(
                    st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
                )
            case "cut":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "end":
                del data[max(at, 1) :]
    if data[:4] == b"\x89PNG":  # else nothing gets past the checksums
        pos = 8
        while pos + 12 <= len(data) and (end := pos + 12 + int.from_bytes(data[pos : pos + 4], "big")) <= len(data):
            data[end - 4 : end] = zlib.crc32(data[pos + 4 : end - 4]).to_bytes(4, "big")
            pos = end
    return bytes(data)


def ours(function: Callable[[bytes], object], data: bytes) -> object:
    """Calls `function`; anything but a result or one of our errors is a failure."""
    start = time.monotonic()
    try:
        return function(data)
    except TrainmarkError:
        return None
    finally:
        assert time.monotonic() - start < 60


@settings(max_examples=1_200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_no_damage_gets_through(data: bytes) -> None:
    digest = content_hash(data)
    assert isinstance(media_type(data), str)
    ours(read_rights, data)
    result = ours(lambda d: embed(d, RIGHTS, decided=["dc:creator"]), data)
    if isinstance(result, bytes):
        assert content_hash(result) == digest
        assert embed(result, RIGHTS, decided=["dc:creator"]) == result
    stripped = ours(strip_private, data)
    if isinstance(stripped, tuple):
        assert content_hash(stripped[0]) == digest
        assert strip_private(stripped[0]) == (stripped[0], ())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_no_damage_kills_the_decoding_process(data: bytes) -> None:
    assert examine(data).reason in (None, "damaged", "unsupported", "too-large", "memory-limit")


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_cut_is_ours(seed: int) -> None:
    data = SEEDS[seed]
    for size in range(0, len(data), max(1, len(data) // 150)):
        for function in (read_rights, strip_private, lambda d: embed(d, RIGHTS)):
            ours(function, data[:size])
        if media_type(data) != "image/jpeg" or size < len(SMALL):
            assert content_hash(data[:size]) is None


def test_seeds_are_whole() -> None:
    """Else the tests above would show little."""
    for data in SEEDS[:-1]:
        assert isinstance(embed(data, RIGHTS), bytes)
        strip_private(data)
    assert [content_hash(data) is not None for data in SEEDS] == [True] * len(SEEDS)
