"""How far a run has come: the callback of whoever watches it, and the steps that are counted for it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) steps, from 0 to total; what it raises stops the run."""


class Steps:
    """Counts the steps of a run for its callback, if there is one."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total
        self._tell()

    def step(self) -> None:
        """Counts one more."""
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._done, self._total)
