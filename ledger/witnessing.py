"""What a log and its witnesses say to each other (C2SP tlog-witness): requests, answers, and what a witness checks.

A log sends its new checkpoint with a proof that it extends the one the witness cosigned last; the witness answers with
a cosignature (C2SP tlog-cosignature).  Nothing is sent or stored here: :mod:`ledger.witness` does both.  A request is::

    old <size>
    <base64 hash>        up to 63 of them, the consistency proof (RFC 9162, 2.1.4); none from size 0
    <blank line>
    <checkpoint>

A log that is witnessed may be anybody's, so its checkpoint may have extension lines; those of this package's logs have
none (:mod:`ledger.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import MAX_LOG_SIZE
from ledger.encoding import HASH_BYTES, b64_decode, b64_encode, decimal_decode
from ledger.errors import (
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    VerificationError,
    shown,
)
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    VerifierKey,
    format_note,
    is_signed,
    names_key,
    parse_note,
    parse_signatures,
)

PATH: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of the size in an answer 409."""
MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 64 * MAX_PROOF_LINES
MAX_ANSWER_BYTES: Final = 16 * 1024
MAX_WITNESSES: Final = MAX_SIGNATURES - 2
"""Witnesses of one log: the others of a note's lines are the log's own, two while its key changes."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the `note` of a checkpoint, and the `proof` that it extends the first `old` leaves."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness holds of a log: `size` and `root` of the checkpoint that it cosigned last, `at` UTC seconds."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    at: int = 0


def format_request(request: AddCheckpoint) -> bytes:
    """Writes the body of a request."""
    proof = "".join(f"{b64_encode(hash_)}\n" for hash_ in request.proof)
    return f"old {request.old}\n{proof}\n".encode() + request.note


def parse_request(data: bytes, field: str = "body") -> AddCheckpoint:
    """Reads the body of a request; verifies nothing."""
    head, blank, note = data.partition(b"\n\n")
    if not blank:
        raise MalformedError("expected a blank line before the checkpoint", field=field)
    if not head.isascii():
        raise MalformedError("expected ASCII before the checkpoint", field=field)
    first, *lines = head.decode("ascii").split("\n")
    if not first.startswith("old "):
        raise MalformedError(f"expected the line old and a size, found {shown(first)}", field=f"{field}.old")
    if len(lines) > MAX_PROOF_LINES:
        message = f"at most {MAX_PROOF_LINES} hashes are allowed, found {len(lines)}"
        raise MalformedError(message, field=f"{field}.proof")
    old = decimal_decode(first.removeprefix("old "), f"{field}.old", MAX_LOG_SIZE)
    return AddCheckpoint(old, tuple(b64_decode(line, f"{field}.proof", HASH_BYTES) for line in lines), note)


def format_size(size: int) -> bytes:
    """Writes the body of an answer 409: the size of the checkpoint that was cosigned last."""
    return b"%d\n" % size


def parse_size(data: bytes, field: str = "size") -> int:
    """Reads the body of an answer 409."""
    if not data.endswith(b"\n") or not data.isascii():
        raise MalformedError(f"expected a decimal number and a newline, found {shown(data)}", field=field)
    return decimal_decode(data[:-1].decode("ascii"), field, MAX_LOG_SIZE)


# -- the log's side


def parse_answer(data: bytes, text: str, key: VerifierKey, field: str = "answer") -> Signature:
    """Returns the cosignature of `key` over the checkpoint `text` out of the body of an answer 200.

    Lines of other keys are passed over (C2SP tlog-witness).

    Raises:
        MalformedError: not signature lines.
        VerificationError: ``cosignature``: none of that key, or none that is true: it may be another log's.
    """
    try:
        lines = parse_signatures(data.decode("utf-8"), field)
    except UnicodeDecodeError as e:
        raise MalformedError("not UTF-8", field=field) from e
    found = true_cosignatures(text, lines, (key,))
    if not found:
        raise VerificationError(f"no true cosignature of {key.name}", code="cosignature", field=field)
    return found[0]


def true_cosignatures(text: str, lines: Iterable[Signature], keys: Iterable[VerifierKey]) -> tuple[Signature, ...]:
    """Returns of each of `keys` its first line that is a true signature over `text`; false lines are passed over."""
    lines = tuple(lines)
    found = []
    for key in keys:
        for line in lines:
            if names_key(line, key) and is_signed(Note(text, (line,)), key):
                found.append(line)
                break
    return tuple(found)


def add_cosignatures(note: bytes, cosignatures: Iterable[Signature]) -> bytes:
    """Returns the log's own `note` with the cosignatures after its own lines."""
    own = parse_note(note)
    return format_note(Note(own.text, (*own.signatures, *cosignatures)))


# -- the witness's side


def read_checkpoint(request: AddCheckpoint, logs: Sequence[VerifierKey]) -> tuple[str, Seen, Note]:
    """Returns origin, size and root, and the note of a checkpoint that a key of `logs` signed for its own name.

    Raises:
        MalformedError: no checkpoint, or one of less than the old size.
        NotFoundError: ``unknown-log``: no key of `logs` has that name.
        RefusedError: ``not-signed``: none of the keys of that name signed it.
    """
    note = parse_note(request.note, "checkpoint")
    origin, size, root = _read_text(note.text)
    keys = [key for key in logs if key.name == origin]
    if not keys:
        raise NotFoundError(f"no log {shown(origin)} is followed here", code="unknown-log", field="checkpoint.origin")
    if not any(is_signed(note, key) for key in keys):
        raise RefusedError(f"no known key of {origin} signed it", code="not-signed", field="checkpoint")
    if request.old > size:
        raise MalformedError(f"the old size {request.old} is beyond the checkpoint's {size}", field="body.old")
    return origin, Seen(size, root), note


def _read_text(text: str) -> tuple[str, int, bytes]:
    """Reads a checkpoint of any log (C2SP tlog-checkpoint): origin, size, root, then any extension lines."""
    lines = text.split("\n")
    if len(lines) < 4 or not all(lines[:-1]):
        raise MalformedError("expected the lines origin, size and root, and no blank one", field="checkpoint")
    size = decimal_decode(lines[1], "checkpoint.size", MAX_LOG_SIZE)
    return lines[0], size, b64_decode(lines[2], "checkpoint.root", HASH_BYTES)


def check_extends(request: AddCheckpoint, new: Seen, held: Seen) -> None:
    """Checks that a checkpoint extends the one that is `held`: what a witness does before it cosigns.

    Raises:
        ConflictError: ``stale-size``: the old size is not the held one; ``other-root``: one size with two roots.
        VerificationError: ``consistency``: the proof does not show it.
    """
    if request.old != held.size:
        raise ConflictError(f"the last cosigned size is {held.size}, not {request.old}", code="stale-size")
    if new.size == held.size and new.root != held.root:
        raise ConflictError(f"another root is cosigned at {held.size} leaves", code="other-root")
    verify_consistency(held.size, new.size, held.root, new.root, request.proof)
