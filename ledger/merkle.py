"""RFC 9162 Merkle trees: roots, inclusion and consistency proofs, and appending (docs/format.md, section 0, rule 5).

A leaf hash is ``SHA-256(00 ‖ data)``, a node ``SHA-256(01 ‖ left ‖ right)``, the empty tree ``SHA-256()``.  A *size*
counts leaves, an *index* runs from 0 to size−1; the node at (level, i) covers leaves [i·2^level, (i+1)·2^level).  All
hashes are 32 bytes.  Sizes are arguments, never read from a proof.  Nothing is stored or fetched here: whoever has the
nodes (a :class:`Tree` in memory, tiles on a disk) hands in ``node(level, index)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, TypeAlias

from ledger.errors import VerificationError

EMPTY_ROOT: Final = sha256().digest()

NodeOf: TypeAlias = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Returns the hash of a leaf holding `data`."""
    return sha256(b"\0" + data).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """Returns the hash of each leaf."""
    return [sha256(b"\0" + data).digest() for data in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def _parents(level: Sequence[bytes], start: int = 0) -> list[bytes]:
    """Hashes the pairs of `level` from the even position `start` on; an odd one at the end has no parent yet."""
    nodes: Iterator[bytes] = iter(level[start:] if start else level)
    return [sha256(b"\1" + left + right).digest() for left, right in zip(nodes, nodes, strict=False)]


class Tree:
    """A tree in memory with all complete nodes, for any number of proofs at any earlier size."""

    __slots__ = ("levels",)

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self.levels: list[list[bytes]] = [[]]
        self.extend(hashes)

    def __len__(self) -> int:
        return len(self.levels[0])

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Appends leaf hashes."""
        self.levels[0].extend(hashes)
        level = 0
        while len(self.levels[level]) > 1:
            if level + 1 == len(self.levels):
                self.levels.append([])
            above = self.levels[level + 1]
            above.extend(_parents(self.levels[level], 2 * len(above)))
            level += 1

    def node(self, level: int, index: int) -> bytes:
        """Returns a complete node."""
        return self.levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Returns the root over the first `size` leaves (all by default)."""
        return root_at(len(self) if size is None else self._size(size), self.node)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Returns the path of leaf `index` in the tree of `size` leaves, from the leaf up (RFC 9162, 2.1.3.1)."""
        size = len(self) if size is None else self._size(size)
        if not 0 <= index < size:
            raise ValueError(f"no leaf {index} in a tree of {size}")
        levels, path, last = self.levels, [], size - 1
        for level in range(last.bit_length()):
            sibling = index ^ 1
            if sibling < last or (sibling == last and (last + 1) << level == size):
                path.append(levels[level][sibling])
            elif sibling == last:
                path.append(range_hash(sibling << level, size, self.node))
            index >>= 1
            last >>= 1
        return path

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Returns the proof that the tree of `new` leaves extends the one of `old` (RFC 9162, 2.1.4.1)."""
        return consistency_proof(old, len(self) if new is None else self._size(new), self.node)

    def _size(self, size: int) -> int:
        if not 0 <= size <= len(self):
            raise ValueError(f"no size {size} in a tree of {len(self)}")
        return size


def root(hashes: Sequence[bytes]) -> bytes:
    """Returns the root over leaf hashes, level by level (an odd one at the end moves up as it is)."""
    if not hashes:
        return EMPTY_ROOT
    level = hashes
    while len(level) > 1:
        above = _parents(level)
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """Returns the complete nodes (level, index), left to right, that cover leaves [start, end).

    `start` must be a multiple of the largest power of two that fits, as it is in every range of a proof.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def range_hash(start: int, end: int, node: NodeOf) -> bytes:
    """Returns the hash of the subtree over leaves [start, end), end > start."""
    *left, last = subtrees(start, end)
    result = node(*last)
    for level, index in reversed(left):
        result = node_hash(node(level, index), result)
    return result


def root_at(size: int, node: NodeOf) -> bytes:
    """Returns the root over the first `size` leaves."""
    return range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeOf) -> list[bytes]:
    """Returns the path of leaf `index` in the tree of `size` leaves, from nodes stored anywhere."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < split:
            path.append((split, end))
            end = split
        else:
            path.append((start, split))
            start = split
    return [range_hash(a, b, node) for a, b in reversed(path)]


def consistency_proof(old: int, new: int, node: NodeOf) -> list[bytes]:
    """Returns the proof that the tree of `new` leaves extends the one of `old`; [] for 0 or equal sizes."""
    if not 0 <= old <= new:
        raise ValueError(f"{new} leaves cannot extend {old}")
    if old in (0, new):
        return []
    start, end, whole, proof = 0, new, True, []
    while end != old:
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        if old <= split:
            proof.append((split, end))
            end = split
        else:
            proof.append((start, split))
            start, whole = split, False
    if not whole:
        proof.append((start, end))
    return [range_hash(a, b, node) for a, b in reversed(proof)]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf hash `leaf` is at `index` of the tree of `size` leaves with `root` (RFC 9162, 2.1.3.2).

    Raises:
        VerificationError: the index is outside, the path has another length, or it leads to another root.
    """
    if not 0 <= index < size:
        raise VerificationError(f"leaf {index} is outside a tree of {size}", code="path")
    hash_, last, used = leaf, size - 1, 0
    if len(path) != _path_length(index, size):
        raise VerificationError(
            f"a path of {_path_length(index, size)} hashes is needed, found {len(path)}", code="path"
        )
    while last:
        if index & 1:
            hash_ = sha256(b"\1" + path[used] + hash_).digest()
            used += 1
        elif index < last:
            hash_ = sha256(b"\1" + hash_ + path[used]).digest()
            used += 1
        index >>= 1
        last >>= 1
    if hash_ != root:
        raise VerificationError("the path leads to another root", code="path")


def _path_length(index: int, size: int) -> int:
    """The levels below which the leaf's subtree and the last leaf's differ, then one for each left neighbour above."""
    inner = (index ^ (size - 1)).bit_length()
    return inner + (index >> inner).bit_count()


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree (`new`, `new_root`) extends (`old`, `old_root`), 0 ≤ old ≤ new (RFC 9162, 2.1.4.2).

    Raises:
        VerificationError: sizes out of order, a proof of another length, or another root.
    """
    if not 0 <= old <= new:
        raise VerificationError(f"{new} leaves cannot extend {old}", code="consistency")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise VerificationError("equal or empty trees take no proof and must have that root", code="consistency")
        return
    whole = old & (old - 1) == 0  # then the smaller root is itself the node that the proof begins with
    if prefix_roots(old, new, [old_root, *proof] if whole else proof) != (old_root, new_root):
        raise VerificationError("the proof leads to other roots", code="consistency")


def prefix_path(old: int, new: int, node: NodeOf) -> list[bytes]:
    """Returns what shows the root that the tree of `new` leaves has at `old`, 0 < old < new, by ``prefix_roots``: the
    consistency proof, with its first node also where `old` is a power of two and the proof leaves it out."""
    whole = old & (old - 1) == 0
    return ([root_at(old, node)] if whole else []) + consistency_proof(old, new, node)


def prefix_roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Returns the roots of `old` and of `new` leaves, 0 < old < new, of the one tree that `path` is of.

    Raises:
        VerificationError: ``consistency``: a path of another length.
    """
    level = (old & -old).bit_length() - 1
    index, last = (old - 1) >> level, (new - 1) >> level
    hashes = iter(path)
    try:
        first = second = next(hashes)
        while last:
            if index & 1:
                left = next(hashes)
                first, second = node_hash(left, first), node_hash(left, second)
            elif index < last:
                second = node_hash(second, next(hashes))
            index >>= 1
            last >>= 1
    except StopIteration:
        raise VerificationError("the consistency proof is too short", code="consistency") from None
    if next(hashes, None) is not None:
        raise VerificationError("the consistency proof is too long", code="consistency")
    return first, second
