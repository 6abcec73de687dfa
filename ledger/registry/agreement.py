"""Whether leaves, head and published checkpoint of one log tell one story: pure; looked at by whoever opens it.

:class:`ledger.registry.log.Log` refuses at the first disagreement, :mod:`ledger.registry.fsck` names them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.checkpoint import Checkpoint
from ledger.merkle import Tree
from ledger.ports import Head


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`one` and `other` say different things about `what`."""

    what: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.what}: {self.one}; {self.other}"


def disagreements(origin: str | None, tree: Tree, head: Head, published: Checkpoint | None) -> Iterator[Disagreement]:
    """Yields where the database's leaves (`tree`) do not lead to its `head`, and on the way there to what is published
    of the log named `origin` (None: nobody knows)."""
    if tree.root() != head.root:
        yield _roots(head.size, tree.root(), "its head", head.root)
    if published is None:
        return
    if origin not in (None, published.origin):
        yield Disagreement("checkpoint", f"the database is of {origin}", f"what is published of {published.origin}")
    elif published.size > head.size:
        yield Disagreement(
            "checkpoint", f"the database is at {head.size} leaves", f"{published.size} leaves are published"
        )
    elif tree.root(published.size) != published.root:
        yield _roots(published.size, tree.root(published.size), "the published checkpoint", published.root)


def _roots(size: int, own: bytes, whose: str, other: bytes) -> Disagreement:
    return Disagreement(f"root at {size} leaves", f"the database's leaves have {own.hex()}", f"{whose} {other.hex()}")
