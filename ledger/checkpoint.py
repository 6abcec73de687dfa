"""Checkpoints (C2SP tlog-checkpoint): a log's signed statement of its size and root (docs/format.md, section 4).

The note text is ``<origin>\\n<size>\\n<base64 root>\\n`` without extension lines.  Parsing says nothing about who
signed: that is :mod:`ledger.policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.encoding import HASH_BYTES, MAX_SAFE_INTEGER, b64_decode, b64_encode, decimal_decode
from ledger.errors import MalformedError
from ledger.keys import Signer
from ledger.note import Note, check_name, format_note, parse_note, sign_note

MAX_LOG_SIZE: Final = MAX_SAFE_INTEGER


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log named `origin` has `size` leaves under the 32-byte `root`."""

    origin: str
    size: int
    root: bytes


def format_text(checkpoint: Checkpoint) -> str:
    """Writes the note text, the newline at its end included."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{b64_encode(checkpoint.root)}\n"


def parse_text(text: str, field: str = "checkpoint") -> Checkpoint:
    """Reads the note text; refuses extension lines."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise MalformedError("expected the three lines origin, size and root", field=field)
    origin = check_origin(lines[0], f"{field}.origin")
    size = decimal_decode(lines[1], f"{field}.size", MAX_LOG_SIZE)
    return Checkpoint(origin, size, b64_decode(lines[2], f"{field}.root", HASH_BYTES))


def check_origin(origin: str, field: str) -> str:
    """Returns a log's name: ASCII, a key name, no scheme."""
    if not origin.isascii() or "://" in origin:
        raise MalformedError("an origin is like registry.example/log/2026, ASCII without https://", field=field)
    return check_name(origin, field)


def sign_checkpoint(checkpoint: Checkpoint, *keys: Signer) -> bytes:
    """Returns the note with one signature line of each of the log's `keys`."""
    text = format_text(checkpoint)
    return format_note(Note(text, tuple(sign_note(text, checkpoint.origin, key) for key in keys)))


def parse_checkpoint(data: bytes, field: str = "checkpoint") -> tuple[Checkpoint, Note]:
    """Reads a checkpoint note; verifies nothing."""
    note = parse_note(data, field)
    return parse_text(note.text, field), note
