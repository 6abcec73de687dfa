"""PNG files as a list of chunks (PNG, third edition): what is hashed, where metadata goes.

:func:`walk` checks the frame (signature, lengths, every CRC, IHDR first, IEND last);
:func:`content_parts` accepts the stricter grammar of a still picture.  Bytes behind IEND are a trailer
that nobody here interprets.  It does not inflate IDAT.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ledger.errors import MalformedError, shown

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # hashed, and in this order only
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
XMP_KEYWORD = b"XML:com.adobe.xmp"
PROFILE_KEYWORD = b"Raw profile type "  # ImageMagick's: metadata as lines of hex digits in a text chunk
MAX_PIECES = 1 << 18  # docs/format.md, section 2: no picture needs more chunks
MAX_TEXT = 4 << 20  # of one inflated text chunk: a packet as a raw profile takes two digits a byte
_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Chunk:
    """``start`` is its length field, ``body`` its first data byte, ``end`` the byte behind its CRC."""

    kind: bytes
    start: int
    body: int
    end: int


def walk(data: bytes) -> tuple[Chunk, ...]:
    """Walks the chunks from IHDR to IEND.

    Raises:
        MalformedError: not a PNG, cut short, a wrong CRC, no IHDR first, no IDAT, or no IEND.
    """
    if data[:8] != SIGNATURE:
        raise MalformedError(f"begins with {data[:8].hex()}, a PNG begins with {SIGNATURE.hex()}", field="png")
    view = memoryview(data)
    chunks: list[Chunk] = []
    pos = 8
    while True:
        if len(chunks) >= MAX_PIECES:
            raise MalformedError(f"has more than {MAX_PIECES} chunks", field="png")
        if pos + 12 > len(data):
            raise MalformedError("ends without IEND", field="png")
        kind = data[pos + 4 : pos + 8]
        end = pos + 12 + int.from_bytes(data[pos : pos + 4], "big")
        if end > len(data):
            raise MalformedError(f"has a chunk at byte {pos} that ends at byte {end} of {len(data)}", field="png")
        if zlib.crc32(view[pos + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise MalformedError(f"has a wrong CRC in {shown(kind.decode('latin-1'))} at byte {pos}", field="png")
        chunks.append(Chunk(kind, pos, pos + 8, end))
        pos = end
        if kind == b"IEND":
            break
    kinds = [chunk.kind for chunk in chunks]
    if kinds[0] != b"IHDR" or chunks[0].end - chunks[0].start != 25 or b"IDAT" not in kinds:
        raise MalformedError("has no IHDR of 13 bytes first, or no IDAT", field="png")
    return tuple(chunks)


def content_parts(data: bytes) -> Iterator[bytes | memoryview]:
    """Yields the hashed parts of a PNG (docs/format.md, section 2).

    Raises:
        MalformedError: the file is outside the accepted grammar.
    """
    chunks = walk(data)
    for chunk in chunks:
        if chunk.kind in ANIMATION:
            raise MalformedError("is animated", field="png")
        if not chunk.kind[0] & 0x20 and chunk.kind not in PICTURE and chunk.kind != b"IEND":
            name = shown(chunk.kind.decode("latin-1"))
            raise MalformedError(f"has the critical chunk {name}, which nobody knows", field="png")
    if chunks[-1].end - chunks[-1].start != 12:
        raise MalformedError("has an IEND with data", field="png")
    picture = [(number, chunk) for number, chunk in enumerate(chunks) if chunk.kind in PICTURE]
    ranks = [PICTURE.index(chunk.kind) for _, chunk in picture]
    if ranks != sorted(ranks) or any(ranks.count(rank) > 1 for rank in range(3)):
        raise MalformedError("has IHDR, PLTE, tRNS and IDAT in another order, or one of them twice", field="png")
    pixels = [(number, chunk) for number, chunk in picture if chunk.kind == b"IDAT"]
    if pixels[-1][0] - pixels[0][0] != len(pixels) - 1:
        raise MalformedError("has another chunk between its IDATs", field="png")
    view = memoryview(data)
    for _, chunk in picture[: -len(pixels)]:
        yield chunk.kind + (chunk.end - chunk.start - 12).to_bytes(8, "big")
        yield view[chunk.body : chunk.end - 4]
    yield b"IDAT" + sum(chunk.end - chunk.start - 12 for _, chunk in pixels).to_bytes(8, "big")
    for _, chunk in pixels:
        yield view[chunk.body : chunk.end - 4]


def exif_chunks(chunks: tuple[Chunk, ...]) -> list[Chunk]:
    """Returns the eXIf chunks; each body is one TIFF structure."""
    return [chunk for chunk in chunks if chunk.kind == b"eXIf"]


def packet_chunks(data: bytes, chunks: tuple[Chunk, ...]) -> list[Chunk]:
    """Returns the text chunks that hold an XMP packet."""
    return [
        chunk
        for chunk in chunks
        if chunk.kind in TEXTS and data.startswith((XMP_KEYWORD + b"\0", PROFILE_KEYWORD + b"xmp\0"), chunk.body)
    ]


def packets(data: bytes, chunks: tuple[Chunk, ...]) -> list[bytes]:
    """Returns the XMP packets, inflated where they are compressed.

    Raises:
        MalformedError: a chunk is not an iTXt, does not inflate, or inflates to more than 4 MiB.
    """
    found = []
    for chunk in packet_chunks(data, chunks):
        keyword, value = _text(data, chunk)
        found.append(_unhexed(value)[1] if keyword != XMP_KEYWORD else value)
    return found


def profiles(data: bytes, chunks: tuple[Chunk, ...], *kinds: bytes) -> list[tuple[Chunk, bytes]]:
    """Returns the raw profiles of `kinds` (``exif``, ``APP1``, ``iptc``…), with the chunk of each.

    Raises:
        MalformedError: one of them is not lines of hex digits, or too long.
    """
    found = []
    for chunk in chunks:
        if chunk.kind in TEXTS and data.startswith(PROFILE_KEYWORD, chunk.body):
            keyword, value = _text(data, chunk)
            if keyword.removeprefix(PROFILE_KEYWORD) in kinds:
                found.append((chunk, _unhexed(value)[1]))
    return found


def with_profile(data: bytes, chunk: Chunk, profile: bytes) -> bytes:
    """Returns `chunk` with another raw profile of the same length."""
    keyword, value = _text(data, chunk)
    head, old = _unhexed(value)
    if len(old) != len(profile):
        raise ValueError(f"the profile has {len(old)} bytes, the new one {len(profile)}")
    digits = iter(profile.hex().encode())
    value = head + bytes(byte if byte in _SPACE else next(digits) for byte in value[len(head) :])
    if chunk.kind == b"zTXt":
        return chunk_bytes(b"zTXt", keyword + b"\0\0" + zlib.compress(value))
    if chunk.kind == b"iTXt":
        return chunk_bytes(b"iTXt", keyword + b"\0\0\0\0\0" + value)
    return chunk_bytes(b"tEXt", keyword + b"\0" + value)


def replaced(data: bytes, chunks: tuple[Chunk, ...], new: dict[int, bytes]) -> bytes:
    """Returns `data` with the chunks that start at the keys of `new` replaced."""
    parts = [data[:8]]
    parts += [new.get(chunk.start, data[chunk.start : chunk.end]) for chunk in chunks]
    return b"".join([*parts, data[chunks[-1].end :]])


def texts(data: bytes, chunks: tuple[Chunk, ...]) -> list[tuple[str, str]]:
    """Returns keyword and value of each text chunk but XMP; one that cannot be read is left out."""
    found = []
    for chunk in chunks:
        if chunk.kind in TEXTS and not data.startswith(XMP_KEYWORD + b"\0", chunk.body):
            try:
                keyword, value = _text(data, chunk)
            except MalformedError:
                continue
            charset = "utf-8" if chunk.kind == b"iTXt" else "latin-1"
            found.append((keyword.decode("latin-1"), value.decode(charset, "replace")))
    return found


def chunk_bytes(kind: bytes, body: bytes) -> bytes:
    """Returns a whole chunk: length, type, data, CRC."""
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def splice(data: bytes, chunks: tuple[Chunk, ...], packet: bytes) -> bytes:
    """Returns `data` with its XMP packets replaced by `packet`, uncompressed, at the first old place before IDAT."""
    old = packet_chunks(data, chunks)
    pixels = next(chunk.start for chunk in chunks if chunk.kind == b"IDAT")
    place = min((chunk.start for chunk in old if chunk.start < pixels), default=pixels)
    skipped = {chunk.start for chunk in old}
    new = chunk_bytes(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + packet)
    parts = [data[:8]]
    for chunk in chunks:
        if chunk.start == place:
            parts.append(new)
        if chunk.start not in skipped:
            parts.append(data[chunk.start : chunk.end])
    parts.append(data[chunks[-1].end :])
    return b"".join(parts)


def skeleton(data: bytes, chunks: tuple[Chunk, ...]) -> list[bytes | memoryview]:
    """Returns everything but XMP: what a splice may not change."""
    view = memoryview(data)
    skipped = {chunk.start for chunk in packet_chunks(data, chunks)}
    return [*(view[c.start : c.end] for c in chunks if c.start not in skipped), view[chunks[-1].end :]]


def _text(data: bytes, chunk: Chunk) -> tuple[bytes, bytes]:
    """Returns keyword and raw value of a text chunk."""
    keyword, zero, rest = data[chunk.body : chunk.end - 4].partition(b"\0")
    packed = False
    if chunk.kind == b"zTXt":
        packed, rest = True, rest[1:]
    if chunk.kind == b"iTXt":
        fields = rest[2:].split(b"\0", 2)
        if len(fields) != 3:
            raise MalformedError(f"iTXt at byte {chunk.start} has no language and keyword", field="png")
        packed, rest = rest[:1] == b"\1", fields[2]
    if not zero:
        raise MalformedError(f"text at byte {chunk.start} has no keyword", field="png")
    return keyword, _inflated(rest) if packed else rest


def _inflated(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        value = inflater.decompress(packed, MAX_TEXT)
    except zlib.error as e:
        raise MalformedError("has a compressed text that does not inflate", field="png") from e
    if not inflater.eof:
        raise MalformedError(f"has a compressed text of more than {MAX_TEXT} bytes, or a cut one", field="png")
    return value


def _unhexed(value: bytes) -> tuple[bytes, bytes]:
    """Splits a raw profile into its head (name and length, each on a line) and its bytes."""
    lines = value.split(b"\n", 3)
    head = value[: len(value) - len(lines[-1])]
    try:
        profile = bytes.fromhex(lines[-1].decode("ascii"))
        size = int(lines[2]) if len(lines) == 4 else -1
    except ValueError as e:
        raise MalformedError("has a raw profile that is not hex digits", field="png") from e
    if size != len(profile):
        raise MalformedError(f"has a raw profile of {len(profile)} bytes that gives its length as {size}", field="png")
    return head, profile
