"""Writes rights into picture files as XMP, and reads them back (docs/format.md, section 2, "Inside the file").

:func:`embed` is lossless: the coded picture, Exif, color profile, orientation, IPTC and maker notes stay
as they are, existing XMP is merged and kept, and running it again with the same rights gives the same bytes.
It never replaces what somebody else wrote about rights: a differing value stops it (``rights_conflict``)
until a person has decided.  What it wrote is a hint for readers; proofs look the file's hash up.

Types that it does not write get a :func:`sidecar`.  C2PA manifests come after this, never before: they
sign the XMP too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

from ledger.errors import ConflictError, VerificationError, shown
from ledger.images import xmp
from ledger.images.content import content_hash
from ledger.images.picture import Picture, open_picture
from ledger.images.private import strip_private
from ledger.images.xmp import Rights

__all__ = ["Rights", "embed", "read_rights", "sidecar", "strip_private"]

# A file that names a holder other than the creator is a conflict even where the rights leave the value empty.
_HOLDERS = (
    *("dc:creator", "dc:rights", "xmpRights:Owner", "Exif:Artist", "Exif:Copyright"),
    *("IPTC:By-line", "IPTC:CopyrightNotice", "PNG:Author", "PNG:Copyright"),
)
# Where a name stands, alone or in a notice: the creator's own is no conflict, in whatever way it is written.
_NAMES = (*_HOLDERS, "photoshop:Credit", "IPTC:Credit", "plus:LicensorName")
_MAX_NOTICE = 1_024
_NOTICE = (
    r"(?:[\s.,;:|/()\[\]<>\"'*_\N{EN DASH}\N{EM DASH}\N{COPYRIGHT SIGN}-]"
    r"|\(c\)|\bcopyright\b|\bby\b|\ball\s+rights\s+reserved\b|\b(?:19|20)[0-9][0-9]\b)*"
)
_VOCABULARY = (
    *("plus:DataMining", "plus:ModelReleaseStatus", "plus:PropertyReleaseStatus"),
    "Iptc4xmpExt:DigitalSourceType",
)


def embed(data: bytes, rights: Rights, *, also_known_as: Collection[str] = (), decided: Collection[str] = ()) -> bytes:
    """Returns `data`, a JPEG, PNG or WebP file, with `rights` in its XMP.

    A name in the file that is the creator's, or one of `also_known_as`, is no other value: see
    :func:`is_own_name`.

    `decided` names the properties (``dc:creator``, ``Exif:Artist``…) whose differing value in the file a
    person has seen and settled: XMP ones are replaced, those of Exif, IPTC and PNG texts stay as they are.

    Raises:
        ConflictError: ``rights_conflict``, the field being the first property that the file holds with
            another value.  Values beside an equal ``trainmark:creator_id`` are the creator's own.
        MalformedError: the file or its XMP is damaged.
        RefusedError: ``unsupported-media``, or ``too-large``: the XMP does not fit into the format.
        VerificationError: ``embed-check``: the result is not what it has to be; nothing was lost.
    """
    picture = open_picture(data, writing=True)
    rdf = picture.xmp()
    _refuse_conflicts(xmp.read(rdf), picture.claims(), rights, also_known_as, decided)
    xmp.merge(rdf, rights)
    result = picture.with_xmp(rdf)
    _check(picture, result, rights)
    return result


def sidecar(rights: Rights) -> bytes:
    """Returns a ``.xmp`` file that holds `rights`, for types that cannot hold them."""
    rdf = xmp.parse([])
    xmp.merge(rdf, rights)
    return xmp.write(rdf)[0]


def read_rights(data: bytes) -> dict[str, str]:
    """Returns what a JPEG, PNG, WebP or TIFF file says about rights, by name: ``dc:creator``, ``Exif:Artist``…

    Several values are joined by ``; ``; of conflicting ``plus:DataMining`` and ``tdm:reservation`` the most
    restrictive one is given.  These are claims of whoever wrote the file.

    Raises:
        MalformedError: the file or its XMP is damaged, so nobody can say what it reserves.
        RefusedError: ``unsupported-media``: another format.
    """
    picture = open_picture(data, writing=False)
    return xmp.flat(xmp.read(picture.xmp()) | picture.claims())


def _refuse_conflicts(
    found: dict[str, list[str]],
    claims: dict[str, list[str]],
    rights: Rights,
    also_known_as: Collection[str],
    decided: Collection[str],
) -> None:
    wanted = xmp.values(rights)
    names = (rights.creator_name, *also_known_as)
    beside = {
        "xmpRights:Owner": rights.creator_name,
        "Exif:Artist": rights.creator_name,
        "IPTC:By-line": rights.creator_name,
        "PNG:Author": rights.creator_name,
        "Exif:Copyright": rights.rights_line,
        "IPTC:CopyrightNotice": rights.rights_line,
        "PNG:Copyright": rights.rights_line,
        "IPTC:Credit": rights.credit,
    }
    own = found.get("trainmark:creator_id") == [rights.creator_id]
    held = claims if own else found | claims
    conflicts = []
    for name, texts in held.items():
        value = wanted.get(name, "") or beside.get(name, "")
        if name in decided or (not value and name not in _HOLDERS):
            continue
        if name.startswith("trainmark:") and name != "trainmark:creator_id" and "trainmark:creator_id" in found:
            continue  # follows from the creator_id, which is compared itself
        others = [text for text in texts if _plain(name, text) != _plain(name, value)]
        if any(name not in _NAMES or not is_own_name(text, names) for text in others):
            conflicts.append((name, texts, value))
    if conflicts:
        name, texts, value = conflicts[0]
        further = f"; also {', '.join(other for other, _, _ in conflicts[1:])}" if conflicts[1:] else ""
        raise ConflictError(
            f"the file says {shown('; '.join(texts))}, to be written is {shown(value)}{further}",
            code="rights_conflict",
            field=name,
        )


def is_own_name(text: str, names: Iterable[str]) -> bool:
    """Tells whether `text` is one of `names`, alone or in a notice, and nothing more (docs/format.md, section 2).

    A notice has before and behind the name only white space, punctuation, years, ``©``, ``(c)``,
    ``copyright``, ``by`` and ``all rights reserved``.  Case does not count; a further name, ``&`` or ``and``, and a
    letter that only looks alike do.
    """
    if len(text) > _MAX_NOTICE:
        return False
    line = _folded(text)
    words = (r"\s+".join(map(re.escape, name.split())) for name in map(_folded, names))
    return any(re.fullmatch(f"{_NOTICE}{name}{_NOTICE}", line) for name in words if name)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _check(before: Picture, result: bytes, rights: Rights) -> None:
    """Verifies from the bytes alone that only XMP changed and that it says what it should."""
    after = open_picture(result, writing=True)
    read = xmp.read(after.xmp())
    for name, value in xmp.values(rights).items():
        if [_plain(name, text) for text in read.get(name, [])] != [_plain(name, value)]:
            raise VerificationError(
                f"reads back as {shown(read.get(name))}, was to be {shown(value)}", code="embed-check", field=name
            )
    if after.skeleton() != before.skeleton() or content_hash(result) != content_hash(before.data):
        raise VerificationError("something other than XMP would change", code="embed-check", field="file")


def _plain(name: str, text: str) -> str:
    """Returns `text` in the form in which two writers' values are compared."""
    plain = unicodedata.normalize("NFC", text).strip()
    if name in _VOCABULARY:
        return plain.rpartition("/")[2]
    return plain.capitalize() if name == "xmpRights:Marked" else plain
