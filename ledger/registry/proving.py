"""Making proof bundles: which leaves, paths and anchors a claim needs (docs/format.md, section 6).

Carried are the policies, the manifest leaf, what changed its state, and of every key that signed any of these the
leaves that added and revoked it.  Rivals are not carried: their leaves say nothing of a file without their headers and
entries, and anybody may log many.  Nothing is verified here: whoever gets a bundle verifies it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ledger.encoding import digest_encode
from ledger.errors import NotFoundError
from ledger.evidence import CarriedAnchor, CarriedLeaf
from ledger.ports import AnchorRow
from ledger.proof import Claim, format_proof
from ledger.registry.anchoring import read_record
from ledger.registry.claims import LIVE
from ledger.registry.reading import Reading
from ledger.state import Fold
from ledger.statements import parse_statement


def prove(registry: Reading, digest: bytes, leaf: int | None = None) -> bytes:
    """Returns the proof bundle of a claim on `digest`: in manifest `leaf`, else of the oldest live one.

    Raises:
        NotFoundError: no public claim on that digest.
    """
    chosen = registry.claims([digest], leaf)[digest]
    if not chosen:
        raise NotFoundError(f"no public claim on {digest_encode(digest)}")
    best = min(chosen, key=lambda c: (c.state not in LIVE, c.match.leaf))
    kind = best.entry.kind_of(digest)
    assert kind is not None
    claim = Claim(
        best.header,
        best.entry,
        best.match.entry,
        registry.entry_path(best.match.leaf, best.match.entry),
        best.terms,
        best.match.leaf,
    )
    head = registry.log.head
    indices = carried_indices(registry, [best.match.leaf], head.size)
    leaves = carry(registry, indices, head.size)
    return format_proof(digest, kind, claim, head.note, leaves, carry_anchors(registry, best.match.leaf, head.size))


def carried_indices(registry: Reading, manifests: Iterable[int], size: int, extra: Iterable[int] = ()) -> list[int]:
    """Returns the leaves below `size` that a bundle about `manifests` (and the leaves `extra`) carries, ascending."""
    with registry.log.fold_lock:
        fold = registry.log.fold
        indices = {index for index, _ in fold.policies} | set(extra) | _about(fold, manifests)
    carried: set[int] = set()
    while new := {i for i in indices if i < size} - carried:
        signers = {(s.by, s.key) for s in (parse_statement(registry.log.leaf(i)) for i in new)}
        carried |= new
        with registry.log.fold_lock:
            indices = {i for signer in signers for i in _key_leaves(registry.log.fold, *signer)}
    return sorted(carried)


def _about(fold: Fold, manifests: Iterable[int]) -> set[int]:
    """Returns manifest leaves with all that changed their state, and the manifests whose listing ended them."""
    indices: set[int] = set()
    todo = list(manifests)
    while todo:
        leaf = todo.pop()
        state = fold.manifests.get(leaf)
        if state is None or leaf in indices:
            continue
        indices |= {leaf, *state.changed_at}
        todo += _successors(fold, leaf)
        for opened in state.cases:
            case = fold.cases[opened]
            indices |= {i for i in (opened, case.held, case.decided) if i is not None}
    return indices


def _key_leaves(fold: Fold, by: str, key: str) -> list[int]:
    """Returns the leaves that added and revoked a key: nothing else bears on what it signed."""
    state = fold.keys.get(by, {}).get(key)
    return [] if state is None else [i for i in (state.added, state.revoked) if i is not None and i >= 0]


def _successors(fold: Fold, leaf: int) -> list[int]:
    """The manifest whose listing ended this one, so that a reader sees the same end."""
    old = fold.manifests[leaf]
    if old.superseded_at is None:
        return []
    return [
        m.index
        for m in fold.manifests.values()
        if m.by == old.by and leaf in m.supersedes and any(at == old.superseded_at for at, _ in m.reviews)
    ]


def carry(registry: Reading, indices: Sequence[int], size: int) -> list[CarriedLeaf]:
    """Returns leaves with their paths to the checkpoint of `size` leaves."""
    return [
        CarriedLeaf(index, parse_statement(registry.log.leaf(index)), path)
        for index, path in zip(indices, registry.log.inclusions(indices, size), strict=True)
    ]


def carry_anchors(registry: Reading, leaf: int, size: int) -> list[CarriedAnchor]:
    """Returns the earliest anchor that covers `leaf` and is not beyond `size`, if there is one."""
    row = registry.catalog.anchor_covering(leaf)
    if row is None or row.record is None or row.size > size:
        return []
    return [carried_anchor(registry, row, size)]


def carried_anchor(registry: Reading, row: AnchorRow, size: int) -> CarriedAnchor:
    """Returns an anchor with the proof that the log at `size` extends it."""
    return CarriedAnchor(row.size, row.root, registry.log.consistency(row.size, size), read_record(row.record or b""))
