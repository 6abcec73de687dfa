"""What proof bundles and token bundles have in common: carried leaves with their paths, and carried anchors.

A bundle carries some leaves of a log, each with its path to the checkpoint, and up to two anchors, each with the proof
that the checkpoint extends what was anchored (docs/format.md, sections 5 and 6).  Reading checks form; the
``verify_*`` functions check one thing each and raise with its reason code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ledger.canonical import Json, Object, as_int, as_list, as_object
from ledger.checkpoint import MAX_LOG_SIZE, Checkpoint
from ledger.encoding import digest_decode, digest_encode, sha256, time_encode
from ledger.errors import MalformedError, VerificationError
from ledger.manifests import read_path
from ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from ledger.receipt import AnchorRecord, hex_text, parse_record, record_value, verify_record
from ledger.state import Fold
from ledger.statements import Statement, read_statement, statement_value
from ledger.trust import Trust

MAX_CARRIED_LEAVES: Final = 2048
MAX_CARRIED_ANCHORS: Final = 2
MAX_PATH: Final = 64
MAX_NAMED: Final = 5

KEYS_COUNTED: Final = "no leaf left out revoked a signing key before it signed, or made void what added it"
"""What a fold of carried leaves asserts: of every key that signed one of them, also of those that added others."""


@dataclass(frozen=True, slots=True)
class CarriedLeaf:
    """Leaf `index` of the log and its path to the bundle's checkpoint."""

    index: int
    statement: Statement
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CarriedAnchor:
    """An anchored (size, root), the proof that the checkpoint extends it, and the record of the anchoring."""

    size: int
    root: bytes
    consistency: tuple[bytes, ...]
    record: AnchorRecord


@dataclass(frozen=True, slots=True)
class AnchorFinding:
    """What one anchor shows.  `time` (UTC seconds) is None unless the verifier knows the block hash."""

    size: int
    anchor_class: str
    chain: str
    block_number: int
    block_hash: bytes
    time: int | None

    def value(self) -> Object:
        """Returns the finding as JSON."""
        return {
            "size": self.size,
            "class": self.anchor_class,
            "chain": self.chain,
            "block_number": self.block_number,
            "block_hash": hex_text(self.block_hash),
            "time": None if self.time is None else time_encode(self.time),
        }


def earliest(anchors: Iterable[AnchorFinding], leaf: int) -> int | None:
    """Returns the earliest time (UTC seconds) of the anchors in known blocks that cover `leaf`."""
    return min((a.time for a in anchors if a.time is not None and a.size > leaf), default=None)


def read_leaves(value: Json, field: str) -> tuple[CarriedLeaf, ...]:
    """Reads carried leaves, ascending by index."""
    leaves = []
    for n, item in enumerate(as_list(value, field, MAX_CARRIED_LEAVES, 1)):
        at = f"{field}[{n}]"
        o = as_object(item, at, ("index", "statement", "path"))
        index = as_int(o["index"], f"{at}.index", 0, MAX_LOG_SIZE)
        statement = read_statement(o["statement"], f"{at}.statement")
        leaves.append(CarriedLeaf(index, statement, read_path(o["path"], f"{at}.path", MAX_PATH)))
    if any(a.index >= b.index for a, b in pairwise(leaves)):
        raise MalformedError("leaves must be ascending and distinct", field=field)
    return tuple(leaves)


def leaves_value(leaves: Sequence[CarriedLeaf]) -> Json:
    """Writes carried leaves as they stand in a bundle."""
    return [
        {
            "index": leaf.index,
            "statement": statement_value(leaf.statement),
            "path": [digest_encode(h) for h in leaf.path],
        }
        for leaf in leaves
    ]


def verify_leaf(leaf: CarriedLeaf, checkpoint: Checkpoint) -> None:
    """Checks that the leaf is at its index of the checkpoint's tree.

    Raises:
        VerificationError: ``leaf-path``.
    """
    try:
        verify_inclusion(leaf_hash(leaf.statement.data), leaf.index, checkpoint.size, leaf.path, checkpoint.root)
    except VerificationError as e:
        raise VerificationError(e.message, code="leaf-path", field=f"leaf {leaf.index}") from e


def fold_carried(leaves: Sequence[CarriedLeaf]) -> Fold:
    """Folds carried leaves at their own indices; ``Fold.void`` tells which of them do not count, and why.

    Signatures are checked elsewhere.  A leaf that a bundle leaves out is not seen: what follows from it is asserted.
    """
    fold = Fold()
    for leaf in leaves:
        fold.add_statement_at(leaf.index, leaf.statement)
    return fold


def read_anchors(value: Json, field: str) -> tuple[CarriedAnchor, ...]:
    """Reads carried anchors, ascending by size."""
    anchors = []
    for n, item in enumerate(as_list(value, field, MAX_CARRIED_ANCHORS)):
        at = f"{field}[{n}]"
        o = as_object(item, at, ("size", "root", "consistency", "record"))
        anchors.append(
            CarriedAnchor(
                as_int(o["size"], f"{at}.size", 1, MAX_LOG_SIZE),
                digest_decode(o["root"], f"{at}.root"),
                read_path(o["consistency"], f"{at}.consistency", 2 * MAX_PATH),
                parse_record(o["record"]),
            )
        )
    if any(a.size >= b.size for a, b in pairwise(anchors)):
        raise MalformedError("anchors must be ascending by size", field=field)
    return tuple(anchors)


def anchors_value(anchors: Sequence[CarriedAnchor]) -> Json:
    """Writes carried anchors as they stand in a bundle."""
    return [
        {
            "size": anchor.size,
            "root": digest_encode(anchor.root),
            "consistency": [digest_encode(h) for h in anchor.consistency],
            "record": record_value(anchor.record),
        }
        for anchor in anchors
    ]


def verify_anchor(anchor: CarriedAnchor, checkpoint: Checkpoint, trust: Trust) -> AnchorFinding:
    """Checks that the checkpoint extends what was anchored, that the record shows it, and that `trust` names the chain,
    contract and publisher.  Whether the block is on that chain is known only if `trust` has its hash.

    Raises:
        VerificationError: ``anchor``.
    """
    record = anchor.record
    try:
        verify_consistency(anchor.size, checkpoint.size, anchor.root, checkpoint.root, anchor.consistency)
    except VerificationError as e:
        raise VerificationError(e.message, code="anchor", field="anchor.consistency") from e
    head = verify_record(record, sha256(checkpoint.origin.encode()))
    if (head.size, head.root) != (anchor.size, anchor.root):
        raise VerificationError("the chain holds another size or root", code="anchor", field="anchor")
    line = trust.evm_anchor(record.chain, record.genesis, record.contract, record.publisher)
    if line is None:
        raise VerificationError(
            f"the trust file names no anchor of publisher {record.publisher} at {record.contract} on {record.chain}",
            code="anchor",
            field="anchor.record",
        )
    known = trust.trusts_block(record.chain, record.genesis, head.block_hash)
    time = head.block_time if known else None
    return AnchorFinding(anchor.size, line.anchor_class, record.chain, head.block_number, head.block_hash, time)


def open_sentences(fold: Fold, witnesses: Sequence[str]) -> list[str]:
    """Tells people what every bundle leaves open: other logs, and leaves that this version does not understand."""
    sentences = []
    if not witnesses:
        sentences.append("that everybody is shown the same log: no witness signed the checkpoint")
    if fold.unknown:
        leaves = ", ".join(map(str, fold.unknown[:MAX_NAMED])) + (" and more" if len(fold.unknown) > MAX_NAMED else "")
        sentences.append(f"what leaves of a type that this version does not know say: {leaves}")
    return sentences


def block_text(finding: AnchorFinding) -> str:
    """Names the block of a finding for people."""
    return f"block {finding.block_number} of {finding.chain} ({hex_text(finding.block_hash)})"


def anchor_sentences(anchors: Iterable[AnchorFinding], leaf: int, what: str, event: str) -> tuple[list[str], list[str]]:
    """Tells people what anchors prove and leave open of leaf `leaf` (a `what`: claim, token) and when `event` was."""
    proved, not_checked, covered, carried = [], [], False, False
    for anchor in anchors:
        carried = True
        if anchor.time is None:
            not_checked.append(f"whether {block_text(anchor)} is on its chain: its hash is not known to you")
            continue
        covers = anchor.size > leaf
        covered = covered or covers
        proved.append(
            f"{anchor.size} leaves were anchored ({anchor.anchor_class}) in {block_text(anchor)} at "
            f"{time_encode(anchor.time)}; that {'covers' if covers else 'does not cover'} this {what}"
        )
    if not covered:
        why = "no anchor of a known block covers it" if carried else "it carries no anchor; fetch it again later"
        not_checked.append(f"before when {event}: {why}")
    return proved, not_checked
