"""One picture file, of whichever format, as a place for metadata.

:func:`open_picture` gives a JPEG, PNG, WebP or (for reading only) TIFF file one face: its XMP as one tree, what
it says about rights elsewhere, its Exif blocks, and the same file with other XMP or Exif.  All of it is
bytes in, bytes out; nothing is decoded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ledger.errors import MalformedError, RefusedError, shown
from ledger.images import content, exif, iim, jpeg, png, tiff, webp, xmp

if TYPE_CHECKING:
    from lxml import etree

XMP_TAG, IPTC_TAG = 700, 33723  # of TIFF


class Picture(ABC):
    """A file that was walked without finding damage; ``writable`` tells whether XMP can be put into it."""

    writable = True
    limit: int | None = None

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._guid = ""

    def xmp(self) -> etree._Element:
        """Returns a new tree of all XMP in the file, ExtendedXMP included.

        Raises:
            MalformedError: a packet is damaged.
        """
        rdf = xmp.parse(self.packets())
        self._guid = xmp.take_extension(rdf)
        if self._guid:
            xmp.extend(rdf, self.extended(self._guid), jpeg.MAX_EXTENDED)
        return rdf

    def with_xmp(self, rdf: etree._Element) -> bytes:
        """Returns the file with `rdf` in place of all XMP it has; :meth:`xmp` must have been called before.

        Raises:
            RefusedError: ``too-large`` for this format.
        """
        main, extended = xmp.write(rdf, limit=self.limit, size=self.packet_size())
        return self.spliced(main, extended)

    def claims(self) -> dict[str, list[str]]:
        """Returns what the file says about rights outside XMP: ``Exif:…``, ``IPTC:…``, ``PNG:…``."""
        found: dict[str, list[str]] = {}
        for block in self.exif():
            for name, text in exif.rights(block).items():
                found.setdefault(name, []).append(text)
        for name, texts in iim.rights(self.iptc()).items():
            found.setdefault(name, []).extend(texts)
        return found

    def skeleton(self) -> bytes:
        """Returns everything that a change of XMP may not touch, each part behind its length."""
        return b"".join(piece for part in self.fixed() for piece in (len(part).to_bytes(8, "big"), part))

    def extended(self, guid: str) -> bytes:
        """Returns the ExtendedXMP named `guid`; only JPEG has such.

        Raises:
            MalformedError: it is missing or damaged.
        """
        raise MalformedError(f"named {shown(guid)} is missing", field="ExtendedXMP")

    def packet_size(self) -> int | None:
        """Returns the length that a new packet should have so that nothing moves, None where any will do."""
        return None

    def iptc(self) -> bytes:
        """Returns the IPTC-IIM data sets."""
        return b""

    @abstractmethod
    def packets(self) -> list[bytes]:
        """Returns the XMP packets."""

    @abstractmethod
    def exif(self) -> list[bytes]:
        """Returns the Exif blocks (TIFF structures)."""

    @abstractmethod
    def with_exif(self, blocks: list[bytes]) -> bytes:
        """Returns the file with other Exif blocks, each as long as the one it replaces."""

    @abstractmethod
    def spliced(self, main: bytes, extended: bytes) -> bytes:
        """Returns the file with other XMP."""

    @abstractmethod
    def fixed(self) -> list[bytes | memoryview]:
        """Returns the parts that a change of XMP may not touch."""


class JpegPicture(Picture):
    limit = jpeg.MAX_PACKET

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._jpeg = jpeg.walk(data)

    def packets(self) -> list[bytes]:
        return jpeg.packets(self.data, self._jpeg)

    def extended(self, guid: str) -> bytes:
        return jpeg.extended_packet(self.data, self._jpeg, guid)

    def packet_size(self) -> int | None:
        segments = jpeg.packet_segments(self.data, self._jpeg)
        if len(segments) != 1 or self._guid:
            return None
        return min(segments[0].end - segments[0].body - len(jpeg.XMP_HEADER), jpeg.MAX_PACKET)

    def iptc(self) -> bytes:
        return iim.from_resources(jpeg.photoshop_block(self.data, self._jpeg))

    def exif(self) -> list[bytes]:
        return [self.data[start:end] for start, end in jpeg.exif_blocks(self.data, self._jpeg)]

    def with_exif(self, blocks: list[bytes]) -> bytes:
        return _overwritten(self.data, jpeg.exif_blocks(self.data, self._jpeg), blocks)

    def spliced(self, main: bytes, extended: bytes) -> bytes:
        return jpeg.splice(self.data, self._jpeg, self._guid, main, extended)

    def fixed(self) -> list[bytes | memoryview]:
        return jpeg.skeleton(self.data, self._jpeg, self._guid)

    def others(self) -> list[tuple[int, int]]:
        """Returns the byte ranges of the further pictures that an MPF index names."""
        return jpeg.mpf_images(self.data, self._jpeg)


class PngPicture(Picture):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._chunks = png.walk(data)

    def packets(self) -> list[bytes]:
        return png.packets(self.data, self._chunks)

    def iptc(self) -> bytes:
        found = png.profiles(self.data, self._chunks, b"iptc")
        return iim.from_resources(found[0][1]) if found else b""

    def claims(self) -> dict[str, list[str]]:
        found = super().claims()
        for keyword, text in png.texts(self.data, self._chunks):
            if keyword in ("Author", "Copyright") and text.strip():
                found.setdefault(f"PNG:{keyword}", []).append(text.strip())
        return found

    def exif(self) -> list[bytes]:
        blocks = [self.data[c.body : c.end - 4] for c in png.exif_chunks(self._chunks)]
        return blocks + [profile.removeprefix(b"Exif\0\0") for _, profile in self._profiles()]

    def with_exif(self, blocks: list[bytes]) -> bytes:
        chunks = png.exif_chunks(self._chunks)
        new = {c.start: png.chunk_bytes(b"eXIf", block) for c, block in zip(chunks, blocks, strict=False)}
        for (chunk, old), block in zip(self._profiles(), blocks[len(chunks) :], strict=True):
            if not old.endswith(block):
                new[chunk.start] = png.with_profile(self.data, chunk, old[: len(old) - len(block)] + block)
        return png.replaced(self.data, self._chunks, new)

    def spliced(self, main: bytes, extended: bytes) -> bytes:
        return png.splice(self.data, self._chunks, main)

    def fixed(self) -> list[bytes | memoryview]:
        return png.skeleton(self.data, self._chunks)

    def _profiles(self) -> list[tuple[png.Chunk, bytes]]:
        return png.profiles(self.data, self._chunks, b"exif", b"APP1")


class WebpPicture(Picture):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._chunks = webp.walk(data)

    def packets(self) -> list[bytes]:
        return webp.packets(self.data, self._chunks)

    def exif(self) -> list[bytes]:
        return [self.data[start:end] for start, end in webp.exif_blocks(self.data, self._chunks)]

    def with_exif(self, blocks: list[bytes]) -> bytes:
        return _overwritten(self.data, webp.exif_blocks(self.data, self._chunks), blocks)

    def spliced(self, main: bytes, extended: bytes) -> bytes:
        return webp.splice(self.data, self._chunks, main)

    def fixed(self) -> list[bytes | memoryview]:
        return webp.skeleton(self.data, self._chunks)


class TiffPicture(Picture):
    """A TIFF file: only its first directory is read, and nothing is written."""

    writable = False

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._fields, _ = tiff.read_ifd(data, tiff.first_ifd(data))

    def packets(self) -> list[bytes]:
        return self._values(XMP_TAG)

    def iptc(self) -> bytes:
        return b"".join(self._values(IPTC_TAG))

    def exif(self) -> list[bytes]:
        return [self.data]

    def with_exif(self, blocks: list[bytes]) -> bytes:
        raise RefusedError("are written beside the file, not into it", code="unsupported-media", field="image/tiff")

    def spliced(self, main: bytes, extended: bytes) -> bytes:
        raise RefusedError("are written beside the file, not into it", code="unsupported-media", field="image/tiff")

    def fixed(self) -> list[bytes | memoryview]:
        return [self.data]

    def _values(self, tag: int) -> list[bytes]:
        return [
            self.data[field.at : field.at + field.size]
            for field in self._fields
            if field.tag == tag and field.at is not None
        ]


_KINDS: dict[str, type[Picture]] = {
    "image/jpeg": JpegPicture,
    "image/png": PngPicture,
    "image/webp": WebpPicture,
    "image/tiff": TiffPicture,
}


def open_picture(data: bytes, *, writing: bool) -> Picture:
    """Walks `data` and returns it as a picture of its format.

    Raises:
        MalformedError: the file is damaged.
        RefusedError: ``unsupported-media``: a format whose metadata is not read (or, `writing`, not written).
    """
    name = content.media_type(data)
    kind = _KINDS.get(name)
    if kind is None or (writing and not kind.writable):
        verb = "written into" if writing else "read from"
        raise RefusedError(
            f"is {name}; rights are {verb} JPEG, PNG and WebP{'' if writing else ', and TIFF'}",
            code="unsupported-media",
            field="media_type",
        )
    return kind(data)


def _overwritten(data: bytes, ranges: list[tuple[int, int]], blocks: list[bytes]) -> bytes:
    work = bytearray(data)
    for (start, end), block in zip(ranges, blocks, strict=True):
        if end - start != len(block):
            raise ValueError(f"the block has {end - start} bytes, the new one {len(block)}")
        work[start:end] = block
    return bytes(work)
