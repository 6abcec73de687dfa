"""A tree over a million leaves: how near to bare hashing, how far from pymerkle, and proofs per second.

The yardstick is what cannot be saved: one ``sha256(...).digest()`` of 33 bytes for each leaf and of 65 for each node.
Rounds alternate, and the best of each counts, in processor time, so that a busy machine does not decide; pymerkle is a
tree in memory of the same leaves, whose root must be the same.

    python benchmarks/merkle.py [LEAVES]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from hashlib import sha256
from time import process_time
from typing import TypeVar

from pymerkle import InmemoryTree

from ledger.merkle import Tree, leaf_hash, leaf_hashes, root, verify_consistency, verify_inclusion

LEAVES = 1_000_000
PROOFS = 20_000
ROUNDS = 7
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Returns the processor seconds `work` takes, and what it returns."""
    start = process_time()
    result = work()
    return process_time() - start, result


def bare(count: int, size: int) -> None:
    """Hashes `count` messages of `size` bytes and does nothing else."""
    message = bytes(size)
    for _ in range(count):
        sha256(message).digest()


def theirs(leaves: list[bytes]) -> bytes:
    """Returns the root as pymerkle builds it."""
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    return bytes(tree.get_root())


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else LEAVES
    leaves = [b"leaf %027d" % n for n in range(count)]
    hashes = leaf_hashes(leaves)
    works: dict[str, Callable[[], object]] = {
        "bare leaves": lambda: bare(count, 33),
        "bare nodes": lambda: bare(count - 1, 65),
        "leaf_hashes": lambda: leaf_hashes(leaves),
        "root": lambda: root(hashes),
        "Tree": lambda: Tree(hashes),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            best[name] = min(best[name], timed(work)[0])
    tree = Tree(hashes)
    seconds, state = timed(lambda: theirs(leaves))
    if not tree.root() == root(hashes) == state:
        raise SystemExit("the roots differ")

    print(f"{count:,} leaves of 32 bytes, processor seconds (best of {ROUNDS})")
    for name, own in best.items():
        yardstick = best["bare leaves"] if name in ("leaf_hashes", "bare leaves") else best["bare nodes"]
        print(f"  {name:22}{own:8.3f}   {yardstick / own:6.0%} of bare hashing")
    ours = best["leaf_hashes"] + best["Tree"]
    print(f"  {'leaf_hashes and Tree':22}{ours:8.3f}")
    print(f"  {'pymerkle (one run)':22}{seconds:8.3f}   {seconds / ours:6.1f} times as long")

    chosen = [random.Random(1).randrange(count) for _ in range(PROOFS)]
    top = tree.root()
    made, paths = timed(lambda: [tree.inclusion_proof(n) for n in chosen])
    own_hashes = [leaf_hash(leaves[n]) for n in chosen]
    proofs = list(zip(own_hashes, chosen, paths, strict=True))

    def check_inclusion() -> None:
        for hashed, index, path in proofs:
            verify_inclusion(hashed, index, count, path, top)

    checked, _ = timed(check_inclusion)
    print(f"  inclusion proofs made per second:      {PROOFS / made:10,.0f}")
    print(f"  inclusion proofs verified per second:  {PROOFS / checked:10,.0f}")
    old = [n + 1 for n in chosen[: PROOFS // 20]]
    made, steps = timed(lambda: [tree.consistency_proof(n) for n in old])
    roots = [tree.root(n) for n in old]
    growth = list(zip(old, roots, steps, strict=True))

    def check_consistency() -> None:
        for size, before, proof in growth:
            verify_consistency(size, count, before, top, proof)

    checked, _ = timed(check_consistency)
    print(f"  consistency proofs made per second:    {len(old) / made:10,.0f}")
    print(f"  consistency proofs verified per second:{len(old) / checked:10,.0f}")


if __name__ == "__main__":
    main()
