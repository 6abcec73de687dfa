"""ExifTool reads everything that was written, and finds all else as it was.

ExifTool is the tool that picture archives use, and shares no code with this project.  It has to be installed
(Debian: ``libimage-exiftool-perl``); without it these tests fail rather than say nothing.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ledger.images.embed import Rights, embed, sidecar, strip_private
from tests.support import decoders
from tests.support import pictures as p

RIGHTS = Rights(**p.RIGHTS)
DMI = "http://ns.useplus.org/ldf/vocab/"
EXPECTED = {
    "XMP-dc:Creator": p.RIGHTS["creator_name"],
    "XMP-dc:Rights": p.RIGHTS["rights_line"],
    "XMP-xmpRights:Marked": True,
    "XMP-xmpRights:WebStatement": p.RIGHTS["license_url"],
    "XMP-xmpRights:UsageTerms": p.RIGHTS["usage_terms"],
    "XMP-plus:DataMining": DMI + p.RIGHTS["data_mining"],
    "XMP-plus:LicensorName": p.RIGHTS["licensor_name"],
    "XMP-plus:LicensorURL": p.RIGHTS["licensor_url"],
    "XMP-plus:ModelReleaseStatus": p.RIGHTS["model_release"],
    "XMP-plus:PropertyReleaseStatus": p.RIGHTS["property_release"],
    "XMP-photoshop:Credit": p.RIGHTS["credit"],
    "XMP-iptcExt:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    "XMP-trainmark:Creator_id": p.RIGHTS["creator_id"],
    "XMP-trainmark:License_id": p.RIGHTS["license_id"],
    "XMP-trainmark:License_digest": p.RIGHTS["license_digest"],
    "XMP-trainmark:Provenance_hash": p.RIGHTS["provenance_hash"],
    "XMP-trainmark:Attribution_url": p.RIGHTS["attribution_url"],
}
# Places in the file, and what follows from its length; everything else has to stay.
PLACES = (
    *("System:", "ExifTool:", "File:FileSize", "XMP", "IFD1:ThumbnailOffset", "IFD1:ThumbnailLength"),
    *("MPImage", "RIFF:WebP_Flags", "RIFF:ImageWidth", "RIFF:ImageHeight", "File:FileType", "SourceFile"),
)

SMALL = p.jpeg(width=16, height=16)
PROFILE: dict[str, Any] = {"icc_profile": p.icc()}
KEYWORDS = p.packet(
    "<dc:subject><rdf:Bag><rdf:li>cat</rdf:li><rdf:li>sofa</rdf:li></rdf:Bag></dc:subject>", 'xmp:Rating="4"'
)
EXTENDED = p.packet(
    "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>" + "long " * 30_000 + "</rdf:li></rdf:Alt>"
    "</dc:description>",
    wrapped=False,
)
NOTED = p.packet(
    "<dc:format>image/jpeg</dc:format>", f'xmpNote:HasExtendedXMP="{p.extension_segments(EXTENDED)[0][39:71].decode()}"'
)


def camera(orientation: int = 1, order: str = "<", **options: Any) -> bytes:
    block = p.exif_block(orientation, order, thumbnail=SMALL)
    return p.with_segments(p.jpeg(**PROFILE, **options), p.exif_segment(block), at=2)


FILES = {f"jpeg-orientation-{n}": camera(n, "<>"[n % 2]) for n in range(1, 9)}
FILES |= {
    "jpeg-plain": p.jpeg(),
    "jpeg-progressive": camera(progressive=True),
    "jpeg-gray": p.jpeg("L"),
    "jpeg-cmyk": p.with_segments(p.jpeg("CMYK"), p.exif_segment(p.exif_block())),
    "jpeg-iptc": p.with_segments(camera(), p.photoshop_segment(byline="Ada Lens", city="Rio"), at=3),
    "jpeg-mpf": p.mpo(camera(6), camera(3)),
    "jpeg-trailer": camera() + b"bytes behind the picture",
    "jpeg-xmp": p.with_segments(camera(), p.xmp_segment(KEYWORDS), at=3),
    "jpeg-xmp-mpf": p.mpo(p.with_segments(camera(), p.xmp_segment(KEYWORDS), at=3), SMALL),
    "jpeg-extended": p.with_segments(camera(), p.xmp_segment(NOTED), *p.extension_segments(EXTENDED), at=3),
    "png-plain": p.png(),
    "png-exif": p.with_png_chunks(p.png("RGBA", **PROFILE), (b"eXIf", p.exif_block(6))),
    "png-xmp": p.with_png_chunks(p.png(), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + KEYWORDS)),
    "webp-plain": p.webp(),
    "webp-lossless": p.webp("RGBA", lossless=True),
    "webp-exif": p.webp(exif=p.exif_block(6), xmp=KEYWORDS, **PROFILE),
    "webp-animated": p.animated_webp(**PROFILE),
}


def exiftool(path: Path, *options: str) -> dict[str, Any]:
    program = shutil.which("exiftool")
    if program is None:
        pytest.fail("exiftool is not installed (Debian: libimage-exiftool-perl)")
    command = [program, "-json", "-G1", "-a", "-u", "-struct", *options, str(path)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return dict(json.loads(done.stdout)[0])


def read(data: bytes, path: Path, *options: str) -> dict[str, Any]:
    path.write_bytes(data)
    return exiftool(path, *options)


def rest(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if not name.startswith(PLACES)}


@pytest.mark.parametrize("name", FILES)
def test_every_property_is_read_and_all_else_is_as_it_was(name: str, tmp_path: Path) -> None:
    data = FILES[name]
    file = tmp_path / f"picture.{name.partition('-')[0]}"
    before = read(data, file, "-b")
    result = embed(data, RIGHTS)
    after = read(result, file, "-b")
    assert rest(after) == rest(before)
    # Without -struct, so that the fields of Licensor have names of their own.
    flat = exiftool(file, "--struct", "-n")
    for key, value in EXPECTED.items():
        found = flat[key]
        assert found in (value, DMI + str(value)), key
    old = {
        key for key in before if key.startswith("XMP") and key not in ("XMP-x:XMPToolkit", "XMP-xmpNote:HasExtendedXMP")
    }
    assert {key: after[key] for key in old} == {key: before[key] for key in old}
    assert "ExifTool:Error" not in after
    assert after.get("ExifTool:Warning") == before.get("ExifTool:Warning")
    for decode in (decoders.pillow, decoders.opencv):
        assert decode(result) == decode(data)
    with Image.open(io.BytesIO(data)) as old_image, Image.open(io.BytesIO(result)) as new_image:
        assert new_image.info.get("icc_profile") == old_image.info.get("icc_profile")
        assert dict(new_image.getexif()) == dict(old_image.getexif())
        assert new_image.format == old_image.format


@pytest.mark.parametrize("name", ["jpeg-mpf", "jpeg-xmp-mpf"])
def test_the_second_picture_of_an_mpf_file_is_found(name: str, tmp_path: Path) -> None:
    pictures = []
    for data in (FILES[name], embed(FILES[name], RIGHTS)):
        file = tmp_path / "picture.jpg"
        file.write_bytes(data)
        command = ["exiftool", "-b", "-MPImage2", str(file)]
        pictures.append(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert len(pictures[0]) > 300
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.startswith(("jpeg-or", "jpeg-mpf", "png-exif", "webp-exif"))]
)
def test_no_place_or_serial_number_is_left(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"picture.{name.partition('-')[0]}"
    before = read(FILES[name], file, "-b", "-ee")
    stripped, names = strip_private(FILES[name])
    after = read(stripped, file, "-b", "-ee")
    assert "Exif:GPS" in names
    private = ("GPS", "ExifIFD:SerialNumber", "ExifIFD:LensSerialNumber", "ExifIFD:OwnerName", "Composite:GPS")
    assert [key for key in before if key.startswith(private)]
    assert not [key for key in after if key.startswith(private)]
    volatile = ("System:", "MPImage2:", *private)
    assert {key: value for key, value in after.items() if not key.startswith(volatile)} == {
        key: value for key, value in before.items() if not key.startswith(volatile)
    }


def test_structures_are_valid(tmp_path: Path) -> None:
    """``-validate`` finds no more than it found before."""
    for name in ("jpeg-orientation-1", "jpeg-iptc", "png-exif", "webp-exif", "jpeg-extended"):
        file = tmp_path / f"picture.{name.partition('-')[0]}"
        counts = []
        for data in (FILES[name], embed(FILES[name], RIGHTS), strip_private(FILES[name])[0]):
            file.write_bytes(data)
            found = subprocess.run(
                ["exiftool", "-validate", "-warning", "-a", "-s3", str(file)],
                capture_output=True,
                check=True,
                timeout=60,
            )
            counts.append([line for line in found.stdout.decode().splitlines()[1:] if "MakerNotes" not in line])
        assert set(counts[1]) <= set(counts[0])
        assert set(counts[2]) <= set(counts[0])


def test_content_hash_survives_exiftool(tmp_path: Path) -> None:
    from ledger.images.content import content_hash

    for name in ("jpeg-orientation-1", "jpeg-progressive", "jpeg-cmyk", "jpeg-iptc", "png-exif", "png-xmp"):
        file = tmp_path / f"picture.{name.partition('-')[0]}"
        for options in (["-all="], ["-artist=Somebody", "-xmp:rating=5", "-comment=hello"]):
            file.write_bytes(FILES[name])
            subprocess.run(
                ["exiftool", "-q", "-m", "-overwrite_original", *options, str(file)],
                check=True,
                timeout=60,
                capture_output=True,
            )
            assert file.read_bytes() != FILES[name]
            assert content_hash(file.read_bytes()) == content_hash(FILES[name]) is not None


def test_a_sidecar_is_read(tmp_path: Path) -> None:
    found = read(sidecar(RIGHTS), tmp_path / "picture.gif.xmp", "--struct", "-n")
    for key, value in EXPECTED.items():
        assert found[key] in (value, DMI + str(value)), key
