"""Codes of what a picture looks like (docs/format.md, section 2): hints for a search, never identity.

``iscc`` is the body of the 256-bit ISCC Image-Code (ISO 24138) over 32×32 gray, ``dhash`` 256 bits over
17×16 gray, row by row, most significant bit first, 1 where the left pixel is brighter.  Before that the
Exif orientation is applied and alpha is laid on white.  A code with fewer than 24 or more than 232 bits
set is None: too flat to tell pictures apart.  ``pdq`` is always None here.

Decoding is done by Pillow in a limited process (``worker``).  JPEGs are decoded at a reduced scale of at
least 256 pixels, so a code may differ by a bit or two from that of the same pixels in another format.
Of an animation the first picture counts.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.errors import MalformedError
from ledger.images import jpeg
from ledger.images.content import media_type

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 256 << 20
MAX_PIXELS = 64_000_000
MAX_SCANS = 100  # a progressive JPEG has about ten; each one costs a pass over all pixels
MIN_BITS, MAX_BITS = 24, 232
SIDE = 256  # a JPEG is not decoded smaller than this
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "BMP")  # nothing else is opened
_PLUGINS = {"WEBP": "WebP"}


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """64 hex digits each, None where there is no code.

    ``reason`` is None when the picture was decoded, else ``unsupported``, ``too-large``, ``too-many-scans``,
    ``damaged``, ``memory-limit``, ``cpu-limit``, ``time-limit`` or ``crashed``.
    """

    dhash: str | None = None
    iscc: str | None = None
    reason: str | None = None


def fingerprints(data: bytes) -> dict[str, str | None]:
    """Returns the codes of a picture file under ``dhash``, ``iscc`` and ``pdq``; all None if it cannot be decoded.

    Raises:
        BackendError: the decoding process cannot be started.
    """
    found = examine(data)
    return {"dhash": found.dhash, "iscc": found.iscc, "pdq": None}


def examine(data: bytes) -> Fingerprints:
    """Returns the codes of a picture file, or the reason why it has none; never decodes in this process.

    Raises:
        BackendError: the decoding process cannot be started.
    """
    from ledger.images.worker import shared_worker

    return shared_worker().examine(data)


def compute(data: bytes) -> Fingerprints:
    """Decodes in this process: only for the worker, which holds the limits, and for trusted files."""
    import importlib

    from PIL import Image, ImageOps, UnidentifiedImageError

    for format in FORMATS:  # Pillow knows only those of its readers that were imported
        importlib.import_module(f"PIL.{_PLUGINS.get(format, format.capitalize())}ImagePlugin")
    if media_type(data) == "image/jpeg" and _scans(data) > MAX_SCANS:
        return Fingerprints(reason="too-many-scans")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return Fingerprints(reason="too-large")
                shorter = min(image.size)
                # Both sides have to stay at least as large as asked for, so the request has the picture's own shape.
                image.draft(None, (image.width * SIDE // shorter, image.height * SIDE // shorter))
                image.load()
                gray = _gray(image)
                if gray is None:
                    return Fingerprints(reason="unsupported")
                # The turn commutes with gray, and costs a quarter on it.
                return codes(ImageOps.exif_transpose(_with_orientation(gray, image)))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Fingerprints(reason="too-large")
    except UnidentifiedImageError:
        return Fingerprints(reason="unsupported" if media_type(data) == "application/octet-stream" else "damaged")


def codes(gray: Image.Image) -> Fingerprints:
    """Returns the codes of an upright picture of mode ``L``."""
    import iscc_lib
    from PIL import Image

    small = gray.resize((32, 32), Image.Resampling.BICUBIC).tobytes()
    # decoded: main type, sub type, version, length code, body
    body = bytes(iscc_lib.iscc_decode(iscc_lib.gen_image_code_v0(small, bits=256)["iscc"])[4])
    rows = gray.resize((17, 16), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for row in range(0, 17 * 16, 17):
        for left, right in zip(rows[row : row + 16], rows[row + 1 : row + 17], strict=True):
            bits = bits << 1 | (left > right)
    return Fingerprints(dhash=_telling(bits.to_bytes(32, "big")), iscc=_telling(body))


def _scans(data: bytes) -> int:
    """Returns the number of scans; of a damaged file, which decoders may still show, what it can be at most."""
    try:
        return jpeg.walk(data).scans
    except MalformedError:
        return data.count(b"\xff\xda")


def _telling(code: bytes) -> str | None:
    return code.hex() if MIN_BITS <= int.from_bytes(code, "big").bit_count() <= MAX_BITS else None


def _gray(image: Image.Image) -> Image.Image | None:
    """Returns `image` on white as mode ``L``; None for sample depths without an agreed white."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        high = 0 if image.mode.endswith("B") else 1
        return Image.frombytes("L", image.size, image.tobytes()[high::2])
    if image.mode in ("I", "F"):
        return None
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB", "1") and "transparency" in image.info):
        image = image.convert("RGBA")
    gray = image.convert("L")
    if image.mode in ("RGBA", "LA", "La", "RGBa"):
        if image.mode.endswith("a"):
            image = image.convert(image.mode.upper())
            gray = image.convert("L")
        # Gray first and alpha then is the same as the other way round, in a quarter of the memory.
        return Image.composite(gray, Image.new("L", gray.size, 255), image.getchannel("A"))
    return gray


def _with_orientation(gray: Image.Image, image: Image.Image) -> Image.Image:
    """Returns `gray` with the Exif orientation of `image`; a damaged Exif counts as none."""
    from PIL import ExifTags, Image

    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        orientation = 1
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    gray.info["exif"] = exif.tobytes()
    return gray
