"""Merkle trees as RFC 9162 (and RFC 6962) defines them, by recursion; and its two verifications, step by step.

Leaves are byte strings, hashes 32 bytes.  ``tree`` works on leaf hashes, so that it serves tiles and bundles as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .refuted import require


def leaf_hash(data: bytes) -> bytes:
    """``SHA-256(00 || d)``."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """``SHA-256(01 || l || r)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaves whose hashes are given (RFC 9162, 2.1.1)."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return node_hash(tree(hashes[:k]), tree(hashes[k:]))


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D_n) (RFC 9162, 2.1.1)."""
    return tree([leaf_hash(leaf) for leaf in leaves])


def path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D_n) over leaves whose hashes are given (RFC 9162, 2.1.3.1)."""
    assert 0 <= index < len(hashes)
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return [*path(index, hashes[:k]), tree(hashes[k:])]
    return [*path(index - k, hashes[k:]), tree(hashes[:k])]


def proof(size: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D_n), 0 < m <= n, over leaves whose hashes are given (RFC 9162, 2.1.4.1)."""
    assert 0 < size <= len(hashes)
    return _subproof(size, hashes, True)


def path_of_both(size: int, hashes: Sequence[bytes]) -> list[bytes]:
    """SUBPROOF(m, D_n, false), 0 < m < n: the proof that also gives the root at ``size`` (section 6, fork evidence)."""
    assert 0 < size < len(hashes)
    return _subproof(size, hashes, False)


def split(n: int) -> int:
    """The largest power of two smaller than n, n > 1."""
    return 1 << ((n - 1).bit_length() - 1)


def verify_inclusion(index: int, size: int, hashed: bytes, path: Sequence[bytes], root: bytes, code: str) -> None:
    """RFC 9162, 2.1.3.2: the leaf with this hash is number ``index`` of the tree of that size and root.

    Raises:
        RefutedError: with ``code``.
    """
    require(0 <= index < size, code, f"leaf {index} of a tree of size {size}")
    fn, sn, r = index, size - 1, hashed
    for p in path:
        require(sn != 0, code, "a path that is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn & 1 == 0 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            r = node_hash(r, p)
        fn >>= 1
        sn >>= 1
    require(sn == 0, code, "a path that is too short")
    require(r == root, code, "the path leads to another root")


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes], code: str
) -> None:
    """RFC 9162, 2.1.4.2: the second tree begins with the first one; an empty proof when they are the same.

    Raises:
        RefutedError: with ``code``.
    """
    require(0 < first <= second, code, f"from size {first} to {second}")
    if first == second:
        require(not proof and first_root == second_root, code, "one size with two roots, or a proof where none belongs")
        return
    hashes = list(proof)
    require(bool(hashes), code, "an empty proof")
    if first & (first - 1) == 0:
        hashes.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = hashes[0]
    for c in hashes[1:]:
        require(sn != 0, code, "a proof that is too long")
        if fn & 1 or fn == sn:
            fr = node_hash(c, fr)
            sr = node_hash(c, sr)
            while fn & 1 == 0 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, c)
        fn >>= 1
        sn >>= 1
    require(sn == 0, code, "a proof that is too short")
    require(fr == first_root and sr == second_root, code, "the proof leads to other roots")


def _subproof(m: int, hashes: Sequence[bytes], complete: bool) -> list[bytes]:
    n = len(hashes)
    if m == n:
        return [] if complete else [tree(hashes)]
    k = split(n)
    if m <= k:
        return [*_subproof(m, hashes[:k], complete), tree(hashes[k:])]
    return [*_subproof(m - k, hashes[k:], False), tree(hashes[:k])]
