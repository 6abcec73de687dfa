"""What the use cases need of the outside, as Protocols with written rules.

An adapter keeps every rule written here; ``tests/ports`` runs one suite per port on the in-memory reference and on
each real implementation.  Every method may raise :class:`ledger.errors.BackendError`; nothing else leaks through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ChainIdentity:
    """Which chain, contract and sender heads are anchored by; all hex is lower-case with ``0x``.

    ``chain`` is a CAIP-2 id (``eip155:<n>``), ``genesis`` the hash of block 0 (a development chain that was started
    anew keeps its number but not its genesis).
    """

    chain: str
    genesis: str
    contract: str
    publisher: str


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """Where a transaction stands: the operator's bookkeeping, not evidence.

    ``pending``: known to the node, in no block.  ``mined``: in a block that may still be reorganised away.
    ``final``: covered by the chain's ``finalized`` tag (never ``safe``).  ``lost``: the node does not know it.
    ``failed``: mined with status 0.
    """

    state: Literal["pending", "mined", "final", "lost", "failed"]
    block_number: int | None = None
    block_hash: str | None = None


class Anchor(Protocol):
    """One publisher on one chain; heads are kept there per (publisher, origin)."""

    @property
    def identity(self) -> ChainIdentity:
        """Constant for the life of the adapter."""

    def head(self, origin: bytes) -> tuple[int, bytes]:
        """Returns (size, root) the contract holds for this publisher and `origin` (32 bytes); (0, 32 zero bytes) before
        the first."""

    def submit(self, origin: bytes, size: int, root: bytes, consistency: Sequence[bytes]) -> str:
        """Sends ``anchor(origin, size, root, consistency)`` and returns the transaction hash (0x hex).

        Raises:
            RefusedError: the contract would revert (code is the kebab-case name of its error); nothing was sent.
        """

    def status(self, transaction: str) -> AnchorStatus:
        """Returns where the transaction stands now."""

    def record(self, transaction: str) -> dict[str, object]:
        """Returns the anchor record of docs/format.md, section 5 (``kind: evm``) of a mined transaction: block header
        and receipt proof, already checked by :mod:`ledger.receipt`.

        Raises:
            NotFoundError: not mined, or no longer.
        """

    def block_hash(self, number: int) -> str:
        """Returns the hash (0x hex) of the canonical block `number`. Raises NotFoundError beyond the head."""

    def close(self) -> None:
        """Releases files and connections; may be called twice."""
