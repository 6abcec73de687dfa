"""Who must have signed a checkpoint: C2SP tlog-policy text, as a trust file holds it (docs/format.md, section 5).

Lines: ``log <vkey> [<url>]``, ``witness <name> <vkey> [<url>]``, ``group <name> <any|all|N> <member>…``,
``quorum <name|none>``; ``#`` begins a comment line; spaces and tabs separate, nothing else does.  Several ``log`` lines
name several keys (or logs): one of those whose name is the checkpoint's origin must have signed.  A key stands in one
``log`` or ``witness`` line, a name in one group, so that nobody counts twice and no log is its own witness.  ``quorum
none`` asks for no witness, and every result says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.checkpoint import Checkpoint, parse_text
from ledger.encoding import decimal_decode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.note import COSIGNATURE, ED25519, Note, VerifierKey, format_vkey, names_key, parse_vkey, verify_note

MAX_LINES: Final = 256
NO_QUORUM: Final = "none"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHITESPACE = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Group:
    """`threshold` of `members` (names of witnesses or earlier groups)."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The parsed text: log keys, witnesses and groups by name, and the name whose quorum counts.

    `urls` are those of the witnesses that have one: nobody but a log asks for them, and none is checked here.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, VerifierKey]
    groups: dict[str, Group]
    quorum: str
    urls: dict[str, str] = field(default_factory=dict)

    def is_reached(self, cosigned: Collection[str]) -> bool:
        """Returns whether the cosignatures of these witnesses are what the quorum asks for."""
        reached = set(cosigned)
        for name, group in self.groups.items():
            if sum(member in reached for member in group.members) >= group.threshold:
                reached.add(name)
        return self.quorum == NO_QUORUM or self.quorum in reached


def parse_policy(text: str, field: str = "policy") -> Policy:
    """Reads a policy; every name is defined before it is used, and there is one quorum line.

    Raises:
        MalformedError: another line, a control character, or a key or group member that comes twice.
    """
    logs: list[VerifierKey] = []
    witnesses: dict[str, VerifierKey] = {}
    groups: dict[str, Group] = {}
    urls: dict[str, str] = {}
    quorum: str | None = None
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise MalformedError(f"at most {MAX_LINES} lines are allowed", field=field)
    for number, line in enumerate(lines, 1):
        at = f"{field}, line {number}"
        control = _CONTROL.search(line)
        if control is not None:
            raise MalformedError(f"U+{ord(control[0]):04X} is not allowed: spaces and tabs separate", field=at)
        words = _words(line)
        match words:
            case []:
                continue
            case [word, *_] if word.startswith("#"):
                continue
            case ["log", vkey] | ["log", vkey, _]:
                key = _key(vkey, ED25519, at)
                if any(key.public == other.public for other in logs):
                    raise MalformedError("a log line of this key stands above", field=at)
                twin = _witness_of(key, witnesses)
                if twin is not None:
                    raise _own_witness(twin, at)
                logs.append(key)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                _new_name(name, witnesses, groups, at)
                key = _key(vkey, COSIGNATURE, at)
                twin = _witness_of(key, witnesses)
                if twin is not None:
                    raise MalformedError(f"the key of {shown(name)} is that of {shown(twin)}", field=at)
                if any(key.public == log.public for log in logs):
                    raise _own_witness(name, at)
                witnesses[name] = key
                urls.update((name, address) for address in url)
            case ["group", name, threshold, *members] if members:
                _new_name(name, witnesses, groups, at)
                groups[name] = _group(threshold, members, witnesses, groups, at)
            case ["quorum", name] if quorum is None:
                if name != NO_QUORUM and name not in witnesses and name not in groups:
                    raise MalformedError(f"{shown(name)} is not defined", field=at)
                quorum = name
            case _:
                raise MalformedError(f"not a line of a policy: {shown(line)}", field=at)
    if not logs or quorum is None:
        raise MalformedError("a policy has at least one log line and one quorum line", field=field)
    return Policy(tuple(logs), witnesses, groups, quorum, urls)


def _words(line: str) -> list[str]:
    return [word for word in _WHITESPACE.split(line) if word]


def _key(vkey: str, kind: int, field: str) -> VerifierKey:
    key = parse_vkey(vkey, field)
    if key.kind != kind:
        raise MalformedError(f"a key of kind {kind} is needed here, found kind {key.kind}", field=field)
    return key


def _witness_of(key: VerifierKey, witnesses: dict[str, VerifierKey]) -> str | None:
    """Returns the name of the witness with the same 32 bytes, whatever kind of key they are in."""
    return next((name for name, known in witnesses.items() if known.public == key.public), None)


def _own_witness(name: str, field: str) -> MalformedError:
    return MalformedError(f"the key of {shown(name)} is a log's, which cannot be its own witness", field=field)


def _new_name(name: str, witnesses: dict[str, VerifierKey], groups: dict[str, Group], field: str) -> None:
    if name == NO_QUORUM or name in witnesses or name in groups:
        raise MalformedError(f"the name {shown(name)} is taken", field=field)


def _group(
    threshold: str, members: list[str], witnesses: dict[str, VerifierKey], groups: dict[str, Group], field: str
) -> Group:
    unknown = [m for m in members if m not in witnesses and m not in groups]
    if unknown or len(set(members)) != len(members):
        raise MalformedError(f"members are distinct and defined above, found {shown(' '.join(members))}", field=field)
    taken = next((m for m in members if any(m in group.members for group in groups.values())), None)
    if taken is not None:
        raise MalformedError(f"{shown(taken)} is in a group already: it would count in two ways", field=field)
    words = {"any": 1, "all": len(members)}
    needed = words[threshold] if threshold in words else decimal_decode(threshold, field)
    if not 1 <= needed <= len(members):
        raise MalformedError(f"expected 1 to {len(members)}, any or all, found {shown(threshold)}", field=field)
    return Group(needed, tuple(members))


def format_policy(logs: list[VerifierKey]) -> str:
    """Writes the policy of logs without witnesses: what ``trust add`` starts from."""
    return "".join(f"log {format_vkey(key)}\n" for key in logs) + f"quorum {NO_QUORUM}\n"


def with_log(text: str, key: VerifierKey, *, alone: bool = False) -> str:
    """Returns the policy `text` with a log line of `key`; all else stays, but if it is to count `alone` for the log of
    its name the other keys of that name."""
    lines = text.split("\n")
    if alone:
        lines = [line for line in lines if not _names_log(_words(line), key.name)]
    elif key in parse_policy(text).logs:
        return text
    return "\n".join([f"log {format_vkey(key)}", *lines])


def with_witnesses(text: str, keys: Sequence[VerifierKey], threshold: str) -> str:
    """Returns the log lines of the policy `text` with these witnesses and no others, of whom `threshold` (``any``,
    ``all`` or a number) must have cosigned; without any, with ``quorum none``.  ``parse_policy`` says whether they can.
    """
    logs = [line for line in text.split("\n") if line.strip() and _words(line)[0] not in ("witness", "group", "quorum")]
    lines = [f"witness {key.name} {format_vkey(key)}" for key in keys]
    if keys:
        lines.append(f"group witnesses {threshold} {' '.join(key.name for key in keys)}")
    return "\n".join([*logs, *lines, f"quorum {'witnesses' if keys else NO_QUORUM}", ""])


def _names_log(words: list[str], name: str) -> bool:
    return words[:1] == ["log"] and words[1].partition("+")[0] == name


def verify_checkpoint(note: Note, policy: Policy) -> tuple[Checkpoint, tuple[str, ...]]:
    """Returns the checkpoint and the names of the witnesses whose cosignatures are true.

    Raises:
        VerificationError: ``checkpoint``: no log key of the policy signed it, a key of the policy signed it falsely, or
            the quorum is not reached.
    """
    checkpoint = parse_text(note.text)
    own = [key for key in policy.logs if key.name == checkpoint.origin]
    if not own:
        raise _refused(f"the trust file names no log {shown(checkpoint.origin)}")
    logs = [key for key in policy.logs if _signed(note, key)]
    cosigned = {name for name, key in policy.witnesses.items() if _signed(note, key)}
    if not any(key in own for key in logs):
        signers = ", ".join(f"{line.name}+{line.key_id.hex()}" for line in note.signatures)
        raise _refused(
            f"no trusted key of {checkpoint.origin} signed this checkpoint, it is signed by {shown(signers)}; "
            "if the log has a new key, the trust file must name it"
        )
    if not policy.is_reached(cosigned):
        raise _refused(f"the witnesses' quorum {policy.quorum} is not reached")
    return checkpoint, tuple(sorted(cosigned))


def _refused(message: str) -> VerificationError:
    return VerificationError(message, code="checkpoint", field="checkpoint")


def _signed(note: Note, key: VerifierKey) -> bool:
    """Whether the note has a line of `key`; refuses the note if that line is false."""
    if not any(names_key(signature, key) for signature in note.signatures):
        return False
    try:
        verify_note(note, key)
    except VerificationError as e:
        raise _refused(e.message) from e
    return True
