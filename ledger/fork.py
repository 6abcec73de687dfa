"""Evidence of a fork: two checkpoints that one log signed and that cannot both be true (docs/format.md, section 6).

A log only grows, so of two checkpoints the bigger tree holds the smaller one.  ``*.fork.json`` carries two notes, each
with the log's signature, and, where their sizes differ, the path that shows which root the bigger tree has at the
smaller size.  Another root than the smaller note signs is proof of misbehavior: nothing but the log's key of the
verifier's own trust file is needed to see it, and nobody without that key can make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger.canonical import Object, as_constant, as_list, as_object, as_text, canonical, parse
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import digest_decode, digest_encode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.merkle import EMPTY_ROOT, NodeOf, prefix_path, prefix_roots
from ledger.note import MAX_NOTE_BYTES, Note, format_note, names_key, parse_note, verify_note
from ledger.policy import Policy

KIND: Final = "fork/v1"
MAX_FORK_BYTES: Final = 256 * 1024
MAX_PATH: Final = 128
SIGNATURES: Final = 1
"""Lines in each note: the log's own.  A line nobody can check could be changed."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A parsed ``*.fork.json``: the smaller checkpoint first, of one size the smaller root; nothing is verified."""

    first: Checkpoint
    second: Checkpoint
    notes: tuple[Note, Note]
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ForkResult:
    """What verified evidence shows: the log `origin` signed `first`, and `second`, whose tree has the root `instead` at
    the size of `first`; `keys` signed them, one each (names with key ids)."""

    origin: str
    first: Checkpoint
    second: Checkpoint
    instead: bytes
    keys: tuple[str, str]

    @property
    def sentence(self) -> str:
        """What it proves, for people; two keys are named: after a theft they may not be one signer's."""
        first, second = self.keys
        signers = f" ({first} the former, {second} the latter)" if first != second else ""
        if self.first.size == self.second.size:
            return f"{self.origin} signed two different logs of {self.first.size} leaves{signers}"
        return (
            f"{self.origin} signed {self.first.size} leaves, and {self.second.size} that do not begin with them"
            f"{signers}"
        )

    def value(self) -> Object:
        """Returns the result as JSON."""
        return {
            "log": self.origin,
            "sizes": [self.first.size, self.second.size],
            "roots": [digest_encode(self.first.root), digest_encode(self.second.root)],
            "instead": digest_encode(self.instead),
            "keys": list(self.keys),
            "proved": [self.sentence],
        }


def make_fork(one: bytes, other: bytes, node: NodeOf, policy: Policy) -> bytes:
    """Makes the evidence out of two checkpoint notes; `node` gives the complete nodes of the bigger tree.

    Raises:
        VerificationError: they prove nothing; the code is that of ``verify_fork``.
    """
    notes = sorted((parse_note(bare_note(note, policy)) for note in (one, other)), key=_order)
    first, second = (parse_checkpoint(format_note(note))[0] for note in notes)
    if first == second:
        raise VerificationError("both notes are of one checkpoint", code="no-fork")
    path = prefix_path(first.size, second.size, node) if 0 < first.size < second.size else []
    data = canonical(
        {
            "trainmark": KIND,
            "first": format_note(notes[0]).decode(),
            "second": format_note(notes[1]).decode(),
            "path": [digest_encode(hash_) for hash_ in path],
        },
        max_text=MAX_NOTE_BYTES,
    )
    verify_fork(data, policy)
    return data


def bare_note(note: bytes, policy: Policy, field: str = "checkpoint") -> bytes:
    """Returns a checkpoint note with one true line of a log key of the policy, and no other.

    Raises:
        MalformedError: no checkpoint note.
        VerificationError: ``checkpoint``: no such line.
    """
    checkpoint, parsed = parse_checkpoint(note, field)
    for key in policy.logs:
        for line in parsed.signatures:
            if key.name == checkpoint.origin and names_key(line, key):
                bare = Note(parsed.text, (line,))
                verify_note(bare, key)
                return format_note(bare)
    raise VerificationError(f"no trusted key of {shown(checkpoint.origin)} signed this checkpoint", code="checkpoint")


def _order(note: Note) -> tuple[int, bytes]:
    checkpoint = parse_checkpoint(format_note(note))[0]
    return checkpoint.size, checkpoint.root


def parse_fork(data: bytes, field: str = "fork") -> Fork:
    """Reads the canonical bytes of a ``*.fork.json``.

    Raises:
        MalformedError: another form; a note with more than one signature; notes out of order, or of one checkpoint.
    """
    o = as_object(
        parse(data, field, MAX_FORK_BYTES, max_text=MAX_NOTE_BYTES), field, ("trainmark", "first", "second", "path")
    )
    as_constant(o["trainmark"], f"{field}.trainmark", KIND)
    first, second = (_read_note(as_text(o[name], f"{field}.{name}"), f"{field}.{name}") for name in ("first", "second"))
    if (first[0].size, first[0].root) >= (second[0].size, second[0].root):
        raise MalformedError("the smaller of two checkpoints comes first, of one size the smaller root", field=field)
    path = as_list(o["path"], f"{field}.path", MAX_PATH)
    hashes = tuple(digest_decode(hash_, f"{field}.path[{n}]") for n, hash_ in enumerate(path))
    return Fork(first[0], second[0], (first[1], second[1]), hashes)


def _read_note(text: str, field: str) -> tuple[Checkpoint, Note]:
    checkpoint, note = parse_checkpoint(text.encode(), field)
    if len(note.signatures) != SIGNATURES:
        raise MalformedError(f"expected one signature line, the log's; found {len(note.signatures)}", field=field)
    return checkpoint, note


def verify_fork(data: bytes, policy: Policy) -> ForkResult:
    """Checks the evidence, in the order of docs/format.md, under the log keys of `policy` alone.

    No quorum is asked for: what the log signed is its own doing, whoever cosigned it.

    Raises:
        MalformedError: step 1.
        VerificationError: ``wrong-log``, ``checkpoint``, ``fork-path`` or ``no-fork``.
    """
    fork = parse_fork(data)
    origin = fork.first.origin
    if fork.second.origin != origin:
        raise VerificationError(
            f"one checkpoint is of {shown(origin)}, the other of {shown(fork.second.origin)}", code="wrong-log"
        )
    if not any(key.name == origin for key in policy.logs):
        raise VerificationError(f"the trust file names no log {shown(origin)}", code="wrong-log")
    keys = [_signer(note, origin, policy) for note in fork.notes]
    instead = _root_instead(fork.first, fork.second, fork.path)
    if instead == fork.first.root:
        raise VerificationError("the bigger tree begins with the smaller one: both can be true", code="no-fork")
    return ForkResult(origin, fork.first, fork.second, instead, (keys[0], keys[1]))


def _signer(note: Note, origin: str, policy: Policy) -> str:
    for key in policy.logs:
        if key.name == origin and names_key(note.signatures[0], key):
            verify_note(note, key)
            return f"{key.name}+{key.key_id.hex()}"
    raise VerificationError(f"no trusted key of {shown(origin)} signed this checkpoint", code="checkpoint")


def _root_instead(first: Checkpoint, second: Checkpoint, path: Sequence[bytes]) -> bytes:
    """Returns the root that the second tree has at the size of the first."""
    if first.size in (0, second.size):
        if path:
            raise VerificationError("equal or empty trees take no path", code="fork-path", field="path")
        return second.root if first.size == second.size else EMPTY_ROOT
    try:
        before, after = prefix_roots(first.size, second.size, path)
    except VerificationError as e:
        raise VerificationError(e.message, code="fork-path", field="path") from e
    if after != second.root:
        raise VerificationError("the path does not lead to the bigger tree's root", code="fork-path", field="path")
    return before
