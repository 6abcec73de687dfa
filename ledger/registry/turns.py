"""Turns: what one party does to its own manifests happens one thing after the other; an erasure alone.

Publishing, withdrawing, reviewing and granting first look at the state and then log what follows from it.  Within a
turn nobody else changes what was looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

EVERYBODY: Final = ""
"""What is busy in a turn of all; no party is called so."""


class Turns:
    """Who has a turn now.  Whoever has one asks for no other: it would wait for itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy: set[str] = set()
        self._alone = 0
        """How many have, or wait for, a turn of all; while there are any, nobody else begins one."""

    @contextmanager
    def of(self, *parties: str) -> Iterator[None]:
        """Waits for the turns of some parties, and takes them all at once."""
        wanted = set(parties)
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and self._busy.isdisjoint(wanted))
            self._busy |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._busy -= wanted
                self._changed.notify_all()

    @contextmanager
    def of_all(self) -> Iterator[None]:
        """Waits until nobody has a turn, and lets nobody have one."""
        with self._changed:
            self._alone += 1
            self._changed.wait_for(lambda: not self._busy)
            self._busy.add(EVERYBODY)
        try:
            yield
        finally:
            with self._changed:
                self._alone -= 1
                self._busy.discard(EVERYBODY)
                self._changed.notify_all()
