"""Look-alikes among fingerprints: which entries of other manifests resemble one, so that a person decides on listing.

Two codes of 256 bits each, as entries carry them: a look-alike is within ``ISCC_BITS`` of the ISCC image code *or*
``DHASH_BITS`` of the difference hash; the two fail on different pictures, and codes of flat pictures are null in the
entry already.  A hint for people, never a verdict.  Every code is compared with every other: right for up to some
hundred thousand live files; a bigger registry wants an index with the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.manifests import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

ISCC_BITS: Final = 31
DHASH_BITS: Final = 16
LIMITS: Final = (("iscc", ISCC_BITS), ("dhash", DHASH_BITS))
MAX_FOUND: Final = 100
KEPT_LEAVES: Final = 4096


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Entry `path` of the new manifest is within `distance` bits of entry `entry` of leaf `leaf` by code `code`."""

    path: str
    leaf: int
    entry: int
    code: str
    distance: int


@dataclass(frozen=True, slots=True)
class _Codes:
    """The codes of one kind in one manifest: `words` is (n, 4) uint64, `entries` their n entry numbers."""

    words: NDArray[Any]
    entries: NDArray[Any]


class LookAlikes:
    """Finds look-alikes in manifests named by leaf; `entries_of` reads one, and its codes are kept."""

    def __init__(self, entries_of: Callable[[int], Sequence[Entry]]) -> None:
        self._entries_of = entries_of
        self._codes: dict[int, dict[str, _Codes]] = {}

    def forget(self, leaf: int) -> None:
        """Forgets a manifest that was erased or replaced."""
        self._codes.pop(leaf, None)

    def find(self, entries: Sequence[Entry], leaves: Iterable[int]) -> list[LookAlike]:
        """Returns up to ``MAX_FOUND`` look-alikes of `entries` in the manifests `leaves`."""
        found: list[LookAlike] = []
        own = _codes_of(entries)
        for leaf in leaves:
            other = self._codes.get(leaf)
            if other is None:
                other = _codes_of(self._entries_of(leaf))
                if len(self._codes) < KEPT_LEAVES:
                    self._codes[leaf] = other
            for code, limit in LIMITS:
                found += _near(entries, own[code], leaf, other[code], code, limit)
                if len(found) >= MAX_FOUND:
                    return found[:MAX_FOUND]
        return found


def _codes_of(entries: Sequence[Entry]) -> dict[str, _Codes]:
    import numpy as np

    codes = {}
    for code, _ in LIMITS:
        known = [(n, text) for n, entry in enumerate(entries) for kind, text in entry.fingerprints if kind == code]
        data = bytes.fromhex("".join(text for _, text in known))
        words = np.frombuffer(data, dtype=np.uint64).reshape(-1, 4)
        codes[code] = _Codes(words, np.array([n for n, _ in known], dtype=np.int64))
    return codes


def _near(entries: Sequence[Entry], own: _Codes, leaf: int, other: _Codes, code: str, limit: int) -> list[LookAlike]:
    import numpy as np

    found = []
    for number, words in zip(own.entries, own.words, strict=True):
        distances = np.bitwise_count(other.words ^ words).sum(axis=1)
        for at in np.flatnonzero(distances <= limit)[:MAX_FOUND]:
            path = entries[int(number)].path
            found.append(LookAlike(path, leaf, int(other.entries[at]), code, int(distances[at])))
        if len(found) >= MAX_FOUND:
            break
    return found
