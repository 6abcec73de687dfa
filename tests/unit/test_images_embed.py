"""Rights go in without a change to the picture, are read back, and never replace somebody else's."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from ledger.errors import ConflictError, MalformedError, RefusedError
from ledger.images import jpeg, xmp
from ledger.images.content import content_hash
from ledger.images.embed import Rights, embed, is_own_name, read_rights, sidecar
from ledger.images.picture import open_picture
from tests.support import decoders
from tests.support import pictures as p

RIGHTS = Rights(**p.RIGHTS)
CAMERA = p.with_segments(
    p.jpeg(icc_profile=p.icc()), p.exif_segment(p.exif_block(6, thumbnail=p.jpeg(width=16, height=16))), at=2
)
KEYWORDS = p.packet(
    "<dc:subject><rdf:Bag><rdf:li>cat</rdf:li></rdf:Bag></dc:subject><xmp:Label>Red &amp; blue</xmp:Label>",
    'xmp:Rating="4"',
)


def in_jpeg(packet: bytes) -> bytes:
    return p.with_segments(p.jpeg(), p.xmp_segment(packet))


def in_png(packet: bytes) -> bytes:
    return p.with_png_chunks(p.png(), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))


def in_webp(packet: bytes) -> bytes:
    return p.join_webp([p.vp8x(4), *p.split_webp(p.webp()), (b"XMP ", packet)])


FILES = {
    "jpeg": p.jpeg(),
    "jpeg-progressive": p.jpeg(progressive=True),
    "jpeg-cmyk": p.jpeg("CMYK"),
    "jpeg-camera": CAMERA,
    "jpeg-mpo": p.mpo(CAMERA, CAMERA),
    "jpeg-mpo-xmp": p.mpo(p.with_segments(CAMERA, p.xmp_segment(KEYWORDS), at=3), p.jpeg(seed=2)),
    "jpeg-trailer": CAMERA + b"a preview that maker notes point to",
    "jpeg-xmp": in_jpeg(KEYWORDS),
    "png": p.png(),
    "png-16": p.png("I;16"),
    "png-palette": p.png("P"),
    "png-animated": p.encoded(p.drawing(), "PNG", save_all=True, append_images=[p.drawing(seed=2)]),
    "png-xmp": in_png(KEYWORDS),
    "png-exif": p.with_png_chunks(p.png("RGBA", icc_profile=p.icc()), (b"eXIf", p.exif_block(3))),
    "webp": p.webp(),
    "webp-lossless-alpha": p.webp("RGBA", lossless=True),
    "webp-alpha": p.webp("RGBA"),
    "webp-animated": p.animated_webp(),
    "webp-xmp": in_webp(KEYWORDS),
    "webp-exif": p.webp(exif=b"Exif\0\0" + p.exif_block(8), icc_profile=p.icc()),
}


@pytest.mark.parametrize("name", FILES)
def test_embed_changes_nothing_but_xmp(name: str) -> None:
    data = FILES[name]
    result = embed(data, RIGHTS)
    assert result != data
    assert content_hash(result) == content_hash(data)
    for decode in (decoders.pillow, decoders.opencv):
        assert decode(result) == decode(data)
    assert read_rights(result) == read_rights(data) | xmp.values(RIGHTS)
    before, after = open_picture(data, writing=True), open_picture(result, writing=True)
    assert after.exif() == before.exif()
    assert embed(result, RIGHTS) == result


@pytest.mark.parametrize("name", FILES)
def test_embedding_other_rights_of_the_same_creator_replaces_them(name: str) -> None:
    first = embed(FILES[name], replace(RIGHTS, data_mining="DMI-ALLOWED", license_url="https://old.example/"))
    second = embed(first, RIGHTS)
    assert read_rights(second) == read_rights(embed(FILES[name], RIGHTS))
    assert b"old.example" in first
    assert b"old.example" not in second


@pytest.mark.parametrize("wrap", [in_jpeg, in_png, in_webp])
def test_other_metadata_in_xmp_are_kept(wrap: Any) -> None:
    rdf = open_picture(embed(wrap(KEYWORDS), RIGHTS), writing=True).xmp()
    text = "".join(rdf.itertext())
    assert "cat" in text
    assert "Red & blue" in text
    assert any(node.get("{http://ns.adobe.com/xap/1.0/}Rating") == "4" for node in rdf)


def test_properties_left_empty_keep_what_the_file_has() -> None:
    source = '<plus:Licensor><rdf:Seq><rdf:li rdf:parseType="Resource"><plus:LicensorName>Box</plus:LicensorName>'
    data = in_jpeg(p.packet(source + "</rdf:li></rdf:Seq></plus:Licensor><photoshop:Credit>Agency</photoshop:Credit>"))
    result = embed(data, replace(RIGHTS, credit="", licensor_name="", licensor_url="", digital_source_type=None))
    found = read_rights(result)
    assert found["photoshop:Credit"] == "Agency"
    assert found["plus:LicensorName"] == "Box"
    assert "Iptc4xmpExt:DigitalSourceType" not in found


# Conflicts

CREATOR = "<dc:creator><rdf:Seq><rdf:li>Somebody Else</rdf:li></rdf:Seq></dc:creator>"
CONFLICTS = {
    "dc:creator": CREATOR,
    "dc:rights": '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© S. Else</rdf:li></rdf:Alt></dc:rights>',
    "xmpRights:Marked": "<xmpRights:Marked>False</xmpRights:Marked>",
    "xmpRights:WebStatement": '<xmpRights:WebStatement rdf:resource="https://else.example/"/>',
    "xmpRights:UsageTerms": '<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">'
    + p.RIGHTS["usage_terms"]
    + '</rdf:li><rdf:li xml:lang="de">Nur mit Erlaubnis</rdf:li></rdf:Alt></xmpRights:UsageTerms>',
    "xmpRights:Owner": "<xmpRights:Owner><rdf:Bag><rdf:li>Else Ltd</rdf:li></rdf:Bag></xmpRights:Owner>",
    "plus:DataMining": "<plus:DataMining>http://ns.useplus.org/ldf/vocab/DMI-ALLOWED</plus:DataMining>",
    "plus:LicensorURL": '<plus:Licensor><rdf:Seq><rdf:li rdf:parseType="Resource"><plus:LicensorURL>https://else.example/'
    "</plus:LicensorURL></rdf:li></rdf:Seq></plus:Licensor>",
    "photoshop:Credit": "<photoshop:Credit>Agency</photoshop:Credit>",
    "plus:ModelReleaseStatus": "<plus:ModelReleaseStatus>http://ns.useplus.org/ldf/vocab/MR-UMR</plus:ModelReleaseStatus>",
    "trainmark:creator_id": '<t:creator_id xmlns:t="urn:trainmark:xmp:1/">did:key:z6Mkother</t:creator_id>',
}


@pytest.mark.parametrize("wrap", [in_jpeg, in_png, in_webp])
@pytest.mark.parametrize("name", CONFLICTS)
def test_a_differing_value_is_a_conflict(name: str, wrap: Any) -> None:
    data = wrap(p.packet(CONFLICTS[name]))
    with pytest.raises(ConflictError) as caught:
        embed(data, RIGHTS)
    assert (caught.value.code, caught.value.field) == ("rights_conflict", name)
    assert xmp.values(RIGHTS).items() <= read_rights(embed(data, RIGHTS, decided=[name])).items()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Exif:Artist", p.with_segments(p.jpeg(), p.exif_segment(p.exif_block(artist=b"S. Else")))),
        ("Exif:Copyright", p.with_segments(p.jpeg(), p.exif_segment(p.exif_block(order=">", copyright=b"S. Else")))),
        ("IPTC:By-line", p.with_segments(p.jpeg(), p.photoshop_segment(byline="S. Else"))),
        ("IPTC:CopyrightNotice", p.with_segments(p.jpeg(), p.photoshop_segment(city="Rio", copyright="S. Else"))),
        ("IPTC:Credit", p.with_segments(p.jpeg(), p.photoshop_segment(credit="Agency"))),
        ("Exif:Artist", p.with_png_chunks(p.png(), (b"eXIf", p.exif_block(artist=b"S. Else")))),
        ("Exif:Artist", p.webp(exif=p.exif_block(artist=b"S. Else"))),
        ("PNG:Author", p.with_png_chunks(p.png(), (b"tEXt", b"Author\0S. Else"))),
        ("PNG:Copyright", p.with_png_chunks(p.png(), (b"iTXt", "Copyright\0\0\0\0\0© S. Else".encode()))),
        (
            "IPTC:By-line",
            p.with_png_chunks(
                p.png(),
                (
                    b"tEXt",
                    b"Raw profile type iptc\0" + p.raw_profile("iptc", p.photoshop_segment(byline="S. Else")[18:]),
                ),
            ),
        ),
    ],
)
def test_differing_values_outside_xmp_are_conflicts_and_stay(name: str, data: bytes) -> None:
    with pytest.raises(ConflictError) as caught:
        embed(data, RIGHTS)
    assert (caught.value.code, caught.value.field) == ("rights_conflict", name)
    result = embed(data, RIGHTS, decided={name})
    assert read_rights(result)[name] == read_rights(data)[name]


def test_equal_values_are_no_conflict_in_whatever_form() -> None:
    ada = p.RIGHTS["creator_name"].encode()
    line = p.RIGHTS["rights_line"]
    data = p.with_segments(
        p.jpeg(),
        p.exif_segment(p.exif_block(artist=ada, copyright=line.encode() + b"\0the editor")),
        p.xmp_segment(
            p.packet(
                "<dc:creator>Ada Lens</dc:creator><xmpRights:Marked>true</xmpRights:Marked>",
                f'dc:rights="{line}" xmpRights:WebStatement="{p.RIGHTS["license_url"]}"',
            )
        ),
        p.photoshop_segment(byline="Ada Lens", copyright=line, credit=p.RIGHTS["credit"]),
    )
    assert xmp.values(RIGHTS).items() <= read_rights(embed(data, RIGHTS)).items()


OWN = (
    "Sam Example",
    "SAM  EXAMPLE",
    "© Sam Example",
    "(c) Sam Example",
    "(C) 2019-2026 Sam Example. All rights reserved.",
    "Copyright © 2026 by Sam Example",
    "Copyright Sam Example 2026, All Rights Reserved",
    "Sam Example, 2026",
)
OTHERS = (
    "Other Person",
    "Sam Example and Other Person",
    "Sam Example & Other Person",
    "Sam Example & Co",
    "Sam Example Photography",
    "Not Sam Example",
    "Sam",
    "© 2026",
    "",
    "Copyright",
    "Sam Examples",
    "Sam Example 77",
    "2026Sam Example",
    "S\u0430m Example",  # a Cyrillic letter
    "Sam\u200bExample",
    "Sam Example\u202e",
    "Sam Example" + 2000 * " ",
)


@pytest.mark.parametrize("text", OWN)
def test_a_name_in_a_notice_is_still_the_name(text: str) -> None:
    assert is_own_name(text, ["Sam Example"])
    assert is_own_name(text.replace("Sam", "Jo\u0308rg").replace("SAM", "JÖRG"), ["Sam", "Jörg Example"])


@pytest.mark.parametrize("text", OTHERS)
def test_any_other_word_is_somebody_else(text: str) -> None:
    assert not is_own_name(text, ["Sam Example"])
    assert not is_own_name(text, [])


def test_a_name_of_notice_words_is_the_name() -> None:
    assert is_own_name("(c) 2020 Studio 2000", ["Studio 2000"])
    assert not is_own_name("(c) 2020 Studio 2001", ["Studio 2000"])
    assert is_own_name("Copyright Bureau", ["Copyright Bureau"])


def with_notices(name: str) -> dict[str, bytes]:
    """Files that name the same person wherever a name can stand, as cameras and editors write it."""
    notice = f"(c) 2024 {name}"
    block = p.exif_block(artist=name.encode(), copyright=notice.encode())
    elements = (
        f"<dc:creator><rdf:Seq><rdf:li>{name}</rdf:li></rdf:Seq></dc:creator>"
        f"<xmpRights:Owner><rdf:Bag><rdf:li>{name}</rdf:li></rdf:Bag></xmpRights:Owner>"
    )
    packet = p.packet(elements, f'dc:rights="{notice}" photoshop:Credit="{name}"')
    return {
        "jpeg": p.with_segments(
            p.jpeg(),
            p.exif_segment(block),
            p.xmp_segment(packet),
            p.photoshop_segment(byline=name, copyright=notice, credit=name),
        ),
        "png": p.with_png_chunks(
            p.png(),
            (b"eXIf", block),
            (b"tEXt", f"Author\0{name}".encode()),
            (b"tEXt", f"Copyright\0{notice}".encode()),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet),
        ),
        "webp": p.webp(exif=block),
    }


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_the_creators_own_notices_are_no_conflict(kind: str) -> None:
    data = with_notices(RIGHTS.creator_name.upper())[kind]
    before, after = read_rights(data), read_rights(embed(data, RIGHTS))
    assert xmp.values(RIGHTS).items() <= after.items()
    outside = {name for name in before if name.startswith(("Exif:", "IPTC:", "PNG:"))} | {"xmpRights:Owner"} & set(
        before
    )
    assert {name: after[name] for name in outside} == {name: before[name] for name in outside}
    assert len(outside) >= 2
    known = embed(with_notices("A. Lens Photography")[kind], RIGHTS, also_known_as=["A. Lens Photography"])
    assert xmp.values(RIGHTS).items() <= read_rights(known).items()
    with pytest.raises(ConflictError):
        embed(with_notices("A. Lens Photography")[kind], RIGHTS, also_known_as=["A. Lens"])


def test_one_stranger_beside_the_own_name_is_a_conflict() -> None:
    both = "<dc:creator><rdf:Seq><rdf:li>ADA LENS</rdf:li><rdf:li>Eve</rdf:li></rdf:Seq></dc:creator>"
    with pytest.raises(ConflictError) as caught:
        embed(in_jpeg(p.packet(both)), RIGHTS)
    assert caught.value.field == "dc:creator"


def test_a_name_is_none_where_something_else_stands() -> None:
    for packet in (p.packet("<xmpRights:WebStatement>Ada Lens</xmpRights:WebStatement>"),
                   p.packet('<t:creator_id xmlns:t="urn:trainmark:xmp:1/">Ada Lens</t:creator_id>')):  # fmt: skip
        with pytest.raises(ConflictError):
            embed(in_jpeg(packet), RIGHTS)


def test_a_stranger_named_outside_xmp_stays_a_conflict_after_our_own_packet() -> None:
    ours = embed(p.jpeg(), RIGHTS)
    data = p.with_segments(ours, p.photoshop_segment(byline="S. Else"), at=2)
    with pytest.raises(ConflictError, match="By-line"):
        embed(data, RIGHTS)


def test_every_conflict_is_named() -> None:
    data = in_jpeg(p.packet(CREATOR + CONFLICTS["dc:rights"]))
    with pytest.raises(ConflictError, match=r"dc:creator.*also dc:rights"):
        embed(data, RIGHTS)


# Where it goes in a JPEG


def test_packet_follows_exif_and_precedes_it_only_before_a_trailer() -> None:
    def order(data: bytes) -> list[str]:
        walked = jpeg.walk(data)
        packets = {s.start for s in jpeg.packet_segments(data, walked)}
        return ["xmp" if s.start in packets else f"{s.marker:x}" for s in walked.segments][:4]

    assert order(embed(CAMERA, RIGHTS)) == ["e0", "e1", "xmp", "e2"]
    assert order(embed(CAMERA + b"trailer", RIGHTS)) == ["e0", "xmp", "e1", "e2"]
    assert order(embed(p.without_segments(CAMERA, 0xE0), RIGHTS)) == ["e1", "xmp", "e2", "db"]


@pytest.mark.parametrize("packet", [None, KEYWORDS, KEYWORDS.replace(b" " * 200, b" " * 9000)])
def test_nothing_moves_between_exif_and_trailer(packet: bytes | None) -> None:
    """Sony's maker notes give the place of a preview behind EOI, counted from the Exif header."""
    head = p.with_segments(CAMERA, p.xmp_segment(packet), at=3) if packet else CAMERA
    data = head + b"PREVIEW"
    for result in (embed(data, RIGHTS), embed(embed(data, RIGHTS), replace(RIGHTS, usage_terms="x" * 3000))):
        distance = [d.index(b"PREVIEW") - d.index(b"Exif\0\0") for d in (data, result)]
        assert distance[0] == distance[1]


@pytest.mark.parametrize("name", ["jpeg-mpo", "jpeg-mpo-xmp"])
def test_mpf_index_stays_right(name: str) -> None:
    data = FILES[name]
    result = embed(data, RIGHTS)
    [(start, end)] = jpeg.mpf_images(result, jpeg.walk(result))
    [(old_start, old_end)] = jpeg.mpf_images(data, jpeg.walk(data))
    assert result[start:end] == data[old_start:old_end]
    header = result.index(b"MPF\0") + 4
    size = struct.unpack_from("<I", result, header + 50 + 4)[0]
    assert size == jpeg.walk(result).end


def test_extended_xmp_is_put_together_merged_and_written_again() -> None:
    large = "<xmp:Large>" + "large value " * 20_000 + "</xmp:Large>"
    extended = p.packet(large + "<xmp:Small>small value</xmp:Small>", wrapped=False)
    guid = extension_guid(extended)
    main = p.packet("<dc:format>image/jpeg</dc:format>", f'xmpNote:HasExtendedXMP="{guid}"')
    data = p.with_segments(p.jpeg(), p.xmp_segment(main), *p.extension_segments(extended))
    result = embed(data, RIGHTS)
    assert embed(result, RIGHTS) == result
    picture = open_picture(result, writing=True)
    assert xmp.parse(picture.packets()).find(".//{*}Large") is None
    rdf = picture.xmp()
    assert rdf.findtext(".//{*}Large") == "large value " * 20_000
    assert rdf.findtext(".//{*}Small") == "small value"
    assert rdf.findtext(".//{*}format") == "image/jpeg"
    assert decoders.pillow(result) == decoders.pillow(data)
    shorter = embed(p.with_segments(p.jpeg(), p.xmp_segment(main), *p.extension_segments(extended, 9000)), RIGHTS)
    assert shorter == result


def extension_guid(extended: bytes) -> str:
    [first, *_] = p.extension_segments(extended)
    return first[4 + 35 : 4 + 35 + 32].decode()


@pytest.mark.parametrize("damage", ["missing", "missing-part", "changed", "twice", "length"])
def test_damaged_extended_xmp_is_refused(damage: str) -> None:
    extended = p.packet("<xmp:Large>" + "x" * 100_000 + "</xmp:Large>", wrapped=False)
    segments = p.extension_segments(extended)
    main = p.packet("", f'xmpNote:HasExtendedXMP="{extension_guid(extended)}"')
    segments = {
        "missing": [],
        "missing-part": segments[:-1],
        "changed": [segments[0].replace(b"xxx", b"xyx", 1), *segments[1:]],
        "twice": [*segments, segments[-1]],
        "length": [part.replace(len(extended).to_bytes(4, "big"), b"\0\1\0\0", 1) for part in segments],
    }[damage]
    with pytest.raises(MalformedError, match="ExtendedXMP"):
        embed(p.with_segments(p.jpeg(), p.xmp_segment(main), *segments), RIGHTS)


def test_large_packet_without_extension_gets_one() -> None:
    data = in_jpeg(p.packet("<xmp:Large>" + "y" * 63_800 + "</xmp:Large>"))
    result = embed(data, RIGHTS)
    assert b"HasExtendedXMP" in result
    assert embed(result, RIGHTS) == result


def test_misnamed_packet_is_found_and_replaced() -> None:
    misnamed = p.segment(0xE1, b"XMP\0://ns.adobe.com/xap/1.0/\0" + KEYWORDS)
    result = embed(p.with_segments(p.jpeg(), misnamed), RIGHTS)
    assert len(jpeg.packet_segments(result, jpeg.walk(result))) == 1
    assert "cat" in "".join(open_picture(result, writing=True).xmp().itertext())


def test_several_packets_become_one() -> None:
    second = p.packet("<dc:format>image/jpeg</dc:format>")
    result = embed(
        p.with_segments(p.jpeg(), p.xmp_segment(KEYWORDS), p.photoshop_segment(), p.xmp_segment(second)), RIGHTS
    )
    assert len(jpeg.packet_segments(result, jpeg.walk(result))) == 1
    text = "".join(open_picture(result, writing=True).xmp().itertext())
    assert "cat" in text
    assert "image/jpeg" in text


def test_png_packets_behind_idat_or_compressed_become_one_before_it() -> None:
    import zlib

    packed = (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(KEYWORDS))
    profile = (b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(p.raw_profile("xmp", KEYWORDS)))
    for chunk in (packed, profile):
        result = embed(p.with_png_chunks(p.png(), chunk, before=b"IEND"), RIGHTS)
        kinds = [kind for kind, body in p.split_png(result)]
        assert kinds == [b"IHDR", b"iTXt", *[b"IDAT"] * kinds.count(b"IDAT"), b"IEND"]
        assert "cat" in "".join(open_picture(result, writing=True).xmp().itertext())


# Refusals, sidecars, reading


@pytest.mark.parametrize("format", ["GIF", "TIFF", "AVIF", "BMP"])
def test_other_types_are_refused(format: str) -> None:
    with pytest.raises(RefusedError) as caught:
        embed(p.encoded(p.drawing(), format), RIGHTS)
    assert caught.value.code == "unsupported-media"


@pytest.mark.parametrize("name", FILES)
def test_cut_files_are_refused(name: str) -> None:
    data = FILES[name]
    for size in (len(data) // 3, len(data) // 2):
        with pytest.raises(MalformedError):
            embed(data[:size], RIGHTS)


def test_sidecar_holds_the_rights() -> None:
    assert xmp.flat(xmp.read(xmp.parse([sidecar(RIGHTS)]))) == xmp.values(RIGHTS)


def test_rights_of_a_tiff_are_read() -> None:
    entries, strips, order = p.split_tiff(p.encoded(p.drawing(), "TIFF"))
    iptc = p.photoshop_segment(byline="By Line")[30:]
    data = p.tiff(
        {**entries, 315: (2, b"An Artist\0"), 700: (1, p.packet(CREATOR)), 33723: (7, iptc[iptc.index(b"\x1c") :])},
        strips,
        order,
    )
    assert read_rights(data) == {"dc:creator": "Somebody Else", "Exif:Artist": "An Artist", "IPTC:By-line": "By Line"}


def test_reading_gives_the_most_restrictive_of_conflicting_values() -> None:
    two = "".join(
        f"<plus:DataMining>http://ns.useplus.org/ldf/vocab/{value}</plus:DataMining>"
        for value in ("DMI-ALLOWED", "DMI-PROHIBITED-AIMLTRAINING", "DMI-UNSPECIFIED")
    )
    reservation = ' xmlns:tdm="http://www.w3.org/ns/tdmrep/"'
    data = in_jpeg(
        p.packet(two + f"<tdm:reservation{reservation}>0</tdm:reservation>", reservation + ' tdm:reservation="1"')
    )
    found = read_rights(data)
    assert found["plus:DataMining"].endswith("/DMI-PROHIBITED-AIMLTRAINING")
    assert found["tdm:reservation"] == "1"


def test_reading_a_damaged_packet_is_refused() -> None:
    with pytest.raises(MalformedError):
        read_rights(in_jpeg(KEYWORDS[:300]))
    with pytest.raises(RefusedError):
        read_rights(p.encoded(p.drawing(), "GIF"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("creator_name", "two\nlines"),
        ("creator_name", "\x00"),
        ("credit", "x" * 4097),
        ("usage_terms", "\ud800"),
        ("usage_terms", "\uffff"),
        ("data_mining", "ALLOWED"),
        ("model_release", "PR-NAP"),
        ("property_release", "yes"),
        ("digital_source_type", "digital capture"),
        ("creator_id", ""),
        ("license_id", None),
    ],
)
def test_rights_are_checked(field: str, value: object) -> None:
    with pytest.raises(MalformedError) as caught:
        Rights(**(p.RIGHTS | {field: value}))  # type: ignore[arg-type]
    assert caught.value.field == field
