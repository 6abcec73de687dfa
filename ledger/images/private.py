"""Takes what gives a person away out of picture files: places, serial numbers, owner names.

Covered are Exif (in JPEG, PNG and WebP; in the further pictures of an MPF file; in ImageMagick's raw
profiles) and XMP.  Exif is blanked in place, so that nothing else moves.  Not examined are maker notes,
which are the makers' own formats, data behind the end of the picture that no MPF index names, and what
the picture itself shows.
"""

from __future__ import annotations

from ledger.errors import MalformedError, VerificationError
from ledger.images import exif, xmp
from ledger.images.content import content_hash
from ledger.images.picture import JpegPicture, Picture, open_picture


def strip_private(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Returns `data`, a JPEG, PNG or WebP file, without location, serial numbers and owner names, and their names.

    Names are like ``Exif:GPS`` and ``XMP:aux:SerialNumber``.  Without findings `data` comes back as it is.

    Raises:
        MalformedError: the file or its metadata is damaged, so that nobody can say what it holds.
        RefusedError: ``unsupported-media``: another format.
        VerificationError: ``strip-check``: the picture would change; nothing was lost.
    """
    stripped, names = _stripped(open_picture(data, writing=True))
    again = open_picture(stripped, writing=True)
    if isinstance(again, JpegPicture):
        for start, end in again.others():
            part, found = _stripped(open_picture(stripped[start:end], writing=True))
            if len(part) != end - start:
                raise MalformedError("a further picture has XMP that cannot be blanked in place", field="MPF")
            stripped = stripped[:start] + part + stripped[end:]
            names += found
    if content_hash(stripped) != content_hash(data):
        raise VerificationError("the picture would change", code="strip-check", field="file")
    return stripped, tuple(dict.fromkeys(names))


def _stripped(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    names: tuple[str, ...] = ()
    blocks = []
    for block in picture.exif():
        blank, found = exif.strip(block)
        blocks.append(blank)
        names += found
    data = picture.with_exif(blocks) if names else picture.data
    picture = open_picture(data, writing=True)
    rdf = picture.xmp()
    found = xmp.strip_private(rdf)
    return (picture.with_xmp(rdf) if found else data), names + found
