"""What a picture file is, and the hash of the picture in it (docs/format.md, section 2).

The content hash is over the picture data only, ``H("trainmark/content/v1\\0" ‖ fmt ‖ "\\0" ‖ parts)``,
found by walking the file's own structure.  A grammar is accepted and all else has no hash: order,
position, count and byte order decide what a decoder shows.  So two files with one hash decode to the
same pixels, and a change of metadata leaves the hash as it is.

Color profile, gamma, orientation and Exif are outside: an equal hash does not mean an equal look.  The
hash does not survive re-encoding, nor lossless optimizers that rewrite tables; fingerprints do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256

from ledger.errors import MalformedError
from ledger.images import jpeg, png, tiff, webp

DOMAIN = b"trainmark/content/v1\0"

_PARTS: dict[str, tuple[bytes, Callable[[bytes], Iterator[bytes | memoryview]]]] = {
    "image/jpeg": (b"jpeg", jpeg.content_parts),
    "image/png": (b"png", png.content_parts),
    "image/webp": (b"webp", webp.content_parts),
    "image/tiff": (b"tiff", tiff.content_parts),
}

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (png.SIGNATURE, "image/png"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"8BPS\0\1", "image/vnd.adobe.photoshop"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}
_BITMAP_HEADERS = (12, 40, 52, 56, 108, 124)
UNKNOWN = "application/octet-stream"


def content_hash(data: bytes) -> bytes | None:
    """Returns the 32-byte content hash of a PNG, JPEG, WebP or TIFF file, None where the rules give none."""
    entry = _PARTS.get(media_type(data))
    if entry is None:
        return None
    name, parts = entry
    digest = sha256(DOMAIN + name + b"\0")
    try:
        for part in parts(data):
            digest.update(part)
    except MalformedError:
        return None
    return digest.digest()


def media_type(data: bytes) -> str:
    """Returns the media type that the content shows, ``application/octet-stream`` for anything but a known picture."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
        # A HEIF brand comes first in many AVIF files, so the more exact word wins.
        kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((k for k in kinds if k != "image/heif"), kinds[0] if kinds else UNKNOWN)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return "image/bmp"
    return UNKNOWN
