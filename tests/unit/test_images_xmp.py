"""XMP in all the forms that writers use, and none of the attacks that XML allows."""

from __future__ import annotations

import time

import pytest

from ledger.errors import MalformedError, RefusedError
from ledger.images import xmp
from tests.support import pictures as p

RIGHTS = xmp.Rights(**p.RIGHTS)
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
RIGHTS_NS = 'xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
URL = "https://else.example/"

FORMS = {
    "attribute": p.packet("", f'xmpRights:WebStatement="{URL}"'),
    "element": p.packet(f"<xmpRights:WebStatement>{URL}</xmpRights:WebStatement>"),
    "white-space": p.packet(f"<xmpRights:WebStatement>\n  {URL}\n</xmpRights:WebStatement>"),
    "cdata": p.packet(f"<xmpRights:WebStatement><![CDATA[{URL}]]></xmpRights:WebStatement>"),
    "resource": p.packet(f'<xmpRights:WebStatement rdf:resource="{URL}"/>'),
    "value": p.packet(
        f'<xmpRights:WebStatement rdf:parseType="Resource"><rdf:value>{URL}</rdf:value>'
        "<xmp:Label>qualifier</xmp:Label></xmpRights:WebStatement>"
    ),
    "value-attribute": p.packet(f'<xmpRights:WebStatement rdf:value="{URL}" xmp:Label="qualifier"/>'),
    "bag": p.packet(f"<xmpRights:WebStatement><rdf:Bag><rdf:li>{URL}</rdf:li></rdf:Bag></xmpRights:WebStatement>"),
    "bare-rdf": f'<rdf:RDF {RDF}><rdf:Description {RIGHTS_NS} xmpRights:WebStatement="{URL}"/></rdf:RDF>'.encode(),
    "xapmeta": f'<x:xapmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description {RIGHTS_NS}>'
    f"<xmpRights:WebStatement>{URL}</xmpRights:WebStatement></rdf:Description></rdf:RDF></x:xapmeta>".encode(),
    "two-descriptions": f'<rdf:RDF {RDF}><rdf:Description rdf:about=""/><rdf:Description {RIGHTS_NS} rdf:about="">'
    f"<xmpRights:WebStatement>{URL}</xmpRights:WebStatement></rdf:Description></rdf:RDF>".encode(),
    "typed-node": f'<rdf:RDF {RDF}><t:Thing xmlns:t="urn:t" {RIGHTS_NS}'
    f' xmpRights:WebStatement="{URL}"/></rdf:RDF>'.encode(),
    "other-prefix": f'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description'
    f' xmlns:q="http://ns.adobe.com/xap/1.0/rights/" q:WebStatement="{URL}"/></r:RDF>'.encode(),
    "comment": p.packet(f"<xmpRights:WebStatement><!-- a -->{URL}<!-- b --></xmpRights:WebStatement>"),
    "declaration": b'<?xml version="1.0" encoding="ISO-8859-1"?>' + p.packet("", f'xmpRights:WebStatement="{URL}"'),
}
PLAIN = p.packet("", f'xmpRights:WebStatement="{URL}"')
for _encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
    FORMS[_encoding] = PLAIN.decode().encode(_encoding)
    FORMS[_encoding + "-mark"] = ("\ufeff" + PLAIN.decode()).encode(_encoding)
FORMS["zeros-behind"] = PLAIN + b"\0\0"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_and_replaced(form: str) -> None:
    rdf = xmp.parse([FORMS[form]])
    assert xmp.read(rdf) == {"xmpRights:WebStatement": [URL]}
    xmp.merge(rdf, RIGHTS)
    packet, extended = xmp.write(rdf)
    assert extended == b""
    assert URL.encode() not in packet
    again = xmp.parse([packet])
    assert xmp.flat(xmp.read(again)) == xmp.values(RIGHTS)
    xmp.merge(again, RIGHTS)
    assert xmp.write(again)[0] == packet


def test_alternatives_have_their_default_first() -> None:
    items = '<rdf:li xml:lang="de">Rechte</rdf:li><rdf:li xml:lang="x-default">Rights</rdf:li>'
    found = xmp.read(xmp.parse([p.packet(f"<dc:rights><rdf:Alt>{items}</rdf:Alt></dc:rights>")]))
    assert found == {"dc:rights": ["Rights", "Rechte"]}
    assert xmp.flat(found) == {"dc:rights": "Rights"}


BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
ATTACKS = {
    "entity-bomb": f'<!DOCTYPE r [<!ENTITY a0 "boom">{BOMB}]><rdf:RDF {RDF}>&a9;</rdf:RDF>'.encode(),
    "external": f'<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/hostname">]><rdf:RDF {RDF}>&e;</rdf:RDF>'.encode(),
    "doctype-utf-16": f'<!DOCTYPE r SYSTEM "http://127.0.0.1/"><rdf:RDF {RDF}/>'.encode("utf-16-le"),
    "doctype-utf-32": f'<!DOCTYPE r SYSTEM "http://127.0.0.1/"><rdf:RDF {RDF}/>'.encode("utf-32-be"),
    "doctype-lower": f"<!doctype r><rdf:RDF {RDF}/>".encode(),
    "unknown-entity": f"<rdf:RDF {RDF}>&nothing;</rdf:RDF>".encode(),
    "depth": f"<rdf:RDF {RDF}>".encode() + b"<a>" * 50_000 + b"</a>" * 50_000 + b"</rdf:RDF>",
    "length": f"<rdf:RDF {RDF}>".encode() + b" " * (1 << 20) + b"</rdf:RDF>",
    "cut": PLAIN[:400],
    "no-rdf": b"<html/>",
    "empty": b"",
    "not-text": b"\xff\xfe\x00\xd8\x00\xd8",
    "not-utf-8": PLAIN.replace(b"else", b"\xe9lse"),
    "control-character": PLAIN.replace(b"else", b"\x01lse"),
    "undeclared-prefix": f'<rdf:RDF {RDF}><rdf:Description q:a="1"/></rdf:RDF>'.encode(),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_quickly(attack: str) -> None:
    start = time.monotonic()
    with pytest.raises(MalformedError, match=r"^xmp: "):
        xmp.parse([ATTACKS[attack]])
    assert time.monotonic() - start < 30


def test_a_packet_may_say_nothing() -> None:
    assert xmp.read(xmp.parse([b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', PLAIN])) == {"xmpRights:WebStatement": [URL]}


def test_many_namespaces_take_bounded_time() -> None:
    start = time.monotonic()
    spaces = " ".join(f'xmlns:n{n}="urn:n{n}" n{n}:a="1"' for n in range(5_000))
    rdf = xmp.parse([p.packet("", spaces)])
    xmp.merge(rdf, RIGHTS)
    xmp.write(rdf)
    assert time.monotonic() - start < 60


def test_padding_fills_a_given_size_or_is_the_usual_one() -> None:
    def written(size: int | None) -> bytes:
        rdf = xmp.parse([PLAIN])
        return xmp.write(rdf, size=size)[0]

    assert len(written(5_000)) == 5_000
    usual = len(written(None))
    assert len(written(100)) == usual
    assert len(written(usual - xmp.PADDING)) == usual - xmp.PADDING


def test_what_may_not_be_moved_has_to_fit() -> None:
    rdf = xmp.parse([])
    xmp.merge(rdf, RIGHTS)
    with pytest.raises(RefusedError) as caught:
        xmp.write(rdf, limit=1_000)
    assert caught.value.code == "too-large"


def test_private_properties_go_wherever_they_stand() -> None:
    place = "<exif:GPSLatitude>30,15N</exif:GPSLatitude>"
    nested = '<xmp:Place rdf:parseType="Resource"><exif:GPSAltitude>1</exif:GPSAltitude></xmp:Place>'
    drone = 'xmlns:dji="http://www.dji.com/drone-dji/1.0/" dji:GpsLongitude="4" dji:DroneSerialNumber="9" dji:Pitch="2"'
    kept = "<plus:CopyrightOwner>Ada</plus:CopyrightOwner><dc:format>image/jpeg</dc:format>"
    rdf = xmp.parse([p.packet(place + nested + kept, drone + ' aux:OwnerName="Grace" aux:Lens="35"')])
    names = xmp.strip_private(rdf)
    assert set(names) == {
        "XMP:exif:GPSLatitude",
        "XMP:exif:GPSAltitude",
        "XMP:dji:GpsLongitude",
        "XMP:dji:DroneSerialNumber",
        "XMP:aux:OwnerName",
    }
    packet = xmp.write(rdf)[0]
    for word in (b"GPS", b"Gps", b"Serial", b"Grace"):
        assert word not in packet
    for word in (b"Pitch", b"Lens", b"CopyrightOwner", b"image/jpeg"):
        assert word in packet
    assert xmp.strip_private(rdf) == ()
