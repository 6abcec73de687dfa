"""The thread that shares: when the IPFS node is asked, and what of that people are told.

While there is nothing to do it looks for new leaves each ``IDLE_SECONDS``.  Whatever goes wrong is told by ``trouble``
and tried again, after pauses that grow to ``MAX_PAUSE``; the thread ends only when it is stopped.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import TrainmarkError
from ledger.registry.sharing import Sharing

IDLE_SECONDS: Final = 0.5
FIRST_PAUSE: Final = 1.0
MAX_PAUSE: Final = 300.0

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Sharer:
    """Runs `sharing` in the background; `trouble` is what went wrong last, for people."""

    sharing: Sharing
    trouble: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to share."""
        self._thread = threading.Thread(target=self._run, name="sharer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait = pause = 0.0
        while not self._stop.wait(wait):
            try:
                self.sharing.step()
            except TrainmarkError as e:
                self.trouble = f"blobs wait for the IPFS node: {e}"
            except Exception as e:  # outermost border of this thread: nobody else would ever see it
                self.trouble = f"sharing met an error of this program ({type(e).__name__}), see its output"
                _logger.exception("sharing failed; it is tried again")
            else:
                self.trouble, wait, pause = None, IDLE_SECONDS, 0.0
                continue
            wait = pause = min(max(2 * pause, FIRST_PAUSE), MAX_PAUSE)

    def close(self) -> None:
        """Stops the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
