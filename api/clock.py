"""The time as a registry counts it: the wall clock, which does not go back as long as the process lives.

What has expired stays so, and a signed wish that was used stays used, when the machine's clock is put back: time stands
still until the clock is there again.  Intervals and limits are measured by another clock, which nobody sets, and the
order of a log is nobody's time.  A clock that was ahead by mistake is believed again after a start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

TOLD_SECONDS: Final = 5
"""Smaller steps back are what keeps clocks right, and nothing to be told of."""

_logger = logging.getLogger(__name__)


class ForwardClock:
    """``Clock`` over `wall`; safe to use from several threads."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._guard = threading.Lock()
        self._last = 0
        self._is_told = False

    def __call__(self) -> int:
        with self._guard:
            now = int(self._wall())
            behind = self._last - now
            if behind <= 0:
                self._last, self._is_told = now, False
            elif behind > TOLD_SECONDS and not self._is_told:
                self._is_told = True
                _logger.warning(
                    "the clock went back by %d seconds: time stands still until then; start again if it was ahead",
                    behind,
                )
            return self._last
