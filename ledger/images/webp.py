"""WebP files as a list of RIFF chunks (RFC 9649): what is hashed, where metadata goes.

:func:`walk` checks the frame; :func:`content_parts` accepts the grammar that all decoders agree on.
Bytes behind the RIFF are a trailer that nobody here interprets.  It does not decode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.errors import MalformedError

METADATA = (b"ICCP", b"EXIF", b"XMP ")
PICTURE = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
ANIMATED, XMP_FLAG, EXIF_FLAG, ALPHA = 0x02, 0x04, 0x08, 0x10  # of VP8X
MAX_PIECES = 1 << 18  # docs/format.md, section 2: no picture needs more chunks


@dataclass(frozen=True, slots=True)
class Chunk:
    """``start`` is its type, ``body`` its first data byte; data end at ``end``, the padding at ``padded``."""

    kind: bytes
    start: int
    body: int
    end: int
    padded: int


def walk(data: bytes) -> tuple[Chunk, ...]:
    """Walks the chunks of the RIFF; the last one ends where the RIFF ends.

    Raises:
        MalformedError: not a WebP, cut short, or with a chunk that leaves the RIFF.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise MalformedError(f"begins with {data[:12].hex()}, a WebP begins with RIFF, a size and WEBP", field="webp")
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise MalformedError(f"has a RIFF of {stop} bytes in a file of {len(data)}", field="webp")
    chunks: list[Chunk] = []
    pos = 12
    while pos < stop:
        if len(chunks) >= MAX_PIECES:
            raise MalformedError(f"has more than {MAX_PIECES} chunks", field="webp")
        end = pos + 8 + int.from_bytes(data[pos + 4 : pos + 8], "little")
        padded = end + (end - pos) % 2
        if pos + 8 > stop or padded > stop:
            raise MalformedError(f"has a chunk at byte {pos} that leaves the RIFF", field="webp")
        chunks.append(Chunk(data[pos : pos + 4], pos, pos + 8, end, padded))
        pos = padded
    if not any(chunk.kind in (b"VP8 ", b"VP8L", b"ANMF") for chunk in chunks):
        raise MalformedError("has no picture", field="webp")
    return tuple(chunks)


def content_parts(data: bytes) -> Iterator[bytes | memoryview]:
    """Yields the hashed parts of a WebP (docs/format.md, section 2).

    Raises:
        MalformedError: the file is outside the accepted grammar.
    """
    chunks = walk(data)
    kinds = [chunk.kind for chunk in chunks]
    extended = kinds[0] == b"VP8X"
    frames = [kind for kind in kinds[extended:] if kind not in METADATA]
    if not extended and (len(kinds) != 1 or kinds[0] not in (b"VP8 ", b"VP8L")):
        raise MalformedError("without VP8X holds more than one VP8 or VP8L", field="webp")
    still = frames in ([b"VP8 "], [b"VP8L"], [b"ALPH", b"VP8 "])
    animation = len(frames) > 1 and frames[0] == b"ANIM" and set(frames[1:]) == {b"ANMF"}
    if not still and not animation:
        raise MalformedError("has picture chunks outside the order VP8X, [ALPH] VP8 | VP8L | ANIM ANMF…", field="webp")
    if b"ALPH" in kinds and kinds[kinds.index(b"ALPH") + 1] != b"VP8 ":
        raise MalformedError("has another chunk between ALPH and VP8", field="webp")
    view = memoryview(data)
    header = canvas(data, chunks)
    yield bytes([header[0] & (ALPHA | ANIMATED)]) + header[4:10]
    for chunk in chunks:
        if chunk.kind in PICTURE:
            yield chunk.kind + (chunk.end - chunk.body).to_bytes(8, "big")
            yield view[chunk.body : chunk.end]


def canvas(data: bytes, chunks: tuple[Chunk, ...]) -> bytes:
    """Returns the 10 data bytes of VP8X, as the file has them or would have them without metadata.

    Raises:
        MalformedError: VP8X has another length, or the picture's own header is not one.
    """
    first = chunks[0]
    body = data[first.body : first.end]
    if first.kind == b"VP8X":
        if len(body) != 10:
            raise MalformedError(f"has a VP8X of {len(body)} bytes, it has 10", field="webp")
        return body
    if first.kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a" and not body[0] & 1:
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        height = int.from_bytes(body[8:10], "little") & 0x3FFF
        flags = 0
    elif first.kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = ALPHA if bits >> 28 & 1 else 0
    else:
        raise MalformedError("has a picture without its header", field="webp")
    if not width or not height:
        raise MalformedError(f"has a picture of {width} × {height}", field="webp")
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def exif_blocks(data: bytes, chunks: tuple[Chunk, ...]) -> list[tuple[int, int]]:
    """Returns the byte range of the TIFF structure in each EXIF chunk; some writers put JPEG's header before it."""
    ranges = []
    for chunk in chunks:
        if chunk.kind == b"EXIF":
            start = chunk.body + (6 if data.startswith(b"Exif\0", chunk.body) else 0)
            if start < chunk.end:
                ranges.append((start, chunk.end))
    return ranges


def packets(data: bytes, chunks: tuple[Chunk, ...]) -> list[bytes]:
    """Returns the XMP packets."""
    return [data[chunk.body : chunk.end] for chunk in chunks if chunk.kind == b"XMP "]


def splice(data: bytes, chunks: tuple[Chunk, ...], packet: bytes) -> bytes:
    """Returns `data` with its XMP packets replaced by `packet`, last in the RIFF; VP8X is made where it is missing.

    Raises:
        MalformedError: there is no VP8X and none can be made.
    """
    header = bytearray(canvas(data, chunks))
    header[0] |= XMP_FLAG
    parts = [_chunk(b"VP8X", bytes(header))]
    parts += [data[c.start : c.padded] for c in chunks if c.kind != b"XMP " and c is not _head(chunks)]
    parts.append(_chunk(b"XMP ", packet))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body + data[chunks[-1].padded :]


def skeleton(data: bytes, chunks: tuple[Chunk, ...]) -> list[bytes | memoryview]:
    """Returns everything but XMP, its flag, and a VP8X that only repeats the picture: what a splice may not change."""
    view = memoryview(data)
    header = bytearray(canvas(data, chunks))
    header[0] &= 0xFF ^ XMP_FLAG
    parts: list[bytes | memoryview] = [bytes(header)]
    parts += [view[c.start : c.padded] for c in chunks if c.kind != b"XMP " and c is not _head(chunks)]
    parts.append(view[chunks[-1].padded :])
    return parts


def _head(chunks: tuple[Chunk, ...]) -> Chunk | None:
    return chunks[0] if chunks[0].kind == b"VP8X" else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
