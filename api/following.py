"""The thread of a process that only reads: it follows what another one publishes, and says what is wrong with that.

What the log does not tell, the catalog and the anchors in it, may have changed at any time: answers that are kept count
until the next look.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import TrainmarkError
from ledger.ports import Catalog, ChainIdentity
from ledger.registry.anchoring import read_record
from ledger.registry.public import Follower

LOOK_SECONDS: Final = 0.5
"""How often it is looked for something new: no answer is older."""
ROWS: Final = 20
"""Newest anchors among which one with a record is looked for."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Following:
    """Follows `log` from a thread of its own; `changes` counts the looks, `trouble` is what went wrong at the last."""

    log: Follower
    catalog: Catalog
    changes: int = 0
    trouble: str | None = None
    identity: ChainIdentity | None = None
    """Which chain the log is anchored on, as the newest anchor says; None before there is one."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def warning(self) -> str | None:
        """What is wrong with following now, for people."""
        return self.trouble

    def start(self) -> None:
        """Begins to follow in the background."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Reads what is new; whatever goes wrong is told by ``warning`` and tried again."""
        try:
            self.log.follow()
            self.identity = self._newest_identity()
            self.trouble = None
        except TrainmarkError as e:
            self.trouble = str(e)
        except Exception as e:  # outermost border of this thread: nobody else would ever see it
            self.trouble = f"following met an error of this program ({type(e).__name__}), see its output"
            _logger.exception("following failed; it is tried again")
        self.changes += 1

    def _newest_identity(self) -> ChainIdentity | None:
        for row in self.catalog.anchors(None, ROWS):
            if row.record is not None:
                record = read_record(row.record)
                return ChainIdentity(record.chain, record.genesis, record.contract, record.publisher)
        return None

    def close(self) -> None:
        """Stops the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
