"""XMP packets (ISO 16684-1): parse safely, read rights, merge, write.

:func:`parse` takes the packets of one file into one ``rdf:RDF`` tree.  Bytes are decoded first, so
that a ``<!DOCTYPE`` or ``<!ENTITY`` is seen whatever the encoding, and refused; sizes are capped, no
entity is resolved and nothing is fetched.  All forms that writers use are read: attributes, elements,
``rdf:resource``, ``rdf:value``, arrays, several Descriptions, typed nodes.  :func:`merge` replaces the
properties that :class:`Rights` fills and keeps all others; :func:`write` gives the same bytes again for
what it wrote itself.

Which values may be replaced is decided in ``embed``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import md5
from typing import TYPE_CHECKING

from ledger.errors import MalformedError, RefusedError, shown

if TYPE_CHECKING:
    from lxml import etree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
META = "adobe:ns:meta/"
NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "tdm": "http://www.w3.org/ns/tdmrep/",
    "cc": "http://creativecommons.org/ns#",
    "trainmark": "urn:trainmark:xmp:1/",
}
NOTE = "http://ns.adobe.com/xmp/note/"
PLUS_VOCABULARY = "http://ns.useplus.org/ldf/vocab/"
SOURCE_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"

# Most restrictive first: of conflicting values the earlier one counts.
DATA_MINING = (
    "DMI-PROHIBITED",
    "DMI-PROHIBITED-SEECONSTRAINT",
    "DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR",
    "DMI-PROHIBITED-SEELINKEDRIGHTSEXPR",
    "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING",
    "DMI-PROHIBITED-AIMLTRAINING",
    "DMI-PROHIBITED-GENAIMLTRAINING",
    "DMI-UNSPECIFIED",
    "DMI-ALLOWED",
)
MODEL_RELEASE = ("MR-NON", "MR-NAP", "MR-UMR", "MR-LMR")
PROPERTY_RELEASE = ("PR-NON", "PR-NAP", "PR-UPR", "PR-LPR")

# What a reader is told about; Licensor is a structure whose text fields are listed by themselves.
READ = (
    *("dc:creator", "dc:rights"),
    *("xmpRights:Marked", "xmpRights:WebStatement", "xmpRights:UsageTerms", "xmpRights:Owner"),
    *("plus:DataMining", "plus:OtherConstraints", "plus:Licensor"),
    *("plus:ModelReleaseStatus", "plus:PropertyReleaseStatus"),
    *("photoshop:Credit", "photoshop:Instructions", "Iptc4xmpExt:DigitalSourceType"),
    *("Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AISystemVersionUsed"),
    *("Iptc4xmpExt:AIPromptInformation", "Iptc4xmpExt:AIPromptWriterName"),
    *("tdm:reservation", "tdm:policy", "cc:license"),
    *("trainmark:creator_id", "trainmark:license_id", "trainmark:license_digest"),
    *("trainmark:provenance_hash", "trainmark:attribution_url"),
)
ALTERNATIVES = ("dc:rights", "xmpRights:UsageTerms", "plus:OtherConstraints")
LICENSOR_FIELDS = ("plus:LicensorName", "plus:LicensorURL", "plus:LicensorID", "plus:LicensorEmail")

MAX_PACKET = 1 << 20  # of one packet; put together from ExtendedXMP: 16 MiB (jpeg.MAX_EXTENDED)
MAX_TEXT = 4_096
PADDING = 2_048  # for editors that write in place (ISO 16684-1, 7.3.2)
_HEADER = '<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_TRAILER = b'<?xpacket end="w"?>'

_BOMS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARATION = re.compile(r"<\?xml\s.*?\?>", re.DOTALL)
_FORBIDDEN = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_SERIAL_OR_PLACE = re.compile(r"gps|serialnumber", re.IGNORECASE)
_OWNER_NAMES = ("OwnerName", "CameraOwnerName")


@dataclass(frozen=True, slots=True)
class Rights:
    """What is written into a file: all text, one line each; an empty one is left out and keeps what the file has.

    ``data_mining``, ``model_release`` and ``property_release`` are names of the PLUS vocabulary
    (``DMI-…``, ``MR-…``, ``PR-…``), ``digital_source_type`` one of the IPTC's (``digitalCapture``).

    Raises:
        MalformedError: a text is longer than 4,096 characters or holds control characters, a name is not
            in its vocabulary, or ``creator_id`` is empty.
    """

    creator_name: str
    rights_line: str
    license_url: str
    usage_terms: str
    data_mining: str
    licensor_url: str
    licensor_name: str
    model_release: str
    property_release: str
    credit: str
    digital_source_type: str | None
    creator_id: str
    license_id: str
    license_digest: str
    provenance_hash: str
    attribution_url: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "digital_source_type":
                continue
            if not isinstance(value, str) or len(value) > MAX_TEXT or any(map(_unprintable, value)):
                raise MalformedError(
                    f"is {shown(value)}, expected text of at most {MAX_TEXT} characters without control characters",
                    field=field.name,
                )
        for name, vocabulary in _VOCABULARIES.items():
            value = getattr(self, name)
            if value and value not in vocabulary:
                raise MalformedError(f"is {shown(value)}, expected one of {', '.join(vocabulary)}", field=name)
        if self.digital_source_type and not re.fullmatch(r"[A-Za-z]{1,64}", self.digital_source_type):
            raise MalformedError(
                f"is {shown(self.digital_source_type)}, expected a name such as digitalCapture",
                field="digital_source_type",
            )
        if not self.creator_id:
            raise MalformedError("is empty, expected a did:key", field="creator_id")


_VOCABULARIES = {
    "data_mining": DATA_MINING,
    "model_release": MODEL_RELEASE,
    "property_release": PROPERTY_RELEASE,
}


def values(rights: Rights) -> dict[str, str]:
    """Returns the XMP properties that `rights` fills, in the order they are written; Licensor by its fields."""
    source = rights.digital_source_type
    found = {
        "dc:creator": rights.creator_name,
        "dc:rights": rights.rights_line,
        "xmpRights:Marked": "True",
        "xmpRights:WebStatement": rights.license_url,
        "xmpRights:UsageTerms": rights.usage_terms,
        "plus:DataMining": rights.data_mining and PLUS_VOCABULARY + rights.data_mining,
        "plus:LicensorName": rights.licensor_name,
        "plus:LicensorURL": rights.licensor_url,
        "plus:ModelReleaseStatus": rights.model_release and PLUS_VOCABULARY + rights.model_release,
        "plus:PropertyReleaseStatus": rights.property_release and PLUS_VOCABULARY + rights.property_release,
        "photoshop:Credit": rights.credit,
        "Iptc4xmpExt:DigitalSourceType": SOURCE_VOCABULARY + source if source else "",
        "trainmark:creator_id": rights.creator_id,
        "trainmark:license_id": rights.license_id,
        "trainmark:license_digest": rights.license_digest,
        "trainmark:provenance_hash": rights.provenance_hash,
        "trainmark:attribution_url": rights.attribution_url,
    }
    return {name: value for name, value in found.items() if value}


def parse(packets: Sequence[bytes], cap: int = MAX_PACKET) -> etree._Element:
    """Returns one ``rdf:RDF`` that holds the children of all `packets` in order; empty for none.

    Raises:
        MalformedError: a packet is longer than `cap`, not text in a Unicode encoding, not well-formed XML,
            has a DOCTYPE or entities, or holds no ``rdf:RDF``.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_pis=True,
        remove_comments=True,
        encoding="utf-8",
    )
    joined = etree.Element(_name(RDF, "RDF"), nsmap={"rdf": RDF})
    for packet in packets:
        if len(packet) > cap:
            raise MalformedError(f"packet has {len(packet)} bytes, at most {cap} are read", field="xmp")
        text = _DECLARATION.sub("", _decoded(packet)).strip("\0 \t\r\n\N{ZERO WIDTH NO-BREAK SPACE}")
        if _FORBIDDEN.search(text):
            raise MalformedError("packet has a DOCTYPE or entities, XMP has none", field="xmp")
        try:
            root = etree.fromstring(text.encode(), parser)
        except (etree.XMLSyntaxError, ValueError) as e:
            raise MalformedError("packet is not well-formed XML", field="xmp") from e
        found = root if root.tag == _name(RDF, "RDF") else root.find(_name(RDF, "RDF"))
        if found is None and not len(root) and str(root.tag).startswith(f"{{{META}}}"):
            continue  # says nothing
        if found is None:
            raise MalformedError(f"packet has the root {shown(root.tag)} and no rdf:RDF", field="xmp")
        for node in list(found):
            joined.append(node)
    return joined


def take_extension(rdf: etree._Element) -> str:
    """Removes ``xmpNote:HasExtendedXMP`` from `rdf` and returns its value, empty where there is none."""
    guid = ""
    for owner, key, element in list(_properties(rdf)):
        if key == _name(NOTE, "HasExtendedXMP"):
            guid = _texts(owner, key, element)[0].strip() if _texts(owner, key, element) else guid
            _remove(owner, key, element)
    return guid


def extend(rdf: etree._Element, extended: bytes, cap: int) -> None:
    """Appends the properties of a reassembled ExtendedXMP to `rdf`.

    Raises:
        MalformedError: as :func:`parse`.
    """
    for node in list(parse([extended], cap)):
        rdf.append(node)


def read(rdf: etree._Element) -> dict[str, list[str]]:
    """Returns the values of the known rights properties (``READ``), by short name, in file order.

    Of language alternatives the default comes first; Licensor is given by its fields.
    """
    names = {_expanded(name): name for name in READ}
    found: dict[str, list[str]] = {}
    for owner, key, element in _properties(rdf):
        name = names.get(key)
        if name == "plus:Licensor" and element is not None:
            for field in LICENSOR_FIELDS:
                found.setdefault(field, []).extend(_field_texts(element, _expanded(field)))
        elif name:
            found.setdefault(name, []).extend(_texts(owner, key, element))
    stripped = {name: [text.strip() for text in texts if text.strip()] for name, texts in found.items()}
    return {name: texts for name, texts in stripped.items() if texts}


def flat(found: dict[str, list[str]]) -> dict[str, str]:
    """Returns one text per property: the default of alternatives, the strictest of reservations, else all joined."""
    result = {}
    for name, texts in found.items():
        distinct = list(dict.fromkeys(texts))
        if name in ALTERNATIVES:
            result[name] = distinct[0]
        elif name == "plus:DataMining":
            result[name] = min(distinct, key=_strictness)
        elif name == "tdm:reservation":
            result[name] = "1" if "1" in distinct else distinct[0]
        else:
            result[name] = "; ".join(distinct)
    return result


def merge(rdf: etree._Element, rights: Rights) -> None:
    """Replaces in `rdf` the properties that `rights` fills, and all of its own namespace; keeps all others."""
    from lxml import etree

    new = values(rights)
    licensor = {name: new.pop(name) for name in LICENSOR_FIELDS if name in new}
    replaced = {_expanded(name) for name in new} | ({_expanded("plus:Licensor")} if licensor else set())
    own = f"{{{NAMESPACES['trainmark']}}}"
    about = next((text for node in rdf if (text := node.get(_name(RDF, "about")))), "")
    for owner, key, element in list(_properties(rdf)):
        if key in replaced or key.startswith(own):
            _remove(owner, key, element)
    used = {name.partition(":")[0] for name in (*new, *licensor)}
    node = etree.SubElement(
        rdf, _name(RDF, "Description"), nsmap={prefix: uri for prefix, uri in NAMESPACES.items() if prefix in used}
    )
    node.set(_name(RDF, "about"), about)
    for name, text in new.items():
        element = etree.SubElement(node, _expanded(name))
        if name == "dc:creator":
            _array(element, "Seq").text = text
        elif name in ALTERNATIVES:
            item = _array(element, "Alt")
            item.set(_name(XML, "lang"), "x-default")
            item.text = text
        else:
            element.text = text
    if licensor:
        item = _array(etree.SubElement(node, _expanded("plus:Licensor")), "Seq")
        item.set(_name(RDF, "parseType"), "Resource")
        for name, text in licensor.items():
            etree.SubElement(item, _expanded(name)).text = text


def strip_private(rdf: etree._Element) -> tuple[str, ...]:
    """Removes places, serial numbers and owner names wherever they stand in `rdf` and returns their names.

    The rule goes by the property's own name (``…GPS…``, ``…SerialNumber…``, ``OwnerName``), so that the
    namespaces of camera and drone makers are covered.
    """
    removed: list[str] = []
    for node in list(rdf.iter()):
        for key in list(node.attrib):
            if _is_private(str(key)):
                removed.append(_short(node, str(key)))
                del node.attrib[key]
        parent = node.getparent()
        if parent is not None and _is_private(str(node.tag)):
            removed.append(_short(node, str(node.tag)))
            parent.remove(node)
    return tuple(dict.fromkeys(removed))


def write(rdf: etree._Element, *, limit: int | None = None, size: int | None = None) -> tuple[bytes, bytes]:
    """Returns the packet of `rdf` and, where it would exceed `limit` bytes, the ExtendedXMP that takes the rest.

    The largest foreign properties go into the extension first.  With `size` a packet
    without extension is padded to just that length if it fits; else it gets 2,048 bytes of padding, or what
    `limit` leaves.

    Raises:
        RefusedError: ``too-large``: what may not be moved is longer than `limit`.
    """
    _drop_empty(rdf)
    body = _serialized(rdf)
    extended = b""
    if limit is not None and len(body) + len(_TRAILER) > limit:
        rest = _moved(rdf, len(body) + len(_TRAILER) - limit)
        extended = _tostring(_wrapped(rest))
        note = _description(rdf, {"xmpNote": NOTE})
        note.set(_name(NOTE, "HasExtendedXMP"), md5(extended, usedforsecurity=False).hexdigest().upper())
        body = _serialized(rdf)
        if len(body) + len(_TRAILER) > limit:
            raise RefusedError(f"needs {len(body)} bytes, {limit} fit into this file", code="too-large", field="xmp")
    if size is not None and not extended and len(body) + len(_TRAILER) <= size:
        padding = size - len(body) - len(_TRAILER)
    else:
        padding = PADDING if limit is None else min(PADDING, limit - len(body) - len(_TRAILER))
    return body + b" " * padding + _TRAILER, extended


def _serialized(rdf: etree._Element) -> bytes:
    return _HEADER + _tostring(_wrapped(rdf)) + b"\n"


def _wrapped(rdf: etree._Element) -> etree._Element:
    from lxml import etree

    root = etree.Element(_name(META, "xmpmeta"), nsmap={"x": META})
    root.set(_name(META, "xmptk"), "Trainmark")
    root.append(rdf)
    _indent(rdf)
    return root


def _tostring(node: etree._Element) -> bytes:
    from lxml import etree

    return bytes(etree.tostring(node, encoding="utf-8", xml_declaration=False))


def _indent(rdf: etree._Element) -> None:
    """Puts each node and property on a line of its own; white space there has no meaning."""
    rdf.text = rdf.tail = "\n "
    for node in rdf:
        node.tail = "\n "
        if len(node) and not (node.text or "").strip():
            node.text = "\n  "
            for element in node:
                if not (element.tail or "").strip():
                    element.tail = "\n  "


def _moved(rdf: etree._Element, excess: int) -> etree._Element:
    """Moves foreign properties, the largest first, out of `rdf` until it is `excess` bytes shorter, into a new RDF."""
    from lxml import etree

    rest = etree.Element(_name(RDF, "RDF"), nsmap={"rdf": RDF})
    target = _description(rest, {})
    own = {_expanded(name) for name in READ}
    units = [unit for unit in _properties(rdf) if unit[1] not in own]
    lengths = [len(_tostring(e)) if e is not None else len(owner.attrib[key].encode()) for owner, key, e in units]
    excess += 128  # the note that names the extension
    for number in sorted(range(len(units)), key=lambda n: (-lengths[n], n)):
        if excess <= 0:
            break
        owner, key, element = units[number]
        if element is not None:
            target.append(element)
        else:
            if key in target.attrib:
                target = _description(rest, {})
            target.set(key, owner.attrib[key])
            del owner.attrib[key]
        excess -= lengths[number]
    _drop_empty(rdf)
    return rest


def _description(rdf: etree._Element, nsmap: dict[str, str]) -> etree._Element:
    from lxml import etree

    node = etree.SubElement(rdf, _name(RDF, "Description"), nsmap=nsmap)
    node.set(_name(RDF, "about"), "")
    return node


def _decoded(packet: bytes) -> str:
    encoding = next((name for bom, name in _BOMS if packet.startswith(bom)), None)
    if encoding is None:
        start = packet.lstrip(b" \t\r\n")
        encoding = next((name for mark, name in _STARTS if start.startswith(mark)), "utf-8")
    try:
        return packet.rstrip(b"\0").decode(encoding) if encoding == "utf-8" else packet.decode(encoding)
    except UnicodeDecodeError as e:
        raise MalformedError(f"packet is not {encoding}", field="xmp") from e


def _properties(rdf: etree._Element) -> Iterator[tuple[etree._Element, str, etree._Element | None]]:
    """Yields each property of each node: the node, the property's name, its element (None: an attribute)."""
    for node in rdf:
        for key in list(node.attrib):
            if not str(key).startswith((f"{{{RDF}}}", f"{{{XML}}}")) and str(key).startswith("{"):
                yield node, str(key), None
        for element in list(node):
            yield node, str(element.tag), element


def _remove(owner: etree._Element, key: str, element: etree._Element | None) -> None:
    if element is None:
        del owner.attrib[key]
    else:
        owner.remove(element)


def _texts(owner: etree._Element, key: str, element: etree._Element | None) -> list[str]:
    """Returns the text values of one property, in whatever form it is written."""
    if element is None:
        return [owner.attrib[key]]
    items = [item for array in element for item in array if item.tag == _name(RDF, "li")]
    if not items:
        return [_text(element)]
    default = [item for item in items if item.get(_name(XML, "lang"), "").lower() == "x-default"]
    return [_text(item) for item in default + [item for item in items if item not in default]]


def _text(element: etree._Element) -> str:
    """Returns a simple value: text, ``rdf:resource``, ``rdf:value``; of a structure, all its text."""
    for key in (_name(RDF, "resource"), _name(RDF, "value")):
        if key in element.attrib:
            return element.attrib[key]
    value = next(element.iter(_name(RDF, "value")), None)
    return "".join((element if value is None else value).itertext(with_tail=False)).strip()


def _field_texts(element: etree._Element, key: str) -> list[str]:
    """Returns the values of the field `key` in all structures inside `element`."""
    found = []
    for node in element.iter():
        if key in node.attrib:
            found.append(node.attrib[key])
        if node.tag == key:
            found.append(_text(node))
    return found


def _drop_empty(rdf: etree._Element) -> None:
    """Removes Descriptions that say nothing."""
    for node in list(rdf):
        says = [key for key in node.attrib if not str(key).startswith((f"{{{RDF}}}", f"{{{XML}}}"))]
        if node.tag == _name(RDF, "Description") and not len(node) and not says:
            rdf.remove(node)


def _array(element: etree._Element, kind: str) -> etree._Element:
    """Returns the one item of a new array of `kind` in `element`."""
    from lxml import etree

    return etree.SubElement(etree.SubElement(element, _name(RDF, kind)), _name(RDF, "li"))


def _strictness(value: str) -> int:
    name = value.rpartition("/")[2]
    return DATA_MINING.index(name) if name in DATA_MINING else -1


def _is_private(key: str) -> bool:
    namespace, _, local = key.rpartition("}")
    if namespace == "{" + NAMESPACES["plus"]:
        return False
    return bool(_SERIAL_OR_PLACE.search(local)) or local in _OWNER_NAMES


def _short(node: etree._Element, key: str) -> str:
    namespace, _, local = key.rpartition("}")
    prefixes = {uri: prefix for prefix, uri in node.nsmap.items() if prefix}
    return f"XMP:{prefixes.get(namespace[1:], '?')}:{local}"


def _expanded(name: str) -> str:
    prefix, _, local = name.partition(":")
    return _name(NAMESPACES[prefix], local)


def _name(namespace: str, local: str) -> str:
    return f"{{{namespace}}}{local}"


def _unprintable(char: str) -> bool:
    """Tells what XML cannot hold, or would not give back (a carriage return)."""
    return unicodedata.category(char) in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE
