"""Signed notes, verifier keys, checkpoints, policies: C2SP signed-note, tlog-checkpoint, -cosignature, -policy.

Only what docs/format.md, section 4, uses: logs sign with Ed25519 (type 01), witnesses cosign with a time (type 04),
checkpoints hold three lines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import ed25519
from .jcs import MAX_INTEGER, b64_decode
from .refuted import RefutedError, require

LOG_KEY, WITNESS_KEY = 0x01, 0x04
MAX_SIGNATURES = 32
MAX_POLICY_LINES = 256


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """``name+keyid+base64(type || public)``."""

    name: str
    key_id: bytes
    kind: int
    public: bytes


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: what follows the key id is ``signature``."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """``text`` is what is signed, its last newline included."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Policy:
    """``groups`` maps a name to a threshold and members; ``quorum`` is a name or None."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, VerifierKey]
    groups: dict[str, tuple[int, tuple[str, ...]]]
    quorum: str | None


@dataclass(slots=True)
class _PolicyLines:
    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)
    quorums: list[str] = field(default_factory=list)


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """``SHA-256(name || 0A || type || public)[:4]``."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def parse_vkey(text: str) -> VerifierKey:
    """Reads a verifier key of type 01 or 04.

    Raises:
        RefutedError: another form or type, or a key id that is not that of name and key.
    """
    parts = text.split("+", 2)
    require(len(parts) == 3, "malformed", "a verifier key is name+keyid+key")
    name, hexadecimal, encoded = parts
    _check_name(name)
    require(re.fullmatch("[0-9a-f]{8}", hexadecimal) is not None, "malformed", "a key id is 8 lower-case hex digits")
    data = b64_decode(encoded, "verifier key")
    require(len(data) == 33 and data[0] in (LOG_KEY, WITNESS_KEY), "malformed", "not an Ed25519 key of type 01 or 04")
    key = VerifierKey(name, bytes.fromhex(hexadecimal), data[0], ed25519.check_form(data[1:], "verifier key"))
    require(key.key_id == key_id(name, key.kind, key.public), "malformed", "the key id is not that of name and key")
    return key


def parse_note(data: bytes) -> Note:
    """Splits a note into its text and its signature lines; checks no signature.

    Raises:
        RefutedError: not a signed note.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefutedError("malformed", "a note that is not UTF-8") from error
    require(all(c >= " " or c == "\n" for c in text), "malformed", "a note with a control character")
    cut = text.rfind("\n\n")
    require(cut >= 0 and text.endswith("\n"), "malformed", "a note without a blank line or a last newline")
    lines = text[cut + 2 : -1].split("\n")
    require(1 <= len(lines) <= MAX_SIGNATURES, "malformed", f"{len(lines)} signature lines")
    return Note(text[: cut + 1], tuple(_parse_signature(line) for line in lines))


def verify_note(note: Note, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    """The keys that signed; signatures of unknown keys are ignored.

    Raises:
        RefutedError: a signature of a known key is false, or no known key signed.
    """
    signers = []
    for signature in note.signatures:
        for key in keys:
            if (key.name, key.key_id) == (signature.name, signature.key_id):
                _verify_signature(key, note.text, signature.signature)
                signers.append(key)
    require(bool(signers), "checkpoint", "no known key signed the note")
    return signers


def parse_checkpoint(text: str) -> Checkpoint:
    """Reads the text of a checkpoint: origin, size, root, and no extension line.

    Raises:
        RefutedError: another form.
    """
    lines = text.split("\n")
    require(len(lines) == 4 and lines[3] == "" and all(lines[:3]), "malformed", "a checkpoint has three lines")
    _check_name(lines[0])
    require(re.fullmatch("0|[1-9][0-9]{0,15}", lines[1]) is not None, "malformed", "the size of a checkpoint")
    size = int(lines[1])
    require(size <= MAX_INTEGER, "malformed", "the size of a checkpoint is beyond 2^53-1")
    root = b64_decode(lines[2], "root of a checkpoint")
    require(len(root) == 32, "malformed", "the root of a checkpoint has 32 bytes")
    return Checkpoint(lines[0], size, root)


def parse_policy(text: str) -> Policy:
    """Reads a tlog-policy file.

    Raises:
        RefutedError: a line that is none of the format, a name before its definition, a key twice, no single quorum.
    """
    require(all(c in "\t\n" or " " <= c != "\x7f" for c in text), "malformed", "policy: a control character")
    found = _PolicyLines()
    require(text.count("\n") < MAX_POLICY_LINES, "malformed", f"policy: more than {MAX_POLICY_LINES} lines")
    for line in text.split("\n"):
        items = [item for item in re.split("[ \t]+", line) if item]
        if items and not items[0].startswith("#"):
            _policy_line(items, found)
    require(len(found.quorums) == 1, "malformed", "policy: not exactly one quorum line")
    require(bool(found.logs), "malformed", "policy: no log line")
    publics = [key.public for key in found.logs]
    require(len(set(publics)) == len(publics), "malformed", "policy: a log key twice")
    publics += [key.public for key in found.witnesses.values()]
    require(len(set(publics)) == len(publics), "malformed", "policy: a witness key twice, or a log's")
    quorum = found.quorums[0]
    return Policy(tuple(found.logs), found.witnesses, found.groups, None if quorum == "none" else quorum)


def verify_checkpoint(data: bytes, policy: Policy) -> Checkpoint:
    """Checks a checkpoint: signed by a log of the policy that has the name of the origin, cosigned by the quorum.

    Raises:
        RefutedError: ``malformed``, or ``checkpoint`` with the reason.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    signers = verify_note(note, [*policy.logs, *policy.witnesses.values()])
    logs = [key for key in signers if key in policy.logs and key.name == checkpoint.origin]
    require(bool(logs), "checkpoint", "no log key of the policy with the name of the origin signed")
    if policy.quorum is not None:
        seen = {name for name, key in policy.witnesses.items() if key in signers}
        require(_is_witnessed(policy.quorum, seen, policy), "checkpoint", "the quorum of witnesses is not reached")
    return checkpoint


def _check_name(name: str) -> None:
    require(bool(name) and "+" not in name and not any(c.isspace() for c in name), "malformed", "the name of a key")


def _parse_signature(line: str) -> NoteSignature:
    match = re.fullmatch("\u2014 ([^ ]+) ([^ ]+)", line)
    require(match is not None, "malformed", "a signature line")
    assert match is not None
    _check_name(match[1])
    data = b64_decode(match[2], "signature line")
    require(len(data) > 4, "malformed", "a signature line without a signature")
    return NoteSignature(match[1], data[:4], data[4:])


def _verify_signature(key: VerifierKey, text: str, signature: bytes) -> None:
    if key.kind == LOG_KEY:
        ed25519.verify(key.public, text.encode(), signature, "checkpoint")
        return
    require(len(signature) == 72, "checkpoint", "a cosignature is a time and a signature")
    time = int.from_bytes(signature[:8], "big")
    require(time < 2**63, "checkpoint", "the time of a cosignature")
    ed25519.verify(key.public, f"cosignature/v1\ntime {time}\n{text}".encode(), signature[8:], "checkpoint")


def _policy_line(items: list[str], found: _PolicyLines) -> None:
    defined = found.witnesses.keys() | found.groups.keys()
    match items:
        case ["log", key] | ["log", key, _]:
            found.logs.append(_key_of_kind(key, LOG_KEY))
        case ["witness", name, key] | ["witness", name, key, _]:
            require(name not in defined and name != "none", "malformed", f"policy: the name {name!r} again")
            found.witnesses[name] = _key_of_kind(key, WITNESS_KEY)
        case ["group", name, threshold, *members] if members:
            require(name not in defined and name != "none", "malformed", f"policy: the name {name!r} again")
            for member in members:
                require(member in defined, "malformed", f"policy: {member!r} is not defined before its group")
                require(member not in found.members, "malformed", f"policy: {member!r} in two groups")
                found.members.add(member)
            found.groups[name] = (_threshold(threshold, len(members)), tuple(members))
        case ["quorum", name]:
            require(name == "none" or name in defined, "malformed", f"policy: {name!r} is not defined before")
            found.quorums.append(name)
        case _:
            raise RefutedError("malformed", f"policy: not a line of the format: {items[0]}")


def _key_of_kind(text: str, kind: int) -> VerifierKey:
    key = parse_vkey(text)
    require(key.kind == kind, "malformed", f"policy: a key of type {key.kind:02x} where {kind:02x} belongs")
    return key


def _threshold(text: str, members: int) -> int:
    if text in ("any", "all"):
        return 1 if text == "any" else members
    require(re.fullmatch("[1-9][0-9]{0,3}", text) is not None, "malformed", "policy: the threshold of a group")
    require(int(text) <= members, "malformed", "policy: a threshold above the number of members")
    return int(text)


def _is_witnessed(name: str, seen: set[str], policy: Policy) -> bool:
    if name in policy.witnesses:
        return name in seen
    threshold, members = policy.groups[name]
    return sum(_is_witnessed(member, seen, policy) for member in members) >= threshold
