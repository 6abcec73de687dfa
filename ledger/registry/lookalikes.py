"""Look-alikes among fingerprints: which manifests hold an entry that resembles one, so that a person decides.

Two codes of 256 bits each, as entries carry them: a look-alike is within ``ISCC_BITS`` of the ISCC image code *or*
``DHASH_BITS`` of the difference hash; the two fail on different pictures, and codes of flat pictures are null in the
entry already.  A hint for people, never a verdict.  Every code is compared with every other, in blocks: 10,000 new
entries against a million codes take about a minute; a bigger registry wants an index with the same answer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.manifests import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

ISCC_BITS: Final = 31
DHASH_BITS: Final = 16
LIMITS: Final = (("iscc", ISCC_BITS), ("dhash", DHASH_BITS))
WORDS: Final = 4
ROWS: Final = 64
BLOCK: Final = 8192
"""New codes times known codes that are compared at once: what fits a processor's cache."""


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Entry `path` of the new manifest is within `distance` bits of entry `entry` of leaf `leaf` by code `code`."""

    path: str
    leaf: int
    entry: int
    code: str
    distance: int


class LookAlikes:
    """The codes of manifests, in the order they were added; safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._added: dict[int, int] = {}
        self._codes = {code: _Codes() for code, _ in LIMITS}

    def __len__(self) -> int:
        """How many manifests were added so far: a position to go on from."""
        return len(self._added)

    def add(self, leaf: int, entries: Sequence[Entry]) -> None:
        """Adds a manifest's codes; the same leaf again changes nothing."""
        with self._guard:
            if leaf in self._added:
                return
            position = len(self._added)
            for code, codes in self._codes.items():
                codes.append(position, leaf, _codes_of(entries, code))
            self._added[leaf] = position

    def forget(self, leaf: int) -> None:
        """Forgets the codes of a manifest that was erased."""
        with self._guard:
            for codes in self._codes.values():
                codes.forget(leaf)

    def leaves(self, start: int) -> list[int]:
        """Returns the manifests added at position `start` and later."""
        with self._guard:
            return [leaf for leaf, position in self._added.items() if position >= start]

    def find(self, entries: Sequence[Entry], start: int = 0) -> list[LookAlike]:
        """Returns look-alikes of `entries` in the manifests added from position `start` on: of each manifest and code
        the first that is found."""
        found: dict[tuple[int, str], LookAlike] = {}
        for code, limit in LIMITS:
            own = _codes_of(entries, code)
            with self._guard:
                known = self._codes[code].since(start)
            for mine, leaf, entry, distance in _near(own.words, known, limit):
                if (leaf, code) not in found:
                    path = entries[int(own.entries[mine])].path
                    found[leaf, code] = LookAlike(path, leaf, entry, code, distance)
        return list(found.values())


@dataclass(frozen=True, slots=True)
class _Own:
    """The codes of one kind in one manifest: `words` is (n, 4) uint64, `entries` their n entry numbers."""

    words: NDArray[Any]
    entries: NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Known:
    """Codes of many manifests: `words` is (4, n) uint64, `leaves` and `entries` say whose; leaf -1: nobody's."""

    words: NDArray[Any]
    leaves: NDArray[Any]
    entries: NDArray[Any]


class _Codes:
    """Codes of one kind, appended to arrays that double when they are full; rows that are there never move."""

    def __init__(self) -> None:
        self._size = 0
        self._starts: list[int] = []
        self._known: _Known | None = None

    def append(self, position: int, leaf: int, own: _Own) -> None:
        assert position == len(self._starts)
        known, end = self._room(len(own.entries)), self._size + len(own.entries)
        self._starts.append(self._size)
        known.words[:, self._size : end] = own.words.T
        known.leaves[self._size : end] = leaf
        known.entries[self._size : end] = own.entries
        self._size = end

    def _room(self, more: int) -> _Known:
        import numpy as np

        if self._known is None or self._size + more > self._known.leaves.size:
            capacity = max(1024, 2 * (self._size + more))
            grown = _Known(
                np.empty((WORDS, capacity), np.uint64), np.full(capacity, -1, np.int64), np.empty(capacity, np.int32)
            )
            if self._known is not None:
                grown.words[:, : self._size] = self._known.words[:, : self._size]
                grown.leaves[: self._size] = self._known.leaves[: self._size]
                grown.entries[: self._size] = self._known.entries[: self._size]
            self._known = grown
        return self._known

    def forget(self, leaf: int) -> None:
        if self._known is not None:
            self._known.leaves[self._known.leaves == leaf] = -1

    def since(self, position: int) -> _Known | None:
        """Returns a view of what manifests from `position` on added; None if that is nothing."""
        if self._known is None or position >= len(self._starts):
            return None
        start, end = self._starts[position], self._size
        return _Known(self._known.words[:, start:end], self._known.leaves[start:end], self._known.entries[start:end])


def _codes_of(entries: Sequence[Entry], code: str) -> _Own:
    import numpy as np

    known = [(n, text) for n, entry in enumerate(entries) for kind, text in entry.fingerprints if kind == code]
    data = bytes.fromhex("".join(text for _, text in known))
    return _Own(np.frombuffer(data, np.uint64).reshape(-1, WORDS), np.array([n for n, _ in known], np.int32))


def _near(own: NDArray[Any], known: _Known | None, limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields (row of `own`, leaf, entry, distance) within `limit` bits: of each block and leaf the first.

    Two of the four words decide most pairs: half of unrelated codes' bits differ, 64 of 128.
    """
    import numpy as np

    if known is None:
        return
    for top in range(0, len(own), ROWS):
        rows = own[top : top + ROWS]
        for left in range(0, known.leaves.size, BLOCK):
            block = slice(left, left + BLOCK)
            bits = np.bitwise_count(rows[:, :1] ^ known.words[0, block])
            bits += np.bitwise_count(rows[:, 1:2] ^ known.words[1, block])
            row, column = np.nonzero(bits <= limit)
            column = column + left
            distance = bits[row, column - left].astype(np.int64)
            for word in (2, 3):
                distance += np.bitwise_count(rows[row, word] ^ known.words[word, column])
            near = np.flatnonzero((distance <= limit) & (known.leaves[column] >= 0))
            for at in near[np.unique(known.leaves[column[near]], return_index=True)[1]]:
                where = int(column[at])
                yield top + int(row[at]), int(known.leaves[where]), int(known.entries[where]), int(distance[at])
