"""Signed notes (C2SP signed-note): text, a blank line, signature lines; and their verifier keys.

Two kinds of Ed25519 signature: ``0x01`` over the note text itself (a log), ``0x04`` a timestamped cosignature (a
witness, C2SP tlog-cosignature).  A *vkey* is ``<name>+<8 hex digits of the key id>+<base64(kind ‖ 32-byte key)>``; the
key id is the first four bytes of ``SHA-256(name ‖ 0A ‖ kind ‖ key)``.  Text handed to ``parse_note`` is bounded,
UTF-8 without control characters except newline, and is returned byte for byte: it is what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.encoding import b64_decode, b64_encode, sha256
from ledger.errors import MalformedError, VerificationError, shown
from ledger.keys import Signer, check_public, verify_signature

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 32
ED25519: Final = 1
COSIGNATURE: Final = 4
MAX_COSIGNATURE_TIME: Final = 2**63 - 1  # C2SP tlog-cosignature

_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,256}")
_PREFIX = "— "  # U+2014 EM DASH, space


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may sign: `name`, `kind` (ED25519 or COSIGNATURE) and the 32-byte `public` key."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature line names this key."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public)[:4]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose it says to be, and the raw signature after the key id."""

    name: str
    key_id: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note: `text` ends with a newline and is what the signatures are over."""

    text: str
    signatures: tuple[Signature, ...]


def check_name(name: str, field: str) -> str:
    """Returns a key name: no spaces, no plus, at most 256 characters."""
    if not _NAME.fullmatch(name):
        raise MalformedError(f"a key name has no spaces and no plus, found {shown(name)}", field=field)
    return name


def parse_vkey(text: str, field: str = "vkey") -> VerifierKey:
    """Reads a vkey; refuses another kind of key and a key id that does not belong to it."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise MalformedError(f"expected name+id+key, found {shown(text)}", field=field)
    data = b64_decode(parts[2], field)
    if len(data) != 33 or data[0] not in (ED25519, COSIGNATURE):
        raise MalformedError("expected an Ed25519 key (kind 1) or a cosignature key (kind 4)", field=field)
    key = VerifierKey(check_name(parts[0], field), data[0], check_public(data[1:], field))
    if parts[1] != key.key_id.hex():
        raise MalformedError(f"the key id is {key.key_id.hex()}, not {shown(parts[1])}", field=field)
    return key


def format_vkey(key: VerifierKey) -> str:
    """Writes a vkey."""
    return f"{key.name}+{key.key_id.hex()}+{b64_encode(bytes([key.kind]) + key.public)}"


def parse_note(data: bytes, field: str = "note") -> Note:
    """Splits a note into its text and signatures; verifies nothing."""
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedError(f"at most {MAX_NOTE_BYTES} bytes are allowed, found {len(data)}", field=field)
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError("not UTF-8", field=field) from e
    if any(c < " " and c != "\n" for c in whole):
        raise MalformedError("control characters are not allowed", field=field)
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or lines == "\n":
        raise MalformedError("expected text, a blank line and signature lines", field=field)
    return Note(text + "\n", parse_signatures(lines, field))


def parse_signatures(lines: str, field: str = "signatures") -> tuple[Signature, ...]:
    """Reads 1 to MAX_SIGNATURES signature lines, the newline at the end of the last included; verifies nothing."""
    if not lines.endswith("\n"):
        raise MalformedError("expected signature lines with a newline at the end", field=field)
    signatures = tuple(_parse_signature(line, field) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise MalformedError(f"at most {MAX_SIGNATURES} signatures are allowed", field=field)
    return signatures


def _parse_signature(line: str, field: str) -> Signature:
    name, _, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not encoded:
        raise MalformedError(f"not a signature line: {shown(line)}", field=field)
    data = b64_decode(encoded, field)
    if len(data) < 5:
        raise MalformedError("a signature has a key id and at least one byte", field=field)
    return Signature(check_name(name, field), data[:4], data[4:])


def format_note(note: Note) -> bytes:
    """Writes a note; ``parse_note`` gives it back."""
    return f"{note.text}\n{format_signatures(note.signatures)}".encode()


def format_signatures(signatures: Iterable[Signature]) -> str:
    """Writes signature lines; ``parse_signatures`` gives them back."""
    return "".join(f"{_PREFIX}{s.name} {b64_encode(s.key_id + s.raw)}\n" for s in signatures)


def sign_note(text: str, name: str, key: Signer) -> Signature:
    """Returns `key`'s signature (kind 1) over `text`, which ends with a newline."""
    verifier = VerifierKey(name, ED25519, key.public)
    return Signature(name, verifier.key_id, key.sign(text.encode()))


def cosign_note(text: str, name: str, key: Signer, at: int) -> Signature:
    """Returns a witness's cosignature (kind 4) made `at` UTC seconds."""
    verifier = VerifierKey(name, COSIGNATURE, key.public)
    return Signature(name, verifier.key_id, at.to_bytes(8, "big") + key.sign(_cosigned(text, at)))


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def names_key(signature: Signature, key: VerifierKey) -> bool:
    """Returns whether the line says to be `key`'s, by its name and key id."""
    return signature.name == key.name and signature.key_id == key.key_id


def verify_note(note: Note, key: VerifierKey) -> int | None:
    """Checks `key`'s signatures on `note`; returns the latest time of a witness's (UTC seconds), None for a log's.

    Every line that names `key` has to be true (C2SP signed-note): none of a key that signed falsely counts.

    Raises:
        VerificationError: no line of that key, or a false one.
    """
    lines = [signature for signature in note.signatures if names_key(signature, key)]
    if not lines:
        raise VerificationError(f"not signed by {key.name}", code="checkpoint")
    times = [_verify_line(note.text, key, line.raw) for line in lines]
    return max(times) if key.kind == COSIGNATURE else None


def is_signed(note: Note, key: VerifierKey) -> bool:
    """Returns whether `key` signed the note: it has a line of that key, and no false one."""
    try:
        verify_note(note, key)
    except VerificationError:
        return False
    return True


def _verify_line(text: str, key: VerifierKey, raw: bytes) -> int:
    """Returns the time of a cosignature, 0 for a plain signature."""
    at, message = 0, text.encode()
    if key.kind == COSIGNATURE:
        at = int.from_bytes(raw[:8], "big")
        message, raw = _cosigned(text, at), raw[8:]
    if at > MAX_COSIGNATURE_TIME or not verify_signature(key.public, message, raw):
        raise VerificationError(f"the signature of {key.name} is false", code="checkpoint")
    return at
