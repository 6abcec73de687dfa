"""Trees and their proofs, against the RFC's own recursion (docs/format.md, section 0, rule 5)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from ledger.errors import VerificationError
from ledger.merkle import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    range_hash,
    root,
    root_at,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from tests.reference import merkle as reference
from tests.reference.refuted import RefutedError

# Certificate Transparency's reference data (google/certificate-transparency, merkle_tree_test.cc): inputs and roots.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [b"leaf %d" % n for n in range(260)]
HASHES = leaf_hashes(LEAVES)
TREE = Tree(HASHES)
SIZES = [*range(1, 20), 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 260]


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size: int) -> None:
    leaves = CT_LEAVES[:size]
    expected = bytes.fromhex(CT_ROOTS[size])
    tree = Tree(leaf_hashes(leaves))
    assert root(leaf_hashes(leaves)) == expected
    assert tree.root() == expected == reference.root(leaves)
    assert Tree(leaf_hashes(CT_LEAVES)).root(size) == expected
    assert root_at(size, Tree(leaf_hashes(CT_LEAVES)).node) == expected


def test_another_library_finds_the_same_roots() -> None:
    other = InmemoryTree(algorithm="sha256")
    for size, leaf in enumerate(LEAVES, 1):
        other.append_entry(leaf)
        assert bytes(other.get_root()) == root(HASHES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_all_proofs_of_a_size(size: int) -> None:
    top = root(HASHES[:size])
    assert top == reference.tree(HASHES[:size]) == TREE.root(size)
    small = Tree(HASHES[:size])
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        path = TREE.inclusion_proof(index, size)
        assert path == reference.path(index, HASHES[:size])
        assert path == small.inclusion_proof(index) == inclusion_proof(index, size, TREE.node)
        verify_inclusion(HASHES[index], index, size, path, top)
    for old in {0, 1, size // 3, size // 2, size - 1, size}:
        proof = TREE.consistency_proof(old, size)
        assert proof == small.consistency_proof(old) == consistency_proof(old, size, TREE.node)
        assert old == 0 or proof == reference.proof(old, HASHES[:size])
        verify_consistency(old, size, root(HASHES[:old]), top, proof)


@given(st.integers(1, 260).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_inclusion(place: tuple[int, int]) -> None:
    size, index = place
    path = TREE.inclusion_proof(index, size)
    assert path == reference.path(index, HASHES[:size])
    verify_inclusion(HASHES[index], index, size, path, TREE.root(size))


@given(st.integers(1, 260).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_consistency(sizes: tuple[int, int]) -> None:
    new, old = sizes
    proof = TREE.consistency_proof(old, new)
    assert proof == reference.proof(old, HASHES[:new])
    verify_consistency(old, new, TREE.root(old), TREE.root(new), proof)


@given(st.lists(st.integers(0, 40), max_size=12))
def test_growing_in_steps_is_growing_at_once(steps: list[int]) -> None:
    tree, size = Tree(), 0
    for step in steps:
        tree.extend(HASHES[:260][size : size + step])
        size = min(260, size + step)
        assert len(tree) == size
        assert tree.root() == root(HASHES[:size])
    assert tree.levels == Tree(HASHES[:size]).levels


# -- what is refused


def flipped(data: bytes, bit: int = 0) -> bytes:
    """Returns `data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def wrong_inclusions(size: int, index: int) -> Iterator[tuple[str, bytes, int, int, list[bytes], bytes]]:
    """Yields one-place changes of a true inclusion proof, each with its name."""
    leaf, path, top = HASHES[index], TREE.inclusion_proof(index, size), TREE.root(size)
    for other in (index - 1, index + 1, index ^ 1, index + size, -1, size, 2**64):
        if other != index:
            yield f"index {other}", leaf, other, size, path, top
    for other in (2 * size, 4 * size + 1, index, 0, -1):
        yield f"size {other}", leaf, index, other, path, top
    for bit in (0, 100, 255):
        yield f"leaf bit {bit}", flipped(leaf, bit), index, size, path, top
        yield f"root bit {bit}", leaf, index, size, path, flipped(top, bit)
    yield "empty root", leaf, index, size, path, EMPTY_ROOT
    yield "longer", leaf, index, size, [*path, bytes(32)], top
    yield "longer by the root", leaf, index, size, [*path, top], top
    yield "longer at the start", leaf, index, size, [leaf, *path], top
    for at, item in enumerate(path):
        yield f"without {at}", leaf, index, size, path[:at] + path[at + 1 :], top
        yield f"hash {at} changed", leaf, index, size, [*path[:at], flipped(item, at), *path[at + 1 :]], top
        yield f"hash {at} empty", leaf, index, size, [*path[:at], b"", *path[at + 1 :]], top
    for at in range(len(path) - 1):
        if path[at] != path[at + 1]:
            yield f"swapped {at}", leaf, index, size, [*path[:at], path[at + 1], path[at], *path[at + 2 :]], top
    yield "the leaf's bytes for its hash", LEAVES[index], index, size, path, top


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 100, 256, 260])
def test_wrong_inclusion_proofs(size: int) -> None:
    count = 0
    for index in sorted({0, size // 2, size - 1}):
        for name, leaf, at, of, path, top in wrong_inclusions(size, index):
            count += 1
            with pytest.raises(VerificationError) as caught:
                verify_inclusion(leaf, at, of, path, top)
            assert caught.value.code == "path", name
            with pytest.raises(RefutedError):
                reference.verify_inclusion(at, of, leaf, path, top, "path")
    assert count > 40


def wrong_consistencies(old: int, new: int) -> Iterator[tuple[str, int, int, bytes, bytes, list[bytes]]]:
    """Yields one-place changes of a true consistency proof."""
    a, b, proof = TREE.root(old), TREE.root(new), TREE.consistency_proof(old, new)
    for other in (old - 1, old + 1, new, new + 1):
        if other != old:
            yield f"old {other}", other, new, a, b, proof
    for other in (new + 1, old - 1, 2 * new):
        yield f"new {other}", old, other, a, flipped(b), proof
    for bit in (0, 255):
        yield f"old root bit {bit}", old, new, flipped(a, bit), b, proof
        yield f"new root bit {bit}", old, new, a, flipped(b, bit), proof
    yield "roots swapped", old, new, b, a, proof
    yield "empty", old, new, a, b, []
    yield "longer", old, new, a, b, [*proof, bytes(32)]
    yield "longer by the old root", old, new, a, b, [a, *proof]
    for at, item in enumerate(proof):
        yield f"without {at}", old, new, a, b, proof[:at] + proof[at + 1 :]
        yield f"hash {at} changed", old, new, a, b, [*proof[:at], flipped(item, at), *proof[at + 1 :]]


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (2, 3), (3, 7), (4, 8), (6, 8), (7, 8), (8, 9), (100, 256), (255, 260)]
)
def test_wrong_consistency_proofs(old: int, new: int) -> None:
    for name, first, second, a, b, proof in wrong_consistencies(old, new):
        with pytest.raises(VerificationError) as caught:
            verify_consistency(first, second, a, b, proof)
        assert caught.value.code == "consistency", name
        if first > 0:
            with pytest.raises(RefutedError):
                reference.verify_consistency(first, second, a, b, proof, "consistency")


def test_consistency_of_equal_and_empty_trees() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    verify_consistency(0, 5, EMPTY_ROOT, TREE.root(5), [])
    verify_consistency(5, 5, TREE.root(5), TREE.root(5), [])
    for old, new, a, b, proof in (
        (0, 5, TREE.root(5), TREE.root(5), []),
        (0, 5, EMPTY_ROOT, TREE.root(5), [bytes(32)]),
        (5, 5, TREE.root(5), TREE.root(6), []),
        (5, 5, TREE.root(5), TREE.root(5), [bytes(32)]),
        (-1, 5, EMPTY_ROOT, TREE.root(5), []),
        (6, 5, TREE.root(6), TREE.root(5), []),
    ):
        with pytest.raises(VerificationError):
            verify_consistency(old, new, a, b, proof)


@pytest.mark.parametrize("size", range(1, 20))
def test_a_path_at_other_sizes(size: int) -> None:
    """A path may be right for two sizes of one root: sizes come from signed bytes, and both verifiers read them so."""
    for index in range(size):
        path, top = TREE.inclusion_proof(index, size), TREE.root(size)
        for other in range(max(size - 3, 0), size + 4):
            ours, theirs = verdicts(HASHES[index], index, other, path, top)
            assert ours == theirs


def test_proofs_by_chance() -> None:
    """Random paths, sizes and indices: refused here exactly when the reference refuses."""
    draw = random.Random(9162)
    accepted = 0
    for _ in range(3000):
        size, index = draw.randrange(1, 12), draw.randrange(-2, 14)
        path = TREE.inclusion_proof(draw.randrange(size), size)
        if draw.random() < 0.3:
            path = path[: draw.randrange(len(path) + 1)]
        top, leaf = TREE.root(draw.choice((size, size + 1))), HASHES[max(index, 0)]
        ours, theirs = verdicts(leaf, index, size, path, top)
        assert ours == theirs
        accepted += ours
    assert accepted > 50


def verdicts(leaf: bytes, index: int, size: int, path: list[bytes], top: bytes) -> tuple[bool, bool]:
    """Returns whether this verifier accepts an inclusion proof, and whether the reference does."""
    ours = theirs = True
    try:
        verify_inclusion(leaf, index, size, path, top)
    except VerificationError:
        ours = False
    try:
        reference.verify_inclusion(index, size, leaf, path, top, "path")
    except RefutedError:
        theirs = False
    return ours, theirs


def test_what_is_outside_a_tree() -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0), (0, 261)):
        with pytest.raises(ValueError, match=r"no (leaf|size)"):
            TREE.inclusion_proof(index, size)
    with pytest.raises(ValueError, match="no leaf 5"):
        inclusion_proof(5, 5, TREE.node)
    for old, new in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="cannot extend"):
            consistency_proof(old, new, TREE.node)
    with pytest.raises(ValueError, match="no size 261"):
        TREE.root(261)


def test_a_leaf_is_no_node() -> None:
    """The prefixes: two leaves' hashes joined are not the data of a leaf with the same root."""
    left, right = HASHES[:2]
    assert root([left, right]) != leaf_hash(left + right)


def test_a_tree_as_wide_as_any_log() -> None:
    """Proofs at 2^48 leaves, which nobody holds: all leaves are equal, so a node is known by its level."""
    full = [leaf_hash(b"equal")]
    for _ in range(50):
        full.append(reference.node_hash(full[-1], full[-1]))

    def node(level: int, index: int) -> bytes:
        return full[level]

    for size in (2**48, 2**48 - 1, 2**40 + 12345):
        top = root_at(size, node)
        for index in (0, size // 3, size - 1):
            path = inclusion_proof(index, size, node)
            assert len(path) <= 49
            verify_inclusion(full[0], index, size, path, top)
            reference.verify_inclusion(index, size, full[0], path, top, "path")
        for old in (1, size // 3, size - 1):
            proof = consistency_proof(old, size, node)
            verify_consistency(old, size, root_at(old, node), top, proof)
            reference.verify_consistency(old, size, root_at(old, node), top, proof, "consistency")


@given(st.integers(0, 64), st.integers(1, 260))
def test_ranges_are_covered_once(step: int, end: int) -> None:
    start = 1 << min(step, 8)
    if start >= end:
        start = 0
    nodes = subtrees(start, end)
    covered = [leaf for level, index in nodes for leaf in range(index << level, (index + 1) << level)]
    assert covered == list(range(start, end))
    if start == 0:
        assert range_hash(start, end, TREE.node) == reference.tree(HASHES[start:end])
