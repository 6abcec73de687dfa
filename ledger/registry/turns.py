"""Turns: what one party does to its own manifests happens one thing after the other; an erasure alone.

Publishing, withdrawing, reviewing and granting first look at the state and then log what follows from it.  Within a
turn nobody else changes what was looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

STRIPES: Final = 64


class Turns:
    """Locks for parties; some parties share one.  Whoever has a turn asks for no other."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(STRIPES)]

    @contextmanager
    def of(self, party: str) -> Iterator[None]:
        """Waits for the turn of one party."""
        with self._locks[hash(party) % STRIPES]:
            yield

    @contextmanager
    def of_all(self) -> Iterator[None]:
        """Waits until nobody has a turn, and lets nobody have one."""
        with ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            yield
