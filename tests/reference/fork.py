"""Evidence of a fork: the five steps of docs/format.md, section 6.

The path is read from its end, as RFC 9162, 2.1.4.1, writes it: the last hash is of the part beside the one in which the
smaller tree ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import merkle, note
from .jcs import as_object, as_text, as_word, digest_list, parse
from .refuted import require

MAX_BYTES = 256 * 1024
MAX_PATH = 128


@dataclass(frozen=True, slots=True)
class Fork:
    """The log signed ``first`` and ``second``; at the size of the first the second tree has the root ``instead``."""

    first: note.Checkpoint
    second: note.Checkpoint
    instead: bytes


def verify_fork(data: bytes, policy: note.Policy) -> Fork:
    """Checks the evidence under the log keys of a policy; its quorum is not asked for.

    Raises:
        RefutedError: with the code of the step.
    """
    require(len(data) <= MAX_BYTES, "malformed", "more than 256 KiB")  # 1
    fields = as_object(parse(data), ["trainmark", "first", "second", "path"], "fork")
    as_word(fields["trainmark"], ["fork/v1"], "fork.trainmark")
    notes = [note.parse_note(as_text(fields[name], name).encode()) for name in ("first", "second")]
    require(all(len(one.signatures) == 1 for one in notes), "malformed", "not one signature line in each note")
    first, second = (note.parse_checkpoint(one.text) for one in notes)
    require((first.size, first.root) < (second.size, second.root), "malformed", "the smaller one comes first")
    path = digest_list(fields["path"], "fork.path", MAX_PATH)
    keys = [key for key in policy.logs if key.name == first.origin]
    require(bool(keys) and second.origin == first.origin, "wrong-log", "not of one log that is trusted")  # 2
    for one in notes:
        note.verify_note(one, keys)  # 3
    if first.size in (0, second.size):
        require(not path, "fork-path", "a path where none belongs")  # 4
        instead = second.root if first.size == second.size else merkle.tree([])
    else:
        instead, whole = _roots(first.size, second.size, path)
        require(whole == second.root, "fork-path", "the path does not lead to the second root")
    require(instead != first.root, "no-fork", "both can be true")  # 5
    return Fork(first, second, instead)


def _roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots at both sizes of the tree that the path is of: SUBPROOF(old, D_new, false) undone."""
    require(bool(path), "fork-path", "a path that is too short")
    if old == new:
        require(len(path) == 1, "fork-path", "a path that is too long")
        return path[0], path[0]
    k = merkle.split(new)
    *rest, beside = path
    if old <= k:
        before, after = _roots(old, k, rest)
        return before, merkle.node_hash(after, beside)
    before, after = _roots(old - k, new - k, rest)
    return merkle.node_hash(beside, before), merkle.node_hash(beside, after)
