"""Places, serial numbers and owner names leave a file; nothing else does, and nothing moves."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from ledger.errors import MalformedError, RefusedError
from ledger.images import exif
from ledger.images.content import content_hash
from ledger.images.embed import Rights, embed, strip_private
from ledger.images.picture import open_picture
from tests.support import decoders
from tests.support import pictures as p

ALL = ("Exif:GPS", "Exif:CameraOwnerName", "Exif:BodySerialNumber", "Exif:LensSerialNumber")
XMP = p.packet("<exif:GPSLatitude>30,15N</exif:GPSLatitude>", 'aux:SerialNumber="SN-00012345" xmp:Rating="3"')
XMP_NAMES = ("XMP:aux:SerialNumber", "XMP:exif:GPSLatitude")
THUMBNAIL = p.jpeg(width=16, height=16)
BLOCK = p.exif_block(6, thumbnail=THUMBNAIL)
CAMERA = p.with_segments(p.jpeg(icc_profile=p.icc()), p.exif_segment(BLOCK), at=2)
SECRETS = (
    b"SN-00012345",
    b"LENS-777",
    b"Grace Owner",
    b"30,15N",
    struct.pack("<II", 40, 1) + struct.pack("<II", 30, 1),
)
FILES = {
    "jpeg": (CAMERA, ALL),
    "jpeg-xmp": (p.with_segments(CAMERA, p.xmp_segment(XMP), at=3), ALL + XMP_NAMES),
    "jpeg-mpo": (p.mpo(CAMERA, p.with_segments(CAMERA, p.xmp_segment(XMP), at=3)), ALL + XMP_NAMES),
    "png": (p.with_png_chunks(p.png(), (b"eXIf", BLOCK)), ALL),
    "png-xmp": (p.with_png_chunks(p.png(), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), XMP_NAMES),
    "webp": (p.webp(exif=b"Exif\0\0" + BLOCK, xmp=XMP), ALL + XMP_NAMES),
    "webp-bare": (p.webp(exif=BLOCK), ALL),
}
for _kind in ("exif", "APP1"):
    _text = p.raw_profile(_kind, b"Exif\0\0" + BLOCK)
    _keyword = f"Raw profile type {_kind}\0".encode()
    FILES[f"png-profile-{_kind}"] = (p.with_png_chunks(p.png(), (b"tEXt", _keyword + _text)), ALL)
    FILES[f"png-packed-{_kind}"] = (p.with_png_chunks(p.png(), (b"zTXt", _keyword + b"\0" + zlib.compress(_text))), ALL)


def exif_of(data: bytes) -> Image.Exif:
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif()


@pytest.mark.parametrize("name", FILES)
def test_everything_private_goes_and_nothing_else(name: str) -> None:
    data, expected = FILES[name]
    stripped, names = strip_private(data)
    assert set(names) == set(expected)
    assert len(names) == len(set(names))
    assert strip_private(stripped) == (stripped, ())
    assert content_hash(stripped) == content_hash(data)
    assert decoders.pillow(stripped) == decoders.pillow(data)
    for block in [stripped, *open_picture(stripped, writing=True).exif()]:
        assert not [secret for secret in SECRETS if secret in block]
    if "Exif:GPS" in names and "APP1" not in name:  # Pillow does not read that profile
        before, after = exif_of(data), exif_of(stripped)
        assert dict(after) == {tag: value for tag, value in before.items() if tag != 0x8825}
        inner = {tag: v for tag, v in before.get_ifd(0x8769).items() if tag not in (0xA430, 0xA431, 0xA435)}
        assert after.get_ifd(0x8769) == inner
        assert 0x927C in inner
        assert after.get_ifd(0x8825) == {}


@pytest.mark.parametrize("name", ["jpeg", "jpeg-xmp", "jpeg-mpo", "png", "webp-bare"])
def test_nothing_moves(name: str) -> None:
    data, _ = FILES[name]
    stripped, _ = strip_private(data)
    assert len(stripped) == len(data)
    for mark in (b"MAKER\0\0\1", b"EX 35mm F2", THUMBNAIL):
        assert stripped.find(mark) == data.find(mark)


@pytest.mark.parametrize("order", ["<", ">"])
def test_block_stays_as_long_and_keeps_its_other_entries(order: str) -> None:
    block = p.exif_block(8, order=order, artist=b"Ada", thumbnail=THUMBNAIL)
    stripped, names = exif.strip(block)
    assert names == ALL
    assert len(stripped) == len(block)
    assert exif.rights(stripped) == {"Exif:Artist": "Ada"}
    assert stripped.endswith(THUMBNAIL)


def test_files_without_findings_come_back_as_they_are() -> None:
    block = p.exif_block(gps=False, serial=False)
    for data in (p.jpeg(), p.png(), p.webp(), p.with_segments(p.jpeg(), p.exif_segment(block))):
        assert strip_private(data) == (data, ())


def test_gps_that_gives_only_its_version_is_no_finding() -> None:
    version = p.directory({0: (1, b"\2\3\0\0")}, 8 + 18)
    block = p.tiff_header("<", 8) + p.directory({0x8825: (4, [8 + 18])}, 8) + version
    assert exif.strip(block) == (block, ())


def test_values_shared_with_other_entries_are_not_zeroed() -> None:
    entries: p.Directory = {0x010F: (2, b"A shared text\0"), 0xA431: (2, b"A shared text\0")}
    block = bytearray(p.tiff_header("<", 8) + p.directory(entries, 8))
    block[8 + 2 + 12 + 8 : 8 + 2 + 24] = block[8 + 2 + 8 : 8 + 2 + 12]
    with pytest.raises(MalformedError, match="shares"):
        exif.strip(bytes(block))


@pytest.mark.parametrize("offset", [8, 4, 100_000, 0xFFFFFFFF])
def test_damaged_directories_are_refused(offset: int) -> None:
    block = p.tiff_header("<", 8) + p.directory({0x8825: (4, [offset])}, 8)
    if offset == 8:
        block = p.tiff_header("<", 8) + p.directory({0x0112: (3, [1])}, 8, following=8)
    with pytest.raises(MalformedError):
        strip_private(p.with_segments(p.jpeg(), p.exif_segment(block)))


def test_stripping_and_embedding_commute() -> None:
    rights = Rights(**p.RIGHTS)
    data = FILES["jpeg-xmp"][0]
    one = embed(strip_private(data)[0], rights)
    other = strip_private(embed(data, rights))[0]
    assert open_picture(one, writing=True).exif() == open_picture(other, writing=True).exif()
    assert b"SerialNumber" not in one + other
    assert b"GPS" not in one + other


def test_other_types_are_refused() -> None:
    with pytest.raises(RefusedError):
        strip_private(p.encoded(p.drawing(), "TIFF"))
